/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn check: servers that still run an old library. A process keeps the files that it has
 * mapped: after an upgrade a server has the old library until it is restarted, and a reload is not
 * enough. Root sees in /proc/PID/maps which file each process has, by its inode, and compares it
 * with the file that has that name now, in the process's own root.
 */
#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define DELETED " (deleted)"

typedef struct running {
    char process[32];
    char file[NAME_MAX + 1]; /* the first old file */
    char pids[64];
    bool more; /* than have room in `pids` */
} running_t;

typedef struct found {
    running_t *list;
    size_t count;
} found_t;

/* A mapped file of ours: libkeyturn.so.0, a provider below keyturn/, a server's module. */
static bool is_ours(const char *path)
{
    const char *name = strrchr(path, '/');

    return path[0] == '/' && strstr(path, "keyturn") && strstr(name, ".so");
}

/* Is it replaced? On some file systems maps and stat() number the same file differently; there only
 * a deleted file counts. */
static bool is_old(const char *pid, char *path, unsigned long inode, bool honest)
{
    size_t size = strlen(path), end = sizeof DELETED - 1;
    char full[PATH_MAX];
    struct stat st;

    if (size > end && strcmp(path + size - end, DELETED) == 0) {
        path[size - end] = '\0';
        return true;
    }
    snprintf(full, sizeof full, "/proc/%s/root%s", pid, path);
    return honest && stat(full, &st) == 0 && st.st_ino != inode;
}

/* The first old file of a process, in `file`. */
static bool find_old(const char *pid, bool honest, char file[NAME_MAX + 1])
{
    char name[64], *line = NULL, *path;
    size_t room = 0;
    unsigned long inode;
    bool old = false;
    FILE *maps;
    int at;

    snprintf(name, sizeof name, "/proc/%.16s/maps", pid);
    maps = fopen(name, "re");
    while (maps && !old && getline(&line, &room, maps) > 0) {
        if (sscanf(line, "%*s %*s %*s %*s %lu %n", &inode, &at) != 1)
            continue;
        path = line + at;
        path[strcspn(path, "\n")] = '\0';
        if (!is_ours(path) || !is_old(pid, path, inode, honest))
            continue;
        snprintf(file, NAME_MAX + 1, "%.255s", strrchr(path, '/') + 1);
        old = true;
    }
    free(line);
    if (maps)
        fclose(maps);
    return old;
}

static void add(found_t *found, const char *process, const char *pid, const char *file)
{
    running_t *grown;
    size_t at;

    for (size_t i = 0; i < found->count; i++)
        if (strcmp(found->list[i].process, process) == 0) {
            at = strlen(found->list[i].pids);
            if (at + strlen(pid) + 3 < sizeof found->list[i].pids)
                sprintf(found->list[i].pids + at, ", %s", pid);
            else
                found->list[i].more = true;
            return;
        }
    grown = realloc(found->list, (found->count + 1) * sizeof *grown);
    if (!grown)
        return;
    found->list = grown;
    grown = &found->list[found->count++];
    *grown = (running_t){.more = false};
    snprintf(grown->process, sizeof grown->process, "%s", process);
    snprintf(grown->file, sizeof grown->file, "%s", file);
    snprintf(grown->pids, sizeof grown->pids, "%s", pid);
}

static void name_of(const char *pid, char name[32])
{
    char path[64];
    FILE *file;

    snprintf(name, 32, "a program");
    snprintf(path, sizeof path, "/proc/%.16s/comm", pid);
    file = fopen(path, "re");
    if (file && fgets(name, 32, file))
        name[strcspn(name, "\n")] = '\0';
    if (file)
        fclose(file);
}

/* ---- the answer ---- */

static kt_status_t report(const running_t *running, json_t *rows)
{
    const cli_host_t *host = cli_hosts;
    char text[512];

    while (host->name && strcmp(host->process, running->process) != 0)
        host++;
    snprintf(
        text, sizeof text,
        "%s (process %s%s) still runs %s as it was before an upgrade; a reload does not change "
        "that: %s%s%s",
        running->process, running->pids, running->more ? ", ..." : "", running->file,
        host->name ? "`service " : "restart it", host->name ? host->service : "",
        host->name ? " restart`" : "");
    cli_collect(rows, KT_CONFLICT, host->name ? host->name : running->process, text);
    return KT_CONFLICT;
}

kt_status_t check_running(cli_t *cli, json_t *rows)
{
    DIR *dir = geteuid() == 0 ? opendir("/proc") : NULL;
    char self[16], name[32], file[NAME_MAX + 1];
    found_t found = {.count = 0};
    kt_status_t worst = KT_SUCCESS;
    struct dirent *entry;
    bool honest;

    (void)cli;
    if (!dir)
        return KT_SUCCESS;
    snprintf(self, sizeof self, "%d", (int)getpid());
    honest = !find_old(self, true, file);
    while ((entry = readdir(dir))) {
        if (!isdigit((unsigned char)entry->d_name[0]) || strcmp(entry->d_name, self) == 0 ||
            !find_old(entry->d_name, honest, file))
            continue;
        name_of(entry->d_name, name);
        add(&found, name, entry->d_name, file);
    }
    closedir(dir);
    for (size_t i = 0; i < found.count; i++)
        worst = cli_worse(worst, report(&found.list[i], rows));
    free(found.list);
    return worst;
}

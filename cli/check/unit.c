/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn check: what systemd denies a server although its user has the permission. A unit with
 * ProtectSystem=strict, such as Debian's Redis, can write only to the paths of ReadWritePaths=.
 * Unit and drop-ins are read as in systemd.unit(5): among files of one name the first folder wins,
 * drop-ins are applied in the order of their names, and an empty value clears the list.
 */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define FILES_MAX 64

static const char *const folders[] = {"/etc/systemd/system", "/run/systemd/system",
                                      "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
                                      "/lib/systemd/system"};
#define FOLDERS (sizeof folders / sizeof *folders)

enum { STREAM, ANCHORS, PATHS }; /* what the server writes; "" if it is not there */

typedef struct unit {
    bool strict;
    bool writable[PATHS];
    char paths[PATHS][PATH_MAX];
} unit_t;

/* Is one of the paths the folder, or above it? A path may have the prefix "-" or "+". */
static bool covers(const char *paths, const char *folder)
{
    while (*(paths += strspn(paths, " \t\"")) != '\0') {
        size_t size = strcspn(paths, " \t\""), skip = strspn(paths, "-+");
        size_t length = size - skip;

        while (length > 1 && paths[skip + length - 1] == '/')
            length--;
        if (strncmp(folder, paths + skip, length) == 0 &&
            (length == 1 || folder[length] == '/' || folder[length] == '\0'))
            return true;
        paths += size;
    }
    return false;
}

static void trim(char *text)
{
    for (size_t size = strlen(text); size > 0 && strchr(" \t\r\n", text[size - 1]); size--)
        text[size - 1] = '\0';
}

static void parse_line(unit_t *unit, char *line)
{
    char *value = strchr(line, '=');

    if (!value || line[0] == '#' || line[0] == ';')
        return;
    *value++ = '\0';
    value += strspn(value, " \t");
    trim(value);
    trim(line);
    if (strcmp(line, "ProtectSystem") == 0)
        unit->strict = strcmp(value, "strict") == 0;
    else if (strcmp(line, "ReadWritePaths") == 0 || strcmp(line, "ReadWriteDirectories") == 0)
        for (int i = 0; i < PATHS; i++)
            unit->writable[i] =
                value[0] != '\0' && (unit->writable[i] || covers(value, unit->paths[i]));
}

static bool read_file(unit_t *unit, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;

    if (!file)
        return false;
    while (getline(&line, &room, file) >= 0)
        parse_line(unit, line);
    free(line);
    fclose(file);
    return true;
}

/* The first folder that has the name wins; a link to /dev/null is an empty file. */
static int by_name(const void *a, const void *b)
{
    const char *left = *(char *const *)a, *right = *(char *const *)b;
    int order = strcmp(strrchr(left, '/'), strrchr(right, '/'));

    return order != 0 ? order : left[0] - right[0];
}

static void read_drop_ins(unit_t *unit, const char *name)
{
    char *files[FILES_MAX];
    size_t count = 0;

    for (size_t i = 0; i < FOLDERS; i++) {
        char path[PATH_MAX];
        struct dirent *entry;
        DIR *dir;

        snprintf(path, sizeof path, "%s/%s.d", folders[i], name);
        dir = opendir(path);
        while (dir && (entry = readdir(dir)) && count < FILES_MAX) {
            size_t size = strlen(entry->d_name);

            /* the folder's rank first, so that sorting keeps it */
            if (size > 5 && strcmp(entry->d_name + size - 5, ".conf") == 0 &&
                asprintf(&files[count], "%c%s/%s", (int)('0' + i), path, entry->d_name) > 0)
                count++;
        }
        if (dir)
            closedir(dir);
    }
    qsort(files, count, sizeof *files, by_name);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(strrchr(files[i], '/'), strrchr(files[i - 1], '/')) != 0)
            read_file(unit, files[i] + 1);
    }
    for (size_t i = 0; i < count; i++)
        free(files[i]);
}

static bool read_unit(unit_t *unit, const char *name)
{
    char path[PATH_MAX];
    bool found = false;

    for (size_t i = 0; i < FOLDERS && !found; i++) {
        snprintf(path, sizeof path, "%s/%s", folders[i], name);
        found = read_file(unit, path);
    }
    if (found)
        read_drop_ins(unit, name);
    return found;
}

/* The first path that systemd keeps from the server, or NULL. */
static const char *denied(const unit_t *unit)
{
    for (int i = 0; unit->strict && i < PATHS; i++) {
        if (unit->paths[i][0] != '\0' && !unit->writable[i])
            return unit->paths[i];
    }
    return NULL;
}

kt_status_t check_unit(cli_t *cli, const cli_host_t *host, json_t *rows)
{
    const char *path;
    unit_t unit = {.strict = false};
    char *text;

    snprintf(unit.paths[STREAM], PATH_MAX, "%s/%s", kt_setup_audit_path(cli->setup), host->name);
    snprintf(unit.paths[ANCHORS], PATH_MAX, KT_LOCALSTATEDIR "/lib/keyturn/anchors/%s", host->name);
    if (access(unit.paths[ANCHORS], F_OK) != 0)
        unit.paths[ANCHORS][0] = '\0';
    if (!host->unit || access("/run/systemd/system", F_OK) != 0 || !read_unit(&unit, host->unit) ||
        !(path = denied(&unit)))
        return KT_SUCCESS;
    if (asprintf(
            &text,
            "%s cannot write to %s when systemd starts it (ProtectSystem=strict in %s): `mkdir -p "
            "/etc/systemd/system/%s.d && "
            "printf '[Service]\\nReadWritePaths=-%s%s%s\\n' > "
            "/etc/systemd/system/%s.d/keyturn.conf && systemctl daemon-reload && "
            "systemctl restart %s`",
            host->user, path, host->unit, host->unit, unit.paths[STREAM],
            unit.paths[ANCHORS][0] != '\0' ? " -" : "", unit.paths[ANCHORS], host->unit,
            host->unit) < 0)
        return KT_INTERNAL;
    cli_collect(rows, KT_AUDIT, host->name, text);
    free(text);
    return KT_AUDIT;
}

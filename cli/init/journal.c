/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All or nothing. Before init makes a thing it writes its name into a file, .keyturn-init beside
 * the configuration; the configuration gets its own name last, and then the file goes. What stands
 * in one that a killed init left is removed by the next init, newest first, as a failed init
 * removes it at once. The file is locked while an init is at work.
 *
 *     for init                 what for: who finds it knows when it is out of date
 *     folder /etc/keyturn      or file, store, group
 *
 * A line without its end was never acted on. Only what was not there is noted, so nothing of
 * others is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

#define JOURNAL_MAX 65536

/* A test kills us at every one of them, by number. */
static void point(void)
{
#ifdef KT_DEBUG_HOOKS
    static unsigned count;
    const char *wanted = getenv("KEYTURN_DEBUG_STOP");
    char name[32];

    snprintf(name, sizeof name, "init.%u:kill", count++);
    if (wanted && strcmp(wanted, name) == 0)
        raise(SIGKILL);
#endif
}

kt_status_t init_run(cli_t *cli, const char *const *argv)
{
    static char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
    pid_t pid;
    int error = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environment);
    int status = -1;

    if (error)
        return cli_fail(cli, KT_UNAVAIL, "cannot run %s: %s", argv[0], strerror(error));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return cli_fail(cli, KT_UNAVAIL, "%s failed", argv[0]);
    return KT_SUCCESS;
}

/* ---- undoing ---- */

static void remove_store(const char *path)
{
    static const char *const others[] = {"", "-wal", "-shm", "-journal", ".new-*"};
    char name[2 * PATH_MAX];
    glob_t found;

    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        size_t at = 0;

        /* only the last star is one */
        for (const char *p = path; *p && at < sizeof name - 32; p++) {
            if (strchr("*?[\\", *p))
                name[at++] = '\\';
            name[at++] = *p;
        }
        strcpy(name + at, others[i]);
        if (glob(name, 0, NULL, &found) == 0) {
            for (size_t k = 0; k < found.gl_pathc; k++)
                unlink(found.gl_pathv[k]);
            globfree(&found);
        }
    }
}

static void undo_line(cli_t *cli, char *line)
{
    char *what = strchr(line, ' ');

    if (!what)
        return;
    *what++ = '\0';
    if (strcmp(line, "group") == 0 && getgrnam(what)) {
        init_run(cli, (const char *const[]){"groupdel", what, NULL});
    } else if (strcmp(line, "folder") == 0) {
        init_empty(what);
        rmdir(what);
    } else if (strcmp(line, "file") == 0) {
        unlink(what);
    } else if (strcmp(line, "store") == 0) {
        remove_store(what);
    }
}

void init_undo(cli_t *cli, const init_journal_t *journal)
{
    char *text = malloc(JOURNAL_MAX + 1);
    ssize_t size = text ? pread(journal->fd, text, JOURNAL_MAX, 0) : -1;

    while (size > 0 && text[size - 1] != '\n')
        size--;
    while (size > 0) {
        ssize_t start = --size;

        text[size] = '\0';
        while (start > 0 && text[start - 1] != '\n')
            start--;
        undo_line(cli, text + start);
        size = start;
    }
    free(text);
}

/* ---- the file ---- */

static bool is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1 &&
           (st->st_mode & 077) == 0;
}

/* The file that has the name now, locked. */
static kt_status_t open_locked(cli_t *cli, init_journal_t *journal)
{
    struct stat st;

    for (;;) {
        journal->fd =
            open(journal->path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (journal->fd < 0) /* the folder was there: who removed it makes it anew */
            return cli_fail(cli, errno == ENOENT ? KT_CONFLICT : init_status(errno),
                            "cannot write %s: %s", journal->path, strerror(errno));
        if (flock(journal->fd, LOCK_EX | LOCK_NB) != 0)
            return cli_fail(cli, KT_CONFLICT, "%s: another init is at work here", journal->path);
        if (fstat(journal->fd, &st) != 0 || (st.st_nlink > 0 && !is_ours(&st)))
            return cli_fail(cli, KT_PERMISSION, "%s: not a file that init made", journal->path);
        if (st.st_nlink > 0)
            return KT_SUCCESS;
        close(journal->fd); /* the init that had it has just ended */
    }
}

kt_status_t init_begin(cli_t *cli, init_journal_t *journal, const char *folder, const char *what,
                       const char *config)
{
    char mark[64], before[sizeof mark];
    kt_status_t status;
    ssize_t size;

    snprintf(journal->path, sizeof journal->path, "%s/" INIT_JOURNAL, folder);
    status = open_locked(cli, journal);
    if (status) {
        if (journal->fd >= 0)
            close(journal->fd);
        journal->fd = -1;
        return status;
    }
    size = snprintf(mark, sizeof mark, "for %s\n", what);
    memset(before, 0, sizeof before);
    /* what an init has left that got as far as its configuration is whole */
    if (pread(journal->fd, before, sizeof before - 1, 0) > 0 &&
        (strncmp(before, "for init\n", 9) != 0 || access(config, F_OK) != 0))
        init_undo(cli, journal);
    if (ftruncate(journal->fd, 0) != 0 || write(journal->fd, mark, (size_t)size) != size)
        status = cli_fail(cli, KT_NOSPACE, "cannot write %s: %s", journal->path, strerror(errno));
    if (status)
        init_end(journal);
    point();
    return status;
}

kt_status_t init_note(cli_t *cli, const init_journal_t *journal, const char *kind, const char *what)
{
    char line[PATH_MAX + 16];
    struct stat st;
    ssize_t size;

    if (strcmp(kind, "group") != 0 && lstat(what, &st) == 0)
        return cli_fail(cli, KT_CONFLICT, "%s is there: init never overwrites anything", what);
    for (const char *p = what; *p; p++)
        if ((unsigned char)*p < 0x20)
            return cli_fail(cli, KT_USAGE, "control characters in a path");
    size = snprintf(line, sizeof line, "%s %s\n", kind, what);
    if (size >= (ssize_t)sizeof line || write(journal->fd, line, (size_t)size) != size ||
        fdatasync(journal->fd) != 0)
        return cli_fail(cli, KT_NOSPACE, "cannot write %s: %s", journal->path, strerror(errno));
    point();
    return KT_SUCCESS;
}

kt_status_t init_settle(cli_t *cli, const init_journal_t *journal)
{
    point();
    if (ftruncate(journal->fd, 0) != 0)
        return cli_fail(cli, KT_NOSPACE, "cannot write %s: %s", journal->path, strerror(errno));
    point();
    return KT_SUCCESS;
}

void init_end(init_journal_t *journal)
{
    if (journal->fd < 0)
        return;
    point();
    unlink(journal->path);
    close(journal->fd);
    journal->fd = -1;
}

/* ---- the last step ---- */

void init_sync(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

kt_status_t init_publish(cli_t *cli, const char *folder, const char *from, const char *to)
{
    point();
    if (rename(from, to) != 0)
        return cli_fail(cli, init_status(errno), "cannot name %s: %s", to, strerror(errno));
    init_sync(folder);
    point();
    return KT_SUCCESS;
}

kt_status_t init_told(cli_t *cli)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return KT_SUCCESS;
    return cli_fail(cli, KT_NOSPACE, "cannot write the answer: %s", strerror(errno));
}

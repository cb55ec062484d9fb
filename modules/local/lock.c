/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock.c: how long a lock is waited for, and who holds it.
 *
 * The kernel says which process is in the way: F_GETLK on the -shm that is mapped anyway, and
 * /proc/locks for the database, which must not be opened (store.h, rule 1). A lock of an open file
 * description belongs to no process; the one that has it open is found as far as /proc lets us
 * look.
 */
#define _GNU_SOURCE
#include "lock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

#define SLEEP_MAX 10 /* milliseconds between two looks at a lock */

/* SQLite's bytes of -shm, and of the database: a process that holds one of these for
 * writing keeps out every other that opens it. */
#define CHECKPOINT_LOCK 121
#define RECOVER_LOCK 122
#define DATABASE_LOCKS 0x40000000
#define DATABASE_LOCKS_END (DATABASE_LOCKS + 511)

/* ---- waiting ---- */

static void sleep_us(int64_t us)
{
    struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    (void)nanosleep(&time, NULL);
}

/* Sleeps a little longer each time; 0: the deadline is past. */
static int wait_before(int64_t deadline, int count)
{
    int64_t left = deadline - local_clock();
    int64_t ms = count < SLEEP_MAX ? count + 1 : SLEEP_MAX;

    if (left <= 0)
        return 0;
    sleep_us(1000 * (ms < left ? ms : left));
    return 1;
}

int local_on_busy(void *arg, int count)
{
    const local_connection_t *connection = arg;

    return wait_before(connection->deadline, count);
}

/* ---- who ---- */

static int get_lock(const ktp_instance_t *instance, int byte, local_holder_t *ret_holder)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    if (instance->watch.map == NULL || fcntl(instance->watch.map->fd, F_GETLK, &lock) != 0 ||
        lock.l_type == F_UNLCK)
        return 0;
    ret_holder->file = instance->shm;
    ret_holder->ino = instance->watch.map->id.ino;
    ret_holder->pid = lock.l_pid;
    ret_holder->shared = lock.l_type == F_RDLCK;
    return 1;
}

/* A line of /proc/locks: "1: POSIX  ADVISORY  WRITE 4711 fe:01:1234 1073741824 1073741824". */
static int parse_lock(const char *line, ino_t ino, long long first, long long last,
                      local_holder_t *ret_holder)
{
    char kind[16], access[16], end[24];
    unsigned long long number;
    long long start;
    int pid;

    if (sscanf(line, "%*d: %15s %*s %15s %d %*x:%*x:%llu %lld %23s", kind, access, &pid, &number,
               &start, end) != 6 ||
        number != (unsigned long long)ino || strcmp(kind, "FLOCK") == 0)
        return 0;
    if (start > last || (strcmp(end, "EOF") != 0 && strtoll(end, NULL, 10) < first))
        return 0;
    ret_holder->pid = pid;
    ret_holder->shared = strcmp(access, "READ") == 0;
    return pid != (int)getpid();
}

/* A foreign lock for writing on the bytes of the database that every connection locks for reading.
 */
static int find_database_lock(const ktp_instance_t *instance, local_holder_t *ret_holder)
{
    FILE *file = fopen("/proc/locks", "re");
    char line[256];
    int found = 0;

    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = parse_lock(line, instance->watch.files.db.ino, DATABASE_LOCKS, DATABASE_LOCKS_END,
                           ret_holder) &&
                !ret_holder->shared;
    if (file != NULL)
        (void)fclose(file);
    if (found) {
        ret_holder->file = instance->path;
        ret_holder->ino = instance->watch.files.db.ino;
    }
    return found;
}

int local_find_holder(const ktp_instance_t *instance, local_holder_t *ret_holder)
{
    static const int bytes[] = {LOCAL_WRITE_LOCK, CHECKPOINT_LOCK, RECOVER_LOCK};

    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++)
        if (get_lock(instance, bytes[i], ret_holder))
            return 1;
    return find_database_lock(instance, ret_holder);
}

int local_find_pin(const ktp_instance_t *instance, local_holder_t *ret_holder)
{
    for (int byte = CHECKPOINT_LOCK; byte < LOCAL_ALIVE_LOCK; byte++)
        if (byte != RECOVER_LOCK && get_lock(instance, byte, ret_holder))
            return 1;
    return 0;
}

/* ---- in words ---- */

static int read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return 0;
    n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The name of a local user; a directory service, which may not answer, is not asked. */
static void user_name(uid_t uid, char *name, size_t size)
{
    FILE *file = fopen("/etc/passwd", "re");
    struct passwd entry, *found = NULL;
    char buffer[1024];

    (void)snprintf(name, size, "uid %u", (unsigned)uid);
    while (file != NULL && fgetpwent_r(file, &entry, buffer, sizeof buffer, &found) == 0)
        if (entry.pw_uid == uid) {
            (void)snprintf(name, size, "%s, uid %u", entry.pw_name, (unsigned)uid);
            break;
        }
    if (file != NULL)
        (void)fclose(file);
}

/* "process 4711 (python3 of www-data, uid 33)". A process gives its name to itself. */
static void describe_process(pid_t pid, char *text, size_t size)
{
    char path[64], status[1024], name[16] = "?", user[80] = "unknown uid";
    const char *at;
    unsigned uid;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (read_text(path, status, sizeof status)) {
        (void)sscanf(status, "Name:\t%15[^\n]", name);
        at = strstr(status, "\nUid:");
        if (at != NULL && sscanf(at, "\nUid: %*u %u", &uid) == 1)
            user_name(uid, user, sizeof user);
    }
    for (char *c = name; *c != '\0'; c++)
        if (!isgraph((unsigned char)*c))
            *c = '?';
    (void)snprintf(text, size, "process %d (%s of %s)", (int)pid, name, user);
}

/* Has a descriptor of the process such a lock? Its fdinfo shows it: "lock:\t1: OFDLCK  ADVISORY
 * READ -1 fe:01:1234 120 120". */
static int has_lock(const char *pid, const char *wanted)
{
    char path[64], text[1024];
    struct dirent *entry;
    int found = 0;
    DIR *dir;

    (void)snprintf(path, sizeof path, "/proc/%.20s/fdinfo", pid);
    dir = opendir(path);
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
        (void)snprintf(path, sizeof path, "/proc/%.20s/fdinfo/%.20s", pid, entry->d_name);
        found = entry->d_name[0] != '.' && read_text(path, text, sizeof text) &&
                strstr(text, "OFDLCK") != NULL && strstr(text, wanted) != NULL;
    }
    if (dir != NULL)
        (void)closedir(dir);
    return found;
}

static pid_t find_description(ino_t ino)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    char wanted[32];
    pid_t pid = 0;

    (void)snprintf(wanted, sizeof wanted, ":%llu ", (unsigned long long)ino);
    while (dir != NULL && pid == 0 && (entry = readdir(dir)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) && has_lock(entry->d_name, wanted))
            pid = (pid_t)strtol(entry->d_name, NULL, 10);
    if (dir != NULL)
        (void)closedir(dir);
    return pid;
}

void local_describe_holder(const local_holder_t *holder, char *text, size_t size)
{
    pid_t pid = holder->pid > 0 ? holder->pid : holder->pid < 0 ? find_description(holder->ino) : 0;

    if (pid != 0)
        describe_process(pid, text, size);
    else
        (void)snprintf(text, size,
                       "a process that the kernel does not name (`fuser -v %s` as root does)",
                       holder->file);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owner.c: records which process works on a pending version, and detects owners that died.
 *
 * A process that begins or resumes a rotation adds the note "BOOT NAMESPACE PID START UNTIL" to the
 * pending version. A process on the same machine can check whether the owner lives: it is dead if
 * there is no such process, or one with another start time. A process elsewhere (a store on a
 * network, another container) cannot check, and waits until UNTIL.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

typedef struct owner {
    char boot[KT_BOOT_ID];
    uint64_t space; /* the pid namespace */
    long pid;
    char start[24]; /* in clock ticks since boot; "-": not known */
    int64_t until;
} owner_t;

/* Field 22 of /proc/PID/stat. Field 2, the command in parentheses, may contain any character. */
static void read_start(long pid, char start[24])
{
    char path[48], text[1024], *at;
    int field;

    (void)snprintf(start, 24, "-");
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    if (!kt_read_text(path, text, sizeof(text)))
        return;
    at = strrchr(text, ')');
    for (field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at != NULL)
        (void)snprintf(start, 24, "%.*s", (int)strcspn(at + 1, " \n"), at + 1);
}

static void this_process(owner_t *owner)
{
    struct stat st;

    kt_boot_id(owner->boot);
    if (owner->boot[0] == '\0')
        (void)snprintf(owner->boot, sizeof(owner->boot), "-");
    owner->space = stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
    owner->pid = (long)getpid();
    read_start(owner->pid, owner->start);
}

void kt_lease_format(int64_t lease, char text[KT_LEASE_SIZE])
{
    owner_t owner;

    this_process(&owner);
    (void)snprintf(text, KT_LEASE_SIZE, "%s %" PRIu64 " %ld %s %" PRId64, owner.boot, owner.space,
                   owner.pid, owner.start, kt_now() + lease);
}

static bool parse(const char *text, owner_t *owner)
{
    return sscanf(text, "%39s %" SCNu64 " %ld %23s %" SCNd64, owner->boot, &owner->space,
                  &owner->pid, owner->start, &owner->until) == 5;
}

bool kt_lease_is_held(const char *text, long *ret_pid)
{
    owner_t owner, here;
    char start[24];

    *ret_pid = 0;
    if (text == NULL || !parse(text, &owner) || owner.until <= kt_now())
        return false;
    this_process(&here);
    if (strcmp(owner.boot, here.boot) != 0 || owner.space != here.space || here.space == 0)
        return true;
    *ret_pid = owner.pid;
    if (owner.pid <= 0 || (kill((pid_t)owner.pid, 0) != 0 && errno == ESRCH))
        return false;
    read_start(owner.pid, start);
    return strcmp(start, "-") == 0 || strcmp(owner.start, "-") == 0 ||
           strcmp(start, owner.start) == 0;
}

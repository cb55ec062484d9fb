/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hourly.c: what a shell asks at each press of a key is recorded once an hour.
 *
 * The file `completion` of the stream's folder says with its time of change when it was recorded
 * last. A time in the future proves nothing. A user who may change the file owns the stream, and
 * could leave out records anyway.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream.h"

#define HOUR 3600 /* s */
#define FLAGS (O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static int open_stamp(const kt_audit_t *audit)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/completion", audit->path) >= (int)sizeof(path))
        return -1;
    return open(path, FLAGS, 0600);
}

bool kt_audit_in_this_hour(const kt_audit_t *audit)
{
    int fd = open_stamp(audit);
    struct stat st;
    struct timespec now;
    bool fresh;

    if (fd < 0)
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    fresh = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
            st.st_mtim.tv_sec <= now.tv_sec && now.tv_sec - st.st_mtim.tv_sec < HOUR;
    kt_close_fd(&fd);
    return fresh;
}

/* If it cannot be noted, the next request is recorded too. */
void kt_audit_begin_hour(const kt_audit_t *audit)
{
    int fd = open_stamp(audit);

    if (fd < 0)
        return;
    (void)!pwrite(fd, "\n", 1, 0);
    kt_close_fd(&fd);
}

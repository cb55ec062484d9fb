/* SPDX-License-Identifier: BSD-2-Clause */
/* sink_log.c: the logs of a stream as a sink meets them: the present one, and those that logrotate
 * has renamed. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sinks.h"

#define BACKLOG (1024u * 1024u) /* of an old log, what a new sink begins with at most */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

int kt_sink_log_open(int folder, const char *name, kt_sink_log_t *ret_log)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char line[1024];
    const char *at, *block;
    struct stat st;
    ssize_t got = fd >= 0 ? pread(fd, line, sizeof(line) - 1, 0) : -1;

    if (got > 0) {
        line[got] = '\0';
        at = strstr(line, ",\"instance\":\"");
        block = strstr(line, ",\"block\":");
        if (strncmp(line, KT_TRAIL_LOG, strlen(KT_TRAIL_LOG)) == 0 && at != NULL && block != NULL &&
            fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
            kt_trail_take_hex(&at, ",\"instance\":\"", ret_log->instance, KT_TRAIL_ID) &&
            kt_trail_take_number(&block, ",\"block\":", &ret_log->block)) {
            ret_log->inode = st.st_ino;
            ret_log->size = (uint64_t)st.st_size;
            return fd;
        }
    }
    close_fd(&fd);
    return -1;
}

bool kt_sink_log_is(const kt_sent_t *sent, const kt_sink_log_t *log)
{
    return sent->inode == log->inode && sent->head_block == log->block &&
           memcmp(sent->instance, log->instance, KT_TRAIL_ID) == 0 && sent->offset <= log->size;
}

int kt_sink_log_find(int folder, const kt_sent_t *sent, bool next, kt_sink_log_t *ret_log)
{
    int dup_fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), found = -1;
    DIR *dir = dup_fd >= 0 ? fdopendir(dup_fd) : NULL;
    struct dirent *entry;

    if (dir == NULL) {
        close_fd(&dup_fd);
        return -1;
    }
    while ((entry = readdir(dir)) != NULL) {
        kt_sink_log_t log;
        int fd = strncmp(entry->d_name, "log", 3) == 0
                     ? kt_sink_log_open(folder, entry->d_name, &log)
                     : -1;
        bool fits = fd >= 0 && (next ? memcmp(sent->instance, log.instance, KT_TRAIL_ID) == 0 &&
                                           log.block > sent->head_block &&
                                           (found < 0 || log.block < ret_log->block)
                                     : kt_sink_log_is(sent, &log));

        if (!fits) {
            close_fd(&fd);
            continue;
        }
        close_fd(&found);
        found = fd;
        *ret_log = log;
    }
    (void)closedir(dir);
    return found;
}

uint64_t kt_sink_log_near_end(int fd, const kt_sink_log_t *log)
{
    char *text = log->size > BACKLOG ? malloc(BACKLOG) : NULL;
    ssize_t got = text != NULL ? pread(fd, text, BACKLOG, (off_t)(log->size - BACKLOG)) : 0;
    const char *seal =
        got > 0 ? memmem(text, (size_t)got, "\n" KT_TRAIL_SEAL, strlen(KT_TRAIL_SEAL) + 1) : NULL;
    const char *end = seal != NULL ? memchr(seal + 1, '\n', (size_t)(text + got - seal - 1)) : NULL;
    uint64_t offset = end != NULL ? log->size - BACKLOG + (uint64_t)(end + 1 - text) : 0;

    free(text);
    return offset;
}

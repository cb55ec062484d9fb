/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sink_syslog.c: lines to the machine's syslog, one datagram each.
 *
 * Not by syslog(3): it belongs to the host, which may have opened it under a name of its own, and
 * it waits while the socket is full.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "sinks.h"

void kt_sink_syslog_close(kt_sink_syslog_t *log)
{
    if (log->fd >= 0)
        (void)close(log->fd);
    log->fd = -1;
}

bool kt_sink_syslog_open(kt_sink_syslog_t *log, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (log->fd >= 0)
        return true;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    log->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (log->fd >= 0 && connect(log->fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return true;
    (void)kt_fail(KT_UNAVAIL, "%s: %s", path, strerror(errno));
    kt_sink_syslog_close(log);
    return false;
}

static int priority_of(const char *line, size_t size)
{
    static const struct {
        const char *text;
        int priority;
    } rows[] = {
        {",\"severity\":\"critical\"", LOG_CRIT},
        {",\"severity\":\"high\"", LOG_ERR},
        {",\"severity\":\"medium\"", LOG_WARNING},
    };
    size_t i;

    for (i = 0; i < KT_ARRAY(rows); i++)
        if (memmem(line, size, rows[i].text, strlen(rows[i].text)) != NULL)
            return rows[i].priority;
    return LOG_INFO;
}

/* As syslog(3) writes it: "<36>Nov 23 10:00:00 keyturn[4711]: ". The month's name is English,
 * whatever the host's locale. */
static size_t format_head(char head[80], int priority)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm tm;
    int size;

    memset(&tm, 0, sizeof(tm));
    (void)localtime_r(&now, &tm);
    size = snprintf(head, 80, "<%d>%.3s %2d %02d:%02d:%02d keyturn[%d]: ", priority,
                    months + (tm.tm_mon >= 0 ? 3 * tm.tm_mon : 0), tm.tm_mday, tm.tm_hour,
                    tm.tm_min, tm.tm_sec, (int)getpid());
    return size > 0 && size < 80 ? (size_t)size : 0;
}

/* 0, or errno. */
static int send_line(const kt_sink_syslog_t *log, int facility, const char *line, size_t size)
{
    char head[80];
    struct iovec parts[] = {{head, format_head(head, facility | priority_of(line, size))},
                            {(char *)(uintptr_t)line, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = KT_ARRAY(parts)};

    while (sendmsg(log->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

kt_delivery_t kt_sink_syslog_send(kt_sink_syslog_t *log, const kt_cfg_sink_t *config,
                                  kt_batch_t *batch)
{
    while (batch->at < batch->size) {
        const char *line = batch->text + batch->at;
        size_t size = (size_t)((const char *)memchr(line, '\n', batch->size - batch->at) - line);
        int error;

        if (!kt_sink_syslog_open(log, config->socket))
            return KT_DELIVERY_FAILED;
        error = send_line(log, config->facility, line, size);
        if (error == EAGAIN || error == ENOBUFS)
            return KT_DELIVERY_BUSY; /* the daemon reads slowly */
        /* the daemon was restarted, or is gone: the next attempt begins with this line */
        if (error != 0 && error != EMSGSIZE) {
            (void)kt_fail(KT_UNAVAIL, "%s: %s", config->socket, strerror(error));
            kt_sink_syslog_close(log);
            return KT_DELIVERY_FAILED;
        }
        batch->at += size + 1;
    }
    return KT_DELIVERY_DONE;
}

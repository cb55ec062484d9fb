/* SPDX-License-Identifier: BSD-2-Clause */
/* connection.c: one connection to the server, and what its answers mean. */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int64_t kr_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

ktp_status_t kr_fail(ktp_instance_t *instance, ktp_status_t status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(instance->error, sizeof(instance->error), format, args);
    va_end(args);
    return status;
}

ktp_status_t kr_usable(ktp_instance_t *instance)
{
    return instance->pid == getpid()
               ? KTP_SUCCESS
               : kr_fail(instance, KTP_UNAVAIL, "opened by another process, before a fork");
}

/* ---- what an error reply means ---- */

typedef struct meaning {
    const char *start;
    ktp_status_t status;
    const char *text;
} meaning_t;

static const meaning_t meanings[] = {
    {"SECRETVERSION", KTP_CONFLICT, "another writer was first"},
    {"SECRETDENIED", KTP_FORBIDDEN, "the policy of the server refuses us"},
    {"SECRETCORRUPT", KTP_MALFORMED, "the server says that this is not a sealed secret"},
    {"SECRETMOVED", KTP_MALFORMED, "the key holds a secret of another name: it was renamed"},
    {"SECRETAUDIT", KTP_UNAVAIL, "the server cannot record the access, hence refuses it"},
    {"NOPERM", KTP_FORBIDDEN, "the ACL of our user does not allow this"},
    {"NOAUTH", KTP_FORBIDDEN, "the server requires a user and a password"},
    {"WRONGPASS", KTP_FORBIDDEN, "the server does not accept our user and password"},
    {"WRONGTYPE", KTP_MALFORMED, "the key holds something else than a secret"},
    {"LOADING", KTP_TRYAGAIN, "the server is loading its data"},
    {"BUSY", KTP_TRYAGAIN, "the server is busy with a script"},
    {"TRYAGAIN", KTP_TRYAGAIN, "the cluster is moving this key"},
    {"OOM", KTP_NOSPACE, "the server has no memory left"},
    {"MISCONF", KTP_NOSPACE, "the server cannot write to its disk"},
    {"READONLY", KTP_UNAVAIL, "this is a replica: it takes no writes"},
    {"NOREPLICAS", KTP_UNAVAIL, "the server has too few replicas to take writes"},
    {"MASTERDOWN", KTP_UNAVAIL, "the replica has lost its master"},
    {"MOVED", KTP_UNAVAIL, "another node of the cluster has this key"},
    {"ASK", KTP_UNAVAIL, "another node of the cluster has this key"},
    {"CLUSTERDOWN", KTP_UNAVAIL, "the cluster is down"},
    {"ERR unknown command", KTP_UNAVAIL, "the keyturn module is not loaded there"},
    {"ERR the key is not the name", KTP_MALFORMED, "the key is not the name of a secret"},
};

/* The server's own text may repeat what it was sent, so at most its first word is shown. */
static ktp_status_t explain(ktp_instance_t *instance, const redisReply *reply)
{
    size_t word;

    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        size_t len = strlen(meanings[i].start);

        if (reply->len < len || memcmp(reply->str, meanings[i].start, len) != 0)
            continue;
        instance->moved = strcmp(meanings[i].start, "SECRETMOVED") == 0;
        return kr_fail(instance, meanings[i].status, "%s", meanings[i].text);
    }
    word = strspn(reply->str, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return kr_fail(instance, KTP_UNAVAIL, "an unexpected error (%.*s)",
                   (int)(word > 24 ? 24 : word), reply->str);
}

/* ---- bytes ---- */

#define STEP 100 /* ms of waiting after which the caller may have gone */

/* 0: `events` are there; ECANCELED: the caller does not want to wait any longer; else errno. */
static int wait_for(const ktp_services_t *services, int fd, short events, int64_t deadline)
{
    struct pollfd watched = {.fd = fd, .events = events};
    int64_t left;
    int n;

    do {
        left = deadline - kr_clock();
        if (left <= 0)
            return ETIMEDOUT;
        n = poll(&watched, 1, left > STEP ? STEP : (int)left);
        if (n <= 0 && ktp_interrupted(services))
            return ECANCELED;
    } while (n == 0 || (n < 0 && errno == EINTR));
    return n < 0 ? errno : 0;
}

static int send_all(const ktp_services_t *services, int fd, const char *bytes, size_t size,
                    int64_t deadline)
{
    while (size > 0) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        int error = n < 0 ? errno : 0;

        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (error == EAGAIN) {
            error = wait_for(services, fd, POLLOUT, deadline);
        } else if (error == EINTR) {
            error = 0;
        }
        if (error != 0)
            return error;
    }
    return 0;
}

int kr_send_now(kr_connection_t *connection, const char *bytes, size_t size)
{
    return send(connection->context->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size
               ? 0
               : -1;
}

/* One answer, of KR_ANSWER_MAX bytes at most. *ret_why is set unless a reply is returned. */
static redisReply *receive(const ktp_services_t *services, kr_connection_t *connection,
                           int64_t deadline, ktp_status_t *ret_status, const char **ret_why)
{
    redisReader *reader = connection->context->reader;
    char bytes[16384];
    void *reply = NULL;
    size_t total = 0;
    ssize_t n;
    int error;

    *ret_status = KTP_UNAVAIL;
    for (;;) {
        if (redisReaderGetReply(reader, &reply) != REDIS_OK || total > KR_ANSWER_MAX) {
            *ret_status = KTP_MALFORMED;
            *ret_why = total > KR_ANSWER_MAX ? "the answer is too long"
                                             : "this is not a Redis server's answer";
            break;
        }
        if (reply != NULL)
            return reply;
        n = recv(connection->context->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        error = n < 0 ? errno : 0;
        if (error == EAGAIN || error == EINTR) {
            error = wait_for(services, connection->context->fd, POLLIN, deadline);
            if (error == 0)
                continue;
        }
        if (n <= 0) {
            *ret_why = error == ETIMEDOUT   ? "no answer in time"
                       : error == ECANCELED ? "interrupted"
                                            : "the connection is broken";
            if (error == ECANCELED)
                *ret_status = KTP_TRYAGAIN;
            break;
        }
        total += (size_t)n;
        redisReaderFeed(reader, bytes, (size_t)n);
    }
    if (reply != NULL)
        freeReplyObject(reply);
    return NULL;
}

/* ---- commands ---- */

static ktp_status_t send_command(ktp_instance_t *instance, kr_connection_t *connection,
                                 int64_t deadline, const kr_argument_t *arguments, size_t count)
{
    const char *data[8];
    size_t sizes[8];
    char *command = NULL;
    long long size;
    int error;

    for (size_t i = 0; i < count; i++) {
        data[i] = arguments[i].data;
        sizes[i] = arguments[i].size;
    }
    size = redisFormatCommandArgv(&command, (int)count, data, sizes);
    if (size < 0 || command == NULL)
        return kr_fail(instance, KTP_UNAVAIL, "out of memory");
    error = send_all(instance->services, connection->context->fd, command, (size_t)size, deadline);
    explicit_bzero(command, (size_t)size); /* it may hold the password */
    redisFreeCommand(command);
    if (error == 0)
        return KTP_SUCCESS;
    if (error == ECANCELED)
        return kr_fail(instance, KTP_TRYAGAIN, "interrupted");
    return kr_fail(instance, KTP_UNAVAIL, "%s",
                   error == ETIMEDOUT ? "it does not take our command in time"
                                      : "the connection is broken");
}

ktp_status_t kr_exchange(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
                         const kr_argument_t *arguments, size_t count, redisReply **ret_reply)
{
    const char *why = NULL;
    redisReply *reply;
    ktp_status_t status;

    status = send_command(instance, connection, deadline, arguments, count);
    if (status != KTP_SUCCESS) {
        kr_close(connection);
        return status;
    }
    reply = receive(instance->services, connection, deadline, &status, &why);
    if (reply == NULL) {
        kr_close(connection); /* an answer that comes later must not be taken for the next one's */
        return kr_fail(instance, status, "%s", why);
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        status = explain(instance, reply);
        freeReplyObject(reply);
        return status;
    }
    *ret_reply = reply;
    return KTP_SUCCESS;
}

/* ---- connecting ---- */

void kr_close(kr_connection_t *connection)
{
    if (connection->context != NULL)
        redisFree(connection->context);
    connection->context = NULL;
}

/* An answer of no interest. */
static ktp_status_t run(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
                        const kr_argument_t *arguments, size_t count)
{
    redisReply *reply = NULL;
    ktp_status_t status = kr_exchange(instance, connection, deadline, arguments, count, &reply);

    if (status == KTP_SUCCESS)
        freeReplyObject(reply);
    return status;
}

static ktp_status_t log_in(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline)
{
    kr_argument_t arguments[3] = {KR_TEXT("AUTH")};
    ktp_status_t status;
    size_t count = 1;

    if (instance->password == NULL)
        return KTP_SUCCESS;
    if (instance->username != NULL)
        arguments[count++] = (kr_argument_t){instance->username, strlen(instance->username)};
    arguments[count++] = (kr_argument_t){instance->password, instance->password_size};
    status = run(instance, connection, deadline, arguments, count);
    if (status == KTP_UNAVAIL &&
        connection->context != NULL) /* a refusal that has no word of its own */
        return kr_fail(instance, KTP_FORBIDDEN, "the server does not accept our user and password");
    return status;
}

static ktp_status_t choose_db(ktp_instance_t *instance, kr_connection_t *connection,
                              int64_t deadline)
{
    kr_argument_t arguments[2] = {KR_TEXT("SELECT")};
    char number[24];

    if (instance->db == 0)
        return KTP_SUCCESS;
    arguments[1] = (kr_argument_t){
        number, (size_t)snprintf(number, sizeof(number), "%lld", (long long)instance->db)};
    return run(instance, connection, deadline, arguments, 2);
}

static redisContext *connect_within(const ktp_instance_t *instance, int64_t deadline)
{
    int64_t left = deadline - kr_clock();
    struct timeval timeout;

    if (left < 1)
        left = 1;
    timeout.tv_sec = left / 1000;
    timeout.tv_usec = left % 1000 * 1000;
    if (instance->host == NULL)
        return redisConnectUnixWithTimeout(instance->path, timeout);
    return redisConnectWithTimeout(instance->host, instance->port, timeout);
}

ktp_status_t kr_open(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline)
{
    redisContext *context = connect_within(instance, deadline);
    ktp_status_t status;

    if (context == NULL || context->err != 0) {
        status = kr_fail(instance, KTP_UNAVAIL, "cannot connect: %.128s",
                         context != NULL ? context->errstr : "out of memory");
        redisFree(context);
        return status;
    }
    connection->context = context;
    fcntl(context->fd, F_SETFD, FD_CLOEXEC);
    if (instance->host != NULL)
        redisEnableKeepAlive(context);
    status = log_in(instance, connection, deadline);
    if (status == KTP_SUCCESS)
        status = choose_db(instance, connection, deadline);
    if (status != KTP_SUCCESS)
        kr_close(connection);
    return status;
}

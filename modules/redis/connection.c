/* SPDX-License-Identifier: BSD-2-Clause */
/* connection.c: one connection that is open: commands and answers, and what an error means. */
#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tls.h"

/* ---- what an error reply means ---- */

typedef struct meaning {
    const char *start;
    ktp_status_t status;
    const char *text;
    kr_refusal_t refusal; /* of those that the caller can do something about */
} meaning_t;

static const meaning_t meanings[] = {
    {"SECRETVERSION", KTP_CONFLICT, "another writer was first", KR_OTHER},
    {"SECRETDENIED", KTP_FORBIDDEN, "the policy of the server refuses us", KR_OTHER},
    {"SECRETCORRUPT", KTP_MALFORMED, "the server says that this is not a sealed secret", KR_OTHER},
    {"SECRETMOVED", KTP_MALFORMED, "the key holds a secret of another name: it was renamed",
     KR_RENAMED},
    {"SECRETAUDIT", KTP_UNAVAIL, "the server cannot record the access, hence refuses it", KR_OTHER},
    {"NOPERM", KTP_FORBIDDEN, "the ACL of our user does not allow this", KR_NO_COMMAND},
    {"NOAUTH", KTP_UNAVAIL,
     "the server requires a user and a password (give it `username` and `password`)", KR_LOG_IN},
    {"WRONGPASS", KTP_UNAVAIL, KR_WRONG_PASSWORD, KR_LOG_IN},
    {"WRONGTYPE", KTP_MALFORMED, "the key holds something else than a secret", KR_OTHER},
    {"LOADING", KTP_TRYAGAIN, "the server is loading its data", KR_OTHER},
    {"BUSY", KTP_TRYAGAIN, "the server is busy with a script", KR_OTHER},
    {"TRYAGAIN", KTP_TRYAGAIN, "the cluster is moving this key", KR_OTHER},
    {"OOM", KTP_NOSPACE, "the server has no memory left", KR_OTHER},
    {"MISCONF", KTP_NOSPACE, "the server cannot write to its disk", KR_OTHER},
    {"READONLY", KTP_UNAVAIL, "this is a replica: it takes no writes", KR_READONLY},
    {"NOREPLICAS", KTP_UNAVAIL, "the server has too few replicas to take writes", KR_OTHER},
    {"MASTERDOWN", KTP_UNAVAIL, "the replica has lost its master", KR_OTHER},
    {"MOVED ", KTP_UNAVAIL, "the nodes of the cluster do not agree who has this secret", KR_MOVED},
    {"ASK ", KTP_UNAVAIL, "the nodes of the cluster do not agree who has this secret", KR_ASK},
    {"CLUSTERDOWN", KTP_UNAVAIL, "the cluster is down", KR_OTHER},
    {"ERR unknown command", KTP_UNAVAIL, "the keyturn module is not loaded there", KR_OTHER},
    {"ERR the key is not the name", KTP_MALFORMED, "the key is not the name of a secret",
     KR_OTHER},
};

/* The server's own text may repeat what it was sent, so at most its first word is shown. */
static ktp_status_t explain(ktp_instance_t *instance, const redisReply *reply)
{
    size_t word;

    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        size_t len = strlen(meanings[i].start);

        if (reply->len < len || memcmp(reply->str, meanings[i].start, len) != 0)
            continue;
        instance->refusal = meanings[i].refusal;
        if (instance->refusal == KR_NO_COMMAND && strstr(reply->str, " command") == NULL)
            instance->refusal = KR_OTHER; /* a key, a channel */
        if (instance->refusal == KR_MOVED || instance->refusal == KR_ASK)
            snprintf(instance->redirect, sizeof(instance->redirect), "%s", reply->str + len);
        return kr_fail(instance, meanings[i].status, "%s", meanings[i].text);
    }
    word = strspn(reply->str, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return kr_fail(instance, KTP_UNAVAIL, "an unexpected error (%.*s)",
                   (int)(word > 24 ? 24 : word), reply->str);
}

/* ---- bytes ---- */

/* -1 and errno EAGAIN: *ret_events is what to wait for. */
static ssize_t send_some(kr_connection_t *connection, const char *bytes, size_t size,
                         short *ret_events)
{
    *ret_events = POLLOUT;
    if (connection->ssl != NULL)
        return kr_tls_send(connection, bytes, size, ret_events);
    return send(connection->context->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t receive_some(kr_connection_t *connection, char *bytes, size_t size,
                            short *ret_events)
{
    *ret_events = POLLIN;
    if (connection->ssl != NULL)
        return kr_tls_receive(connection, bytes, size, ret_events);
    return recv(connection->context->fd, bytes, size, MSG_DONTWAIT);
}

static int send_all(const ktp_services_t *services, kr_connection_t *connection, const char *bytes,
                    size_t size, int64_t deadline)
{
    while (size > 0) {
        short events;
        ssize_t n = send_some(connection, bytes, size, &events);
        int error = n < 0 ? errno : 0;

        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (error == EAGAIN) {
            error = kr_wait_for(services, connection->context->fd, events, deadline);
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
    short events;

    return send_some(connection, bytes, size, &events) == (ssize_t)size ? 0 : -1;
}

ssize_t kr_receive_now(kr_connection_t *connection, char *bytes, size_t size)
{
    short events;

    return receive_some(connection, bytes, size, &events);
}

int kr_is_alive(kr_connection_t *connection)
{
    char byte;

    if (connection->ssl != NULL)
        return kr_tls_is_quiet(connection);
    return recv(connection->context->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EINTR);
}

/* One answer, of KR_ANSWER_MAX bytes at most. *ret_why is set unless a reply is returned. */
static redisReply *receive(const ktp_services_t *services, kr_connection_t *connection,
                           int64_t deadline, ktp_status_t *ret_status, const char **ret_why)
{
    redisReader *reader = connection->context->reader;
    char bytes[16384];
    void *reply = NULL;
    size_t total = 0;
    short events;
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
        n = receive_some(connection, bytes, sizeof(bytes), &events);
        error = n < 0 ? errno : 0;
        if (error == EAGAIN || error == EINTR) {
            error = kr_wait_for(services, connection->context->fd, events, deadline);
            if (error == 0)
                continue;
        }
        if (n <= 0) {
            *ret_why = error == ETIMEDOUT          ? "no answer in time"
                       : error == ECANCELED        ? "interrupted"
                       : kr_tls_why(connection)    ? kr_tls_why(connection)
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
    error = send_all(instance->services, connection, command, (size_t)size, deadline);
    explicit_bzero(command, (size_t)size); /* it may hold the password */
    redisFreeCommand(command);
    if (error == 0)
        return KTP_SUCCESS;
    if (error == ECANCELED)
        return kr_fail(instance, KTP_TRYAGAIN, "interrupted");
    return kr_fail(instance, KTP_UNAVAIL, "%s",
                   error == ETIMEDOUT       ? "it does not take our command in time"
                   : kr_tls_why(connection) ? kr_tls_why(connection)
                                            : "the connection is broken");
}

ktp_status_t kr_answer(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
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
    *ret_reply = reply;
    return KTP_SUCCESS;
}

ktp_status_t kr_exchange(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
                         const kr_argument_t *arguments, size_t count, redisReply **ret_reply)
{
    redisReply *reply = NULL;
    ktp_status_t status = kr_answer(instance, connection, deadline, arguments, count, &reply);

    if (status != KTP_SUCCESS)
        return status;
    if (reply->type == REDIS_REPLY_ERROR) {
        status = explain(instance, reply);
        freeReplyObject(reply);
        return status;
    }
    *ret_reply = reply;
    return KTP_SUCCESS;
}

void kr_close(kr_connection_t *connection)
{
    kr_tls_end(connection);
    if (connection->context != NULL)
        redisFree(connection->context);
    connection->context = NULL;
}

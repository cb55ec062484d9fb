/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch.c: the change token.
 *
 * The server announces which keys change (client tracking, RESP2 form) to a connection that is
 * there for nothing else: it redirects to itself and is subscribed to __redis__:invalidate. An
 * announcement that may mean a secret changes the token. So does everything after which one may
 * have been missed: a connection that was made again, broke, or has been silent for too long.
 *
 * Tracking is by BCAST: every change, also of what we never read. The default mode announces the
 * first change of what the connection has read since, so that a token would stay the same over the
 * second; and it ends, unnoticed here, with the connection that reads. A server that is used for
 * other things too announces those as well; keys that cannot be names of secrets (most have a
 * colon) do not count.
 */
#include "watch.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"

#define CHANNEL "__redis__:invalidate"
#define HEARTBEAT                                                                                  \
    5000 /* milliseconds of silence after which the connection is asked whether it is alive */
#define PING "*1\r\n$4\r\nPING\r\n"

static ktp_status_t ask(ktp_instance_t *instance, int64_t deadline, const kr_argument_t *arguments,
                        size_t count, long long *ret_number)
{
    redisReply *reply = NULL;
    ktp_status_t status =
        kr_exchange(instance, &instance->watch, deadline, arguments, count, &reply);

    if (status != KTP_SUCCESS)
        return status;
    *ret_number = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    freeReplyObject(reply);
    return KTP_SUCCESS;
}

static ktp_status_t track(ktp_instance_t *instance, int64_t deadline)
{
    static const kr_argument_t ask_id[] = {KR_TEXT("CLIENT"), KR_TEXT("ID")};
    static const kr_argument_t subscribe[] = {KR_TEXT("SUBSCRIBE"), KR_TEXT(CHANNEL)};
    kr_argument_t tracking[] = {
        KR_TEXT("CLIENT"), KR_TEXT("TRACKING"), KR_TEXT("ON"),
        KR_TEXT("BCAST"),  KR_TEXT("REDIRECT"), {NULL, 0},
    };
    long long number = 0;
    ktp_status_t status;
    char id[24];

    status = ask(instance, deadline, ask_id, 2, &number);
    tracking[5] = (kr_argument_t){id, (size_t)snprintf(id, sizeof(id), "%lld", number)};
    if (status == KTP_SUCCESS)
        status = ask(instance, deadline, tracking, 6, &number);
    if (status == KTP_SUCCESS)
        status = ask(instance, deadline, subscribe, 2, &number);
    return status;
}

ktp_status_t kr_watch(ktp_instance_t *instance, int64_t deadline)
{
    ktp_status_t status = kr_open(instance, &instance->watch, deadline);

    if (status == KTP_SUCCESS)
        status = track(instance, deadline);
    instance->heard = kr_clock();
    instance->pinged = 0;
    instance->generation++;
    if (status != KTP_SUCCESS)
        kr_close(&instance->watch);
    if (status == KTP_FORBIDDEN)
        return kr_fail(
            instance, status,
            "to follow changes our user needs +client|id +client|tracking +subscribe &%s", CHANNEL);
    return status;
}

int kr_is_name(const redisReply *reply)
{
    static const char bytes[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/";

    return reply->type == REDIS_REPLY_STRING && reply->len <= KR_NAME_MAX &&
           strspn(reply->str, bytes) == reply->len;
}

/* "message", the channel, and the keys, or nil for all of them. The answer to a PING is "pong" and
 * "". */
static int tells_of_change(const redisReply *message)
{
    const redisReply *keys;

    if (message->type != REDIS_REPLY_ARRAY || message->elements < 3)
        return 0;
    keys = message->element[2];
    if (keys->type != REDIS_REPLY_ARRAY)
        return 1;
    for (size_t i = 0; i < keys->elements; i++) {
        if (kr_is_name(keys->element[i]))
            return 1;
    }
    return 0;
}

/* 0, or -1: it is broken. */
static int take_messages(ktp_instance_t *instance)
{
    redisReader *reader = instance->watch.context->reader;
    void *reply = NULL;

    for (;;) {
        if (redisReaderGetReply(reader, &reply) != REDIS_OK)
            return -1;
        if (reply == NULL)
            return 0;
        if (tells_of_change(reply))
            instance->generation++;
        freeReplyObject(reply);
    }
}

/* 0, or -1: it is broken. */
static int read_messages(ktp_instance_t *instance)
{
    char bytes[4096];
    ssize_t n;

    while ((n = recv(instance->watch.context->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
        instance->heard = kr_clock();
        instance->pinged = 0;
        redisReaderFeed(instance->watch.context->reader, bytes, (size_t)n);
        if (take_messages(instance) != 0)
            return -1;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

/* A network that is gone says nothing. Until it has answered, a connection that was silent for long
 * vouches for nothing. */
static int check_pulse(ktp_instance_t *instance)
{
    int64_t now = kr_clock();

    if (now - instance->heard < HEARTBEAT)
        return 0;
    if (now - instance->heard >= 2 * HEARTBEAT)
        instance->generation++;
    if (instance->pinged == 0) {
        instance->pinged = now;
        return kr_send_now(&instance->watch, PING, sizeof(PING) - 1);
    }
    return now - instance->pinged > instance->timeout ? -1 : 0;
}

static void unwatch(ktp_instance_t *instance)
{
    kr_close(&instance->watch);
    instance->generation++;
}

ktp_status_t kr_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    ktp_status_t status = kr_usable(instance);

    if (status != KTP_SUCCESS)
        return status;
    instance->watching = 1;
    if (instance->watch.context == NULL)
        instance->generation++; /* nothing is known: the next read connects */
    else if (read_messages(instance) != 0 || check_pulse(instance) != 0)
        unwatch(instance);
    memset(ret_token, 0, KTP_TOKEN_SIZE);
    memcpy(ret_token, &instance->born, sizeof(instance->born));
    memcpy(ret_token + sizeof(instance->born), &instance->generation, sizeof(instance->generation));
    return KTP_SUCCESS;
}

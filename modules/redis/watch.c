/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch.c: the change token.
 *
 * The module of the server publishes which secrets change, as "DB KEY", "DB *" or "*", to a
 * connection that is there for nothing else. A message that may mean our database changes the
 * token. So does everything after which one may have been missed: a connection that was made again,
 * broke, or has been silent for too long, and more messages than one call reads.
 *
 * The server queues nothing for a consumer that is idle, whatever its other keys do. Client
 * tracking announced every key of the server, and let it keep megabytes for each process that did
 * not read them.
 */
#include "watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "open.h"

#define CHANNEL "__keyturn__:changed"
#define HEARTBEAT                                                                                  \
    5000 /* milliseconds of silence after which the connection is asked whether it is alive */
/* The question is to subscribe again, which changes nothing and needs no further right. */
#define SUBSCRIBE "*2\r\n$9\r\nSUBSCRIBE\r\n$19\r\n" CHANNEL "\r\n"
#define DRAIN_MAX (64u * 1024) /* bytes that one call reads: no request waits for a flood */

ktp_status_t kr_watch(ktp_instance_t *instance, int64_t deadline)
{
    static const kr_argument_t subscribe[] = {KR_TEXT("SUBSCRIBE"), KR_TEXT(CHANNEL)};
    redisReply *reply = NULL;
    ktp_status_t status = kr_open(instance, &instance->watch, deadline);

    if (status == KTP_SUCCESS)
        status = kr_exchange(instance, &instance->watch, deadline, subscribe, 2, &reply);
    if (reply != NULL)
        freeReplyObject(reply);
    snprintf(instance->watched, sizeof(instance->watched), "%s", instance->address);
    instance->heard = kr_clock();
    instance->pinged = 0;
    instance->generation++;
    if (status != KTP_SUCCESS)
        kr_close(&instance->watch);
    if (status == KTP_FORBIDDEN)
        return kr_fail(instance, status,
                       "the ACL of our user does not let it follow changes (add: +subscribe "
                       "&" CHANNEL ")");
    return status;
}

int kr_is_name(const redisReply *reply)
{
    static const char bytes[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/";

    return reply->type == REDIS_REPLY_STRING && reply->len <= KR_NAME_MAX &&
           strspn(reply->str, bytes) == reply->len;
}

/* "message", the channel, and "DB KEY". Another database does not count; what cannot be read does.
 */
static int tells_of_change(const ktp_instance_t *instance, const redisReply *message)
{
    const redisReply *kind, *text;
    char own[24];
    size_t len;

    if (message->type != REDIS_REPLY_ARRAY || message->elements != 3)
        return 0;
    kind = message->element[0];
    text = message->element[2];
    if (kind->type != REDIS_REPLY_STRING || strcmp(kind->str, "message") != 0)
        return 0;
    if (text->type != REDIS_REPLY_STRING || text->len == 0 || strspn(text->str, "0123456789") == 0)
        return 1;
    len = (size_t)snprintf(own, sizeof(own), "%lld ", (long long)instance->db);
    return text->len >= len && memcmp(text->str, own, len) == 0;
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
        if (tells_of_change(instance, reply))
            instance->generation++;
        freeReplyObject(reply);
    }
}

/* 0, or -1: it is broken. What is left for the next call may be anything. */
static int read_messages(ktp_instance_t *instance)
{
    redisReader *reader = instance->watch.context->reader;
    char bytes[4096];
    size_t total = 0;
    ssize_t n;

    while ((n = kr_receive_now(&instance->watch, bytes, sizeof(bytes))) > 0) {
        instance->heard = kr_clock();
        instance->pinged = 0;
        total += (size_t)n;
        if (redisReaderFeed(reader, bytes, (size_t)n) != REDIS_OK ||
            take_messages(instance) != 0 || reader->len - reader->pos > DRAIN_MAX)
            return -1;
        if (total >= DRAIN_MAX) {
            instance->generation++;
            return 0;
        }
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
        return kr_send_now(&instance->watch, SUBSCRIBE, sizeof(SUBSCRIBE) - 1);
    }
    return now - instance->pinged > instance->timeout ? -1 : 0;
}

void kr_unwatch(ktp_instance_t *instance)
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
        kr_unwatch(instance);
    memset(ret_token, 0, KTP_TOKEN_SIZE);
    memcpy(ret_token, &instance->born, sizeof(instance->born));
    memcpy(ret_token + sizeof(instance->born), &instance->generation, sizeof(instance->generation));
    return KTP_SUCCESS;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* check.c: is the server fit for us? Each right is used once, since nothing else proves it. */
#include "check.h"

#include <string.h>

#include "call.h"
#include "masters.h"
#include "watch.h"

#define TRIED_MAX 3u /* names that are read: refusals count against us in the server's trail */
#define NO_NAME "keyturn/check"

static ktp_status_t may_not(ktp_instance_t *instance, const char *what, const char *right)
{
    return kr_fail(instance, KTP_FORBIDDEN,
                   "the ACL of our user does not let it %s (ACL SETUSER %.64s %s)", what,
                   instance->username != NULL ? instance->username : "default", right);
}

/* Reads one; what is in it does not matter. */
static ktp_status_t read_one(ktp_instance_t *instance, const char *name, size_t size)
{
    const kr_argument_t get[] = {KR_TEXT("SECRET.GETSEALED"), {name, size}};
    redisReply *reply = NULL;
    ktp_status_t status = kr_call(instance, name, get, 2, &reply);

    if (reply != NULL)
        freeReplyObject(reply);
    if (status == KTP_FORBIDDEN && instance->refusal == KR_NO_COMMAND)
        return may_not(instance, "read", "+secret.getsealed");
    return status == KTP_MALFORMED && !instance->broken ? KTP_SUCCESS : status;
}

/* The names of one answer; one that may be read is enough. */
static ktp_status_t read_some(ktp_instance_t *instance, const redisReply *names, size_t *ret_tried)
{
    ktp_status_t status = KTP_SUCCESS;

    for (size_t i = 0; i < names->elements && *ret_tried < TRIED_MAX; i++) {
        if (!kr_is_name(names->element[i]))
            continue;
        ++*ret_tried;
        status = read_one(instance, names->element[i]->str, names->element[i]->len);
        if (status != KTP_FORBIDDEN || instance->refusal == KR_NO_COMMAND)
            break;
    }
    return status;
}

/* One page of names after the other, until one was read. */
static ktp_status_t check_reading(ktp_instance_t *instance, void *arg)
{
    kr_argument_t list[] = {
        KR_TEXT("SECRET.LIST"), {NULL, 0}, KR_TEXT("COUNT"), KR_TEXT("1000")};
    int64_t deadline = kr_clock() + instance->timeout;
    redisReply *reply = NULL;
    char cursor[24] = "0";
    ktp_status_t status;
    size_t tried = 0;

    (void)arg;
    do {
        list[1] = (kr_argument_t){cursor, strlen(cursor)};
        status = kr_call(instance, NULL, list, 4, &reply);
        if (status == KTP_FORBIDDEN && instance->refusal == KR_NO_COMMAND)
            return may_not(instance, "list", "+secret.list");
        if (status != KTP_SUCCESS)
            return status;
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
            reply->element[0]->type != REDIS_REPLY_STRING ||
            reply->element[0]->len >= sizeof(cursor) ||
            reply->element[1]->type != REDIS_REPLY_ARRAY) {
            freeReplyObject(reply);
            return kr_fail(instance, KTP_MALFORMED, "this is not the answer to SECRET.LIST");
        }
        memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
        status = read_some(instance, reply->element[1], &tried);
        freeReplyObject(reply);
    } while (status == KTP_SUCCESS && tried == 0 && strcmp(cursor, "0") != 0 &&
             kr_clock() < deadline);
    if (tried > 0)
        return status;
    /* there is none, and a policy or keys of the ACL that refuse this name say nothing of others */
    status = read_one(instance, NO_NAME, sizeof(NO_NAME) - 1);
    return status == KTP_FORBIDDEN && instance->refusal != KR_NO_COMMAND ? KTP_SUCCESS : status;
}

/* On a connection of its own, if there is none yet. */
static ktp_status_t check_following(ktp_instance_t *instance)
{
    ktp_status_t status;

    if (instance->watch.context != NULL)
        return KTP_SUCCESS;
    status = kr_watch(instance, kr_clock() + instance->timeout);
    if (!instance->watching)
        kr_unwatch(instance);
    return status;
}

/* A server that cannot say what it is finds out when it is written to. */
static ktp_status_t check_writing(ktp_instance_t *instance)
{
    if (instance->role == KR_REPLICA)
        return kr_fail(instance, KTP_UNAVAIL, "this is a replica: it takes no writes");
    return KTP_SUCCESS;
}

ktp_status_t kr_check(ktp_instance_t *instance, int writing)
{
    ktp_status_t status = kr_each_master(instance, check_reading, NULL);

    if (status == KTP_SUCCESS)
        status = check_following(instance);
    return status == KTP_SUCCESS && writing ? check_writing(instance) : status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* names.c: all names that the server lists. */
#include "names.h"

#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "masters.h"
#include "watch.h"

void kr_names_free(kr_names_t *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
}

static int add_name(kr_names_t *names, const redisReply *reply)
{
    if (!kr_is_name(reply))
        return 0;
    if (names->count == names->room) {
        size_t room = names->room > 0 ? 2 * names->room : 64;
        char **list = realloc(names->list, room * sizeof(*list));

        if (list == NULL)
            return -1;
        names->list = list;
        names->room = room;
    }
    names->list[names->count] = strdup(reply->str);
    return names->list[names->count++] != NULL ? 0 : -1;
}

/* One answer of SECRET.LIST: the next cursor in `cursor`. */
static ktp_status_t take_names(ktp_instance_t *instance, const redisReply *reply, char *cursor,
                               size_t cursor_size, kr_names_t *names)
{
    const redisReply *next, *list;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return kr_fail(instance, KTP_MALFORMED, "SECRET.LIST: this is not its answer");
    next = reply->element[0];
    list = reply->element[1];
    if (next->type != REDIS_REPLY_STRING || next->len >= cursor_size ||
        list->type != REDIS_REPLY_ARRAY)
        return kr_fail(instance, KTP_MALFORMED, "SECRET.LIST: this is not its answer");
    memcpy(cursor, next->str, next->len + 1);
    for (size_t i = 0; i < list->elements; i++) {
        if (add_name(names, list->element[i]) != 0)
            return kr_fail(instance, KTP_UNAVAIL, "SECRET.LIST: out of memory");
    }
    return KTP_SUCCESS;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ktp_status_t list_server(ktp_instance_t *instance, void *arg)
{
    kr_names_t *names = arg;
    kr_argument_t arguments[] = {
        KR_TEXT("SECRET.LIST"), {NULL, 0}, KR_TEXT("COUNT"), KR_TEXT("1000")};
    redisReply *reply = NULL;
    char cursor[24] = "0";
    ktp_status_t status;

    do {
        arguments[1] = (kr_argument_t){cursor, strlen(cursor)};
        status = kr_call(instance, NULL, arguments, 4, &reply);
        if (status != KTP_SUCCESS)
            return status;
        status = take_names(instance, reply, cursor, sizeof(cursor), names);
        freeReplyObject(reply);
    } while (status == KTP_SUCCESS && strcmp(cursor, "0") != 0);
    return status;
}

/* A key that a cluster moves from one node to another while they are listed is at neither when the
 * first one is asked after it and the other one before it. A second round finds it. */
ktp_status_t kr_names_list(ktp_instance_t *instance, kr_names_t *names)
{
    ktp_status_t status = kr_each_master(instance, list_server, names);

    if (status == KTP_SUCCESS && instance->clustered)
        status = kr_each_master(instance, list_server, names);
    if (names->count > 0)
        qsort(names->list, names->count, sizeof(names->list[0]), by_name);
    return status;
}

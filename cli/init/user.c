/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * init --system --user USER[:TYPE,...]: another person or service that uses the machine's store by
 * the command. It gets the stream cli-USER, an entry cli-USER under `key` and a prepared line under
 * `policy`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "init_system.h"

#define USER_TYPES "api-keys" /* unless --user names others */

/* ---- the users ---- */

static bool is_type(const char *name, size_t size)
{
    char type[KT_NAME_MAX + 1];

    if (size == 0 || size > KT_NAME_MAX)
        return false;
    memcpy(type, name, size);
    type[size] = '\0';
    return !strchr(type, '/') && kt_name_check(type, 0, NULL) == KT_SUCCESS;
}

static bool are_types(const char *types)
{
    for (;; types++) {
        size_t size = strcspn(types, ",");

        if (!is_type(types, size))
            return false;
        types += size;
        if (*types == '\0')
            return true;
    }
}

static kt_status_t parse_user(init_system_t *s, const char *given, init_consumer_t *user)
{
    size_t size = strcspn(given, ":");
    const struct passwd *found;

    if (size == 0 || size > 50 || !is_type(given, size))
        return cli_fail(
            s->cli, KT_USAGE,
            "--user needs USER or USER:TYPE,...; the name of a user has letters, digits and . _ -");
    *user = (init_consumer_t){.is_person = true};
    memcpy(user->user, given, size); /* with the zeros after it */
    snprintf(user->stream, sizeof user->stream, "cli-%.*s", (int)size, given);
    user->types = given[size] == ':' ? given + size + 1 : USER_TYPES;
    if (!are_types(user->types))
        return cli_fail(s->cli, KT_USAGE,
                        "--user %s: needs types such as api-keys,tls after the colon", user->user);
    found = getpwnam(user->user);
    if (!found)
        return cli_fail(s->cli, KT_USAGE, "the user %s does not exist; nothing was changed",
                        user->user);
    if (found->pw_uid == 0)
        return cli_fail(s->cli, KT_USAGE, "--user %s: root has the key of every type", user->user);
    user->uid = found->pw_uid;
    user->gid = found->pw_gid;
    for (size_t i = 0; i < s->nconsumers; i++)
        if (s->consumers[i].is_person && s->consumers[i].uid == user->uid)
            return cli_fail(s->cli, KT_USAGE, "--user %s is given twice", user->user);
    s->nconsumers++;
    return KT_SUCCESS;
}

kt_status_t init_users(init_system_t *s)
{
    kt_status_t status = KT_SUCCESS;

    for (size_t i = 0; i < s->cli->ngiven && !status; i++)
        if (strcmp(s->cli->given[i].option->name, "user") == 0)
            status = parse_user(s, s->cli->given[i].value, &s->consumers[s->nconsumers]);
    return status;
}

void init_print_users(const init_system_t *s)
{
    for (size_t i = 0; i < s->nconsumers; i++)
        if (s->consumers[i].is_person)
            printf("%s may open the types of " ETC "/%s.key; a new login has the new group.\n",
                   s->consumers[i].user, s->consumers[i].stream);
}

/* ---- the texts ---- */

static void append_key(FILE *file, const init_consumer_t *user)
{
    fprintf(file, ", %s: \"file:" ETC "/%s.key\"", user->stream, user->stream);
}

/* Names of the type `general` have no slash: the operator has to list them. */
static void append_grant(FILE *file, const init_consumer_t *user)
{
    fprintf(file, "  #- {who: \"uid:%s\", allow: [read], names: [", user->user);
    for (const char *type = user->types; *type; type += *type == ',') {
        int size = (int)strcspn(type, ",");

        fprintf(file, "%s\"%.*s%s\"", type == user->types ? "" : ", ", size, type,
                size == 7 && strncmp(type, "general", 7) == 0 ? "-NAME" : "/*");
        type += size;
    }
    fputs("]}\n", file);
}

static char *each_new_user(const init_system_t *s, void (*append)(FILE *, const init_consumer_t *))
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    if (!file)
        return NULL;
    for (size_t i = 0; i < s->nconsumers; i++) {
        const init_consumer_t *user = &s->consumers[i];

        if (user->is_person && !(s->cli->setup && cli_has_key(s->cli, user->stream)))
            append(file, user);
    }
    if (fclose(file) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

char *init_user_keys(const init_system_t *s)
{
    return each_new_user(s, append_key);
}

char *init_user_grants(const init_system_t *s)
{
    return each_new_user(s, append_grant);
}

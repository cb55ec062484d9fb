/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * init --system --user on a machine that has its configuration. What exists stays. After a kill the
 * next run completes the work: keys and streams are made or undone as always (work.c), and the
 * configuration gets its entries last, by a new file that replaces the old one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init_system.h"

#define CONFIG_MAX (1024 * 1024)

/* ---- the configuration ---- */

/* The closing brace of `key: {...}`, a line as init wrote it; NULL: the line looks different. */
static const char *key_end(const char *text)
{
    const char *line = strstr(text, "\nkey:"), *end;

    if (!line || line[5 + strspn(line + 5, " ")] != '{')
        return NULL;
    end = line + 1 + strcspn(line + 1, "\n");
    while (strchr(" \t\r", end[-1]))
        end--;
    return end[-1] == '}' ? end - 1 : NULL;
}

static kt_status_t read_config(cli_t *cli, char **ret_text)
{
    size_t size;

    return cli_read_file(cli, CONFIG, CONFIG_MAX, ret_text, &size);
}

/* Before anything is made. */
static kt_status_t check_config(const init_system_t *s)
{
    char *text = NULL;
    kt_status_t status = read_config(s->cli, &text);

    for (size_t i = 0; i < s->nconsumers && !status; i++) {
        const char *stream = s->consumers[i].stream;

        if (!cli_has_key(s->cli, stream) && !key_end(text))
            status = cli_fail(s->cli, KT_CONFLICT,
                              CONFIG ": `key` is no longer the line that init wrote; nothing was "
                                     "changed (add %s: \"file:" ETC
                                     "/%s.key\" to it and run this again)",
                              stream, stream);
    }
    free(text);
    return status;
}

/* Frees both texts. NULL: one of them was NULL, or out of memory. */
static char *insert(char *text, const char *at, char *more)
{
    char *whole = NULL;

    if (text && more && asprintf(&whole, "%.*s%s%s", (int)(at - text), text, more, at) < 0)
        whole = NULL;
    free(text);
    free(more);
    return whole;
}

/* Adds the entries of the new users. Takes the text. */
static char *with_users(const init_system_t *s, char *text)
{
    static const char policy[] = "\npolicy:\n";
    const char *at;

    text = insert(text, key_end(text), init_user_keys(s));
    at = text ? strstr(text, policy) : NULL;
    return at ? insert(text, at + strlen(policy), init_user_grants(s)) : text;
}

/* Loads the new configuration as the command will, before it replaces the old one. */
static kt_status_t try_config(cli_t *cli)
{
    kt_setup_t *setup;
    kt_status_t status = kt_setup(NEW_CONFIG, "cli", &setup);

    cli_check(cli, status, kt_setup_error(setup));
    kt_setup_free(setup);
    return status;
}

static kt_status_t write_config(cli_t *cli, const char *text)
{
    struct stat st;
    kt_status_t status;

    unlink(NEW_CONFIG); /* a killed run left it */
    status = stat(CONFIG, &st) == 0 ? init_write(cli, NEW_CONFIG, 0600, text)
                                    : init_cannot(cli, "read", CONFIG);
    if (!status)
        status = init_own(cli, NEW_CONFIG, st.st_uid, st.st_gid, st.st_mode & 07777);
    if (!status)
        status = try_config(cli);
    if (!status)
        status = init_publish(cli, ETC, NEW_CONFIG, CONFIG);
    if (status)
        unlink(NEW_CONFIG);
    return status;
}

static kt_status_t edit_config(init_system_t *s)
{
    bool is_complete = true;
    char *text = NULL;
    kt_status_t status;

    for (size_t i = 0; i < s->nconsumers; i++)
        is_complete = is_complete && cli_has_key(s->cli, s->consumers[i].stream);
    if (is_complete)
        return KT_SUCCESS;
    status = read_config(s->cli, &text);
    if (status)
        return status;
    text = with_users(s, text);
    status = text ? write_config(s->cli, text) : cli_no_memory(s->cli);
    free(text);
    return status;
}

/* ---- the users ---- */

static kt_status_t make_users(init_system_t *s)
{
    const char *given = cli_given(s->cli, "environment");
    kt_status_t status;

    s->cli->config = CONFIG;
    status = cli_setup(s->cli);
    if (!status)
        status = check_config(s);
    if (status)
        return status;
    if (given && strcmp(s->environment, kt_setup_environment(s->cli->setup)) != 0)
        return cli_fail(s->cli, KT_CONFLICT, CONFIG " is for the environment %s",
                        kt_setup_environment(s->cli->setup));
    s->environment = kt_setup_environment(s->cli->setup);
    status = init_read_audit_key(s->cli, s->audit_key);
    if (!status)
        status = init_mkdir(s->cli, USERS);
    return status ? status : init_consumers(s);
}

static bool is_unkeyed(const init_consumer_t *consumer)
{
    char mark[PATH_MAX];

    snprintf(mark, sizeof mark, LOG "/.%s.unkeyed", consumer->stream);
    return access(mark, F_OK) == 0;
}

static kt_status_t answer(const init_system_t *s)
{
    if (s->cli->json)
        return init_answer(s->cli, s->environment, CONFIG, NULL);
    if (s->cli->quiet)
        return KT_SUCCESS;
    init_print_users(s);
    for (size_t i = 0; i < s->nconsumers; i++)
        if (is_unkeyed(&s->consumers[i]))
            printf("The audit log of %s is without the audit key: it cannot prove who wrote it. "
                   "To change that: `keyturn keygen --stream %s --audit-key FILE " LOG "/%s`\n",
                   s->consumers[i].user, s->consumers[i].stream, s->consumers[i].stream);
    printf("Next: remove the # from the users' lines under policy, and try `keyturn check`.\n");
    return KT_SUCCESS;
}

kt_status_t init_add_users(init_system_t *s)
{
    kt_status_t status = init_begin(s);

    if (!status)
        status = init_groups(s->cli);
    if (!status)
        status = make_users(s);
    if (status)
        return status;
    rmdir(USERS); /* from here on, what was made is kept */
    init_keep(&s->work);
    status = edit_config(s);
    return status ? status : answer(s);
}

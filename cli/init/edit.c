/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * init --system --user on a machine that has its configuration. What is there stays. A kill leaves
 * what the next run completes: keys and streams are made, or undone, as everywhere (work.c), and
 * the configuration gets its entries last, by a new file in the place of the old one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init_system.h"

#define CONFIG_MAX (1024 * 1024)

/* ---- a configuration that is there ---- */

static kt_status_t read_config(cli_t *cli, char **ret_text, struct stat *ret_stat)
{
    int fd = open(CONFIG, O_RDONLY | O_CLOEXEC);
    char *text = NULL;
    ssize_t got;

    if (fd < 0 || fstat(fd, ret_stat) != 0 || ret_stat->st_size > CONFIG_MAX ||
        !(text = malloc((size_t)ret_stat->st_size + 1)) ||
        (got = read(fd, text, (size_t)ret_stat->st_size)) != ret_stat->st_size) {
        kt_status_t status =
            cli_fail(cli, init_status(errno), "cannot read " CONFIG ": %s", strerror(errno));

        free(text);
        if (fd >= 0)
            close(fd);
        return status;
    }
    close(fd);
    text[got] = '\0';
    *ret_text = text;
    return KT_SUCCESS;
}

/* Where `key: {...}`, as init wrote it, ends: at its brace. NULL: it looks otherwise. */
static const char *key_end(const char *text)
{
    for (const char *line = text; *line;
         line += line[strcspn(line, "\n")] == '\n' ? strcspn(line, "\n") + 1 : strlen(line)) {
        const char *end = line + strcspn(line, "\n");

        if (strncmp(line, "key:", 4) != 0)
            continue;
        while (end > line && strchr(" \t\r", end[-1]))
            end--;
        return line[4 + strspn(line + 4, " ")] == '{' && end[-1] == '}' ? end - 1 : NULL;
    }
    return NULL;
}

/* Outside of comments: cli-USER, perhaps in quotes, and a colon. */
static bool has_key(const char *text, const char *user)
{
    char wanted[80];
    size_t size = (size_t)snprintf(wanted, sizeof wanted, "cli-%s", user);

    for (const char *at = strstr(text, wanted); at; at = strstr(at + 1, wanted)) {
        const char *line = at, *end = at + size;

        while (line > text && line[-1] != '\n')
            line--;
        if (strchr("\"'", *end) && *end)
            end++;
        if (*end == ':' && !memchr(line, '#', (size_t)(at - line)) && at > text &&
            strchr(" \t\n{,\"'", at[-1]))
            return true;
    }
    return false;
}

static kt_status_t check_config(init_system_t *s)
{
    struct stat st;
    char *text = NULL;
    kt_status_t status = read_config(s->cli, &text, &st);

    for (size_t i = 0; i < s->nconsumers && !status; i++)
        if (!has_key(text, s->consumers[i].user) && !key_end(text))
            status = cli_fail(
                s->cli, KT_CONFLICT,
                CONFIG ": `key` is no longer the line that init wrote: add cli-%s: \"file:" ETC
                       "/cli-%s.key\" to it yourself and run this again; nothing was changed",
                s->consumers[i].user, s->consumers[i].user);
    free(text);
    return status;
}

static char *insert(const char *text, const char *at, const char *more)
{
    char *whole = NULL;

    if (asprintf(&whole, "%.*s%s%s", (int)(at - text), text, more, at) < 0)
        return NULL;
    return whole;
}

/* The text with entries for these users, which it does not have. */
static char *with_users(const init_system_t *missing, const char *text)
{
    static const char policy[] = "\npolicy:\n";
    char *keys = init_user_keys(missing), *grants = init_user_grants(missing), *first,
         *whole = NULL;
    const char *at;

    first = keys ? insert(text, key_end(text), keys) : NULL;
    at = first ? strstr(first, policy) : NULL;
    if (first && grants)
        whole = at ? insert(first, at + strlen(policy), grants) : strdup(first);
    free(first);
    free(keys);
    free(grants);
    return whole;
}

/* It is read as the present one is, before it takes its place. */
static kt_status_t try_config(cli_t *cli)
{
    kt_setup_t *setup;
    kt_status_t status = kt_setup(NEW_CONFIG, "cli", &setup);

    if (status)
        cli_fail(cli, status, "%s", kt_setup_error(setup));
    kt_setup_free(setup);
    return status;
}

static kt_status_t write_config(cli_t *cli, const char *text, const struct stat *st)
{
    kt_status_t status;

    unlink(NEW_CONFIG); /* of a run that was killed */
    status = init_write(cli, NEW_CONFIG, 0600, text);
    if (!status)
        status = init_own(cli, NEW_CONFIG, st->st_uid, st->st_gid, st->st_mode & 07777);
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
    init_system_t missing = {.cli = s->cli};
    struct stat st;
    char *text = NULL, *changed = NULL;
    kt_status_t status = read_config(s->cli, &text, &st);

    if (status)
        return status;
    for (size_t i = 0; i < s->nconsumers; i++)
        if (!has_key(text, s->consumers[i].user))
            missing.consumers[missing.nconsumers++] = s->consumers[i];
    if (missing.nconsumers > 0) {
        changed = with_users(&missing, text);
        status = changed ? write_config(s->cli, changed, &st)
                         : cli_fail(s->cli, KT_INTERNAL, "out of memory");
    }
    free(changed);
    free(text);
    return status;
}

/* ---- further users ---- */

/* The audit key is kept elsewhere. With it the new streams begin under it. */
static kt_status_t read_audit_key(init_system_t *s)
{
    const char *path = cli_given(s->cli, "audit-key");
    FILE *file = path ? fopen(path, "re") : NULL;

    if (!path)
        return KT_SUCCESS;
    if (!file || !fgets(s->audit_key, sizeof s->audit_key, file)) {
        kt_status_t status = cli_fail(s->cli, KT_USAGE, "cannot read the audit key in %s: %s", path,
                                      file ? "it is empty" : strerror(errno));

        if (file)
            fclose(file);
        return status;
    }
    fclose(file);
    s->audit_key[strcspn(s->audit_key, "\n")] = '\0';
    return KT_SUCCESS;
}

static kt_status_t make_users(init_system_t *s)
{
    const char *given = cli_given(s->cli, "environment");
    kt_status_t status = check_config(s);

    s->cli->config = CONFIG;
    if (!status)
        status = cli_setup(s->cli);
    if (status)
        return status;
    if (given && strcmp(s->environment, kt_setup_environment(s->cli->setup)) != 0)
        return cli_fail(s->cli, KT_CONFLICT, CONFIG " is of the environment %s",
                        kt_setup_environment(s->cli->setup));
    s->environment = kt_setup_environment(s->cli->setup);
    status = read_audit_key(s);
    if (!status && mkdir(USERS, 0700) != 0)
        status = cli_fail(s->cli, init_status(errno), "cannot make " USERS ": %s", strerror(errno));
    return status ? status : init_consumers(s);
}

static kt_status_t answer(const init_system_t *s)
{
    if (s->cli->json)
        return cli_answer(s->cli,
                          json_pack("{s:s, s:s}", "environment", s->environment, "config", CONFIG));
    if (s->cli->quiet)
        return KT_SUCCESS;
    init_tell_users(s);
    if (!s->audit_key[0])
        printf("Without --audit-key FILE a new stream proves no more than a chain.\n");
    printf("Next: take the # from the users' lines under policy, and try `keyturn check`.\n");
    return KT_SUCCESS;
}

kt_status_t init_add_users(init_system_t *s)
{
    kt_status_t status = init_begin(s);

    if (!status)
        status = make_users(s);
    if (status)
        return status;
    rmdir(USERS); /* what was made stays */
    init_keep(&s->work);
    status = edit_config(s);
    return status ? status : answer(s);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * init --system --user USER[:TYPE,...]: one more consumer, human or service, of the machine's store
 * by the command.
 *
 *     SYSCONFDIR/keyturn/cli-USER.key          0640  root:USER's group; 0400 USER if the group is
 * not his alone LOCALSTATEDIR/log/keyturn/cli-USER       0700  USER keyturn.yaml cli-USER under
 * `key`, a prepared line under `policy`
 *
 * What is there stays. On a machine that has its configuration a kill leaves what the next run
 * completes: the files are made, or undone, as everywhere (init_journal.c), and the configuration
 * gets its entry last, by a new file in the place of the old one.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init_system.h"

#define CONFIG_MAX (1024 * 1024)

/* ---- who ---- */

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

static kt_status_t take_user(init_system_t *s, const char *given)
{
    init_user_t *user = &s->users[s->nusers];
    size_t size = strcspn(given, ":");
    const struct passwd *found;

    if (size == 0 || size > 50 || !is_type(given, size))
        return cli_fail(
            s->cli, KT_USAGE,
            "--user wants USER or USER:TYPE,...; a user's name has letters, digits and . _ -");
    snprintf(user->name, sizeof user->name, "%.*s", (int)size, given);
    user->types = given[size] == ':' ? given + size + 1 : USER_TYPES;
    if (!are_types(user->types))
        return cli_fail(s->cli, KT_USAGE, "--user %s: wants types as api-keys,tls behind the colon",
                        user->name);
    found = getpwnam(user->name);
    if (!found)
        return cli_fail(s->cli, KT_USAGE, "there is no user %s; nothing was changed", user->name);
    if (found->pw_uid == 0)
        return cli_fail(s->cli, KT_USAGE, "--user %s: root has the key of every type", user->name);
    user->uid = found->pw_uid;
    user->gid = found->pw_gid;
    for (size_t i = 0; i < s->nusers; i++)
        if (s->users[i].uid == user->uid)
            return cli_fail(s->cli, KT_USAGE, "--user %s is given twice", user->name);
    s->nusers++;
    return KT_SUCCESS;
}

kt_status_t init_users(init_system_t *s)
{
    kt_status_t status = KT_SUCCESS;

    for (size_t i = 0; i < s->cli->ngiven && !status; i++)
        if (strcmp(s->cli->given[i].option->name, "user") == 0)
            status = take_user(s, s->cli->given[i].value);
    return status;
}

/* The group is the user's own and nobody else is in it: it may read what is the user's. */
static bool is_private(const init_user_t *user)
{
    const struct group *group = getgrgid(user->gid);
    const struct passwd *other;
    bool private = group && strcmp(group->gr_name, user->name) == 0;

    for (char **member = group ? group->gr_mem : NULL; member && *member; member++)
    private = private && strcmp(*member, user->name) == 0;
    setpwent();
    while (private && (other = getpwent()))
    private = other->pw_gid != user->gid || other->pw_uid == user->uid;
    endpwent();
    return private;
}

/* ---- what each gets ---- */

kt_status_t init_make_user(init_system_t *s, const init_user_t *user)
{
    char stream[80], key[PATH_MAX];
    kt_status_t status;

    snprintf(stream, sizeof stream, "cli-%s", user->name);
    snprintf(key, sizeof key, ETC "/%s.key", stream);
    status = init_run(s->cli, (const char *const[]){"usermod", "--append", "--groups", CLI_READERS,
                                                    user->name, NULL});
    if (!status)
        status = init_make_stream(s, stream, user->uid, user->gid);
    if (status || access(key, F_OK) == 0)
        return status;
    if (is_private(user))
        return init_make_types(s, stream, user->types, 0, user->gid);
    return init_make_types(s, stream, user->types, user->uid, 0);
}

void init_tell_users(const init_system_t *s)
{
    for (size_t i = 0; i < s->nusers; i++)
        printf("%s may open the types of " ETC "/cli-%s.key; a new login has the new group.\n",
               s->users[i].name, s->users[i].name);
}

/* ---- the texts ---- */

static void append_key(FILE *file, const char *user)
{
    fprintf(file, ", cli-%s: \"file:" ETC "/cli-%s.key\"", user, user);
}

/* A name of the type `general` has no slash: its line wants names of the operator's. */
static void append_grant(FILE *file, const init_user_t *user)
{
    fprintf(file, "  #- {who: \"uid:%s\", allow: [read], names: [", user->name);
    for (const char *type = user->types; *type; type += *type == ',') {
        int size = (int)strcspn(type, ",");

        fprintf(file, "%s\"%.*s%s\"", type == user->types ? "" : ", ", size, type,
                size == 7 && strncmp(type, "general", 7) == 0 ? "-NAME" : "/*");
        type += size;
    }
    fputs("]}\n", file);
}

static char *each_user(const init_system_t *s, bool keys)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    if (!file)
        return NULL;
    for (size_t i = 0; i < s->nusers; i++) {
        if (keys)
            append_key(file, s->users[i].name);
        else
            append_grant(file, &s->users[i]);
    }
    if (fclose(file) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

char *init_user_keys(const init_system_t *s)
{
    return each_user(s, true);
}

char *init_user_grants(const init_system_t *s)
{
    return each_user(s, false);
}

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

    for (size_t i = 0; i < s->nusers && !status; i++)
        if (!has_key(text, s->users[i].name) && !key_end(text))
            status = cli_fail(
                s->cli, KT_CONFLICT,
                CONFIG ": `key` is no longer the line that init wrote: add cli-%s: \"file:" ETC
                       "/cli-%s.key\" to it yourself and run this again; nothing was changed",
                s->users[i].name, s->users[i].name);
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

/* The text with entries for these, who have none. */
static char *with_users(const init_system_t *lacking, const char *text)
{
    static const char policy[] = "\npolicy:\n";
    char *keys = init_user_keys(lacking), *grants = init_user_grants(lacking), *first,
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
    size_t size = strlen(text);
    kt_status_t status = KT_SUCCESS;
    int fd;

    unlink(NEW_CONFIG); /* of a run that was killed */
    fd = open(NEW_CONFIG, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, size) != (ssize_t)size ||
        fchown(fd, st->st_uid, st->st_gid) != 0 || fchmod(fd, st->st_mode & 07777) != 0 ||
        fsync(fd) != 0)
        status =
            cli_fail(cli, init_status(errno), "cannot write " NEW_CONFIG ": %s", strerror(errno));
    if (fd >= 0)
        close(fd);
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
    init_system_t lacking = {.cli = s->cli};
    struct stat st;
    char *text = NULL, *changed = NULL;
    kt_status_t status = read_config(s->cli, &text, &st);

    if (status)
        return status;
    for (size_t i = 0; i < s->nusers; i++)
        if (!has_key(text, s->users[i].name))
            lacking.users[lacking.nusers++] = s->users[i];
    if (lacking.nusers > 0) {
        changed = with_users(&lacking, text);
        status = changed ? write_config(s->cli, changed, &st)
                         : cli_fail(s->cli, KT_INTERNAL, "out of memory");
    }
    free(changed);
    free(text);
    return status;
}

/* ---- further users ---- */

/* The audit key lies elsewhere; who has it there may give it here. */
static kt_status_t take_audit_key(init_system_t *s)
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
    status = take_audit_key(s);
    for (size_t i = 0; i < s->nusers && !status; i++)
        status = init_make_user(s, &s->users[i]);
    return status;
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
    kt_status_t status = init_begin(s->cli, &s->journal, ETC, "users", CONFIG);

    if (!status)
        status = make_users(s);
    if (status && s->journal.fd >= 0)
        init_undo(s->cli, &s->journal);
    else if (!status)
        status = init_settle(s->cli, &s->journal);
    if (!status)
        status = edit_config(s);
    init_end(&s->journal);
    return status ? status : answer(s);
}

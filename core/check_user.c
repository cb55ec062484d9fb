/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_user.c: what a server's user may open, as that user finds it. Root asks in a child, which takes the user's ids and groups as a
 * login or a unit would and tries; what it finds comes back through a pipe, a line for each thing. The keys that the parent holds are
 * wiped in the child before it becomes somebody else. Nothing is changed, and no server needs to run.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_user.h"

#define CHILD_SECONDS 60u
#define TEXT_MAX 1400u

typedef struct visit {
    const kt_setup_t *setup;
    const kt_config_t *config;
    const kt_check_user_t *asked;
    kt_person_t person;
    FILE *out;
    size_t wrong;
    kt_keyring_t *keyring;   /* as the user reads it; NULL: not read */
    char good[512];          /* what it may, for the one line if nothing is wrong */
} visit_t;

static void say(visit_t *v, kt_status_t status, const char *text)
{
    char line[TEXT_MAX];
    size_t i;

    (void)snprintf(line, sizeof(line), "%s", text);
    for (i = 0; line[i] != '\0'; i++) {
        if ((unsigned char)line[i] < 0x20)
            line[i] = '?';
    }
    v->wrong += status != KT_SUCCESS;
    (void)fprintf(v->out, "%d %s\n", (int)status, line);
}

static bool tell(visit_t *v, kt_status_t status, const char *text)
{
    if (status != KT_SUCCESS)
        say(v, status, text);
    return status == KT_SUCCESS;
}

static void add_good(visit_t *v, const char *format, const char *what)
{
    size_t at = strlen(v->good);

    (void)snprintf(v->good + at, sizeof(v->good) - at, at > 0 ? "; " : "%s", "");
    at = strlen(v->good);
    (void)snprintf(v->good + at, sizeof(v->good) - at, format, what);
}

/* ---- what policy says ---- */

static bool speaks_of(const visit_t *v, const kt_cfg_rule_t *rule)
{
    const char *stream = v->asked->stream;
    char subject[80];
    size_t size = strlen(stream);

    if (strncmp(stream, "cli-", 4) == 0) {
        (void)snprintf(subject, sizeof(subject), "uid:%s", v->person.name);
        return kt_pattern_match(rule->who, subject);
    }
    return strcmp(rule->who, "*") == 0 || (strncmp(rule->who, stream, size) == 0 && rule->who[size] == ':');
}

static bool may_write(const visit_t *v)
{
    const unsigned writing = KT_CAP_WRITE | KT_CAP_ROTATE | KT_CAP_DELETE;
    size_t i;

    if (v->asked->writes || strncmp(v->asked->stream, "cli-", 4) != 0)
        return v->asked->writes != 0;
    for (i = 0; i < v->config->nrules; i++) {
        if ((v->config->rules[i].allow & writing) != 0 && speaks_of(v, &v->config->rules[i]))
            return true;
    }
    return false;
}

/* The one type of the names that a pattern means; false: it may mean several. */
static bool type_of(const char *pattern, char type[KT_NAME_MAX + 1])
{
    size_t size = strcspn(pattern, "/");

    if (memchr(pattern, '*', size) != NULL || size > KT_NAME_MAX)
        return false;
    (void)snprintf(type, KT_NAME_MAX + 1, "%.*s", pattern[size] == '/' ? (int)size : 7, pattern[size] == '/' ? pattern : "general");
    return true;
}

static bool in_list(const char *list, const char *name)
{
    size_t size = strlen(name);
    const char *at;

    for (at = list; *at != '\0'; at += *at == ',') {
        size_t part = strcspn(at, ",");

        if (part == size && strncmp(at, name, size) == 0)
            return true;
        at += part;
    }
    return false;
}

static bool holds(const kt_keyring_t *keyring, const char *type)
{
    size_t i;

    for (i = 0; i < keyring->ntypes; i++) {
        if (strcmp(keyring->types[i].type, type) == 0)
            return true;
    }
    return keyring->nenv > 0;
}

static void append(char *list, size_t size, const char *type)
{
    if (in_list(list, type))
        return;
    if (list[0] != '\0')
        strncat(list, ",", size - strlen(list) - 1);
    strncat(list, type, size - strlen(list) - 1);
}

/* ---- configuration and keys ---- */

static void look_at_config(visit_t *v)
{
    char text[TEXT_MAX];

    if (!v->asked->as_root)
        (void)tell(v, kt_path_check(&v->person, v->config->path, R_OK, v->person.readers, text, sizeof(text)), text);
}

static const kt_cfg_key_t *key_of(const visit_t *v, const char *stream)
{
    size_t i;

    for (i = 0; i < v->config->nkeys; i++) {
        if (v->config->keys[i].host == NULL || strcmp(v->config->keys[i].host, stream) == 0)
            return &v->config->keys[i];
    }
    return strncmp(stream, "cli-", 4) == 0 ? key_of(v, "cli") : NULL;
}

/* NULL: it is no file. */
static char *file_of(const visit_t *v, const kt_cfg_key_t *key)
{
    return key != NULL && strncmp(key->source, "file:", 5) == 0 ? kt_config_resolve(v->config, key->source + 5) : NULL;
}

static void look_at_types(visit_t *v, const char *path)
{
    char granted[512] = "", missing[512] = "", held[512] = "", more[512] = "", text[TEXT_MAX], type[KT_NAME_MAX + 1];
    size_t i, n;

    for (i = 0; i < v->keyring->ntypes; i++)
        append(held, sizeof(held), v->keyring->types[i].type);
    for (i = 0; i < v->config->nrules; i++) {
        const kt_cfg_rule_t *rule = &v->config->rules[i];

        for (n = 0; rule->allow != 0 && speaks_of(v, rule) && n < rule->nnames; n++) {
            if (!type_of(rule->names[n], type) || holds(v->keyring, type))
                continue;
            append(v->asked->types == NULL || in_list(v->asked->types, type) ? missing : more, 512, type);
            append(granted, sizeof(granted), type);
        }
    }
    if (missing[0] != '\0') {
        (void)snprintf(text, sizeof(text), "%s lacks the type%s %s, which policy allows %s: `keyturn keygen --types %s%s%s %s.new && chown --reference=%s "
                       "%s.new && chmod --reference=%s %s.new && mv %s.new %s`", path, strchr(missing, ',') != NULL ? "s" : "", missing,
                       v->person.name, held, held[0] != '\0' ? "," : "", missing, path, path, path, path, path, path, path);
        say(v, KT_NOKEY, text);
    }
    add_good(v, "opens %s", v->keyring->nenv > 0 ? "every type" : held);
    if (more[0] != '\0')
        add_good(v, "policy allows %s too, for which the key file has no key", more);
}

static void look_at_key(visit_t *v)
{
    const kt_cfg_key_t *key = key_of(v, v->asked->stream);
    char *path = file_of(v, key), text[TEXT_MAX];
    kt_status_t status;

    if (key == NULL) {
        add_good(v, "has no key under `key:`%s", "");
    } else if (path == NULL) {
        add_good(v, "its key, %s, can only be tried by itself", key->source);
    } else {
        status = kt_path_check(&v->person, path, R_OK, v->person.own_group[0] != '\0' ? v->person.own_group : NULL, text, sizeof(text));
        if (status == KT_UNAVAIL)
            (void)snprintf(text, sizeof(text), "%s is not there: `keyturn keygen --types %s %s`, for %s alone to read", path,
                           v->asked->types != NULL ? v->asked->types : "api-keys", path, v->person.name);
        if (tell(v, status == KT_UNAVAIL ? KT_CONFIG : status, text)) {
            kt_failure_clear();
            status = kt_keyring_read(v->config, v->asked->stream, &v->keyring);
            if (tell(v, status, kt_failure()))
                look_at_types(v, path);
        }
    }
    free(path);
}

/* The key files of others. */
static void look_at_others(visit_t *v)
{
    char *own = file_of(v, key_of(v, v->asked->stream)), text[TEXT_MAX], what[128];
    size_t i;

    for (i = 0; i < v->config->nkeys; i++) {
        const kt_cfg_key_t *key = &v->config->keys[i];
        char *path = file_of(v, key);

        (void)snprintf(what, sizeof(what), "the key of %.64s", key->host != NULL ? key->host : "all");
        if (path != NULL && (own == NULL || strcmp(own, path) != 0))
            (void)tell(v, kt_path_closed(&v->person, path, R_OK, what, text, sizeof(text)), text);
        free(path);
    }
    free(own);
}

/* ---- providers ---- */

/* Each writer's file is read by all. */
static void look_at_anchors(visit_t *v, const char *folder)
{
    DIR *dir = opendir(folder);
    char name[PATH_MAX], text[TEXT_MAX];
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && snprintf(name, sizeof(name), "%s/%s", folder, entry->d_name) < (int)sizeof(name))
            (void)tell(v, kt_path_check(&v->person, name, R_OK, v->person.readers, text, sizeof(text)), text);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

/* The files of a store in a folder; a writer makes some of them. */
static void look_at_store(visit_t *v, const char *path)
{
    static const char *const beside[] = {"", "-wal", "-shm"};
    bool writes = may_write(v);
    int wanted = writes ? R_OK | W_OK : R_OK;
    char name[PATH_MAX], text[TEXT_MAX];
    const char *slash = strrchr(path, '/'), *group = writes ? v->person.writers : v->person.readers;
    kt_status_t status = KT_SUCCESS;
    size_t i, before = v->wrong;

    if (slash == NULL || slash == path)
        return;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
    if (!tell(v, kt_path_check(&v->person, name, writes ? R_OK | W_OK | X_OK : X_OK, group, text, sizeof(text)), text))
        return;
    if (!writes)
        (void)tell(v, kt_path_closed(&v->person, name, W_OK, "where it only reads", text, sizeof(text)), text);
    for (i = 0; i < KT_ARRAY(beside); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, beside[i]);
        status = kt_path_check(&v->person, name, wanted, group, text, sizeof(text));
        if (status == KT_PERMISSION || (status != KT_SUCCESS && i == 0))
            (void)tell(v, status, text);
        else if (!writes && status == KT_SUCCESS)
            (void)tell(v, kt_path_closed(&v->person, name, W_OK, "where it only reads", text, sizeof(text)), text);
    }
    (void)snprintf(name, sizeof(name), "%.*s/anchors", (int)(slash - path), path);
    status = kt_path_check(&v->person, name, writes ? R_OK | W_OK | X_OK : R_OK | X_OK, group, text, sizeof(text));
    if (tell(v, status, text)) {
        if (!writes)
            (void)tell(v, kt_path_closed(&v->person, name, W_OK, "where it only reads", text, sizeof(text)), text);
        look_at_anchors(v, name);
    }
    if (v->wrong == before)
        add_good(v, writes ? "writes %s" : "reads %s", path);
}

static void look_at_module(visit_t *v, const kt_cfg_provider_t *config, const kt_module_t *module)
{
    bool store = (module->api->capabilities & (KTP_SEALED | KTP_CREATE | KTP_CLEAR_NAMES)) == (KTP_SEALED | KTP_CREATE);
    const ktp_option_spec_t *spec;
    char text[TEXT_MAX];
    size_t i;

    for (i = 0; i < config->noptions; i++) {
        const char *given = config->options[i].text;
        char *path = NULL;

        for (spec = module->api->options; spec->name != NULL && strcmp(spec->name, config->options[i].name) != 0; spec++)
            ;
        if (spec->name == NULL)
            continue;
        if (spec->type == KTP_PATH)
            path = kt_config_resolve(v->config, given);
        else if (spec->type == KTP_SECRET && strncmp(given, "file:", 5) == 0 && !v->asked->as_root)
            path = kt_config_resolve(v->config, given + 5);
        if (path != NULL && store && strcmp(spec->name, "path") == 0)
            look_at_store(v, path);
        else if (path != NULL)
            (void)tell(v, kt_path_check(&v->person, path, R_OK, v->person.readers, text, sizeof(text)), text);
        free(path);
    }
}

/* Then it must go as the user: what keeps it from that is none of the permissions that were looked at. */
static void try_providers(visit_t *v)
{
    kt_config_t *config = (kt_config_t *)(uintptr_t)v->config;
    kt_modules_t *modules = NULL;
    kt_ctx_t *ctx = NULL;
    char text[TEXT_MAX];
    kt_status_t status;
    size_t i;

    if (v->wrong > 0 || v->keyring == NULL)
        return;
    kt_failure_clear();
    status = v->asked->as_root ? KT_SUCCESS : kt_modules_load(config, &modules);
    if (status == KT_SUCCESS)
        status = kt_context_new(config, modules != NULL ? modules : v->setup->modules, v->keyring, &ctx);
    if (status != KT_SUCCESS) {
        say(v, status, kt_failure());
        return;
    }
    for (i = 0; i < ctx->modules->count; i++) {
        if (kt_enter(ctx) != KT_SUCCESS)
            break;
        status = kt_provider_try(ctx, i);
        (void)snprintf(text, sizeof(text), "%s: provider %s: %s", v->person.name, config->providers[i].name, kt_failure());
        (void)tell(v, status, text);
        kt_leave(ctx);
    }
    kt_close(ctx);
}

/* ---- streams ---- */

static void look_at_stream(visit_t *v)
{
    char path[PATH_MAX], text[TEXT_MAX];
    size_t i;

    (void)snprintf(path, sizeof(path), "%s/%s", v->config->audit_path, v->asked->stream);
    if (tell(v, kt_path_check(&v->person, v->config->audit_path, X_OK, v->person.readers, text, sizeof(text)), text) &&
        tell(v, kt_path_owned(&v->person, path, text, sizeof(text)), text))
        add_good(v, "writes %s", path);
    for (i = 0; i < v->asked->nothers; i++) {
        if (strcmp(v->asked->others[i], v->asked->stream) == 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", v->config->audit_path, v->asked->others[i]);
        (void)tell(v, kt_path_closed(&v->person, path, W_OK, "a stream that is not its own", text, sizeof(text)), text);
    }
}

/* ---- the child ---- */

static kt_status_t find_person(const kt_check_user_t *asked, kt_person_t *ret_person)
{
    const struct passwd *user = getpwnam(asked->user);
    const struct group *group;
    kt_person_t *p = ret_person;

    if (user == NULL)
        return kt_fail(KT_USAGE, "there is no user %s", asked->user);
    memset(p, 0, sizeof(*p));
    (void)snprintf(p->name, sizeof(p->name), "%s", asked->user);
    p->uid = user->pw_uid;
    p->gid = user->pw_gid;
    group = getgrgid(p->gid);
    /* a person's may be shared: then his key file is his, and no group's */
    if (group != NULL && (strncmp(asked->stream, "cli-", 4) != 0 || strcmp(group->gr_name, asked->user) == 0))
        (void)snprintf(p->own_group, sizeof(p->own_group), "%s", group->gr_name);
    p->readers = asked->readers;
    p->writers = asked->writers;
    p->ngroups = KT_GROUPS_MAX;
    if (getgrouplist(asked->user, p->gid, p->groups, &p->ngroups) < 0)
        return kt_fail(KT_INTERNAL, "%s is in more than %u groups", asked->user, KT_GROUPS_MAX);
    return KT_SUCCESS;
}

static bool become(const kt_person_t *p)
{
    return prctl(PR_SET_DUMPABLE, 0) == 0 && setgroups((size_t)p->ngroups, p->groups) == 0 && setresgid(p->gid, p->gid, p->gid) == 0 &&
           setresuid(p->uid, p->uid, p->uid) == 0;
}

static void visit(visit_t *v)
{
    size_t i;

    look_at_config(v);
    look_at_key(v);
    look_at_others(v);
    for (i = 0; i < v->config->nproviders; i++)
        look_at_module(v, &v->config->providers[i], &v->setup->modules->list[i]);
    look_at_stream(v);
    try_providers(v);
    kt_keyring_free(v->keyring);
    if (v->wrong == 0)
        say(v, KT_SUCCESS, v->good);
}

/* `setup` is this process's own copy by now. */
static void child(kt_setup_t *setup, const kt_check_user_t *asked, const kt_person_t *person, int out)
{
    visit_t v = {.setup = setup, .config = setup->config, .asked = asked, .person = *person};

    (void)alarm(CHILD_SECONDS);
    kt_keyring_free(setup->keyring);
    setup->keyring = NULL;
    v.out = fdopen(out, "w");
    if (v.out == NULL || !become(person))
        _exit(1);
    visit(&v);
    _exit(fflush(v.out) == 0 ? 0 : 1);
}

/* ---- the parent ---- */

static kt_status_t take_lines(FILE *in, const char *what, kt_check_fn fn, void *arg)
{
    char line[TEXT_MAX + 32], *text;
    kt_status_t worst = KT_SUCCESS;

    while (fgets(line, sizeof(line), in) != NULL) {
        kt_status_t status = (kt_status_t)strtol(line, &text, 10);

        text[strcspn(text, "\n")] = '\0';
        if (status != KT_SUCCESS && (worst == KT_SUCCESS || kt_status_exit(status) > kt_status_exit(worst)))
            worst = status;
        fn(arg, status, what, *text == ' ' ? text + 1 : text);
    }
    return worst;
}

static kt_status_t ask(kt_setup_t *setup, const kt_check_user_t *asked, const kt_person_t *person, kt_check_fn fn, void *arg)
{
    kt_status_t status = KT_SUCCESS;
    int ends[2], ended = 0;
    FILE *in;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return kt_fail(KT_INTERNAL, "%s", strerror(errno));
    pid = fork();
    if (pid == 0)
        child(setup, asked, person, ends[1]);
    (void)close(ends[1]);
    in = pid > 0 ? fdopen(ends[0], "r") : NULL;
    if (in != NULL) {
        status = take_lines(in, asked->stream, fn, arg);
        (void)fclose(in);
    } else {
        (void)close(ends[0]);
        status = kt_fail(KT_INTERNAL, "%s", strerror(errno));
    }
    while (pid > 0 && waitpid(pid, &ended, 0) < 0 && errno == EINTR)
        ;
    if (pid > 0 && (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0))
        return kt_fail(KT_INTERNAL, "the check as %s did not end", asked->user);
    return status;
}

kt_status_t kt_check_user(kt_setup_t *setup, const kt_check_user_t *user, kt_check_fn fn, void *arg)
{
    kt_person_t person;
    kt_status_t status = KT_SUCCESS;

    kt_failure_clear();
    if (setup->modules == NULL || user->size < sizeof(*user))
        status = kt_fail(KT_USAGE, "the configuration was not read");
    else if (geteuid() != 0)
        status = kt_fail(KT_PERMISSION, "only root can try what other users may open");
    if (status == KT_SUCCESS)
        status = find_person(user, &person);
    if (status == KT_SUCCESS)
        status = ask(setup, user, &person, fn, arg);
    if (status != KT_SUCCESS && kt_failure()[0] != '\0')
        fn(arg, status, user->stream, kt_failure());
    return status;
}

const char *kt_setup_key(const kt_setup_t *setup, size_t i)
{
    size_t n;

    for (n = 0; setup->config != NULL && n < setup->config->nkeys; n++) {
        if (setup->config->keys[n].host != NULL && i-- == 0)
            return setup->config->keys[n].host;
    }
    return NULL;
}

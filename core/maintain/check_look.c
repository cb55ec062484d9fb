/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_look.c: inspects what the user that this process has become may open: configuration, key
 * and its types, the keys of others, stores, its stream and those of others. Then it tries the
 * providers. It writes a line for each thing that is wrong, or one line if nothing is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static void report(kt_inspection_t *v, kt_status_t status, const char *text)
{
    char line[KT_INSPECTION_TEXT];

    (void)snprintf(line, sizeof(line), "%s", text);
    kt_flatten(line);
    v->wrong += status != KT_SUCCESS;
    (void)fprintf(v->out, "%d %s\n", (int)status, line);
}

/* Reports a failure; true if there is none. */
static bool passed(kt_inspection_t *v, kt_status_t status, const char *text)
{
    if (status != KT_SUCCESS)
        report(v, status, text);
    return status == KT_SUCCESS;
}

/* May the user open this? Reports why not. */
static bool may_open(kt_inspection_t *v, const char *path, int wanted, const char *group)
{
    char text[KT_INSPECTION_TEXT];

    return passed(v, kt_path_check(&v->person, path, wanted, group, text, sizeof(text)), text);
}

/* Reports it if the user may open this, but should not. */
static void must_not_open(kt_inspection_t *v, const char *path, int unwanted, const char *what)
{
    char text[KT_INSPECTION_TEXT];

    (void)passed(v, kt_path_closed(&v->person, path, unwanted, what, text, sizeof(text)), text);
}

static void add_good(kt_inspection_t *v, const char *format, const char *what)
{
    size_t at = strlen(v->good);

    (void)snprintf(v->good + at, sizeof(v->good) - at, "%s", at > 0 ? "; " : "");
    at = strlen(v->good);
    (void)snprintf(v->good + at, sizeof(v->good) - at, format, what);
}

/* ---- what policy says ---- */

/* The pattern of all subjects that the process may name. */
static const char *subjects_of(const kt_inspection_t *v, char pattern[KT_SUBJECT_MAX + 1])
{
    if (strncmp(v->asked->stream, "cli-", 4) == 0)
        (void)snprintf(pattern, KT_SUBJECT_MAX + 1, "uid:%s", v->person.name);
    else
        (void)snprintf(pattern, KT_SUBJECT_MAX + 1, "%s:*", v->asked->stream);
    return pattern;
}

static bool may_write(const kt_inspection_t *v)
{
    const unsigned writing = KT_CAP_WRITE | KT_CAP_ROTATE | KT_CAP_DELETE;
    char subjects[KT_SUBJECT_MAX + 1];
    size_t i, n;

    if (v->asked->writes || strncmp(v->asked->stream, "cli-", 4) != 0)
        return v->asked->writes != 0;
    (void)subjects_of(v, subjects);
    for (i = 0; i < v->config->nrules; i++) {
        const kt_cfg_rule_t *rule = &v->config->rules[i];

        for (n = 0; n < rule->nnames; n++) {
            if ((kt_policy_grants(v->config, rule, rule->names[n], subjects) & writing) != 0)
                return true;
        }
    }
    return false;
}

/* The type of all names that a pattern matches; false: they may have several. */
static bool type_of(const char *pattern, char type[KT_NAME_MAX + 1])
{
    size_t size = strcspn(pattern, "/");

    if (memchr(pattern, '*', size) != NULL || size > KT_NAME_MAX)
        return false;
    (void)snprintf(type, KT_NAME_MAX + 1, "%.*s", pattern[size] == '/' ? (int)size : 7,
                   pattern[size] == '/' ? pattern : "general");
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

static void inspect_config(kt_inspection_t *v)
{
    if (!v->asked->as_root)
        (void)may_open(v, v->config->path, R_OK, v->person.readers);
}

/* NULL: the source is not a file. */
static char *file_of(const kt_inspection_t *v, const kt_cfg_key_t *key)
{
    return key != NULL && strncmp(key->source, "file:", 5) == 0
               ? kt_config_resolve(v->config, key->source + 5)
               : NULL;
}

static void inspect_types(kt_inspection_t *v, const char *path)
{
    char missing[512] = "", held[512] = "", more[512] = "", type[KT_NAME_MAX + 1],
         subjects[KT_SUBJECT_MAX + 1], *text;
    size_t i, n;

    (void)subjects_of(v, subjects);
    for (i = 0; i < v->keyring->ntypes; i++)
        append(held, sizeof(held), v->keyring->types[i].type);
    for (i = 0; i < v->config->nrules; i++) {
        const kt_cfg_rule_t *rule = &v->config->rules[i];

        for (n = 0; n < rule->nnames; n++) {
            if (kt_policy_grants(v->config, rule, rule->names[n], subjects) == 0 ||
                !type_of(rule->names[n], type) || holds(v->keyring, type))
                continue;
            append(v->asked->types == NULL || in_list(v->asked->types, type) ? missing : more, 512,
                   type);
        }
    }
    if (missing[0] != '\0') {
        if (asprintf(&text,
                     "%s has no key for the type%s %s, which policy allows to %s: `keyturn grant "
                     "%s %s`",
                     path, strchr(missing, ',') != NULL ? "s" : "", missing, v->person.name,
                     v->asked->stream, missing) < 0)
            text = NULL;
        report(v, KT_NOKEY, text != NULL ? text : missing);
        free(text);
    }
    add_good(v, "opens %s", v->keyring->nenv > 0 ? "every type" : held);
    if (more[0] == '\0')
        return;
    if (asprintf(&text,
                 "policy also allows %s, but the key file has no key for it: `keyturn grant %s %s`",
                 more, v->asked->stream, more) < 0)
        text = NULL;
    add_good(v, "%s", text != NULL ? text : more);
    free(text);
}

static void report_missing_key(kt_inspection_t *v, const char *path)
{
    const char *group = v->person.own_group,
               *types = v->asked->types != NULL ? v->asked->types : "api-keys";
    char word[2 * PATH_MAX], *text;

    (void)kt_shell_word(path, word);
    if (asprintf(
            &text,
            "%s, the key file of %s, does not exist: `keyturn keygen --types %s %s && %s %s %s "
            "&& chmod %s %s`",
            path, v->person.name, types, word, group[0] != '\0' ? "chgrp" : "chown",
            group[0] != '\0' ? group : v->person.name, word, group[0] != '\0' ? "0640" : "0400",
            word) < 0)
        text = NULL;
    report(v, KT_CONFIG, text != NULL ? text : path);
    free(text);
}

static void inspect_key(kt_inspection_t *v)
{
    const kt_cfg_key_t *key = kt_key_of(v->config, v->asked->stream);
    char *path = file_of(v, key), text[KT_INSPECTION_TEXT];
    kt_status_t status;

    if (key == NULL) {
        add_good(v, "has no key under `key:`%s", "");
    } else if (path == NULL) {
        add_good(v, "its key, %s, can only be tried by the host itself", key->source);
    } else {
        status = kt_path_check(&v->person, path, R_OK,
                               v->person.own_group[0] != '\0' ? v->person.own_group : NULL, text,
                               sizeof(text));
        if (status == KT_UNAVAIL) {
            report_missing_key(v, path);
        } else if (passed(v, status, text)) {
            kt_failure_clear();
            status = kt_keyring_read(v->config, v->asked->stream, &v->keyring);
            if (passed(v, status, kt_failure()))
                inspect_types(v, path);
        }
    }
    free(path);
}

/* The key files of others. */
static void inspect_others(kt_inspection_t *v)
{
    char *own = file_of(v, kt_key_of(v->config, v->asked->stream)), what[128];
    size_t i;

    for (i = 0; i < v->config->nkeys; i++) {
        const kt_cfg_key_t *key = &v->config->keys[i];
        char *path = file_of(v, key);

        (void)snprintf(what, sizeof(what), "the key of %.64s",
                       key->host != NULL ? key->host : "all");
        if (path != NULL && (own == NULL || strcmp(own, path) != 0))
            must_not_open(v, path, R_OK, what);
        free(path);
    }
    free(own);
}

/* ---- providers ---- */

/* Every reader reads the file of each stream, and writes its own. Only the owner of the folder
 * changes its entries. */
static void inspect_anchors(kt_inspection_t *v, const char *folder)
{
    char name[PATH_MAX], *text, wrong[KT_INSPECTION_TEXT];
    kt_folder_t list;
    bool whole = kt_folder_open(&list, AT_FDCWD, folder);

    if (whole) {
        while (kt_folder_next(&list)) {
            if (list.name[0] == '.' || strcmp(list.name, v->asked->stream) == 0 ||
                snprintf(name, sizeof(name), "%s/%s", folder, list.name) >= (int)sizeof(name) ||
                !may_open(v, name, R_OK | X_OK, v->person.readers) ||
                snprintf(name, sizeof(name), "%s/%s/generations", folder, list.name) >=
                    (int)sizeof(name) ||
                access(name, F_OK) != 0)
                continue;
            (void)may_open(v, name, R_OK, v->person.readers);
        }
        whole = kt_folder_close(&list);
    }
    if (!whole) {
        if (asprintf(&text, "%s cannot list %s: %s", v->person.name, folder, strerror(errno)) < 0)
            text = NULL;
        report(v, KT_PERMISSION, text != NULL ? text : "out of memory");
        free(text);
    }
    if (snprintf(name, sizeof(name), "%s/%s", folder, v->asked->stream) < (int)sizeof(name))
        (void)passed(v, kt_path_anchors(&v->person, name, wrong, sizeof(wrong)), wrong);
}

/* The files of a store in its folder, some of which a writer creates. */
static void inspect_store(kt_inspection_t *v, const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    bool writes = may_write(v);
    int wanted = writes ? R_OK | W_OK : R_OK;
    char name[PATH_MAX], text[KT_INSPECTION_TEXT];
    const char *slash = strrchr(path, '/'), *group = writes ? v->person.writers : v->person.readers;
    kt_status_t status = KT_SUCCESS;
    size_t i, before = v->wrong;

    if (slash == NULL || slash == path)
        return;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
    if (!may_open(v, name, writes ? R_OK | W_OK | X_OK : X_OK, group))
        return;
    if (!writes)
        must_not_open(v, name, W_OK, "where it only reads");
    for (i = 0; i < KT_ARRAY(suffixes); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        status = kt_path_check(&v->person, name, wanted, group, text, sizeof(text));
        if (status == KT_PERMISSION || (status != KT_SUCCESS && i == 0))
            (void)passed(v, status, text);
        else if (!writes && status == KT_SUCCESS)
            must_not_open(v, name, W_OK, "where it only reads");
    }
    if (kt_anchors_path(path, name, sizeof(name)) == KT_SUCCESS &&
        may_open(v, name, R_OK | X_OK, v->person.readers)) {
        must_not_open(v, name, W_OK, "where only its owner makes folders");
        inspect_anchors(v, name);
    }
    if (v->wrong == before)
        add_good(v, writes ? "writes %s" : "reads %s", path);
}

/* The files of the sources, which stand one on a line. */
static void inspect_sources(kt_inspection_t *v, const char *sources)
{
    char *source, *path;

    for (; sources != NULL; sources = strchr(sources, '\n')) {
        sources += *sources == '\n';
        source = strndup(sources, strcspn(sources, "\n"));
        path = source != NULL && strncmp(source, "file:", 5) == 0
                   ? kt_config_resolve(v->config, source + 5)
                   : NULL;
        if (path != NULL)
            (void)may_open(v, path, R_OK, v->person.readers);
        free(path);
        free(source);
    }
}

static void inspect_module(kt_inspection_t *v, const kt_cfg_provider_t *config,
                           const kt_module_t *module)
{
    bool store = kt_has_index(module->api) && (module->api->capabilities & KTP_CREATE) != 0;
    const ktp_option_spec_t *spec;
    size_t i;

    for (i = 0; i < config->noptions; i++) {
        const char *given = config->options[i].text;
        char *path = NULL;

        for (spec = module->api->options;
             spec->name != NULL && strcmp(spec->name, config->options[i].name) != 0; spec++)
            ;
        if (spec->name == NULL)
            continue;
        if (spec->type == KTP_PATH)
            path = kt_config_resolve(v->config, given);
        else if ((spec->type == KTP_SECRET || spec->type == KTP_SECRETS) && !v->asked->as_root)
            inspect_sources(v, given);
        if (path != NULL && store && strcmp(spec->name, "path") == 0)
            inspect_store(v, path);
        else if (path != NULL)
            (void)may_open(v, path, R_OK, v->person.readers);
        free(path);
    }
}

/* With all permissions in order, the providers must work for the user. */
static void try_providers(kt_inspection_t *v)
{
    kt_config_t *config = (kt_config_t *)(uintptr_t)v->config;
    kt_modules_t *modules = NULL;
    kt_ctx_t *ctx = NULL;
    char text[KT_INSPECTION_TEXT], detail[640];
    kt_status_t status;
    size_t i;

    if (v->wrong > 0 || v->keyring == NULL)
        return;
    kt_failure_clear();
    status = v->asked->as_root ? KT_SUCCESS : kt_modules_load(config, &modules);
    if (status == KT_SUCCESS)
        status =
            kt_context_new(config, modules != NULL ? modules : v->setup->modules, v->keyring, &ctx);
    if (status != KT_SUCCESS) {
        report(v, status, kt_failure());
        return;
    }
    for (i = 0; i < ctx->modules->count; i++) {
        if (kt_enter(ctx) != KT_SUCCESS)
            break;
        status = kt_provider_try(ctx, i, detail, sizeof(detail));
        (void)snprintf(text, sizeof(text), "%s: provider %s: %s", v->person.name,
                       config->providers[i].name, kt_failure());
        if (passed(v, status, text))
            add_good(v, "%s", detail);
        kt_leave(ctx);
    }
    kt_close(ctx);
}

/* ---- streams ---- */

static void inspect_stream(kt_inspection_t *v)
{
    char path[PATH_MAX], text[KT_INSPECTION_TEXT];
    size_t i;

    (void)snprintf(path, sizeof(path), "%s/%s", v->config->audit_path, v->asked->stream);
    if (may_open(v, v->config->audit_path, X_OK, v->person.readers) &&
        passed(v, kt_path_owned(&v->person, path, text, sizeof(text)), text))
        add_good(v, "writes %s", path);
    for (i = 0; i < v->asked->nothers; i++) {
        if (strcmp(v->asked->others[i], v->asked->stream) == 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", v->config->audit_path, v->asked->others[i]);
        must_not_open(v, path, W_OK, "a stream that is not its own");
    }
}

/* ---- all of it ---- */

static void inspect_worker(kt_inspection_t *v)
{
    char text[KT_INSPECTION_TEXT];

    if (v->asked->worker != NULL)
        (void)passed(
            v, kt_check_worker(v->config, v->asked->stream, v->asked->worker, text, sizeof(text)),
            text);
}

void kt_inspect(kt_inspection_t *v)
{
    size_t i;

    inspect_config(v);
    inspect_key(v);
    inspect_others(v);
    for (i = 0; i < v->config->nproviders; i++)
        inspect_module(v, &v->config->providers[i], &v->setup->modules->list[i]);
    inspect_stream(v);
    inspect_worker(v);
    try_providers(v);
    kt_keyring_free(v->keyring);
    if (v->wrong == 0)
        report(v, KT_SUCCESS, v->good);
}

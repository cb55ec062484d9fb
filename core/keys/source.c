/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * source.c: the value of `key:`, and the key file's text that it stands for.
 *
 *     file:PATH              the file itself
 *     credential:NAME        $CREDENTIALS_DIRECTORY/NAME, which systemd filled
 *     exec:COMMAND           what the command prints
 *     keyring:DESC           the kernel's user key of this description
 *     passphrase:FROM [KEY]  KEY, a key file under a passphrase, which is asked for (FROM is
 *     PROMPT) or stands in the file FROM
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source.h"

typedef struct source {
    const kt_config_t *config;
    const char *rest; /* after the colon */
    char *where;      /* for errors in the text: malloc'ed */
    char *text;       /* locked */
    size_t size;
    kt_secret_t *phrase;
} source_t;

static kt_status_t from_path(source_t *source, char *path)
{
    source->where = path;
    if (path == NULL)
        return kt_no_memory();
    return kt_read_private(path, &source->text, &source->size);
}

static kt_status_t from_file(source_t *source)
{
    return from_path(source, kt_config_resolve(source->config, source->rest));
}

static kt_status_t from_credential(source_t *source)
{
    const char *folder = secure_getenv("CREDENTIALS_DIRECTORY");
    char *path;

    if (folder == NULL || strchr(source->rest, '/') != NULL)
        return kt_fail(
            KT_CONFIG,
            "credential:%s: systemd passed no credentials to this process (LoadCredential=)",
            source->rest);
    if (asprintf(&path, "%s/%s", folder, source->rest) < 0)
        path = NULL;
    return from_path(source, path);
}

static kt_status_t from_command(source_t *source)
{
    if (asprintf(&source->where, "the output of %.*s", (int)strcspn(source->rest, " \t"),
                 source->rest) < 0) {
        source->where = NULL;
        return kt_no_memory();
    }
    return kt_exec_read(source->rest, KT_EXEC_LIMIT, &source->text, &source->size);
}

static kt_status_t from_keyring(source_t *source)
{
    if (asprintf(&source->where, "the key \"%s\" of the kernel's keyring", source->rest) < 0) {
        source->where = NULL;
        return kt_no_memory();
    }
    return kt_kernel_key(source->rest, &source->text, &source->size);
}

/* Without a second word it is the file that init makes. */
static char *sealed_path(const kt_config_t *config, const char *word)
{
    char name[KT_ENVIRONMENT_MAX + 8];

    (void)snprintf(name, sizeof(name), "%s.key", config->environment);
    return kt_config_resolve(config, word[0] != '\0' ? word : name);
}

static kt_status_t read_phrase(source_t *source, const char *from)
{
    char *path;
    kt_status_t status;

    if (strcmp(from, "PROMPT") == 0)
        return kt_phrase_ask(source->where, &source->phrase);
    path = kt_config_resolve(source->config, from);
    if (path == NULL)
        return kt_no_memory();
    status = kt_phrase_read(path, &source->phrase);
    free(path);
    return status;
}

/* The key file first: do not ask for a passphrase if it is missing. */
static kt_status_t from_passphrase(source_t *source)
{
    size_t size = strcspn(source->rest, " \t");
    char *from = strndup(source->rest, size);
    kt_status_t status;

    if (from == NULL)
        return kt_no_memory();
    status = from_path(source, sealed_path(source->config, source->rest + size +
                                                               strspn(source->rest + size, " \t")));
    if (status == KT_SUCCESS)
        status = read_phrase(source, from);
    free(from);
    return status;
}

static const struct {
    const char *prefix;
    kt_status_t (*read)(source_t *source);
    bool names_config; /* its errors name no file of their own */
} kinds[] = {
    {"file:", from_file, false},
    {"credential:", from_credential, true},
    {"exec:", from_command, true},
    {"keyring:", from_keyring, true},
    {"passphrase:", from_passphrase, true},
};

static kt_status_t read_source(const kt_config_t *config, const kt_cfg_key_t *key,
                               kt_keyring_t **ret_keyring)
{
    source_t source = {.config = config};
    size_t i;
    kt_status_t status;

    for (i = 0;
         i < KT_ARRAY(kinds) && strncmp(key->source, kinds[i].prefix, strlen(kinds[i].prefix)) != 0;
         i++)
        ;
    if (i == KT_ARRAY(kinds))
        return kt_fail(KT_CONFIG, "%s:%d: not a source of keys", config->path, key->line);
    source.rest = key->source + strlen(kinds[i].prefix);
    status = kinds[i].read(&source);
    if (status == KT_SUCCESS)
        status = kt_keyring_parse_text(source.where, source.text, source.size, config->environment,
                                       source.phrase, ret_keyring);
    if (status != KT_SUCCESS && kinds[i].names_config)
        (void)kt_fail_prefix(status, "%s:%d", config->path, key->line);
    kt_locked_free(source.text);
    kt_secret_free(source.phrase);
    free(source.where);
    return status;
}

static const kt_cfg_key_t *find_key(const kt_config_t *config, const char *host)
{
    size_t i;

    for (i = 0; i < config->nkeys; i++) {
        if (config->keys[i].host == NULL || strcmp(config->keys[i].host, host) == 0)
            return &config->keys[i];
    }
    return NULL;
}

/* A user of the command may have an own key (`cli-USER`); the others have the one of `cli`.
 */
const kt_cfg_key_t *kt_key_of(const kt_config_t *config, const char *host)
{
    const kt_cfg_key_t *key = find_key(config, host);

    return key == NULL && strncmp(host, "cli-", 4) == 0 ? find_key(config, "cli") : key;
}

bool kt_source_is_phrase(const kt_config_t *config, const char *host)
{
    const kt_cfg_key_t *key = kt_key_of(config, host);

    return key != NULL && strncmp(key->source, "passphrase:", 11) == 0;
}

kt_status_t kt_keyring_read(const kt_config_t *config, const char *host, kt_keyring_t **ret_keyring)
{
    const kt_cfg_key_t *key = kt_key_of(config, host);

    if (key == NULL)
        return kt_fail(KT_CONFIG, "%s: no key for the host \"%s\": add one under `key:`",
                       config->path, strncmp(host, "cli-", 4) == 0 ? "cli" : host);
    return read_source(config, key, ret_keyring);
}

kt_status_t kt_keyring_read_again(const kt_config_t *config, const char *host,
                                  kt_keyring_t **ret_keyring)
{
    const kt_cfg_key_t *key = kt_key_of(config, host);

    if (key != NULL &&
        (strncmp(key->source, "exec:", 5) == 0 || strncmp(key->source, "passphrase:", 11) == 0))
        return kt_fail(KT_NOKEY, "%.*s is not asked again by a running process: restart it",
                       (int)strcspn(key->source, ":") + 1, key->source);
    return kt_keyring_read(config, host, ret_keyring);
}

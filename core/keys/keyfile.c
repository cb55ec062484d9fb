/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyfile.c: the text in which keys are kept. source.c says where it comes from.
 *
 *     keyturn-key 1                          keyturn-key 1
 *     environment production                 environment production
 *     key 2 <32 bytes in base64>             type api-keys 2 <32 bytes> <label>
 *     key 1 <32 bytes in base64>             type api-keys 1 <32 bytes> <label>
 *
 * On the left every key of an environment, newest epoch first, or one line `argon2id` that has them
 * under a passphrase (passphrase.c); on the right what a consumer of one type is given. A `#`
 * begins a comment.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source.h"

#define BASE64 sodium_base64_VARIANT_ORIGINAL

/* ---- parsing ---- */

static kt_status_t parse_epoch(const char *word, unsigned *ret_epoch)
{
    char *end;
    unsigned long epoch;

    if (word == NULL || word[0] < '1' || word[0] > '9')
        return kt_fail(KT_CONFIG, "expected an epoch, a number from 1 on");
    epoch = strtoul(word, &end, 10);
    if (*end != '\0' || epoch > 1000000)
        return kt_fail(KT_CONFIG, "expected an epoch, a number from 1 on");
    *ret_epoch = (unsigned)epoch;
    return KT_SUCCESS;
}

static kt_status_t parse_base64(const char *word, unsigned char *out, size_t room, size_t *ret_size)
{
    if (word == NULL ||
        sodium_base642bin(out, room, word, strlen(word), NULL, ret_size, NULL, BASE64) != 0)
        return kt_fail(KT_CONFIG, "expected base64");
    return KT_SUCCESS;
}

static kt_status_t parse_key(const char *word, unsigned char *key)
{
    size_t size;
    kt_status_t status = parse_base64(word, key, KT_KEY_SIZE, &size);

    if (status == KT_SUCCESS && size != KT_KEY_SIZE)
        status = kt_fail(KT_CONFIG, "a key has %u bytes", KT_KEY_SIZE);
    return status;
}

typedef struct parser {
    kt_keyring_t *keyring;
    unsigned char *key;   /* locked scratch */
    const char *expected; /* the environment that the configuration names */
    const kt_secret_t *phrase;
    bool magic, environment;
} parser_t;

static kt_status_t parse_environment(parser_t *p, const char *word)
{
    char environment[KT_ENVIRONMENT_MAX];
    kt_status_t status;

    if (word == NULL)
        return kt_fail(KT_CONFIG, "expected the name of an environment");
    status = kt_environment_parse(word, environment);
    if (status != KT_SUCCESS)
        return kt_fail_prefix(KT_CONFIG, "environment");
    if (p->expected != NULL && strcmp(environment, p->expected) != 0)
        return kt_fail(KT_WRONGKEY, "this is a key of \"%s\", the configuration is of \"%s\"",
                       environment, p->expected);
    memcpy(p->keyring->environment, environment, sizeof(environment));
    p->environment = true;
    return KT_SUCCESS;
}

static kt_status_t parse_type(parser_t *p, char **rest)
{
    const char *type = strtok_r(NULL, " \t", rest);
    unsigned char label[KT_LABEL_MAX];
    size_t label_size;
    unsigned epoch;
    kt_status_t status;

    if (type == NULL || strchr(type, '/') != NULL || kt_name_check(type, 0, NULL) != KT_SUCCESS)
        return kt_fail(KT_CONFIG, "expected the name of a type");
    status = parse_epoch(strtok_r(NULL, " \t", rest), &epoch);
    if (status == KT_SUCCESS)
        status = parse_key(strtok_r(NULL, " \t", rest), p->key);
    if (status == KT_SUCCESS)
        status = parse_base64(strtok_r(NULL, " \t", rest), label, sizeof(label), &label_size);
    if (status == KT_SUCCESS)
        status = kt_keyring_add_type(p->keyring, type, epoch, p->key, label, label_size);
    return status;
}

static kt_status_t parse_sealed(parser_t *p, char **rest)
{
    char *words[4];
    size_t i;

    if (p->phrase == NULL)
        return kt_fail(KT_CONFIG, "this key is under a passphrase: `key: passphrase:PROMPT FILE` "
                                  "in the configuration opens it");
    if (p->keyring->nenv > 0 || p->keyring->ntypes > 0)
        return kt_fail(KT_CONFIG, "a key under a passphrase stands alone");
    for (i = 0; i < KT_ARRAY(words); i++)
        words[i] = strtok_r(NULL, " \t", rest);
    return kt_phrase_open(p->phrase, p->keyring, words);
}

static kt_status_t parse_clear(parser_t *p, char **rest)
{
    unsigned epoch;
    kt_status_t status = parse_epoch(strtok_r(NULL, " \t", rest), &epoch);

    if (status == KT_SUCCESS)
        status = parse_key(strtok_r(NULL, " \t", rest), p->key);
    if (status == KT_SUCCESS)
        status = kt_keyring_add_env(p->keyring, epoch, p->key);
    return status;
}

static kt_status_t parse_line(parser_t *p, char *line)
{
    char *rest = NULL;
    const char *word = strtok_r(line, " \t", &rest);
    kt_status_t status = KT_SUCCESS;

    if (word == NULL || word[0] == '#')
        return KT_SUCCESS;
    if (!p->magic) {
        const char *format = strtok_r(NULL, " \t", &rest);

        if (strcmp(word, "keyturn-key") != 0 || format == NULL || strcmp(format, "1") != 0)
            return kt_fail(KT_CONFIG, "not a key file: it has to begin with \"keyturn-key 1\" "
                                      "(`keyturn keygen FILE` makes one)");
        p->magic = true;
    } else if (strcmp(word, "environment") == 0) {
        return parse_environment(p, strtok_r(NULL, " \t", &rest));
    } else if (!p->environment) {
        return kt_fail(KT_CONFIG, "the environment has to come before the keys");
    } else if (strcmp(word, "argon2id") == 0) {
        status = parse_sealed(p, &rest);
    } else if (p->phrase != NULL && (strcmp(word, "key") == 0 || strcmp(word, "type") == 0)) {
        return kt_fail(KT_CONFIG, "this key is under no passphrase: name the file with file:");
    } else if (strcmp(word, "key") == 0) {
        status = parse_clear(p, &rest);
    } else if (strcmp(word, "type") == 0) {
        status = parse_type(p, &rest);
    } else {
        /* the word itself may be a key */
        return kt_fail(KT_CONFIG, "expected \"environment\", \"key\" or \"type\"");
    }
    if (status == KT_SUCCESS && strtok_r(NULL, " \t", &rest) != NULL)
        status = kt_fail(KT_CONFIG, "too many words");
    return status;
}

static kt_status_t parse_lines(parser_t *p, const char *path, char *text, size_t size)
{
    char *line = text, *end = text + size;
    unsigned number = 1;
    kt_status_t status;

    if (memchr(text, 0, size) != NULL)
        return kt_fail(KT_CONFIG,
                       "%s: not a key file: it has to begin with \"keyturn-key 1\" (`keyturn "
                       "keygen FILE` makes one)",
                       path);
    for (; line < end; number++) {
        char *next = memchr(line, '\n', (size_t)(end - line));

        if (next == NULL)
            next = end;
        *next = '\0';
        status = parse_line(p, line);
        if (status != KT_SUCCESS)
            return kt_fail_prefix(status, "%s:%u", path, number);
        line = next + 1;
    }
    if (p->keyring->nenv == 0 && p->keyring->ntypes == 0)
        return kt_fail(KT_CONFIG, "%s: holds no key", path);
    return KT_SUCCESS;
}

kt_status_t kt_keyring_parse_text(const char *where, char *text, size_t size,
                                  const char *environment, const kt_secret_t *phrase,
                                  kt_keyring_t **ret_keyring)
{
    parser_t p = {.expected = environment, .phrase = phrase};
    kt_status_t status = kt_keyring_new(environment, &p.keyring);

    if (status == KT_SUCCESS) {
        p.key = kt_locked_alloc(KT_KEY_SIZE);
        status = p.key != NULL ? parse_lines(&p, where, text, size) : kt_no_memory();
    }
    kt_locked_free(p.key);
    if (status != KT_SUCCESS) {
        kt_keyring_free(p.keyring);
        return status;
    }
    *ret_keyring = p.keyring;
    return KT_SUCCESS;
}

kt_status_t kt_keyring_parse_of(const char *path, uid_t owner, const char *environment,
                                kt_keyring_t **ret_keyring)
{
    char *text = NULL;
    size_t size = 0;
    kt_status_t status = kt_read_private_of(path, owner, &text, &size);

    if (status == KT_SUCCESS)
        status = kt_keyring_parse_text(path, text, size, environment, NULL, ret_keyring);
    kt_locked_free(text);
    return status;
}

kt_status_t kt_keyring_parse(const char *path, const char *environment, kt_keyring_t **ret_keyring)
{
    return kt_keyring_parse_of(path, geteuid(), environment, ret_keyring);
}

/* ---- writing ---- */

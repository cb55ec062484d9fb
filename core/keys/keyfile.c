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

#include "internal.h"
#include "keysource.h"

#define BASE64 sodium_base64_VARIANT_ORIGINAL
#define LABEL_TEXT (KT_LABEL_MAX * 4 / 3 + 8)

/* On the open descriptor, so that what was checked is what is read. */
static kt_status_t check_descriptor(int fd, const char *path, size_t *ret_size)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return kt_fail(KT_PERMISSION, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return kt_fail(KT_PERMISSION, "%s: not a regular file", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return kt_fail(KT_PERMISSION,
                       "%s: a key file has to belong to root or to uid %u, not to uid %u", path,
                       (unsigned)geteuid(), (unsigned)st.st_uid);
    if ((st.st_mode & 0137) != 0)
        return kt_fail(
            KT_PERMISSION,
            "%s: mode %04o is too open for a key file: chmod 0600 (or 0640 for its group)", path,
            (unsigned)(st.st_mode & 07777));
    if (st.st_size > KT_KEYFILE_MAX)
        return kt_fail(KT_CONFIG, "%s: too large for a key file", path);
    *ret_size = (size_t)st.st_size;
    return KT_SUCCESS;
}

static kt_status_t read_all(int fd, const char *path, char *text, size_t size)
{
    size_t at = 0;

    while (at < size) {
        ssize_t got = read(fd, text + at, size - at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return kt_fail(KT_PERMISSION, "%s: %s", path,
                           got < 0 ? strerror(errno) : "shorter than it was a moment ago");
        at += (size_t)got;
    }
    return KT_SUCCESS;
}

/* The text in locked memory, with NUL behind it. */
kt_status_t kt_read_private(const char *path, char **ret_text, size_t *ret_size)
{
    int fd = open(path,
                  O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe must not hang a server */
    char *text = NULL;
    size_t size = 0;
    kt_status_t status;

    if (fd < 0)
        return kt_fail(errno == ENOENT ? KT_CONFIG : KT_PERMISSION, "%s: %s", path,
                       strerror(errno));
    status = check_descriptor(fd, path, &size);
    if (status != KT_SUCCESS)
        goto out;
    text = kt_locked_alloc(size + 1);
    status = text != NULL ? read_all(fd, path, text, size) : kt_fail(KT_INTERNAL, "out of memory");
out:
    (void)close(fd);
    if (status != KT_SUCCESS) {
        kt_locked_free(text);
        return status;
    }
    *ret_text = text;
    *ret_size = size;
    return KT_SUCCESS;
}

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
            return kt_fail(
                KT_CONFIG,
                "not a key file: it has to begin with \"keyturn-key 1\" (see keyturn keygen)");
        p->magic = true;
    } else if (strcmp(word, "environment") == 0) {
        return parse_environment(p, strtok_r(NULL, " \t", &rest));
    } else if (!p->environment) {
        return kt_fail(KT_CONFIG, "the environment has to come before the keys");
    } else if (strcmp(word, "argon2id") == 0) {
        status = parse_sealed(p, &rest);
    } else if (p->phrase != NULL && (strcmp(word, "key") == 0 || strcmp(word, "type") == 0)) {
        return kt_fail(KT_CONFIG, "this key is under no passphrase: name the file with file:, or "
                                  "make another with keyturn keygen --passphrase");
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
        return kt_fail(
            KT_CONFIG,
            "%s: not a key file: it has to begin with \"keyturn-key 1\" (see keyturn keygen)",
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
        status = p.key != NULL ? parse_lines(&p, where, text, size)
                               : kt_fail(KT_INTERNAL, "out of memory");
    }
    kt_locked_free(p.key);
    if (status != KT_SUCCESS) {
        kt_keyring_free(p.keyring);
        return status;
    }
    *ret_keyring = p.keyring;
    return KT_SUCCESS;
}

kt_status_t kt_keyring_parse(const char *path, const char *environment, kt_keyring_t **ret_keyring)
{
    char *text = NULL;
    size_t size = 0;
    kt_status_t status = kt_read_private(path, &text, &size);

    if (status == KT_SUCCESS)
        status = kt_keyring_parse_text(path, text, size, environment, NULL, ret_keyring);
    kt_locked_free(text);
    return status;
}

/* ---- writing ---- */

static int sync_folder(const char *path)
{
    char *copy = strdup(path);
    int fd = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int failed = fd < 0 || fsync(fd) != 0 ? -1 : 0;

    if (fd >= 0)
        (void)close(fd);
    free(copy);
    return failed;
}

kt_status_t kt_write_key(const char *path, const char *text, mode_t mode)
{
    size_t size = strlen(text), at = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 && errno == EEXIST)
        return kt_fail(KT_CONFLICT, "%s exists already; a key is never overwritten", path);
    if (fd < 0)
        return kt_fail(errno == EACCES || errno == EPERM ? KT_PERMISSION : KT_NOSPACE, "%s: %s",
                       path, strerror(errno));
    while (at < size) {
        ssize_t put = write(fd, text + at, size - at);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            break;
        at += (size_t)put;
    }
    if (at < size || fchmod(fd, mode) != 0 || fsync(fd) != 0 || sync_folder(path) != 0) {
        int error = errno;

        (void)unlink(path);
        (void)close(fd);
        return kt_fail(KT_NOSPACE, "%s: %s", path, strerror(error));
    }
    (void)close(fd);
    return KT_SUCCESS;
}

static void encode(char *text, size_t room, const unsigned char *data, size_t size)
{
    size_t at = strlen(text);

    (void)sodium_bin2base64(text + at, room - at, data, size, BASE64);
}

/* The text of a key file of these keys, in clear or under a passphrase. */
static kt_status_t write_keys(const char *path, const char *environment, const kt_envkey_t *keys,
                              size_t count, const kt_secret_t *phrase)
{
    size_t room = 2048, i;
    char *text = kt_locked_alloc(room);
    kt_status_t status = KT_SUCCESS;

    if (text == NULL)
        return kt_fail(KT_INTERNAL, "out of memory");
    (void)snprintf(text, room,
                   "keyturn-key 1\n# Whoever reads this file%s reads every secret of the "
                   "environment.\nenvironment %s\n",
                   phrase != NULL ? " and knows its passphrase" : "", environment);
    if (phrase != NULL)
        status = kt_phrase_seal(phrase, environment, keys, count, text, room);
    for (i = 0; phrase == NULL && i < count; i++) {
        size_t at = strlen(text);

        (void)snprintf(text + at, room - at, "key %u ", keys[i].epoch);
        encode(text, room - 1, keys[i].key, KT_KEY_SIZE);
        strcat(text, "\n");
    }
    if (status == KT_SUCCESS)
        status = kt_write_key(path, text, 0600);
    kt_locked_free(text);
    return status;
}

kt_status_t kt_keygen_passphrase(const char *path, const char *environment,
                                 const kt_secret_t *passphrase, char *error, size_t error_size)
{
    char name[KT_ENVIRONMENT_MAX];
    kt_envkey_t *key = kt_locked_alloc(sizeof(*key));
    kt_status_t status = kt_environment_parse(environment, name);

    if (status == KT_SUCCESS && key == NULL)
        status = kt_fail(KT_INTERNAL, "out of memory");
    if (status == KT_SUCCESS) {
        key->epoch = 1;
        randombytes_buf(key->key, KT_KEY_SIZE);
        status = write_keys(path, name, key, 1, passphrase);
    }
    kt_locked_free(key);
    if (status != KT_SUCCESS && error != NULL)
        (void)snprintf(error, error_size, "%s", kt_failure());
    return status;
}

kt_status_t kt_keygen(const char *path, const char *environment, char *error, size_t error_size)
{
    return kt_keygen_passphrase(path, environment, NULL, error, error_size);
}

static kt_status_t next_epoch(const kt_setup_t *setup, const kt_secret_t *passphrase,
                              kt_envkey_t keys[KT_EPOCHS_MAX])
{
    const kt_keyring_t *keyring = setup->keyring;

    if (keyring == NULL || keyring->nenv == 0)
        return kt_fail(KT_NOKEY, "the configuration's key file holds keys of types: only the "
                                 "environment's key has a next epoch");
    if (keyring->nenv == KT_EPOCHS_MAX)
        return kt_fail(KT_TOOLARGE,
                       "the key has %u epochs already: take out those that no store uses any more",
                       KT_EPOCHS_MAX);
    if (passphrase == NULL && kt_source_is_phrase(setup->config, setup->stream))
        return kt_fail(KT_USAGE, "the configuration's key is under a passphrase: give the new file "
                                 "one too, with --passphrase");
    keys[0].epoch = keyring->env[0].epoch + 1;
    randombytes_buf(keys[0].key, KT_KEY_SIZE);
    memcpy(keys + 1, keyring->env, keyring->nenv * sizeof(*keys));
    return KT_SUCCESS;
}

kt_status_t kt_keygen_epoch(kt_setup_t *setup, const kt_secret_t *passphrase, const char *path)
{
    kt_envkey_t *keys = kt_locked_alloc(KT_EPOCHS_MAX * sizeof(*keys));
    kt_status_t status =
        keys != NULL ? next_epoch(setup, passphrase, keys) : kt_fail(KT_INTERNAL, "out of memory");

    if (status == KT_SUCCESS)
        status = write_keys(path, setup->keyring->environment, keys, setup->keyring->nenv + 1,
                            passphrase);
    kt_locked_free(keys);
    setup->status = status;
    (void)snprintf(setup->error, sizeof(setup->error), "%s",
                   status == KT_SUCCESS ? "" : kt_failure());
    return status;
}

static void append_type(char *text, size_t room, const kt_typekey_t *key)
{
    size_t at = strlen(text);

    (void)snprintf(text + at, room - at, "type %s %u ", key->type, key->epoch);
    encode(text, room, key->key, KT_KEY_SIZE);
    strcat(text, " ");
    encode(text, room, key->label, key->label_size);
    strcat(text, "\n");
}

/* Appends the keys of every type in the list, which it cuts up. */
static kt_status_t append_types(kt_keyring_t *keyring, char *list, char *text, size_t room)
{
    char *rest = NULL, *type;
    const kt_typekey_t *key;
    kt_status_t status;
    size_t n;

    for (type = strtok_r(list, ", ", &rest); type != NULL; type = strtok_r(NULL, ", ", &rest)) {
        if (strchr(type, '/') != NULL || kt_name_check(type, 0, NULL) != KT_SUCCESS)
            return kt_fail(KT_USAGE, "a type is the first segment of a name, such as api-keys");
        for (n = 0; (status = kt_keyring_type(keyring, type, n, &key)) == KT_SUCCESS; n++) {
            if (room - strlen(text) < sizeof(key->type) + KT_KEY_SIZE * 2 + LABEL_TEXT + 32)
                return kt_fail(KT_TOOLARGE, "too many types for one key file");
            append_type(text, room, key);
        }
        if (status != KT_NOKEY || n == 0)
            return status;
    }
    return KT_SUCCESS;
}

kt_status_t kt_keygen_types(kt_setup_t *setup, const char *types, const char *path)
{
    size_t room = 256u * 1024u;
    char *text = kt_locked_alloc(room), *list = strdup(types);
    kt_status_t status;

    if (text == NULL || list == NULL) {
        status = kt_fail(KT_INTERNAL, "out of memory");
        goto out;
    }
    if (list[strspn(list, ", ")] == '\0') {
        status = kt_fail(KT_USAGE, "no type is named");
        goto out;
    }
    (void)snprintf(text, room,
                   "keyturn-key 1\n# The keys of some types only: written by keyturn keygen "
                   "--types.\nenvironment %s\n",
                   setup->keyring->environment);
    status = append_types(setup->keyring, list, text, room);
    if (status == KT_SUCCESS)
        status = kt_write_key(path, text, 0600);
out:
    kt_locked_free(text);
    free(list);
    setup->status = status;
    (void)snprintf(setup->error, sizeof(setup->error), "%s",
                   status == KT_SUCCESS ? "" : kt_failure());
    return status;
}

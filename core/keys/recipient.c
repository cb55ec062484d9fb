/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recipient.c: a key pair to which backups are sealed, so that the machine that makes them cannot
 * read them afterwards.
 *
 *     OUT        keyturn-recipient-key 1 <X25519 private key in base64>     kept elsewhere
 *     OUT.pub    keyturn-recipient 1 <X25519 public key in base64>          on the machine
 *
 * A backup for a recipient carries a random key in a sealed box. That key alone does not open it:
 * it is mixed with the environment's, as anybody can make a sealed box, but only a holder of the
 * environment key a backup of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keys.h"

#define PRIVATE "keyturn-recipient-key 1 "
#define PUBLIC "keyturn-recipient 1 "
#define BASE64 sodium_base64_VARIANT_ORIGINAL
#define BASE64_SIZE sodium_base64_ENCODED_LEN(KT_KEY_SIZE, BASE64)
#define LINE_SIZE (sizeof(PRIVATE) + BASE64_SIZE + 1u)

static void id_of(const unsigned char public_key[KT_KEY_SIZE], unsigned char ret_id[KT_KEYID_SIZE])
{
    (void)crypto_generichash_blake2b_salt_personal(ret_id, KT_KEYID_SIZE, NULL, 0, public_key,
                                                   KT_KEY_SIZE, NULL,
                                                   (const unsigned char *)"keyturn key id  ");
}

/* ---- key files ---- */

static void write_line(char line[LINE_SIZE], const char *magic,
                       const unsigned char key[KT_KEY_SIZE])
{
    (void)snprintf(line, LINE_SIZE, "%s", magic);
    (void)sodium_bin2base64(line + strlen(magic), BASE64_SIZE, key, KT_KEY_SIZE, BASE64);
    strcat(line, "\n");
}

static kt_status_t parse_line(const char *where, const char *text, size_t size, const char *magic,
                              unsigned char ret_key[KT_KEY_SIZE])
{
    size_t skip = strlen(magic), got = 0;

    if (size > 0 && text[size - 1] == '\n')
        size--;
    if (size < skip || memcmp(text, magic, skip) != 0)
        return kt_fail(
            KT_CONFIG,
            "%s: not a %s key of a recipient, as `keyturn keygen --recipient FILE` makes it", where,
            strcmp(magic, PUBLIC) == 0 ? "public" : "private");
    if (sodium_base642bin(ret_key, KT_KEY_SIZE, text + skip, size - skip, NULL, &got, NULL,
                          BASE64) != 0 ||
        got != KT_KEY_SIZE)
        return kt_fail(KT_CONFIG, "%s: the key of the recipient is damaged", where);
    return KT_SUCCESS;
}

static kt_status_t write_pair(const char *path)
{
    unsigned char *secret = kt_locked_alloc(KT_KEY_SIZE), public_key[KT_KEY_SIZE];
    char *line = kt_locked_alloc(LINE_SIZE), *public_path = NULL;
    kt_status_t status = KT_SUCCESS;

    if (secret == NULL || line == NULL || asprintf(&public_path, "%s.pub", path) < 0) {
        public_path = NULL;
        status = kt_no_memory();
        goto out;
    }
    if (access(public_path, F_OK) == 0) {
        status = kt_fail(KT_CONFLICT, "%s exists already; a key is never overwritten", public_path);
        goto out;
    }
    (void)crypto_box_keypair(public_key, secret);
    write_line(line, PRIVATE, secret);
    status = kt_write_key(path, line, 0600);
    if (status != KT_SUCCESS)
        goto out;
    write_line(line, PUBLIC, public_key);
    status = kt_write_key(public_path, line, 0644);
    if (status != KT_SUCCESS)
        (void)unlink(path); /* ours, and of no use alone */
out:
    kt_locked_free(secret);
    kt_locked_free(line);
    free(public_path);
    return status;
}

kt_status_t kt_keygen_recipient(const char *path, char *error, size_t error_size)
{
    kt_status_t status = write_pair(path);

    if (status != KT_SUCCESS && error != NULL)
        (void)snprintf(error, error_size, "%s", kt_failure());
    return status;
}

/* All users may read it; but a user who can write to it chooses who reads the backups. */
static kt_status_t read_public(const char *path, unsigned char ret_key[KT_KEY_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char text[LINE_SIZE + 1];
    struct stat st;
    ssize_t got = -1;
    kt_status_t status = KT_SUCCESS;

    if (fd < 0)
        return kt_fail(errno == ENOENT ? KT_CONFIG : KT_PERMISSION, "%s: %s", path,
                       strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        status = kt_fail(KT_PERMISSION, "%s: not a regular file", path);
    else if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0)
        status = kt_fail(KT_PERMISSION,
                         "%s: must belong to root or to uid %u, and not be writable by other users "
                         "(chmod go-w): they could replace it and read the backups",
                         path, (unsigned)geteuid());
    else if ((got = read(fd, text, sizeof(text))) < 0)
        status = kt_fail(KT_PERMISSION, "%s: %s", path, strerror(errno));
    (void)close(fd);
    return status == KT_SUCCESS ? parse_line(path, text, (size_t)got, PUBLIC, ret_key) : status;
}

kt_status_t kt_recipient_read(const kt_restore_options_t *options,
                              unsigned char ret_key[KT_KEY_SIZE])
{
    const kt_secret_t *given = options->recipient_text;
    char *text;
    size_t size;
    kt_status_t status;

    if (given != NULL)
        return parse_line("the recipient's key", (const char *)given->data, given->size, PRIVATE,
                          ret_key);
    status = kt_read_private(options->recipient_key, &text, &size);
    if (status != KT_SUCCESS)
        return status;
    status = parse_line(options->recipient_key, text, size, PRIVATE, ret_key);
    kt_locked_free(text);
    return status;
}

/* ---- the key of one backup ---- */

static void mix(unsigned char *io_key, const unsigned char fresh[KT_KEY_SIZE],
                const unsigned char public_key[KT_KEY_SIZE])
{
    crypto_generichash_blake2b_state state;

    (void)crypto_generichash_blake2b_init_salt_personal(
        &state, io_key, KT_KEY_SIZE, KT_KEY_SIZE, NULL, (const unsigned char *)"keyturn sealed  ");
    (void)crypto_generichash_blake2b_update(&state, fresh, KT_KEY_SIZE);
    (void)crypto_generichash_blake2b_update(&state, public_key, KT_KEY_SIZE);
    (void)crypto_generichash_blake2b_final(&state, io_key, KT_KEY_SIZE);
    kt_wipe(&state, sizeof(state));
}

kt_status_t kt_recipient_seal(const char *path, unsigned char *io_key,
                              unsigned char ret_header[KT_RECIPIENT_SIZE])
{
    unsigned char *fresh = kt_locked_alloc(KT_KEY_SIZE), public_key[KT_KEY_SIZE];
    kt_status_t status = fresh != NULL ? read_public(path, public_key) : kt_no_memory();

    if (status == KT_SUCCESS) {
        randombytes_buf(fresh, KT_KEY_SIZE);
        id_of(public_key, ret_header);
        if (crypto_box_seal(ret_header + KT_KEYID_SIZE, fresh, KT_KEY_SIZE, public_key) != 0)
            status = kt_fail(KT_CONFIG, "%s: no key that anything can be sealed to", path);
        else
            mix(io_key, fresh, public_key);
    }
    kt_locked_free(fresh);
    return status;
}

kt_status_t kt_recipient_open(const char *path, const unsigned char *private_key,
                              unsigned char *io_key, const unsigned char header[KT_RECIPIENT_SIZE])
{
    unsigned char *fresh, public_key[KT_KEY_SIZE], id[KT_KEYID_SIZE];
    char name[2 * KT_KEYID_SIZE + 1];
    kt_status_t status = KT_SUCCESS;

    (void)sodium_bin2hex(name, sizeof(name), header, KT_KEYID_SIZE);
    if (private_key == NULL)
        return kt_fail(
            KT_NOKEY, "%s: sealed to the recipient %s: its private key is needed (--recipient-key)",
            path, name);
    fresh = kt_locked_alloc(KT_KEY_SIZE);
    if (fresh == NULL)
        return kt_no_memory();
    (void)crypto_scalarmult_base(public_key, private_key);
    id_of(public_key, id);
    if (memcmp(id, header, KT_KEYID_SIZE) != 0)
        status = kt_fail(KT_WRONGKEY, "%s: sealed to another recipient, %s", path, name);
    else if (crypto_box_seal_open(fresh, header + KT_KEYID_SIZE, KT_RECIPIENT_SIZE - KT_KEYID_SIZE,
                                  public_key, private_key) != 0)
        status = kt_fail(KT_MALFORMED, "%s: its header is damaged", path);
    else
        mix(io_key, fresh, public_key);
    kt_locked_free(fresh);
    return status;
}

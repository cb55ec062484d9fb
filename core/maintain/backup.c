/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backup.c: a store in a file, encrypted, and back.
 *
 *     "KTBK" 1 0 0 0, key id (16), header of the stream (24), then frames: length (4), encrypted
 *     row; the last one is marked
 *     "KTBK" 1 1 0 0, key id, for whom (recipient.c), header of the stream, then the same
 *
 * The file has no name before it is complete (O_TMPFILE), so that a killed run leaves nothing that
 * looks like a backup.
 *
 * The rows are copied as they are: values stay sealed. Around them is
 * libsodium's secretstream (XChaCha20-Poly1305, which shows truncation) under a key derived from
 * the environment key, or from that of the recipient. A restore keeps the id of the target store
 * and continues after every generation that was seen, so that readers do not take it for an old
 * store.
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

#include "backup.h"

#define MAGIC "KTBK\1" /* then what kind it is, and two zeros */
#define MAGIC_SIZE 5u
enum { FOR_ENVIRONMENT = 0, FOR_RECIPIENT = 1 };
#define ROW_HEADER (1u + 1u + KTP_KEY_MAX + 8u + 8u + 4u + 4u)
#define FRAME_MAX (ROW_HEADER + 2u * KTP_ROW_MAX)
#define STREAM_TAG crypto_secretstream_xchacha20poly1305_ABYTES

static kt_status_t io_error(const kt_backup_t *b)
{
    return kt_fail(errno == EACCES || errno == EPERM ? KT_PERMISSION : KT_NOSPACE, "%s: %s",
                   b->path, strerror(errno));
}

static kt_status_t damaged(const kt_backup_t *b, const char *what)
{
    return kt_fail(KT_MALFORMED, "%s: %s", b->path, what);
}

/* Owns the descriptor, also if it fails. */
static FILE *open_stream(int fd, const char *mode)
{
    FILE *file = fd >= 0 ? fdopen(fd, mode) : NULL;
    int error = errno;

    if (file == NULL && fd >= 0)
        (void)close(fd);
    errno = error;
    return file;
}

static kt_status_t set_key(kt_backup_t *b, const kt_keyring_t *keyring)
{
    if (keyring->nenv == 0)
        return kt_fail(
            KT_NOKEY, "a backup needs the environment key: type keys do not cover the whole store");
    b->key = kt_locked_alloc(KT_KEY_SIZE);
    b->frame = malloc(FRAME_MAX + STREAM_TAG);
    if (b->key == NULL || b->frame == NULL)
        return kt_no_memory();
    kt_backup_key(&keyring->env[0], b->key);
    memcpy(b->key_id, keyring->env[0].id, KT_KEYID_SIZE);
    return KT_SUCCESS;
}

/* ---- writing ---- */

/* The folder of a path; malloc'ed. */
static char *folder_of(const char *path)
{
    char *copy = strdup(path), *folder = copy != NULL ? strdup(dirname(copy)) : NULL;

    free(copy);
    return folder;
}

/* A file without a name; if the file system has no such files, one whose name says that it is not
 * complete. -1 with errno. */
static int open_unnamed(kt_backup_t *b)
{
    char *folder = folder_of(b->path);
    int fd = -1;

    if (folder == NULL)
        return -1;
    fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    free(folder);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    if (asprintf(&b->partial, "%s.partial-%d", b->path, (int)getpid()) < 0) {
        b->partial = NULL;
        return -1;
    }
    fd = open(b->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        free(b->partial);
        b->partial = NULL;
    }
    return fd;
}

static kt_status_t exists(const kt_backup_t *b)
{
    return kt_fail(KT_CONFLICT, "%s exists already; a backup is never overwritten", b->path);
}

kt_status_t kt_backup_create(kt_backup_t *b, const char *path, const kt_keyring_t *keyring,
                             const char *recipient)
{
    unsigned char header[crypto_secretstream_xchacha20poly1305_HEADERBYTES],
        sealed[KT_RECIPIENT_SIZE];
    unsigned char magic[8] = MAGIC;
    struct stat st;
    kt_status_t status;

    memset(b, 0, sizeof(*b));
    b->path = path;
    status = set_key(b, keyring);
    if (status == KT_SUCCESS && recipient != NULL)
        status = kt_recipient_seal(recipient, b->key, sealed);
    if (status != KT_SUCCESS)
        return status;
    if (lstat(path, &st) == 0)
        return exists(b); /* early, not only after all the work */
    b->file = open_stream(open_unnamed(b), "wb");
    if (b->file == NULL)
        return io_error(b);
    magic[MAGIC_SIZE] = recipient != NULL ? FOR_RECIPIENT : FOR_ENVIRONMENT;
    (void)crypto_secretstream_xchacha20poly1305_init_push(&b->stream, header, b->key);
    if (fwrite(magic, sizeof(magic), 1, b->file) != 1 ||
        fwrite(b->key_id, sizeof(b->key_id), 1, b->file) != 1 ||
        (recipient != NULL && fwrite(sealed, sizeof(sealed), 1, b->file) != 1) ||
        fwrite(header, sizeof(header), 1, b->file) != 1)
        return io_error(b);
    return KT_SUCCESS;
}

static kt_status_t push(kt_backup_t *b, const unsigned char *plain, size_t size, unsigned char tag)
{
    unsigned char length[4];

    (void)crypto_secretstream_xchacha20poly1305_push(&b->stream, b->frame, NULL, plain, size, NULL,
                                                     0, tag);
    kt_put_u32(length, (uint32_t)(size + STREAM_TAG));
    if (fwrite(length, sizeof(length), 1, b->file) != 1 ||
        fwrite(b->frame, size + STREAM_TAG, 1, b->file) != 1)
        return io_error(b);
    return KT_SUCCESS;
}

kt_status_t kt_backup_put(kt_backup_t *b, const ktp_key_t *key, const ktp_row_t *row)
{
    size_t size = ROW_HEADER + row->record_size + row->beside_size;
    unsigned char *plain = calloc(1, size), *at = plain;
    kt_status_t status;

    if (plain == NULL || row->record_size > KTP_ROW_MAX || row->beside_size > KTP_ROW_MAX ||
        key->id_size > KTP_KEY_MAX) {
        free(plain);
        return kt_no_memory();
    }
    *at++ = (unsigned char)key->space;
    *at++ = (unsigned char)key->id_size;
    memcpy(at, key->id, key->id_size);
    at += KTP_KEY_MAX;
    kt_put_u64(at, key->version);
    kt_put_u64(at + 8, row->stamp);
    kt_put_u32(at + 16, (uint32_t)row->record_size);
    kt_put_u32(at + 20, row->beside != NULL ? (uint32_t)row->beside_size : UINT32_MAX);
    at += 24;
    memcpy(at, row->record, row->record_size);
    if (row->beside != NULL)
        memcpy(at + row->record_size, row->beside, row->beside_size);
    status = push(b, plain, size, 0);
    free(plain);
    if (status == KT_SUCCESS) {
        b->rows++;
        b->secrets += key->space == KTP_HEAD;
        b->versions += key->space == KTP_VALUE || row->beside != NULL;
    }
    return status;
}

/* Gives the file its name, durably. KT_CONFLICT if the name is taken by now. */
static kt_status_t give_name(kt_backup_t *b)
{
    char self[40], *folder = folder_of(b->path);
    int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    kt_status_t status = KT_SUCCESS;

    free(folder);
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fileno(b->file));
    if (fd < 0)
        return io_error(b);
    if (linkat(AT_FDCWD, b->partial != NULL ? b->partial : self, AT_FDCWD, b->path,
               AT_SYMLINK_FOLLOW) != 0) {
        status = errno == EEXIST ? exists(b) : io_error(b);
    } else if (fsync(fd) != 0) {
        status = io_error(b);
        (void)unlink(b->path);
    }
    (void)close(fd);
    return status;
}

kt_status_t kt_backup_finish(kt_backup_t *b)
{
    kt_status_t status = push(b, NULL, 0, crypto_secretstream_xchacha20poly1305_TAG_FINAL);

    if (status == KT_SUCCESS && (fflush(b->file) != 0 || fsync(fileno(b->file)) != 0))
        status = io_error(b);
    return status == KT_SUCCESS ? give_name(b) : status;
}

void kt_backup_close(kt_backup_t *b)
{
    if (b->file != NULL)
        (void)fclose(b->file);
    if (b->partial != NULL)
        (void)unlink(b->partial);
    free(b->partial);
    kt_locked_free(b->key);
    free(b->frame);
    free(b->plain);
    kt_wipe(&b->stream, sizeof(b->stream));
    memset(b, 0, sizeof(*b));
}

/* ---- reading ---- */

kt_status_t kt_backup_open(kt_backup_t *b, const char *path, const kt_keyring_t *keyring,
                           const unsigned char *private_key)
{
    unsigned char head[8 + KT_KEYID_SIZE], sealed[KT_RECIPIENT_SIZE],
        header[crypto_secretstream_xchacha20poly1305_HEADERBYTES];
    bool whole;
    size_t i;
    int fd;
    kt_status_t status;

    memset(b, 0, sizeof(*b));
    b->path = path;
    status = set_key(b, keyring);
    if (status != KT_SUCCESS)
        return status;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    b->file = open_stream(fd, "rb");
    if (b->file == NULL)
        return kt_fail(errno == ENOENT ? KT_NOTFOUND : KT_PERMISSION, "%s: %s", path,
                       strerror(errno));
    b->plain = malloc(FRAME_MAX);
    if (b->plain == NULL)
        return kt_no_memory();
    if (fread(head, sizeof(head), 1, b->file) != 1 || memcmp(head, MAGIC, MAGIC_SIZE) != 0 ||
        head[MAGIC_SIZE] > FOR_RECIPIENT || head[6] != 0 || head[7] != 0)
        return damaged(b, "not a backup of keyturn");
    whole = (head[MAGIC_SIZE] != FOR_RECIPIENT || fread(sealed, sizeof(sealed), 1, b->file) == 1) &&
            fread(header, sizeof(header), 1, b->file) == 1;
    if (!whole)
        return damaged(b, "cut short: this is not the whole backup (use another copy)");
    for (i = 0; i < keyring->nenv && memcmp(keyring->env[i].id, head + 8, KT_KEYID_SIZE) != 0; i++)
        ;
    if (i == keyring->nenv)
        return kt_fail(KT_WRONGKEY, "%s: written for another key than the loaded one", path);
    kt_backup_key(&keyring->env[i], b->key);
    if (head[MAGIC_SIZE] == FOR_RECIPIENT) {
        status = kt_recipient_open(path, private_key, b->key, sealed);
        if (status != KT_SUCCESS)
            return status;
    }
    if (crypto_secretstream_xchacha20poly1305_init_pull(&b->stream, header, b->key) != 0)
        return damaged(b, "its header is damaged");
    return KT_SUCCESS;
}

/* Takes one decrypted row apart; what it points to lives until the next call. */
static kt_status_t parse_row(kt_backup_t *b, size_t size, ktp_key_t *ret_key, ktp_row_t *ret_row)
{
    const unsigned char *at = b->plain;
    uint32_t record_size, beside_size;

    if (size < ROW_HEADER || at[0] > KTP_NODE || at[1] > KTP_KEY_MAX)
        return damaged(b, "a row does not parse");
    memset(ret_key, 0, sizeof(*ret_key));
    memset(ret_row, 0, sizeof(*ret_row));
    ret_key->space = (ktp_space_t)at[0];
    ret_key->id_size = at[1];
    memcpy(ret_key->id, at + 2, at[1]);
    at += 2 + KTP_KEY_MAX;
    ret_key->version = kt_get_u64(at);
    ret_row->stamp = kt_get_u64(at + 8);
    record_size = kt_get_u32(at + 16);
    beside_size = kt_get_u32(at + 20);
    at += 24;
    if (record_size > size - ROW_HEADER ||
        (beside_size != UINT32_MAX && beside_size != size - ROW_HEADER - record_size) ||
        (beside_size == UINT32_MAX && record_size != size - ROW_HEADER))
        return damaged(b, "a row does not parse");
    ret_row->record = at;
    ret_row->record_size = record_size;
    ret_row->beside = beside_size != UINT32_MAX ? at + record_size : NULL;
    ret_row->beside_size = beside_size != UINT32_MAX ? beside_size : 0;
    return KT_SUCCESS;
}

kt_status_t kt_backup_next(kt_backup_t *b, bool *ret_more, ktp_key_t *ret_key, ktp_row_t *ret_row)
{
    unsigned char length[4], tag;
    unsigned long long size;
    uint32_t frame;

    if (fread(length, sizeof(length), 1, b->file) != 1)
        return damaged(b, "cut short: this is not the whole backup (use another copy)");
    frame = kt_get_u32(length);
    if (frame < STREAM_TAG || frame > FRAME_MAX + STREAM_TAG ||
        fread(b->frame, frame, 1, b->file) != 1)
        return damaged(b, "cut short: this is not the whole backup (use another copy)");
    if (crypto_secretstream_xchacha20poly1305_pull(&b->stream, b->plain, &size, &tag, b->frame,
                                                   frame, NULL, 0) != 0)
        return damaged(b, "its seal does not hold: it was changed");
    *ret_more = tag != crypto_secretstream_xchacha20poly1305_TAG_FINAL;
    if (*ret_more)
        return parse_row(b, (size_t)size, ret_key, ret_row);
    return fgetc(b->file) == EOF ? KT_SUCCESS : damaged(b, "more bytes than rows");
}

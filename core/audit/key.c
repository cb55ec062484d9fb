/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key.c: the audit key, and the start of a stream under it.
 *
 * The key is made and shown once, and is no longer on the machine when the first line is written:
 * a stream's folder gets the first key of one instance, which the first seal replaces.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verify.h"

#define KEY_MAGIC "keyturn-audit-key 1 "
#define BASE64 sodium_base64_VARIANT_ORIGINAL

kt_status_t kt_audit_keygen(char ret_line[KT_AUDIT_KEY_LINE])
{
    unsigned char key[KT_KEY_SIZE];
    size_t at = strlen(KEY_MAGIC);

    if (sodium_init() < 0)
        return kt_fail(KT_INTERNAL, "libsodium cannot be initialised");
    randombytes_buf(key, sizeof(key));
    memcpy(ret_line, KEY_MAGIC, at);
    (void)sodium_bin2base64(ret_line + at, KT_AUDIT_KEY_LINE - at, key, sizeof(key), BASE64);
    kt_wipe(key, sizeof(key));
    return KT_SUCCESS;
}

static kt_status_t parse_key(const char *line, unsigned char **ret_key)
{
    unsigned char *key = kt_locked_alloc(KT_KEY_SIZE);
    size_t got = 0;

    if (key == NULL)
        return kt_no_memory();
    if (strncmp(line, KEY_MAGIC, strlen(KEY_MAGIC)) == 0) {
        const char *text = line + strlen(KEY_MAGIC);
        size_t size = strcspn(text, " \t\r\n");

        if (text[size + strspn(text + size, " \t\r\n")] == '\0' &&
            sodium_base642bin(key, KT_KEY_SIZE, text, size, NULL, &got, NULL, BASE64) == 0 &&
            got == KT_KEY_SIZE) {
            *ret_key = key;
            return KT_SUCCESS;
        }
    }
    kt_locked_free(key);
    return kt_fail(KT_CONFIG,
                   "not an audit key: expected the line `%s...` that `keyturn init` gave",
                   KEY_MAGIC);
}

kt_status_t kt_audit_read_key(const char *key, unsigned char **ret_key)
{
    char *text;
    size_t size;
    kt_status_t status;

    if (strncmp(key, KEY_MAGIC, strlen(KEY_MAGIC)) == 0)
        return parse_key(key, ret_key);
    status = kt_read_private(key, &text, &size);
    if (status != KT_SUCCESS)
        return status;
    status = parse_key(text, ret_key);
    if (status != KT_SUCCESS)
        (void)kt_fail_prefix(status, "%s", key);
    kt_locked_free(text);
    return status;
}

/* ---- the start of a stream ---- */

static kt_status_t check_stream(const char *stream)
{
    if (stream[0] == '\0' || stream[0] == '.' || strlen(stream) > 63 ||
        stream[strspn(stream,
                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] != '\0')
        return kt_fail(KT_USAGE, "not a stream name (at most 63 letters, digits and . _ -)");
    return KT_SUCCESS;
}

/* The servers of a stream go on without the audit key if its state was removed. Its next instance
 * begins under the key, while they run: what they wrote until then stays as it is. */
static kt_status_t replace_start(const char *folder, int fd,
                                 const unsigned char bytes[KT_AUDIT_STATE])
{
    unsigned char old[KT_AUDIT_STATE];
    kt_audit_state_t state;
    kt_status_t status = KT_SUCCESS;
    int file = openat(fd, "state", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat st;

    if (file < 0 || fstat(file, &st) != 0 || !S_ISREG(st.st_mode) || !kt_lock_file(file, KT_WAIT))
        status = kt_fail(KT_PERMISSION, "%s/state: %s", folder,
                         file >= 0 && errno == 0 ? "not a regular file" : strerror(errno));
    else if (pread(file, old, sizeof(old), 0) == (ssize_t)sizeof(old) &&
             kt_audit_decode_state(old, &state) && state.keyed)
        status = kt_fail(KT_CONFLICT,
                         "%s/state: the stream has begun already, and under an audit key (remove "
                         "this file to begin a new instance)",
                         folder);
    else if (pwrite(file, bytes, KT_AUDIT_STATE, 0) != (ssize_t)KT_AUDIT_STATE ||
             fdatasync(file) != 0)
        status = kt_fail(KT_PERMISSION, "%s/state: %s", folder, strerror(errno));
    kt_wipe(old, sizeof(old));
    kt_wipe(&state, sizeof(state));
    if (file >= 0)
        (void)close(file); /* and its lock */
    return status;
}

static kt_status_t write_start(const char *folder, int fd,
                               const unsigned char bytes[KT_AUDIT_STATE])
{
    struct stat st;
    int state = openat(fd, "state", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (state < 0 && errno == EEXIST)
        return replace_start(folder, fd, bytes);
    if (state >= 0 && fstat(fd, &st) == 0 &&
        (st.st_uid == geteuid() || fchown(state, st.st_uid, (gid_t)-1) == 0) &&
        write(state, bytes, KT_AUDIT_STATE) == (ssize_t)KT_AUDIT_STATE && fdatasync(state) == 0) {
        (void)close(state);
        return KT_SUCCESS;
    }
    (void)kt_fail(KT_PERMISSION, "%s/state: %s", folder, strerror(errno));
    if (state >= 0) {
        (void)unlinkat(fd, "state", 0);
        (void)close(state);
    }
    return KT_PERMISSION;
}

/* A stream that begins under the audit key is no longer one that was made without it. */
static kt_status_t remove_mark(const char *folder, int fd, const char *stream)
{
    char name[300];

    (void)snprintf(name, sizeof(name), KT_AUDIT_UNKEYED, stream);
    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
        return KT_SUCCESS;
    return kt_fail(KT_PERMISSION, "%s/%s: %s", folder, name, strerror(errno));
}

static kt_status_t start(const char *folder, const kt_audit_name_t *name, const char *key)
{
    unsigned char bytes[KT_AUDIT_STATE], *audit_key = NULL;
    kt_audit_state_t state;
    kt_status_t status = check_stream(name->stream);
    int fd;

    if (status == KT_SUCCESS)
        status = kt_audit_read_key(key, &audit_key);
    if (status != KT_SUCCESS)
        return status;
    kt_audit_new_state(audit_key, name, &state);
    kt_audit_encode_state(&state, bytes);
    kt_locked_free(audit_key);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        status = kt_fail(KT_PERMISSION, "%s: %s", folder, strerror(errno));
    fd = status == KT_SUCCESS ? open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd >= 0) {
        status = remove_mark(folder, fd, name->stream);
        if (status == KT_SUCCESS)
            status = write_start(folder, fd, bytes);
        (void)close(fd);
    } else if (status == KT_SUCCESS) {
        status = kt_fail(KT_PERMISSION, "%s: %s", folder, strerror(errno));
    }
    kt_wipe(&state, sizeof(state));
    kt_wipe(bytes, sizeof(bytes));
    return status;
}

kt_status_t kt_audit_start(const char *folder, const char *environment, const char *stream,
                           const char *key, char *error, size_t error_size)
{
    char canonical[KT_ENVIRONMENT_MAX];
    kt_audit_name_t name = {canonical, stream, ""};
    kt_status_t status = kt_environment_parse(environment, canonical);

    if (status == KT_SUCCESS)
        status = start(folder, &name, key);
    if (status != KT_SUCCESS && error != NULL)
        (void)snprintf(error, error_size, "%s", kt_failure());
    return status;
}

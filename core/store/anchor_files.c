/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchor_files.c: the file of anchors that one stream writes (anchor_own.c).
 *
 *     ANCHORS/STREAM/generations   the anchors
 *     ANCHORS/STREAM/.lock         the stream's writers wait for each other here
 *     ANCHORS/STREAM/.generations.spare   space for a new file (anchor_spare.c)
 *
 * After "keyturn-anchors 1" come two lines for each type and for the catalogue of types, of which
 * the newer one counts: key id, store id, generation, tag of the topmost node, MAC; all in hex
 * except the generation.
 *
 * Only the owner of ANCHORS (root, or the owner of a home) may write there, so each STREAM is the
 * folder that it made for a user, and no other user can rename or replace it. Within it its owner
 * may do anything: a file counts only if it belongs to the same user.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "anchor_lines.h"
#include "index.h"

#define NAME KT_ANCHOR_FILE
#define MAGIC KT_ANCHOR_MAGIC
#define READ_TRIES 5

/* ---- MACs ---- */

void kt_anchor_mac(const kt_anchor_t *anchor, const unsigned char key[KT_KEY_SIZE],
                   unsigned char ret_mac[KT_HASH_SIZE])
{
    unsigned char number[8];
    const kt_part_t parts[] = {{anchor->key_id, KT_KEYID_SIZE},
                               {anchor->store_id, KT_ID_SIZE},
                               {number, sizeof(number)},
                               {anchor->root, KT_TAG_SIZE}};

    kt_put_u64(number, anchor->generation);
    kt_mac(key, "keyturn anchor  ", parts, KT_ARRAY(parts), ret_mac, KT_HASH_SIZE);
}

bool kt_anchor_holds(const kt_anchor_t *anchor, const unsigned char key[KT_KEY_SIZE])
{
    unsigned char mac[KT_HASH_SIZE];

    kt_anchor_mac(anchor, key, mac);
    return sodium_memcmp(mac, anchor->mac, sizeof(mac)) == 0;
}

/* ---- lines ---- */

/* Each write reads a file of anchors. Nothing in it is secret, so this need not take the same time
 * for all digits, as sodium_hex2bin() does. -1: not a digit. */
static int hex_digit(char c)
{
    static const signed char digits[] = {
        ['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14, ['5'] = 0x15,
        ['6'] = 0x16, ['7'] = 0x17, ['8'] = 0x18, ['9'] = 0x19, ['a'] = 0x1a, ['b'] = 0x1b,
        ['c'] = 0x1c, ['d'] = 0x1d, ['e'] = 0x1e, ['f'] = 0x1f,
    };
    unsigned char at = (unsigned char)c;

    return at < sizeof(digits) && digits[at] != 0 ? digits[at] & 15 : -1;
}

static bool hex_field(const char **at, unsigned char *out, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++) {
        int high = hex_digit((*at)[2 * i]), low = high < 0 ? -1 : hex_digit((*at)[2 * i + 1]);

        if (low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    *at += 2 * size;
    if (**at != ' ' && **at != '\n' && **at != '\0')
        return false;
    *at += **at == ' ' ? 1 : 0;
    return true;
}

/* Up to a space. */
static bool number_field(const char **at, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *c = *at;

    if (*c < '0' || *c > '9')
        return false;
    for (; *c >= '0' && *c <= '9'; c++) {
        unsigned digit = (unsigned)(*c - '0');

        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = 10 * number + digit;
    }
    *at = c + 1;
    *ret_number = number;
    return *c == ' ';
}

bool kt_anchor_parse(const char *line, kt_anchor_t *anchor)
{
    memset(anchor, 0, sizeof(*anchor));
    return hex_field(&line, anchor->key_id, KT_KEYID_SIZE) &&
           hex_field(&line, anchor->store_id, KT_ID_SIZE) &&
           number_field(&line, &anchor->generation) &&
           hex_field(&line, anchor->root, KT_TAG_SIZE) &&
           hex_field(&line, anchor->mac, KT_HASH_SIZE);
}

void kt_anchor_format(const kt_anchor_t *anchor, char *text)
{
    char key_id[2 * KT_KEYID_SIZE + 1], store_id[2 * KT_ID_SIZE + 1];
    char root[2 * KT_TAG_SIZE + 1], mac[2 * KT_HASH_SIZE + 1];

    (void)sodium_bin2hex(key_id, sizeof(key_id), anchor->key_id, KT_KEYID_SIZE);
    (void)sodium_bin2hex(store_id, sizeof(store_id), anchor->store_id, KT_ID_SIZE);
    (void)sodium_bin2hex(root, sizeof(root), anchor->root, KT_TAG_SIZE);
    (void)sodium_bin2hex(mac, sizeof(mac), anchor->mac, KT_HASH_SIZE);
    (void)snprintf(text, KT_ANCHOR_LINE_MAX, "%s %s %020llu %s %s\n", key_id, store_id,
                   (unsigned long long)anchor->generation, root, mac);
}

void kt_anchor_now(const kt_anchored_t *anchored, kt_anchor_t *ret_anchor)
{
    memcpy(ret_anchor->key_id, anchored->key_id, KT_KEYID_SIZE);
    memcpy(ret_anchor->store_id, anchored->store_id, KT_ID_SIZE);
    ret_anchor->generation = anchored->generation;
    memcpy(ret_anchor->root, anchored->root, KT_TAG_SIZE);
    kt_anchor_mac(ret_anchor, anchored->key, ret_anchor->mac);
}

/* ---- reading ---- */

/* A failure that the stream's owner can cause is distinguished from one of our own, which says
 * nothing about the file: memory or descriptors ran out, or the disk does not answer. */
static kt_status_t cannot_read(const char *path, const char *stream)
{
    switch (errno) {
    case EACCES:
    case EPERM:
        return kt_fail(KT_PERMISSION, "%s/%s/" NAME ": %s", path, stream, strerror(errno));
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENXIO:
    case EISDIR:
        return kt_fail(KT_FORBIDDEN, "%s/%s/" NAME ": %s", path, stream, strerror(errno));
    case EIO:
        return kt_fail(KT_NOSPACE, "%s/%s/" NAME ": %s", path, stream, strerror(errno));
    default:
        return kt_fail(KT_INTERNAL, "%s/%s/" NAME ": %s", path, stream, strerror(errno));
    }
}

static kt_status_t does_not_count(const char *path, const char *stream, const char *why)
{
    return kt_fail(KT_FORBIDDEN, "%s/%s/" NAME ": %s", path, stream, why);
}

/* A file that lost its name becomes the spare, and may be overwritten while a slow reader is at it:
 * such a reader takes what is there now. */
static ssize_t read_whole(int fd, char *text, const struct stat *st)
{
    struct stat before = *st, now;
    ssize_t got;
    int i;

    for (i = 0; i < READ_TRIES; i++) {
        got = pread(fd, text, (size_t)st->st_size, 0);
        if (got < 0 || fstat(fd, &now) != 0)
            return -1;
        if (memcmp(&now.st_mtim, &before.st_mtim, sizeof(now.st_mtim)) == 0)
            break;
        before = now;
    }
    return got;
}

kt_status_t kt_anchor_file_text(const char *path, const char *stream, int own, char **ret_text)
{
    int fd = openat(own, NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat folder, st;
    kt_status_t status = KT_SUCCESS;
    char *text = NULL;
    ssize_t got = -1;

    *ret_text = NULL;
    if (fd < 0)
        return errno == ENOENT ? KT_SUCCESS : cannot_read(path, stream);
    if (fstat(own, &folder) != 0 || fstat(fd, &st) != 0)
        status = cannot_read(path, stream);
    else if (!S_ISREG(st.st_mode) || st.st_size > KT_ANCHOR_FILE_MAX)
        status = does_not_count(path, stream, "not a file of anchors");
    else if (st.st_uid != folder.st_uid)
        status = does_not_count(path, stream, "does not belong to the owner of its folder");
    else if ((text = malloc((size_t)st.st_size + 1)) == NULL)
        status = kt_no_memory();
    else if ((got = read_whole(fd, text, &st)) < 0)
        status = cannot_read(path, stream);
    (void)close(fd);
    if (status == KT_SUCCESS) {
        text[got] = '\0';
        if (strncmp(text, MAGIC, strlen(MAGIC)) != 0)
            status = does_not_count(path, stream, "not a file of anchors");
    }
    if (status != KT_SUCCESS) {
        free(text);
        return status;
    }
    *ret_text = text;
    return KT_SUCCESS;
}

int kt_anchor_folder(int folder, const char *stream)
{
    return openat(folder, stream, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

kt_status_t kt_anchor_file_read(const char *path, int folder, const char *stream, kt_anchor_fn fn,
                                void *arg)
{
    int own = kt_anchor_folder(folder, stream);
    char *text, *line, *rest = NULL;
    kt_anchor_t anchor;
    kt_status_t status;

    if (own < 0)
        return cannot_read(path, stream);
    status = kt_anchor_file_text(path, stream, own, &text);
    (void)close(own);
    if (status != KT_SUCCESS || text == NULL)
        return status;
    for (line = strtok_r(text + strlen(MAGIC), "\n", &rest); line != NULL && status == KT_SUCCESS;
         line = strtok_r(NULL, "\n", &rest)) {
        if (kt_anchor_parse(line, &anchor))
            status = fn(arg, &anchor);
    }
    free(text);
    return status;
}

/* ---- a folder for it ---- */

kt_status_t kt_anchor_file_make(const char *path, int folder, const char *stream)
{
    int made = mkdirat(folder, stream, 0755), own = -1;
    kt_status_t status = KT_SUCCESS;

    if (made != 0 && errno == EEXIST)
        return KT_SUCCESS;
    if (made == 0)
        own = kt_anchor_folder(folder, stream);
    /* the mode whatever the umask is: other users read here */
    if (own < 0 || fchmod(own, 0755) != 0 || fsync(folder) != 0)
        status = kt_fail(errno == EACCES || errno == EPERM ? KT_PERMISSION : KT_NOSPACE,
                         "%s/%s: %s (as root: `keyturn check`)", path, stream, strerror(errno));
    kt_close_fd(&own);
    return status;
}

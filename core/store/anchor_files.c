/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchor_files.c: the file of anchors that one stream writes.
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

#include "anchor_spare.h"
#include "index.h"

#define NAME KT_ANCHOR_FILE
#define NEW ".generations.new"
#define LOCK ".lock"
#define MAGIC "keyturn-anchors 1\n"
#define READ_TRIES 5
#define FILE_MAX_SIZE (1024u * 1024u)
#define BODY_SIZE (KT_KEYID_SIZE + KT_ID_SIZE + 8u + KT_TAG_SIZE)
#define LINE_MAX_SIZE (2u * BODY_SIZE + 2u * KT_HASH_SIZE + 40u)
/* of a line as we write it: the generation has 20 digits */
#define LINE_SIZE (2 * (KT_KEYID_SIZE + KT_ID_SIZE + KT_TAG_SIZE + KT_HASH_SIZE) + 20 + 5)

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

/* Each write reads a file of anchors twice. Nothing in it is secret, so this need not take the same
 * time for all digits, as sodium_hex2bin() does. -1: not a digit. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
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

static bool parse_line(const char *line, kt_anchor_t *anchor)
{
    char *end;

    memset(anchor, 0, sizeof(*anchor));
    if (!hex_field(&line, anchor->key_id, KT_KEYID_SIZE) ||
        !hex_field(&line, anchor->store_id, KT_ID_SIZE))
        return false;
    if (*line < '0' || *line > '9')
        return false;
    errno = 0;
    anchor->generation = strtoull(line, &end, 10);
    if (errno != 0 || *end != ' ')
        return false;
    line = end + 1;
    return hex_field(&line, anchor->root, KT_TAG_SIZE) &&
           hex_field(&line, anchor->mac, KT_HASH_SIZE);
}

static void format_line(const kt_anchor_t *anchor, char *text)
{
    char key_id[2 * KT_KEYID_SIZE + 1], store_id[2 * KT_ID_SIZE + 1];
    char root[2 * KT_TAG_SIZE + 1], mac[2 * KT_HASH_SIZE + 1];

    (void)sodium_bin2hex(key_id, sizeof(key_id), anchor->key_id, KT_KEYID_SIZE);
    (void)sodium_bin2hex(store_id, sizeof(store_id), anchor->store_id, KT_ID_SIZE);
    (void)sodium_bin2hex(root, sizeof(root), anchor->root, KT_TAG_SIZE);
    (void)sodium_bin2hex(mac, sizeof(mac), anchor->mac, KT_HASH_SIZE);
    (void)snprintf(text, LINE_MAX_SIZE, "%s %s %020llu %s %s\n", key_id, store_id,
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

/* The text of the file in the stream's open folder, NUL-terminated and malloc'ed; NULL: there is
 * none yet. */
static kt_status_t read_text(const char *path, const char *stream, int own, char **ret_text)
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
    else if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX_SIZE)
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

static int open_own(int folder, const char *stream)
{
    return openat(folder, stream, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

kt_status_t kt_anchor_file_read(const char *path, int folder, const char *stream, kt_anchor_fn fn,
                                void *arg)
{
    int own = open_own(folder, stream);
    char *text, *line, *rest = NULL;
    kt_anchor_t anchor;
    kt_status_t status;

    if (own < 0)
        return cannot_read(path, stream);
    status = read_text(path, stream, own, &text);
    (void)close(own);
    if (status != KT_SUCCESS || text == NULL)
        return status;
    for (line = strtok_r(text + strlen(MAGIC), "\n", &rest); line != NULL && status == KT_SUCCESS;
         line = strtok_r(NULL, "\n", &rest)) {
        if (parse_line(line, &anchor))
            status = fn(arg, &anchor);
    }
    free(text);
    return status;
}

/* ---- writing ---- */

static kt_status_t cannot_write(const char *path, const char *stream, const char *name)
{
    return kt_fail(errno == EACCES || errno == EPERM ? KT_PERMISSION : KT_NOSPACE, "%s/%s/%s: %s",
                   path, stream, name, strerror(errno));
}

kt_status_t kt_anchor_file_make(const char *path, int folder, const char *stream)
{
    int made = mkdirat(folder, stream, 0755), own = -1;
    kt_status_t status = KT_SUCCESS;

    if (made != 0 && errno == EEXIST)
        return KT_SUCCESS;
    if (made == 0)
        own = open_own(folder, stream);
    /* the mode whatever the umask is: other users read here */
    if (own < 0 || fchmod(own, 0755) != 0 || fsync(folder) != 0)
        status = kt_fail(errno == EACCES || errno == EPERM ? KT_PERMISSION : KT_NOSPACE,
                         "%s/%s: %s (as root: `keyturn check`)", path, stream, strerror(errno));
    kt_close_fd(&own);
    return status;
}

/* The stream's folder. In that of another user our file would not count. */
static kt_status_t open_to_write(const char *path, int folder, const char *stream, int *ret_own)
{
    int own = open_own(folder, stream);
    struct stat st;
    kt_status_t status = KT_SUCCESS;

    if (own < 0 && errno == ENOENT) {
        status = kt_anchor_file_make(path, folder, stream);
        own = status == KT_SUCCESS ? open_own(folder, stream) : -1;
    }
    if (status != KT_SUCCESS)
        return status;
    if (own < 0 || fstat(own, &st) != 0)
        status = cannot_write(path, stream, ".");
    else if (st.st_uid != geteuid())
        status = kt_fail(
            KT_PERMISSION,
            "%s/%s: belongs to uid %u, but this process has uid %u (as root: `keyturn check`)",
            path, stream, (unsigned)st.st_uid, (unsigned)geteuid());
    if (status == KT_SUCCESS)
        *ret_own = own;
    else
        kt_close_fd(&own);
    return status;
}

/* Writers of the same stream's file wait here, so that no line of another type is lost. The wait
 * has a limit, because the holder may have been stopped, and the commit stands without its anchor.
 */
static kt_status_t lock_own(const char *path, const char *stream, int own, int *ret_fd)
{
    char holder[96];
    kt_status_t status;
    int fd = openat(own, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

    if (fd < 0)
        return cannot_write(path, stream, LOCK);
    if (kt_lock_file(fd, KT_LOCK_WAIT)) {
        *ret_fd = fd;
        return KT_SUCCESS;
    }
    if (errno == EWOULDBLOCK) {
        kt_lock_holder(fd, holder, sizeof(holder));
        status = kt_fail(KT_TRYAGAIN, "%s/%s/" LOCK ": %s holds the lock", path, stream, holder);
    } else {
        status = cannot_write(path, stream, LOCK);
    }
    (void)close(fd);
    return status;
}

/* Is the line replaced by one of the job's? Also if its own MAC is wrong: a damaged generation must
 * not keep the true one out. */
static bool is_replaced(const char *line, const kt_anchor_job_t *job)
{
    kt_anchor_t other;
    size_t i;

    for (i = 0; parse_line(line, &other) && i < job->count; i++) {
        const kt_anchor_t *ours = &job->lines[i];

        if (memcmp(other.key_id, ours->key_id, KT_KEYID_SIZE) == 0)
            return other.generation < ours->generation ||
                   memcmp(other.store_id, ours->store_id, KT_ID_SIZE) != 0 ||
                   (job->keys != NULL && !kt_anchor_holds(&other, job->keys[i]));
    }
    return false;
}

static bool has_key(const char *text, const kt_anchor_t *anchor)
{
    char key_id[2 * KT_KEYID_SIZE + 2];
    const char *line;

    key_id[0] = '\n';
    (void)sodium_bin2hex(key_id + 1, sizeof(key_id) - 1, anchor->key_id, KT_KEYID_SIZE);
    line = strstr(text, key_id);
    return line != NULL && line[2 * KT_KEYID_SIZE + 1] == ' ';
}

/* Is the job's line not needed? Without its key no other line is known to be whole. */
static bool is_there(const char *text, const kt_anchor_job_t *job, size_t i)
{
    char line[LINE_MAX_SIZE];

    if (job->keys != NULL)
        return has_key(text, &job->lines[i]);
    format_line(&job->lines[i], line);
    return strstr(text, line) != NULL;
}

/* The second line is for the next generation to be written over it: overwrite(). */
static char *add_twice(char *end, const kt_anchor_t *anchor, bool twice)
{
    format_line(anchor, end);
    end += LINE_SIZE;
    if (!twice)
        return end;
    format_line(anchor, end);
    return end + LINE_SIZE;
}

/* All other lines unchanged, and ours unless there is already a higher one. Splits `old`. The text
 * is malloc'ed; NULL: out of memory. */
static char *merge(char *old, const kt_anchor_job_t *job)
{
    size_t room =
        strlen(MAGIC) + (old != NULL ? strlen(old) : 0) + 2 * job->count * LINE_MAX_SIZE + 2;
    size_t i;
    char *text = malloc(room), *end, *line, *rest = NULL;

    if (text == NULL)
        return NULL;
    end = stpcpy(text, MAGIC);
    for (line = old != NULL ? strtok_r(old + strlen(MAGIC), "\n", &rest) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (!is_replaced(line, job))
            end = stpcpy(stpcpy(end, line), "\n");
    }
    for (i = 0; i < job->count; i++) {
        if (!is_there(text, job, i))
            end = add_twice(end, &job->lines[i], (size_t)(end - text) < FILE_MAX_SIZE / 2);
    }
    return text;
}

/* The older of the two lines that the anchor's key has in the text. NULL: this is not how the text
 * is, and the file has to be replaced. */
static char *find_slot(char *text, const kt_anchor_t *ours, const unsigned char key[KT_KEY_SIZE])
{
    char *line, *end, *slot = NULL;
    unsigned lines = 0, whole = 0;
    uint64_t lowest = 0, generation;
    kt_anchor_t other;

    for (line = text + strlen(MAGIC); (end = strchr(line, '\n')) != NULL; line = end + 1) {
        if (!parse_line(line, &other) || memcmp(other.key_id, ours->key_id, KT_KEYID_SIZE) != 0)
            continue;
        generation = kt_anchor_holds(&other, key) ? other.generation + 1 : 0;
        if (generation > ours->generation || end + 1 - line != LINE_SIZE ||
            memcmp(other.store_id, ours->store_id, KT_ID_SIZE) != 0)
            return NULL;
        lines++;
        whole += generation > 0;
        if (slot == NULL || generation < lowest) {
            slot = line;
            lowest = generation;
        }
    }
    return lines == 2 && whole > 0 ? slot : NULL;
}

/*
 * Writes into the file that is there, which costs half of what a new one does: no name is made or
 * freed. The other line of the key is not touched, so that a write that is cut off leaves the
 * anchor before this one, as a lost rename does. A reader between the two skips the unfinished
 * line, and the second time, set when the line is complete, has it read the file again.
 */
static bool overwrite(int own, char *text, const kt_anchor_job_t *job)
{
    int fd = openat(own, NAME, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char line[LINE_MAX_SIZE], *slot;
    struct stat st;
    size_t i;
    bool good = fd >= 0 && fstat(fd, &st) == 0 && st.st_mode == (S_IFREG | 0644) &&
                st.st_nlink == 1 && st.st_uid == geteuid() && (size_t)st.st_size == strlen(text);

    for (i = 0; i < job->count && good; i++) {
        slot = find_slot(text, &job->lines[i], job->keys[i]);
        good = slot != NULL;
        if (!good)
            break;
        format_line(&job->lines[i], line);
        memcpy(slot, line, LINE_SIZE);
        good = pwrite(fd, line, LINE_SIZE, slot - text) == LINE_SIZE;
    }
    good = good && futimens(fd, NULL) == 0 && fdatasync(fd) == 0;
    kt_close_fd(&fd);
    return good;
}

/*
 * The file is new (O_EXCL) and whole on the disk before it gets its name, and that is the one sync
 * of an anchor. The rename itself is not synced: after a power failure the name may lead to the old
 * file, which is whole too. Then the store is above its anchors, which raises no alarm, and the
 * next process that sees it writes the anchor (serve/settle.c). Only the first file of a stream may
 * not be lost with its name, because "no anchor at all" is an alarm: `first` costs a second sync,
 * once.
 */
static bool write_new(int own, const char *text, size_t size, bool first)
{
    bool good;
    int fd, error;

    fd = openat(own, NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    good = fd >= 0 && write(fd, text, size) == (ssize_t)size && fchmod(fd, 0644) == 0 &&
           fdatasync(fd) == 0 && renameat(own, NEW, own, NAME) == 0 && (!first || fsync(own) == 0);
    error = errno;
    kt_close_fd(&fd);
    errno = error;
    return good;
}

static bool replace(int own, const char *text, bool first)
{
    size_t size = strlen(text);

    if (write_new(own, text, size, first))
        return true;
    if (errno != ENOSPC && errno != EDQUOT)
        return false;
    (void)unlinkat(own, NEW, 0); /* what it has is needed */
    return kt_spare_use(own, NAME, text, size);
}

static kt_status_t write_inlock(const char *path, const char *stream, int own,
                                const kt_anchor_job_t *job)
{
    char *old = NULL, *text = NULL;
    kt_status_t status = read_text(path, stream, own, &old);

    if (status == KT_FORBIDDEN)
        status = KT_SUCCESS; /* damaged: replaced by what is certain now */
    /* a file that could not be read stays, because it has lines of other types */
    if (status != KT_SUCCESS)
        return status;
    (void)unlinkat(own, NEW, 0); /* of a process that was killed; we have the lock */
    if (old != NULL && job->keys != NULL && overwrite(own, old, job)) {
        free(old);
        return KT_SUCCESS;
    }
    text = merge(old, job);
    if (text == NULL)
        status = kt_no_memory();
    else if (!replace(own, text, job->first))
        status = cannot_write(path, stream, NAME);
    free(old);
    free(text);
    return status;
}

kt_status_t kt_anchor_file_write(const char *path, int folder, const char *stream,
                                 const kt_anchor_job_t *job)
{
    int own = -1, lock = -1;
    kt_status_t status = open_to_write(path, folder, stream, &own);

    if (status == KT_SUCCESS)
        status = lock_own(path, stream, own, &lock);
    if (status == KT_SUCCESS)
        status = write_inlock(path, stream, own, job);
    kt_close_fd(&lock);
    kt_close_fd(&own);
    if (status == KT_SUCCESS)
        kt_failure_clear();
    return status;
}

/* Only a lack of space is a failure. */
static kt_status_t make_spare(const char *path, int folder, const char *stream, size_t room)
{
    int own = -1, lock = -1;
    kt_status_t status = open_to_write(path, folder, stream, &own);
    bool full = false;

    if (status == KT_SUCCESS)
        status = lock_own(path, stream, own, &lock);
    if (status == KT_SUCCESS && !kt_spare_make(own, room)) {
        full = errno == ENOSPC || errno == EDQUOT;
        status = cannot_write(path, stream, KT_SPARE);
    }
    kt_close_fd(&lock);
    kt_close_fd(&own);
    if (full)
        return kt_fail_prefix(status, "no space for the next anchor");
    kt_failure_clear();
    return KT_SUCCESS;
}

kt_status_t kt_anchor_file_reserve(const char *path, int folder, const char *stream)
{
    kt_anchor_file_t file;
    size_t room;

    kt_anchor_file_stat(folder, stream, &file);
    room = (size_t)file.size + 2 * LINE_MAX_SIZE;
    if (room > FILE_MAX_SIZE || kt_spare_is_there(folder, stream, room))
        return KT_SUCCESS;
    return make_spare(path, folder, stream, room);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchors.c: the last known state of each type's index, kept outside the database, so that an old
 * copy of the database is recognised.
 *
 *     ANCHORS/STREAM    "keyturn-anchors 1", then for each type:
 *                       key id, store id, generation, tag of the topmost node, MAC; all in hex
 *                       except the generation
 *
 * The folder lies next to the store. Each writing stream has one file, which is replaced
 * atomically. A reader uses the highest line of each type from all files, and skips lines whose MAC
 * is wrong: otherwise any process that may write to the folder could block the readers of types
 * whose keys it does not have. A process also remembers the generations that it has seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index.h"

#define MAGIC "keyturn-anchors 1\n"
#define FILE_MAX_SIZE (1024u * 1024u)
#define BODY_SIZE (KT_KEYID_SIZE + KT_ID_SIZE + 8u + KT_TAG_SIZE)
#define LINE_MAX_SIZE (2u * BODY_SIZE + 2u * KT_HASH_SIZE + 40u)

typedef struct anchor {
    unsigned char key_id[KT_KEYID_SIZE], store_id[KT_ID_SIZE];
    uint64_t generation;
    unsigned char root[KT_TAG_SIZE];
    unsigned char mac[KT_HASH_SIZE];
    bool seen;      /* by this process, not read from a file */
    bool authentic; /* its MAC was checked with its type's key, and is right */
} anchor_t;

struct kt_anchors {
    char *path;
    int folder;
    struct timespec changed; /* mtime of the folder when its files were read */
    bool loaded;
    anchor_t *list;
    size_t count;
};

kt_status_t kt_anchors_new(const char *path, kt_anchors_t **ret_anchors)
{
    kt_anchors_t *anchors = calloc(1, sizeof(*anchors));

    if (anchors == NULL || (anchors->path = strdup(path)) == NULL) {
        free(anchors);
        return kt_no_memory();
    }
    anchors->folder = -1;
    *ret_anchors = anchors;
    return KT_SUCCESS;
}

void kt_anchors_free(kt_anchors_t *anchors)
{
    if (anchors == NULL)
        return;
    if (anchors->folder >= 0)
        (void)close(anchors->folder);
    free(anchors->path);
    free(anchors->list);
    free(anchors);
}

/* ---- lines ---- */

static void anchor_mac(const kt_index_t *index, const anchor_t *anchor,
                       unsigned char ret_mac[KT_HASH_SIZE])
{
    unsigned char number[8];
    const kt_part_t parts[] = {{anchor->key_id, KT_KEYID_SIZE},
                               {anchor->store_id, KT_ID_SIZE},
                               {number, sizeof(number)},
                               {anchor->root, KT_TAG_SIZE}};

    kt_put_u64(number, anchor->generation);
    kt_index_mac(index, "keyturn anchor  ", parts, KT_ARRAY(parts), ret_mac, KT_HASH_SIZE);
}

static bool hex_field(const char **at, unsigned char *out, size_t size)
{
    size_t got;
    const char *end;

    if (sodium_hex2bin(out, size, *at, strcspn(*at, " \n"), NULL, &got, &end) != 0 || got != size)
        return false;
    *at = *end == ' ' ? end + 1 : end;
    return true;
}

static bool parse_line(const char *line, anchor_t *anchor)
{
    char *end;

    memset(anchor, 0, sizeof(*anchor));
    if (!hex_field(&line, anchor->key_id, KT_KEYID_SIZE) ||
        !hex_field(&line, anchor->store_id, KT_ID_SIZE))
        return false;
    if (*line < '1' || *line > '9')
        return false;
    errno = 0;
    anchor->generation = strtoull(line, &end, 10);
    if (errno != 0 || *end != ' ')
        return false;
    line = end + 1;
    return hex_field(&line, anchor->root, KT_TAG_SIZE) &&
           hex_field(&line, anchor->mac, KT_HASH_SIZE);
}

static void format_line(const anchor_t *anchor, char *text)
{
    char key_id[2 * KT_KEYID_SIZE + 1], store_id[2 * KT_ID_SIZE + 1];
    char root[2 * KT_TAG_SIZE + 1], mac[2 * KT_HASH_SIZE + 1];

    (void)sodium_bin2hex(key_id, sizeof(key_id), anchor->key_id, KT_KEYID_SIZE);
    (void)sodium_bin2hex(store_id, sizeof(store_id), anchor->store_id, KT_ID_SIZE);
    (void)sodium_bin2hex(root, sizeof(root), anchor->root, KT_TAG_SIZE);
    (void)sodium_bin2hex(mac, sizeof(mac), anchor->mac, KT_HASH_SIZE);
    (void)snprintf(text, LINE_MAX_SIZE, "%s %s %llu %s %s\n", key_id, store_id,
                   (unsigned long long)anchor->generation, root, mac);
}

/* ---- files ---- */

/* Distinguishes a failure to read from what a read found: running out of memory or descriptors is
 * not a sign of tampering. */
static kt_status_t cannot_read(const kt_anchors_t *anchors, const char *name)
{
    switch (errno) {
    case EACCES:
    case EPERM:
        return kt_fail(KT_PERMISSION, "%s/%s: %s", anchors->path, name, strerror(errno));
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENXIO:
    case EISDIR:
        return kt_fail(KT_ROLLEDBACK, "%s/%s: not a file of anchors", anchors->path, name);
    case EIO:
        return kt_fail(KT_NOSPACE, "%s/%s: %s", anchors->path, name, strerror(errno));
    default:
        return kt_fail(KT_INTERNAL, "%s/%s: %s", anchors->path, name, strerror(errno));
    }
}

/* Reads the whole file into `text`, which has room for a NUL after `size` bytes. */
static kt_status_t read_text(const kt_anchors_t *anchors, const char *name, int fd, char *text,
                             size_t size)
{
    ssize_t got = pread(fd, text, size, 0);

    if (got < 0)
        return cannot_read(anchors, name);
    text[got] = '\0';
    if (strncmp(text, MAGIC, strlen(MAGIC)) != 0)
        return kt_fail(KT_ROLLEDBACK, "%s/%s: not a file of anchors", anchors->path, name);
    return KT_SUCCESS;
}

/* The text of one file, NUL-terminated and malloc'ed. */
static kt_status_t read_file(const kt_anchors_t *anchors, const char *name, char **ret_text)
{
    int fd = openat(anchors->folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    char *text = NULL;
    kt_status_t status;

    if (fd < 0 || fstat(fd, &st) != 0)
        status = cannot_read(anchors, name);
    else if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX_SIZE)
        status = kt_fail(KT_ROLLEDBACK, "%s/%s: not a file of anchors", anchors->path, name);
    else if ((text = malloc((size_t)st.st_size + 1)) == NULL)
        status = kt_no_memory();
    else
        status = read_text(anchors, name, fd, text, (size_t)st.st_size);
    if (fd >= 0)
        (void)close(fd);
    if (status != KT_SUCCESS) {
        free(text);
        return status;
    }
    *ret_text = text;
    return KT_SUCCESS;
}

static kt_status_t add(kt_anchors_t *anchors, const anchor_t *anchor)
{
    anchor_t *grown = realloc(anchors->list, (anchors->count + 1) * sizeof(*grown));

    if (grown == NULL)
        return kt_no_memory();
    anchors->list = grown;
    grown[anchors->count++] = *anchor;
    return KT_SUCCESS;
}

static void drop_files(kt_anchors_t *anchors)
{
    size_t i, kept = 0;

    for (i = 0; i < anchors->count; i++) {
        if (anchors->list[i].seen)
            anchors->list[kept++] = anchors->list[i];
    }
    anchors->count = kept;
}

static kt_status_t load_file(kt_anchors_t *anchors, const char *name)
{
    char *text, *line, *rest = NULL;
    anchor_t anchor;
    kt_status_t status;

    status = read_file(anchors, name, &text);
    if (status != KT_SUCCESS)
        return status;
    for (line = strtok_r(text + strlen(MAGIC), "\n", &rest); line != NULL && status == KT_SUCCESS;
         line = strtok_r(NULL, "\n", &rest)) {
        if (parse_line(line, &anchor))
            status = add(anchors, &anchor);
    }
    free(text);
    return status;
}

static kt_status_t load_folder(kt_anchors_t *anchors)
{
    kt_status_t status = KT_SUCCESS;
    kt_folder_t list;

    if (!kt_folder_open(&list, anchors->folder, "."))
        return cannot_read(anchors, ".");
    drop_files(anchors);
    while (status == KT_SUCCESS && kt_folder_next(&list)) {
        if (list.name[0] != '.')
            status = load_file(anchors, list.name);
    }
    if (!kt_folder_close(&list) && status == KT_SUCCESS)
        return cannot_read(anchors, ".");
    return status;
}

kt_status_t kt_anchors_load(kt_anchors_t *anchors)
{
    struct stat st;
    kt_status_t status;

    if (anchors == NULL)
        return KT_SUCCESS;
    if (anchors->folder < 0)
        anchors->folder = open(anchors->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (anchors->folder < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
        return cannot_read(anchors, ".");
    if (anchors->folder >= 0 && fstat(anchors->folder, &st) != 0)
        return cannot_read(anchors, ".");
    if (anchors->folder < 0 || st.st_nlink == 0)
        return kt_fail(KT_ROLLEDBACK,
                       "%s: the folder of anchors is gone: without it an old copy of the store "
                       "would pass for the newest (run keyturn restore)",
                       anchors->path);
    if (anchors->loaded && st.st_mtim.tv_sec == anchors->changed.tv_sec &&
        st.st_mtim.tv_nsec == anchors->changed.tv_nsec)
        return KT_SUCCESS;
    /* a change in the meantime updates the mtime, so the next read loads again */
    status = load_folder(anchors);
    if (status != KT_SUCCESS)
        return status;
    anchors->changed = st.st_mtim;
    anchors->loaded = true;
    return KT_SUCCESS;
}

/* ---- comparing ---- */

/* Is this anchor of the index's type, and made with its key? */
static bool anchor_of(anchor_t *anchor, const kt_index_t *index)
{
    unsigned char mac[KT_HASH_SIZE];

    if (memcmp(anchor->key_id, index->key_id, KT_KEYID_SIZE) != 0)
        return false;
    if (anchor->seen || anchor->authentic)
        return true;
    anchor_mac(index, anchor, mac);
    anchor->authentic = sodium_memcmp(mac, anchor->mac, sizeof(mac)) == 0;
    return anchor->authentic;
}

static kt_status_t compare(const kt_index_t *index, const anchor_t *anchor)
{
    const char *type = index->type;

    if (index->generation < anchor->generation)
        return kt_fail(KT_ROLLEDBACK,
                       "%s: the type \"%s\" is at generation %llu, but generation %llu was seen: "
                       "an older store was put in place (if that was intended, run keyturn "
                       "restore)",
                       index->store->name, type, (unsigned long long)index->generation,
                       (unsigned long long)anchor->generation);
    if (memcmp(index->store_id, anchor->store_id, KT_ID_SIZE) != 0)
        return kt_fail(KT_ROLLEDBACK,
                       "%s: the type \"%s\" belongs to a different store from the one seen before",
                       index->store->name, type);
    if (index->generation == anchor->generation &&
        memcmp(index->root, anchor->root, KT_TAG_SIZE) != 0)
        return kt_fail(KT_ROLLEDBACK,
                       "%s: the type \"%s\" differs from what was seen at the same generation %llu",
                       index->store->name, type, (unsigned long long)index->generation);
    return KT_SUCCESS;
}

static void fill(anchor_t *anchor, const kt_index_t *index)
{
    memcpy(anchor->key_id, index->key_id, KT_KEYID_SIZE);
    memcpy(anchor->store_id, index->store_id, KT_ID_SIZE);
    anchor->generation = index->generation;
    memcpy(anchor->root, index->root, KT_TAG_SIZE);
}

kt_status_t kt_anchors_check(kt_anchors_t *anchors, const kt_index_t *index)
{
    anchor_t now = {.seen = true}, *seen = NULL;
    kt_status_t status = KT_SUCCESS;
    size_t i;

    if (anchors == NULL)
        return KT_SUCCESS;
    for (i = 0; i < anchors->count && status == KT_SUCCESS; i++) {
        if (!anchor_of(&anchors->list[i], index))
            continue;
        status = compare(index, &anchors->list[i]);
        if (anchors->list[i].seen)
            seen = &anchors->list[i];
    }
    if (status != KT_SUCCESS || index->generation == 0)
        return status;
    fill(&now, index);
    if (seen == NULL)
        return add(anchors, &now);
    *seen = now;
    return KT_SUCCESS;
}

uint64_t kt_anchors_highest(const kt_anchors_t *anchors, const kt_index_t *index)
{
    uint64_t highest = 0;
    size_t i;

    for (i = 0; anchors != NULL && i < anchors->count; i++) {
        if (!anchors->list[i].seen && anchor_of(&anchors->list[i], index) &&
            anchors->list[i].generation > highest)
            highest = anchors->list[i].generation;
    }
    return highest;
}

/* ---- writing ---- */

/* Writers of the same stream's file wait here, so that no line of another type is lost. The wait
 * has a limit, because the holder may have been stopped, and the commit stands without its anchor.
 */
static kt_status_t lock_stream(const kt_anchors_t *anchors, const char *stream, int *ret_fd)
{
    char name[80], holder[96];
    kt_status_t status;
    int fd;

    (void)snprintf(name, sizeof(name), ".%s.lock", stream);
    fd = openat(anchors->folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return kt_fail(KT_NOSPACE, "%s/%s: %s", anchors->path, name, strerror(errno));
    if (kt_lock_file(fd, KT_LOCK_WAIT)) {
        *ret_fd = fd;
        return KT_SUCCESS;
    }
    if (errno == EWOULDBLOCK) {
        kt_lock_holder(fd, holder, sizeof(holder));
        status = kt_fail(KT_TRYAGAIN, "%s/%s: %s holds the lock", anchors->path, name, holder);
    } else {
        status = kt_fail(KT_NOSPACE, "%s/%s: %s", anchors->path, name, strerror(errno));
    }
    (void)close(fd);
    return status;
}

/* All other lines unchanged, and ours unless there is already a higher one. Splits `old`. The text
 * is malloc'ed; NULL: out of memory. */
static char *merge(char *old, const anchor_t *anchor)
{
    size_t room = strlen(MAGIC) + (old != NULL ? strlen(old) : 0) + LINE_MAX_SIZE + 2;
    char *text = malloc(room), *line, *rest = NULL;
    anchor_t other;
    bool higher = false;

    if (text == NULL)
        return NULL;
    strcpy(text, MAGIC);
    for (line = old != NULL ? strtok_r(old + strlen(MAGIC), "\n", &rest) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        bool same =
            parse_line(line, &other) && memcmp(other.key_id, anchor->key_id, KT_KEYID_SIZE) == 0;

        if (same && (other.generation < anchor->generation ||
                     memcmp(other.store_id, anchor->store_id, KT_ID_SIZE) != 0))
            continue;
        higher = higher || same;
        strcat(strcat(text, line), "\n");
    }
    if (!higher)
        format_line(anchor, text + strlen(text));
    return text;
}

static bool write_new(const kt_anchors_t *anchors, const char *temporary, const char *text)
{
    size_t size = strlen(text);
    int fd = openat(anchors->folder, temporary,
                    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    bool good = fd >= 0 && write(fd, text, size) == (ssize_t)size && fchmod(fd, 0644) == 0 &&
                fdatasync(fd) == 0;
    int error = errno;

    if (fd >= 0)
        (void)close(fd);
    errno = error;
    return good;
}

kt_status_t kt_anchors_write(kt_anchors_t *anchors, const char *stream, const kt_index_t *index)
{
    char temporary[80], *old = NULL, *text = NULL;
    anchor_t anchor = {.seen = false};
    bool good = false;
    int lock = -1, error;
    kt_status_t status;

    if (anchors == NULL)
        return KT_SUCCESS;
    fill(&anchor, index);
    anchor_mac(index, &anchor, anchor.mac);
    (void)snprintf(temporary, sizeof(temporary), ".%s.new", stream);
    status = lock_stream(anchors, stream, &lock);
    if (status != KT_SUCCESS)
        return status;
    if (faccessat(anchors->folder, stream, F_OK, 0) == 0 || errno != ENOENT)
        status = read_file(anchors, stream, &old);
    if (status == KT_ROLLEDBACK)
        status = KT_SUCCESS; /* damaged: replaced by what is certain now */
    /* a file that could not be read stays, because it has lines of other types */
    if (status == KT_SUCCESS) {
        text = merge(old, &anchor);
        good = text != NULL && write_new(anchors, temporary, text) &&
               renameat(anchors->folder, temporary, anchors->folder, stream) == 0;
    }
    error = errno;
    free(old);
    free(text);
    (void)close(lock);
    if (status != KT_SUCCESS)
        return status;
    if (!good)
        return kt_fail(KT_NOSPACE, "%s/%s: %s", anchors->path, stream, strerror(error));
    kt_failure_clear();
    return KT_SUCCESS;
}

kt_status_t kt_anchors_make(const kt_anchors_t *anchors)
{
    const char *path = anchors != NULL ? anchors->path : NULL;
    char parent[4096];
    struct stat st;
    char *slash;
    mode_t mode = 0700;

    if (path == NULL)
        return KT_SUCCESS;
    (void)snprintf(parent, sizeof(parent), "%s", path);
    slash = strrchr(parent, '/');
    if (slash != NULL)
        *slash = '\0';
    /* in a folder shared by a group, only a file's owner may replace it (sticky) */
    if (stat(parent, &st) == 0 && (st.st_mode & (S_ISGID | S_IWGRP)) == (S_ISGID | S_IWGRP))
        mode = 03775;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return kt_fail(KT_PERMISSION, "%s: %s", path, strerror(errno));
    if (chmod(path, mode) != 0)
        return kt_fail(KT_PERMISSION, "%s: %s", path, strerror(errno));
    return KT_SUCCESS;
}

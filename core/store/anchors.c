/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchors.c: the last known generations of a store, kept outside the database, so that an old copy
 * of the database is recognised. anchor_files.c has the files, one of each stream that writes.
 *
 * A reader compares with the lines of all files, and skips lines whose MAC is wrong: otherwise any
 * stream could block the readers of types whose keys it does not have. For the same reason a file
 * that does not count is only reported. A process also remembers the generations that it has seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "anchor_list.h"
#include "index.h"

#define WATCHED                                                                                    \
    8u /* files of a store that a process keeps open; more are looked at by their paths */

kt_status_t kt_anchors_new(const char *path, kt_anchors_t **ret_anchors)
{
    kt_anchors_t *anchors = calloc(1, sizeof(*anchors));

    if (anchors == NULL || (anchors->path = strdup(path)) == NULL) {
        free(anchors);
        return kt_no_memory();
    }
    anchors->folder = -1;
    anchors->own = (kt_anchor_own_t)KT_ANCHOR_OWN_INIT;
    anchors->notify = -1;
    *ret_anchors = anchors;
    return KT_SUCCESS;
}

static void close_streams(kt_anchors_t *anchors)
{
    while (anchors->nstreams > 0)
        kt_close_fd(&anchors->streams[--anchors->nstreams].file.fd);
    kt_anchor_own_close(&anchors->own);
    kt_anchor_notify_end(anchors);
}

void kt_anchors_free(kt_anchors_t *anchors)
{
    if (anchors == NULL)
        return;
    close_streams(anchors);
    kt_close_fd(&anchors->folder);
    free(anchors->path);
    free(anchors->list);
    free(anchors->streams);
    free(anchors->missing.list);
    free(anchors);
}

const char *kt_anchors_problem(const kt_anchors_t *anchors)
{
    return anchors != NULL ? anchors->problem : "";
}

/* ---- the folder ---- */

static kt_status_t cannot_read(const kt_anchors_t *anchors)
{
    kt_status_t status = errno == EACCES || errno == EPERM ? KT_PERMISSION
                         : errno == EIO                    ? KT_NOSPACE
                                                           : KT_INTERNAL;

    return kt_fail(status, "%s: %s", anchors->path, strerror(errno));
}

/* Opens the folder, which a process does once. */
static kt_status_t open_folder(kt_anchors_t *anchors, struct stat *ret_st)
{
    struct stat parent;

    if (anchors->folder < 0)
        anchors->folder = open(anchors->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (anchors->folder < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
        return cannot_read(anchors);
    if (anchors->folder >= 0 && fstat(anchors->folder, ret_st) != 0)
        return cannot_read(anchors);
    if (anchors->folder < 0 || ret_st->st_nlink == 0)
        return kt_fail(KT_ROLLEDBACK,
                       "%s: the folder of anchors is gone: without it an old copy of the store "
                       "would pass for the newest (`keyturn restore BACKUP --going-back`)",
                       anchors->path);
    if ((ret_st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return kt_fail(KT_PERMISSION,
                       "%s: users other than its owner may write it, and could take anchors away "
                       "(chmod go-w %s)",
                       anchors->path, anchors->path);
    if (ret_st->st_uid != 0 && fstatat(anchors->folder, "..", &parent, 0) == 0 &&
        ret_st->st_uid != parent.st_uid)
        return kt_fail(KT_PERMISSION,
                       "%s: belongs to uid %u, which owns neither the folder that it is in nor "
                       "the machine (chown --reference=%s/.. %s)",
                       anchors->path, (unsigned)ret_st->st_uid, anchors->path, anchors->path);
    return KT_SUCCESS;
}

kt_status_t kt_anchors_make(const kt_anchors_t *anchors, const char *stream)
{
    kt_status_t status;
    int folder;

    if (anchors == NULL)
        return KT_SUCCESS;
    if (mkdir(anchors->path, 0755) != 0 && errno != EEXIST)
        return kt_fail(KT_PERMISSION, "%s: %s", anchors->path, strerror(errno));
    folder = open(anchors->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return kt_fail(KT_PERMISSION, "%s: %s", anchors->path, strerror(errno));
    status = kt_anchor_file_make(anchors->path, folder, stream);
    (void)close(folder);
    return status;
}

kt_status_t kt_anchors_own(const kt_anchors_t *anchors, const char *stream)
{
    struct stat st;

    if (fstatat(anchors->folder, stream, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return faccessat(anchors->folder, ".", W_OK, AT_EACCESS) == 0
                   ? KT_SUCCESS /* it is made when it is needed */
                   : kt_fail(KT_PERMISSION,
                             "%s/%s does not exist: `install -d -m 755 -o %u -g %u %s/%s`",
                             anchors->path, stream, (unsigned)geteuid(), (unsigned)getegid(),
                             anchors->path, stream);
    if (st.st_uid != geteuid())
        return kt_fail(KT_PERMISSION, "%s/%s belongs to uid %u: `chown -R %u %s/%s`", anchors->path,
                       stream, (unsigned)st.st_uid, (unsigned)geteuid(), anchors->path, stream);
    return KT_SUCCESS;
}

/* ---- reading ---- */

static void *grown(void *list, size_t count, size_t size)
{
    return (count & (count - 1)) != 0 ? list : reallocarray(list, count == 0 ? 1 : 2 * count, size);
}

static kt_status_t add(kt_anchors_t *anchors, const kt_anchor_t *anchor, bool seen)
{
    kt_known_t *list = grown(anchors->list, anchors->count, sizeof(*list));

    if (list == NULL)
        return kt_no_memory();
    anchors->list = list;
    list[anchors->count++] = (kt_known_t){.anchor = *anchor, .seen = seen};
    return KT_SUCCESS;
}

static kt_status_t add_line(void *arg, const kt_anchor_t *anchor)
{
    return add(arg, anchor, false);
}

static void drop_files(kt_anchors_t *anchors)
{
    size_t i, kept = 0;

    for (i = 0; i < anchors->count; i++) {
        if (anchors->list[i].seen)
            anchors->list[kept++] = anchors->list[i];
    }
    anchors->count = kept;
    close_streams(anchors);
    anchors->problem[0] = '\0';
}

/* `now`: the clock of the file system when the reading began. A file that has this time may still
 * change without getting another one. */
static kt_status_t load_stream(kt_anchors_t *anchors, const char *name, const struct timespec *now)
{
    kt_anchor_stream_t *streams = grown(anchors->streams, anchors->nstreams, sizeof(*streams)),
                       *stream;
    kt_status_t status;

    if (streams == NULL)
        return kt_no_memory();
    anchors->streams = streams;
    stream = &streams[anchors->nstreams];
    memset(stream, 0, sizeof(*stream));
    if (snprintf(stream->name, sizeof(stream->name), "%s", name) >= (int)sizeof(stream->name))
        return KT_SUCCESS; /* not a stream */
    anchors->nstreams++;
    if (anchors->nstreams <= WATCHED)
        kt_anchor_file_watch(anchors->folder, name, &stream->file);
    else
        kt_anchor_file_stat(anchors->folder, name, &stream->file);
    anchors->racy = anchors->racy || !kt_time_before(&stream->file.changed, now);
    status = kt_anchor_file_read(anchors->path, anchors->folder, name, add_line, anchors);
    if (status != KT_FORBIDDEN && status != KT_PERMISSION)
        return status;
    if (anchors->problem[0] == '\0')
        (void)snprintf(anchors->problem, sizeof(anchors->problem), "%s", kt_failure());
    kt_failure_clear();
    return KT_SUCCESS;
}

static kt_status_t load_folder(kt_anchors_t *anchors, const struct stat *st)
{
    kt_status_t status = KT_SUCCESS;
    struct timespec now;
    kt_folder_t list;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (!kt_folder_open(&list, anchors->folder, "."))
        return cannot_read(anchors);
    drop_files(anchors);
    anchors->racy = !kt_time_before(&st->st_ctim, &now);
    while (status == KT_SUCCESS && kt_folder_next(&list)) {
        if (list.name[0] != '.')
            status = load_stream(anchors, list.name, &now);
    }
    if (!kt_folder_close(&list) && status == KT_SUCCESS)
        return cannot_read(anchors);
    return status;
}

static bool is_unchanged(kt_anchors_t *anchors, const struct stat *st)
{
    size_t i;

    if (!anchors->loaded || anchors->racy ||
        memcmp(&st->st_ctim, &anchors->changed, sizeof(st->st_ctim)) != 0)
        return false;
    for (i = 0; i < anchors->nstreams; i++) {
        const kt_anchor_stream_t *stream = &anchors->streams[i];

        if (!kt_anchor_file_is_same(anchors->folder, stream->name, &stream->file))
            return false;
    }
    return anchors->own.text == NULL || kt_anchor_own_holds(&anchors->own);
}

kt_status_t kt_anchors_load(kt_anchors_t *anchors)
{
    struct stat st;
    kt_status_t status;

    if (anchors == NULL || kt_anchor_notify_is_calm(anchors))
        return KT_SUCCESS;
    kt_anchor_notify_begin(anchors);
    status = open_folder(anchors, &st);
    if (status != KT_SUCCESS)
        return status;
    if (is_unchanged(anchors, &st)) {
        if (anchors->own.text == NULL || !anchors->own.racy)
            kt_anchor_notify_looked(anchors);
        return KT_SUCCESS;
    }
    anchors->loaded = false;
    status = load_folder(anchors, &st);
    if (status != KT_SUCCESS)
        return status;
    anchors->changed = st.st_ctim;
    anchors->loaded = true;
    return KT_SUCCESS;
}

/* ---- comparing ---- */

/* Is this an anchor of the same key, and made with it? */
static bool is_of(kt_known_t *known, const kt_anchored_t *anchored)
{
    if (memcmp(known->anchor.key_id, anchored->key_id, KT_KEYID_SIZE) != 0)
        return false;
    if (!known->seen && !known->checked) {
        known->true_mac = kt_anchor_holds(&known->anchor, anchored->key);
        known->checked = true;
    }
    return known->seen || known->true_mac;
}

static const char *what_of(const kt_anchored_t *anchored, char text[KT_NAME_MAX + 16])
{
    if (anchored->type == NULL)
        return "the catalogue of types";
    (void)snprintf(text, KT_NAME_MAX + 16, "the type \"%s\"", anchored->type);
    return text;
}

static kt_status_t compare(const kt_anchored_t *anchored, const kt_anchor_t *anchor)
{
    char text[KT_NAME_MAX + 16];

    if (anchored->generation < anchor->generation)
        return kt_fail(KT_ROLLEDBACK,
                       "%s: %s is at generation %llu, but generation %llu was seen: an older store "
                       "was put in place (if that was intended: `keyturn restore BACKUP "
                       "--going-back`)",
                       anchored->store, what_of(anchored, text),
                       (unsigned long long)anchored->generation,
                       (unsigned long long)anchor->generation);
    if (anchored->generation > 0 && memcmp(anchored->store_id, anchor->store_id, KT_ID_SIZE) != 0)
        return kt_fail(KT_ROLLEDBACK,
                       "%s: %s belongs to a different store from the one seen before",
                       anchored->store, what_of(anchored, text));
    if (anchored->generation == anchor->generation &&
        memcmp(anchored->root, anchor->root, KT_TAG_SIZE) != 0)
        return kt_fail(
            KT_ROLLEDBACK, "%s: %s differs from what was seen at the same generation %llu",
            anchored->store, what_of(anchored, text), (unsigned long long)anchored->generation);
    return KT_SUCCESS;
}

static kt_status_t no_anchor(const kt_anchors_t *anchors, const kt_anchored_t *anchored)
{
    char text[KT_NAME_MAX + 16];

    return kt_fail(KT_ROLLEDBACK,
                   "%s: %s is at generation %llu, and there is no anchor of it: an older store "
                   "would pass for the newest%s%s (if the anchors were lost: `keyturn restore "
                   "BACKUP --going-back`)",
                   anchored->store, what_of(anchored, text),
                   (unsigned long long)anchored->generation,
                   anchors->problem[0] != '\0' ? "; " : "", anchors->problem);
}

/* ---- what is above all anchors ---- */

kt_unanchored_t *kt_anchors_missing(kt_anchors_t *anchors, size_t *ret_count)
{
    *ret_count = anchors != NULL ? anchors->missing.count : 0;
    return *ret_count > 0 ? anchors->missing.list : NULL;
}

/* ---- checking ---- */

uint64_t kt_anchors_last(kt_anchors_t *anchors, const kt_anchored_t *anchored,
                         unsigned char io_store_id[KT_ID_SIZE])
{
    uint64_t highest = 0;
    size_t i;

    for (i = 0; anchors != NULL && i < anchors->count; i++) {
        kt_known_t *known = &anchors->list[i];

        if (known->seen || !is_of(known, anchored) || known->anchor.generation <= highest)
            continue;
        highest = known->anchor.generation;
        memcpy(io_store_id, known->anchor.store_id, KT_ID_SIZE);
    }
    return highest;
}

/* Did a line before this one name the same type of the same store? */
static bool is_repeated(const kt_anchors_t *anchors, size_t at)
{
    const kt_anchor_t *anchor = &anchors->list[at].anchor, *other;
    size_t i;

    for (i = 0; i < at; i++) {
        other = &anchors->list[i].anchor;
        if (!anchors->list[i].seen && (other->generation > 0 || anchor->generation == 0) &&
            memcmp(other->key_id, anchor->key_id, KT_KEYID_SIZE) == 0 &&
            memcmp(other->store_id, anchor->store_id, KT_ID_SIZE) == 0)
            return true;
    }
    return false;
}

void kt_anchors_walk(const kt_anchors_t *anchors, kt_anchors_fn fn, void *arg)
{
    size_t i;

    for (i = 0; anchors != NULL && i < anchors->count; i++) {
        if (!anchors->list[i].seen && !is_repeated(anchors, i) &&
            fn(arg, &anchors->list[i].anchor) != 0)
            return;
    }
}

bool kt_anchors_have(kt_anchors_t *anchors, const kt_anchored_t *anchored, uint64_t *ret_highest)
{
    bool any = false;
    size_t i;

    *ret_highest = 0;
    for (i = 0; anchors != NULL && i < anchors->count; i++) {
        kt_known_t *known = &anchors->list[i];

        if (known->seen || !is_of(known, anchored))
            continue;
        any = true;
        if (known->anchor.generation > *ret_highest)
            *ret_highest = known->anchor.generation;
    }
    return any;
}

/* The files as they are now. A list in use may not become younger than its snapshot, which would
 * then look old. NULL: they cannot be read. */
static kt_anchors_t *read_again(const kt_anchors_t *anchors)
{
    kt_anchors_t *now = NULL;

    if (kt_anchors_new(anchors->path, &now) == KT_SUCCESS && kt_anchors_load(now) == KT_SUCCESS)
        return now;
    kt_anchors_free(now);
    kt_failure_clear();
    return NULL;
}

/* The first anchor, written before the first commit, may be younger than what was read. */
static bool is_anchored_now(const kt_anchors_t *anchors, const kt_anchored_t *anchored)
{
    kt_anchors_t *now = read_again(anchors);
    uint64_t highest;
    bool any = kt_anchors_have(now, anchored, &highest);

    kt_anchors_free(now);
    return any;
}

bool kt_anchors_stands(const kt_anchors_t *anchors, const kt_anchor_t *anchor)
{
    kt_anchors_t *now = read_again(anchors);
    bool found = false;
    size_t i;

    for (i = 0; now != NULL && i < now->count && !found; i++) {
        const kt_anchor_t *line = &now->list[i].anchor;

        found = memcmp(line->key_id, anchor->key_id, KT_KEYID_SIZE) == 0 &&
                memcmp(line->mac, anchor->mac, KT_HASH_SIZE) == 0; /* it is of all the rest */
    }
    kt_anchors_free(now);
    return found;
}

kt_status_t kt_anchors_check(kt_anchors_t *anchors, const kt_anchored_t *anchored)
{
    kt_known_t *seen = NULL;
    uint64_t highest = 0;
    kt_anchor_t now;
    kt_status_t status = KT_SUCCESS;
    bool any = false;
    size_t i;

    if (anchors == NULL)
        return KT_SUCCESS;
    for (i = 0; i < anchors->count && status == KT_SUCCESS; i++) {
        kt_known_t *known = &anchors->list[i];

        if (!is_of(known, anchored))
            continue;
        status = compare(anchored, &known->anchor);
        if (known->seen) {
            seen = known;
            continue;
        }
        any = true;
        if (known->anchor.generation > highest)
            highest = known->anchor.generation;
    }
    if (status != KT_SUCCESS || anchored->generation == 0)
        return status;
    if (!any && !is_anchored_now(anchors, anchored))
        return no_anchor(anchors, anchored);
    if (anchored->generation > highest)
        kt_unanchored_add(&anchors->missing, anchored, false);
    else
        kt_unanchored_drop(&anchors->missing, anchored->key_id);
    if (seen != NULL && seen->anchor.generation == anchored->generation)
        return KT_SUCCESS;
    kt_anchor_now(anchored, &now);
    if (seen == NULL)
        return add(anchors, &now, true);
    seen->anchor = now;
    return KT_SUCCESS;
}

uint64_t kt_anchors_highest(kt_anchors_t *anchors, const kt_anchored_t *anchored)
{
    uint64_t highest;

    (void)kt_anchors_have(anchors, anchored, &highest);
    return highest;
}

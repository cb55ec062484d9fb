/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchors.h: the last known generations, kept outside the database (anchors.c), and the files that
 * keep them (anchor_files.c).
 */
#ifndef KT_ANCHORS_H
#define KT_ANCHORS_H

#include "base/base.h"
#include "rows.h"

typedef struct kt_anchor { /* a line of a file */
    unsigned char key_id[KT_KEYID_SIZE], store_id[KT_ID_SIZE];
    uint64_t generation;
    unsigned char root[KT_TAG_SIZE];
    unsigned char mac[KT_HASH_SIZE];
} kt_anchor_t;

/* What has generations: the index of a type (kt_index_anchored()), or the catalogue of types. It
 * points to its owner's texts and key. */
typedef struct kt_anchored {
    const char *store;        /* the provider's name */
    const char *type;         /* NULL: the catalogue of types */
    const unsigned char *key; /* of its MAC: KT_KEY_SIZE bytes */
    unsigned char key_id[KT_KEYID_SIZE], store_id[KT_ID_SIZE];
    uint64_t generation; /* 0: it was never written */
    unsigned char root[KT_TAG_SIZE];
} kt_anchored_t;

/* What the host's log says of a commit without its anchor: a promise that was not kept, and so an
 * error (level 3). */
#define KT_NOT_ANCHORED                                                                            \
    "the change is made, but an older store put in its place would not be noticed: %s"

/* ---- instance.c ---- */

/* Where the anchors of the store in this file are. KT_CONFIG. */
kt_status_t kt_anchors_path(const char *store, char *path, size_t size);

/* ---- anchors.c, anchor_list.h, anchor_write.c. NULL: the store has no anchors to compare with
 * ---- */

kt_status_t kt_anchors_new(const char *path, kt_anchors_t **ret_anchors);
void kt_anchors_free(kt_anchors_t *anchors);
/* Makes the folder, and in it that of `stream`; both may exist already. */
kt_status_t kt_anchors_make(const kt_anchors_t *anchors, const char *stream);
/* Reads the files; call it before a snapshot is opened. KT_ROLLEDBACK: the folder is gone;
 * KT_PERMISSION: not only its owner may write it. */
kt_status_t kt_anchors_load(kt_anchors_t *anchors);
/* Were the files found unchanged some milliseconds ago? As long as nothing was committed to the
 * store since, that is as good as to ask again: what is in force was in the files by then. */
bool kt_anchors_are_recent(const kt_anchors_t *anchors);
/* Inside the snapshot: KT_ROLLEDBACK if this is older than what was seen of it, or if it was
 * written and no file has an anchor of it. Remembers it. */
kt_status_t kt_anchors_check(kt_anchors_t *anchors, const kt_anchored_t *anchored);
/* The highest generation that files confirm. */
uint64_t kt_anchors_highest(kt_anchors_t *anchors, const kt_anchored_t *anchored);
/* The same, and the id of its store, which stays as it is if there is none. */
uint64_t kt_anchors_last(kt_anchors_t *anchors, const kt_anchored_t *anchored,
                         unsigned char io_store_id[KT_ID_SIZE]);
/* Calls fn for the lines of all files, of whatever MAC, once for a type of a store. A non-zero
 * answer ends it. */
typedef int (*kt_anchors_fn)(void *arg, const kt_anchor_t *anchor);
void kt_anchors_walk(const kt_anchors_t *anchors, kt_anchors_fn fn, void *arg);
/* Before the commit: what has no anchor gets one of generation 0, so that a crash between its first
 * commit and its anchor does not look like lost anchors. Fails if it cannot be written. */
kt_status_t kt_anchors_prepare(kt_anchors_t *anchors, const char *stream, const kt_anchored_t *list,
                               size_t count);
/* After the commit. KT_NOSPACE, KT_PERMISSION; KT_TRYAGAIN: another process holds the stream's
 * lock. What could not be written is missing: see below. `lazy`: it counts at once, and is on the
 * disk after a later write that is not lazy, kt_anchors_sync(), or when the kernel likes. */
kt_status_t kt_anchors_write(kt_anchors_t *anchors, const char *stream, const kt_anchored_t *list,
                             size_t count, bool lazy);
/* Of all stores below `path`, kt_anchors_folder(). Needs no lock of the context. */
kt_status_t kt_anchors_sync(const char *path, const char *stream);
const char *kt_anchors_folder(const kt_anchors_t *anchors);
/* Before the commit: space for that, in case that the disk is full by then. KT_NOSPACE. */
kt_status_t kt_anchors_reserve(const kt_anchors_t *anchors, const char *stream);
/* Could the stream's file be written by this process? KT_PERMISSION, with the command that makes
 * its folder right. Changes nothing. */
kt_status_t kt_anchors_own(const kt_anchors_t *anchors, const char *stream);
/* Why a file of some stream does not count; "": all of them do. */
const char *kt_anchors_problem(const kt_anchors_t *anchors);

/*
 * What was found above all anchors: a writer died between its commit and its anchor, could not
 * write it, or is about to. It is recorded, and then written without a lock of the context:
 * kt_anchors_put() (serve/settle.c).
 */
typedef struct kt_unanchored {
    char type[KT_NAME_MAX + 1]; /* "": the catalogue of types */
    kt_anchor_t anchor;
    int64_t due;   /* ms, monotonic: when it was found, or is tried again */
    bool was_said; /* that it cannot be written */
    bool recorded; /* in this stream's audit log, by this process */
} kt_unanchored_t;
/* The list itself, until the next call with these anchors. */
kt_unanchored_t *kt_anchors_missing(kt_anchors_t *anchors, size_t *ret_count);
/* Has any stream written it in the meantime? Reads all files. */
bool kt_anchors_stands(const kt_anchors_t *anchors, const kt_anchor_t *anchor);
kt_status_t kt_anchors_put(const kt_anchors_t *anchors, const char *stream,
                           const kt_anchor_t *lines, size_t count);

/* ---- unanchored.c ---- */

typedef struct kt_unanchored_list {
    kt_unanchored_t *list;
    size_t count;
} kt_unanchored_list_t;
kt_unanchored_t *kt_unanchored_find(const kt_unanchored_list_t *missing,
                                    const unsigned char key_id[KT_KEYID_SIZE]);
/* Once for each key. Without memory it is left out, and the next read finds it again. */
void kt_unanchored_add(kt_unanchored_list_t *missing, const kt_anchored_t *anchored, bool was_said);
void kt_unanchored_drop(kt_unanchored_list_t *missing, const unsigned char key_id[KT_KEYID_SIZE]);

/* ---- anchor_files.c: the file of one stream ---- */

#define KT_ANCHOR_FILE "generations"
typedef kt_status_t (*kt_anchor_fn)(void *arg, const kt_anchor_t *anchor);
/* Passes each line, of whatever MAC. No file yet: no line. KT_FORBIDDEN, KT_PERMISSION: it does not
 * count (not a file, of another owner than its folder; not readable); other failures are our own.
 */
kt_status_t kt_anchor_file_read(const char *path, int folder, const char *stream, kt_anchor_fn fn,
                                void *arg);
/* Makes the stream's folder, if there is none. */
kt_status_t kt_anchor_file_make(const char *path, int folder, const char *stream);
void kt_anchor_mac(const kt_anchor_t *anchor, const unsigned char key[KT_KEY_SIZE],
                   unsigned char ret_mac[KT_HASH_SIZE]);
/* The line that says how it is now. */
void kt_anchor_now(const kt_anchored_t *anchored, kt_anchor_t *ret_anchor);
/* Is the line's MAC of this key? */
bool kt_anchor_holds(const kt_anchor_t *anchor, const unsigned char key[KT_KEY_SIZE]);

/* ---- anchor_watch.c ---- */

/* What tells one state of a file from another. */
typedef struct kt_anchor_file {
    bool there;
    uint64_t inode;
    int64_t size;
    struct timespec changed;
    int fd; /* of kt_anchor_file_watch(); -1: none */
} kt_anchor_file_t;
void kt_anchor_file_stat(int folder, const char *stream, kt_anchor_file_t *ret_file);
/* The same; and where a descriptor tells as much as the path does, it keeps one, which costs a
 * third. kt_close_fd(&ret_file->fd) ends it. */
void kt_anchor_file_watch(int folder, const char *stream, kt_anchor_file_t *ret_file);
bool kt_anchor_file_is_same(int folder, const char *stream, const kt_anchor_file_t *file);
struct stat;
/* All but the descriptor, from what fstat() says. */
void kt_anchor_file_take(const struct stat *st, kt_anchor_file_t *file);
bool kt_anchor_file_is(const struct stat *st, const kt_anchor_file_t *file);
bool kt_time_before(const struct timespec *a, const struct timespec *b);

/* ---- anchor_own.c: the file of one stream is written ---- */

#define KT_STREAM_MAX 64u

/* What a process that goes on keeps of its own stream's file. Only where kt_anchor_file_watch()
 * keeps a descriptor. */
typedef struct kt_anchor_own {
    char stream[KT_STREAM_MAX];
    int folder, lock, file; /* -1: not open */
    bool loose;             /* while the lock is held: the file has lines that are not synced */
    char *text;             /* as this process wrote it last; NULL: it did not */
    kt_anchor_file_t state; /* then: how the file was after that */
    bool racy;              /* then: it may have changed since without another time */
    bool followed;          /* the last job was done, and nothing had changed since job->before */
} kt_anchor_own_t;
#define KT_ANCHOR_OWN_INIT                                                                         \
    {                                                                                              \
        .folder = -1, .lock = -1, .file = -1                                                       \
    }
void kt_anchor_own_close(kt_anchor_own_t *own);
/* Is the text still in the file, whose times are those of `state`? */
bool kt_anchor_own_holds(kt_anchor_own_t *own);

typedef struct kt_anchor_job {
    const kt_anchor_t *lines;
    size_t count;
    const unsigned char *const *keys; /* of each line's MAC; NULL: not known */
    bool first;                       /* the file's name is made durable, too */
    bool lazy;                        /* need not be on the disk, if the file is there */
    const kt_anchor_file_t *before;   /* the file as the caller has read it; NULL: it has not */
    kt_anchor_t *replaced;            /* NULL or, if followed: what each line stands in place of */
} kt_anchor_job_t;
/* Of each key the higher generation, and all other lines unchanged. `own` NULL: nothing is kept. */
kt_status_t kt_anchor_file_write(const char *path, int folder, const char *stream,
                                 const kt_anchor_job_t *job, kt_anchor_own_t *own);
/* What was lazy reaches the disk. */
kt_status_t kt_anchor_file_sync(const char *path, int folder, const char *stream);
/* Keeps space for the next kt_anchor_file_write() to a file that has this size, which needs it if
 * the disk is full by then. KT_NOSPACE: there is none; what else is in the way, that call will say.
 */
kt_status_t kt_anchor_file_reserve(const char *path, int folder, const char *stream, int64_t size);

/* ---- expected.c: what audit logs say ---- */

struct kt_expected {
    kt_expected_t *next;
    char type[KT_NAME_MAX + 1];
    unsigned char store_id[KT_ID_SIZE];
    uint64_t generation;       /* the highest */
    char where[KT_WHERE_SIZE]; /* it is written */
};
/* A type of the store with this id was at this generation. */
void kt_expected_add(kt_expected_t **list, const char *type, uint64_t generation,
                     const unsigned char store_id[KT_ID_SIZE], const char *where);
/* The highest of those; 0: nothing is known. */
uint64_t kt_expected_of(const kt_expected_t *list, const char *type,
                        const unsigned char store_id[KT_ID_SIZE]);
/* KT_ROLLEDBACK: the type of this store, a provider's name, has not reached what is expected. */
kt_status_t kt_expected_check(const kt_expected_t *list, const char *store, const char *type,
                              const unsigned char store_id[KT_ID_SIZE], uint64_t generation);
void kt_expected_free(kt_expected_t *list); /* NULL is allowed */

#endif /* KT_ANCHORS_H */

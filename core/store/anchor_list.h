/* SPDX-License-Identifier: BSD-2-Clause */
/* anchor_list.h: what a process knows of the anchors of a store, for anchors.c, anchor_write.c
 * and anchor_notify.c alone. */
#ifndef KT_ANCHOR_LIST_H
#define KT_ANCHOR_LIST_H

#include "anchors.h"

typedef struct kt_known {
    kt_anchor_t anchor;
    bool seen;    /* by this process, not read from a file */
    bool checked; /* its MAC was compared with its key, and is `true_mac` */
    bool true_mac;
} kt_known_t;

typedef struct kt_anchor_stream {
    char name[KT_STREAM_MAX];
    kt_anchor_file_t file;
} kt_anchor_stream_t;

struct kt_anchors {
    char *path;
    int folder;
    struct timespec changed; /* of the folder when the files were read */
    bool loaded;
    bool racy; /* the files may have changed since without a sign: the clock had not moved on */
    kt_known_t *list;
    size_t count;
    kt_anchor_stream_t *streams;
    size_t nstreams;
    kt_anchor_own_t own; /* the file that this process writes */
    int notify;          /* a queue of events (anchor_notify.c); -1: none */
    bool calm;           /* there was none since the files were looked at */
    int64_t looked;      /* kt_monotonic() of that */
    int64_t asked;       /* and of the last time that the queue was found empty */
    unsigned looks;      /* since the files were read */
    kt_unanchored_list_t missing;
    char problem[KT_ERROR_SIZE];
};

/* Is there a line of the same key, made with it? */
bool kt_anchors_have(kt_anchors_t *anchors, const kt_anchored_t *anchored, uint64_t *ret_highest);

/* ---- anchor_notify.c ---- */

/* Has nothing changed since the files were looked at? */
bool kt_anchor_notify_is_calm(kt_anchors_t *anchors);
/* Before they are looked at, and after they were found unchanged. */
void kt_anchor_notify_begin(kt_anchors_t *anchors);
void kt_anchor_notify_looked(kt_anchors_t *anchors);
void kt_anchor_notify_end(kt_anchors_t *anchors);

#endif /* KT_ANCHOR_LIST_H */

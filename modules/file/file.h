/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file.h: what the files of this provider share.
 *
 *   file.c      the table, options, and which kind of place `path` is
 *   place.c     opening what `path` means, and whether its owner and mode are safe
 *   folder.c    a folder of files, and a folder that is one secret
 *   whole.c     a folder of files as one moment's
 *   lines.c     a file of NAME=VALUE lines
 *   pointer.c   variables that name files: NAME_FILE
 *   token.c     has something changed?
 */
#ifndef FILE_H
#define FILE_H

#include <keyturn_provider.h>
#include <limits.h>
#include <sys/stat.h>

#define NAME_ROOM 256u
#define VALUE_MAX 65536u        /* bytes of a secret, of the core */
#define LINES_MAX (256u * 1024u) /* bytes of a file of lines */
#define WATCHED 16u             /* files whose change is seen in the next read */
#define TRIES 8                 /* of a read while its file is being replaced */

struct ktp_instance {
    const ktp_services_t *services;
    const char *path; /* the host's, as configured */
    const char *dialect, *prefix, *separator;
    int watch, trim, production;
    char watched[WATCHED][NAME_ROOM]; /* files below the folder; "" is not used */
    unsigned next;                    /* of `watched`, to be used again */
};

typedef int (*list_fn)(void *arg, const char *name);

/* ---- place.c ---- */

/* `path` with its variable in place, if it begins with one. KTP_UNAVAIL: that is not set. */
ktp_status_t place_path(const ktp_instance_t *instance, char path[PATH_MAX]);
/* What the system says, as a status. `path` is named in the text. */
ktp_status_t place_fail(const ktp_instance_t *instance, const char *path);
/* Opens for reading without waiting, and looks at the descriptor. */
ktp_status_t place_open(const ktp_instance_t *instance, const char *path, int *ret_fd,
                        struct stat *ret_st);
/* May what is in it be served? Of a folder: no other user may write it, but in a sticky one. Of a
 * file: the same, and no other user may read it, but on a file system in memory. */
ktp_status_t place_check(const ktp_instance_t *instance, int fd, const struct stat *st,
                         const char *path);
/* Reads a whole file of at most `most` bytes, into secret memory with a NUL at its end.
 * KTP_TRYAGAIN: it changed meanwhile. */
ktp_status_t place_read(const ktp_instance_t *instance, int fd, const char *path, size_t most,
                        ktp_buffer_t *ret_text);
/* A file's bytes as a secret's value, without a newline at the end if that is configured. */
ktp_status_t place_value(const ktp_instance_t *instance, int fd, const char *path,
                         ktp_value_t *ret_value);

int place_is_pointer(const ktp_instance_t *instance); /* variables that name files? */

/* ---- folder.c; `folder` is open ---- */

ktp_status_t folder_get(ktp_instance_t *instance, int folder, const char *path, const char *name,
                        ktp_value_t *ret_value);
ktp_status_t folder_list(const ktp_instance_t *instance, int folder, const char *path, list_fn fn,
                         void *arg);

/* ---- whole.c ---- */

/* A folder of files as one JSON object, all of them of one moment. */
ktp_status_t whole_get(const ktp_instance_t *instance, int folder, const char *path,
                       ktp_value_t *ret_value);

/* ---- lines.c ---- */

ktp_status_t lines_get(const ktp_instance_t *instance, int fd, const char *path, const char *name,
                       ktp_value_t *ret_value);
ktp_status_t lines_list(const ktp_instance_t *instance, int fd, const char *path, list_fn fn,
                        void *arg);

/* ---- pointer.c ---- */

ktp_status_t pointer_get(ktp_instance_t *instance, const char *name, ktp_value_t *ret_value);
ktp_status_t pointer_list(const ktp_instance_t *instance, list_fn fn, void *arg);

/* ---- token.c ---- */

/* From now on the token depends on this file: a path, or one below the folder. */
void token_watch(ktp_instance_t *instance, const char *file);
ktp_status_t token_of(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE]);

#endif /* FILE_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/* file.h: private files, small files of the kernel, folders, and locks of files. */
#ifndef KT_FILE_H
#define KT_FILE_H

#include <dirent.h>

#include "base.h"

/* ---- file.c ---- */

#define KT_KEYFILE_MAX (512u * 1024u) /* bytes of a key file's text, wherever it comes from */
/* A private file's bytes in locked memory (kt_locked_free()), with a NUL at the end. KT_CONFIG:
 * there is none; KT_PERMISSION: owner or mode let others write or read it. */
kt_status_t kt_read_private(const char *path, char **ret_text, size_t *ret_size);
/* The same for root: the file may belong to `owner` instead of the caller. */
kt_status_t kt_read_private_of(const char *path, uid_t owner, char **ret_text, size_t *ret_size);
/* Writes the whole text into a new file of this mode, durable, or leaves none. KT_CONFLICT if there
 * is one. */
kt_status_t kt_write_key(const char *path, const char *text, mode_t mode);
/* Closes *fd unless it is -1, and sets it to -1. */
void kt_close_fd(int *fd);
/* The start of a small file, such as one of /proc, as text. */
bool kt_read_text(const char *path, char *text, size_t size);
#define KT_BOOT_ID 40u /* bytes of a boot id, NUL included */
/* The kernel's id of this run of the machine. "": not known. */
void kt_boot_id(char ret_boot[KT_BOOT_ID]);

/* ---- folder.c ---- */

/* The entries of a folder, without "." and "..", in no order. Each `name` is valid until the next
 * call. What was read of the descriptor `folder` before does not matter. */
typedef struct kt_folder {
    DIR *dir;
    const char *name;
    ino_t inode;
    int error; /* errno of the list that broke off */
} kt_folder_t;
/* `path` as for openat(). False with errno; then there is nothing to close. */
bool kt_folder_open(kt_folder_t *list, int folder, const char *path);
bool kt_folder_next(kt_folder_t *list); /* false: the end, or an error, which _close() tells */
/* False with errno: the folder could not be read to its end, so that entries may be missing. */
bool kt_folder_close(kt_folder_t *list);

/* ---- lock.c ---- */

#define KT_LOCK_WAIT 500u /* ms for a lock that is held while one small file is written */
/* flock(LOCK_EX) within `wait` ms. False with errno: EWOULDBLOCK if somebody has it still. */
bool kt_lock_file(int fd, unsigned wait);
/* Who holds the flock() of this file: "process 4711 (keyturn of uid 33)", or "another process". */
void kt_lock_holder(int fd, char *text, size_t size);

#endif /* KT_FILE_H */

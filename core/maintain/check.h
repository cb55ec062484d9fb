/* SPDX-License-Identifier: BSD-2-Clause */
/* check.h: what a server's user may open, and may open but should not (check_user.c,
 * check_look.c, check_path.c). */
#ifndef KT_CHECK_H
#define KT_CHECK_H

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "maintain.h"

#define KT_GROUPS_MAX 256

typedef struct kt_person {
    char name[64];
    uid_t uid;
    gid_t gid, groups[KT_GROUPS_MAX]; /* groups: gid among them */
    int ngroups;
    char own_group[64];            /* "": other users are in it too */
    const char *readers, *writers; /* names of groups */
    const char *auditors;          /* NULL: there is none */
} kt_person_t;

/* May the calling process open this (R_OK, W_OK, X_OK)? If not, ret_text says why and, in `...`,
 * which command fixes it. `group` is the group that a file of this kind belongs to. KT_PERMISSION;
 * KT_UNAVAIL: the file does not exist. */
kt_status_t kt_path_check(const kt_person_t *person, const char *path, int wanted,
                          const char *group, char *ret_text, size_t size);
/* KT_PERMISSION and a text if the process may open this, although it should not. `what` describes
 * the file in that text. */
kt_status_t kt_path_closed(const kt_person_t *person, const char *path, int unwanted,
                           const char *what, char *ret_text, size_t size);
/* Do this folder and its files belong to the person, who can write them? KT_AUDIT. */
kt_status_t kt_path_owned(const kt_person_t *person, const char *path, char *ret_text, size_t size);
/* The same of its folder of anchors, which other users read, too. KT_PERMISSION. */
kt_status_t kt_path_anchors(const kt_person_t *person, const char *path, char *ret_text,
                            size_t size);
/* KT_DENIED, and a text with the line that the policy lacks: the worker may not list and rotate all
 * that other subjects of the host may rotate (check_policy.c). */
kt_status_t kt_check_worker(const kt_config_t *config, const char *stream, const char *worker,
                            char *ret_text, size_t size);
/* The path as one word of a shell, in `word`. */
const char *kt_shell_word(const char *path, char word[2 * PATH_MAX]);
bool kt_person_in(const kt_person_t *person, gid_t gid);

#define KT_INSPECTION_TEXT 1400u /* bytes of a line's text */

typedef struct kt_inspection {
    const kt_setup_t *setup;
    const kt_config_t *config;
    const kt_check_user_t *asked;
    kt_person_t person;
    FILE *out; /* lines "STATUS TEXT" */
    size_t wrong;
    kt_keyring_t *keyring; /* read as the user; NULL: not read */
    char good[1024];       /* what the user may do: the only line if nothing is wrong */
} kt_inspection_t;

/* Called in the process that has become the person: writes the lines (check_look.c). */
void kt_inspect(kt_inspection_t *v);

#endif /* KT_CHECK_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/* check_user.h: check_user.c, check_look.c and check_path.c: what a server's user may and may not
 * open. */
#ifndef KT_CHECK_USER_H
#define KT_CHECK_USER_H

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "internal.h"

#define KT_GROUPS_MAX 256

typedef struct kt_person {
    char name[64];
    uid_t uid;
    gid_t gid, groups[KT_GROUPS_MAX]; /* groups: gid among them */
    int ngroups;
    char own_group[64];            /* "": others are in it too */
    const char *readers, *writers; /* names of groups */
} kt_person_t;

/* Of the calling process: may it open this (R_OK, W_OK, X_OK)? Else ret_text says what is in the
 * way and, in `...`, the command that mends it. `group` is whom a file of this kind belongs to.
 * KT_PERMISSION; KT_UNAVAIL: there is none. */
kt_status_t kt_path_check(const kt_person_t *person, const char *path, int wanted,
                          const char *group, char *ret_text, size_t size);
/* May it open what it need not? Then KT_PERMISSION and the text. `what` is what it is, for the
 * text. */
kt_status_t kt_path_closed(const kt_person_t *person, const char *path, int unwanted,
                           const char *what, char *ret_text, size_t size);
/* Is this folder with its files the person's alone, to write? */
kt_status_t kt_path_owned(const kt_person_t *person, const char *path, char *ret_text, size_t size);
/* The path as one word of a shell, in `word`. */
const char *kt_shell_word(const char *path, char word[2 * PATH_MAX]);
bool kt_person_in(const kt_person_t *person, gid_t gid);

#define KT_VISIT_TEXT 1400u /* bytes of a line's text */

typedef struct kt_visit {
    const kt_setup_t *setup;
    const kt_config_t *config;
    const kt_check_user_t *asked;
    kt_person_t person;
    FILE *out; /* "STATUS TEXT", a line each */
    size_t wrong;
    kt_keyring_t *keyring; /* as the user reads it; NULL: not read */
    char good[512];        /* what it may, for the one line if nothing is wrong */
} kt_visit_t;

void kt_visit(kt_visit_t *v); /* check_look.c; by the process that has become the person */

#endif /* KT_CHECK_USER_H */

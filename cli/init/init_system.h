/* SPDX-License-Identifier: BSD-2-Clause */
/* init_system.c, init_user.c: what the two know of each other. */
#ifndef KEYTURN_INIT_SYSTEM_H
#define KEYTURN_INIT_SYSTEM_H

#include "hosts.h"
#include "init.h"

#define ETC KT_SYSCONFDIR "/keyturn"
#define LIB KT_LOCALSTATEDIR "/lib/keyturn"
#define LOG KT_LOCALSTATEDIR "/log/keyturn"
#define CONFIG ETC "/keyturn.yaml"
#define NEW_CONFIG ETC "/" INIT_CONFIG
#define USERS_MAX CLI_GIVEN_MAX
#define USER_TYPES "api-keys" /* of a user for whom no others are named */

typedef struct init_user {
    char name[64];
    const char *types;
    uid_t uid;
    gid_t gid;
} init_user_t;

typedef struct init_system {
    cli_t *cli;
    const char *environment;
    char key[PATH_MAX], store[PATH_MAX];
    char audit_key[KT_AUDIT_KEY_LINE];
    const char *audit_file; /* where it is; NULL: we tell it */
    init_journal_t journal;
    init_user_t users[USERS_MAX];
    size_t nusers;
} init_system_t;

/* ---- init_system.c ---- */

kt_status_t init_own(cli_t *cli, const char *path, uid_t uid, gid_t gid, mode_t mode);
/* A stream's folder, and its start; one that is there and has begun goes on. */
kt_status_t init_make_stream(init_system_t *s, const char *stream, uid_t uid, gid_t gid);
/* The file of some types' keys, private to this user. */
kt_status_t init_make_types(init_system_t *s, const char *stream, const char *types, uid_t uid,
                            gid_t gid);

/* ---- init_user.c ---- */

/* --user, as often as it is given; nothing is changed before each of them is known. */
kt_status_t init_users(init_system_t *s);
kt_status_t init_make_user(init_system_t *s, const init_user_t *user);
/* malloc'ed: ", cli-USER: ..." for `key`, and prepared lines for `policy` */
char *init_user_keys(const init_system_t *s);
char *init_user_grants(const init_system_t *s);
/* The users of a machine that has its configuration. */
kt_status_t init_add_users(init_system_t *s);
void init_tell_users(const init_system_t *s);

#endif /* KEYTURN_INIT_SYSTEM_H */

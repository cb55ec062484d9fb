/* SPDX-License-Identifier: BSD-2-Clause */
/* The files of `init --system`, from the lowest to the highest: layout.c, user.c, edit.c, system.c.
 */
#ifndef KEYTURN_INIT_SYSTEM_H
#define KEYTURN_INIT_SYSTEM_H

#include "hosts.h"
#include "init.h"

#define ETC KT_SYSCONFDIR "/keyturn"
#define LIB KT_LOCALSTATEDIR "/lib/keyturn"
#define LOG KT_LOCALSTATEDIR "/log/keyturn"
#define CONFIG ETC "/keyturn.yaml"
#define WORK ETC "/.keyturn-init"
#define NEW_CONFIG                                                                                 \
    ETC "/.keyturn.yaml.new" /* until all is made; relative paths are of its folder */
#define USERS                                                                                      \
    WORK "/users" /* what is noted is of users, who come to a machine with a configuration */
#define CONSUMERS_MAX (CLI_GIVEN_MAX + 8)

/* A user of the store: of a server, of --user, or root. */
typedef struct init_consumer {
    char stream[80]; /* nginx, cli-deploy, cli-root */
    char user[64];
    uid_t uid;
    gid_t gid;
    const char *types; /* of its key file; NULL: root, who has the key of every type */
    bool writes;       /* the store */
    bool given;        /* by --user */
} init_consumer_t;

typedef struct init_system {
    cli_t *cli;
    const char *environment;
    char key[PATH_MAX], store[PATH_MAX];
    char audit_path[PATH_MAX]; /* of --audit-key; "": we show it */
    char audit_key[KT_AUDIT_KEY_LINE];
    init_work_t work;
    init_consumer_t consumers[CONSUMERS_MAX];
    size_t nconsumers;
} init_system_t;

/* ---- layout.c: groups, folders, streams and keys ---- */

kt_status_t init_own(cli_t *cli, const char *path, uid_t uid, gid_t gid, mode_t mode);
/* The groups and folders that sysusers.d and tmpfiles.d of the package describe. */
kt_status_t init_base(cli_t *cli);
/* Locks and empties the folder to work in. */
kt_status_t init_begin(init_system_t *s);
/* The key, the stream and the groups of each. What is there stays. */
kt_status_t init_consumers(init_system_t *s);

/* ---- user.c ---- */

/* --user, as often as it is given; nothing is changed before each of them is known. */
kt_status_t init_users(init_system_t *s);
/* malloc'ed: ", cli-USER: ..." for `key`, and prepared lines for `policy` */
char *init_user_keys(const init_system_t *s);
char *init_user_grants(const init_system_t *s);
void init_tell_users(const init_system_t *s);

/* ---- edit.c ---- */

/* The users of a machine that has its configuration. */
kt_status_t init_add_users(init_system_t *s);

#endif /* KEYTURN_INIT_SYSTEM_H */

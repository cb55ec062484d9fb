/* SPDX-License-Identifier: BSD-2-Clause */
/* The files of `init --system`; each calls only those before it: user.c, layout.c, edit.c,
 * restore.c, system.c.
 */
#ifndef KEYTURN_INIT_SYSTEM_H
#define KEYTURN_INIT_SYSTEM_H

#include "hosts.h"
#include "init.h"

#define ETC KT_SYSCONFDIR "/keyturn"
#define LIB KT_LOCALSTATEDIR "/lib/keyturn"
#define LOG CLI_TRAIL
#define CONFIG ETC "/keyturn.yaml"
#define WORK ETC "/.keyturn-init"
#define NEW_CONFIG                                                                                 \
    ETC "/.keyturn.yaml.new" /* until all is made; in ETC, to which relative paths refer */
#define USERS                                                                                      \
    WORK "/users" /* it exists if the notes are about users for a machine with a configuration */
#define CONSUMERS_MAX (CLI_GIVEN_MAX + 8)

/* A user of the store: a server's, one of --user, or root. */
typedef struct init_consumer {
    char stream[80]; /* nginx, cli-deploy, cli-root */
    char user[64];
    uid_t uid;
    gid_t gid;
    const char *types; /* of its key file; NULL: root, which has the key of every type */
    bool writes;       /* it writes to the store */
    bool is_person;    /* of --user; it may be a service, too */
} init_consumer_t;

typedef struct init_system {
    cli_t *cli;
    const char *environment;
    const char *backup;     /* --restore; NULL: a new store */
    kt_secret_t *given_key; /* the text of --key */
    char found[128];        /* the environment that it names */
    char key[PATH_MAX], store[PATH_MAX];
    char audit_path[PATH_MAX]; /* --audit-key; "": init prints the key */
    char audit_key[KT_AUDIT_KEY_LINE];
    init_work_t work;
    init_consumer_t consumers[CONSUMERS_MAX];
    size_t nconsumers;
} init_system_t;

/* ---- layout.c: groups, folders, streams and keys ---- */

kt_status_t init_own(cli_t *cli, const char *path, uid_t uid, gid_t gid, mode_t mode);
/* The groups that the package describes: an older version may have made fewer. */
kt_status_t init_groups(cli_t *cli);
/* The groups and folders that sysusers.d and tmpfiles.d of the package describe. */
kt_status_t init_base(cli_t *cli);
/* Locks and empties the folder to work in. */
kt_status_t init_begin(init_system_t *s);
/* Makes the key, the stream and the memberships of each, and keeps what exists. */
kt_status_t init_consumers(init_system_t *s);

/* ---- user.c ---- */

/* Parses every --user, before anything is changed. */
kt_status_t init_users(init_system_t *s);
/* Texts for the users whose key cli->setup does not list: ", cli-USER: ..." for `key`, and prepared
 * lines for `policy`. The caller frees them; NULL: out of memory. */
char *init_user_keys(const init_system_t *s);
char *init_user_grants(const init_system_t *s);
void init_print_users(const init_system_t *s);

/* ---- restore.c ---- */

/* Reads --restore and --key. Without --environment it is the key's. */
kt_status_t init_restore_given(init_system_t *s);
kt_status_t init_restore_key(init_system_t *s);   /* writes s->key */
kt_status_t init_restore_store(init_system_t *s); /* makes the store that cli->setup names */

/* ---- edit.c ---- */

/* Adds the users to a machine that has its configuration. */
kt_status_t init_add_users(init_system_t *s);

#endif /* KEYTURN_INIT_SYSTEM_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/* What `init DIR` and `init --system` share. */
#ifndef KEYTURN_INIT_H
#define KEYTURN_INIT_H

#include <limits.h>

#include "cli.h"

#define INIT_JOURNAL ".keyturn-init"
#define INIT_CONFIG ".keyturn.yaml.new" /* what the configuration is called until all is made */

/* All as they stand in YAML: `key` whole, the paths inside double quotes. */
typedef struct init_config {
    const char *environment, *key, *key_file, *store, *audit;
    const char *grants; /* further lines for `policy`, or "" */
} init_config_t;

/* ---- init_journal.c: what was made, also by an init that was killed ---- */

typedef struct init_journal {
    char path[PATH_MAX];
    int fd; /* -1: not begun */
} init_journal_t;

/* Locks the journal in `folder` and undoes what a killed init left. `what` is "init", where
 * `config` is what the last step makes, or another word. KT_CONFLICT while another one is at work.
 */
kt_status_t init_begin(cli_t *cli, init_journal_t *journal, const char *folder, const char *what,
                       const char *config);
/* `what` is going to be made: a "file", "folder" or "store", which must not be there, or a "group".
 */
kt_status_t init_note(cli_t *cli, const init_journal_t *journal, const char *kind,
                      const char *what);
void init_undo(cli_t *cli, const init_journal_t *journal); /* newest first; then init_end() */
/* What was made stays; the lock does too. */
kt_status_t init_settle(cli_t *cli, const init_journal_t *journal);
void init_end(init_journal_t *journal); /* also of one that never began */
kt_status_t init_publish(cli_t *cli, const char *folder, const char *from, const char *to);
kt_status_t init_told(cli_t *cli); /* is the answer on stdout? It may hold what is told once */
void init_sync(const char *folder);
kt_status_t init_run(cli_t *cli, const char *const *argv);

/* ---- init_config.c, init_audit.c ---- */

/* --environment, else $ENVIRONMENT, in full */
kt_status_t init_environment(cli_t *cli, const char **ret_environment);
/* a new file, mode 0600 */
kt_status_t init_config(cli_t *cli, const char *path, const init_config_t *values);
kt_status_t init_status(int error); /* of an errno */
/*
 * A new audit key: into the file of --audit-key, which is new (*ret_file; NULL: not given), else
 * for init to tell once. With --quiet and no file there is none, and `line` is empty. Wipe it.
 */
kt_status_t init_audit_key(cli_t *cli, const init_journal_t *journal, char line[KT_AUDIT_KEY_LINE],
                           const char **ret_file);
/* The stream in `folder` begins under the key; without one when its first line is written. */
kt_status_t init_stream(cli_t *cli, const char *folder, const char *environment, const char *stream,
                        const char *line);
void init_tell_audit_key(const char *line); /* on stdout */
void init_empty(const char *folder); /* to take back what was made: removes all that is in it */
kt_status_t init_system(cli_t *cli); /* init_system.c */

#endif /* KEYTURN_INIT_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/* What `init DIR` and `init --system` share. */
#ifndef KEYTURN_INIT_H
#define KEYTURN_INIT_H

#include <limits.h>
#include <sys/types.h>

#include "cli.h"

#define INIT_PATH_MAX (PATH_MAX - 512) /* leaves room for names in it */

/*
 * A private folder in which things are made, locked while an init is at work. Before something is
 * made elsewhere it is noted here, as a link .made-N to it: so a failed init takes it back, or the
 * next one after a kill.
 */
typedef struct init_work {
    char path[INIT_PATH_MAX]; /* "": not begun */
    int lock;
    unsigned notes;
} init_work_t;

/* All as they stand in YAML: `key` whole, the paths inside double quotes. */
typedef struct init_config {
    const char *environment, *key, *key_file, *store, *audit;
    const char *grants; /* further lines for `policy`, or "" */
} init_config_t;

/* ---- work.c: all or nothing ---- */

/* What a killed init left in it is still there. KT_CONFLICT while another one is at work. */
kt_status_t init_work_begin(cli_t *cli, init_work_t *work, const char *path);
/* The file or folder is going to be made: it must not exist. */
kt_status_t init_note(cli_t *cli, init_work_t *work, const char *path);
/* The user is going to be a member of the group, unless it is one already. */
kt_status_t init_note_member(cli_t *cli, init_work_t *work, const char *user, const char *group);
kt_status_t init_undo(cli_t *cli, init_work_t *work); /* what is noted, and empties the folder */
void init_keep(init_work_t *work);                    /* only empties it */
/* Undoes what is noted, and removes it; also if it was not begun. */
void init_work_end(cli_t *cli, init_work_t *work);
/* Runs a program without input and output. */
kt_status_t init_run(cli_t *cli, const char *const *argv);

/* ---- make.c: the steps ---- */

void init_point(void);                                 /* where a test kills init, by number */
kt_status_t init_status(int error);                    /* of an errno */
kt_status_t init_exists(cli_t *cli, const char *path); /* the error for a file that is in the way */
/* A new file. One that is not whole is removed. */
kt_status_t init_write(cli_t *cli, const char *path, mode_t mode, const char *text);
kt_status_t init_key(cli_t *cli, const char *path, const char *environment); /* a new one */
kt_status_t init_store(cli_t *cli); /* a new one, as cli->setup has it */
/* What is complete gets its name: the last step. */
kt_status_t init_publish(cli_t *cli, const char *folder, const char *from, const char *to);
/* Has the answer reached stdout? The audit key in it is shown once. */
kt_status_t init_told(cli_t *cli);

/* ---- config.c ---- */

/* --environment, else $ENVIRONMENT, in full */
kt_status_t init_environment(cli_t *cli, const char **ret_environment);
/* a new file, mode 0600 */
kt_status_t init_config(cli_t *cli, const char *path, const init_config_t *values);

/* ---- audit.c ---- */

/* The absolute path of --audit-key; "" if the option is missing. */
kt_status_t init_audit_path(cli_t *cli, char path[PATH_MAX]);
/*
 * A new audit key, into the new file `path` or, with "", for init to show once. With --quiet and
 * no file there is none, and `line` is empty. The caller wipes `line`.
 */
kt_status_t init_audit_key(cli_t *cli, init_work_t *work, const char *path,
                           char line[KT_AUDIT_KEY_LINE]);
/* The stream in `folder` begins under the key; without one when its first line is written. */
kt_status_t init_stream(cli_t *cli, const char *folder, const char *environment, const char *stream,
                        const char *line);
void init_tell_audit_key(const char *line); /* on stdout */

/* ---- system.c ---- */

kt_status_t init_system(cli_t *cli);

#endif /* KEYTURN_INIT_H */

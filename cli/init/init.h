/* SPDX-License-Identifier: BSD-2-Clause */
/* What `init DIR` and `init --system` share. */
#ifndef KEYTURN_INIT_H
#define KEYTURN_INIT_H

#include <limits.h>
#include <sys/types.h>

#include "cli.h"

#define INIT_PATH_MAX (PATH_MAX - 512) /* leaves room for names in it */

/*
 * A private folder to work in, which is locked while an init runs. What init makes elsewhere is
 * noted here first, as a link .made-N to it. A failed init undoes its notes; after a kill the next
 * one does.
 */
typedef struct init_work {
    char path[INIT_PATH_MAX]; /* "": not begun */
    int lock;
    unsigned notes;
} init_work_t;

/* Texts for YAML: `key` is a whole value, the paths go inside double quotes. */
typedef struct init_config {
    const char *environment, *key, *key_file, *store, *audit;
    const char *grants; /* more lines for `policy`, or "" */
} init_config_t;

/* ---- work.c: all or nothing ---- */

/* Locks the folder; it keeps what a killed init left in it. KT_CONFLICT while another init runs. */
kt_status_t init_work_begin(cli_t *cli, init_work_t *work, const char *path);
/* Notes that the file or folder will be made. It must not exist. */
kt_status_t init_note(cli_t *cli, init_work_t *work, const char *path);
/* Notes that the user will be a member of the group, unless it is one already. */
kt_status_t init_note_member(cli_t *cli, init_work_t *work, const char *user, const char *group);
kt_status_t init_undo(cli_t *cli, init_work_t *work); /* undoes the notes and empties the folder */
void init_keep(init_work_t *work);                    /* empties the folder, keeps what was made */
/* Undoes the notes and removes the folder, if it was begun. */
void init_work_end(cli_t *cli, init_work_t *work);
/* Runs a program with /dev/null as input and output. */
kt_status_t init_run(cli_t *cli, const char *const *argv);

/* ---- make.c: the steps ---- */

void init_point(void); /* a numbered place where a test kills init */
/* Reports "cannot VERB PATH: " and errno. */
kt_status_t init_cannot(cli_t *cli, const char *verb, const char *path);
kt_status_t init_status(int error); /* the status for an errno */
/* Reports that the file is in the way. */
kt_status_t init_exists(cli_t *cli, const char *path);
kt_status_t init_mkdir(cli_t *cli, const char *path); /* mode 0700 */
/* Writes a new file, and removes it again if it is not complete. */
kt_status_t init_write(cli_t *cli, const char *path, mode_t mode, const char *text);
kt_status_t init_write_bytes(cli_t *cli, const char *path, mode_t mode, const void *bytes,
                             size_t size);
kt_status_t init_key(cli_t *cli, const char *path, const char *environment); /* makes a key */
kt_status_t init_store(cli_t *cli); /* makes the store that cli->setup names */
/* Renames what is complete: the last step. */
kt_status_t init_publish(cli_t *cli, const char *folder, const char *from, const char *to);
/* Flushes stdout: an audit key that the caller could not see would be lost. */
kt_status_t init_flush(cli_t *cli);
/* The answer to --json; `audit_key` may be NULL. */
kt_status_t init_answer(cli_t *cli, const char *environment, const char *config,
                        const char *audit_key);

/* ---- config.c ---- */

/* --environment, else $ENVIRONMENT, in full. */
kt_status_t init_environment(cli_t *cli, const char **ret_environment);
/* Writes a new file of mode 0600. */
kt_status_t init_config(cli_t *cli, const char *path, const init_config_t *values);

/* ---- audit.c ---- */

/* The absolute path of --audit-key; "" if the option is missing. */
kt_status_t init_audit_path(cli_t *cli, char path[PATH_MAX]);
/*
 * Makes an audit key and writes it to the new file `path`; with "" init shows it once. With --quiet
 * and no file there is no key, and `line` is empty. The caller wipes `line`.
 */
kt_status_t init_audit_key(cli_t *cli, init_work_t *work, const char *path,
                           char line[KT_AUDIT_KEY_LINE]);
/* Reads the audit key of --audit-key, which must exist; "" without that option. */
kt_status_t init_read_audit_key(cli_t *cli, char line[KT_AUDIT_KEY_LINE]);
/* Begins the stream in `folder` with the key. Without a key the first line will begin it. */
kt_status_t init_stream(cli_t *cli, const char *folder, const char *environment, const char *stream,
                        const char *line);
void init_print_audit_key(const char *line);

/* ---- system.c ---- */

kt_status_t init_system(cli_t *cli);

#endif /* KEYTURN_INIT_H */

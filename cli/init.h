/* SPDX-License-Identifier: BSD-2-Clause */
/* What `init DIR` and `init --system` share. */
#ifndef KEYTURN_INIT_H
#define KEYTURN_INIT_H

#include "cli.h"

/* All as they stand in YAML: `key` whole, the paths inside double quotes. */
typedef struct init_config {
    const char *environment, *key, *key_file, *store, *audit;
} init_config_t;

/* --environment, else $ENVIRONMENT, in full */
kt_status_t init_environment(cli_t *cli, const char **ret_environment);
/* a new file, mode 0600 */
kt_status_t init_config(cli_t *cli, const char *path, const init_config_t *values);
kt_status_t init_status(int error);                                     /* of an errno */
/*
 * A new audit key: into the file of --audit-key, which is new (*ret_file; NULL: not given), else for init to tell once. With --quiet and no
 * file there is none, and `line` is empty. Wipe it.
 */
kt_status_t init_audit_key(cli_t *cli, char line[KT_AUDIT_KEY_LINE], const char **ret_file);
/* The stream in `folder` begins under the key; without one when its first line is written. */
kt_status_t init_stream(cli_t *cli, const char *folder, const char *environment, const char *stream,
                        const char *line);
void init_tell_audit_key(const char *line);  /* on stdout */
void init_empty(const char *folder);  /* to take back what was made: removes all that is in it */
kt_status_t init_system(cli_t *cli);                                    /* init_system.c */

#endif /* KEYTURN_INIT_H */

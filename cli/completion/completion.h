/* SPDX-License-Identifier: BSD-2-Clause */
/* completion.h: what the files of this folder share. */
#ifndef KEYTURN_CLI_COMPLETION_H
#define KEYTURN_CLI_COMPLETION_H

#include "cli.h"

/* Pairs of a shell's name and its script; the last one is NULL. */
extern const char *const completion_shells[][2];

/* Prints the candidates for the last of the words after `keyturn`, which is being typed. */
kt_status_t completion_words(cli_t *cli, int count, char **words);

#endif /* KEYTURN_CLI_COMPLETION_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/* check.c, check_users.c, check_unit.c: what the parts of `keyturn check` know of each other. */
#ifndef KEYTURN_CHECK_H
#define KEYTURN_CHECK_H

#include "hosts.h"

/* A kt_check_fn: one row of the array `arg`. A command in `...` at the end of the text is also the
 * row's `fix`. */
void check_collect(void *arg, kt_status_t status, const char *what, const char *detail);
kt_status_t check_worse(kt_status_t a, kt_status_t b);
/* Before the context is opened: root's look at each server's user. The worst status. */
kt_status_t check_users(cli_t *cli, json_t *rows);
/* May the unit of this host write its stream? */
kt_status_t check_unit(cli_t *cli, const cli_host_t *host, json_t *rows);

#endif /* KEYTURN_CHECK_H */

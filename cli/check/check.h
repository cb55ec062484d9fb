/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of `keyturn check`. */
#ifndef KEYTURN_CHECK_H
#define KEYTURN_CHECK_H

#include "hosts.h"

/* users.c: as root, checks each server's user, before the context is opened. The worst status. */
kt_status_t check_users(cli_t *cli, json_t *rows);
/* streams.c: as root, checks that the group of auditors may read each audit log, and no other
 * group.
 */
kt_status_t check_streams(cli_t *cli, json_t *rows);
/* unit.c: checks that the unit of this server may write to its stream. */
kt_status_t check_unit(cli_t *cli, const cli_host_t *host, json_t *rows);
/* running.c: as root, names the servers that still run a library that was replaced. */
kt_status_t check_running(cli_t *cli, json_t *rows);
/* secrets.c: warns about secrets that are weak, shared, unused or read very often. */
kt_status_t check_secrets(cli_t *cli, json_t *rows);

/* refused.c: warns about sources that are locked out, and about servers that are refused what their
 * own configuration asks for. */
kt_status_t check_refused(cli_t *cli, json_t *rows);

#endif /* KEYTURN_CHECK_H */

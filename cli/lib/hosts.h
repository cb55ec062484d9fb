/* SPDX-License-Identifier: BSD-2-Clause */
/* The servers that `init --system` and `check` know: under which user, with which types, from
 * where. */
#ifndef KEYTURN_HOSTS_H
#define KEYTURN_HOSTS_H

#include <pwd.h>

#include "cli.h"

#define CLI_READERS "keyturn"
#define CLI_WRITERS "keyturn-write"

typedef struct cli_host {
    const char *name, *user, *program; /* it is there if both user and program are */
    const char *types;                 /* its key file opens no others */
    bool writes;                       /* the store */
    bool as_root;                      /* what reads configuration and keys is root */
    const char *unit;                  /* of systemd; NULL: no single one */
} cli_host_t;

extern const cli_host_t cli_hosts[]; /* ends with a name NULL */

/* NULL: it is not installed. Until the next getpw...(). */
const struct passwd *cli_host_user(const cli_host_t *host);

#endif /* KEYTURN_HOSTS_H */

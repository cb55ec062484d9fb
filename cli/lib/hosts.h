/* SPDX-License-Identifier: BSD-2-Clause */
/* The servers that `init --system` and `check` know, with their users, types and programs. */
#ifndef KEYTURN_HOSTS_H
#define KEYTURN_HOSTS_H

#include <pwd.h>

#include "cli.h"

#define CLI_READERS "keyturn"
#define CLI_WRITERS "keyturn-write"
#define CLI_AUDITORS "keyturn-audit"

typedef struct cli_host {
    const char *name, *user, *program; /* installed if both the user and the program exist */
    const char *types;                 /* the types that its key file opens */
    bool writes;                       /* it writes to the store */
    bool as_root;                      /* it reads configuration and keys as root */
    const char *unit;                  /* of systemd */
    const char *service;               /* for service(8) */
    const char *process;               /* the name of its processes */
    const char *remark;                /* what check says about its secrets; NULL: nothing */
    const char *worker;                /* the subject of its worker, which finishes rotations */
} cli_host_t;

extern const cli_host_t cli_hosts[]; /* the name of the last is NULL */

/* The server's user; NULL: the server is not installed. Valid until the next getpw...(). */
const struct passwd *cli_host_user(const cli_host_t *host);

#endif /* KEYTURN_HOSTS_H */

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

/* The name of the last is NULL. Rows of one name are programs that may stand for each other, as
 * Valkey for Redis: they would share a stream and a key file, so one of them is in use. */
extern const cli_host_t cli_hosts[];

/* The server's user; NULL: the server is not installed. Valid until the next getpw...(). */
const struct passwd *cli_host_user(const cli_host_t *host);

/* Is this row the one in use for its name? It is the one whose user is `owner` (NULL: not known),
 * else the first that is installed. Calls getpwnam(). */
bool cli_host_counts(const cli_host_t *host, const char *owner);

#endif /* KEYTURN_HOSTS_H */

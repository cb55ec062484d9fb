/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of servers. */
#include <unistd.h>

#include "hosts.h"

const cli_host_t cli_hosts[] = {
    {.name = "nginx",
     .user = "www-data",
     .program = "/usr/sbin/nginx",
     .types = "api-keys,tls",
     .as_root = true,
     .unit = "nginx.service",
     .service = "nginx",
     .process = "nginx"},
    {.name = "redis",
     .user = "redis",
     .program = "/usr/bin/redis-server",
     .types = "api-keys",
     .unit = "redis-server.service",
     .service = "redis-server",
     .process = "redis-server",
     .remark = "secrets set in Redis are stored in Redis: keyturn list, verify and backup do not "
               "see them, so keep copies of its AOF or RDB files"},
    {.name = "postgresql",
     .user = "postgres",
     .program = "/usr/lib/postgresql",
     .types = "database",
     .writes = true,
     .unit = "postgresql@.service",
     .service = "postgresql",
     .process = "postgres",
     .worker = "postgresql:worker"},
    {.name = NULL},
};

const struct passwd *cli_host_user(const cli_host_t *host)
{
    return access(host->program, F_OK) == 0 ? getpwnam(host->user) : NULL;
}

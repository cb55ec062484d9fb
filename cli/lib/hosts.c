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
     .unit = "nginx.service"},
    {.name = "redis",
     .user = "redis",
     .program = "/usr/bin/redis-server",
     .types = "api-keys",
     .unit = "redis-server.service"},
    {.name = "postgresql",
     .user = "postgres",
     .program = "/usr/lib/postgresql",
     .types = "database",
     .writes = true,
     .unit = "postgresql@.service",
     .worker = "postgresql:worker"},
    {.name = NULL},
};

const struct passwd *cli_host_user(const cli_host_t *host)
{
    return access(host->program, F_OK) == 0 ? getpwnam(host->user) : NULL;
}

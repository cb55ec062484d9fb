/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of servers. */
#include <string.h>
#include <unistd.h>

#include "hosts.h"

#define REDIS_REMARK                                                                               \
    "secrets set in Redis are stored in Redis: keyturn list, verify and backup do not see them, "  \
    "so "                                                                                          \
    "keep copies of its AOF or RDB files"

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
     .remark = REDIS_REMARK},
    {.name = "redis",
     .user = "valkey",
     .program = "/usr/bin/valkey-server",
     .types = "api-keys",
     .unit = "valkey-server.service",
     .service = "valkey-server",
     .process = "valkey-server",
     .remark = REDIS_REMARK},
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

bool cli_host_counts(const cli_host_t *host, const char *owner)
{
    const cli_host_t *in_use = NULL;

    for (const cli_host_t *other = cli_hosts; other->name; other++) {
        if (strcmp(other->name, host->name) != 0)
            continue;
        if (owner && strcmp(other->user, owner) == 0)
            return other == host;
        if (!in_use && cli_host_user(other))
            in_use = other;
    }
    return in_use == host;
}

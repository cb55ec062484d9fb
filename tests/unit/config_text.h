/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the configuration share. */
#ifndef KT_TEST_CONFIG_H
#define KT_TEST_CONFIG_H

#include "unit.h"

#include "config/parse.h"

#define PATH "/etc/keyturn/keyturn.yaml"

/* Everything that may stand in a configuration. */
static const char whole[] =
    "# a comment\n"
    "environment: prod\n"
    "key: {cli: file:admin.key, nginx: 'credential:keyturn'}\n"
    "providers:\n"
    "  local:\n"
    "    path: production.db\n"
    "    keep_versions: 10\n"
    "  env:\n"
    "  vault: {address: \"https://vault:8200\"}\n"
    "switch:\n"
    "  database/*: vault [UNAVAIL=continue TRYAGAIN=return] local\n"
    "  \"*\": local env [NOTFOUND=return\n"
    "       NOKEY=continue] vault[GONE = continue FORBIDDEN=continue\n"
    "       MALFORMED=continue]\n"
    "cache: {ttl: 10m, negative: 0, stale: 2d, size: 768K}\n"
    "policy:\n"
    "  - {who: 'nginx:*', allow: [read], names: ['api-keys/*', tls/www]}\n"
    "  - who: uid:root\n"
    "    names: ['*']\n"
    "    allow: [read, write, rotate, list, delete, admin]\n"
    "    deny: [delete]\n"
    "audit: {path: audit, required: false, reads: 250ms}\n"
    "secret_memory: require\n"
    "targets:\n"
    "  database/reporting: {exec: \"/opt/rotate  --now\", old: true, whole: true,\n"
    "                       test: false, timeout: 5m}\n"
    "  \"database/*\": {exec: [/opt/rotate, a b], notify: /opt/tell}\n";

static inline kt_status_t parse(const char *text, kt_config_t **ret_config)
{
    *ret_config = NULL;
    kt_failure_clear();
    return kt_config_parse(PATH, text, strlen(text), ret_config);
}

#endif /* KT_TEST_CONFIG_H */

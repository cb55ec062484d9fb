/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn set NAME: stores a new version. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Splits a copy of each --meta K=V; the caller frees the keys. K= removes the key. */
static kt_status_t parse_meta(cli_t *cli, kt_meta_t *meta, size_t *ret_count)
{
    size_t n = 0;

    for (size_t i = 0; i < cli->ngiven; i++) {
        char *key, *value;

        if (strcmp(cli->given[i].option->name, "meta") != 0)
            continue;
        key = strdup(cli->given[i].value);
        if (!key)
            return cli_no_memory(cli);
        meta[n++].key = key;
        *ret_count = n;
        value = strchr(key, '=');
        if (!value || value == key)
            return cli_fail(cli, KT_USAGE, "--meta needs K=V");
        *value++ = '\0';
        meta[n - 1].value = *value ? value : NULL;
    }
    return KT_SUCCESS;
}

/* A weak value is stored anyway: another service may have issued it. For the same reason a value
 * that is only shorter than recommended is left to `check --secrets`. */
static void warn_of_weakness(const cli_t *cli, const char *name, const char *field,
                             const kt_secret_t *value)
{
    kt_secret_t *part = NULL;
    kt_strength_t kind;
    char text[360];

    if (kt_strength_part(name, field, value, &kind, &part) == KT_SUCCESS &&
        cli_weakness(part, kind, KT_WEAK_BELOW, text, sizeof text))
        cli_warn(cli, "the value is weak: %s", text);
    kt_secret_free(part);
}

kt_status_t verb_set(cli_t *cli)
{
    kt_put_options_t options = KT_PUT_INIT;
    kt_request_t req;
    kt_meta_t meta[CLI_GIVEN_MAX] = {{0}};
    kt_secret_t *value = NULL;
    const char *name = cli->args[0], *why = "";
    uint64_t cas = 0, version = 0;
    kt_status_t status;

    /* errors in the command come before the prompt for a value */
    if (kt_name_check(name, 0, &why) != KT_SUCCESS)
        return cli_fail(cli, KT_USAGE, "not a name: %s", why);
    status = cli_number(cli, "cas", 0, UINT64_MAX, &cas);
    if (!status)
        status = cli_expires(cli, &options.expires);
    if (!status)
        status = parse_meta(cli, meta, &options.nmeta);
    if (!status)
        status = cli_open_for(cli, name, &req);
    if (!status)
        status = cli_read_value(cli, name, cli_given(cli, "file"), &value);
    if (status)
        goto out;

    options.field = cli_given(cli, "field");
    options.meta = meta;
    options.cas = cli_given(cli, "cas") ? (int64_t)cas : -1;
    status = kt_put(cli->ctx, &req, value, &options, &version);
    status = status ? cli_check_ctx(cli, status) : cli_answer_version(cli, name, version);
    if (!status)
        warn_of_weakness(cli, name, options.field, value);
out:
    kt_secret_free(value);
    for (size_t i = 0; i < CLI_GIVEN_MAX; i++)
        free((char *)meta[i].key);
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn set NAME: stores a new version. */
#include "cli.h"

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
    cli_meta_t meta = {.count = 0};
    kt_request_t req;
    kt_secret_t *value = NULL;
    const char *name = cli->args[0];
    uint64_t cas = 0, version = 0;
    kt_status_t status;

    /* errors in the command, and refusals that do not depend on it, come before the prompt for a
     * value */
    status = cli_check_name(cli, name);
    if (!status)
        status = cli_number(cli, "cas", 0, UINT64_MAX, &cas);
    if (!status)
        status = cli_expires(cli, &options.expires);
    if (!status)
        status = cli_meta(cli, &meta);
    if (!status)
        status = cli_open_for(cli, name, &req);
    if (status)
        goto out;
    options.field = cli_given(cli, "field");
    options.meta = meta.entries;
    options.nmeta = meta.count;
    options.cas = cli_given(cli, "cas") ? (int64_t)cas : -1;
    options.force = cli_given(cli, "force") != NULL;
    status = cli_check_ctx(cli, kt_put_check(cli->ctx, &req, &options));
    if (!status)
        status = cli_read_value(cli, name, cli_given(cli, "file"), &value);
    if (status)
        goto out;
    status = kt_put(cli->ctx, &req, value, &options, &version);
    status = status ? cli_check_ctx(cli, status) : cli_answer_version(cli, name, version);
    if (!status) {
        cli_warn_newline(cli, value);
        warn_of_weakness(cli, name, options.field, value);
    }
out:
    kt_secret_free(value);
    cli_meta_free(&meta);
    return status;
}

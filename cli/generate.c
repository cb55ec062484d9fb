/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn generate NAME: a new secret with a random value. */
#include <errno.h>

#include "cli.h"

#define LENGTH 32u
#define LENGTH_UUID 36u

static kt_status_t make_value(cli_t *cli, kt_secret_t **ret_value)
{
    kt_alphabet_t alphabet = KT_ALPHABET_ALNUM;
    size_t length = 0;
    kt_status_t status = cli_made_up(cli, &length, &alphabet);

    if (status)
        return status;
    if (length == 0)
        length = alphabet == KT_ALPHABET_UUID ? LENGTH_UUID : LENGTH;
    *ret_value = kt_generate(alphabet, length);
    if (*ret_value)
        return KT_SUCCESS;
    return errno == EINVAL
               ? cli_fail(cli, KT_USAGE, "no value of this length and alphabet can be generated")
               : cli_no_memory(cli);
}

kt_status_t verb_generate(cli_t *cli)
{
    kt_put_options_t options = KT_PUT_INIT;
    cli_meta_t meta = {.count = 0};
    kt_request_t req;
    kt_secret_t *value = NULL;
    const char *name = cli->args[0];
    uint64_t version = 0;
    kt_status_t status = cli_check_name(cli, name);

    if (!status)
        status = cli_meta(cli, &meta);
    if (!status)
        status = make_value(cli, &value);
    if (!status)
        status = cli_open_for(cli, name, &req);
    if (status)
        goto out;
    options.field = cli_given(cli, "field");
    options.meta = meta.entries;
    options.nmeta = meta.count;
    options.origin = "generated";
    options.fresh = 1;
    status = kt_put(cli->ctx, &req, value, &options, &version);
    status = status ? cli_check_ctx(cli, status) : cli_answer_version(cli, name, version);
out:
    kt_secret_free(value);
    cli_meta_free(&meta);
    return status;
}

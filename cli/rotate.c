/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn rotate NAME: a new random value, or one from a file, as the secret's shape wants it. */
#include <string.h>

#include "cli.h"

static kt_status_t take_options(cli_t *cli, kt_rotate_options_t *options)
{
    const char *alphabet = cli_given(cli, "alphabet");
    uint64_t length = 0;
    kt_status_t status = cli_number(cli, "length", 16, 1024, &length);
    int number = KT_ALPHABET_ALNUM;

    if (status)
        return status;
    if (alphabet)
        number = kt_alphabet_parse(alphabet);
    if (number < 0)
        return cli_fail(cli, KT_USAGE, "--alphabet is alnum, urlsafe, symbols, hex or uuid");
    if (cli_given(cli, "file") && (alphabet || length))
        return cli_fail(cli, KT_USAGE,
                        "--file brings the value: --length and --alphabet are for a random one");
    if (number == KT_ALPHABET_UUID && length && length != 36)
        return cli_fail(cli, KT_USAGE, "a uuid has 36 characters");
    options->length = (size_t) length;
    options->alphabet = (kt_alphabet_t) number;
    options->store_only = cli_given(cli, "store-only") != NULL;
    return KT_SUCCESS;
}

kt_status_t verb_rotate(cli_t *cli)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_secret_t *value = NULL;
    const char *name = cli->args[0], *why = "";
    kt_request_t req;
    uint64_t version = 0;
    kt_status_t status;

    if (kt_name_check(name, 0, &why) != KT_SUCCESS)
        return cli_fail(cli, KT_USAGE, "not a name: %s", why);
    status = take_options(cli, &options);
    if (!status)
        status = cli_open(cli);
    if (!status && cli_given(cli, "file"))
        status = cli_read_value(cli, name, cli_given(cli, "file"), &value);
    if (status)
        goto out;
    options.value = value;
    req = cli_request(cli, name);
    status = kt_rotate(cli->ctx, &req, &options, &version);
    status = status ? cli_fail_ctx(cli, status) : cli_answer_version(cli, name, version);
out:
    kt_secret_free(value);
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn keygen OUT: a new key, the configuration's key with one more epoch, the keys of some
 * types for a host that needs no others, a pair of keys for backups, or the start of an audit
 * stream. */
#include <stdio.h>

#include "cli.h"

static kt_status_t keygen_types(cli_t *cli, const char *types, const char *out)
{
    kt_status_t status = cli_setup(cli);

    return status ? status : cli_check_setup(cli, kt_keygen_types(cli->setup, types, out));
}

static kt_status_t keygen_epoch(cli_t *cli, const char *out)
{
    kt_secret_t *passphrase = NULL;
    kt_status_t status = cli_setup(cli);

    if (!status)
        status = cli_passphrase(cli, &passphrase);
    if (status)
        return status;
    status = kt_keygen_epoch(cli->setup, passphrase, out);
    kt_secret_free(passphrase);
    return cli_check_setup(cli, status);
}

/* The configuration only has to name the environment: its key may be the one that we make. */
static kt_status_t environment_of(cli_t *cli, const char **ret_environment)
{
    const char *given = cli_given(cli, "environment");

    if (!given) {
        kt_status_t configured = kt_setup(cli->config, "cli", &cli->setup);

        given = cli->setup ? kt_setup_environment(cli->setup) : NULL;
        if (!given)
            return cli_fail(cli, configured ? configured : KT_CONFIG, "no --environment, and %s",
                            cli->setup ? kt_setup_error(cli->setup) : "out of memory");
    }
    return cli_check_environment(cli, given, ret_environment);
}

static kt_status_t keygen_new(cli_t *cli, const char *out)
{
    kt_secret_t *passphrase = NULL;
    const char *environment;
    char error[512] = "";
    kt_status_t status = environment_of(cli, &environment);

    if (!status)
        status = cli_passphrase(cli, &passphrase);
    if (status)
        return status;
    status = kt_keygen_passphrase(out, environment, passphrase, error, sizeof error);
    kt_secret_free(passphrase);
    return cli_check(cli, status, error);
}

static kt_status_t keygen_stream(cli_t *cli, const char *stream, const char *out)
{
    const char *key = cli_given(cli, "audit-key"), *environment;
    char error[512] = "";
    kt_status_t status = environment_of(cli, &environment);

    if (!status)
        status = kt_audit_start(out, environment, stream, key, error, sizeof error);
    return cli_check(cli, status, error);
}

/* It needs no environment: the recipient keeps the backups of any. */
static kt_status_t keygen_recipient(cli_t *cli, const char *out)
{
    char error[512] = "";

    return cli_check(cli, kt_keygen_recipient(out, error, sizeof error), error);
}

kt_status_t verb_keygen(cli_t *cli)
{
    const char *types = cli_given(cli, "types"), *stream = cli_given(cli, "stream"),
               *out = cli->args[0];
    bool epoch = cli_given(cli, "epoch") != NULL;
    kt_status_t status;

    if (!stream != !cli_given(cli, "audit-key") ||
        (stream && (types || epoch || cli_given(cli, "passphrase"))))
        return cli_fail(cli, KT_USAGE,
                        "--stream and --audit-key need each other, and exclude --types, --epoch "
                        "and --passphrase");
    if (epoch && (types || cli_given(cli, "environment")))
        return cli_fail(cli, KT_USAGE,
                        "--epoch takes the configuration's key as it is: leave out --%s",
                        types ? "types" : "environment");
    if (types && cli_given(cli, "passphrase"))
        return cli_fail(cli, KT_USAGE, "a file of type keys cannot have a passphrase");
    if (types && cli_given(cli, "environment"))
        return cli_fail(cli, KT_USAGE,
                        "--types takes the configuration's environment: leave out --environment");
    if (cli_given(cli, "recipient"))
        status = cli->ngiven > 1
                     ? cli_fail(cli, KT_USAGE, "--recipient excludes the other options of keygen")
                     : keygen_recipient(cli, out);
    else if (stream)
        status = keygen_stream(cli, stream, out);
    else if (epoch)
        status = keygen_epoch(cli, out);
    else
        status = types ? keygen_types(cli, types, out) : keygen_new(cli, out);
    if (status)
        return status;
    return cli->json ? cli_answer(cli, json_pack("{s:s}", "file", out)) : KT_SUCCESS;
}

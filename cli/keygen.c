/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn keygen OUT: a new key, the configuration's with one more epoch, the keys of some types
 * for a host that needs no others, a pair of keys for backups, or the start of a stream of the
 * trail. */
#include <stdio.h>

#include "cli.h"

/* The keys of the types that a host needs, out of the key that the configuration names. */
static kt_status_t keygen_types(cli_t *cli, const char *types, const char *out)
{
    kt_status_t status = cli_setup(cli);

    if (status)
        return status;
    status = kt_keygen_types(cli->setup, types, out);
    return status ? cli_fail_setup(cli, status) : KT_SUCCESS;
}

/* The key that the configuration names, and one more epoch of it. */
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
    return status ? cli_fail_setup(cli, status) : KT_SUCCESS;
}

/* A configuration that names the environment is enough: its key may be what is made here. */
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
    *ret_environment = cli_environment(given);
    if (!*ret_environment)
        return cli_fail(cli, KT_USAGE,
                        "not a name for an environment: letters, digits and . _ - only");
    return KT_SUCCESS;
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
    if (status)
        cli_fail(cli, status, "%s", error[0] ? error : kt_status_text(status));
    return status;
}

static kt_status_t keygen_stream(cli_t *cli, const char *stream, const char *out)
{
    const char *key = cli_given(cli, "audit-key"), *environment;
    char error[512] = "";
    kt_status_t status = environment_of(cli, &environment);

    if (status)
        return status;
    status = kt_audit_start(out, environment, stream, key, error, sizeof error);
    return status ? cli_fail(cli, status, "%s", error) : KT_SUCCESS;
}

/* Of no environment: it is for whoever keeps the backups. */
static kt_status_t keygen_recipient(cli_t *cli, const char *out)
{
    char error[512] = "";
    kt_status_t status = kt_keygen_recipient(out, error, sizeof error);

    return status ? cli_fail(cli, status, "%s", error) : KT_SUCCESS;
}

kt_status_t verb_keygen(cli_t *cli)
{
    const char *types = cli_given(cli, "types"), *stream = cli_given(cli, "stream"),
               *out = cli->args[0];
    bool epoch = cli_given(cli, "epoch") != NULL;
    kt_status_t status;

    if (!stream != !cli_given(cli, "audit-key") ||
        (stream && (types || epoch || cli_given(cli, "passphrase"))))
        return cli_fail(
            cli, KT_USAGE,
            "--stream and --audit-key go together, and without --types, --epoch and --passphrase");
    if (epoch && (types || cli_given(cli, "environment")))
        return cli_fail(cli, KT_USAGE,
                        "--epoch takes the configuration's key as it is: leave out --%s",
                        types ? "types" : "environment");
    if (types && cli_given(cli, "passphrase"))
        return cli_fail(cli, KT_USAGE, "a file of type keys is under no passphrase");
    if (types && cli_given(cli, "environment"))
        return cli_fail(cli, KT_USAGE,
                        "--types takes the configuration's environment: leave out --environment");
    if (cli_given(cli, "recipient"))
        status = cli->ngiven > 1
                     ? cli_fail(cli, KT_USAGE, "--recipient goes with no other option of keygen")
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

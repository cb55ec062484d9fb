/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn hash: makes a hash, or compares a value with one. */
#include <stdio.h>

#include "cli.h"

static kt_status_t fail(cli_t *cli, kt_status_t status)
{
    if (status == KT_DENIED)
        return cli_fail(cli, status, "the value is not the one that was hashed");
    if (status == KT_MALFORMED)
        return cli_fail(cli, status,
                        "not a hash that can be checked (an Argon2id string, or the hex "
                        "of a PBKDF2 salt and key)");
    return cli_check(cli, status, NULL);
}

kt_status_t verb_hash(cli_t *cli)
{
    const char *path = cli_given(cli, "check");
    char known[512] = "", hash[KT_HASH_MAX] = "";
    kt_secret_t *value = NULL;
    kt_status_t status = KT_SUCCESS;

    if (path)
        status = cli_read_line(cli, path, known, sizeof known);
    if (!status && path && !known[0])
        status = cli_fail(cli, KT_MALFORMED, "%s: has no hash on its first line", path);
    if (!status)
        status = cli_read_value(cli, "the hash", cli_given(cli, "file"), &value);
    if (status)
        return status;
    status = path ? kt_hash_check(value, known, hash) : kt_hash(value, hash);
    cli_warn_newline(cli, value);
    kt_secret_free(value);
    if (status)
        return fail(cli, status);
    if (cli->json)
        return cli_answer(cli,
                          json_pack("{s:s?}", path ? "upgraded" : "hash", hash[0] ? hash : NULL));
    if (hash[0])
        printf("%s\n", hash);
    return KT_SUCCESS;
}

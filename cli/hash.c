/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn hash: what recognises a value and does not show it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* The hash that stands on the first line of a file, which is not secret. */
static kt_status_t read_hash(cli_t *cli, const char *path, char *hash, int size)
{
    FILE *file = fopen(path, "re");
    bool got;

    if (!file)
        return cli_fail(cli, errno == EACCES ? KT_PERMISSION : KT_USAGE, "cannot open %s: %s", path,
                        strerror(errno));
    got = fgets(hash, size, file) != NULL;
    fclose(file);
    if (!got)
        return cli_fail(cli, KT_MALFORMED, "%s: holds no hash", path);
    hash[strcspn(hash, "\r\n")] = '\0';
    return KT_SUCCESS;
}

/* The text that went wrong is the library's, in words that name no value. */
static kt_status_t fail(cli_t *cli, kt_status_t status)
{
    if (status == KT_DENIED)
        return cli_fail(cli, status, "the value is not the one that was hashed");
    if (status == KT_MALFORMED)
        return cli_fail(cli, status,
                        "no hash that can be checked: an Argon2id string, or the hex "
                        "of a PBKDF2 salt and key");
    return cli_fail(cli, status, "%s", kt_status_text(status));
}

kt_status_t verb_hash(cli_t *cli)
{
    const char *path = cli_given(cli, "check");
    char known[512] = "", hash[KT_HASH_MAX] = "";
    kt_secret_t *value = NULL;
    kt_status_t status = KT_SUCCESS;

    if (path)
        status = read_hash(cli, path, known, sizeof known);
    if (!status)
        status = cli_read_value(cli, "the hash", cli_given(cli, "file"), &value);
    if (status)
        return status;
    status = path ? kt_hash_check(value, known, hash) : kt_hash(value, hash);
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

/* SPDX-License-Identifier: BSD-2-Clause */
/* Metadata and made-up values on the command line: what set, generate, meta and rotate share. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

kt_status_t cli_meta_add(cli_t *cli, cli_meta_t *meta, const char *text, const char *what)
{
    kt_meta_t *entry = &meta->entries[meta->count];
    char *key, *value;

    if (meta->count == CLI_GIVEN_MAX)
        return cli_fail(cli, KT_USAGE, "there are more than %d metadata entries", CLI_GIVEN_MAX);
    key = strdup(text);
    if (!key)
        return cli_no_memory(cli);
    entry->key = key;
    meta->count++;
    value = strchr(key, '=');
    if (!value || value == key)
        return cli_fail(cli, KT_USAGE, "%s needs K=V", what);
    *value++ = '\0';
    entry->value = *value ? value : NULL;
    return KT_SUCCESS;
}

kt_status_t cli_meta(cli_t *cli, cli_meta_t *meta)
{
    kt_status_t status = KT_SUCCESS;

    for (size_t i = 0; i < cli->ngiven && !status; i++)
        if (strcmp(cli->given[i].option->name, "meta") == 0)
            status = cli_meta_add(cli, meta, cli->given[i].value, "--meta");
    return status;
}

void cli_meta_free(cli_meta_t *meta)
{
    for (size_t i = 0; i < meta->count; i++)
        free((char *)meta->entries[i].key);
}

kt_status_t cli_made_up(cli_t *cli, size_t *ret_length, kt_alphabet_t *ret_alphabet)
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
        return cli_fail(cli, KT_USAGE, "--alphabet must be alnum, urlsafe, symbols, hex or uuid");
    if (number == KT_ALPHABET_UUID && length && length != 36)
        return cli_fail(cli, KT_USAGE, "--length must be 36 for a uuid: leave it out");
    *ret_length = (size_t)length;
    *ret_alphabet = (kt_alphabet_t)number;
    return KT_SUCCESS;
}

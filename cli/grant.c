/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn grant HOST|USER TYPE...: more types for the key file of a server or of a user. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* "nginx" names itself, "deploy" the stream cli-deploy. */
static void stream_of(const cli_t *cli, const char *who, char *stream, size_t size)
{
    snprintf(stream, size, "cli-%s", who);
    if (cli_has_key(cli, who) || !cli_has_key(cli, stream))
        snprintf(stream, size, "%s", who);
}

static char *join(char *const *words, int count)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    if (!file)
        return NULL;
    for (int i = 0; i < count; i++)
        fprintf(file, "%s%s", i > 0 ? "," : "", words[i]);
    if (fclose(file) == 0)
        return text;
    free(text);
    return NULL;
}

kt_status_t verb_grant(cli_t *cli)
{
    char stream[128], held[8192] = "", *types;
    kt_status_t status = cli_setup(cli);

    if (status)
        return status;
    stream_of(cli, cli->args[0], stream, sizeof stream);
    types = join(cli->args + 1, cli->nargs - 1);
    if (!types)
        return cli_no_memory(cli);
    status = cli_check_setup(cli, kt_grant(cli->setup, stream, types, held, sizeof held));
    free(types);
    if (status)
        return status;
    if (cli->json)
        return cli_answer(cli, json_pack("{s:s, s:s}", "name", stream, "types", held));
    if (!cli->quiet)
        printf("%s may open the types %s%s.\n", stream, held,
               strncmp(stream, "cli-", 4) == 0 ? "" : "; restart it to give it its new key");
    return KT_SUCCESS;
}

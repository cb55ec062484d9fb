/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn init --system --restore BACKUP --key KEYFILE: a machine of which only its backup and key
 * are left. Groups, folders, key files and streams are made as for any machine; the environment's
 * key is the given one, and the store has what the backup has.
 */
#include <stdio.h>
#include <string.h>

#include "init_system.h"

#define WORD "\nenvironment "

/* The line "environment E" of the key file. */
static bool find_environment(const kt_secret_t *key, char *environment, size_t room)
{
    const char *text = (const char *)kt_secret_bytes(key), *line;
    size_t size = kt_secret_size(key), skip = strlen(WORD), length = 0;

    line = memmem(text, size, WORD, skip);
    if (!line || strncmp(text, "keyturn-key ", 12) != 0)
        return false;
    for (line += skip; line + length < text + size && !strchr(" \t\r\n", line[length]); length++)
        ;
    if (length == 0 || length >= room)
        return false;
    memcpy(environment, line, length);
    environment[length] = '\0';
    return true;
}

kt_status_t init_restore_given(init_system_t *s)
{
    cli_t *cli = s->cli;
    const char *key = cli_given(cli, "key");
    kt_status_t status;

    s->backup = cli_given(cli, "restore");
    if (!s->backup != !key || (!s->backup && cli_given(cli, "recipient-key")))
        return cli_fail(cli, KT_USAGE, "--restore BACKUP and --key KEYFILE need each other");
    if (!s->backup)
        return KT_SUCCESS;
    status = cli_read_value(cli, "the key file", key, &s->given_key);
    if (status)
        return status;
    if (!find_environment(s->given_key, s->found, sizeof s->found))
        return cli_fail(cli, KT_CONFIG, "%s: not a key file", key);
    if (cli_given(cli, "environment"))
        return KT_SUCCESS;
    return cli_check_environment(cli, s->found, &s->environment);
}

kt_status_t init_restore_key(init_system_t *s)
{
    return init_write_bytes(s->cli, s->key, 0600, kt_secret_bytes(s->given_key),
                            kt_secret_size(s->given_key));
}

kt_status_t init_restore_store(init_system_t *s)
{
    cli_t *cli = s->cli;
    kt_restore_options_t options = KT_RESTORE_INIT;
    kt_request_t req = cli_request(cli, "*");
    kt_status_t status = kt_open(cli->setup, &cli->ctx);
    kt_backup_count_t count = KT_BACKUP_COUNT_INIT;

    if (status)
        return cli_check_setup(cli, status);
    options.recipient_key = cli_given(cli, "recipient-key");
    cli_progress(cli);
    status = cli_check_ctx(cli, kt_restore_with(cli->ctx, &req, s->backup, &options, &count));
    cli_progress_end(cli);
    kt_close(cli->ctx); /* it writes everything before the last step */
    cli->ctx = NULL;
    init_point();
    return status;
}

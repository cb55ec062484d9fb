/* SPDX-License-Identifier: BSD-2-Clause */
/* The audit key that init makes and shows once, and the streams that begin with it. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "init.h"

kt_status_t init_audit_path(cli_t *cli, char path[PATH_MAX])
{
    const char *given = cli_given(cli, "audit-key");
    char copy[PATH_MAX], folder[PATH_MAX];

    path[0] = '\0';
    if (!given)
        return KT_SUCCESS;
    snprintf(copy, sizeof copy, "%s", given);
    if (strlen(given) >= sizeof copy || !realpath(dirname(copy), folder))
        return cli_fail(cli, init_status(strlen(given) < sizeof copy ? errno : ENAMETOOLONG),
                        "cannot write %s: its folder is not found", given);
    snprintf(copy, sizeof copy, "%s", given);
    if (snprintf(path, PATH_MAX, "%s/%s", folder, basename(copy)) >= PATH_MAX)
        return cli_fail(cli, KT_USAGE, "--audit-key: the path is too long");
    return KT_SUCCESS;
}

kt_status_t init_audit_key(cli_t *cli, init_work_t *work, const char *path,
                           char line[KT_AUDIT_KEY_LINE])
{
    char text[KT_AUDIT_KEY_LINE + 1];
    kt_status_t status;

    line[0] = '\0';
    if (!path[0] && cli->quiet)
        return KT_SUCCESS;
    status = kt_audit_keygen(line);
    if (status)
        return cli_check(cli, status, NULL);
    if (path[0])
        status = init_note(cli, work, path);
    snprintf(text, sizeof text, "%s\n", line);
    if (path[0] && !status)
        status = init_write(cli, path, 0600, text);
    explicit_bzero(text, sizeof text);
    return status;
}

/* It is kept elsewhere. If it is given, new streams begin with it. */
kt_status_t init_read_audit_key(cli_t *cli, char line[KT_AUDIT_KEY_LINE])
{
    const char *path = cli_given(cli, "audit-key");
    kt_status_t status;

    if (!path)
        return KT_SUCCESS;
    status = cli_read_line(cli, path, line, KT_AUDIT_KEY_LINE);
    if (!status && !line[0])
        status = cli_fail(cli, KT_USAGE, "%s: has no audit key on its first line", path);
    return status;
}

kt_status_t init_stream(cli_t *cli, const char *folder, const char *environment, const char *stream,
                        const char *line)
{
    char error[512] = "";
    kt_status_t status;

    if (!line[0])
        return KT_SUCCESS;
    status = kt_audit_start(folder, environment, stream, line, error, sizeof error);
    init_point();
    return cli_check(cli, status, error);
}

void init_print_audit_key(const char *line)
{
    printf("This line is the audit key. It is shown once and stored nowhere: keep it, but not on "
           "this\n"
           "machine. `keyturn audit verify --audit-key FILE` proves with it who wrote the audit "
           "logs.\n"
           "%s\n",
           line);
}

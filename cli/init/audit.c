/* SPDX-License-Identifier: BSD-2-Clause */
/* The audit key that init makes, shows once and does not keep, and the streams that begin under it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

static kt_status_t write_key(cli_t *cli, const char *path, const char *line)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t size = (ssize_t)strlen(line);
    int error;

    if (fd < 0)
        return cli_fail(cli, init_status(errno), "cannot write %s: %s", path, strerror(errno));
    if (write(fd, line, (size_t)size) == size && write(fd, "\n", 1) == 1 && fsync(fd) == 0) {
        close(fd);
        return KT_SUCCESS;
    }
    error = errno;
    close(fd);
    unlink(path);
    return cli_fail(cli, KT_NOSPACE, "cannot write %s: %s", path, strerror(error));
}

/* A later init may be started elsewhere. */
static kt_status_t note_file(cli_t *cli, const init_journal_t *journal, const char *path)
{
    char here[PATH_MAX] = "", whole[PATH_MAX];

    if (path[0] != '/' && !getcwd(here, sizeof here))
        return cli_fail(cli, init_status(errno), "cannot tell the present folder: %s",
                        strerror(errno));
    if (snprintf(whole, sizeof whole, "%s%s%s", here, here[0] ? "/" : "", path) >= PATH_MAX)
        return cli_fail(cli, KT_USAGE, "the path of the audit key is too long");
    return init_note(cli, journal, "file", whole);
}

kt_status_t init_audit_key(cli_t *cli, const init_journal_t *journal, char line[KT_AUDIT_KEY_LINE],
                           const char **ret_file)
{
    const char *path = cli_given(cli, "audit-key");
    kt_status_t status;

    *ret_file = NULL;
    line[0] = '\0';
    if (!path && cli->quiet)
        return KT_SUCCESS;
    status = kt_audit_keygen(line);
    if (status)
        return cli_fail(cli, status, "%s", kt_status_text(status));
    if (path)
        status = note_file(cli, journal, path);
    if (path && !status)
        status = write_key(cli, path, line);
    if (path && !status)
        *ret_file = path;
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
    return status ? cli_fail(cli, status, "%s", error) : KT_SUCCESS;
}

void init_tell_audit_key(const char *line)
{
    printf(
        "This line is the audit key. It is shown once and kept nowhere: keep it, but not on this\n"
        "machine. With it `keyturn audit verify --audit-key FILE` proves who wrote the trail.\n"
        "%s\n",
        line);
}

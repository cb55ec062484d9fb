/* SPDX-License-Identifier: BSD-2-Clause */
/* The steps that `init DIR` and `init --system` share. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

void init_point(void)
{
#ifdef KT_DEBUG_HOOKS
    static unsigned count;
    const char *wanted = getenv("KEYTURN_DEBUG_STOP");
    char name[32];

    snprintf(name, sizeof name, "init.%u:kill", count++);
    if (wanted && strcmp(wanted, name) == 0)
        raise(SIGKILL);
#endif
}

kt_status_t init_status(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return KT_PERMISSION;
    case EEXIST:
    case ENOTEMPTY:
        return KT_CONFLICT;
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP:
        return KT_USAGE;
    default:
        return KT_NOSPACE;
    }
}

kt_status_t init_cannot(cli_t *cli, const char *verb, const char *path)
{
    return cli_fail(cli, init_status(errno), "cannot %s %s: %s", verb, path, strerror(errno));
}

kt_status_t init_mkdir(cli_t *cli, const char *path)
{
    return mkdir(path, 0700) == 0 ? KT_SUCCESS : init_cannot(cli, "make", path);
}

kt_status_t init_exists(cli_t *cli, const char *path)
{
    return cli_fail(cli, KT_CONFLICT, "%s exists: init never overwrites anything", path);
}

kt_status_t init_write(cli_t *cli, const char *path, mode_t mode, const char *text)
{
    return init_write_bytes(cli, path, mode, text, strlen(text));
}

kt_status_t init_write_bytes(cli_t *cli, const char *path, mode_t mode, const void *bytes,
                             size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    kt_status_t status = KT_SUCCESS;

    if (fd < 0)
        return init_cannot(cli, "write", path);
    if (write(fd, bytes, size) != (ssize_t)size || fsync(fd) != 0) {
        status = cli_fail(cli, KT_NOSPACE, "cannot write %s: %s", path, strerror(errno));
        unlink(path);
    }
    close(fd);
    init_point();
    return status;
}

kt_status_t init_key(cli_t *cli, const char *path, const char *environment)
{
    char error[512] = "";
    kt_status_t status = kt_keygen(path, environment, error, sizeof error);

    init_point();
    return cli_check(cli, status, error);
}

kt_status_t init_store(cli_t *cli)
{
    kt_status_t status = kt_open(cli->setup, &cli->ctx);

    if (status)
        return cli_check_setup(cli, status);
    status = cli_check_ctx(cli, kt_create(cli->ctx));
    kt_close(cli->ctx); /* it writes everything before the last step */
    cli->ctx = NULL;
    init_point();
    return status;
}

/* ---- the last steps ---- */

kt_status_t init_answer(cli_t *cli, const char *environment, const char *config,
                        const char *audit_key)
{
    return cli_answer(cli, json_pack("{s:s, s:s, s:s*}", "environment", environment, "config",
                                     config, "audit_key", audit_key));
}

kt_status_t init_flush(cli_t *cli)
{
    init_point();
    if (fflush(stdout) == 0 && !ferror(stdout))
        return KT_SUCCESS;
    return cli_fail(cli, KT_NOSPACE, "cannot write the answer: %s", strerror(errno));
}

static void sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

kt_status_t init_publish(cli_t *cli, const char *folder, const char *from, const char *to)
{
    init_point();
    if (rename(from, to) != 0)
        return cli_fail(cli, init_status(errno), "cannot rename %s to %s: %s", from, to,
                        strerror(errno));
    sync_folder(folder);
    init_point();
    return KT_SUCCESS;
}

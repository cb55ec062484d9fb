/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads a value from stdin, a file or the terminal, straight into locked memory. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* Reads everything that `fd` holds. */
static kt_status_t read_all(cli_t *cli, int fd, const char *where, kt_secret_t *value,
                            size_t *ret_size)
{
    unsigned char *buffer = kt_secret_buffer(value), beyond;
    size_t size = 0;

    for (;;) {
        bool full = size == KT_VALUE_MAX;
        ssize_t n = read(fd, full ? &beyond : buffer + size, full ? 1 : KT_VALUE_MAX - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cli_fail(cli, errno == EISDIR ? KT_USAGE : KT_NOSPACE, "cannot read %s: %s",
                            where, strerror(errno));
        if (n == 0)
            break;
        if (full) {
            explicit_bzero(&beyond, 1);
            return cli_fail(cli, KT_TOOLARGE, "%s holds more than %u bytes", where, KT_VALUE_MAX);
        }
        size += (size_t)n;
    }
    *ret_size = size;
    return KT_SUCCESS;
}

/* Does the value end with the newline of `echo`? JSON, PEM and other texts of several lines rightly
 * end with one. */
static bool has_echo_newline(const kt_secret_t *value)
{
    const unsigned char *bytes = kt_secret_bytes(value);
    size_t size = kt_secret_size(value);

    return size > 0 && bytes[0] != '{' && memchr(bytes, '\n', size) == bytes + size - 1;
}

static kt_status_t read_fd(cli_t *cli, int fd, const char *where, kt_secret_t **ret_value)
{
    kt_secret_t *value = kt_secret_new(NULL, KT_VALUE_MAX);
    kt_status_t status;
    size_t size = 0;

    if (!value)
        return cli_no_memory(cli);
    status = read_all(cli, fd, where, value, &size);
    if (!status && size == 0)
        status = cli_fail(cli, KT_USAGE, "the value is empty");
    if (!status)
        status = kt_secret_resize(value, size);
    if (status) {
        kt_secret_free(value);
        return status;
    }
    *ret_value = value;
    return KT_SUCCESS;
}

kt_status_t cli_read_value(cli_t *cli, const char *name, const char *file, kt_secret_t **ret_value)
{
    kt_status_t status;
    int fd;

    if (!file && isatty(STDIN_FILENO))
        return cli_prompt(cli, STDIN_FILENO, name, ret_value);
    if (!file || strcmp(file, "-") == 0)
        return read_fd(cli, STDIN_FILENO, "stdin", ret_value);
    status = cli_open_file(cli, file, &fd);
    if (status)
        return status;
    status = read_fd(cli, fd, "the file", ret_value);
    close(fd);
    return status;
}

void cli_warn_newline(const cli_t *cli, const kt_secret_t *value)
{
    if (has_echo_newline(value))
        cli_warn(cli, "the value includes the newline at its end (printf %%s writes none)");
}

kt_status_t cli_passphrase(cli_t *cli, kt_secret_t **ret_passphrase)
{
    const char *file = cli_given(cli, "passphrase");

    *ret_passphrase = NULL;
    if (!file)
        return KT_SUCCESS;
    return cli_read_value(cli, "the passphrase", strcmp(file, "-") == 0 ? NULL : file,
                          ret_passphrase);
}

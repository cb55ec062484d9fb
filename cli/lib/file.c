/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads files: a whole one, or its first line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

kt_status_t cli_open_file(cli_t *cli, const char *path, int *ret_fd)
{
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*ret_fd >= 0)
        return KT_SUCCESS;
    return cli_fail(cli, errno == EACCES || errno == EPERM ? KT_PERMISSION : KT_USAGE,
                    "cannot open %s: %s", path, strerror(errno));
}

void cli_drop(char *text, size_t size)
{
    if (text)
        explicit_bzero(text, size);
    free(text);
}

kt_status_t cli_read_file(cli_t *cli, const char *path, size_t most, char **ret_text,
                          size_t *ret_size)
{
    char *text = NULL;
    size_t size = 0;
    struct stat st;
    ssize_t n = -1;
    int fd;
    kt_status_t status = cli_open_file(cli, path, &fd);

    if (status)
        return status;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uintmax_t)st.st_size > most)
        status = cli_fail(cli, KT_USAGE, "%s: not a file of at most %zu bytes", path, most);
    else if (!(text = malloc(most + 1)))
        status = cli_no_memory(cli);
    while (!status && size <= most &&
           ((n = read(fd, text + size, most + 1 - size)) > 0 || (n < 0 && errno == EINTR)))
        size += n > 0 ? (size_t)n : 0;
    if (!status && (n != 0 || size > most))
        status = cli_fail(cli, KT_USAGE, "%s: cannot be read, or is growing", path);
    close(fd);
    if (status) {
        cli_drop(text, size);
        return status;
    }
    text[size] = '\0';
    *ret_text = text;
    *ret_size = size;
    return KT_SUCCESS;
}

kt_status_t cli_read_line(cli_t *cli, const char *path, char *line, int size)
{
    int fd;
    kt_status_t status = cli_open_file(cli, path, &fd);
    FILE *file = status ? NULL : fdopen(fd, "r");

    if (status)
        return status;
    if (!file) {
        close(fd);
        return cli_no_memory(cli);
    }
    if (!fgets(line, size, file))
        line[0] = '\0';
    fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
    return KT_SUCCESS;
}

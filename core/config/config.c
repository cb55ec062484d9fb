/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config.c: reads the configuration file, if no other user can have written it, and holds the
 * result.
 *
 *     config.c bytes ──▶ yaml.c tree with lines ──▶ fields.c fields (routes.c routes)
 */
#include "option.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Life ---- */

kt_config_t *kt_config_ref(kt_config_t *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

void kt_config_unref(kt_config_t *config)
{
    if (config == NULL || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) != 1)
        return;
    kt_options_release(kt_config_options, config);
    free(config->folder);
    free(config->path);
    free(config);
}

/* ---- Reading ---- */

/* Links are not resolved: relative paths start in the folder that the caller named. */
static char *absolute(const char *path)
{
    char folder[PATH_MAX], *text;

    if (path[0] == '/')
        return strdup(path);
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    if (getcwd(folder, sizeof(folder)) == NULL)
        return NULL;
    if (asprintf(&text, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, path) < 0)
        return NULL;
    return text;
}

static kt_config_t *config_new(const char *path)
{
    kt_config_t *config = calloc(1, sizeof(*config));
    char *slash;

    if (config == NULL)
        return NULL;
    atomic_init(&config->refs, 1);
    config->path = absolute(path);
    config->folder = config->path != NULL ? strdup(config->path) : NULL;
    if (config->folder == NULL) {
        kt_config_unref(config);
        return NULL;
    }
    slash = strrchr(config->folder, '/');
    slash[slash == config->folder ? 1 : 0] = '\0';
    return config;
}

kt_status_t kt_config_parse(const char *path, const char *data, size_t size,
                            kt_config_t **ret_config)
{
    kt_config_t *config = config_new(path);
    kt_yaml_t *root = NULL;
    kt_status_t status;

    if (config == NULL)
        return kt_fail(KT_INTERNAL, "%s: out of memory", path);
    status = kt_yaml_parse(config->path, data, size, &root);
    if (status == KT_SUCCESS)
        status = kt_config_keys(config, root);
    if (status == KT_SUCCESS) {
        *ret_config = config;
        config = NULL;
    }
    kt_yaml_free(root);
    kt_config_unref(config);
    return status;
}

/* A user who can write this file chooses key, policy and providers: only root and we may. */
static kt_status_t check_file(const char *path, const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return kt_fail(KT_CONFIG, "%s: not a regular file", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return kt_fail(KT_PERMISSION,
                       "%s: belongs to uid %u, neither root nor us (uid %u): chown root %s", path,
                       st->st_uid, geteuid(), path);
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return kt_fail(KT_PERMISSION, "%s: others may write it (mode %04o): chmod go-w %s", path,
                       st->st_mode & 07777, path);
    if (st->st_size > (off_t)KT_CONFIG_MAX)
        return kt_fail(KT_CONFIG, "%s: larger than %u bytes", path, KT_CONFIG_MAX);
    return KT_SUCCESS;
}

/* Reads all bytes, at most KT_CONFIG_MAX, because a file may grow after fstat(). `data` has room
 * for one more. */
static kt_status_t read_bytes(int fd, const char *path, char *data, size_t *ret_size)
{
    size_t size = 0;

    while (size <= KT_CONFIG_MAX) {
        ssize_t got = read(fd, data + size, KT_CONFIG_MAX + 1 - size);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return kt_fail(KT_CONFIG, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0) {
            *ret_size = size;
            return KT_SUCCESS;
        }
        size += (size_t)got;
    }
    return kt_fail(KT_CONFIG, "%s: larger than %u bytes", path, KT_CONFIG_MAX);
}

/* Checks the descriptor that it reads, so that no other file can take its place in between. */
static kt_status_t read_file(const char *path, char *data, size_t *ret_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    kt_status_t status = KT_SUCCESS;
    struct stat st;

    if (fd < 0)
        return kt_fail(errno == ENOENT || errno == ENOTDIR ? KT_CONFIG : KT_PERMISSION,
                       "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0)
        status = kt_fail(KT_PERMISSION, "%s: cannot be examined: %s", path, strerror(errno));
    if (status == KT_SUCCESS)
        status = check_file(path, &st);
    if (status == KT_SUCCESS)
        status = read_bytes(fd, path, data, ret_size);
    close(fd);
    return status;
}

kt_status_t kt_config_read(const char *path, kt_config_t **ret_config)
{
    char *data = malloc(KT_CONFIG_MAX + 1);
    kt_status_t status;
    size_t size = 0;

    if (data == NULL)
        return kt_fail(KT_INTERNAL, "%s: out of memory", path);
    status = read_file(path, data, &size);
    if (status == KT_SUCCESS)
        status = kt_config_parse(path, data, size, ret_config);
    free(data);
    return status;
}

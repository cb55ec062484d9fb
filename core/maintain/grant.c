/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grant.c: gives the key file of a server or user the keys of further types. A new file replaces
 * the old one, so that a server that starts meanwhile reads one of the two, whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "maintain.h"

#define LIST_MAX 8192u

typedef struct granting {
    kt_setup_t *setup;
    const char *stream, *path;
    char fresh[PATH_MAX];
    struct stat st; /* of the old file */
    char *list;     /* all types of the new one: LIST_MAX bytes */
} granting_t;

static bool in_list(const char *list, const char *type, size_t size)
{
    for (; *list != '\0'; list += *list == ',') {
        size_t part = strcspn(list, ",");

        if (part == size && memcmp(list, type, size) == 0)
            return true;
        list += part;
    }
    return false;
}

static kt_status_t add(granting_t *g, const char *type, size_t size)
{
    size_t at = strlen(g->list);

    if (size == 0 || in_list(g->list, type, size))
        return KT_SUCCESS;
    if (at + size + 2 > LIST_MAX)
        return kt_fail(KT_TOOLARGE, "too many types for one key file");
    (void)snprintf(g->list + at, LIST_MAX - at, "%s%.*s", at > 0 ? "," : "", (int)size, type);
    return KT_SUCCESS;
}

/* A key that this environment never had is not made a right one: the user may own the file. */
static kt_status_t add_held(granting_t *g, const kt_keyring_t *held)
{
    const kt_typekey_t *key;
    kt_status_t status = KT_SUCCESS;
    size_t i, n;

    if (held->nenv > 0)
        return kt_fail(KT_CONFLICT, "%s has the environment's key, which opens every type",
                       g->path);
    for (i = 0; i < held->ntypes && status == KT_SUCCESS; i++) {
        const kt_typekey_t *seen = &held->types[i];

        for (n = 0; kt_keyring_type(g->setup->keyring, seen->type, n, &key) == KT_SUCCESS; n++) {
            if (memcmp(key->id, seen->id, KT_KEYID_SIZE) == 0)
                status = add(g, seen->type, strlen(seen->type));
        }
        kt_failure_clear();
    }
    return status;
}

static kt_status_t read_old(granting_t *g)
{
    kt_keyring_t *held = NULL;
    kt_status_t status;

    if (lstat(g->path, &g->st) != 0)
        return kt_fail(errno == ENOENT ? KT_CONFIG : KT_PERMISSION, "%s: %s", g->path,
                       strerror(errno));
    if (!S_ISREG(g->st.st_mode))
        return kt_fail(KT_PERMISSION, "%s: not a regular file", g->path);
    status = kt_keyring_parse_of(g->path, geteuid() == 0 ? g->st.st_uid : geteuid(),
                                 g->setup->config->environment, &held);
    if (status != KT_SUCCESS)
        return status;
    status = add_held(g, held);
    kt_keyring_free(held);
    return status;
}

/* Owner and mode first: under its final name the file is readable at once. */
static kt_status_t replace(granting_t *g)
{
    char folder[PATH_MAX];
    int fd;
    kt_status_t status = KT_SUCCESS;

    (void)snprintf(folder, sizeof(folder), "%s", g->path);
    if (lchown(g->fresh, g->st.st_uid, g->st.st_gid) != 0 ||
        chmod(g->fresh, g->st.st_mode & 07777) != 0 || rename(g->fresh, g->path) != 0)
        return kt_fail(KT_PERMISSION, "cannot replace %s: %s", g->path, strerror(errno));
    fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        status = kt_fail(KT_NOSPACE, "%s: replaced, but its folder cannot be synced: %s", g->path,
                         strerror(errno));
    kt_close_fd(&fd);
    return status;
}

static kt_status_t write_new(granting_t *g)
{
    kt_status_t status;

    if (snprintf(g->fresh, sizeof(g->fresh), "%s.new", g->path) >= (int)sizeof(g->fresh))
        return kt_fail(KT_USAGE, "%s: the path is too long", g->path);
    (void)unlink(g->fresh); /* a killed run left it */
    status = kt_keyring_write_types(g->setup->keyring, g->list, g->fresh);
    if (status != KT_SUCCESS)
        return status;
    status = replace(g);
    if (status != KT_SUCCESS)
        (void)unlink(g->fresh);
    return status;
}

static kt_status_t grant(granting_t *g, const char *types)
{
    kt_status_t status = KT_SUCCESS;
    size_t held;

    if (g->setup->keyring == NULL || g->setup->keyring->nenv == 0)
        return kt_fail(KT_NOKEY, "further types need the environment's key, and this user's key is "
                                 "not one (be the user that may read it)");
    status = read_old(g);
    held = strlen(g->list);
    for (; *types != '\0' && status == KT_SUCCESS; types += strspn(types, ", ")) {
        size_t size = strcspn(types, ", ");

        status = add(g, types, size);
        types += size;
    }
    return status == KT_SUCCESS && strlen(g->list) > held ? write_new(g) : status;
}

kt_status_t kt_grant(kt_setup_t *setup, const char *stream, const char *types, char *ret_types,
                     size_t size)
{
    const kt_cfg_key_t *key = setup->config != NULL ? kt_key_of(setup->config, stream) : NULL;
    granting_t g = {.setup = setup, .stream = stream};
    char *path = NULL;
    kt_status_t status;

    kt_failure_clear();
    if (key == NULL || key->host == NULL || strcmp(key->host, stream) != 0)
        status = kt_fail(
            KT_CONFIG, "`key:` of %s has no entry for %s, so there is no key file to add types to",
            setup->config != NULL ? setup->config->path : "the configuration", stream);
    else if (strncmp(key->source, "file:", 5) != 0)
        status = kt_fail(KT_CONFIG,
                         "the key of %s is %s, not a file, so types cannot be added to it (make a "
                         "new key where it comes from)",
                         stream, key->source);
    else {
        path = kt_config_resolve(setup->config, key->source + 5);
        g.list = calloc(1, LIST_MAX);
        g.path = path;
        status = path != NULL && g.list != NULL ? grant(&g, types) : kt_no_memory();
    }
    if (status == KT_SUCCESS)
        (void)snprintf(ret_types, size, "%s", g.list);
    free(g.list);
    free(path);
    return kt_setup_finish(setup, status);
}

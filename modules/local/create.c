/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * create.c: a new store. It is made under another name, whole, and then renamed to its own if that
 * is free, so that no process sees half a store, whenever the power fails. Only then a writing
 * connection brings in -wal and -shm.
 */
#define _GNU_SOURCE
#include "create.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connection.h"
#include "error.h"
#include "process.h"

static const char create_sql[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
    "BEGIN IMMEDIATE;" LOCAL_SCHEMA_META ";" LOCAL_SCHEMA_HEAD ";" LOCAL_SCHEMA_VALUE
    ";" LOCAL_SCHEMA_NODE ";"
    "PRAGMA application_id = " LOCAL_TEXT(LOCAL_APPLICATION_ID) ";"
                                                                "PRAGMA user_version = " LOCAL_TEXT(
                                                                    LOCAL_FORMAT) ";"
                                                                                  "COMMIT";

static const char *const companions[] = {"", "-wal", "-shm", "-journal"};
#define COMPANIONS (sizeof companions / sizeof companions[0])

/* A -wal that another store left would be taken for the new one's. */
static ktp_status_t check_free(const ktp_instance_t *instance)
{
    char path[LOCAL_PATH_MAX + 64];
    struct stat st;

    for (size_t i = 0; i < COMPANIONS; i++) {
        (void)snprintf(path, sizeof path, "%s%s", instance->path, companions[i]);
        if (lstat(path, &st) == 0)
            return ktp_fail(instance->services, KTP_CONFLICT,
                            i == 0 ? "%s exists already"
                                   : "%s is left from another store: "
                                     "move it away first",
                            path);
        if (errno != ENOENT)
            return local_errno_fail(instance, errno, path);
    }
    return KTP_SUCCESS;
}

/* For a group of writers if the folder is for one (2775), else for the owner alone. */
static mode_t mode_for(const char *folder)
{
    struct stat st;

    if (stat(folder, &st) == 0 && (st.st_mode & S_ISGID) && (st.st_mode & S_IWGRP))
        return 0664;
    return 0600;
}

static ktp_status_t folder_fail(const ktp_instance_t *instance, int error, const char *folder)
{
    if (error == ENOENT || error == ENOTDIR)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: the folder does not exist", folder);
    return local_errno_fail(instance, error, folder);
}

static ktp_status_t make_empty(const ktp_instance_t *instance, const char *folder, char *temporary)
{
    int fd = mkostemp(temporary, O_CLOEXEC);
    int error = 0;

    if (fd < 0) {
        error = errno;
        temporary[0] = '\0';
        return folder_fail(instance, error, folder);
    }
    if (fchmod(fd, mode_for(folder)) != 0)
        error = errno;
    close(fd); /* no other descriptor of this file exists yet: no lock can be lost */
    return error == 0 ? KTP_SUCCESS : local_errno_fail(instance, error, temporary);
}

/* The last to close brings all of -wal into the database and removes -wal and -shm. */
static ktp_status_t fill(const ktp_instance_t *instance, const char *temporary)
{
    ktp_status_t status = KTP_SUCCESS;
    sqlite3 *db = NULL;
    int code;

    code = sqlite3_open_v2(
        temporary, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (db != NULL)
        local_count(1);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db, create_sql, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (code != SQLITE_OK)
        status = local_sqlite_fail(instance, db, db == NULL ? code : sqlite3_extended_errcode(db),
                                   "creating");
    sqlite3_close(db);
    if (db != NULL)
        local_count(-1);
    return status;
}

static int sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed;

    if (fd < 0)
        return -1;
    failed = fsync(fd);
    close(fd);
    return failed;
}

/* link() for a file system that cannot rename without replacing. */
static int move_if_free(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return link(from, to);
}

static ktp_status_t publish(const ktp_instance_t *instance, const char *folder,
                            const char *temporary)
{
    if (move_if_free(temporary, instance->path) != 0)
        return errno == EEXIST
                   ? ktp_fail(instance->services, KTP_CONFLICT, "%s exists already", instance->path)
                   : local_errno_fail(instance, errno, instance->path);
    return sync_folder(folder) == 0 ? KTP_SUCCESS : local_errno_fail(instance, errno, folder);
}

static void remove_temporary(const char *temporary)
{
    char path[LOCAL_PATH_MAX + 64];

    for (size_t i = 0; temporary[0] != '\0' && i < COMPANIONS; i++) {
        (void)snprintf(path, sizeof path, "%s%s", temporary, companions[i]);
        (void)unlink(path);
    }
}

ktp_status_t local_create(ktp_instance_t *instance)
{
    char temporary[LOCAL_PATH_MAX + 32], copy[LOCAL_PATH_MAX + 1];
    const char *folder;
    ktp_status_t status = check_free(instance);

    if (status != KTP_SUCCESS)
        return status;
    (void)snprintf(temporary, sizeof temporary, "%s.new-XXXXXX", instance->path);
    (void)snprintf(copy, sizeof copy, "%s", instance->path);
    folder = dirname(copy);
    status = make_empty(instance, folder, temporary);
    if (status == KTP_SUCCESS)
        status = fill(instance, temporary);
    if (status == KTP_SUCCESS)
        status = publish(instance, folder, temporary);
    remove_temporary(temporary);
    if (status != KTP_SUCCESS)
        return status;
    instance->writer.deadline = local_clock() + LOCAL_TIMEOUT;
    return local_connect(instance, &instance->writer);
}

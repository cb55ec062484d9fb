/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * local.c: the provider `local` as the host sees it. store.h has the map of its files.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "create.h"
#include "error.h"
#include "lock.h"
#include "process.h"
#include "reserve.h"
#include "rows.h"
#include "statement.h"
#include "sync.h"
#include "vfs.h"
#include "watch.h"

enum { OPTION_PATH, OPTION_KEEP_VERSIONS, OPTION_TIMEOUT, OPTIONS };

static const ktp_option_spec_t local_options[] = {
    [OPTION_PATH] = {"path", KTP_PATH, 1, NULL,
                     "the store, an SQLite file, with -wal and -shm next to it"},
    [OPTION_KEEP_VERSIONS] = {"keep_versions", KTP_NUMBER, 0, "10",
                              "versions of a secret that are kept"},
    [OPTION_TIMEOUT] = {"timeout", KTP_DURATION, 0, "5s",
                        "the longest that a write waits for other writers"},
    [OPTIONS] = {NULL, KTP_STRING, 0, NULL, NULL},
};

/* Its folder by its real name, since SQLite then refuses any link on the way, as it should for the
 * last one. */
static char *resolve(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder, *real, *resolved = NULL;

    if (slash == NULL || slash[1] == '\0')
        return strdup(path);
    folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    real = folder == NULL ? NULL : realpath(folder, NULL);
    if (real == NULL)
        resolved = strdup(path); /* opening it will say what is wrong */
    else if (asprintf(&resolved, "%s%s%s", real, strcmp(real, "/") == 0 ? "" : "/", slash + 1) < 0)
        resolved = NULL;
    free(real);
    free(folder);
    return resolved;
}

static void free_instance(ktp_instance_t *instance)
{
    free(instance->path);
    free(instance->wal);
    free(instance->shm);
    free(instance);
}

static ktp_instance_t *new_instance(const ktp_services_t *services, const ktp_option_t *options)
{
    ktp_instance_t *instance = calloc(1, sizeof *instance);

    if (instance == NULL)
        return NULL;
    instance->services = services;
    instance->timeout = options[OPTION_TIMEOUT].number;
    instance->pid = local_process();
    instance->writer.writing = 1;
    instance->txn.instance = instance;
    instance->path = resolve(options[OPTION_PATH].text);
    if (instance->path == NULL || asprintf(&instance->wal, "%s-wal", instance->path) < 0) {
        instance->wal = NULL;
        free_instance(instance);
        return NULL;
    }
    if (asprintf(&instance->shm, "%s-shm", instance->path) < 0) {
        instance->shm = NULL;
        free_instance(instance);
        return NULL;
    }
    return instance;
}

/* Opens no file: a store that is missing is an error of the first use, and `keyturn init` has none
 * yet. */
static ktp_status_t local_open(const ktp_services_t *services, const ktp_option_t *options,
                               size_t count, ktp_instance_t **ret_instance)
{
    const char *path = count == OPTIONS ? options[OPTION_PATH].text : NULL;

    if (path == NULL || path[0] == '\0' || strlen(path) > LOCAL_PATH_MAX)
        return ktp_fail(services, KTP_MALFORMED, "local: `path` must be the name of a file");
    if (!sqlite3_threadsafe())
        return ktp_fail(services, KTP_UNAVAIL,
                        "local: this SQLite library was built without thread support");
    if (local_inherited() != 0)
        return ktp_fail(
            services, KTP_UNAVAIL,
            "local: process %d forked while its store was open: close it before, or open "
            "it only in the child",
            (int)local_inherited());
    *ret_instance = new_instance(services, options);
    if (*ret_instance == NULL)
        return ktp_fail(services, KTP_UNAVAIL, "local: out of memory");
    return KTP_SUCCESS;
}

static ktp_status_t same_process(const ktp_instance_t *instance)
{
    if (instance->pid == local_process())
        return KTP_SUCCESS;
    return ktp_fail(instance->services, KTP_UNAVAIL,
                    "%s: its connection does not survive a fork: open it again", instance->path);
}

/* The deadline holds until here, because a reading one takes its lock with its first row. */
static void local_end(ktp_txn_t *txn)
{
    local_release_all(txn);
    if (!sqlite3_get_autocommit(txn->connection->db)) {
        ktp_status_t status;
        sqlite3_stmt *rollback =
            local_statement(txn->instance, txn->connection, LOCAL_ROLLBACK, &status);

        if (rollback != NULL) {
            (void)sqlite3_step(rollback);
            sqlite3_reset(rollback);
        }
    }
    txn->connection = NULL;
    local_wait_until(0);
}

/* In a child nothing of SQLite is touched: what was inherited is left to the parent. */
static void local_close(ktp_instance_t *instance)
{
    if (instance == NULL)
        return;
    if (instance->pid == local_process()) {
        if (instance->txn.connection != NULL)
            local_end(&instance->txn);
        local_disconnect(instance, &instance->reader);
        local_disconnect(instance, &instance->writer);
        local_use_map(instance, NULL);
    }
    free_instance(instance);
}

/* A reader cannot stop a commit, but it can keep -wal from being emptied. */
static void say_what_grew(const ktp_instance_t *instance)
{
    local_holder_t holder;
    char who[200] = "a process";

    if (instance->watch.files.wal_size <= 4 * LOCAL_WAL_LIMIT)
        return;
    if (local_find_pin(instance, &holder))
        local_describe_holder(&holder, who, sizeof who);
    instance->services->debug(instance->services->host,
                              "%s has grown to %lld bytes: %s holds an old snapshot", instance->wal,
                              (long long)instance->watch.files.wal_size, who);
}

static ktp_status_t local_check(ktp_instance_t *instance, int writing)
{
    local_connection_t *connection = writing ? &instance->writer : &instance->reader;
    ktp_status_t status = same_process(instance);

    if (status != KTP_SUCCESS)
        return status;
    connection->deadline =
        local_clock() + (LOCAL_TIMEOUT < instance->timeout ? LOCAL_TIMEOUT : instance->timeout);
    local_wait_until(connection->deadline);
    status = local_connect(instance, connection);
    local_wait_until(0);
    if (status == KTP_SUCCESS)
        say_what_grew(instance);
    return status;
}

/* ---- transactions ---- */

/* Under the lock the files are looked at: nothing may be written to one that is no longer the
 * store. Hence the look before may be a second old. */
static ktp_status_t begin_writing(ktp_instance_t *instance)
{
    local_connection_t *writer = &instance->writer;
    ktp_status_t status = KTP_SUCCESS, begun;

    local_look(instance, 0);
    do {
        if (writer->db == NULL || writer->epoch != instance->watch.epoch)
            status = local_connect(instance, writer);
        if (status != KTP_SUCCESS)
            return status;
        begun = local_run(instance, writer, LOCAL_BEGIN_IMMEDIATE, "waiting to write");
        local_look(instance, 1);
        if (writer->epoch == instance->watch.epoch)
            return begun;
        if (begun == KTP_SUCCESS)
            status = local_run(instance, writer, LOCAL_ROLLBACK, "ending");
    } while (status == KTP_SUCCESS && local_clock() < writer->deadline);
    if (status == KTP_SUCCESS)
        status = ktp_fail(instance->services, KTP_TRYAGAIN, "%s: its files are being replaced",
                          instance->path);
    return status;
}

static ktp_status_t local_begin(ktp_instance_t *instance, int writing, unsigned timeout,
                                ktp_txn_t **ret_txn)
{
    local_connection_t *connection = writing ? &instance->writer : &instance->reader;
    ktp_status_t status = same_process(instance);
    int64_t wait = timeout < instance->timeout ? timeout : instance->timeout;

    if (status != KTP_SUCCESS)
        return status;
    if (instance->txn.connection != NULL)
        return ktp_fail(instance->services, KTP_CONFLICT,
                        "%s: a transaction of this instance is open", instance->path);
    if (!writing && wait < LOCAL_READ_WAIT)
        wait = LOCAL_READ_WAIT;
    connection->deadline = local_clock() + wait;
    local_wait_until(connection->deadline);
    status = writing ? begin_writing(instance) : local_connect(instance, connection);
    if (status != KTP_SUCCESS) {
        local_wait_until(0);
        return status;
    }
    instance->txn.connection = connection;
    instance->txn.erased = instance->txn.lost = 0;
    instance->txn.begun = writing; /* a reading one begins with its rows: rows.c */
    *ret_txn = &instance->txn;
    return KTP_SUCCESS;
}

/* Its frames are written at once, if there is memory for them. */
static ktp_status_t run_commit(ktp_instance_t *instance, local_connection_t *connection,
                               int publishes)
{
    local_gathered_t *gathered = malloc(sizeof *gathered);
    ktp_status_t status;
    int code = SQLITE_OK;

    if (gathered != NULL) {
        gathered->db = connection->db;
        gathered->publishes = publishes;
        gathered->synced = local_note_synced;
        gathered->arg = instance;
        local_gather(gathered);
    }
    status = local_run(instance, connection, LOCAL_COMMIT, "committing");
    if (gathered != NULL)
        code = local_gather_end();
    free(gathered);
    return status == KTP_SUCCESS && code != SQLITE_OK
               ? local_sqlite_fail(instance, connection->db, code, "committing")
               : status;
}

/* Not into files that were put aside since begin: this connection holds none of the
 * locks of the new ones. */
static ktp_status_t commit_here(ktp_instance_t *instance, local_connection_t *connection,
                                int publishes)
{
    local_look(instance, 1);
    if (connection->writing && connection->epoch != instance->watch.epoch)
        return ktp_fail(instance->services, KTP_TRYAGAIN,
                        "%s: its files were replaced while it was written: nothing was committed",
                        instance->path);
    return run_commit(instance, connection, publishes);
}

static ktp_status_t end_well(ktp_txn_t *txn, int publishes)
{
    ktp_instance_t *instance = txn->instance;
    ktp_status_t status = same_process(instance);

    if (status != KTP_SUCCESS)
        return status;
    if (txn->connection == NULL)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: no transaction is open",
                        instance->path);
    local_release(txn);
    if (!txn->begun)
        status = KTP_SUCCESS; /* rows were read, if any */
    else if (sqlite3_get_autocommit(txn->connection->db))
        status = ktp_fail(instance->services, KTP_UNAVAIL,
                          "%s: an earlier error has undone the transaction", instance->path);
    else
        status = commit_here(instance, txn->connection, publishes);
    if (status == KTP_SUCCESS && (txn->erased || txn->lost > 0))
        instance->erased = 1;
    local_end(txn);
    return status;
}

static ktp_status_t local_commit(ktp_txn_t *txn)
{
    return end_well(txn, /* publishes= */ 0);
}

/* Others see it before its sync: sync.c says why that is safe. */
static ktp_status_t local_publish(ktp_txn_t *txn)
{
    return end_well(txn, /* publishes= */ 1);
}

static void local_abort(ktp_txn_t *txn)
{
    if (txn->instance->pid == local_process() && txn->connection != NULL)
        local_end(txn);
}

static ktp_status_t local_change_token(ktp_instance_t *instance,
                                       unsigned char ret_token[KTP_TOKEN_SIZE])
{
    ktp_status_t status = same_process(instance);

    return status != KTP_SUCCESS ? status : local_token(instance, ret_token);
}

static ktp_status_t local_make(ktp_instance_t *instance)
{
    ktp_status_t status = same_process(instance);

    return status != KTP_SUCCESS ? status : local_create(instance);
}

extern const ktp_provider_t keyturn_provider;

__attribute__((visibility("default"))) const ktp_provider_t keyturn_provider = {
    KTP_HEADER,
    .name = "local",
    .capabilities = KTP_SEALED | KTP_WRITE | KTP_LIST | KTP_CAS | KTP_TOKEN | KTP_CREATE,
    .options = local_options,
    .open = local_open,
    .close = local_close,
    .check = local_check,
    .create = local_make,
    .begin = local_begin,
    .row_get = local_row_get,
    .row_put = local_row_put,
    .row_remove = local_row_remove,
    .row_scan = local_row_scan,
    .commit = local_commit,
    .abort = local_abort,
    .token = local_change_token,
    .reserve = local_reserve,
    .publish = local_publish,
    .sync = local_sync,
};

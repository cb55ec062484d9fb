/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * current.c: the log that the state means, and a new one if that one cannot be continued.
 *
 * The state names the log by its inode. A log that was renamed is left as if its writer had renamed
 * it. A log that was compressed, copied, cut, restored or removed does not stop the servers: a new
 * one goes on at the last seal, and begins with a `gap` line that says which lines are not in it.
 * `keyturn audit verify` looks for them, and fails if they are missing.
 *
 * To refuse everything until an operator has removed the state was the rule before. An ordinary
 * logrotate stanza with `compress` stopped all servers, and the audit key could not prove what was
 * written after the repair.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "stream.h"

#define NAMES_MAX 100u /* logs that are closed within one second */
#define AGE_PARTS 8    /* of `keep`: so old a log becomes */
#define TRIES 3u       /* to open a log before it is renamed */

/* An error that says nothing about the file. */
static bool is_passing(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR;
}

/* ---- the log under its own name, or renamed ---- */

/* An existing log for writing. -1 with errno; EINVAL: it is not of this stream's user. */
static int open_log(const kt_audit_t *audit, const char *name, struct stat *ret_st)
{
    int fd = openat(audit->folder, name,
                    O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (fd >= 0 && fstat(fd, ret_st) == 0 && S_ISREG(ret_st->st_mode) &&
        ret_st->st_uid == audit->owner)
        return fd;
    if (fd >= 0) {
        kt_close_fd(&fd);
        errno = EINVAL;
    }
    return -1;
}

/* After a stop of the machine: is the block there that was not synced? If not, a line says so, and
 * a checkpoint is due, which says what of the intents without an outcome was committed. */
static void compare_lazy(kt_audit_state_t *state, kt_recovery_t *recovered)
{
    uint64_t length = state->lazy.block != 0 ? state->lazy.end.length : 0;

    if (length > state->sealed.length) {
        if (recovered->dropped < length - state->sealed.length)
            recovered->dropped = length - state->sealed.length;
        state->checkpoint = 1;
    }
    memset(&state->lazy, 0, sizeof(state->lazy));
}

/* The whole blocks after what the state says are taken, the rest is cut. *ret_loss: why it cannot
 * be continued. */
static kt_status_t recover_inlock(kt_audit_t *audit, int log, const struct stat *st,
                                  kt_audit_state_t *state, kt_audit_loss_t *ret_loss)
{
    uint64_t size = (uint64_t)st->st_size;
    kt_status_t status = KT_SUCCESS;

    *ret_loss = size < state->sealed.length ? KT_LOSS_CUT : KT_LOSS_NONE;
    if (*ret_loss != KT_LOSS_NONE)
        return KT_SUCCESS;
    if (size != state->sealed.length)
        status = kt_audit_recover(audit->path, log, size, state, &audit->recovered);
    if (status == KT_SUCCESS)
        compare_lazy(state, &audit->recovered);
    return status;
}

static void close_log(kt_audit_t *audit)
{
    kt_close_fd(&audit->log);
    audit->log_inode = 0;
}

/* `st`: of the file that is called `log` now, and is the one that is open, if one is. */
static kt_status_t continue_log_inlock(kt_audit_t *audit, struct stat st, kt_audit_state_t *state,
                                       kt_audit_loss_t *ret_loss)
{
    *ret_loss = KT_LOSS_NONE;
    if (audit->log < 0) {
        audit->log = open_log(audit, "log", &st);
        audit->log_inode = audit->log >= 0 ? st.st_ino : 0;
        if (audit->log < 0 && is_passing(errno))
            return kt_audit_failed(audit, "log");
        if (audit->log < 0)
            *ret_loss = KT_LOSS_GONE;
        else if ((uint64_t)st.st_size >= state->sealed.length &&
                 !kt_audit_has_sealed(audit->log, state))
            *ret_loss = KT_LOSS_CHANGED;
    }
    if (*ret_loss != KT_LOSS_NONE)
        return KT_SUCCESS;
    return recover_inlock(audit, audit->log, &st, state, ret_loss);
}

/* It has another name now: its reserve is given back; its last line is a seal already. *ret_loss is
 * not touched if it is not there, or is not what it was. */
static kt_status_t leave_log_inlock(kt_audit_t *audit, const char *name, kt_audit_state_t *state,
                                    kt_audit_loss_t *ret_loss)
{
    kt_audit_loss_t loss = KT_LOSS_NONE;
    struct stat st;
    int log = open_log(audit, name, &st);
    kt_status_t status = KT_SUCCESS;

    if (log < 0)
        return is_passing(errno) ? kt_audit_failed(audit, name) : KT_SUCCESS;
    if (st.st_ino == state->inode && (uint64_t)st.st_size >= state->sealed.length &&
        kt_audit_has_sealed(log, state)) {
        status = recover_inlock(audit, log, &st, state, &loss);
        if (status == KT_SUCCESS && state->unsynced && fdatasync(log) != 0)
            status = kt_audit_failed(audit, name);
        if (status == KT_SUCCESS && loss == KT_LOSS_NONE) {
            (void)!ftruncate(log, (off_t)state->sealed.length);
            *ret_loss = KT_LOSS_NONE;
        }
    }
    kt_close_fd(&log);
    return status;
}

/* ---- a copy of it ---- */

/* Are the lines of this log, plain or gzip, those that the state knows? Blocks that a dead writer
 * has left after them are taken. */
static bool take_copy(const kt_audit_t *audit, const kt_audit_log_t *log, kt_audit_state_t *state)
{
    kt_audit_log_t opened;
    kt_audit_reader_t *reader = kt_audit_log_read(audit->folder, log->name, &opened);
    unsigned char through[KT_AUDIT_HASH];
    kt_audit_chain_t chain;
    uint64_t length = 0;
    kt_audit_seal_t seal;
    bool whole = false;
    char *line;
    size_t size;

    kt_chain_begin(&chain, log->head.chain);
    while (reader != NULL && kt_audit_reader_next(reader, &line, &size) == KT_AUDIT_NEXT) {
        if (whole && !kt_audit_adopt_line(state, &length, &chain, line, size))
            break;
        if (whole)
            continue;
        if (kt_audit_parse_seal(line, size, &seal)) {
            kt_chain_through(&chain, through);
            if (memcmp(through, seal.chain, KT_AUDIT_HASH) != 0)
                break;
            kt_chain_seal(&chain, seal.chain, line, size);
        } else {
            kt_chain_add(&chain, line, size);
        }
        length += size;
        if (length > state->sealed.length)
            break;
        whole = length == state->sealed.length && !chain.open &&
                memcmp(chain.sealed, state->sealed.chain, KT_AUDIT_HASH) == 0;
    }
    kt_audit_reader_free(reader);
    return whole;
}

static bool find_copy(const kt_audit_t *audit, const kt_audit_logs_t *logs, kt_audit_state_t *state)
{
    size_t i;

    for (i = 0; i < logs->count; i++) {
        const kt_audit_log_t *log = &logs->list[i];

        if (log->has_head && log->head.block == state->log_block &&
            memcmp(log->head.instance, state->instance, KT_AUDIT_ID) == 0 &&
            take_copy(audit, log, state))
            return true;
    }
    return false;
}

/* ---- what became of it ---- */

/* A folder that cannot be read (no descriptor is left) does not mean that a log is gone. */
static kt_status_t list_logs(const kt_audit_t *audit, kt_audit_logs_t *ret_logs)
{
    size_t i;

    if (!kt_audit_logs_find(audit->folder, ret_logs))
        return kt_audit_failed(audit, ".");
    for (i = 0; i < ret_logs->count; i++) {
        if (is_passing(ret_logs->list[i].error)) {
            errno = ret_logs->list[i].error;
            kt_audit_logs_free(ret_logs);
            return kt_audit_failed(audit, ".");
        }
    }
    return KT_SUCCESS;
}

static void note_gap(kt_audit_state_t *state, kt_audit_loss_t loss)
{
    state->gap.reason = loss;
    state->gap.block = state->log_block;
    state->gap.last = state->log_last;
    state->gap.length = state->sealed.length;
}

static void tell_loss(const kt_audit_t *audit, kt_audit_loss_t loss)
{
    static const char *const why[KT_LOSSES] = {
        [KT_LOSS_GONE] = "log: the log that was being written is gone; a new one begins with a "
                         "`gap` line, and `keyturn audit verify` fails until it is back",
        [KT_LOSS_CUT] = "log: it was cut; a new one begins with a `gap` line, and `keyturn audit "
                        "verify` fails until the lines are back",
        [KT_LOSS_CHANGED] = "log: its lines were changed; a new one begins with a `gap` line, and "
                            "`keyturn audit verify` fails until they are back",
        [KT_LOSS_COPIED] = "log: it was compressed, copied or restored while it was being written; "
                           "a new one begins with a `gap` line, and no line is missing",
    };

    if (why[loss] != NULL)
        kt_audit_warn(audit, why[loss]);
}

/* Before a new log is begun. *ret_loss: what is known of the old one, and then, what became of it.
 */
static kt_status_t part_with_log_inlock(kt_audit_t *audit, kt_audit_state_t *state,
                                        kt_audit_loss_t *ret_loss)
{
    kt_audit_loss_t loss = *ret_loss;
    kt_audit_logs_t logs;
    kt_status_t status;
    unsigned tries;
    size_t i;

    for (tries = 0; tries < TRIES && (tries == 0 || loss == KT_LOSS_GONE); tries++) {
        status = list_logs(audit, &logs);
        if (status != KT_SUCCESS)
            return status;
        for (i = 0; status == KT_SUCCESS && loss == KT_LOSS_GONE && i < logs.count; i++)
            if (logs.list[i].inode == state->inode)
                status = leave_log_inlock(audit, logs.list[i].name, state, &loss);
        if (!state->log_begun)
            loss = KT_LOSS_NONE; /* nothing was sealed in it, so nothing is missing */
        if (status == KT_SUCCESS && loss != KT_LOSS_NONE && find_copy(audit, &logs, state))
            loss = KT_LOSS_COPIED;
        kt_audit_logs_free(&logs);
        if (status != KT_SUCCESS)
            return status;
    }
    if (loss != KT_LOSS_NONE)
        note_gap(state, loss);
    *ret_loss = loss;
    return KT_SUCCESS;
}

/* ---- a new log ---- */

/* 20261130T131502Z: colons are special to tar and rsync. */
static void make_stamp(char stamp[25])
{
    char moment[25];
    size_t i, size = 0;

    kt_line_moment(kt_now(), moment);
    for (i = 0; i < 19; i++)
        if (moment[i] != '-' && moment[i] != ':')
            stamp[size++] = moment[i];
    stamp[size++] = 'Z';
    stamp[size] = '\0';
}

/* Nothing is overwritten: what is called `log` gets another name. */
static kt_status_t rename_log_inlock(const kt_audit_t *audit)
{
    char stamp[25], name[48], packed[52];
    struct stat st;
    unsigned i;

    make_stamp(stamp);
    for (i = 0; i < NAMES_MAX; i++) {
        (void)snprintf(name, sizeof(name), i == 0 ? "log.%s" : "log.%s.%u", stamp, i);
        (void)snprintf(packed, sizeof(packed), "%s.gz", name);
        if (fstatat(audit->folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
            fstatat(audit->folder, packed, &st, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        if (renameat2(audit->folder, "log", audit->folder, name, RENAME_NOREPLACE) == 0)
            return KT_SUCCESS;
        if (errno == EINVAL && renameat(audit->folder, "log", audit->folder, name) == 0)
            return KT_SUCCESS; /* a file system that does not know the flag */
        if (errno == ENOENT)
            return KT_SUCCESS;
        if (errno != EEXIST)
            break;
    }
    return kt_audit_failed(audit, "log");
}

/* An empty log of this stream's user may be taken: logrotate's `create` leaves one. */
static kt_status_t make_log_inlock(kt_audit_t *audit)
{
    struct stat st;
    kt_status_t status;

    close_log(audit);
    if (fstatat(audit->folder, "log", &st, AT_SYMLINK_NOFOLLOW) == 0) {
        audit->log = S_ISREG(st.st_mode) && st.st_size == 0 ? open_log(audit, "log", &st) : -1;
        if (audit->log >= 0 && st.st_size == 0)
            return KT_SUCCESS;
        close_log(audit);
        status = rename_log_inlock(audit);
        if (status != KT_SUCCESS)
            return status;
    }
    status = kt_audit_open_file(audit, "log", O_APPEND, 0640, &audit->log);
    if (status == KT_SUCCESS)
        kt_audit_share(audit->folder, audit->log);
    return status;
}

static kt_status_t begin_log_inlock(kt_audit_t *audit, kt_audit_state_t *state)
{
    struct stat st;
    kt_status_t status = make_log_inlock(audit);

    if (status != KT_SUCCESS)
        return status;
    if (fstat(audit->log, &st) != 0)
        return kt_audit_failed(audit, "log");
    state->inode = audit->log_inode = st.st_ino;
    state->log_begun = false;
    state->log_block = state->block;
    state->log_last = state->sealed.sequence;
    state->log_time = kt_now();
    audit->keep_due = true;
    atomic_store(&audit->pack_due, true);
    state->reserved = 0;
    state->sealed.length = 0;
    state->recorded = state->sealed;
    state->unsynced = false;
    memset(&state->lazy, 0, sizeof(state->lazy));
    if (fsync(audit->folder) != 0) /* the new name */
        return kt_audit_failed(audit, ".");
    status = kt_audit_write_state_inlock(audit, state);
    /* On the disk the state may be older than its log, because the next writer takes the blocks
     * that follow. It must mean this log before one of them is there. */
    if (status == KT_SUCCESS && fdatasync(audit->state) != 0)
        status = kt_audit_failed(audit, "state");
    return status;
}

/* ---- rotation ---- */

/* By length; and by age, so that the lines of a quiet stream are not kept much longer than others.
 */
static bool is_full(const kt_audit_t *audit, const kt_audit_state_t *state)
{
    if (audit->ringless || !state->log_begun)
        return false;
    return state->sealed.length >= audit->rotate ||
           (state->log_time != 0 && audit->keep > 0 &&
            kt_now() - state->log_time > audit->keep / AGE_PARTS);
}

/* From here on all is as if logrotate had renamed it. A folder that cannot be changed keeps its one
 * log. */
static kt_status_t rotate_inlock(kt_audit_t *audit, kt_audit_state_t *state)
{
    if (state->unsynced && fdatasync(audit->log) != 0)
        return kt_audit_failed(audit, "log");
    if (rename_log_inlock(audit) != KT_SUCCESS) {
        kt_failure_clear();
        return KT_SUCCESS;
    }
    kt_debug_point("audit_renamed");
    (void)!ftruncate(audit->log, (off_t)state->sealed.length);
    return begin_log_inlock(audit, state);
}

/* ---- all of it ---- */

static kt_status_t check_log_inlock(kt_audit_t *audit, kt_audit_state_t *state)
{
    struct stat named;
    kt_audit_loss_t loss = KT_LOSS_GONE;
    kt_status_t status = KT_SUCCESS;
    bool there = fstatat(audit->folder, "log", &named, AT_SYMLINK_NOFOLLOW) == 0;

    if (audit->log >= 0 && (!there || named.st_ino != audit->log_inode))
        close_log(audit);
    if (state->inode == 0)
        return begin_log_inlock(audit, state);
    if (there && named.st_ino == state->inode) {
        status = continue_log_inlock(audit, named, state, &loss);
        if (status == KT_SUCCESS && loss == KT_LOSS_NONE && is_full(audit, state))
            return rotate_inlock(audit, state);
        if (status != KT_SUCCESS || loss == KT_LOSS_NONE)
            return status;
    }
    status = part_with_log_inlock(audit, state, &loss);
    if (status == KT_SUCCESS)
        status = begin_log_inlock(audit, state);
    if (status == KT_SUCCESS)
        tell_loss(audit, loss);
    return status;
}

/* Nothing that was written since the machine started can be missing without a hand in it. If it is
 * not known when that was, nothing is excused. */
static bool is_of_this_run(const kt_audit_state_t *state, const char *boot)
{
    unsigned char run[KT_AUDIT_ID];

    kt_audit_run_id(boot, run);
    return state->lazy.block != 0 &&
           (boot[0] == '\0' || memcmp(state->lazy.boot, run, sizeof(run)) == 0);
}

kt_status_t kt_audit_lock_stream(kt_audit_t *audit, kt_audit_state_t *ret_state)
{
    kt_status_t status = kt_audit_lock_state(audit);

    if (status != KT_SUCCESS)
        return status;
    status = kt_audit_read_state_inlock(audit, ret_state);
    if (status == KT_SUCCESS && is_of_this_run(ret_state, audit->boot))
        kt_audit_take_lazy(ret_state);
    if (status == KT_SUCCESS)
        status = check_log_inlock(audit, ret_state);
    if (status == KT_SUCCESS)
        return KT_SUCCESS;
    kt_wipe(ret_state, sizeof(*ret_state));
    kt_audit_unlock_stream(audit);
    return status;
}

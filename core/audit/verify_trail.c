/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_trail.c: is a trail what was written?
 *
 * A stream's logs (`log`, and what logrotate left of older ones) are read in the order of their
 * blocks. The chain is computed again, across files too. With the audit key so is the key of each
 * block, and a seal must have been made with the key of its own block. If the folder has a state
 * that may be read, it says where the last log must end; without it, lines that were cut off at a
 * seal are not noticed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proof.h"

/* ---- one stream ---- */

/* The log that the state means was read up to where the state says. What follows is being written.
 */
static void check_end(kt_proof_t *proof, const char *file, uint64_t length)
{
    const kt_audit_state_t *end = &proof->end;
    unsigned char through[KT_AUDIT_HASH];

    kt_chain_through(&proof->chain, through);
    if (length != end->recorded.length ||
        memcmp(proof->instance, end->instance, KT_AUDIT_ID) != 0 ||
        (end->log_begun && memcmp(through, end->recorded.chain, KT_AUDIT_HASH) != 0))
        kt_proof_tell(
            proof, KT_MALFORMED,
            "%s: does not end where the stream's state says: lines were cut off or changed", file);
    proof->late = end->recorded.sequence - end->sealed.sequence;
    proof->met_end = true;
}

/* An inode's number may come back, so its first line counts, too. */
static bool is_current(const kt_proof_t *proof, const kt_audit_log_t *log)
{
    return proof->has_end && log->inode == proof->end.inode && !log->gzip &&
           (!log->has_head || (log->head.block == proof->end.log_block &&
                               memcmp(log->head.instance, proof->end.instance, KT_AUDIT_ID) == 0));
}

/* The log that the state means is not among the files, or has just been begun: do the others go as
 * far as the state says? */
static void check_reached(kt_proof_t *proof)
{
    const kt_audit_state_t *end = &proof->end;
    bool same = proof->inside && memcmp(proof->instance, end->instance, KT_AUDIT_ID) == 0;
    unsigned long long first = same ? proof->sealed + 1 : 1, last = end->sealed.sequence;
    unsigned long long count = last >= first ? last - first + 1 : 0;

    if (!proof->has_end || proof->met_end || end->block == 0 ||
        (same && proof->block > end->block) ||
        (same && proof->block == end->block &&
         memcmp(proof->at_seal, end->sealed.chain, KT_AUDIT_HASH) == 0))
        return;
    kt_proof_tell(
        proof, KT_MALFORMED,
        "log: the log that was being written is gone, and with it %llu %s (numbers %llu to %llu)",
        count, kt_plural(count, "decision", "decisions"), first, last);
}

static void read_file(kt_proof_t *proof, int folder, const kt_audit_log_t *log)
{
    kt_audit_log_t opened;
    kt_audit_reader_t *reader = kt_audit_log_read(folder, log->name, &opened);
    bool last = is_current(proof, log);
    kt_audit_step_t step = KT_AUDIT_END;
    uint64_t length = 0;
    size_t size;
    char *line;

    if (reader == NULL) {
        kt_proof_tell(proof, KT_PERMISSION, "%s: %s", log->name, strerror(opened.error));
        return;
    }
    while ((!last || length < proof->end.recorded.length) &&
           (step = kt_audit_reader_next(reader, &line, &size)) == KT_AUDIT_NEXT) {
        kt_proof_line(proof, line, size, log->name, kt_audit_reader_number(reader));
        length += (uint64_t)size;
    }
    if (step == KT_AUDIT_BAD)
        kt_proof_tell(proof, KT_MALFORMED, "%s: %s", log->name, kt_audit_reader_why(reader));
    else if (last)
        check_end(proof, log->name, length);
    kt_audit_reader_free(reader);
}

static void conclude(kt_proof_t *proof, size_t nfiles)
{
    const char *end = proof->has_end ? ""
                                     : "; without the stream's state it is not known whether lines "
                                       "after the last are missing";
    const char *by =
        proof->audit_key != NULL
            ? ""
            : "; without the audit key this proves the chain and the numbers, not who wrote them";

    char checkpoints[80] = "";

    if (!proof->has_end && proof->sequence != proof->sealed)
        proof->late = proof->sequence - proof->sealed;
    if (proof->checkpoints > 0)
        (void)snprintf(checkpoints, sizeof(checkpoints), "; %llu %s, the last of %s",
                       (unsigned long long)proof->checkpoints,
                       kt_plural(proof->checkpoints, "checkpoint", "checkpoints"), proof->checked);
    kt_proof_tell(
        proof, KT_SUCCESS, "%llu %s in %llu %s and %zu %s, %llu of them not sealed yet%s%s%s",
        (unsigned long long)proof->lines, kt_plural(proof->lines, "line", "lines"),
        (unsigned long long)proof->blocks, kt_plural(proof->blocks, "block", "blocks"), nfiles,
        kt_plural(nfiles, "file", "files"), (unsigned long long)proof->late, checkpoints, by, end);
}

static bool verify_log(kt_proof_t *proof, int folder, const kt_audit_log_t *log)
{
    char text[KT_AUDIT_PACKED];

    if (log->error != 0) {
        kt_proof_tell(proof, KT_PERMISSION, "%s: %s", log->name, strerror(log->error));
    } else if (log->unpack != NULL) {
        kt_proof_tell(proof, KT_MALFORMED, "%s: %s", log->name,
                      kt_audit_packed_text(log, "not verified", text));
    } else if (log->size > 0) {
        read_file(proof, folder, log);
        return true;
    }
    return false;
}

/* The logs from `first` on that begin with the same block: copies of one log. Answers which of them
 * is read: the one that is being written, or the longest. */
static size_t judge_copies(kt_proof_t *proof, int folder, const kt_audit_logs_t *logs, size_t first,
                           size_t end)
{
    size_t best = first, i;

    for (i = first; i < end; i++)
        if (is_current(proof, &logs->list[i]))
            best = i;
    for (i = first; i < end; i++) {
        const char *name = logs->list[i].name, *other = logs->list[best].name;
        int order = i != best ? kt_audit_compare_logs(folder, name, other) : 0;

        if (i == best)
            continue;
        if (order == KT_AUDIT_DIFFER || (order > 0 && is_current(proof, &logs->list[best])))
            kt_proof_tell(proof, KT_MALFORMED,
                          "%s: begins with the same block as %s, and goes on otherwise", name,
                          other);
        else
            kt_proof_tell(proof, KT_SUCCESS, "%s: a copy of lines of %s", order > 0 ? other : name,
                          order > 0 ? name : other);
        if (order > 0 && order != KT_AUDIT_DIFFER && !is_current(proof, &logs->list[best]))
            best = i;
    }
    return best;
}

static size_t end_of_copies(const kt_audit_logs_t *logs, size_t first)
{
    size_t end = first + 1;

    while (end < logs->count && logs->list[end].twin)
        end++;
    return end;
}

/* Returns how many were read. A log without a first line of its own fails by itself, before all
 * others, and does not disturb their chain. */
static size_t read_files(kt_proof_t *proof, int folder, const kt_audit_logs_t *logs)
{
    size_t count = 0, i, end;

    if (logs->more)
        kt_proof_tell(proof, KT_PERMISSION, ".: more than %u logs, and not all were verified",
                      KT_AUDIT_LOGS_MAX);
    for (i = 0; i < logs->count; i++)
        if (!logs->list[i].has_head)
            count += verify_log(proof, folder, &logs->list[i]);
    for (i = 0; i < logs->count; i = end) {
        end = end_of_copies(logs, i);
        if (logs->list[i].has_head)
            count +=
                verify_log(proof, folder, &logs->list[judge_copies(proof, folder, logs, i, end)]);
    }
    check_reached(proof);
    kt_missing_conclude(proof->absent);
    return count;
}

static void tell_missing(void *arg, kt_status_t status, const char *text)
{
    kt_proof_tell(arg, status, "%s", text);
}

/* The mark is in the folder above, where the stream's own user cannot make it: who removes the
 * stream's files and begins it again without the audit key must not pass for one that never had it.
 */
static bool is_unkeyed(int folder, const char *stream)
{
    struct stat above, mark;
    char name[300];

    (void)snprintf(name, sizeof(name), KT_AUDIT_UNKEYED, stream);
    return fstatat(folder, "..", &above, 0) == 0 &&
           fstatat(folder, name, &mark, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(mark.st_mode) &&
           mark.st_uid == above.st_uid;
}

static void verify_stream(kt_proof_t *proof, int folder)
{
    kt_audit_logs_t logs;
    size_t count;
    kt_audit_found_t found;

    proof->has_end = kt_audit_peek(folder, &proof->end, &found);
    if (found == KT_STATE_DAMAGED)
        kt_proof_tell(proof, KT_MALFORMED,
                      "state: damaged, so it is not known whether lines after the last are missing "
                      "(the next writer begins another instance, and says so)");
    else if (found == KT_STATE_HELD)
        kt_proof_tell(proof, KT_SUCCESS,
                      "state: a process holds its lock, which was not waited for");
    proof->absent = kt_missing_new(proof->complete, proof->audit_key != NULL,
                                   is_unkeyed(folder, proof->what), tell_missing, proof);
    if (proof->absent == NULL || !kt_audit_logs_find(folder, &logs)) {
        kt_proof_tell(proof, KT_PERMISSION, "%s", strerror(errno));
        kt_missing_free(proof->absent);
        return;
    }
    if (logs.not_files > 0)
        kt_proof_tell(proof, KT_MALFORMED, ".: %zu %s a log's name but not %s", logs.not_files,
                      kt_plural(logs.not_files, "entry has", "entries have"),
                      kt_plural(logs.not_files, "a file", "files"));
    count = read_files(proof, folder, &logs);
    if (count > 0 || proof->has_end || proof->wrong > 0) {
        conclude(proof, count);
        ++*proof->streams;
    }
    kt_audit_logs_free(&logs);
    kt_missing_free(proof->absent);
    kt_wipe(proof->key, sizeof(proof->key));
}

/* ---- the folder ---- */

static size_t verify_one(const kt_proof_t *like, int parent, const char *name, const char *what,
                         const char *expected)
{
    kt_proof_t proof = *like;
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    proof.what = what;
    proof.expected = expected;
    if (folder < 0) {
        if (errno != ENOTDIR && errno != ELOOP)
            kt_proof_tell(&proof, KT_PERMISSION, "%s", strerror(errno));
        return proof.wrong;
    }
    verify_stream(&proof, folder);
    (void)close(folder);
    return proof.wrong;
}

static size_t verify_all(kt_proof_t *like, int folder)
{
    kt_folder_t list;
    size_t wrong = 0;
    bool whole = kt_folder_open(&list, folder, ".");

    if (whole) {
        while (kt_folder_next(&list)) {
            if (list.name[0] != '.')
                wrong += verify_one(like, folder, list.name, list.name, list.name);
        }
        whole = kt_folder_close(&list);
    }
    if (whole)
        return wrong;
    like->what = ".";
    kt_proof_tell(like, KT_PERMISSION, "not every stream could be found: %s", strerror(errno));
    return wrong + 1;
}

static kt_status_t verify(const char *path, kt_proof_t *like)
{
    const char *slash = strrchr(path, '/');
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    size_t streams = 0, wrong;

    if (folder < 0)
        return kt_fail(errno == ENOENT ? KT_NOTFOUND : KT_PERMISSION, "%s: %s", path,
                       strerror(errno));
    like->streams = &streams;
    if (faccessat(folder, "log", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        wrong = verify_one(like, folder, ".", slash != NULL && slash[1] != '\0' ? slash + 1 : path,
                           NULL);
    else
        wrong = verify_all(like, folder);
    (void)close(folder);
    if (like->received != NULL)
        wrong += kt_received_conclude(like->received, like->fn, like->arg);
    if (streams == 0 && wrong == 0)
        return kt_fail(KT_NOTFOUND, "%s: there is no audit trail in it", path);
    return wrong == 0 ? KT_SUCCESS
                      : kt_fail(KT_MALFORMED, "the audit trail was changed, or cannot be verified");
}

kt_status_t kt_audit_verify_within(const char *path, const char *key, const char *received,
                                   bool complete, uint64_t reach, kt_check_fn fn, void *arg)
{
    kt_proof_t like = {.fn = fn, .arg = arg, .reach = reach, .complete = complete};
    unsigned char *audit_key = NULL;
    kt_status_t status = KT_SUCCESS;

    kt_failure_clear();
    if (key != NULL)
        status = kt_audit_read_key(key, &audit_key);
    if (status == KT_SUCCESS && received != NULL)
        status = kt_received_read(received, &like.received);
    like.audit_key = audit_key;
    if (status == KT_SUCCESS)
        status = verify(path, &like);
    kt_received_free(like.received);
    kt_locked_free(audit_key);
    return status;
}

kt_status_t kt_audit_verify_received(const char *path, const char *key, const char *received,
                                     int complete, kt_check_fn fn, void *arg)
{
    return kt_audit_verify_within(path, key, received, complete != 0, KT_AUDIT_REACH, fn, arg);
}

kt_status_t kt_audit_verify(const char *path, const char *key, kt_check_fn fn, void *arg)
{
    return kt_audit_verify_received(path, key, NULL, 0, fn, arg);
}

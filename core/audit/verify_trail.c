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
#include <sys/file.h>
#include <unistd.h>

#include "files.h"
#include "subject.h"
#include "verify.h"

#define RINGS_MAX 1024u /* processes that record at the same time and whose gaps are found */
#define WRONG_MAX 20u   /* findings of one stream that are reported; the rest is only counted */

typedef struct proof {
    kt_check_fn fn;
    void *arg;
    const unsigned char *audit_key; /* NULL: chain and numbers only */
    kt_received_t *received;        /* NULL: nothing is to be compared */
    const char *what;               /* the stream's name, as its folder has it */
    const char *expected;           /* the stream has to be of this name; NULL: any */
    bool has_end;                   /* `end` is what the state says */
    kt_audit_state_t end;
    size_t wrong;
    size_t *streams; /* that have anything */
    uint64_t lines, blocks, late, missing, checkpoints;
    char checked[25]; /* time of the last checkpoint */
    uint64_t reach;   /* of `passed`, at most */
    uint64_t passed;  /* blocks that are in no file here, on the way to the keys of others */
    /* of the instance that is being read */
    bool inside, keyed;
    unsigned char instance[KT_AUDIT_ID], chain[KT_AUDIT_HASH], key[KT_AUDIT_HASH];
    uint64_t block, sequence, sealed;
    kt_audit_range_t rings[RINGS_MAX]; /* the last of each; the one that was longest without is
                                          forgotten first */
    uint64_t ring_used[RINGS_MAX];
    char stream[65]; /* as its first line has it */
    kt_audit_judge_t judge;
    char latest[32]; /* the latest time in the block */
    size_t latest_line;
    size_t waiting;   /* lines since the last seal */
    size_t open_line; /* the first line of the block */
    const char *open_file;
} proof_t;

static void tell(proof_t *proof, kt_status_t status, const char *format, ...) KT_PRINTF(3, 4);
static void tell(proof_t *proof, kt_status_t status, const char *format, ...)
{
    char text[KT_ERROR_SIZE];
    va_list args;

    if (status != KT_SUCCESS && ++proof->wrong > WRONG_MAX)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    proof->fn(proof->arg, status, proof->what, text);
}

/* ---- one line ---- */

/* The key of a later block. The number of steps in one stream is limited: without that, one line
 * with a made-up number would take minutes, and a log of such lines would never end. */
static void move_key(proof_t *proof, uint64_t blocks)
{
    if (blocks > proof->reach - proof->passed) {
        tell(proof, KT_MALFORMED,
             "more than %llu blocks are missing: what follows cannot be verified",
             (unsigned long long)proof->reach);
        return;
    }
    proof->passed += blocks;
    for (; blocks > 0; blocks--)
        kt_audit_next_key(proof->key);
}

/* The key of a log's first block, even if the logs before it are missing. */
static void find_key(proof_t *proof, const kt_audit_head_t *head)
{
    kt_audit_name_t name = {head->environment, head->stream, ""};

    kt_audit_first_key(proof->audit_key, &name, head->instance, proof->key);
    move_key(proof, head->first ? 0 : head->block);
}

static void begin_instance(proof_t *proof, const kt_audit_head_t *head, const char *file,
                           size_t number)
{
    if (head->first && proof->inside)
        tell(proof, KT_SUCCESS, "%s:%zu: a new instance begins", file, number);
    if (!head->first)
        tell(proof, KT_SUCCESS,
             "%s: begins with block %llu: the blocks before it are in none of these files", file,
             (unsigned long long)head->block);
    if (proof->audit_key != NULL && !head->keyed)
        tell(proof, KT_MALFORMED,
             "%s:%zu: an instance that was begun without the audit key: it proves the chain, not "
             "who "
             "wrote it",
             file, number);
    if (head->first &&
        (head->block != 0 || head->last != 0 || !sodium_is_zero(head->chain, KT_AUDIT_HASH)))
        tell(proof, KT_MALFORMED, "%s:%zu: not the first line of an instance", file, number);
    if (proof->expected != NULL && strcmp(proof->expected, head->stream) != 0)
        tell(proof, KT_MALFORMED, "%s:%zu: the log of another stream, \"%s\"", file, number,
             head->stream);
    memcpy(proof->stream, head->stream, sizeof(proof->stream));
    kt_audit_judge_begin(&proof->judge, proof->stream);
    proof->latest[0] = '\0';
    proof->inside = true;
    proof->keyed = proof->audit_key != NULL && head->keyed;
    memcpy(proof->instance, head->instance, KT_AUDIT_ID);
    memcpy(proof->chain, head->chain, KT_AUDIT_HASH);
    proof->block = head->block;
    proof->sequence = proof->sealed = head->last;
    if (proof->keyed)
        find_key(proof, head);
}

static void check_head(proof_t *proof, const kt_audit_head_t *head, const char *file, size_t number)
{
    bool goes_on =
        proof->inside && !head->first && memcmp(head->instance, proof->instance, KT_AUDIT_ID) == 0;

    if (proof->received != NULL)
        kt_received_log(proof->received, head->instance, head->block);
    if (!goes_on) {
        if (proof->inside && proof->waiting > 0)
            tell(proof, KT_MALFORMED,
                 "%s: lines from %zu on have no seal, and another instance follows",
                 proof->open_file, proof->open_line);
        begin_instance(proof, head, file, number);
        return;
    }
    if (number != 1)
        tell(proof, KT_MALFORMED, "%s:%zu: the first line of a log, in the middle of another", file,
             number);
    if (proof->waiting > 0)
        tell(proof, KT_MALFORMED, "%s: the seal of its last lines, from %zu on, is missing",
             proof->open_file, proof->open_line);
    if (head->block != proof->block || memcmp(head->chain, proof->chain, KT_AUDIT_HASH) != 0) {
        tell(proof, KT_MALFORMED,
             "%s:%zu: goes on at block %llu, but the log before ends before block %llu", file,
             number, (unsigned long long)head->block, (unsigned long long)proof->block);
        memcpy(proof->chain, head->chain, KT_AUDIT_HASH);
        proof->block = head->block;
        proof->sequence = proof->sealed = head->last;
        if (proof->keyed)
            find_key(proof, head);
    }
}

/* The place of this ring in the list; if it has none, the place that it may take. */
static size_t find_ring(const proof_t *proof, const unsigned char ring[KT_RING_ID])
{
    size_t i, oldest = 0;

    for (i = 0; i < RINGS_MAX && proof->ring_used[i] != 0; i++) {
        if (memcmp(proof->rings[i].ring, ring, KT_RING_ID) == 0)
            return i;
        if (proof->ring_used[i] < proof->ring_used[oldest])
            oldest = i;
    }
    return i < RINGS_MAX ? i : oldest;
}

/* Each record of a process is in one block, or a line says that it is lost. */
static void check_range(proof_t *proof, const kt_audit_seal_t *seal, const char *file,
                        size_t number)
{
    size_t at;
    bool known;

    if (seal->range.to == 0)
        return;
    at = find_ring(proof, seal->range.ring);
    known = proof->ring_used[at] != 0 &&
            memcmp(proof->rings[at].ring, seal->range.ring, KT_RING_ID) == 0;
    if (seal->range.from > seal->range.to || (known && seal->range.from != proof->rings[at].to + 1))
        tell(proof, KT_MALFORMED,
             "%s:%zu: block %llu: has the records %llu to %llu of a process, and the block before "
             "has them up to %llu",
             file, number, (unsigned long long)seal->block, (unsigned long long)seal->range.from,
             (unsigned long long)seal->range.to,
             (unsigned long long)(known ? proof->rings[at].to : 0));
    proof->rings[at] = seal->range;
    proof->ring_used[at] = proof->blocks + 1;
}

/* A stream may write about itself only. What it cannot vouch for is refused, sealed or not. */
static void check_claim(proof_t *proof, const char *line, const char *file, size_t number)
{
    kt_audit_claim_t claim;
    unsigned marks;

    if (!kt_audit_parse_claim(line, &claim) || claim.time.size >= sizeof(proof->latest)) {
        tell(proof, KT_MALFORMED, "%s:%zu: not a line of an audit trail", file, number);
        return;
    }
    marks = kt_audit_judge(&proof->judge, &claim);
    if ((marks & KT_LINE_FOREIGN_STREAM) != 0)
        tell(proof, KT_MALFORMED,
             "%s:%zu: its `stream` or `boot` is not the one of the lines around it", file, number);
    if ((marks & KT_LINE_FOREIGN_SUBJECT) != 0)
        tell(proof, KT_MALFORMED, "%s:%zu: its subject is not one that stream \"%s\" can vouch for",
             file, number, proof->stream);
    if (proof->latest[0] == '\0' || kt_audit_is_later(&claim.time, proof->latest)) {
        (void)snprintf(proof->latest, sizeof(proof->latest), "%.*s", (int)claim.time.size,
                       claim.time.text);
        proof->latest_line = number;
    }
}

static void check_times(proof_t *proof, const kt_audit_seal_t *seal, const char *file)
{
    const kt_audit_text_t latest = {proof->latest, strlen(proof->latest)};

    if (latest.size > 0 && kt_audit_is_later(&latest, seal->time))
        tell(proof, KT_MALFORMED, "%s:%zu: its time is later than that of the seal of block %llu",
             file, proof->latest_line, (unsigned long long)seal->block);
    proof->latest[0] = '\0';
    kt_audit_judge_seal(&proof->judge);
}

static void check_seal(proof_t *proof, const char *line, size_t size, const char *file,
                       size_t number)
{
    unsigned char mac[KT_AUDIT_HASH];
    kt_audit_seal_t seal;

    if (!kt_audit_parse_seal(line, size, &seal)) {
        tell(proof, KT_MALFORMED, "%s:%zu: malformed seal", file, number);
        return;
    }
    if (proof->received != NULL)
        kt_received_seal(proof->received, &seal, line, size);
    if (memcmp(seal.instance, proof->instance, KT_AUDIT_ID) != 0 || seal.block != proof->block)
        tell(proof, KT_MALFORMED,
             "%s:%zu: the seal of block %llu, where that of block %llu is expected", file, number,
             (unsigned long long)seal.block, (unsigned long long)proof->block);
    if (memcmp(seal.chain, proof->chain, KT_AUDIT_HASH) != 0)
        tell(proof, KT_MALFORMED,
             "%s:%zu: block %llu: its lines from %s:%zu on are not the lines that were sealed",
             file, number, (unsigned long long)seal.block, proof->open_file, proof->open_line);
    if (seal.first != proof->sealed + 1 || seal.last != proof->sequence)
        tell(proof, KT_MALFORMED,
             "%s:%zu: block %llu: the seal is for numbers %llu to %llu, but the lines have %llu to "
             "%llu",
             file, number, (unsigned long long)seal.block, (unsigned long long)seal.first,
             (unsigned long long)seal.last, (unsigned long long)proof->sealed + 1,
             (unsigned long long)proof->sequence);
    if (proof->keyed) {
        if (seal.block > proof->block)
            move_key(proof, seal.block - proof->block);
        kt_audit_mac(proof->key, seal.chain, line, seal.maced, mac);
        if (sodium_memcmp(mac, seal.mac, sizeof(mac)) != 0)
            tell(proof, KT_MALFORMED, "%s:%zu: block %llu: not sealed with the key of this block",
                 file, number, (unsigned long long)seal.block);
        if (seal.block >= proof->block)
            kt_audit_next_key(proof->key);
    }
    check_range(proof, &seal, file, number);
    check_times(proof, &seal, file);
    /* One change is one finding: the chain of the next block continues from this seal, right or
     * wrong. */
    memcpy(proof->chain, seal.chain, KT_AUDIT_HASH);
    kt_audit_link(proof->chain, line, size);
    if (seal.block >= proof->block)
        proof->block = seal.block + 1;
    proof->sealed = proof->sequence = seal.last;
    proof->waiting = 0;
    proof->blocks++;
}

static void count_checkpoint(proof_t *proof, const char *line)
{
    if (strstr(line, ",\"action\":\"checkpoint\",") == NULL ||
        strncmp(line, "{\"time\":\"", 9) != 0)
        return;
    proof->checkpoints++;
    (void)snprintf(proof->checked, sizeof(proof->checked), "%.24s", line + 9);
}

/* The keys of a line have a fixed order, and quotes inside a string are escaped: the first "seq" is
 * the number. */
static void check_decision(proof_t *proof, const char *line, size_t size, const char *file,
                           size_t number)
{
    const char *at = strstr(line, ",\"seq\":"), *gap = strstr(line, ",\"missing\":");
    uint64_t sequence = 0, missing = 0;

    if (strlen(line) != size || at == NULL || !kt_audit_parse_number(&at, ",\"seq\":", &sequence)) {
        tell(proof, KT_MALFORMED, "%s:%zu: not a line of an audit trail", file, number);
    } else {
        if (gap != NULL && strncmp(at, ",\"action\":\"recover\",", 20) == 0 &&
            kt_audit_parse_number(&gap, ",\"missing\":", &missing) && missing > 0) {
            proof->missing += missing;
            tell(proof, KT_MALFORMED,
                 "%s:%zu: %llu lines before this one were lost when the machine stopped", file,
                 number, (unsigned long long)missing);
        }
        if (sequence != proof->sequence + missing + 1)
            tell(proof, KT_MALFORMED, "%s:%zu: number %llu follows number %llu", file, number,
                 (unsigned long long)sequence, (unsigned long long)proof->sequence);
        proof->sequence = sequence;
        check_claim(proof, line, file, number);
    }
    proof->lines++;
}

static void check_line(proof_t *proof, const char *line, size_t size, const char *file,
                       size_t number)
{
    kt_audit_head_t head;

    if (kt_audit_parse_head(line, &head)) {
        check_head(proof, &head, file, number);
        proof->open_line = number;
        proof->open_file = file;
        proof->waiting = 1;
        kt_audit_link(proof->chain, line, size);
        return;
    }
    if (!proof->inside) {
        tell(proof, KT_MALFORMED, "%s:%zu: comes before the first line of an instance", file,
             number);
        return;
    }
    if (strncmp(line, KT_AUDIT_SEAL, strlen(KT_AUDIT_SEAL)) == 0) {
        check_seal(proof, line, size, file, number);
        proof->open_line = number + 1;
        proof->open_file = file;
        return;
    }
    check_decision(proof, line, size, file, number);
    count_checkpoint(proof, line);
    proof->waiting++;
    kt_audit_link(proof->chain, line, size);
}

/* ---- one stream ---- */

/* The log that the state means was read up to where the state says. What follows is being written.
 */
static void check_end(proof_t *proof, const char *file, uint64_t length)
{
    const kt_audit_state_t *end = &proof->end;

    if (length != end->recorded.length ||
        memcmp(proof->instance, end->instance, KT_AUDIT_ID) != 0 ||
        (end->log_begun && memcmp(proof->chain, end->recorded.chain, KT_AUDIT_HASH) != 0))
        tell(proof, KT_MALFORMED,
             "%s: does not end where the stream's state says: lines were cut off or changed", file);
    proof->late = end->recorded.sequence - end->sealed.sequence;
}

static void read_file(proof_t *proof, int folder, const kt_audit_log_t *log)
{
    kt_audit_log_t opened;
    kt_audit_reader_t *reader = kt_audit_log_read(folder, log->name, &opened);
    bool last = proof->has_end && log->inode == proof->end.inode;
    kt_audit_step_t step = KT_AUDIT_END;
    uint64_t length = 0;
    size_t size;
    char *line;

    if (reader == NULL) {
        tell(proof, KT_PERMISSION, "%s: %s", log->name, strerror(opened.error));
        return;
    }
    while ((!last || length < proof->end.recorded.length) &&
           (step = kt_audit_reader_next(reader, &line, &size)) == KT_AUDIT_NEXT) {
        check_line(proof, line, size, log->name, kt_audit_reader_number(reader));
        length += (uint64_t)size;
    }
    if (step == KT_AUDIT_BAD)
        tell(proof, KT_MALFORMED, "%s: %s", log->name, kt_audit_reader_why(reader));
    else if (last)
        check_end(proof, log->name, length);
    kt_audit_reader_free(reader);
}

/* Where the log must end now. The lock is held only while a sector is read. */
static bool read_end(int folder, kt_audit_state_t *ret_end)
{
    unsigned char bytes[KT_AUDIT_STATE];
    int fd = openat(folder, "state", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    bool read_it = false;

    if (fd < 0)
        return false;
    if (flock(fd, LOCK_SH) == 0 && pread(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes))
        read_it = kt_audit_decode_state(bytes, ret_end);
    (void)close(fd);
    kt_wipe(ret_end->key, sizeof(ret_end->key));
    kt_wipe(bytes, sizeof(bytes));
    return read_it && ret_end->inode != 0;
}

static bool has_inode(const kt_audit_logs_t *logs, uint64_t inode)
{
    size_t i;

    for (i = 0; i < logs->count; i++)
        if (logs->list[i].inode == inode && logs->list[i].size > 0)
            return true;
    return false;
}

static void conclude(proof_t *proof, size_t nfiles)
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
        (void)snprintf(checkpoints, sizeof(checkpoints), "; %llu checkpoints, the last of %s",
                       (unsigned long long)proof->checkpoints, proof->checked);
    tell(proof, KT_SUCCESS,
         "%llu lines in %llu blocks and %zu files, %llu of them not sealed yet%s%s%s",
         (unsigned long long)proof->lines, (unsigned long long)proof->blocks, nfiles,
         (unsigned long long)proof->late, checkpoints, by, end);
}

static bool verify_log(proof_t *proof, int folder, const kt_audit_log_t *log)
{
    if (log->packed) {
        tell(proof, KT_SUCCESS, "%s: compressed by another program than gzip, and not verified",
             log->name);
    } else if (log->error != 0) {
        tell(proof, KT_PERMISSION, "%s: %s", log->name, strerror(log->error));
    } else if (log->size > 0) {
        read_file(proof, folder, log);
        return true;
    }
    return false;
}

/* Returns how many were read. A log without a first line of its own fails by itself, before all
 * others, and does not disturb their chain. */
static size_t read_files(proof_t *proof, int folder, const kt_audit_logs_t *logs)
{
    size_t count = 0, i;

    if (logs->more)
        tell(proof, KT_PERMISSION, ".: more than %u logs, and not all were verified",
             KT_AUDIT_LOGS_MAX);
    for (i = 0; i < logs->count; i++)
        if (!logs->list[i].has_head)
            count += verify_log(proof, folder, &logs->list[i]);
    for (i = 0; i < logs->count; i++)
        if (logs->list[i].has_head)
            count += verify_log(proof, folder, &logs->list[i]);
    return count;
}

static void verify_stream(proof_t *proof, int folder)
{
    kt_audit_logs_t logs;
    size_t count;

    proof->has_end = read_end(folder, &proof->end);
    if (!kt_audit_logs_find(folder, &logs)) {
        tell(proof, KT_PERMISSION, "%s", strerror(errno));
        return;
    }
    if (proof->has_end && !has_inode(&logs, proof->end.inode))
        tell(proof, KT_MALFORMED, "log: the log that was being written is gone");
    count = read_files(proof, folder, &logs);
    if (count > 0 || proof->has_end) {
        conclude(proof, count);
        ++*proof->streams;
    }
    kt_audit_logs_free(&logs);
    kt_wipe(proof->key, sizeof(proof->key));
}

/* ---- the folder ---- */

static size_t verify_one(const proof_t *like, int parent, const char *name, const char *what,
                         const char *expected)
{
    proof_t proof = *like;
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    proof.what = what;
    proof.expected = expected;
    if (folder < 0) {
        if (errno != ENOTDIR && errno != ELOOP)
            tell(&proof, KT_PERMISSION, "%s", strerror(errno));
        return proof.wrong;
    }
    verify_stream(&proof, folder);
    (void)close(folder);
    return proof.wrong;
}

static size_t verify_all(proof_t *like, int folder)
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
    tell(like, KT_PERMISSION, "not every stream could be found: %s", strerror(errno));
    return wrong + 1;
}

static kt_status_t verify(const char *path, proof_t *like)
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
                                   uint64_t reach, kt_check_fn fn, void *arg)
{
    proof_t like = {.fn = fn, .arg = arg, .reach = reach};
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
                                     kt_check_fn fn, void *arg)
{
    return kt_audit_verify_within(path, key, received, KT_AUDIT_REACH, fn, arg);
}

kt_status_t kt_audit_verify(const char *path, const char *key, kt_check_fn fn, void *arg)
{
    return kt_audit_verify_received(path, key, NULL, fn, arg);
}

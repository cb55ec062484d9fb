/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a machine's audit trail may be turned into: the input is a log, the text of a seal line, and
 * the bytes of a state.
 */
#include "fuzz.h"
#include "audit/verify.h"
#include "audit/sinks.h"

#define FUZZ_REACH 1000u

/* Belongs to the log in the corpus. */
#define FUZZ_AUDIT_KEY "keyturn-audit-key 1 WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo="

static void count_wrong(void *arg, kt_status_t status, const char *what, const char *detail)
{
    must(what != NULL && detail != NULL && detail[0] != '\0');
    *(size_t *)arg += status != KT_SUCCESS;
}

static void verify_log(const char *folder, const char *key)
{
    size_t wrong = 0;
    kt_status_t status = kt_audit_verify_within(folder, key, NULL, false, FUZZ_REACH,
                                                count_wrong, &wrong);

    must(status == KT_SUCCESS || status == KT_MALFORMED || status == KT_NOTFOUND);
    must((status == KT_MALFORMED) == (wrong > 0));
}

/* Lines end on a terminal. */
static int look_at_line(void *arg, const kt_audit_line_t *line)
{
    for (const char *at = line->text; *at != '\0'; at++)
        must((unsigned char)*at >= ' ' && (unsigned char)*at < 0x7f);
    return ++*(size_t *)arg >= 20;
}

static void read_tail(const char *folder)
{
    const char *slash = strrchr(folder, '/');
    char parent[64], stream[64];
    size_t lines = 0;
    kt_status_t status;

    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - folder), folder);
    snprintf(stream, sizeof(stream), "%s", slash + 1);
    status = kt_audit_last(parent, stream, 20, look_at_line, NULL, &lines);
    must((status == KT_SUCCESS || status == KT_MALFORMED) && lines <= 20);
}

static void try_seal(const uint8_t *data, size_t size)
{
    char *line = malloc(size + 1);
    kt_audit_seal_t seal;

    must(line != NULL);
    memcpy(line, data, size);
    line[size] = '\0';
    if (kt_audit_parse_seal(line, size, &seal))
        must(seal.maced < size && line[size - 1] == '\n' && strlen(line) == size);
    free(line);
}

/* A state that is accepted is written back unchanged. */
static void try_state(const uint8_t *data, size_t size)
{
    unsigned char bytes[KT_AUDIT_STATE] = {0}, again[KT_AUDIT_STATE];
    kt_audit_state_t state, back;

    memcpy(bytes, data, size < sizeof(bytes) ? size : sizeof(bytes));
    if (!kt_audit_decode_state(bytes, &state))
        return;
    kt_audit_encode_state(&state, again);
    must(kt_audit_decode_state(again, &back));
    must(state.block == back.block && state.recorded.length == back.recorded.length);
    must(memcmp(state.key, back.key, sizeof(state.key)) == 0);
}

/* The log as a sink received it: seals are found, whatever stands before them. */
static void verify_received(const char *folder)
{
    size_t wrong = 0;
    char path[128];
    kt_status_t status;

    snprintf(path, sizeof(path), "%s/log", folder);
    status = kt_audit_verify_within(folder, NULL, path, false, FUZZ_REACH, count_wrong, &wrong);
    must(status == KT_SUCCESS || status == KT_MALFORMED || status == KT_NOTFOUND);
    must((status == KT_MALFORMED) == (wrong > 0));
}

/* What goes to a sink: whole lines, no more than there are. */
static void try_batch(const uint8_t *data, size_t size)
{
    size_t used = SIZE_MAX, all;
    kt_batch_t batch;

    must(kt_batch_make((const char *)data, size, KT_SEND_ALL, &used, &batch) == KT_SUCCESS);
    all = batch.size;
    must(used <= size && all == used && (all == 0 || batch.text[all - 1] == '\n'));
    kt_batch_free(&batch);
    must(kt_batch_make((const char *)data, size, KT_SEND_ALERTS, &used, &batch) == KT_SUCCESS &&
         batch.size <= all);
    kt_batch_free(&batch);
}

static int take_line(void *arg, const kt_audit_line_t *line)
{
    must(strchr(line->text, '\n') == NULL);
    return ++*(size_t *)arg >= 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t lines = 0;
    kt_status_t status;

    fuzz_write("log", data, size);
    verify_log(fuzz_folder(), NULL);
    verify_log(fuzz_folder(), FUZZ_AUDIT_KEY);
    read_tail(fuzz_folder());
    verify_received(fuzz_folder());
    status = kt_audit_scan(fuzz_folder(), 0, take_line, NULL, &lines);
    must((status == KT_SUCCESS || status == KT_MALFORMED) && lines <= 100);
    try_batch(data, size);
    try_seal(data, size);
    try_state(data, size);
    return 0;
}

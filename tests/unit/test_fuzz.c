/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Replays the kept corpora of tests/fuzz through their targets: each input whole, cut at every
 * length, and with each byte changed. A target that finds something wrong aborts.
 */
#define LLVMFuzzerTestOneInput fuzz_reference
#include "../fuzz/fuzz_reference.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_config
#include "../fuzz/fuzz_config.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_json
#include "../fuzz/fuzz_json.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_seal
#include "../fuzz/fuzz_seal.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_bundle
#include "../fuzz/fuzz_bundle.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_keyfile
#include "../fuzz/fuzz_keyfile.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_backup
#include "../fuzz/fuzz_backup.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_trail
#include "../fuzz/fuzz_trail.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_index
#include "../fuzz/fuzz_index.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_anchors
#include "../fuzz/fuzz_anchors.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_ring
#include "../fuzz/fuzz_ring.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_text
#include "../fuzz/fuzz_text.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_catalogue
#include "../fuzz/fuzz_catalogue.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_line
#include "../fuzz/fuzz_line.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_logs
#include "../fuzz/fuzz_logs.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_dotenv
#include "../fuzz/fuzz_dotenv.c"
#undef LLVMFuzzerTestOneInput

#include <dirent.h>

#include "unit.h"

#define INPUT_MAX 4096u

typedef int (*target_t)(const uint8_t *data, size_t size);

static const struct {
    const char *folder;
    target_t target;
} targets[] = {
    {"reference", fuzz_reference}, {"config", fuzz_config}, {"json", fuzz_json},
    {"seal", fuzz_seal},           {"bundle", fuzz_bundle}, {"keyfile", fuzz_keyfile},
    {"backup", fuzz_backup},       {"trail", fuzz_trail},   {"index", fuzz_index},
    {"anchors", fuzz_anchors},     {"text", fuzz_text},     {"ring", fuzz_ring},
    {"catalogue", fuzz_catalogue}, {"line", fuzz_line},     {"logs", fuzz_logs},
    {"dotenv", fuzz_dotenv},
};

static size_t read_input(const char *path, uint8_t *data)
{
    FILE *in = fopen(path, "rb");
    size_t size;

    ck_assert_msg(in != NULL, "%s cannot be read", path);
    size = fread(data, 1, INPUT_MAX + 1, in);
    fclose(in);
    ck_assert_msg(size <= INPUT_MAX, "%s is too large to be kept", path);
    return size;
}

/* In memory of its own size, so that a memory checker sees a byte too much. */
static void run(target_t target, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    memcpy(copy, data, size);
    ck_assert_int_eq(target(copy, size), 0);
    free(copy);
}

static void run_variants(target_t target, uint8_t *data, size_t size)
{
    static const uint8_t changes[] = {0x01, 0x20, 0x80, 0xff};

    run(target, data, size);
    for (size_t i = 0; i < size; i++) {
        run(target, data, i);
        for (size_t j = 0; j < sizeof(changes); j++) {
            data[i] ^= changes[j];
            run(target, data, size);
            data[i] ^= changes[j];
        }
    }
}

START_TEST(corpora_are_replayed)
{
    const char *top = getenv("KT_TOP");
    char folder[256], path[600];
    static uint8_t data[INPUT_MAX + 1];
    struct dirent *entry;
    size_t count = 0;
    DIR *dir;

    snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus/%s", top != NULL ? top : ".",
             targets[_i].folder);
    dir = opendir(folder);
    ck_assert_msg(dir != NULL, "%s cannot be read", folder);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        run_variants(targets[_i].target, data, read_input(path, data));
        count++;
    }
    closedir(dir);
    ck_assert_uint_ge(count, 5);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, corpora_are_replayed, targets);
}

UNIT_MAIN("fuzz", add_tests)

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of anchors: a user who may write to that folder decides what they contain. Two streams have
 * the input, cut at its first empty line; a third one is ours.
 */
#include "fuzz.h"
#include "store/store.h"

#define FUZZ_GENERATION 7u

static void set_index(kt_index_t *index, kt_store_t *store)
{
    *store = (kt_store_t){.name = "fuzz"};
    *index = (kt_index_t){
        .environment = FUZZ_ENVIRONMENT, .store = store, .generation = FUZZ_GENERATION};
    memcpy(index->type, fuzz_type()->type, sizeof(index->type));
    memcpy(index->key_id, fuzz_type()->id, KT_KEYID_SIZE);
    kt_index_key(fuzz_type(), index->key);
    memset(index->store_id, 0x11, sizeof(index->store_id));
    memset(index->root, 0x22, sizeof(index->root));
}

static void write_files(const uint8_t *data, size_t size)
{
    const uint8_t *cut = memmem(data, size, "\n\n", 2);
    size_t first = cut != NULL ? (size_t)(cut - data) + 1 : size;

    fuzz_remove();
    must(mkdir(fuzz_folder(), 0700) == 0);
    fuzz_write("one", data, first);
    if (cut != NULL)
        fuzz_write("two", cut + 2, size - first - 1);
}

/* What we wrote is found again, whatever else is there. */
static void write_ours(kt_anchors_t *anchors, const kt_index_t *index)
{
    kt_anchors_t *fresh = NULL;
    uint64_t highest;

    must(kt_anchors_write(anchors, "ours", index) == KT_SUCCESS);
    must(kt_anchors_new(fuzz_folder(), &fresh) == KT_SUCCESS);
    must(kt_anchors_load(fresh) == KT_SUCCESS);
    highest = kt_anchors_highest(fresh, index);
    must(highest >= FUZZ_GENERATION);
    must((kt_anchors_check(fresh, index) == KT_SUCCESS) || highest > FUZZ_GENERATION ||
         highest == FUZZ_GENERATION);
    kt_anchors_free(fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kt_anchors_t *anchors = NULL;
    kt_store_t store;
    kt_index_t index;
    kt_status_t status;

    (void)fuzz_folder();
    write_files(data, size);
    set_index(&index, &store);
    must(kt_anchors_new(fuzz_folder(), &anchors) == KT_SUCCESS);
    status = kt_anchors_load(anchors);
    must(status == KT_SUCCESS || status == KT_ROLLEDBACK);
    if (status == KT_SUCCESS) {
        status = kt_anchors_check(anchors, &index);
        must(status == KT_SUCCESS || status == KT_ROLLEDBACK);
        must(kt_anchors_highest(anchors, &index) <= FUZZ_GENERATION || status == KT_ROLLEDBACK);
        if (status == KT_SUCCESS)
            write_ours(anchors, &index);
    }
    kt_anchors_free(anchors);
    return 0;
}

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

static const char *folder_of_anchors(void)
{
    static char path[96];

    (void)snprintf(path, sizeof(path), "%s/anchors", fuzz_folder());
    return path;
}

static void make_stream(const char *stream, const uint8_t *data, size_t size)
{
    char name[PATH_MAX];

    (void)snprintf(name, sizeof(name), "%s/%s", folder_of_anchors(), stream);
    must(mkdir(name, 0755) == 0);
    (void)snprintf(name, sizeof(name), "anchors/%s/generations", stream);
    fuzz_write(name, data, size);
}

static void write_files(const uint8_t *data, size_t size)
{
    const uint8_t *cut = memmem(data, size, "\n\n", 2);
    size_t first = cut != NULL ? (size_t)(cut - data) + 1 : size;

    fuzz_remove();
    must(mkdir(fuzz_folder(), 0700) == 0 && mkdir(folder_of_anchors(), 0755) == 0);
    make_stream("one", data, first);
    if (cut != NULL)
        make_stream("two", cut + 2, size - (size_t)(cut + 2 - data));
}

/* What we wrote is found again, whatever else is there. */
static void write_ours(kt_anchors_t *anchors, const kt_anchored_t *index)
{
    kt_anchors_t *fresh = NULL;
    uint64_t highest;

    must(kt_anchors_write(anchors, "ours", index, 1, false) == KT_SUCCESS);
    must(kt_anchors_new(folder_of_anchors(), &fresh) == KT_SUCCESS);
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
    kt_anchored_t anchored;
    kt_index_t index;
    kt_status_t status;

    (void)fuzz_folder();
    write_files(data, size);
    set_index(&index, &store);
    kt_index_anchored(&index, &anchored);
    must(kt_anchors_new(folder_of_anchors(), &anchors) == KT_SUCCESS);
    status = kt_anchors_load(anchors);
    must(status == KT_SUCCESS || status == KT_ROLLEDBACK);
    if (status == KT_SUCCESS) {
        status = kt_anchors_check(anchors, &anchored);
        must(status == KT_SUCCESS || status == KT_ROLLEDBACK);
        must(kt_anchors_highest(anchors, &anchored) <= FUZZ_GENERATION || status == KT_ROLLEDBACK);
        if (kt_anchors_highest(anchors, &anchored) <= FUZZ_GENERATION)
            write_ours(anchors, &anchored);
    }
    kt_anchors_free(anchors);
    return 0;
}

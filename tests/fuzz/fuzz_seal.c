/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sealed records and heads. The first byte says what the rest is: a record as it stands (even), or
 * what a true seal is put around (odd): two bytes of the padded size, then the padded plain text.
 */
#include <sodium.h>

#include "fuzz.h"
#include "store/store.h"

#define FUZZ_CLASS_MAX 4096u

/* As it stands, it does not open: no input is sealed under the key. */
static void try_record(const uint8_t *data, size_t size)
{
    unsigned char key[KT_KEY_SIZE], *plain = NULL;
    size_t plain_size = 0;
    kt_header_t header;
    kt_status_t parsed = kt_header_parse(data, size, &header);

    kt_head_key(fuzz_type(), key);
    must(parsed == KT_SUCCESS || parsed == KT_MALFORMED);
    must(kt_unseal(key, FUZZ_ENVIRONMENT, FUZZ_TYPE, data, size, &plain, &plain_size) ==
         KT_MALFORMED);
    must(plain == NULL);
}

/* A record of format 1 by docs/format.md, and not by kt_seal(), which makes sound ones only. */
static size_t seal_padded(const uint8_t *padded, size_t size, size_t class, unsigned char *record)
{
    static const char *const bound[] = {FUZZ_ENVIRONMENT, FUZZ_TYPE};
    unsigned char key[KT_KEY_SIZE], inner[4 + FUZZ_CLASS_MAX] = {0}, ad[KTP_RECORD_HEADER + 64];
    size_t at = KTP_RECORD_HEADER;
    unsigned long long written;

    memset(record, 0, KTP_RECORD_HEADER);
    memcpy(record, "KTRN\1\1", 6);
    record[KTP_RECORD_TYPE_AT] = KTP_RECORD_HEAD;
    memcpy(record + 8, fuzz_type()->id, KT_KEYID_SIZE);
    record[KTP_RECORD_VERSION_AT + 7] = 1;
    memcpy(inner, padded, size < 4 + class ? size : 4 + class);
    memcpy(ad, record, KTP_RECORD_HEADER);
    for (size_t i = 0; i < KT_ARRAY(bound); i++) {
        kt_put_u32(ad + at, (uint32_t)strlen(bound[i]));
        memcpy(ad + at + 4, bound[i], strlen(bound[i]));
        at += 4 + strlen(bound[i]);
    }
    kt_head_key(fuzz_type(), key);
    must(crypto_aead_xchacha20poly1305_ietf_encrypt(record + KTP_RECORD_HEADER, &written, inner,
                                                    4 + class, ad, at, NULL, record + 48,
                                                    key) == 0);
    return KTP_RECORD_HEADER + (size_t)written;
}

/* What was accepted is the same when it is written again, and all of it can be reached. */
static void check_head(const kt_head_t *head)
{
    unsigned char *plain = NULL, *again = NULL;
    size_t size = 0, again_size = 0;
    kt_head_t back;
    uint64_t version;

    must(kt_head_encode(head, &plain, &size) == KT_SUCCESS);
    must(kt_head_decode(plain, size, &back) == KT_SUCCESS);
    must(kt_head_encode(&back, &again, &again_size) == KT_SUCCESS);
    must(size == again_size && memcmp(plain, again, size) == 0);
    must(strcmp(head->name, back.name) == 0 && head->nversions == back.nversions);
    must(head->nmetas == back.nmetas && head->nnotes == back.nnotes &&
         head->current == back.current);
    for (int selector = KT_SEL_CURRENT; selector <= KT_SEL_NUMBER; selector++)
        if (kt_head_select(head, (kt_selector_t)selector, 1, &version) == KT_SUCCESS)
            must(kt_head_find(head, version) != NULL);
    (void)kt_schedule_due(head);
    (void)kt_schedule_rotated(head);
    if (back.nversions > 0)
        kt_head_drop(&back, back.versions[0].version);
    kt_head_clear(&back);
    free(plain);
    free(again);
}

static void try_sealed(fuzz_input_t in)
{
    static unsigned char record[KTP_RECORD_HEADER + 4 + FUZZ_CLASS_MAX + KT_TAG_SIZE];
    kt_holder_t holder = {.keyring = fuzz_keyring()};
    size_t wanted = (size_t)fuzz_byte(&in) << 8, class = 64;
    ktp_row_t row = {.record = record, .stamp = 1};
    kt_status_t status;
    kt_head_t head;

    wanted |= fuzz_byte(&in);
    while (class < wanted && class < FUZZ_CLASS_MAX)
        class *= 2;
    row.record_size = seal_padded(in.data, in.size, class, record);
    status = kt_open_head(&holder, fuzz_type(), &row, &head);
    must(status == KT_SUCCESS || status == KT_MALFORMED);
    must(status == KT_SUCCESS || in.size < 4 || kt_failure()[0] != '\0');
    if (status != KT_SUCCESS)
        return;
    must(kt_get_u32(in.data) <= class && head.counter == 1);
    check_head(&head);
    kt_head_clear(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t in = {data, size};

    if (fuzz_byte(&in) % 2 == 0)
        try_record(in.data, in.size);
    else
        try_sealed(in);
    return 0;
}

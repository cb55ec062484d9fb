/* SPDX-License-Identifier: BSD-2-Clause */
/* seal.c: a value and a head as the sealed records that a store keeps. */
#include <stdlib.h>
#include <string.h>

#include "store.h"

kt_status_t kt_seal_value(kt_holder_t *holder, const kt_typekey_t *type, const kt_head_t *head,
                          uint64_t version, const kt_secret_t *value, unsigned char **ret_record,
                          size_t *ret_size)
{
    kt_header_t header = {.type = KTP_RECORD_VALUE, .version = version};
    unsigned char *key = kt_locked_alloc(KT_KEY_SIZE);
    kt_status_t status;

    if (key == NULL)
        return kt_no_memory();
    memcpy(header.key_id, type->id, KT_KEYID_SIZE);
    memcpy(header.id, head->id, KT_ID_SIZE);
    kt_secret_key(type, head->name, key);
    status = kt_seal(key, &header, holder->keyring->environment, head->name, value->data,
                     value->size, ret_record, ret_size);
    kt_locked_free(key);
    return status;
}

kt_status_t kt_seal_head(kt_holder_t *holder, const kt_typekey_t *type, const kt_head_t *head,
                         unsigned char **ret_record, size_t *ret_size)
{
    kt_header_t header = {.type = KTP_RECORD_HEAD, .version = head->counter};
    unsigned char *key = kt_locked_alloc(KT_KEY_SIZE), *plain = NULL;
    size_t size = 0;
    kt_status_t status;

    if (key == NULL)
        return kt_no_memory();
    memcpy(header.key_id, type->id, KT_KEYID_SIZE);
    memcpy(header.id, head->id, KT_ID_SIZE);
    kt_head_key(type, key);
    status = kt_head_encode(head, &plain, &size);
    if (status == KT_SUCCESS)
        status = kt_seal(key, &header, holder->keyring->environment, type->type, plain, size,
                         ret_record, ret_size);
    kt_wipe(plain, size);
    free(plain);
    kt_locked_free(key);
    return status;
}

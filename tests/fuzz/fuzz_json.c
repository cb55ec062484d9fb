/* SPDX-License-Identifier: BSD-2-Clause */
/* Values: shapes, fields, rotations, encodings. */
#include <jansson.h>
#include <string.h>

#include "fuzz.h"

static const char *const fuzz_fields[] = {"user", "password", "api_key", "rotated_at", "a b", ""};

static json_t *load(const kt_secret_t *value)
{
    return json_loadb((const char *)value->data, value->size,
                      JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
}

/* Everything but `field` means what it did before. */
static void check_others(const kt_secret_t *old, const kt_secret_t *new, const char *field)
{
    json_t *before = load(old), *after = load(new);

    must(json_is_object(before) && json_is_object(after));
    json_object_del(before, field);
    json_object_del(after, field);
    must(json_equal(before, after));
    json_decref(before);
    json_decref(after);
}

static void try_field(const kt_secret_t *value, const char *field, const kt_secret_t *part)
{
    kt_secret_t *set = NULL, *back = NULL;
    kt_status_t status = kt_secret_field(value, field, &back);

    must((status == KT_SUCCESS) == (back != NULL));
    must(status == KT_SUCCESS || status == KT_NOTFOUND || status == KT_MALFORMED);
    kt_secret_free(back);
    back = NULL;
    status = kt_shape_set_field(value, field, part, &set);
    must((status == KT_SUCCESS) == (set != NULL));
    if (set == NULL)
        return;
    must(kt_secret_field(set, field, &back) == KT_SUCCESS);
    must(kt_secret_equal(back, part->data, part->size));
    check_others(value, set, field);
    kt_secret_free(back);
    kt_secret_free(set);
}

static void try_rotation(const kt_secret_t *value, const kt_secret_t *part)
{
    kt_shape_t shape = kt_shape_of(value);
    kt_secret_t *rotated = NULL;
    kt_status_t status = kt_shape_rotate(shape, value, part, 1700000000000, &rotated);

    must((status == KT_SUCCESS) == (rotated != NULL));
    must(shape != KT_SHAPE_CERTIFICATE || status == KT_CONFLICT);
    if (rotated != NULL && shape != KT_SHAPE_OPAQUE)
        must(kt_shape_of(rotated) == shape);
    kt_secret_free(rotated);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kt_secret_t *value, *part;

    if (size > 8192)
        return 0;
    value = kt_secret_new(data, size);
    part = kt_secret_new(data, size < 40 ? size : 40); /* JSON, text or bytes */
    must(value != NULL && part != NULL);
    for (size_t i = 0; i < KT_ARRAY(fuzz_fields); i++)
        try_field(value, fuzz_fields[i], part);
    try_rotation(value, part);
    for (int encoding = KT_ENCODE_NONE; encoding <= KT_ENCODE_BASIC; encoding++) {
        kt_secret_t *text = NULL;

        if (kt_secret_encode(value, (kt_encoding_t)encoding, &text) == KT_SUCCESS)
            kt_secret_free(text);
        else
            must(encoding == KT_ENCODE_BASIC && text == NULL);
    }
    kt_secret_free(value);
    kt_secret_free(part);
    return 0;
}

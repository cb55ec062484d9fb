/* SPDX-License-Identifier: BSD-2-Clause */
/* Masks and cleaned foreign texts: within their room, and safe on a terminal. */
#include "fuzz.h"

#define FUZZ_ROOM 300u

static void check_mask(const kt_secret_t *value, kt_mask_style_t style)
{
    kt_secret_t *text = NULL;

    must(kt_mask(value, style, &text) == KT_SUCCESS && text != NULL);
    for (size_t i = 0; i < text->size; i++)
        must(text->data[i] >= ' ' && text->data[i] != 0x7f);
    must(style == KT_MASK_PARTIAL || kt_secret_equal(text, "[MASKED]", 8));
    if (value->size > 0 && value->size <= 8 && style == KT_MASK_PARTIAL)
        for (size_t i = 0; i < text->size; i++)
            must(text->data[i] == '*');
    kt_secret_free(text);
}

static void check_sanitized(void (*sanitize)(const char *text, char *out, size_t size),
                            const char *text)
{
    char out[FUZZ_ROOM + 1], again[FUZZ_ROOM + 1];

    for (size_t room = 1; room <= FUZZ_ROOM; room += 13) {
        memset(out, '#', sizeof(out));
        sanitize(text, out, room);
        must(memchr(out, '\0', room) != NULL && out[room] == '#');
    }
    sanitize(text, out, sizeof(out));
    sanitize(text, again, sizeof(again));
    must(strcmp(out, again) == 0);
}

/* No run of 20 letters and digits is left. */
static void check_runs(const char *text)
{
    char out[FUZZ_ROOM];
    size_t run = 0;

    kt_sanitize_log(text, out, sizeof(out));
    for (const char *at = out; *at != '\0'; at++) {
        run = (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z')
                  ? run + 1
                  : 0;
        must(run < 20);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kt_secret_t *value = kt_secret_new(data, size);
    char *text = malloc(size + 1);

    must(text != NULL && value != NULL);
    check_mask(value, KT_MASK_FULL);
    check_mask(value, KT_MASK_PARTIAL);
    memcpy(text, data, size);
    text[size] = '\0';
    check_sanitized(kt_sanitize_log, text);
    check_sanitized(kt_sanitize_error, text);
    check_runs(text);
    kt_secret_free(value);
    free(text);
    return 0;
}

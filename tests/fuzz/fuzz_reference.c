/* SPDX-License-Identifier: BSD-2-Clause */
/* References and patterns. An input is a reference, or a pattern and a text on two lines. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/* A reference's normal form means the same, and is its own normal form. */
static void try_reference(const char *text, size_t size)
{
    char normal[KT_REFERENCE_MAX], again[KT_REFERENCE_MAX];
    kt_reference_t reference, back;
    const char *why = NULL;
    kt_status_t status = kt_reference_check(text, size, &why);

    must((status == KT_SUCCESS) == (why == NULL));
    must(kt_reference_parse(text, size, &reference) == status);
    if (status != KT_SUCCESS)
        return;
    kt_reference_format(&reference, normal, sizeof(normal));
    must(kt_reference_parse(normal, 0, &back) == KT_SUCCESS);
    must(strcmp(reference.name, back.name) == 0 && strcmp(reference.type, back.type) == 0);
    must(strcmp(reference.field, back.field) == 0 && reference.selector == back.selector);
    must(reference.version == back.version);
    must(kt_name_check(reference.name, 0, NULL) == KT_SUCCESS);
    must(kt_pattern_check(reference.name) == KT_SUCCESS);
    kt_reference_format(&back, again, sizeof(again));
    must(strcmp(normal, again) == 0);
}

/* The usual way of matching: back to the last star. */
static bool usual_match(const char *pattern, const char *text)
{
    const char *star = NULL, *from = NULL;

    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            from = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++from;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}

static void try_pattern(const char *pattern, const char *text)
{
    must(kt_pattern_match(pattern, text) == usual_match(pattern, text));
    must(kt_pattern_match("*", text));
    must(strchr(pattern, '*') != NULL || kt_pattern_match(pattern, text) == !strcmp(pattern, text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), environment[KT_ENVIRONMENT_MAX], *line;

    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (size > 0)
        try_reference(text, size);
    if (kt_environment_parse(text, environment) == KT_SUCCESS)
        must(kt_name_check(environment, 0, NULL) == KT_SUCCESS);
    (void)kt_duration_parse(text);
    line = strchr(text, '\n');
    if (line != NULL && size < 4096) {
        *line = '\0';
        try_pattern(text, line + 1);
    }
    free(text);
    return 0;
}

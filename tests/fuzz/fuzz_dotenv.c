/* SPDX-License-Identifier: BSD-2-Clause */
/* The readers of NAME=VALUE lines: the first byte chooses the dialect. */
#include "fuzz.h"

typedef struct dotenv_bounds {
    const char *text;
    size_t size;
} dotenv_bounds_t;

static int fuzz_pair(void *arg, const kt_pair_t *pair)
{
    const dotenv_bounds_t *in = arg;

    must(pair->name >= in->text && pair->name + pair->name_size <= in->text + in->size);
    must(pair->value_size <= in->size && pair->value[pair->value_size] == '\0');
    must(memchr(pair->value, '\0', pair->value_size) == NULL);
    must(pair->line >= 1 && pair->line <= in->size + 1);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"common", "npm",     "python", "compose",
                                        "docker", "systemd", "shell"};
    dotenv_bounds_t in = {.size = size > 0 ? size - 1 : 0};
    char *text = malloc(in.size + 1);

    must(text != NULL);
    if (in.size > 0)
        memcpy(text, data + 1, in.size);
    text[in.size] = '\0';
    in.text = text;
    (void)kt_dotenv_read(names[size > 0 ? data[0] % KT_ARRAY(names) : 0], "x", text, in.size,
                         fuzz_pair, &in);
    free(text);
    return 0;
}

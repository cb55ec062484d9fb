/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz.h: what the fuzz targets share. `make BUILD=... fuzzers` builds them with clang's libFuzzer
 * (fuzz.mk); tests/unit/test_fuzz.c replays their corpora in every run of the tests.
 */
#ifndef KT_FUZZ_H
#define KT_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

/* Stops the fuzzer, also where assert() is compiled out. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif /* KT_FUZZ_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz.h: what the fuzz targets share. `make BUILD=... fuzzers` builds them with clang's libFuzzer
 * (fuzz.mk); tests/unit/test_fuzz.c replays their corpora in every run of the tests.
 *
 * A fuzzer never guesses a valid seal. So the targets of sealed formats seal their input
 * themselves, with the keys of fuzz_keyring(): they try what a holder of the keys, or a bug of
 * ours, could have written.
 */
#ifndef KT_FUZZ_H
#define KT_FUZZ_H

#include <dirent.h>
#include <ftw.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/serve.h"

/* Stops the fuzzer, even where assert() is compiled out. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define FUZZ_ENVIRONMENT "development"
#define FUZZ_TYPE "fuzz"

/* The same keys in each run, because inputs of the corpus are sealed with them. Never freed. */
static inline kt_keyring_t *fuzz_keyring(void)
{
    static kt_keyring_t *keyring;
    unsigned char key[KT_KEY_SIZE];

    if (keyring != NULL)
        return keyring;
    memset(key, 0x5a, sizeof(key));
    must(kt_keyring_new(FUZZ_ENVIRONMENT, &keyring) == KT_SUCCESS);
    must(kt_keyring_add_env(keyring, 1, key) == KT_SUCCESS);
    return keyring;
}

static inline const kt_typekey_t *fuzz_type(void)
{
    const kt_typekey_t *type;

    must(kt_keyring_type(fuzz_keyring(), FUZZ_TYPE, 0, &type) == KT_SUCCESS);
    return type;
}

/* Input that is read piece by piece; past its end it reads as zeros. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input_t;

static inline const uint8_t *fuzz_take(fuzz_input_t *in, size_t size, size_t *ret_size)
{
    const uint8_t *data = in->data;

    *ret_size = size < in->size ? size : in->size;
    in->data += *ret_size;
    in->size -= *ret_size;
    return data;
}

static inline uint8_t fuzz_byte(fuzz_input_t *in)
{
    size_t got;
    const uint8_t *data = fuzz_take(in, 1, &got);

    return got == 1 ? *data : 0;
}

/* ---- files: in memory where the system supports it ---- */

static char fuzz_dir[64];

static inline int fuzz_remove_one(const char *path, const struct stat *st, int type,
                                  struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    (void)remove(path);
    return 0;
}

static inline void fuzz_remove(void)
{
    (void)nftw(fuzz_dir, fuzz_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A folder of this process, removed when the process ends. */
static inline const char *fuzz_folder(void)
{
    if (fuzz_dir[0] == '\0') {
        strcpy(fuzz_dir,
               access("/dev/shm", W_OK) == 0 ? "/dev/shm/kt-fuzz-XXXXXX" : "/tmp/kt-fuzz-XXXXXX");
        must(mkdtemp(fuzz_dir) != NULL && atexit(fuzz_remove) == 0);
    }
    return fuzz_dir;
}

static inline void fuzz_write(const char *name, const void *data, size_t size)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", fuzz_folder(), name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
}

static inline int fuzz_any_of(const unsigned char *data, size_t size)
{
    int any = 0;

    for (size_t i = 0; i < size; i++)
        any |= data[i];
    return any;
}

#endif /* KT_FUZZ_H */

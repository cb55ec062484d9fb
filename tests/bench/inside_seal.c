/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inside_seal.c: a value sealed and opened, beside what libsodium takes for the same bytes.
 *
 *     inside_seal ROUNDS COUNT
 *
 * Prints seal.SIZE, open.SIZE (with padding, header and memory that is locked and wiped) and
 * bare.seal.SIZE, bare.open.SIZE (the cipher and, to seal, a random nonce).
 */
#include <err.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/serve.h"
#include "bench.h"

#define NONCE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG crypto_aead_xchacha20poly1305_ietf_ABYTES

static const unsigned sizes[] = {32, 65536};
static unsigned char key[KT_KEY_SIZE], plain[65536], out[65536], bare[65536 + TAG], nonce[NONCE];
static unsigned char *record;
static size_t size, record_size;

static void must(kt_status_t status)
{
    if (status != KT_SUCCESS)
        errx(70, "%s", kt_failure());
}

static void seal(void *arg, unsigned i)
{
    kt_header_t header = {.type = KTP_RECORD_VALUE, .version = 1};

    (void)arg, (void)i;
    free(record);
    must(
        kt_seal(key, &header, "production", "api-keys/stripe", plain, size, &record, &record_size));
}

static void open_sealed(void *arg, unsigned i)
{
    unsigned char *opened;
    size_t opened_size;

    (void)arg, (void)i;
    must(kt_unseal(key, "production", "api-keys/stripe", record, record_size, &opened,
                   &opened_size));
    kt_locked_free(opened);
}

static void bare_seal(void *arg, unsigned i)
{
    (void)arg, (void)i;
    randombytes_buf(nonce, sizeof(nonce));
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(bare, NULL, plain, size, NULL, 0, NULL, nonce,
                                                     key);
}

static void bare_open(void *arg, unsigned i)
{
    (void)arg, (void)i;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, bare, size + TAG, NULL, 0,
                                                   nonce, key) != 0)
        errx(70, "the bare seal does not hold");
}

static void run(const char *what, bench_fn fn, unsigned count)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "%s.%zu", what, size);
    bench_run(name, fn, NULL, count);
}

int main(int argc, char **argv)
{
    unsigned rounds = bench_number(argc, argv, 1), count = bench_number(argc, argv, 2);

    if (sodium_init() < 0)
        errx(70, "libsodium");
    randombytes_buf(key, sizeof(key));
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t n = 0; n < KT_ARRAY(sizes); n++) {
            unsigned times = count / (1 + sizes[n] / 1024);

            size = sizes[n];
            run("bare.seal", bare_seal, times + 1);
            run("seal", seal, times + 1);
            run("bare.open", bare_open, times + 1);
            run("open", open_sealed, times + 1);
        }
    }
    free(record);
    return 0;
}

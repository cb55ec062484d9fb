/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Backups. The first byte says what the rest is: a file as it stands (even), or rows that this
 * target puts into a true stream (odd), each after its length of two bytes, whose highest bit marks
 * the last row.
 */
#include <sodium.h>

#include "fuzz.h"
#include "maintain/backup.h"

#define FUZZ_FILE_MAX 65536u
#define FUZZ_ROWS_MAX 64u

static size_t encrypt(fuzz_input_t in, unsigned char *file)
{
    const size_t extra = crypto_secretstream_xchacha20poly1305_ABYTES;
    crypto_secretstream_xchacha20poly1305_state stream;
    unsigned char key[KT_KEY_SIZE];
    size_t at = 8 + KT_KEYID_SIZE;

    kt_backup_key(&fuzz_keyring()->env[0], key);
    memcpy(file, "KTBK\1\0\0", 8);
    memcpy(file + 8, fuzz_keyring()->env[0].id, KT_KEYID_SIZE);
    (void)crypto_secretstream_xchacha20poly1305_init_push(&stream, file + at, key);
    at += crypto_secretstream_xchacha20poly1305_HEADERBYTES;
    for (unsigned row = 0; in.size >= 2 && row < FUZZ_ROWS_MAX; row++) {
        size_t length = (size_t)fuzz_byte(&in) << 8, got;
        const uint8_t *plain;
        unsigned char tag;

        length |= fuzz_byte(&in);
        tag = length & 0x8000 ? crypto_secretstream_xchacha20poly1305_TAG_FINAL : 0;
        plain = fuzz_take(&in, length & 0x7fff, &got);
        if (at + 4 + got + extra > FUZZ_FILE_MAX)
            break;
        kt_put_u32(file + at, (uint32_t)(got + extra));
        must(crypto_secretstream_xchacha20poly1305_push(&stream, file + at + 4, NULL, plain, got,
                                                        NULL, 0, tag) == 0);
        at += 4 + got + extra;
    }
    return at;
}

static void read_backup(void)
{
    static const unsigned char private_key[KT_KEY_SIZE] = {1};
    kt_backup_t backup;
    bool more = true;
    char path[128];
    ktp_key_t key;
    ktp_row_t row;
    kt_status_t status;

    snprintf(path, sizeof(path), "%s/backup", fuzz_folder());
    status = kt_backup_open(&backup, path, fuzz_keyring(), private_key);
    while (status == KT_SUCCESS && more) {
        status = kt_backup_next(&backup, &more, &key, &row);
        if (status != KT_SUCCESS || !more)
            break;
        must(key.space <= KTP_NODE && key.id_size <= KTP_KEY_MAX);
        (void)fuzz_any_of(row.record, row.record_size);
        if (row.beside != NULL)
            (void)fuzz_any_of(row.beside, row.beside_size);
        must(row.beside != NULL || row.beside_size == 0);
    }
    must(status == KT_SUCCESS || status == KT_MALFORMED || status == KT_WRONGKEY);
    kt_backup_close(&backup);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char file[FUZZ_FILE_MAX];
    fuzz_input_t in = {data, size};

    if (fuzz_byte(&in) % 2 == 0)
        fuzz_write("backup", in.data, in.size);
    else
        fuzz_write("backup", file, encrypt(in, file));
    read_backup();
    return 0;
}

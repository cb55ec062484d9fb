/* SPDX-License-Identifier: BSD-2-Clause */
/* core/maintain/backup.c and core/keys/recipient.c: the vectors of the page, and files damaged at
 * every byte and cut at every length. */
#include "vectors.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "maintain/backup.h"

static char folder[] = "/tmp/ktb-XXXXXX", path[64];
static kt_keyring_t *keyring;

static void make_folder(void)
{
    vector_t key = vector("environment_key");

    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/backup", folder);
    assert_ok(kt_keyring_new("production", &keyring));
    assert_ok(kt_keyring_add_env(keyring, 1, key.bytes));
}

static void remove_folder(void)
{
    char command[96];

    kt_keyring_free(keyring);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
    memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
}

static void write_file(const unsigned char *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    (void)close(fd);
}

static const struct {
    ktp_space_t space;
    const char *kind, *id, *record, *beside; /* vectors; "": there is none */
    uint64_t stamp;
} rows_of_the_page[] = {
    {KTP_META, "c", "environment_key_id", "catalogue_record", "", 9},
    {KTP_META, "r", "type_key_id", "root_one", "", 7},
    {KTP_HEAD, "", "name_hash", "head_record", "value_record", 5},
};

static void assert_row(unsigned n, const ktp_key_t *key, const ktp_row_t *row)
{
    vector_t id = vector(rows_of_the_page[n].id), record = vector(rows_of_the_page[n].record);
    size_t kind = strlen(rows_of_the_page[n].kind);

    ck_assert_int_eq(key->space, rows_of_the_page[n].space);
    ck_assert_uint_eq(key->id_size, kind + id.size);
    ck_assert_mem_eq(key->id, rows_of_the_page[n].kind, kind);
    ck_assert_mem_eq(key->id + kind, id.bytes, id.size);
    ck_assert_uint_eq(row->stamp, rows_of_the_page[n].stamp);
    ck_assert_uint_eq(row->record_size, record.size);
    ck_assert_mem_eq(row->record, record.bytes, record.size);
    if (rows_of_the_page[n].beside[0] != '\0') {
        vector_t beside = vector(rows_of_the_page[n].beside);

        ck_assert_uint_eq(row->beside_size, beside.size);
        ck_assert_mem_eq(row->beside, beside.bytes, beside.size);
    } else {
        ck_assert_ptr_null(row->beside);
    }
}

/* Reads the whole file; the rows that came are those of the vectors, in their order. */
static kt_status_t read_file(const unsigned char *private_key, unsigned *ret_rows)
{
    kt_backup_t b;
    ktp_key_t key;
    ktp_row_t row;
    bool more = true;
    kt_status_t status = kt_backup_open(&b, path, keyring, private_key);

    *ret_rows = 0;
    while (status == KT_SUCCESS && (status = kt_backup_next(&b, &more, &key, &row)) == KT_SUCCESS &&
           more) {
        ck_assert_uint_lt(*ret_rows, KT_ARRAY(rows_of_the_page));
        assert_row((*ret_rows)++, &key, &row);
    }
    kt_backup_close(&b);
    return status;
}

static const char *const files[] = {"backup_file", "recipient_backup"};

START_TEST(the_files_of_the_page_are_read)
{
    vector_t file = vector(files[_i]), key = vector("recipient_private_key");
    unsigned rows;

    write_file(file.bytes, file.size);
    assert_ok(read_file(key.bytes, &rows));
    ck_assert_uint_eq(rows, KT_ARRAY(rows_of_the_page));
    assert_status(read_file(NULL, &rows), _i == 0 ? KT_SUCCESS : KT_NOKEY);
    key.bytes[5] ^= 1;
    assert_status(read_file(key.bytes, &rows), _i == 0 ? KT_SUCCESS : KT_WRONGKEY);
}
END_TEST

START_TEST(every_byte_of_a_file_is_held)
{
    vector_t file = vector(files[_i]), key = vector("recipient_private_key");
    unsigned rows;

    for (size_t at = 0; at < file.size; at++) {
        kt_status_t status;

        file.bytes[at] ^= 1u << at % 8;
        write_file(file.bytes, file.size);
        status = read_file(key.bytes, &rows);
        ck_assert_msg(status == KT_MALFORMED || status == KT_WRONGKEY, "byte %zu: %s", at,
                      kt_status_name(status));
        file.bytes[at] ^= 1u << at % 8;
    }
}
END_TEST

START_TEST(cut_or_longer_it_is_refused)
{
    vector_t file = vector(files[_i]), key = vector("recipient_private_key");
    unsigned rows;

    for (size_t size = 0; size <= file.size + 1; size++) {
        write_file(file.bytes, size);
        assert_status(read_file(key.bytes, &rows), size == file.size ? KT_SUCCESS : KT_MALFORMED);
    }
}
END_TEST

/* Not even a file that takes the name while the backup is being written. */
START_TEST(nothing_is_overwritten)
{
    kt_backup_t b;
    struct stat st;

    assert_ok(kt_backup_create(&b, path, keyring, NULL));
    ck_assert_int_ne(lstat(path, &st), 0); /* it has no name yet */
    write_file((const unsigned char *)"x", 1);
    assert_status(kt_backup_finish(&b), KT_CONFLICT);
    kt_backup_close(&b);
    ck_assert(lstat(path, &st) == 0 && st.st_size == 1);
    assert_status(kt_backup_create(&b, path, keyring, NULL), KT_CONFLICT);
    kt_backup_close(&b);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_folder, remove_folder);
    UNIT_TABLE(tests, the_files_of_the_page_are_read, files);
    UNIT_TABLE(tests, every_byte_of_a_file_is_held, files);
    UNIT_TABLE(tests, cut_or_longer_it_is_refused, files);
    tcase_add_test(tests, nothing_is_overwritten);
}

UNIT_MAIN("backup", add_tests)

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The logs of a stream, plain and compressed: the user of the stream decides what they are. Of the
 * first two bytes the first says whether the rest is a file as it stands (even), or text that this
 * target compresses (odd), and the second how many bytes of that are cut off.
 */
#include <zlib.h>

#include "fuzz.h"
#include "audit/generations.h"
#include "audit/verify.h"

#define FUZZ_LOG_MAX 8192u

static size_t compress_log(const uint8_t *data, size_t size, unsigned char *packed)
{
    z_stream zip = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};

    must(deflateInit2(&zip, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    zip.next_out = packed;
    zip.avail_out = FUZZ_LOG_MAX;
    must(deflate(&zip, Z_FINISH) == Z_STREAM_END);
    size = FUZZ_LOG_MAX - zip.avail_out;
    must(deflateEnd(&zip) == Z_OK);
    return size;
}

static kt_audit_reader_t *read_file(const char *name)
{
    kt_audit_reader_t *reader;
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", fuzz_folder(), name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd >= 0);
    reader = kt_audit_reader_new(fd);
    must(reader != NULL);
    return reader;
}

/* To its end; a line is a line. */
static size_t read_lines(const char *name)
{
    kt_audit_reader_t *reader = read_file(name);
    kt_audit_step_t step;
    size_t size, count = 0;
    char *line;

    while ((step = kt_audit_reader_next(reader, &line, &size)) == KT_AUDIT_NEXT) {
        must(size > 0 && line[size - 1] == '\n' && line[size] == '\0');
        must(memchr(line, '\n', size - 1) == NULL);
        count++;
    }
    must(step == KT_AUDIT_END || kt_audit_reader_why(reader)[0] != '\0');
    must(kt_audit_reader_number(reader) >= count);
    kt_audit_reader_free(reader);
    return count;
}

/* The same lines, whether they are compressed or not; where some are cut off, the first ones. */
static void compare_lines(const char *name, const char *plain, bool whole)
{
    kt_audit_reader_t *one = read_file(name), *other = read_file(plain);
    char *line, *same;
    size_t size, same_size;
    kt_audit_step_t step;

    while ((step = kt_audit_reader_next(one, &line, &size)) == KT_AUDIT_NEXT) {
        must(kt_audit_reader_next(other, &same, &same_size) == KT_AUDIT_NEXT);
        must(size == same_size && memcmp(line, same, size) == 0);
    }
    if (whole)
        must(kt_audit_reader_next(other, &same, &same_size) == step);
    kt_audit_reader_free(one);
    kt_audit_reader_free(other);
}

static void note_wrong(void *arg, kt_status_t status, const char *what, const char *detail)
{
    must(what != NULL && detail != NULL);
    *(size_t *)arg += status != KT_SUCCESS;
}

static int count_line_of_log(void *arg, const kt_audit_line_t *line)
{
    must(strchr(line->text, '\n') == NULL);
    return ++*(size_t *)arg >= 100;
}

static void see_generation(void *arg, const char *type, uint64_t generation,
                           const unsigned char store_id[KT_ID_SIZE], const char *where)
{
    (void)arg, (void)generation, (void)store_id;
    must(type[0] != '\0' && where[0] != '\0');
}

static void read_stream(void)
{
    const char *folder = fuzz_folder(), *slash = strrchr(folder, '/');
    static const unsigned char id[KT_ID_SIZE] = {0x11};
    char path[128], parent[64];
    kt_received_sum_t sum;
    size_t wrong = 0, lines = 0;
    kt_status_t status;

    status = kt_audit_verify_within(folder, NULL, NULL, true, 1000, note_wrong, &wrong);
    must(status == KT_SUCCESS || status == KT_MALFORMED || status == KT_NOTFOUND);
    status = kt_audit_scan(folder, 0, count_line_of_log, NULL, &lines);
    must(status == KT_SUCCESS || status == KT_MALFORMED || status == KT_NOTFOUND);
    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - folder), folder);
    kt_audit_generations(parent, slash + 1, "local", see_generation, NULL);
    status = kt_audit_all_generations(parent, slash + 1, "local", see_generation, NULL, note_wrong,
                                      &wrong);
    must(status == KT_SUCCESS || wrong > 0);
    snprintf(path, sizeof(path), "%s/log.1.gz", folder);
    status = kt_received_generations(path, "local", id, see_generation, NULL, &sum);
    must(status == KT_SUCCESS || status == KT_MALFORMED || status == KT_NOTFOUND);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char packed[FUZZ_LOG_MAX];
    fuzz_input_t in = {data, size};
    bool made = fuzz_byte(&in) & 1;
    size_t cut = fuzz_byte(&in), whole;

    if (in.size > FUZZ_LOG_MAX / 2)
        return 0;
    fuzz_write("log", in.data, in.size);
    if (!made) {
        fuzz_write("log.1.gz", in.data, in.size);
    } else {
        whole = compress_log(in.data, in.size, packed);
        fuzz_write("log.1.gz", packed, cut < whole ? whole - cut : 0);
    }
    (void)read_lines("log");
    (void)read_lines("log.1.gz");
    if (made && !kt_audit_is_gzip(in.data, in.size))
        compare_lines("log.1.gz", "log", cut == 0);
    read_stream();
    return 0;
}

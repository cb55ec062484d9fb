/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring that a dead process left: any process of the stream's user decides what it contains. The
 * input is its offsets (in slots), whether the checksums are corrected, and the records.
 */
#include "fuzz.h"
#include "audit/ring_file.h"

#define FUZZ_SLOTS 32u

typedef struct fuzz_ring_file {
    union {
        header_t header;
        unsigned char bytes[HEADER];
    } head;
    unsigned char records[FUZZ_SLOTS * SLOT];
} fuzz_ring_file_t;

static const unsigned char fuzz_ring_id[KT_RING_ID] = {7, 7, 7};

static void fill_ring(fuzz_ring_file_t *file, fuzz_input_t *in)
{
    header_t *header = &file->head.header;
    const uint8_t *records;
    size_t size;

    memset(file, 0, sizeof(*file));
    memcpy(header->magic, "KTG2", 4);
    memcpy(header->id, fuzz_ring_id, sizeof(fuzz_ring_id));
    header->size = sizeof(file->records);
    strcpy(header->boot, "a run");
    header->head = (uint64_t)fuzz_byte(in) * (SLOT / 4);
    header->tail = (uint64_t)fuzz_byte(in) * (SLOT / 4);
    header->sequence = fuzz_byte(in);
    header->drained = fuzz_byte(in);
    records = fuzz_take(in, sizeof(file->records), &size);
    memcpy(file->records, records, size);
}

/* Otherwise only the checksum would be tried. */
static void fit_checksums(kt_ring_t *ring)
{
    for (uint64_t at = 0; at < ring->size; at += SLOT) {
        record_t *record = (record_t *)(void *)(ring->records + at);

        if (summed(record) % 8 == 0 && summed(record) >= sizeof(*record) &&
            summed(record) <= ring->size - at)
            record->check = checksum(ring, record, summed(record));
    }
}

#define FUZZ_TEXT(member, ...) event->member,

static void read_texts(const kt_event_t *event)
{
    const char *const texts[] = {KT_AUDIT_FIELDS(FUZZ_TEXT, NOTHING, NOTHING, NOTHING)};
    size_t all = 0;

    for (size_t i = 0; i < KT_ARRAY(texts); i++)
        all += texts[i] != NULL ? strlen(texts[i]) : 0;
    must(all <= FUZZ_SLOTS * SLOT);
}

/* Whatever the ring contains becomes one line of printable bytes. */
static void write_line(const kt_ring_record_t *record)
{
    static const kt_audit_name_t trail = {FUZZ_ENVIRONMENT, "fuzz", "a run"};
    kt_lines_t lines = {.size = 0};

    must(kt_lines_begin(&lines, KT_AUDIT_LINE) == KT_SUCCESS);
    (void)kt_line_event(&lines, &trail, &record->event, record->sequence, record->time);
    must(lines.size > 2 && lines.text[lines.size - 1] == '\n');
    for (size_t i = 0; i + 1 < lines.size; i++)
        must((unsigned char)lines.text[i] >= 0x20);
    must(lines.text[8] == '"' && lines.text[33] == '"'); /* the time, always with as many digits */
    kt_lines_free(&lines);
}

static void walk_ring(kt_ring_t *ring, int64_t window)
{
    kt_ring_walk_t walk = kt_ring_begin(ring);
    kt_ring_record_t record;
    unsigned count = 0;

    while (kt_ring_next(ring, &walk, 1000, window, &record) == KT_RING_RECORD) {
        read_texts(&record.event);
        write_line(&record);
        must(++count <= FUZZ_SLOTS);
    }
    if (count > 0)
        kt_ring_release(ring, &walk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t in = {data, size};
    uint8_t how = fuzz_byte(&in);
    static fuzz_ring_file_t file;
    char name[2 * KT_RING_ID + 1];
    kt_ring_t *ring;
    int folder;

    kt_ring_name_of(fuzz_ring_id, name);
    fill_ring(&file, &in);
    fuzz_remove();
    must(mkdir(fuzz_folder(), 0700) == 0 || access(fuzz_folder(), W_OK) == 0);
    fuzz_write(name, &file, sizeof(file));
    folder = open(fuzz_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ring = kt_ring_open(folder, name, geteuid());
    must(ring != NULL);
    if ((how & 1) != 0)
        fit_checksums(ring);
    if ((how & 2) != 0)
        kt_ring_skip(ring, how);
    walk_ring(ring, (how & 4) != 0 ? 500 : 0);
    walk_ring(ring, 0);
    must(kt_ring_adopt(ring));
    kt_ring_close(ring);
    (void)close(folder);
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* line.c: decisions as JSON, one line each, and the lines around them. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "trail.h"

#define YEAR_10000 253402300800000 /* ms since the epoch */

kt_status_t kt_lines_begin(kt_lines_t *lines, size_t room)
{
    if (lines->room < room) {
        kt_lines_free(lines);
        lines->text = malloc(room);
        if (lines->text == NULL)
            return kt_fail(KT_AUDIT, "audit trail: out of memory");
        lines->room = room;
    }
    lines->size = 0;
    lines->decisions = 0;
    lines->origin_size = 0;
    return KT_SUCCESS;
}

void kt_lines_free(kt_lines_t *lines)
{
    free(lines->text);
    lines->text = NULL;
    lines->room = 0;
}

/* A line costs little more than its hash, as long as the compiler sees the keys: so what takes a
 * key is inline, down to the size of the key. */
#define INLINE static inline __attribute__((always_inline))

INLINE void put_bytes(kt_lines_t *lines, const char *text, size_t size)
{
    if (lines->size + size <= lines->room) {
        memcpy(lines->text + lines->size, text, size);
        lines->size += size;
    }
}

INLINE void put(kt_lines_t *lines, const char *text)
{
    put_bytes(lines, text, strlen(text));
}

/* `end`: what stands between the key's closing quote and the value. */
INLINE void put_key(kt_lines_t *lines, const char *key, const char *end)
{
    size_t size = strlen(key), all = size + strlen(end) + 3;
    char *at = lines->text + lines->size;

    if (lines->size + all > lines->room)
        return;
    memcpy(at, ",\"", 2);
    memcpy(at + 2, key, size);
    at[size + 2] = '"';
    memcpy(at + size + 3, end, strlen(end));
    lines->size += all;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

typedef signed char bytes_t __attribute__((vector_size(16)));
typedef uint64_t words_t __attribute__((vector_size(16)));

/* Are sixteen bytes printable ASCII that JSON takes as it is? Bytes from 0x80 on are negative. */
INLINE bool are_plain(bytes_t bytes)
{
    words_t wrong = (words_t)((bytes < 0x20) | (bytes == 0x7f) | (bytes == '"') | (bytes == '\\'));

    return (wrong[0] | wrong[1]) == 0;
}

/* Copies a text of at most sixteen bytes as two pieces that may overlap. False: not plain. */
INLINE bool copy_short(char *to, const char *text, size_t size)
{
    uint64_t first, last;
    uint32_t front, back;

    if (size >= 8) {
        memcpy(&first, text, 8);
        memcpy(&last, text + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
        return are_plain((bytes_t)(words_t){first, last});
    }
    if (size >= 4) {
        memcpy(&front, text, 4);
        memcpy(&back, text + size - 4, 4);
        memcpy(to, &front, 4);
        memcpy(to + size - 4, &back, 4);
        first = (uint64_t)back << 32 | front;
        return are_plain((bytes_t)(words_t){first, first});
    }
    for (; size > 0 && is_plain((unsigned char)*text); size--)
        *to++ = *text++;
    return size == 0;
}

/* The same of any size. */
INLINE bool copy_plain(char *to, const char *text, size_t size)
{
    bytes_t bytes;
    size_t at;

    if (size <= sizeof(bytes))
        return copy_short(to, text, size);
    for (at = 0; at + sizeof(bytes) < size; at += sizeof(bytes)) {
        memcpy(&bytes, text + at, sizeof(bytes));
        memcpy(to + at, &bytes, sizeof(bytes));
        if (!are_plain(bytes))
            return false;
    }
    memcpy(&bytes, text + size - sizeof(bytes), sizeof(bytes));
    memcpy(to + size - sizeof(bytes), &bytes, sizeof(bytes));
    return are_plain(bytes);
}

static __attribute__((noinline)) void put_escaped(kt_lines_t *lines, const char *text, size_t size)
{
    char escaped[8];
    size_t at;

    for (at = 0; at < size; at++) {
        if (is_plain((unsigned char)text[at])) {
            put_bytes(lines, text + at, 1);
            continue;
        }
        (void)snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned char)text[at]);
        put_bytes(lines, escaped, 6);
    }
}

/* Names come from clients. Everything but printable ASCII is escaped, so that no line can be
 * forged. */
static void put_text(kt_lines_t *lines, const char *text, size_t size)
{
    if (lines->size + size >= lines->room || !copy_plain(lines->text + lines->size, text, size)) {
        put_escaped(lines, text, size);
        put(lines, "\"");
        return;
    }
    lines->size += size + 1;
    lines->text[lines->size - 1] = '"';
}

/* What is longer than `max` bytes is cut off, so that each line fits. */
INLINE void put_string(kt_lines_t *lines, const char *key, const char *value, size_t max)
{
    if (value == NULL)
        return;
    put_key(lines, key, ":\"");
    put_text(lines, value, strnlen(value, max));
}

/* A text of an event. `length`: with NUL; 0: not known. */
INLINE void put_field(kt_lines_t *lines, const char *key, const char *value, size_t length,
                      size_t max)
{
    if (value == NULL)
        return;
    put_key(lines, key, ":\"");
    put_text(lines, value, length == 0 ? strnlen(value, max) : length - 1 < max ? length - 1 : max);
}

/* Two digits at once. */
static void put_decimal(kt_lines_t *lines, uint64_t number)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    size_t size = 1;
    uint64_t limit;
    char *at;

    for (limit = 10; size < 20 && number >= limit; limit *= 10)
        size++;
    if (lines->size + size > lines->room)
        return;
    lines->size += size;
    for (at = lines->text + lines->size; number >= 10; number /= 100)
        memcpy(at -= 2, pairs + number % 100 * 2, 2);
    if (size % 2 != 0)
        at[-1] = (char)('0' + number);
}

INLINE void put_number(kt_lines_t *lines, const char *key, uint64_t number)
{
    put_key(lines, key, ":");
    put_decimal(lines, number);
}

static void put_hex(kt_lines_t *lines, const char *key, const unsigned char *bytes, size_t size)
{
    char text[2 * KT_AUDIT_HASH + 1];

    put_key(lines, key, ":\"");
    put(lines, sodium_bin2hex(text, sizeof(text), bytes, size));
    put(lines, "\"");
}

/* The day's number since 1970 as year, month and day: the calendar repeats every 400 years, counted
 * here from a first of March. */
static void put_date(char *text, int64_t day)
{
    int64_t from = day + 719468, era = (from >= 0 ? from : from - 146096) / 146097,
            of_era = from - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100),
            month = (5 * of_year + 2) / 153;
    int64_t of_month = of_year - (153 * month + 2) / 5 + 1;

    month = month < 10 ? month + 3 : month - 9;
    year += era * 400 + (month <= 2);
    (void)snprintf(text, 12, "%04u-%02u-%02uT", (unsigned)(year % 10000), (unsigned)month,
                   (unsigned)of_month);
}

static void put_two(char *text, int64_t number, char behind)
{
    text[0] = (char)('0' + number / 10);
    text[1] = (char)('0' + number % 10);
    text[2] = behind;
}

/* Not by gmtime_r(): it takes the C library's lock of time zones. In a child that was forked while
 * another thread held it, it is never released. */
static void put_time(kt_lines_t *lines, int64_t now)
{
    char *text = lines->moment;
    int64_t second, of_day;

    if (now < 0 || now >= YEAR_10000) /* from a damaged ring */
        now = 0;
    second = now / 1000;
    if (second != lines->second || text[0] == '\0') {
        of_day = second % 86400;
        text[0] = '"';
        put_date(text + 1, second / 86400);
        put_two(text + 12, of_day / 3600, ':');
        put_two(text + 15, of_day / 60 % 60, ':');
        put_two(text + 18, of_day % 60, '.');
        text[25] = '"';
        lines->second = second;
    }
    text[21] = (char)('0' + now / 100 % 10);
    put_two(text + 22, now % 100, 'Z');
    put_bytes(lines, text, 26);
}

void kt_line_moment(int64_t now, char ret_text[25])
{
    kt_lines_t lines = {.size = 0};
    char text[32];

    lines.text = text;
    lines.room = sizeof(text);
    put_time(&lines, now);
    memcpy(ret_text, text + 1, 24); /* without its quotes */
    ret_text[24] = '\0';
}

/* `boot` and `stream` are the same in all lines of a block. */
static void put_origin(kt_lines_t *lines, const kt_audit_name_t *name)
{
    size_t at = lines->size;

    if (lines->origin_size != 0) {
        put_bytes(lines, lines->origin, lines->origin_size);
        return;
    }
    put_string(lines, "boot", name->boot, WORD_MAX);
    put_string(lines, "stream", name->stream, WORD_MAX);
    if (lines->size - at > sizeof(lines->origin))
        return;
    lines->origin_size = lines->size - at;
    memcpy(lines->origin, lines->text + at, lines->origin_size);
}

static size_t begin(kt_lines_t *lines, const kt_audit_name_t *name, uint64_t sequence, int64_t now)
{
    size_t at = lines->size;

    put(lines, "{\"time\":");
    put_time(lines, now);
    put_origin(lines, name);
    put_number(lines, "seq", sequence);
    return at;
}

INLINE void put_word(kt_lines_t *lines, const char *key, const char *word)
{
    put_string(lines, key, word, WORD_MAX);
}

INLINE void put_some(kt_lines_t *lines, const char *key, uint64_t number)
{
    if (number != 0)
        put_number(lines, key, number);
}

INLINE void put_count(kt_lines_t *lines, const char *key, uint64_t number)
{
    if (number > 1)
        put_number(lines, key, number);
}

INLINE void put_true(kt_lines_t *lines, const char *key, bool is_true)
{
    if (is_true) {
        put_key(lines, key, ":true");
    }
}

/* What stands between its braces, as JSON. */
INLINE void put_object(kt_lines_t *lines, const char *key, const char *members)
{
    if (members == NULL)
        return;
    put_key(lines, key, ":{");
    put(lines, members);
    put(lines, "}");
}

static void put_id(kt_lines_t *lines, const char *key, const unsigned char *id)
{
    if (id != NULL)
        put_hex(lines, key, id, KT_ID_SIZE);
}

#define PUT_TEXT(member, key, size, absent, from, meaning)                                         \
    put_field(lines, key, event->member != NULL ? event->member : (absent),                        \
              lengths[TEXT_##member], size);
#define PUT_NUMBER(member, key, meaning) put_some(lines, key, event->member);
#define PUT_FLAG(member, key, bit, meaning) put_true(lines, key, event->member);
#define PUT_LINE(put_value, key, value, meaning) put_value(lines, key, value);

size_t kt_line_event(kt_lines_t *lines, const kt_audit_name_t *name, const kt_event_t *event,
                     uint64_t sequence, int64_t now)
{
    static const uint16_t unknown[TEXTS] = {0};
    const uint16_t *lengths = event->lengths != NULL ? event->lengths : unknown;
    size_t at = begin(lines, name, sequence, now);

    KT_AUDIT_FIELDS(PUT_TEXT, PUT_NUMBER, PUT_FLAG, PUT_LINE)
    put(lines, "}\n");
    return at;
}

size_t kt_line_recovery(kt_lines_t *lines, const kt_audit_name_t *name, uint64_t dropped,
                        uint64_t missing, uint64_t sequence, int64_t now)
{
    size_t at = begin(lines, name, sequence, now);

    put(lines, ",\"action\":\"recover\",\"subject\":\"\",\"status\":\"success\"");
    put_number(lines, "dropped", dropped);
    put_number(lines, "missing", missing);
    put(lines, "}\n");
    return at;
}

static void put_gap(kt_lines_t *lines, const char *reason)
{
    kt_event_t event = {.action = "gap", .status = "success"};

    put(lines, ",\"action\":\"gap\",\"subject\":\"\",\"status\":\"success\"");
    put_word(lines, "severity", kt_severity(&event));
    put_word(lines, "reason", reason);
}

size_t kt_line_gap(kt_lines_t *lines, const kt_audit_name_t *name, const kt_audit_state_t *state,
                   uint64_t sequence, int64_t now)
{
    static const char *const reasons[KT_LOSSES] = {"", "gone", "cut", "changed", "copied"};
    size_t at = begin(lines, name, sequence, now);

    put_gap(lines, reasons[state->gap.reason]);
    put_number(lines, "from", state->gap.block);
    put_number(lines, "to", state->log_block - 1);
    put_number(lines, "first", state->gap.last + 1);
    put_number(lines, "last", state->log_last);
    put_number(lines, "length", state->gap.length);
    put(lines, "}\n");
    return at;
}

size_t kt_line_retention(kt_lines_t *lines, const kt_audit_name_t *name,
                         const kt_audit_removed_t *removed, int64_t keep, uint64_t sequence,
                         int64_t now)
{
    size_t at = begin(lines, name, sequence, now);

    put(lines, ",\"action\":\"retention\",\"subject\":\"\",\"status\":\"success\"");
    put_hex(lines, "instance", removed->instance, KT_AUDIT_ID);
    put_number(lines, "from", removed->from);
    put_number(lines, "to", removed->to);
    put_number(lines, "first", removed->first);
    put_number(lines, "last", removed->last);
    put_hex(lines, "chain", removed->chain, KT_AUDIT_HASH);
    put_number(lines, "keep", (uint64_t)keep / 1000);
    put(lines, "}\n");
    return at;
}

size_t kt_line_former(kt_lines_t *lines, const kt_audit_name_t *name,
                      const kt_audit_former_t *former, uint64_t sequence, int64_t now)
{
    size_t at = begin(lines, name, sequence, now);

    put_gap(lines, "state");
    put_hex(lines, "instance", former->instance, KT_AUDIT_ID);
    put_number(lines, "to", former->block);
    put_number(lines, "last", former->last);
    put_hex(lines, "chain", former->chain, KT_AUDIT_HASH);
    put(lines, "}\n");
    return at;
}

size_t kt_line_log(kt_lines_t *lines, const kt_audit_name_t *name, const kt_audit_state_t *state,
                   int64_t now)
{
    size_t at = lines->size;
    bool first = state->block == 0 && sodium_is_zero(state->sealed.chain, KT_AUDIT_HASH);

    put(lines, first ? KT_AUDIT_LOG "\"start\"" : KT_AUDIT_LOG "\"continue\"");
    put_hex(lines, "instance", state->instance, KT_AUDIT_ID);
    put(lines, state->keyed ? ",\"keyed\":true" : ",\"keyed\":false");
    put_string(lines, "environment", name->environment, KT_ENVIRONMENT_MAX);
    put_string(lines, "stream", name->stream, WORD_MAX);
    put_number(lines, "block", state->block);
    put_number(lines, "last", state->sealed.sequence);
    put_hex(lines, "chain", state->sealed.chain, KT_AUDIT_HASH);
    put_key(lines, "time", ":");
    put_time(lines, now);
    put(lines, "}\n");
    return at;
}

size_t kt_line_seal(kt_lines_t *lines, const kt_audit_state_t *state, const kt_audit_range_t *range,
                    int64_t now)
{
    unsigned char mac[KT_AUDIT_HASH];
    size_t at = lines->size;

    put(lines, KT_AUDIT_SEAL);
    put_decimal(lines, state->block);
    put_hex(lines, "instance", state->instance, KT_AUDIT_ID);
    put_number(lines, "first", state->sealed.sequence + 1);
    put_number(lines, "last", state->recorded.sequence);
    if (range != NULL) {
        put_hex(lines, "ring", range->ring, KT_RING_ID);
        put_number(lines, "from", range->from);
        put_number(lines, "to", range->to);
    }
    put_key(lines, "time", ":");
    put_time(lines, now);
    put_hex(lines, "chain", state->recorded.chain, KT_AUDIT_HASH);
    kt_audit_mac(state->key, state->recorded.chain, lines->text + at, lines->size - at, mac);
    put_hex(lines, "mac", mac, sizeof(mac));
    put(lines, "}\n");
    return at;
}

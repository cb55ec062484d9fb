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

INLINE void put_key(kt_lines_t *lines, const char *key)
{
    put(lines, ",\"");
    put(lines, key);
    put(lines, "\":");
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

#define EACH(byte) (0x0101010101010101u * (byte)) /* of the eight bytes of a word */

/* Eight bytes at once. Each term has the top bit of the byte that is not plain: one of 0x80 and
 * more, 0x7f, one below 0x20, a quote, a backslash. A borrow may blame the byte after it as well.
 */
static bool are_plain(const char *at)
{
    uint64_t word;

    memcpy(&word, at, 8);
    return ((word | (word + EACH(1u)) | (word - EACH(0x20u)) |
             ((word ^ EACH((unsigned)'"')) - EACH(1u)) |
             ((word ^ EACH((unsigned)'\\')) - EACH(1u))) &
            EACH(0x80u)) == 0;
}

/* How many bytes at the beginning are printable ASCII that JSON takes as they are. */
static size_t plain_bytes(const char *text, size_t size)
{
    size_t at = 0;

    while (size - at >= 8 && are_plain(text + at))
        at += 8;
    if (size - at < 8 && size >= 8 && are_plain(text + size - 8))
        return size;
    while (at < size && is_plain((unsigned char)text[at]))
        at++;
    return at;
}

/* Names come from clients. Everything but printable ASCII is escaped, so that no line can be
 * forged, and what is longer than `max` bytes is cut off, so that each line fits. */
static void put_text(kt_lines_t *lines, const char *text, size_t max)
{
    size_t size = strnlen(text, max), at = 0, plain;
    char escaped[8];

    for (;;) {
        plain = plain_bytes(text + at, size - at);
        put_bytes(lines, text + at, plain);
        at += plain;
        if (at == size)
            break;
        (void)snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned char)text[at++]);
        put_bytes(lines, escaped, 6);
    }
    put(lines, "\"");
}

INLINE void put_string(kt_lines_t *lines, const char *key, const char *value, size_t max)
{
    if (value == NULL)
        return;
    put_key(lines, key);
    put(lines, "\"");
    put_text(lines, value, max);
}

static void put_decimal(kt_lines_t *lines, uint64_t number)
{
    char text[20];
    size_t at = sizeof(text);

    do
        text[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    put_bytes(lines, text + at, sizeof(text) - at);
}

INLINE void put_number(kt_lines_t *lines, const char *key, uint64_t number)
{
    put_key(lines, key);
    put_decimal(lines, number);
}

static void put_hex(kt_lines_t *lines, const char *key, const unsigned char *bytes, size_t size)
{
    char text[2 * KT_AUDIT_HASH + 1];

    put_key(lines, key);
    put(lines, "\"");
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
    int64_t second, of_day;
    char rest[7];

    if (now < 0 || now >= YEAR_10000) /* from a damaged ring */
        now = 0;
    second = now / 1000;
    of_day = second % 86400;
    if (second != lines->second || lines->moment[0] == '\0') {
        put_date(lines->moment, second / 86400);
        put_two(lines->moment + 11, of_day / 3600, ':');
        put_two(lines->moment + 14, of_day / 60 % 60, ':');
        put_two(lines->moment + 17, of_day % 60, '\0');
        lines->second = second;
    }
    put_bytes(lines, "\"", 1);
    put_bytes(lines, lines->moment, 19);
    rest[0] = '.';
    rest[1] = (char)('0' + now / 100 % 10);
    put_two(rest + 2, now % 100, 'Z');
    rest[5] = '"';
    put_bytes(lines, rest, 6);
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
        put_key(lines, key);
        put(lines, "true");
    }
}

/* What stands between its braces, as JSON. */
INLINE void put_object(kt_lines_t *lines, const char *key, const char *members)
{
    if (members == NULL)
        return;
    put_key(lines, key);
    put(lines, "{");
    put(lines, members);
    put(lines, "}");
}

#define PUT_TEXT(member, key, size, absent, from, meaning)                                         \
    put_string(lines, key, event->member != NULL ? event->member : (absent), size);
#define PUT_NUMBER(member, key, meaning) put_some(lines, key, event->member);
#define PUT_FLAG(member, key, bit, meaning) put_true(lines, key, event->member);
#define PUT_LINE(put_value, key, value, meaning) put_value(lines, key, value);

size_t kt_line_event(kt_lines_t *lines, const kt_audit_name_t *name, const kt_event_t *event,
                     uint64_t sequence, int64_t now)
{
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
    put_key(lines, "time");
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
    put_key(lines, "time");
    put_time(lines, now);
    put_hex(lines, "chain", state->recorded.chain, KT_AUDIT_HASH);
    kt_audit_mac(state->key, state->recorded.chain, lines->text + at, lines->size - at, mac);
    put_hex(lines, "mac", mac, sizeof(mac));
    put(lines, "}\n");
    return at;
}

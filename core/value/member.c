/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * member.c: one member of a JSON object, found in the object's own text.
 *
 * Only syntax is judged here (RFC 8259), and only the member that is asked for means anything: an
 * integer of forty digits, a name that comes twice, or an escaped zero byte in another member does
 * no harm. Nothing is allocated, so nothing of a value is left behind.
 */
#include "member.h"

#include <string.h>

#define MAX_DEPTH 2048 /* as in the JSON library */

typedef struct cursor {
    const char *text;
    size_t at, end;
} cursor_t;

/* A zero byte at the end, and in the text it is one that JSON has nowhere. */
static char here(const cursor_t *cursor)
{
    return cursor->at < cursor->end ? cursor->text[cursor->at] : '\0';
}

static bool take(cursor_t *cursor, char c)
{
    if (cursor->at == cursor->end || cursor->text[cursor->at] != c)
        return false;
    cursor->at++;
    return true;
}

static void skip_space(cursor_t *cursor)
{
    while (here(cursor) != '\0' && strchr(" \t\n\r", here(cursor)) != NULL)
        cursor->at++;
}

/* ---- Strings ---- */

static bool take_hex(cursor_t *cursor, uint32_t *ret_code)
{
    *ret_code = 0;
    for (int i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef";
        char c = here(cursor);
        const char *digit = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

        if (digit == NULL)
            return false;
        *ret_code = *ret_code << 4 | (uint32_t)(digit - digits);
        cursor->at++;
    }
    return true;
}

/* What follows the backslash. A half of a surrogate pair stays what it is. */
static bool take_escape(cursor_t *cursor, uint32_t *ret_code)
{
    static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    const char *name;
    uint32_t low;
    cursor_t next;

    if (take(cursor, 'u')) {
        if (!take_hex(cursor, ret_code))
            return false;
        next = *cursor;
        if (*ret_code >> 10 == 0xd800 >> 10 && take(&next, '\\') && take(&next, 'u') &&
            take_hex(&next, &low) && low >> 10 == 0xdc00 >> 10) {
            *ret_code = 0x10000 + ((*ret_code & 0x3ff) << 10 | (low & 0x3ff));
            *cursor = next;
        }
        return true;
    }
    name = here(cursor) != '\0' ? strchr(names, here(cursor)) : NULL;
    if (name == NULL)
        return false;
    *ret_code = (unsigned char)codes[name - names];
    cursor->at++;
    return true;
}

/* A character of UTF-8: neither overlong nor a surrogate. */
static bool take_utf8(cursor_t *cursor, uint32_t *ret_code)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)here(cursor);
    int more = lead < 0x80 ? 0 : lead < 0xc0 ? -1 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    uint32_t code = more <= 0 ? lead : lead & (0x3fU >> more);

    if (more < 0 || lead > 0xf4)
        return false;
    cursor->at++;
    for (int i = 0; i < more; i++) {
        unsigned char c = (unsigned char)here(cursor);

        if (c >> 6 != 2)
            return false;
        code = code << 6 | (c & 0x3f);
        cursor->at++;
    }
    *ret_code = code;
    return code >= least[more] && code <= 0x10ffff && code >> 11 != 0xd800 >> 11;
}

/* The next character before the closing quote. */
static bool take_character(cursor_t *cursor, uint32_t *ret_code)
{
    if (take(cursor, '\\'))
        return take_escape(cursor, ret_code);
    return (unsigned char)here(cursor) >= 0x20 && take_utf8(cursor, ret_code);
}

static size_t put_utf8(uint32_t code, char *to)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3f));
        to[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3f));
    to[2] = (char)(0x80 | (code >> 6 & 0x3f));
    to[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* Past a string; whether it is the text `name`, if that is not NULL. */
static bool take_string(cursor_t *cursor, const char *name, bool *ret_same)
{
    bool same = name != NULL;
    char bytes[4];
    uint32_t code;

    if (!take(cursor, '"'))
        return false;
    while (!take(cursor, '"')) {
        size_t size;

        if (!take_character(cursor, &code))
            return false;
        size = put_utf8(code, bytes);
        same = same && code != 0 && strncmp(name, bytes, size) == 0;
        if (same)
            name += size;
    }
    *ret_same = same && *name == '\0';
    return true;
}

bool kt_member_unquote(const char *quoted, size_t size, char *to, size_t *ret_size)
{
    cursor_t cursor = {quoted, 0, size};
    size_t done = 0;
    uint32_t code;

    if (!take(&cursor, '"'))
        return false;
    while (!take(&cursor, '"')) {
        if (!take_character(&cursor, &code) || code == 0 || code >> 11 == 0xd800 >> 11)
            return false;
        done += put_utf8(code, to + done); /* never longer than it was quoted */
    }
    *ret_size = done;
    return true;
}

/* ---- Other values ---- */

static bool take_digits(cursor_t *cursor)
{
    size_t start = cursor->at;

    while (here(cursor) >= '0' && here(cursor) <= '9')
        cursor->at++;
    return cursor->at > start;
}

static bool take_number(cursor_t *cursor)
{
    take(cursor, '-');
    if (!take(cursor, '0') && !take_digits(cursor))
        return false;
    if (take(cursor, '.') && !take_digits(cursor))
        return false;
    if (!take(cursor, 'e') && !take(cursor, 'E'))
        return true;
    if (!take(cursor, '+'))
        take(cursor, '-');
    return take_digits(cursor);
}

static bool take_scalar(cursor_t *cursor)
{
    static const char *const words[] = {"true", "false", "null"};
    bool same;

    if (here(cursor) == '"')
        return take_string(cursor, NULL, &same);
    for (size_t i = 0; i < KT_ARRAY(words); i++) {
        size_t size = strlen(words[i]);

        if (cursor->end - cursor->at >= size &&
            memcmp(cursor->text + cursor->at, words[i], size) == 0) {
            cursor->at += size;
            return true;
        }
    }
    return take_number(cursor);
}

/* Past the name and the colon of a member. */
static bool take_name(cursor_t *cursor, const char *field, bool *ret_same)
{
    skip_space(cursor);
    if (!take_string(cursor, field, ret_same))
        return false;
    skip_space(cursor);
    return take(cursor, ':');
}

static void close_all(cursor_t *cursor, const char *closes, size_t *depth)
{
    while (*depth > 0) {
        skip_space(cursor);
        if (!take(cursor, closes[*depth - 1]))
            return;
        (*depth)--;
    }
}

/* Past a value, however it nests. `closes` has what ends each array and object that is open. */
static bool take_value(cursor_t *cursor)
{
    char closes[MAX_DEPTH];
    size_t depth = 0;
    bool same;

    for (;;) {
        char c;

        skip_space(cursor);
        c = here(cursor);
        if (c == '{' || c == '[') {
            if (depth == MAX_DEPTH)
                return false;
            cursor->at++;
            closes[depth++] = c == '{' ? '}' : ']';
            skip_space(cursor);
            if (here(cursor) != closes[depth - 1]) {
                if (c == '{' && !take_name(cursor, NULL, &same))
                    return false;
                continue;
            }
        } else if (!take_scalar(cursor)) {
            return false;
        }
        close_all(cursor, closes, &depth);
        if (depth == 0)
            return true;
        if (!take(cursor, ',') || (closes[depth - 1] == '}' && !take_name(cursor, NULL, &same)))
            return false;
    }
}

/* ---- The object ---- */

bool kt_member_find(const char *text, size_t size, const char *field, kt_member_t *ret_member)
{
    cursor_t cursor = {text, 0, size};
    kt_member_t member = {.first = true};

    skip_space(&cursor);
    if (!take(&cursor, '{'))
        return false;
    member.start = member.end = cursor.at;
    skip_space(&cursor);
    while (!take(&cursor, '}')) {
        size_t start;
        bool same;

        if ((!member.first && !take(&cursor, ',')) || !take_name(&cursor, field, &same))
            return false;
        member.first = false;
        skip_space(&cursor);
        start = cursor.at;
        if (!take_value(&cursor))
            return false;
        member.twice = member.twice || (same && member.found);
        if (same || !member.found) {
            member.start = same ? start : cursor.at;
            member.end = cursor.at;
        }
        member.found = member.found || same;
        skip_space(&cursor);
    }
    skip_space(&cursor);
    *ret_member = member;
    return cursor.at == cursor.end;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uri.c: connection URIs of PostgreSQL: postgres://USER:PASSWORD@HOST/NAME?OPTIONS.
 *
 * They are cut as libpq cuts them, so that the password which is replaced is the one that a client
 * logs in with. postgresql+DRIVER:// (SQLAlchemy) is understood too.
 */
#include "uri.h"

#include <sodium.h>
#include <string.h>

static const char *const names[KT_URI_PARTS] = {"user", "password", "host", "port", "database"};

static const struct {
    const char *field;
    kt_uri_part_t part;
} fields[] = {
    {"user", KT_URI_USER},   {"username", KT_URI_USER}, {"password", KT_URI_PASSWORD},
    {"host", KT_URI_HOST},   {"port", KT_URI_PORT},     {"name", KT_URI_NAME},
    {"dbname", KT_URI_NAME}, {"database", KT_URI_NAME},
};

kt_uri_part_t kt_uri_part_of(const char *field)
{
    size_t i;

    for (i = 0; i < KT_ARRAY(fields); i++)
        if (strcmp(fields[i].field, field) == 0)
            return fields[i].part;
    return KT_URI_PARTS;
}

/* ---- Cutting ---- */

/* The first of the bytes `set`, or zero byte, at or after `at`; `end` if there is none. */
static size_t find(const kt_uri_t *uri, size_t at, size_t end, const char *set)
{
    while (at < end && strchr(set, uri->text[at]) == NULL)
        at++;
    return at;
}

static bool starts(const kt_uri_t *uri, size_t at, const char *with)
{
    size_t size = strlen(with);

    return uri->size - at >= size && memcmp(uri->text + at, with, size) == 0;
}

static void put(kt_uri_t *uri, kt_uri_part_t part, size_t start, size_t end)
{
    uri->parts[part].start = start;
    uri->parts[part].end = end;
}

/* Past "postgresql://"; 0: it is something else. */
static size_t skip_scheme(const kt_uri_t *uri)
{
    size_t at = starts(uri, 0, "postgresql") ? 10 : starts(uri, 0, "postgres") ? 8 : 0;

    if (at != 0 && at < uri->size && uri->text[at] == '+')
        at = find(uri, at, uri->size, ":");
    return at != 0 && starts(uri, at, "://") ? at + 3 : 0;
}

/* USER:PASSWORD@; answers where the hosts begin. */
static size_t cut_account(kt_uri_t *uri, size_t at, size_t end)
{
    size_t mark = find(uri, at, end, "@/"), colon;

    if (mark == end || uri->text[mark] != '@')
        return at;
    colon = find(uri, at, mark, ":");
    put(uri, KT_URI_USER, at, colon);
    uri->place = colon < mark ? colon + 1 : mark;
    memcpy(uri->before, ":", colon < mark ? 0 : 1);
    put(uri, KT_URI_PASSWORD, uri->place, mark);
    return mark + 1;
}

/* HOST:PORT; several of them are one place no more. Answers where the path begins. */
static size_t cut_hosts(kt_uri_t *uri, size_t at, size_t end)
{
    size_t stop = find(uri, at, end, "/?"), close, colon;

    if (find(uri, at, stop, ",") != stop)
        return stop;
    if (at < stop && uri->text[at] == '[') {
        close = find(uri, at, stop, "]");
        colon = find(uri, close, stop, ":");
        put(uri, KT_URI_HOST, at + 1, close);
    } else {
        colon = find(uri, at, stop, ":");
        put(uri, KT_URI_HOST, at, colon);
    }
    if (colon < stop)
        put(uri, KT_URI_PORT, colon + 1, stop);
    return stop;
}

/* NAME=VALUE&NAME=VALUE: what is said here holds. */
static void cut_options(kt_uri_t *uri, size_t at, size_t end)
{
    size_t stop, equals, i;

    for (; at < end; at = stop + 1) {
        stop = find(uri, at, end, "&");
        equals = find(uri, at, stop, "=");
        for (i = 0; i < KT_ARRAY(fields); i++) {
            const char *field = fields[i].field;

            /* those that libpq knows */
            if (strcmp(field, "username") == 0 || strcmp(field, "name") == 0 ||
                strcmp(field, "database") == 0 || strlen(field) != equals - at)
                continue;
            if (equals < stop && memcmp(uri->text + at, field, equals - at) == 0)
                put(uri, fields[i].part, equals + 1, stop);
        }
    }
}

bool kt_uri_parse(const char *text, size_t size, kt_uri_t *ret_uri)
{
    kt_uri_t uri = {.text = text, .size = size};
    size_t at = skip_scheme(&uri), end, query, rest;

    if (at == 0)
        return false;
    end = find(&uri, at, size, " \t\r\n");
    for (rest = end; rest < size; rest++)
        if (text[rest] == '\0' || strchr(" \t\r\n", text[rest]) == NULL)
            return false;
    at = cut_hosts(&uri, cut_account(&uri, at, end), end);
    query = find(&uri, at, end, "?");
    if (at < query)
        put(&uri, KT_URI_NAME, at + 1, query);
    if (query < end)
        cut_options(&uri, query + 1, end);
    if (uri.place == 0) { /* the user is an option, so the password becomes one */
        uri.place = end;
        memcpy(uri.before, "&password=", sizeof("&password="));
    }
    *ret_uri = uri;
    return kt_uri_has(&uri, KT_URI_USER);
}

bool kt_uri_has(const kt_uri_t *uri, kt_uri_part_t part)
{
    return uri->parts[part].start < uri->parts[part].end;
}

/* ---- Percent signs ---- */

static int digit(char byte)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *found = byte != '\0' ? strchr(digits, byte) : NULL;

    return found != NULL ? (int)((found - digits) % 16) : -1;
}

/* Decodes the part into `to`, which has room for it as it stands; -1: it is not encoded right. */
static ssize_t decode(const kt_uri_t *uri, kt_uri_part_t part, char *to)
{
    const char *from = uri->text + uri->parts[part].start;
    const char *end = uri->text + uri->parts[part].end;
    char *at = to;

    while (from < end) {
        int high = 0, low = 0;

        if (*from != '%') {
            *at++ = *from++;
            continue;
        }
        if (end - from < 3 || (high = digit(from[1])) < 0 || (low = digit(from[2])) < 0 ||
            high + low == 0)
            return -1;
        *at++ = (char)(high << 4 | low);
        from += 3;
    }
    return at - to;
}

kt_status_t kt_uri_get(const kt_uri_t *uri, kt_uri_part_t part, kt_secret_t **ret_value)
{
    size_t size = uri->parts[part].end - uri->parts[part].start;
    kt_secret_t *value;
    ssize_t decoded;
    char *text;

    if (!kt_uri_has(uri, part))
        return kt_fail(KT_NOTFOUND, "the URI has no such part");
    text = kt_locked_alloc(size);
    if (text == NULL)
        return kt_no_memory();
    decoded = decode(uri, part, text);
    value = decoded >= 0 ? kt_secret_new(text, (size_t)decoded) : NULL;
    kt_locked_free(text);
    if (decoded < 0)
        return kt_fail(KT_USAGE,
                       "the %s in the connection URI has a percent sign without two hexadecimal "
                       "digits, or %%00",
                       names[part]);
    if (value == NULL)
        return kt_no_memory();
    *ret_value = value;
    return KT_SUCCESS;
}

kt_status_t kt_uri_same(const kt_uri_t *uri, kt_uri_part_t part, const kt_secret_t *other,
                        bool *ret_same)
{
    kt_secret_t *value = NULL;
    kt_status_t status = kt_uri_get(uri, part, &value);

    if (status == KT_NOTFOUND || status == KT_USAGE) {
        kt_failure_clear();
        *ret_same = status == KT_NOTFOUND && other == NULL;
        return KT_SUCCESS;
    }
    if (status != KT_SUCCESS)
        return status;
    *ret_same = other != NULL && value->size == other->size &&
                sodium_memcmp(value->data, other->data, value->size) == 0;
    kt_secret_free(value);
    return KT_SUCCESS;
}

static bool is_plain(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || (byte != '\0' && strchr("-._~", byte) != NULL);
}

/* Writes the password, encoded, to `to`; NULL: only counts. */
static size_t encode(const kt_secret_t *password, unsigned char *to)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t size = 0, i;

    for (i = 0; i < password->size; i++) {
        unsigned char byte = password->data[i];

        if (to != NULL && is_plain(byte)) {
            to[size] = byte;
        } else if (to != NULL) {
            to[size] = '%';
            to[size + 1] = (unsigned char)digits[byte >> 4];
            to[size + 2] = (unsigned char)digits[byte & 15];
        }
        size += is_plain(byte) ? 1 : 3;
    }
    return size;
}

kt_status_t kt_uri_set_password(const kt_uri_t *uri, const kt_secret_t *password,
                                kt_secret_t **ret_value)
{
    bool has = kt_uri_has(uri, KT_URI_PASSWORD);
    size_t start = has ? uri->parts[KT_URI_PASSWORD].start : uri->place;
    size_t end = has ? uri->parts[KT_URI_PASSWORD].end : uri->place;
    size_t between = has ? 0 : strlen(uri->before), coded = encode(password, NULL);
    size_t size = uri->size - (end - start) + between + coded;
    kt_secret_t *value;

    if (memchr(password->data, '\0', password->size) != NULL)
        return kt_fail(KT_MALFORMED, "the password has a zero byte: it cannot be part of a URI");
    if (size > KT_VALUE_MAX)
        return kt_fail(KT_TOOLARGE, "the value would have %zu bytes, over %u", size, KT_VALUE_MAX);
    value = kt_secret_new(NULL, size);
    if (value == NULL)
        return kt_no_memory();
    memcpy(value->data, uri->text, start);
    memcpy(value->data + start, uri->before, between);
    (void)encode(password, value->data + start + between);
    memcpy(value->data + start + between + coded, uri->text + end, uri->size - end);
    *ret_value = value;
    return KT_SUCCESS;
}

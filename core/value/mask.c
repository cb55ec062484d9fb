/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mask.c: what may be shown in place of a value, and texts of others without what looks like one.
 *
 * keyturn's own logs and errors hold no value by construction; the two functions below are for
 * texts that somebody else made, an application's log line or a server's error, where one can only
 * guess. They guess rather too much than too little.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "value.h"

#define MASKED "[MASKED]"
#define REDACTED "[REDACTED]"
#define SHOWN 4u     /* characters at each end */
#define ALL_STARS 8u /* up to this many characters none is shown */
#define RUN_MIN 20u  /* letters and digits in a row that look like a token */

int kt_mask_parse(const char *name)
{
    if (strcmp(name, "full") == 0)
        return KT_MASK_FULL;
    return strcmp(name, "partial") == 0 ? KT_MASK_PARTIAL : -1;
}

/* ---- values ---- */

/* The bytes of the UTF-8 character at `at`; 1 for a byte that is not one. */
static size_t character(const unsigned char *text, size_t size)
{
    static const unsigned char first[] = {0x00, 0xc0, 0xe0, 0xf0, 0xf8};
    size_t n, i;

    for (n = 2; n <= 4; n++) {
        if (text[0] < first[n - 1] || text[0] >= first[n] || n > size)
            continue;
        for (i = 1; i < n && (text[i] & 0xc0) == 0x80; i++)
            ;
        return i == n ? n : 1;
    }
    return 1;
}

/* A terminal or a log must not obey what is shown: control characters, and bytes that are not
 * UTF-8. */
static bool is_shown(const unsigned char *text, size_t n)
{
    if (n == 1)
        return text[0] < 0x80 && !kt_is_control((char)text[0]);
    return !(text[0] == 0xc2 && text[1] < 0xa0);
}

static size_t count_characters(const unsigned char *text, size_t size)
{
    size_t at, count = 0;

    for (at = 0; at < size; at += character(text + at, size - at))
        count++;
    return count;
}

/* `out` has room for as many bytes; how many they are. */
static size_t mask_partially(const unsigned char *text, size_t size, unsigned char *out)
{
    size_t count = count_characters(text, size), at = 0, to = 0, i, n;

    for (i = 0; i < count; i++, at += n) {
        n = character(text + at, size - at);
        if (count <= ALL_STARS || (i >= SHOWN && i < count - SHOWN)) {
            out[to++] = '*';
        } else if (!is_shown(text + at, n)) {
            out[to++] = '?';
        } else {
            memcpy(out + to, text + at, n);
            to += n;
        }
    }
    return to;
}

kt_status_t kt_mask(const kt_secret_t *secret, kt_mask_style_t style, kt_secret_t **ret_text)
{
    kt_secret_t *text;
    kt_status_t status = KT_SUCCESS;

    if (style != KT_MASK_FULL && style != KT_MASK_PARTIAL)
        return kt_fail(KT_USAGE, "a mask is full or partial");
    text = style == KT_MASK_FULL ? kt_secret_new(MASKED, sizeof(MASKED) - 1)
                                 : kt_secret_new(NULL, secret->size);
    if (text == NULL)
        return kt_no_memory();
    if (style == KT_MASK_PARTIAL)
        status = kt_secret_resize(text, mask_partially(secret->data, secret->size, text->data));
    if (status != KT_SUCCESS) {
        kt_secret_free(text);
        return status;
    }
    *ret_text = text;
    return KT_SUCCESS;
}

/* ---- texts ---- */

typedef struct sink {
    char *text;
    size_t size, at; /* `at` is below size, unless size is 0 */
} sink_t;

static void put(sink_t *sink, const char *text, size_t size)
{
    size_t left = sink->size > 0 ? sink->size - 1 - sink->at : 0;

    if (size > left)
        size = left;
    memcpy(sink->text + sink->at, text, size);
    sink->at += size;
}

static void put_text(sink_t *sink, const char *text)
{
    put(sink, text, strlen(text));
}

static void end(sink_t *sink)
{
    if (sink->size > 0)
        sink->text[sink->at] = '\0';
}

/* Not isalnum(), which asks the locale. */
static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word(char c)
{
    return is_alnum(c) || c == '_' || c == '-';
}

void kt_sanitize_log(const char *text, char *out, size_t size)
{
    sink_t sink = {out, size, 0};
    size_t run;

    while (*text != '\0') {
        for (run = 0; is_alnum(text[run]); run++)
            ;
        if (run >= RUN_MIN)
            put_text(&sink, REDACTED);
        else
            put(&sink, text, run > 0 ? run : 1);
        text += run > 0 ? run : 1;
    }
    end(&sink);
}

/* The end of the word at `text` if it begins with "password", "key" or "secret"; else 0. */
static size_t sensitive_word(const char *text)
{
    static const char *const words[] = {"password", "key", "secret"};
    size_t i, n;

    for (i = 0; i < KT_ARRAY(words); i++) {
        n = strlen(words[i]);
        if (strncasecmp(text, words[i], n) != 0)
            continue;
        while (is_word(text[n]))
            n++;
        return n;
    }
    return 0;
}

static size_t blanks(const char *text)
{
    return strspn(text, " \t");
}

/* From the end of the word to the quote that opens the value: `="`, `: '`, `": "`, ` "`. 0: no
 * quoted value follows. */
static size_t to_quote(const char *text)
{
    size_t n = 0;

    /* the word's own: a ':' or '=' has to follow, else it opens the value */
    if (text[0] == '"' || text[0] == '\'') {
        n = 1 + blanks(text + 1);
        if (text[n] != ':' && text[n] != '=')
            return 1;
    }
    n += strspn(text + n, " \t:=>");
    return text[n] == '"' || text[n] == '\'' ? n + 1 : 0;
}

/* Past the quote that ends the value; an open one has all the rest. */
static const char *past_value(const char *text, char quote)
{
    for (; *text != '\0' && *text != quote; text++)
        if (*text == '\\' && text[1] != '\0')
            text++;
    return *text == quote ? text + 1 : text;
}

/* The length of "/folder/file.env" at `text`, or 0. */
static size_t env_path(const char *text)
{
    size_t n = strcspn(text, " \t\r\n\"'`,;:()<>"), i;

    for (i = n; i >= 5; i--) /* the last ".env" of it that ends a word */
        if (strncasecmp(text + i - 4, ".env", 4) == 0 && (i == n || !is_alnum(text[i])))
            return i;
    return 0;
}

void kt_sanitize_error(const char *text, char *out, size_t size)
{
    sink_t sink = {out, size, 0};
    size_t word, quote, path;

    while (*text != '\0') {
        word = sensitive_word(text);
        quote = word > 0 ? to_quote(text + word) : 0;
        path = *text == '/' ? env_path(text) : 0;
        if (quote > 0) {
            put(&sink, text, word + quote - 1);
            put_text(&sink, REDACTED);
            text = past_value(text + word + quote, text[word + quote - 1]);
        } else if (path > 0) {
            put_text(&sink, "/[PATH]/[FILE].env");
            text += path;
        } else {
            put(&sink, text, 1);
            text++;
        }
    }
    end(&sink);
}

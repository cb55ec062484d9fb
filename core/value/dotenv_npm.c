/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dotenv_npm.c: as the npm package dotenv reads. Its one regular expression tries a value in
 * quotes, and takes the rest of the line up to "#" if that does not work out.
 */
#include <string.h>

#include "dotenv.h"

#define KEY_BYTES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

/* May a value end here? Only a comment may follow on its line. */
static bool ends_at(const kt_dotenv_t *d, size_t at)
{
    at += strspn(d->text + at, " \t\v\f");
    return d->text[at] == '\0' || strchr("#\r\n", d->text[at]) != NULL;
}

/*
 * Where the quoted text that begins at `at` ends: at the first quote without a backslash before it,
 * or else, from the right, at one with it. 0: nowhere.
 */
static size_t closing(const kt_dotenv_t *d, size_t at)
{
    char quote = d->text[at];
    size_t i = at + 1;

    while (d->text[i] != '\0' && d->text[i] != quote)
        i += d->text[i] == '\\' && d->text[i + 1] == quote ? 2 : 1;
    if (d->text[i] == quote && ends_at(d, i + 1))
        return i;
    for (i--; i > at; i--) {
        if (d->text[i] == quote && ends_at(d, i + 1))
            return i;
    }
    return 0;
}

/* A line end is one byte, and in double quotes \n and \r stand for theirs. */
static void put_text(kt_dotenv_t *d, size_t from, size_t to, bool escapes)
{
    for (size_t i = from; i < to; i++) {
        char c = d->text[i];

        if (c == '\r') {
            i += i + 1 < to && d->text[i + 1] == '\n';
            c = '\n';
        } else if (escapes && c == '\\' && i + 1 < to && strchr("nr", d->text[i + 1]) != NULL) {
            c = d->text[++i] == 'n' ? '\n' : '\r';
        }
        kt_dotenv_put(d, c);
    }
}

/* The rest of the line; quotes around all of it are taken away here as well. */
static void bare(kt_dotenv_t *d)
{
    size_t from = d->at + strspn(d->text + d->at, " \t\v\f");
    size_t to = from + strcspn(d->text + from, "#\r\n");
    bool escapes = d->text[from] == '"';

    d->at = to;
    while (to > from && strchr(KT_SPACES, d->text[to - 1]) != NULL)
        to--;
    if (to - from >= 2 && d->text[from] == d->text[to - 1] &&
        strchr("'\"`", d->text[from]) != NULL) {
        from++;
        to--;
    }
    put_text(d, from, to, escapes);
}

static void value(kt_dotenv_t *d)
{
    size_t open = d->at + strspn(d->text + d->at, KT_SPACES), close = 0;
    char quote = d->text[open];

    if (quote != '\0' && strchr("'\"`", quote) != NULL)
        close = closing(d, open);
    if (close == 0) {
        bare(d);
        return;
    }
    put_text(d, open + 1, close, quote == '"');
    d->at = close + 1;
}

/* Is there a pair here? Then from..to is its name, and its value is next. */
static bool find_name(kt_dotenv_t *d, size_t *ret_from, size_t *ret_to)
{
    size_t from = d->at, to = from + strspn(d->text + from, KEY_BYTES);
    size_t sign = to + strspn(d->text + to, KT_SPACES);

    if (to == from)
        return false;
    if (d->text[sign] == '=')
        d->at = sign + 1;
    else if (d->text[to] == ':' && d->text[to + 1] != '\0' &&
             strchr(KT_SPACES, d->text[to + 1]) != NULL)
        d->at = to + 2;
    else
        return false;
    *ret_from = from;
    *ret_to = to;
    return true;
}

kt_status_t kt_dotenv_npm(kt_dotenv_t *d)
{
    size_t from, to;

    kt_dotenv_skip_mark(d);
    while (kt_dotenv_more(d)) {
        size_t start;

        kt_dotenv_skip(d, KT_SPACES);
        start = d->at;
        kt_dotenv_skip_export(d, KT_SPACES);
        if (!find_name(d, &from, &to)) {
            d->at = start; /* a variable may be called export */
            if (!find_name(d, &from, &to)) {
                d->at += strcspn(d->text + d->at, "\r\n");
                continue;
            }
        }
        value(d);
        (void)kt_dotenv_emit(d, from, to);
        d->at += strcspn(d->text + d->at, "\r\n");
    }
    return KT_SUCCESS;
}

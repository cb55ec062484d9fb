/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dotenv_systemd.c: as systemd reads EnvironmentFile=. A value is any sequence of bare, single
 * and double quoted text; white space next to a quote is dropped, and a quote that never ends takes
 * the rest of the file.
 */
#include <string.h>

#include "dotenv.h"

#define ENDS "\n\r"
#define SPACE " \t\n\r"

static bool is_in(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static void skip_comment(kt_dotenv_t *d)
{
    for (; d->at < d->size && !is_in(kt_dotenv_peek(d), ENDS); d->at++)
        d->at += kt_dotenv_peek(d) == '\\' && d->at + 1 < d->size;
}

static void single_quoted(kt_dotenv_t *d)
{
    for (d->at++; d->at < d->size && kt_dotenv_peek(d) != '\''; d->at++)
        kt_dotenv_put(d, kt_dotenv_peek(d));
    d->at += d->at < d->size;
}

static void double_quoted(kt_dotenv_t *d)
{
    for (d->at++; d->at < d->size && kt_dotenv_peek(d) != '"'; d->at++) {
        if (kt_dotenv_peek(d) != '\\') {
            kt_dotenv_put(d, kt_dotenv_peek(d));
            continue;
        }
        if (++d->at == d->size)
            return;
        if (kt_dotenv_peek(d) == '\n')
            continue;
        if (!is_in(kt_dotenv_peek(d), "\"\\`$"))
            kt_dotenv_put(d, '\\');
        kt_dotenv_put(d, kt_dotenv_peek(d));
    }
    d->at += d->at < d->size;
}

/* Bare text up to the end of the line; a quote in it is a byte like others. White space at the end
 * is dropped, but not what a backslash stands before. */
static void bare(kt_dotenv_t *d)
{
    size_t keep = d->length;

    for (; d->at < d->size && !is_in(kt_dotenv_peek(d), ENDS); d->at++) {
        char c = kt_dotenv_peek(d);

        if (c == '\\') {
            if (++d->at == d->size)
                break;
            if (!is_in(kt_dotenv_peek(d), ENDS))
                kt_dotenv_put(d, kt_dotenv_peek(d));
            keep = d->length;
            continue;
        }
        kt_dotenv_put(d, c);
        if (!is_in(c, SPACE))
            keep = d->length;
    }
    d->length = keep;
}

static void value(kt_dotenv_t *d)
{
    while (d->at < d->size && !is_in(kt_dotenv_peek(d), ENDS)) {
        char c = kt_dotenv_peek(d);

        if (c == '\'')
            single_quoted(d);
        else if (c == '"')
            double_quoted(d);
        else if (is_in(c, SPACE))
            d->at++;
        else
            bare(d);
    }
}

kt_status_t kt_dotenv_systemd(kt_dotenv_t *d)
{
    while (kt_dotenv_more(d)) {
        size_t from, to;

        kt_dotenv_skip(d, SPACE);
        if (is_in(kt_dotenv_peek(d), "#;")) {
            skip_comment(d);
            continue;
        }
        from = d->at;
        d->at += strcspn(d->text + d->at, "=" ENDS);
        if (kt_dotenv_peek(d) != '=')
            continue; /* a line without it is skipped */
        to = d->at++;
        while (to > from && is_in(d->text[to - 1], SPACE))
            to--;
        value(d);
        if (to > from)
            (void)kt_dotenv_emit(d, from, to);
        d->length = 0;
    }
    return KT_SUCCESS;
}

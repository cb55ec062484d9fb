/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dotenv_python.c: as the Python package python-dotenv reads. A line that does not fit is dropped,
 * and ${...} is expanded, in single quotes too.
 */
#include <string.h>

#include "dotenv.h"

#define SPACE " \t\v\f" /* in a line */

/* The quoted text that begins at `at` ends at the first quote without a backslash before it; if
 * there is none, at the last one with it. 0: nowhere. */
static size_t closing(const kt_dotenv_t *d, size_t at)
{
    char quote = d->text[at];
    size_t i = at + 1, last = 0;

    while (d->text[i] != '\0' && d->text[i] != quote) {
        if (d->text[i] == '\\' && d->text[i + 1] == quote)
            last = ++i;
        i++;
    }
    return d->text[i] == quote ? i : last;
}

static void quoted(kt_dotenv_t *d, size_t to)
{
    static const char letters[] = "\\'\"abfnrtv", bytes[] = "\\'\"\a\b\f\n\r\t\v";
    size_t known = kt_dotenv_peek(d) == '"' ? sizeof(letters) - 1 : 2;

    for (size_t i = d->at + 1; i < to; i++) {
        const char *letter = d->text[i] == '\\' && i + 1 < to
                                 ? memchr(letters, d->text[i + 1], known)
                                 : NULL;

        kt_dotenv_put(d, letter != NULL ? bytes[letter - letters] : d->text[i]);
        i += letter != NULL;
    }
    d->at = to + 1;
}

/* Up to a "#" after white space. */
static void bare(kt_dotenv_t *d)
{
    size_t from = d->at, end = from + strcspn(d->text + from, "\r\n"), to = from;

    while (to < end && !(strchr(SPACE, d->text[to]) != NULL &&
                         d->text[to + strspn(d->text + to, SPACE)] == '#'))
        to++;
    kt_dotenv_put_all(d, from, to);
    kt_dotenv_trim(d, SPACE);
    d->at = end;
}

/* False: the line does not fit. */
static bool value(kt_dotenv_t *d)
{
    char c = kt_dotenv_peek(d);
    size_t close;

    if (c == '\'' || c == '"') {
        close = closing(d, d->at);
        if (close == 0)
            return false;
        quoted(d, close);
    } else if (c != '\0' && c != '\r' && c != '\n') {
        bare(d);
    }
    return true;
}

static bool name(kt_dotenv_t *d, size_t *ret_from, size_t *ret_to)
{
    bool in_quotes = kt_dotenv_peek(d) == '\'';

    *ret_from = d->at + in_quotes;
    *ret_to = *ret_from +
              strcspn(d->text + *ret_from, in_quotes ? "'" : "=#" KT_SPACES);
    if (*ret_to == *ret_from || (in_quotes && d->text[*ret_to] != '\''))
        return false;
    d->at = *ret_to + in_quotes;
    return true;
}

/* A comment may follow, and then the line ends. */
static bool line_ends(kt_dotenv_t *d)
{
    kt_dotenv_skip(d, SPACE);
    if (kt_dotenv_peek(d) == '#')
        d->at += strcspn(d->text + d->at, "\r\n");
    return kt_dotenv_peek(d) == '\0' || strchr("\r\n", kt_dotenv_peek(d)) != NULL;
}

static bool has_expansion(const kt_dotenv_t *d)
{
    for (size_t i = 0; i + 1 < d->length; i++) {
        if (d->value[i] == '$' && d->value[i + 1] == '{' &&
            memchr(d->value + i, '}', d->length - i) != NULL)
            return true;
    }
    return false;
}

kt_status_t kt_dotenv_python(kt_dotenv_t *d)
{
    kt_dotenv_skip_mark(d);
    while (kt_dotenv_more(d)) {
        bool fits, is_pair = false;
        size_t from = 0, to = 0;

        kt_dotenv_skip(d, KT_SPACES);
        if (d->at == d->size)
            break;
        kt_dotenv_skip_export(d, SPACE);
        fits = kt_dotenv_peek(d) == '#' || name(d, &from, &to);
        if (fits && to > from) {
            kt_dotenv_skip(d, SPACE);
            is_pair = kt_dotenv_peek(d) == '=';
        }
        if (is_pair) {
            d->at++;
            kt_dotenv_skip(d, SPACE);
            fits = value(d);
        }
        if (fits && line_ends(d) && is_pair) {
            if (has_expansion(d))
                return kt_dotenv_expands(d, from);
            (void)kt_dotenv_emit(d, from, to);
        }
        d->length = 0;
        d->at += strcspn(d->text + d->at, "\r\n");
    }
    return KT_SUCCESS;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dotenv_compose.c: as Docker Compose reads. What is in single quotes is literal, but for a
 * backslash before one; elsewhere $$ is a dollar sign, and $NAME and ${...} are expanded.
 */
#include <string.h>

#include "dotenv.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define KEY_BYTES LETTERS "0123456789.-[]"
#define SPACE " \t\v\f\r" /* in a line */

/* The dollar signs of the value that was put from `start` on. `at`: where, for the error. */
static kt_status_t dollars(kt_dotenv_t *d, size_t start, size_t at)
{
    size_t to = start;

    for (size_t i = start; i < d->length; i++) {
        char c = d->value[i], next = i + 1 < d->length ? d->value[i + 1] : ' ';

        if (c == '$' && (next == '{' || strchr(LETTERS, next) != NULL))
            return kt_dotenv_expands(d, at);
        if (c == '\\' && next == '$')
            return kt_dotenv_fail(d, at, "a backslash before $, which Compose reads in two ways");
        i += c == '$' && next == '$';
        d->value[to++] = c;
    }
    d->length = to;
    return KT_SUCCESS;
}

static kt_status_t bare(kt_dotenv_t *d)
{
    size_t from = d->at, end = from + strcspn(d->text + from, "\n"), to = from;

    while (to < end && strncmp(d->text + to, " #", 2) != 0)
        to++;
    kt_dotenv_put_all(d, from, to);
    kt_dotenv_trim(d, KT_SPACES);
    d->at = end;
    return dollars(d, 0, from);
}

/* In double quotes, as Go reads escapes. An octal one is not made here. */
static kt_status_t escape(kt_dotenv_t *d, size_t *i)
{
    static const char letters[] = "abfnrtv\\", bytes[] = "\a\b\f\n\r\t\v\\";
    char c = d->text[*i + 1];
    const char *letter = c != '\0' ? strchr(letters, c) : NULL;

    if (c == '0' || c == 'c')
        return kt_dotenv_fail(d, *i, "an escape of this kind is not read here");
    kt_dotenv_put(d, letter != NULL ? bytes[letter - letters] : '\\');
    *i += letter != NULL;
    return KT_SUCCESS;
}

static kt_status_t quoted(kt_dotenv_t *d, char quote)
{
    size_t from = d->at, i;
    kt_status_t status = KT_SUCCESS;

    for (i = from + 1; d->text[i] != '\0' && d->text[i] != quote && status == KT_SUCCESS; i++) {
        if (d->text[i] == '\r' && d->text[i + 1] == '\n')
            continue;
        if (d->text[i] == '\\' && d->text[i + 1] == quote)
            kt_dotenv_put(d, d->text[++i]);
        else if (d->text[i] == '\\' && quote == '"')
            status = escape(d, &i);
        else
            kt_dotenv_put(d, d->text[i]);
    }
    if (status == KT_SUCCESS && d->text[i] == '\0')
        status = kt_dotenv_fail(d, from, "a quote that never ends, which Compose refuses");
    d->at = i + 1;
    return status == KT_SUCCESS && quote == '"' ? dollars(d, 0, from) : status;
}

/* A name alone is taken from the tool's own environment, so it is not a pair of the file. */
static kt_status_t name(kt_dotenv_t *d, size_t *ret_from, size_t *ret_to, bool *ret_alone)
{
    *ret_from = d->at;
    kt_dotenv_skip(d, KEY_BYTES);
    *ret_to = d->at;
    kt_dotenv_skip(d, SPACE);
    *ret_alone = kt_dotenv_peek(d) == '\n' || d->at == d->size;
    if (*ret_alone && *ret_to > *ret_from)
        return KT_SUCCESS;
    if (*ret_to == *ret_from || strchr("=:", kt_dotenv_peek(d)) == NULL)
        return kt_dotenv_fail(d, d->at, "not a byte of a name, which Compose refuses");
    d->at++;
    kt_dotenv_skip(d, SPACE);
    return KT_SUCCESS;
}

kt_status_t kt_dotenv_compose(kt_dotenv_t *d)
{
    kt_status_t status = KT_SUCCESS;

    kt_dotenv_skip_mark(d);
    while (status == KT_SUCCESS && kt_dotenv_more(d)) {
        size_t from, to;
        bool alone;
        char quote;

        kt_dotenv_skip(d, KT_SPACES);
        if (kt_dotenv_peek(d) == '#') {
            kt_dotenv_skip_line(d);
            continue;
        }
        if (d->at == d->size)
            break;
        kt_dotenv_skip_export(d, KT_SPACES);
        status = name(d, &from, &to, &alone);
        if (status != KT_SUCCESS || alone)
            continue;
        quote = kt_dotenv_peek(d);
        status = quote == '"' || quote == '\'' ? quoted(d, quote) : bare(d);
        if (status == KT_SUCCESS)
            status = kt_dotenv_emit(d, from, to);
    }
    return status;
}

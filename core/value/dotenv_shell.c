/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dotenv_shell.c: as a shell reads assignments, `set -a; . FILE`. A line holds one assignment, with
 * or without `export`, and nothing else: any other command, and all that a shell would expand, is
 * refused.
 */
#include <string.h>

#include "dotenv.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define NAME_BYTES LETTERS "0123456789"

/* A dollar sign is only one where no name, brace or the like comes after it. */
static bool expands(const char *at)
{
    return at[0] == '`' ||
           (at[0] == '$' && at[1] != '\0' && strchr(NAME_BYTES "{(['\"*@#?-$!", at[1]) != NULL);
}

static kt_status_t single_quoted(kt_dotenv_t *d)
{
    size_t from = d->at + 1, to = from + strcspn(d->text + from, "'");

    if (d->text[to] == '\0')
        return kt_dotenv_fail(d, d->at, "a quote that never ends");
    kt_dotenv_put_all(d, from, to);
    d->at = to + 1;
    return KT_SUCCESS;
}

/* A backslash takes the meaning of these bytes, and is itself before any other. */
static kt_status_t double_quoted(kt_dotenv_t *d)
{
    size_t open = d->at++;

    for (; kt_dotenv_peek(d) != '"'; d->at++) {
        const char *at = d->text + d->at;

        if (at[0] == '\0')
            return kt_dotenv_fail(d, open, "a quote that never ends");
        if (at[0] == '`' || (expands(at) && strchr("'\"", at[1]) == NULL))
            return kt_dotenv_expands(d, d->at);
        if (at[0] == '\\' && at[1] != '\0' && strchr("\"\\`$\n", at[1]) != NULL) {
            d->at++;
            if (at[1] != '\n')
                kt_dotenv_put(d, at[1]);
        } else {
            kt_dotenv_put(d, at[0]);
        }
    }
    d->at++;
    return KT_SUCCESS;
}

static kt_status_t bare_byte(kt_dotenv_t *d)
{
    const char *at = d->text + d->at;

    if (expands(at))
        return kt_dotenv_expands(d, d->at);
    if (strchr("&;|<>()", at[0]) != NULL)
        return kt_dotenv_fail(d, d->at, "a byte that ends a command, which is not run here");
    if (at[0] == '\\' && at[1] == '\0')
        return kt_dotenv_fail(d, d->at, "a backslash before nothing");
    if (at[0] == '\\') {
        if (at[1] != '\n')
            kt_dotenv_put(d, at[1]);
        d->at += 2;
        return KT_SUCCESS;
    }
    kt_dotenv_put(d, at[0]);
    d->at++;
    return KT_SUCCESS;
}

static kt_status_t word(kt_dotenv_t *d)
{
    kt_status_t status = KT_SUCCESS;

    if (kt_dotenv_peek(d) == '~')
        return kt_dotenv_expands(d, d->at);
    while (status == KT_SUCCESS && kt_dotenv_peek(d) != '\0' &&
           strchr(" \t\n", kt_dotenv_peek(d)) == NULL) {
        if (kt_dotenv_peek(d) == '\'')
            status = single_quoted(d);
        else if (kt_dotenv_peek(d) == '"')
            status = double_quoted(d);
        else if (d->text[d->at - 1] == ':' && kt_dotenv_peek(d) == '~')
            status = kt_dotenv_expands(d, d->at);
        else
            status = bare_byte(d);
    }
    return status;
}

/* A comment begins with a word, not inside one. */
static kt_status_t line_end(kt_dotenv_t *d)
{
    size_t before = d->at;

    kt_dotenv_skip(d, KT_BLANKS);
    if (kt_dotenv_peek(d) != '\0' && kt_dotenv_peek(d) != '\n' &&
        (kt_dotenv_peek(d) != '#' || d->at == before))
        return kt_dotenv_fail(d, d->at, "another word: a line holds one assignment here");
    kt_dotenv_skip_line(d);
    return KT_SUCCESS;
}

static kt_status_t assignment(kt_dotenv_t *d)
{
    size_t from, to;
    kt_status_t status;

    kt_dotenv_skip_export(d, KT_BLANKS);
    from = d->at;
    if (kt_dotenv_peek(d) != '\0' && strchr(LETTERS, kt_dotenv_peek(d)) != NULL)
        kt_dotenv_skip(d, NAME_BYTES);
    to = d->at;
    if (to == from || kt_dotenv_peek(d) != '=')
        return kt_dotenv_fail(d, from, "a command, which is not run here");
    d->at++;
    status = word(d);
    if (status == KT_SUCCESS)
        status = line_end(d);
    return status == KT_SUCCESS ? kt_dotenv_emit(d, from, to) : status;
}

kt_status_t kt_dotenv_shell(kt_dotenv_t *d)
{
    kt_status_t status = KT_SUCCESS;

    while (status == KT_SUCCESS && kt_dotenv_more(d)) {
        kt_dotenv_skip(d, KT_BLANKS);
        if (kt_dotenv_peek(d) == '\n' || kt_dotenv_peek(d) == '#')
            kt_dotenv_skip_line(d);
        else if (d->at < d->size)
            status = assignment(d);
    }
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* dotenv_text.c: moving over a text of NAME=VALUE lines, and what is said about a place in it. */
#include <stdio.h>
#include <string.h>

#include "dotenv.h"

bool kt_dotenv_more(const kt_dotenv_t *d)
{
    return d->at < d->size && !d->ended;
}

void kt_dotenv_skip(kt_dotenv_t *d, const char *bytes)
{
    d->at += strspn(d->text + d->at, bytes);
}

void kt_dotenv_skip_line(kt_dotenv_t *d)
{
    d->at += strcspn(d->text + d->at, "\n");
    d->at += kt_dotenv_peek(d) == '\n';
}

void kt_dotenv_skip_mark(kt_dotenv_t *d)
{
    if (d->at == 0 && strncmp(d->text, "\xef\xbb\xbf", 3) == 0)
        d->at = 3;
}

void kt_dotenv_skip_export(kt_dotenv_t *d, const char *blanks)
{
    const char *text = d->text + d->at;
    size_t blank = strncmp(text, "export", 6) == 0 ? strspn(text + 6, blanks) : 0;

    if (blank > 0)
        d->at += 6 + blank;
}

void kt_dotenv_put(kt_dotenv_t *d, char c)
{
    if (d->length < d->size)
        d->value[d->length++] = c;
}

void kt_dotenv_put_all(kt_dotenv_t *d, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        kt_dotenv_put(d, d->text[i]);
}

void kt_dotenv_trim(kt_dotenv_t *d, const char *bytes)
{
    while (d->length > 0 && strchr(bytes, d->value[d->length - 1]) != NULL)
        d->length--;
}

static unsigned line_of(const kt_dotenv_t *d, size_t at)
{
    unsigned line = 1;

    for (size_t i = 0; i < at; i++)
        line += d->text[i] == '\n';
    return line;
}

kt_status_t kt_dotenv_emit(kt_dotenv_t *d, size_t from, size_t to)
{
    kt_pair_t pair = {d->text + from, to - from, d->value, d->length, line_of(d, from)};

    d->value[d->length] = '\0';
    d->length = 0;
    d->ended = d->fn(d->arg, &pair) != 0;
    return KT_SUCCESS;
}

kt_status_t kt_dotenv_fail(const kt_dotenv_t *d, size_t at, const char *format, ...)
{
    char rule[KT_ERROR_SIZE];
    size_t start = at;
    va_list args;

    while (start > 0 && d->text[start - 1] != '\n')
        start--;
    va_start(args, format);
    (void)vsnprintf(rule, sizeof(rule), format, args);
    va_end(args);
    return kt_fail(KT_MALFORMED, "%s:%u: column %zu: %s", d->file, line_of(d, at), at - start + 1,
                   rule);
}

kt_status_t kt_dotenv_expands(const kt_dotenv_t *d, size_t at)
{
    return kt_dotenv_fail(d, at, "an expansion, which is not made here (write the value itself)");
}

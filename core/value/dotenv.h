/* SPDX-License-Identifier: BSD-2-Clause */
/* dotenv.h: what the dialects of dotenv.c share. The public part is in value.h. */
#ifndef KT_DOTENV_H
#define KT_DOTENV_H

#include "value.h"

#define KT_BLANKS " \t"
#define KT_SPACES " \t\n\r\v\f"

/* The text has no NUL byte and ends with one, so that looking ahead needs no bound. */
typedef struct kt_dotenv {
    const char *file; /* for errors */
    const char *text;
    size_t size, at;
    char *value; /* secret memory of size + 1 bytes: a value is never longer than the text */
    size_t length;
    kt_pair_fn fn;
    void *arg;
    bool ended; /* by fn */
} kt_dotenv_t;

/* ---- dotenv_text.c ---- */

static inline char kt_dotenv_peek(const kt_dotenv_t *d)
{
    return d->text[d->at];
}
bool kt_dotenv_more(const kt_dotenv_t *d);
void kt_dotenv_skip(kt_dotenv_t *d, const char *bytes); /* all of these bytes that are next */
void kt_dotenv_skip_line(kt_dotenv_t *d);               /* with its end */
void kt_dotenv_skip_mark(kt_dotenv_t *d);               /* a byte order mark at the start */
/* "export" and blanks, if they are next. */
void kt_dotenv_skip_export(kt_dotenv_t *d, const char *blanks);
void kt_dotenv_put(kt_dotenv_t *d, char c); /* to the value */
void kt_dotenv_put_all(kt_dotenv_t *d, size_t from, size_t to);
/* Drops bytes of this set from the end of the value. */
void kt_dotenv_trim(kt_dotenv_t *d, const char *bytes);
/* A pair: its name is the text from..to, its value what was put; then there is no value. */
kt_status_t kt_dotenv_emit(kt_dotenv_t *d, size_t from, size_t to);
/* KT_MALFORMED: file, line and column of the place, and the rule; never the text. */
kt_status_t kt_dotenv_fail(const kt_dotenv_t *d, size_t at, const char *format, ...)
    KT_PRINTF(3, 4);
/* The dialect would put another value in place of the text at `at`. */
kt_status_t kt_dotenv_expands(const kt_dotenv_t *d, size_t at);

/* ---- one file for each dialect ---- */

kt_status_t kt_dotenv_common(kt_dotenv_t *d);
kt_status_t kt_dotenv_npm(kt_dotenv_t *d);
kt_status_t kt_dotenv_python(kt_dotenv_t *d);
kt_status_t kt_dotenv_compose(kt_dotenv_t *d);
kt_status_t kt_dotenv_docker(kt_dotenv_t *d);
kt_status_t kt_dotenv_systemd(kt_dotenv_t *d);
kt_status_t kt_dotenv_shell(kt_dotenv_t *d);

#endif /* KT_DOTENV_H */

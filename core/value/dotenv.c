/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dotenv.c: texts of NAME=VALUE lines, as in `.env` files.
 *
 * There is no standard: of 56 inputs, eleven readers agree on 6. So `common` takes what all of them
 * read alike and refuses the rest, with the rule and two readers that differ; and each other
 * dialect reads as one tool does (dotenv_*.c). None of them runs anything or puts variables into
 * values: what a tool would expand is refused.
 */
#include <string.h>

#include "dotenv.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define NAME_BYTES LETTERS "0123456789"
#define BARE_BYTES NAME_BYTES "./:@%+,=^-"

/* ---- common ---- */

/* What may not be in a bare value, or next to a quoted one. */
static const struct {
    const char *bytes, *rule;
} rules[] = {
    {"#", "# in a value: quote it (npm dotenv ends the value here, Compose does not)"},
    {KT_BLANKS, "a blank in or next to a value: quote the value (docker keeps it, npm dotenv "
                "drops it at the ends)"},
    {"$", "$ in a value: put it in single quotes (Compose and shells expand it, npm dotenv does "
          "not)"},
    {"\\", "a backslash: put the value in single quotes (systemd takes it away, npm dotenv keeps "
           "it)"},
    {"`", "a backtick: put the value in single quotes (npm dotenv takes it as a quote, Compose "
          "keeps it)"},
    {"'\"", "a quote inside a value, or text after one: quote the whole value (bash takes it "
            "away, npm dotenv keeps it)"},
    {"\r", "a carriage return that does not end a line"},
};

static kt_status_t refuse(const kt_dotenv_t *d, size_t at)
{
    if (d->text[at] == '\0')
        return kt_dotenv_fail(d, at, "a quote that never ends");
    for (size_t i = 0; i < KT_ARRAY(rules); i++) {
        if (strchr(rules[i].bytes, d->text[at]) != NULL)
            return kt_dotenv_fail(d, at, "%s", rules[i].rule);
    }
    return kt_dotenv_fail(d, at, "a byte that needs quotes (bash refuses it, Compose keeps it)");
}

static bool is_line_end(const kt_dotenv_t *d)
{
    const char *text = d->text + d->at;

    return text[0] == '\0' || text[0] == '\n' || (text[0] == '\r' && text[1] == '\n');
}

/* Both quotes go over lines. Double ones hold nothing that a reader would take away or expand. */
static kt_status_t common_quoted(kt_dotenv_t *d, char quote)
{
    size_t from = d->at + 1;
    const char *text = d->text + from;
    size_t size = strcspn(text, quote == '"' ? "\"$\\`\r" : "'\r");

    if (text[size] != quote)
        return text[size] == '\0' ? refuse(d, d->size) : refuse(d, from + size);
    kt_dotenv_put_all(d, from, from + size);
    d->at = from + size + 1;
    return KT_SUCCESS;
}

static kt_status_t common_value(kt_dotenv_t *d)
{
    char quote = kt_dotenv_peek(d);
    kt_status_t status = KT_SUCCESS;
    size_t from = d->at;

    if (quote == '"' || quote == '\'') {
        status = common_quoted(d, quote);
    } else {
        kt_dotenv_skip(d, BARE_BYTES);
        kt_dotenv_put_all(d, from, d->at);
    }
    return status == KT_SUCCESS && !is_line_end(d) ? refuse(d, d->at) : status;
}

static kt_status_t common_name(kt_dotenv_t *d)
{
    size_t from = d->at;

    if (kt_dotenv_peek(d) != '\0' && strchr(LETTERS, kt_dotenv_peek(d)) != NULL)
        kt_dotenv_skip(d, NAME_BYTES);
    if (d->at > from && kt_dotenv_peek(d) == '=')
        return KT_SUCCESS;
    if (d->at > from && strchr(KT_BLANKS ".-", kt_dotenv_peek(d)) == NULL && !is_line_end(d) &&
        kt_dotenv_peek(d) != ':')
        return kt_dotenv_fail(d, d->at, "not a byte of a name: letters, digits and _");
    if (strchr(".-", kt_dotenv_peek(d)) != NULL && kt_dotenv_peek(d) != '\0')
        return kt_dotenv_fail(d, d->at, "a name has letters, digits and _ (systemd takes other "
                                        "ones, bash does not)");
    return kt_dotenv_fail(d, d->at, "not NAME=VALUE (npm dotenv skips the line or reads it "
                                    "otherwise, docker refuses it)");
}

kt_status_t kt_dotenv_common(kt_dotenv_t *d)
{
    kt_status_t status = KT_SUCCESS;
    size_t from, to;

    kt_dotenv_skip_mark(d);
    while (status == KT_SUCCESS && kt_dotenv_more(d)) {
        kt_dotenv_skip(d, KT_BLANKS);
        if (is_line_end(d) || kt_dotenv_peek(d) == '#') {
            kt_dotenv_skip_line(d);
            continue;
        }
        kt_dotenv_skip_export(d, KT_BLANKS);
        from = d->at;
        status = common_name(d);
        to = d->at++;
        if (status == KT_SUCCESS)
            status = common_value(d);
        if (status == KT_SUCCESS)
            status = kt_dotenv_emit(d, from, to);
        if (status == KT_SUCCESS)
            kt_dotenv_skip_line(d);
    }
    return status;
}

/* ---- docker run --env-file: lines, and nothing in them is special ---- */

kt_status_t kt_dotenv_docker(kt_dotenv_t *d)
{
    kt_dotenv_skip_mark(d);
    while (kt_dotenv_more(d)) {
        const char *line = d->text + d->at;
        size_t end = strcspn(line, "\n"), name = strcspn(line, "=\n"), start = d->at;

        start += strspn(line, " \t\v\f\r");
        if (line[name] == '=' && d->text[start] != '#') {
            size_t to = d->at + name, stop = d->at + end;

            if (start == to)
                return kt_dotenv_fail(d, start, "no name before =");
            if (strcspn(d->text + start, " \t\v\f\r=") < to - start)
                return kt_dotenv_fail(d, start, "a blank in a name, which docker refuses");
            if (end > 0 && line[end - 1] == '\r')
                stop--;
            kt_dotenv_put_all(d, to + 1, stop > to ? stop : to + 1);
            (void)kt_dotenv_emit(d, start, to);
        } else if (start < d->at + end && d->text[start] != '#' &&
                   strcspn(d->text + start, " \t\v\f\r\n") < d->at + end - start &&
                   d->text[start + strcspn(d->text + start, " \t\v\f\r\n")] != '\r') {
            return kt_dotenv_fail(d, start, "a blank in a name, which docker refuses");
        }
        kt_dotenv_skip_line(d);
    }
    return KT_SUCCESS;
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    kt_status_t (*read)(kt_dotenv_t *d);
    bool any_bytes; /* else UTF-8 */
} dialects[] = {
    {"common", kt_dotenv_common, false},   {"npm", kt_dotenv_npm, false},
    {"python", kt_dotenv_python, false},   {"compose", kt_dotenv_compose, false},
    {"docker", kt_dotenv_docker, false},   {"systemd", kt_dotenv_systemd, false},
    {"shell", kt_dotenv_shell, true},
};

/* The first byte that does not belong to a UTF-8 character, or `size`. */
static size_t utf8_prefix(const char *text, size_t size)
{
    size_t i = 0;

    while (i < size) {
        unsigned char c = (unsigned char)text[i];
        size_t length = c < 0x80 ? 1 : c < 0xc2 || c > 0xf4 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

        if (length == 0 || length > size - i)
            return i;
        for (size_t k = 1; k < length; k++) {
            if (((unsigned char)text[i + k] & 0xc0) != 0x80)
                return i;
        }
        i += length;
    }
    return size;
}

static kt_status_t check_bytes(const kt_dotenv_t *d, bool any)
{
    const char *nul = memchr(d->text, '\0', d->size);
    size_t good = any ? d->size : utf8_prefix(d->text, d->size);

    if (nul != NULL)
        return kt_dotenv_fail(d, (size_t)(nul - d->text), "a NUL byte, which no variable can hold");
    return good == d->size ? KT_SUCCESS : kt_dotenv_fail(d, good, "not UTF-8");
}

kt_status_t kt_dotenv_read(const char *dialect, const char *file, const char *text, size_t size,
                           kt_pair_fn fn, void *arg)
{
    kt_dotenv_t d = {.file = file, .text = text, .size = size, .fn = fn, .arg = arg};
    kt_status_t status;
    size_t i = 0;

    while (i < KT_ARRAY(dialects) && strcmp(dialects[i].name, dialect) != 0)
        i++;
    if (i == KT_ARRAY(dialects))
        return kt_fail(KT_USAGE,
                       "\"%.32s\" is not a dialect (use common, npm, python, compose, docker, "
                       "systemd or shell)",
                       dialect);
    status = check_bytes(&d, dialects[i].any_bytes);
    if (status != KT_SUCCESS)
        return status;
    d.value = kt_locked_alloc(size + 1);
    if (d.value == NULL)
        return kt_no_memory();
    status = dialects[i].read(&d);
    kt_locked_free(d.value);
    return status;
}

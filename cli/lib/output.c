/* SPDX-License-Identifier: BSD-2-Clause */
/* Output: text or one JSON object, errors, and the bytes of a value. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

#define TEXT_SIZE 1024 /* a longer message is cut off */

/* ---- jansson with wiping: anything that it allocates may hold a value ---- */

typedef union {
    size_t size;
    max_align_t align;
} header_t;

static void *wiping_malloc(size_t size)
{
    header_t *header = size > SIZE_MAX - sizeof *header ? NULL : malloc(sizeof *header + size);

    if (!header)
        return NULL;
    header->size = size;
    return header + 1;
}

static void wiping_free(void *data)
{
    header_t *header = data;

    if (!header)
        return;
    header--;
    explicit_bzero(data, header->size);
    free(header);
}

void cli_json_free(char *text)
{
    wiping_free(text);
}

void cli_json_init(void)
{
    json_set_alloc_funcs(wiping_malloc, wiping_free);
}

/* ---- errors ---- */

bool cli_is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static void format_visible(char text[TEXT_SIZE], const char *format, va_list args)
{
    vsnprintf(text, TEXT_SIZE, format, args);
    cli_visible(text);
}

static void say(const char *format, va_list args)
{
    char text[TEXT_SIZE];

    format_visible(text, format, args);
    fprintf(stderr, "keyturn: %s\n", text);
}

void cli_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
}

void cli_warn(const cli_t *cli, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!cli->quiet)
        say(format, args);
    va_end(args);
}

kt_status_t cli_fail(cli_t *cli, kt_status_t status, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list args;

    va_start(args, format);
    format_visible(text, format, args);
    va_end(args);
    if (cli->failure)
        return cli->failure;
    cli->failure = status;
    if (cli->json) {
        json_t *object = json_pack("{s:s, s:s}", "status", kt_status_name(status), "error", text);

        if (!object) /* not UTF-8 */
            object = json_pack("{s:s, s:s}", "status", kt_status_name(status), "error",
                               kt_status_text(status));
        if (object && cli->warnings)
            json_object_set(object, "warnings", cli->warnings);
        cli_print_json(object);
    } else {
        fprintf(stderr, "keyturn: %s\n", text);
    }
    return status;
}

kt_status_t cli_check_ctx(cli_t *cli, kt_status_t status)
{
    return cli_check(cli, status, kt_error(cli->ctx));
}

kt_status_t cli_check_setup(cli_t *cli, kt_status_t status)
{
    return cli_check(cli, status, kt_setup_error(cli->setup));
}

kt_status_t cli_no_memory(cli_t *cli)
{
    return cli_fail(cli, KT_INTERNAL, "out of memory");
}

kt_status_t cli_check(cli_t *cli, kt_status_t status, const char *error)
{
    if (!status)
        return status;
    return cli_fail(cli, status, "%s", error && error[0] ? error : kt_status_text(status));
}

void cli_warn_hidden(const cli_t *cli, uint64_t hidden)
{
    if (hidden > 0)
        cli_warn(cli,
                 "incomplete: %llu more %s hidden, because no key of the type is held, or no "
                 "rule allows this user to list the name (keyturn(1), can)",
                 (unsigned long long)hidden, cli_plural(hidden, "secret is", "secrets are"));
}

/* ---- answers ---- */

kt_status_t cli_write(cli_t *cli, const void *data, size_t size)
{
    const char *p = data;

    while (size > 0) {
        ssize_t n = write(STDOUT_FILENO, p, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cli_fail(cli, KT_NOSPACE, "cannot write the answer: %s", strerror(errno));
        p += n;
        size -= (size_t)n;
    }
    return KT_SUCCESS;
}

static int write_json(const char *data, size_t size, void *arg)
{
    return cli_write(arg, data, size) == KT_SUCCESS ? 0 : -1;
}

kt_status_t cli_answer(cli_t *cli, json_t *object)
{
    json_t *whole = json_pack("{s:s}", "status", "success");
    kt_status_t status = KT_INTERNAL;

    if (object && cli->warnings)
        json_object_set(object, "warnings", cli->warnings);
    /* not by stdio, whose buffer is not wiped */
    if (whole && object && json_object_update_missing(whole, object) == 0 &&
        json_dump_callback(whole, write_json, cli, 0) == 0)
        status = cli_write(cli, "\n", 1);
    json_decref(whole);
    json_decref(object);
    return status ? cli_fail(cli, status, "cannot make the JSON object") : KT_SUCCESS;
}

kt_status_t cli_answer_version(cli_t *cli, const char *name, uint64_t version)
{
    if (cli->json)
        return cli_answer(cli,
                          json_pack("{s:s, s:I}", "name", name, "version", (json_int_t)version));
    printf("%llu\n", (unsigned long long)version);
    return KT_SUCCESS;
}

kt_status_t cli_answer_name(cli_t *cli, const char *name)
{
    return cli->json ? cli_answer(cli, json_pack("{s:s}", "name", name)) : KT_SUCCESS;
}

kt_status_t cli_answer_count(cli_t *cli, const char *done, const kt_backup_count_t *count)
{
    if (cli->json)
        return cli_answer(cli, json_pack("{s:I, s:I}", "secrets", (json_int_t)count->secrets,
                                         "versions", (json_int_t)count->versions));
    if (cli->quiet)
        return KT_SUCCESS;
    printf("%llu %s with %llu %s %s\n", (unsigned long long)count->secrets,
           cli_plural(count->secrets, "secret", "secrets"), (unsigned long long)count->versions,
           cli_plural(count->versions, "version", "versions"), done);
    return KT_SUCCESS;
}

void cli_print_json(json_t *object)
{
    json_dumpf(object, stdout, JSON_ENSURE_ASCII);
    putchar('\n');
    json_decref(object);
}

const char *cli_json_text(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : otherwise;
}

void cli_print(const char *text, int width)
{
    char *copy = strdup(text);
    size_t n = copy ? cli_visible(copy) : 0;

    fputs(copy ? copy : "?", stdout);
    for (; width > 0 && n < (size_t)width; n++)
        putchar(' ');
    free(copy);
}

void cli_print_cut(const char *text, int width)
{
    char cut[KT_NAME_MAX + 1];
    int room = width < (int)sizeof cut ? width : (int)sizeof cut - 1;

    if ((int)strlen(text) > room && room > 3) {
        snprintf(cut, sizeof cut, "%.*s...", room - 3, text);
        text = cut;
    }
    cli_print(text, width);
}

int cli_columns(void)
{
    struct winsize size = {0};

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void cli_print_line(const char *text)
{
    cli_print(text, 0);
    putchar('\n');
}

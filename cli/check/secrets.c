/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn check --secrets: values that are weak or used twice, secrets that nobody reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

typedef struct {
    const char *name;
    unsigned char mark[KT_MARK_SIZE];
    bool marked;
} secret_t;

typedef struct {
    cli_t *cli;
    json_t *names;
    bool starved; /* out of memory */
    secret_t *list;
    size_t count;
    json_t *rows;
    unsigned warnings;
} look_t;

static void warn(look_t *look, const char *what, const char *detail)
{
    look->warnings++;
    cli_add_row(look->rows, "warning", what, detail);
}

static int collect(void *arg, const kt_entry_t *entry)
{
    look_t *look = arg;

    if (strcmp(entry->state, "live") != 0)
        return 0;
    look->starved = json_array_append_new(look->names, json_string(entry->name)) != 0;
    return look->starved;
}

static kt_status_t list_secrets(look_t *look)
{
    kt_request_t req = cli_request(look->cli, NULL);
    kt_status_t status = kt_list(look->cli->ctx, &req, collect, look, NULL);

    if (status)
        return cli_fail_ctx(look->cli, status);
    look->count = json_array_size(look->names);
    look->list = calloc(look->count + 1, sizeof *look->list);
    if (look->starved || !look->list)
        return cli_fail(look->cli, KT_INTERNAL, "out of memory");
    for (size_t i = 0; i < look->count; i++)
        look->list[i].name = json_string_value(json_array_get(look->names, i));
    return KT_SUCCESS;
}

static void judge(look_t *look, secret_t *secret)
{
    kt_request_t req = cli_request(look->cli, secret->name);
    kt_secret_t *value = NULL, *part = NULL;
    kt_strength_t kind;
    char text[400], weakness[360];
    unsigned weak;
    kt_status_t status;

    req.purpose = "check";
    status = kt_get(look->cli->ctx, &req, &value);
    if (status) {
        snprintf(text, sizeof text, "not judged: %s", kt_error(look->cli->ctx));
        warn(look, secret->name, text);
        return;
    }
    if (kt_strength_part(secret->name, NULL, value, &kind, &part) == KT_SUCCESS) {
        kt_secret_mark(part, secret->mark);
        secret->marked = true;
        weak = kt_strength(part, kind);
        cli_weakness(weak, weakness, sizeof weakness);
        snprintf(text, sizeof text, "weak: %s", weakness);
        if (weak)
            warn(look, secret->name, text);
    }
    kt_secret_free(part);
    kt_secret_free(value);
}

static int by_mark(const void *a, const void *b)
{
    const secret_t *x = a, *y = b;
    int order = (int)y->marked - (int)x->marked;

    if (order == 0)
        order = memcmp(x->mark, y->mark, sizeof x->mark);
    return order != 0 ? order : strcmp(x->name, y->name);
}

/* Each purpose is to have a secret of its own: a leak of one is a leak of both. */
static void find_shared(look_t *look)
{
    char text[KT_NAME_MAX + 32];

    if (look->count > 0)
        qsort(look->list, look->count, sizeof *look->list, by_mark);
    for (size_t i = 1; i < look->count && look->list[i].marked; i++)
        if (memcmp(look->list[i - 1].mark, look->list[i].mark, sizeof look->list[i].mark) == 0) {
            snprintf(text, sizeof text, "the same value as %s", look->list[i - 1].name);
            warn(look, look->list[i].name, text);
        }
}

static kt_status_t find_usage(look_t *look)
{
    json_t *usage = NULL;
    bool complete = true;
    char text[64];
    kt_status_t status = cli_usage(look->cli, &usage, &complete);

    for (size_t i = 0; !status && i < look->count; i++) {
        const json_t *row = json_object_get(usage, look->list[i].name);
        const char *word = cli_usage_word(row, complete);

        if (strcmp(word, "unused") == 0)
            warn(look, look->list[i].name, "unused: it was never read");
        if (strcmp(word, "high") != 0)
            continue;
        snprintf(text, sizeof text, "high usage: read %lld times",
                 (long long)json_integer_value(json_object_get(row, "accessed")));
        warn(look, look->list[i].name, text);
    }
    json_decref(usage);
    return status;
}

kt_status_t check_secrets(cli_t *cli, json_t *rows)
{
    look_t look = {.cli = cli, .rows = rows, .names = json_array()};
    char text[64];
    kt_status_t status = list_secrets(&look);

    for (size_t i = 0; !status && i < look.count; i++)
        judge(&look, &look.list[i]);
    if (!status) {
        status = find_usage(&look);
        find_shared(&look);
    }
    snprintf(text, sizeof text, "%zu looked at, %u warnings", look.count, look.warnings);
    if (!status)
        cli_add_row(rows, kt_status_name(KT_SUCCESS), "secrets", text);
    free(look.list);
    json_decref(look.names);
    return status;
}

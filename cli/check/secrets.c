/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn check --secrets: values that are weak or used twice, secrets that are not read. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

typedef struct {
    const char *name;
    unsigned char mark[KT_MARK_SIZE];
    bool has_mark;
    bool generated; /* keyturn made the value: only its length can be wrong */
} secret_t;

typedef struct {
    cli_t *cli;
    json_t *names; /* [name, generated] */
    bool out_of_memory;
    secret_t *list;
    size_t count;
    json_t *rows;
    unsigned warnings;
} survey_t;

static void __attribute__((format(printf, 3, 4)))
warn(survey_t *survey, const char *name, const char *format, ...)
{
    char detail[400];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    survey->warnings++;
    cli_add_row(survey->rows, "warning", name, detail);
}

static int collect(void *arg, const kt_entry_t *entry)
{
    survey_t *survey = arg;

    if (strcmp(entry->state, "live") != 0)
        return 0;
    survey->out_of_memory =
        json_array_append_new(survey->names, json_pack("[s, b]", entry->name,
                                                       strcmp(entry->origin, "generated") == 0)) !=
        0;
    return survey->out_of_memory;
}

static kt_status_t list_secrets(survey_t *survey)
{
    kt_request_t req = cli_request(survey->cli, NULL);
    uint64_t hidden = 0;
    kt_status_t status = kt_list(survey->cli->ctx, &req, collect, survey, &hidden);

    if (status)
        return cli_check_ctx(survey->cli, status);
    if (hidden > 0)
        warn(survey, "secrets",
             "%llu not checked, because no key of the type is held, or no rule allows "
             "to list the name",
             (unsigned long long)hidden);
    survey->count = json_array_size(survey->names);
    survey->list = calloc(survey->count + 1, sizeof *survey->list);
    if (survey->out_of_memory || !survey->list)
        return cli_no_memory(survey->cli);
    for (size_t i = 0; i < survey->count; i++) {
        const json_t *row = json_array_get(survey->names, i);

        survey->list[i].name = json_string_value(json_array_get(row, 0));
        survey->list[i].generated = json_is_true(json_array_get(row, 1));
    }
    return KT_SUCCESS;
}

/* A random value has no habits to be guessed by, whatever an estimate makes of it. */
static void warn_of_length(survey_t *survey, const char *name, const kt_secret_t *value,
                           kt_strength_t kind)
{
    unsigned weak = kt_strength(value, kind) & KT_WEAK_BELOW;

    if (weak)
        warn(survey, name, "%s", kt_strength_text(weak));
}

static void check_value(survey_t *survey, secret_t *secret)
{
    kt_request_t req = cli_request(survey->cli, secret->name);
    kt_secret_t *value = NULL, *part = NULL;
    kt_strength_t kind;
    char weakness[360];
    kt_status_t status;

    req.purpose = "check";
    status = kt_get(survey->cli->ctx, &req, &value);
    if (status) {
        warn(survey, secret->name, "not checked: %s", kt_error(survey->cli->ctx));
        return;
    }
    if (kt_strength_part(secret->name, NULL, value, &kind, &part) == KT_SUCCESS) {
        kt_secret_mark(part, secret->mark);
        secret->has_mark = true;
        if (secret->generated)
            warn_of_length(survey, secret->name, part, kind);
        else if (cli_weakness(part, kind, 0, weakness, sizeof weakness))
            warn(survey, secret->name, "weak: %s", weakness);
    }
    kt_secret_free(part);
    kt_secret_free(value);
}

static int by_mark(const void *a, const void *b)
{
    const secret_t *x = a, *y = b;
    int order = (int)y->has_mark - (int)x->has_mark;

    if (order == 0)
        order = memcmp(x->mark, y->mark, sizeof x->mark);
    return order != 0 ? order : strcmp(x->name, y->name);
}

/* If two secrets share a value, a leak of one is a leak of both. */
static void find_shared(survey_t *survey)
{
    if (survey->count > 0)
        qsort(survey->list, survey->count, sizeof *survey->list, by_mark);
    for (size_t i = 1; i < survey->count && survey->list[i].has_mark; i++)
        if (memcmp(survey->list[i - 1].mark, survey->list[i].mark, sizeof survey->list[i].mark) ==
            0)
            warn(survey, survey->list[i].name, "the same value as %s", survey->list[i - 1].name);
}

static kt_status_t find_usage(survey_t *survey)
{
    json_t *usage = NULL;
    bool complete = true;
    kt_status_t status = cli_usage(survey->cli, &usage, &complete);

    for (size_t i = 0; !status && i < survey->count; i++) {
        const json_t *row = json_object_get(usage, survey->list[i].name);
        const char *word = cli_usage_word(row, complete);

        if (strcmp(word, "unused") == 0)
            warn(survey, survey->list[i].name, "unused: it was never read");
        if (strcmp(word, "high") == 0)
            warn(survey, survey->list[i].name, "high usage: read %lld times",
                 (long long)json_integer_value(json_object_get(row, "accessed")));
    }
    json_decref(usage);
    return status;
}

kt_status_t check_secrets(cli_t *cli, json_t *rows)
{
    survey_t survey = {.cli = cli, .rows = rows, .names = json_array()};
    char text[64];
    kt_status_t status = list_secrets(&survey);

    for (size_t i = 0; !status && i < survey.count; i++)
        check_value(&survey, &survey.list[i]);
    if (!status) {
        status = find_usage(&survey);
        find_shared(&survey);
    }
    snprintf(text, sizeof text, "%zu checked, %u %s", survey.count, survey.warnings,
             cli_plural(survey.warnings, "warning", "warnings"));
    if (!status)
        cli_add_row(rows, kt_status_name(KT_SUCCESS), "secrets", text);
    free(survey.list);
    json_decref(survey.names);
    return status;
}

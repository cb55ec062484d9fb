/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn rotate NAME: a new random value, or one from a file, as the secret's shape wants it.
 *
 * keyturn rotate --due|--all|--type T: many secrets, one after the other. A failure of one does not
 * stop the others.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

static kt_status_t parse_options(cli_t *cli, kt_rotate_options_t *options)
{
    const char *alphabet = cli_given(cli, "alphabet");
    uint64_t length = 0;
    kt_status_t status = cli_number(cli, "length", 16, 1024, &length);
    int number = KT_ALPHABET_ALNUM;

    if (status)
        return status;
    if (alphabet)
        number = kt_alphabet_parse(alphabet);
    if (number < 0)
        return cli_fail(cli, KT_USAGE, "--alphabet is alnum, urlsafe, symbols, hex or uuid");
    if (cli_given(cli, "file") && (alphabet || length))
        return cli_fail(cli, KT_USAGE,
                        "--file brings the value: --length and --alphabet are for a random one");
    if (number == KT_ALPHABET_UUID && length && length != 36)
        return cli_fail(cli, KT_USAGE, "a uuid has 36 characters");
    options->length = (size_t)length;
    options->alphabet = (kt_alphabet_t)number;
    options->store_only = cli_given(cli, "store-only") != NULL;
    return KT_SUCCESS;
}

/* ---- one ---- */

static kt_status_t plan_one(cli_t *cli, const kt_request_t *req, const kt_rotate_options_t *options)
{
    kt_status_t status = kt_rotate_check(cli->ctx, req, options);

    if (status)
        return cli_fail_ctx(cli, status);
    if (cli->json)
        return cli_answer(cli,
                          json_pack("{s:s, s:s}", "name", req->reference, "result", "planned"));
    printf("%s  would be rotated\n", req->reference);
    return KT_SUCCESS;
}

static kt_status_t rotate_one(cli_t *cli, kt_rotate_options_t *options)
{
    kt_secret_t *value = NULL;
    const char *name = cli->args[0], *why = "";
    kt_request_t req;
    uint64_t version = 0;
    kt_status_t status;

    if (kt_name_check(name, 0, &why) != KT_SUCCESS)
        return cli_fail(cli, KT_USAGE, "not a name: %s", why);
    status = cli_open(cli);
    if (!status && cli_given(cli, "file") && !cli_given(cli, "dry-run"))
        status = cli_read_value(cli, name, cli_given(cli, "file"), &value);
    if (status)
        goto out;
    options->value = value;
    req = cli_request(cli, name);
    if (cli_given(cli, "dry-run")) {
        status = plan_one(cli, &req, options);
        goto out;
    }
    status = kt_rotate(cli->ctx, &req, options, &version);
    status = status ? cli_fail_ctx(cli, status) : cli_answer_version(cli, name, version);
out:
    kt_secret_free(value);
    return status;
}

/* ---- many ---- */

typedef struct {
    const char *type; /* NULL: any */
    int64_t due;      /* only what is due by now; 0: no matter */
    json_t *names;
    bool starved; /* out of memory */
} chosen_t;

static bool is_of_type(const char *name, const char *type)
{
    size_t first = strcspn(name, "/");

    if (name[first] == '\0')
        return strcmp(type, "general") == 0;
    return strlen(type) == first && strncmp(name, type, first) == 0;
}

/* Deleted ones are nobody's concern until they are back. */
static int choose(void *arg, const kt_entry_t *entry)
{
    chosen_t *chosen = arg;

    if (strcmp(entry->state, "deleted") == 0 ||
        (chosen->type && !is_of_type(entry->name, chosen->type)) ||
        (chosen->due && (entry->due == 0 || entry->due > chosen->due)))
        return 0;
    chosen->starved = json_array_append_new(chosen->names, json_string(entry->name)) != 0;
    return chosen->starved;
}

typedef struct {
    cli_t *cli;
    json_t *secrets;
    kt_status_t worst;
    uint64_t failed;
} report_t;

/* A row: `result` is rotated, planned, skipped or failed. */
static void add_row(report_t *report, const char *name, const char *result, uint64_t version,
                    kt_status_t status)
{
    const char *why = status ? kt_error(report->cli->ctx) : "";
    json_t *row;

    if (!report->cli->json) {
        if (strcmp(result, "failed") == 0)
            cli_say("%s: %s", name, why);
        else if (strcmp(result, "skipped") == 0)
            cli_warn(report->cli, "%s is skipped: %s", name, why);
        else if (version)
            printf("%s  %llu\n", name, (unsigned long long)version);
        else
            printf("%s  would be rotated\n", name);
        fflush(stdout);
        return;
    }
    row = json_pack("{s:s, s:s}", "name", name, "result", result);
    if (version)
        json_object_set_new(row, "version", json_integer((json_int_t)version));
    if (status) {
        json_object_set_new(row, "status", json_string(kt_status_name(status)));
        json_object_set_new(row, "error", json_string(why));
    }
    json_array_append_new(report->secrets, row);
}

static void add_failure(report_t *report, const char *name, kt_status_t status)
{
    add_row(report, name, "failed", 0, status);
    report->failed++;
    if (status > report->worst)
        report->worst = status;
}

/* Which of many cannot be rotated is no failure, unless their own schedule asks for it. */
static bool is_skipped(const chosen_t *chosen, kt_status_t status)
{
    return !chosen->due && (status == KT_CONFLICT || status == KT_GONE || status == KT_DENIED);
}

static void rotate_next(report_t *report, const chosen_t *chosen, const char *name,
                        const kt_rotate_options_t *options)
{
    cli_t *cli = report->cli;
    kt_request_t req = cli_request(cli, name);
    uint64_t version = 0;
    kt_status_t status = kt_rotate_check(cli->ctx, &req, options);

    if (status && is_skipped(chosen, status)) {
        add_row(report, name, "skipped", 0, status);
        return;
    }
    if (!status && cli_given(cli, "dry-run")) {
        add_row(report, name, "planned", 0, KT_SUCCESS);
        return;
    }
    if (!status)
        status = kt_rotate(cli->ctx, &req, options, &version);
    if (status)
        add_failure(report, name, status);
    else
        add_row(report, name, "rotated", version, KT_SUCCESS);
}

static kt_status_t choose_names(cli_t *cli, chosen_t *chosen, uint64_t *ret_hidden)
{
    kt_request_t req = cli_request(cli, NULL);
    kt_status_t status;

    chosen->type = cli_given(cli, "type");
    chosen->due = cli_given(cli, "due") ? (int64_t)time(NULL) * 1000 : 0;
    status = kt_list(cli->ctx, &req, choose, chosen, ret_hidden);
    if (status)
        return cli_fail_ctx(cli, status);
    return chosen->starved ? cli_fail(cli, KT_INTERNAL, "out of memory") : KT_SUCCESS;
}

static kt_status_t answer_many(report_t *report, uint64_t hidden)
{
    cli_t *cli = report->cli;

    if (cli->json) {
        cli_print_json(json_pack("{s:s, s:O, s:I, s:I}", "status", kt_status_name(report->worst),
                                 "secrets", report->secrets, "failed", (json_int_t)report->failed,
                                 "hidden", (json_int_t)hidden));
    } else if (hidden > 0) {
        cli_warn(cli, "incomplete: %llu more are of types whose key is not held",
                 (unsigned long long)hidden);
    }
    return report->worst;
}

static kt_status_t rotate_many(cli_t *cli, const kt_rotate_options_t *options)
{
    report_t report = {cli, json_array(), KT_SUCCESS, 0};
    chosen_t chosen = {.names = json_array()};
    uint64_t hidden = 0;
    kt_status_t status = cli_open(cli);

    if (!status)
        status = choose_names(cli, &chosen, &hidden);
    for (size_t i = 0; !status && i < json_array_size(chosen.names); i++)
        rotate_next(&report, &chosen, json_string_value(json_array_get(chosen.names, i)), options);
    if (!status)
        status = answer_many(&report, hidden);
    json_decref(chosen.names);
    json_decref(report.secrets);
    return status;
}

kt_status_t verb_rotate(cli_t *cli)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    bool many = cli_given(cli, "all") || cli_given(cli, "type") || cli_given(cli, "due");
    kt_status_t status = parse_options(cli, &options);

    if (status)
        return status;
    /* ignored by whoever started us, a target's exit status would be lost */
    signal(SIGCHLD, SIG_DFL);
    if (!many && cli->nargs == 0)
        return cli_fail(cli, KT_USAGE, "rotate wants: a NAME, --due, --type T or --all");
    if (!many)
        return rotate_one(cli, &options);
    if (cli->nargs > 0)
        return cli_fail(cli, KT_USAGE, "--due, --type and --all choose the names: give none");
    if (cli_given(cli, "all") && (cli_given(cli, "type") || cli_given(cli, "due")))
        return cli_fail(cli, KT_USAGE, "--all is all: it goes with neither --type nor --due");
    if (options.store_only)
        return cli_fail(cli, KT_USAGE, "--store-only is for one secret, whose server you change");
    if (cli_given(cli, "file"))
        return cli_fail(cli, KT_USAGE, "--file brings one value: name the secret that it is for");
    return rotate_many(cli, &options);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn rotate NAME: a new random value, or one from a file, in the shape of the secret.
 *
 * keyturn rotate --due|--all|--type T: many secrets, one after another. A failure of one does not
 * stop the others. --due also takes passwords from targets that accept an older one for a while.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static kt_status_t parse_options(cli_t *cli, kt_rotate_options_t *options)
{
    kt_status_t status = cli_made_up(cli, &options->length, &options->alphabet);

    if (status)
        return status;
    if (cli_given(cli, "file") &&
        (cli_given(cli, "alphabet") || options->length || cli_given(cli, "generate")))
        return cli_fail(cli, KT_USAGE,
                        "--file has the value: --generate, --length and --alphabet are for a "
                        "random one");
    options->generate = cli_given(cli, "generate") != NULL;
    options->store_only = cli_given(cli, "store-only") != NULL;
    return KT_SUCCESS;
}

/* ---- one ---- */

static kt_status_t plan_one(cli_t *cli, const kt_request_t *req, const kt_rotate_options_t *options)
{
    kt_status_t status = kt_rotate_check(cli->ctx, req, options);

    if (status)
        return cli_check_ctx(cli, status);
    if (cli->json)
        return cli_answer(cli,
                          json_pack("{s:s, s:s}", "name", req->reference, "result", "planned"));
    printf("%s  would be rotated\n", req->reference);
    return KT_SUCCESS;
}

static kt_status_t rotate_one(cli_t *cli, kt_rotate_options_t *options)
{
    kt_secret_t *value = NULL;
    const char *name = cli->args[0];
    kt_request_t req;
    uint64_t version = 0;
    kt_status_t status = cli_check_name(cli, name);

    if (!status)
        status = cli_open_for(cli, name, &req);
    if (!status && cli_given(cli, "file") && !cli_given(cli, "dry-run"))
        status = cli_read_value(cli, name, cli_given(cli, "file"), &value);
    if (status)
        goto out;
    options->value = value;
    if (cli_given(cli, "dry-run")) {
        status = plan_one(cli, &req, options);
        goto out;
    }
    status = kt_rotate(cli->ctx, &req, options, &version);
    status = status ? cli_check_ctx(cli, status) : cli_answer_version(cli, name, version);
    if (!status && value)
        cli_warn_newline(cli, value);
out:
    kt_secret_free(value);
    return status;
}

/* ---- many ---- */

typedef struct {
    const char *type; /* NULL: any */
    int64_t due;      /* only secrets that are due at this time; 0: any */
    json_t *names;
    json_t *all; /* of that type, whether they are due or not */
    bool out_of_memory;
} selection_t;

static bool is_of_type(const char *name, const char *type)
{
    size_t first = strcspn(name, "/");

    if (name[first] == '\0')
        return strcmp(type, "general") == 0;
    return strlen(type) == first && strncmp(name, type, first) == 0;
}

/* Leaves out deleted secrets. */
static int select_name(void *arg, const kt_entry_t *entry)
{
    selection_t *selection = arg;

    if (strcmp(entry->state, "deleted") == 0 ||
        (selection->type && !is_of_type(entry->name, selection->type)))
        return 0;
    selection->out_of_memory = json_array_append_new(selection->all, json_string(entry->name)) != 0;
    if (selection->due && (entry->due == 0 || entry->due > selection->due))
        return selection->out_of_memory;
    selection->out_of_memory =
        json_array_append_new(selection->names, json_string(entry->name)) != 0 ||
        selection->out_of_memory;
    return selection->out_of_memory;
}

typedef struct {
    cli_t *cli;
    json_t *secrets;
    json_t *by_hand; /* names of those that somebody else has to issue again */
    uint64_t failed;
} report_t;

/* The reason without the name, if it begins with it. */
static const char *reason(const char *name, const char *why)
{
    size_t size = strlen(name);

    return strncmp(why, name, size) == 0 && strncmp(why + size, ": ", 2) == 0 ? why + size + 2
                                                                              : why;
}

static void print_row(const report_t *report, const char *name, const char *result,
                      uint64_t version, const char *why)
{
    why = reason(name, why);
    if (strcmp(result, "failed") == 0)
        cli_say("%s: %s", name, why);
    else if (strcmp(result, "skipped") == 0)
        cli_warn(report->cli, "skipped: %s: %s", name, why);
    else if (strcmp(result, "by hand") == 0)
        cli_say("to be renewed by hand: %s: %s", name, why);
    else if (strcmp(result, "retired") == 0)
        printf("%s  the old password is removed\n", name);
    else if (version)
        printf("%s  %llu\n", name, (unsigned long long)version);
    else
        printf("%s  would be rotated\n", name);
    fflush(stdout);
}

/* `result` is "rotated", "retired", "planned", "skipped", "by hand" or "failed". */
static void add_row(report_t *report, const char *name, const char *result, uint64_t version,
                    kt_status_t status)
{
    const char *why = status ? kt_error(report->cli->ctx) : "";
    json_t *row;

    if (!report->cli->json) {
        print_row(report, name, result, version, why);
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
}

static void add_by_hand(report_t *report, const char *name, kt_status_t status)
{
    add_row(report, name, "by hand", 0, status);
    json_array_append_new(report->by_hand, json_string(name));
}

/* Or only that of its shape? If that is not known, it has one. */
static bool has_own_schedule(cli_t *cli, const char *name)
{
    kt_request_t req = cli_request(cli, name);
    kt_info_t *info = NULL;
    const char *key, *value;
    bool has = kt_info(cli->ctx, &req, &info) != KT_SUCCESS;

    for (size_t i = 0; info && i < kt_info_metas(info); i++) {
        kt_info_meta(info, i, &key, &value);
        has = has || strcmp(key, "rotation") == 0;
    }
    kt_info_free(info);
    return has;
}

/* One of many that cannot be rotated is not a failure, unless its own schedule asks for it. */
static bool is_skipped(bool own_schedule, kt_status_t status)
{
    return !own_schedule && (status == KT_CONFLICT || status == KT_GONE || status == KT_DENIED);
}

static void rotate_next(report_t *report, const selection_t *selection, const char *name,
                        const kt_rotate_options_t *given)
{
    cli_t *cli = report->cli;
    kt_rotate_options_t options = *given;
    kt_request_t req = cli_request(cli, name);
    uint64_t version = 0;
    int issued = 0;
    bool own_schedule = selection->due && has_own_schedule(cli, name);
    kt_status_t status;

    options.ret_issued = &issued;
    status = kt_rotate_check(cli->ctx, &req, &options);
    if (!status && cli_given(cli, "dry-run")) {
        add_row(report, name, "planned", 0, KT_SUCCESS);
        return;
    }
    if (status && !issued && is_skipped(own_schedule, status)) {
        add_row(report, name, "skipped", 0, status);
        return;
    }
    if (!status)
        status = kt_rotate(cli->ctx, &req, &options, &version);
    if (issued)
        add_by_hand(report, name, status);
    else if (status)
        add_failure(report, name, status);
    else
        add_row(report, name, "rotated", version, KT_SUCCESS);
}

static bool is_selected(const selection_t *selection, const char *name)
{
    for (size_t i = 0; i < json_array_size(selection->names); i++)
        if (strcmp(json_string_value(json_array_get(selection->names, i)), name) == 0)
            return true;
    return false;
}

/* Old passwords of a target whose time is over; most names have none, which costs nothing. A
 * rotation that was interrupted goes on, due or not. */
static void retire_next(report_t *report, selection_t *selection, const char *name)
{
    kt_request_t req = cli_request(report->cli, name);
    size_t removed = 0;
    int unfinished = 0;
    kt_status_t status = kt_retire(report->cli->ctx, &req, &removed, &unfinished);

    if (status)
        add_failure(report, name, status);
    else if (removed > 0)
        add_row(report, name, "retired", 0, KT_SUCCESS);
    else if (unfinished && !is_selected(selection, name))
        json_array_append_new(selection->names, json_string(name));
}

static kt_status_t select_names(cli_t *cli, selection_t *selection, uint64_t *ret_hidden)
{
    kt_request_t req = cli_request(cli, NULL);
    char pattern[KT_NAME_MAX + 3];
    kt_status_t status;

    selection->type = cli_given(cli, "type");
    if (selection->type && strcmp(selection->type, "general") != 0 &&
        strlen(selection->type) <= KT_NAME_MAX) {
        snprintf(pattern, sizeof pattern, "%s/*", selection->type);
        req.reference = pattern; /* so that other types are not missed */
    }
    selection->due = cli_given(cli, "due") ? cli_now() : 0;
    status = kt_list(cli->ctx, &req, select_name, selection, ret_hidden);
    if (status)
        return cli_check_ctx(cli, status);
    return selection->out_of_memory ? cli_no_memory(cli) : KT_SUCCESS;
}

/* One exit status for all that can fail in one of them: each one's own is in its row. */
static kt_status_t answer_many(report_t *report, uint64_t hidden)
{
    cli_t *cli = report->cli;
    kt_status_t status = report->failed > 0 ? KT_CONFLICT : KT_SUCCESS;

    if (hidden > 0) /* a bulk rotation that leaves out what it cannot see is not a whole one */
        status = cli_worse(status, KT_NOKEY);
    if (cli->json) {
        cli_print_json(json_pack("{s:s, s:O, s:O, s:I, s:I}", "status", kt_status_name(status),
                                 "secrets", report->secrets, "by_hand", report->by_hand, "failed",
                                 (json_int_t)report->failed, "hidden", (json_int_t)hidden));
    } else {
        cli_warn_hidden(cli, hidden);
    }
    return status;
}

static bool retires(cli_t *cli)
{
    return cli_given(cli, "due") && !cli_given(cli, "dry-run");
}

static kt_status_t rotate_many(cli_t *cli, const kt_rotate_options_t *options)
{
    report_t report = {cli, json_array(), json_array(), 0};
    selection_t selection = {.names = json_array(), .all = json_array()};
    uint64_t hidden = 0;
    kt_status_t status = cli_open(cli);

    if (!status)
        status = select_names(cli, &selection, &hidden);
    for (size_t i = 0; !status && retires(cli) && i < json_array_size(selection.all); i++)
        retire_next(&report, &selection, json_string_value(json_array_get(selection.all, i)));
    for (size_t i = 0; !status && i < json_array_size(selection.names); i++)
        rotate_next(&report, &selection, json_string_value(json_array_get(selection.names, i)),
                    options);
    if (!status)
        status = answer_many(&report, hidden);
    json_decref(selection.names);
    json_decref(selection.all);
    json_decref(report.secrets);
    json_decref(report.by_hand);
    return status;
}

kt_status_t verb_rotate(cli_t *cli)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    bool many = cli_given(cli, "all") || cli_given(cli, "type") || cli_given(cli, "due");
    kt_status_t status = parse_options(cli, &options);

    if (status)
        return status;
    /* our parent may ignore it: then the exit status of a target would be lost */
    signal(SIGCHLD, SIG_DFL);
    if (!many && cli->nargs == 0)
        return cli_fail(cli, KT_USAGE, "rotate needs: a NAME, --due, --type T or --all");
    if (!many)
        return rotate_one(cli, &options);
    if (cli->nargs > 0)
        return cli_fail(cli, KT_USAGE, "--due, --type and --all choose the names: leave out NAME");
    if (cli_given(cli, "all") && (cli_given(cli, "type") || cli_given(cli, "due")))
        return cli_fail(cli, KT_USAGE, "--all excludes --type and --due");
    if (options.generate)
        return cli_fail(cli, KT_USAGE,
                        "--generate needs a NAME: it is for one value that was issued");
    if (options.store_only)
        return cli_fail(cli, KT_USAGE,
                        "--store-only needs a NAME: it is for one secret whose server you change");
    if (cli_given(cli, "file"))
        return cli_fail(cli, KT_USAGE, "--file needs a NAME: it has one value");
    return rotate_many(cli, &options);
}

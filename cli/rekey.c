/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn rekey: moves the store to the newest epoch of the key; --status prints the progress. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

typedef struct {
    cli_t *cli;
    json_t *types, *refused;
    char shown[KT_NAME_MAX + 1];
    bool line_open; /* the terminal's line has not ended */
} progress_t;

static void end_line(progress_t *p)
{
    if (p->line_open)
        fputc('\n', stderr);
    p->line_open = false;
}

/* ---- refusals ---- */

static void refused(void *arg, kt_status_t status, const char *what, const char *detail)
{
    progress_t *p = arg;

    if (p->cli->json)
        json_array_append_new(p->refused,
                              json_pack("{s:s, s:s, s:s}", "status", kt_status_name(status), "key",
                                        what, "error", detail));
    else
        cli_say("%s: %s", what, detail);
}

/* ---- progress ---- */

/* A terminal gets one line for each type, which changes in place; a file gets a line when a type
 * begins and one when it is done. */
static void progress(void *arg, const kt_rekey_type_t *type)
{
    progress_t *p = arg;
    uint64_t total = type->moved + type->left;
    const char *secrets = cli_plural(total, "secret", "secrets");
    bool terminal = isatty(STDERR_FILENO), begins = strcmp(p->shown, type->type) != 0;

    if (p->cli->quiet || p->cli->json)
        return;
    if (begins)
        end_line(p);
    if (terminal) {
        fprintf(stderr, "\rkeyturn: %s: %" PRIu64 " of %" PRIu64 " %s moved to epoch %u",
                type->type, type->moved, total, secrets, type->epoch);
        p->line_open = true;
    } else if (begins || type->from == 0) {
        fprintf(stderr, "keyturn: %s: %" PRIu64 " of %" PRIu64 " %s moved to epoch %u\n",
                type->type, type->moved, total, secrets, type->epoch);
    }
    snprintf(p->shown, sizeof p->shown, "%s", type->type);
    if (type->from == 0)
        end_line(p);
}

/* ---- the answer ---- */

static void add_type(void *arg, const kt_rekey_type_t *type)
{
    progress_t *p = arg;

    if (p->cli->json) {
        json_array_append_new(p->types,
                              json_pack("{s:s, s:i, s:I, s:I}", "type", type->type, "epoch",
                                        (int)type->epoch, "moved", (json_int_t)type->moved, "left",
                                        (json_int_t)type->left));
        return;
    }
    if (!p->cli->quiet) {
        cli_print(type->type, 30);
        printf(" epoch %-5u %10" PRIu64 " %10" PRIu64 "\n", type->epoch, type->moved, type->left);
    }
}

static bool is_complete(const kt_rekey_result_t *result)
{
    for (size_t i = 0; i < result->nepochs; i++)
        if (result->epochs[i].rows > 0)
            return false;
    return true;
}

static kt_status_t answer_json(cli_t *cli, const kt_rekey_result_t *result, json_t *types)
{
    json_t *epochs = json_array();

    for (size_t i = 0; i < result->nepochs; i++)
        json_array_append_new(epochs, json_pack("{s:i, s:I}", "epoch", (int)result->epochs[i].epoch,
                                                "rows", (json_int_t)result->epochs[i].rows));
    return cli_answer(cli, json_pack("{s:i, s:I, s:b, s:o, s:o, s:I}", "epoch", (int)result->epoch,
                                     "moved", (json_int_t)result->moved, "complete",
                                     is_complete(result), "older", epochs, "types", types,
                                     "unknown", (json_int_t)result->unknown));
}

static kt_status_t answer(cli_t *cli, const kt_rekey_result_t *result, json_t *types)
{
    if (cli->json)
        return answer_json(cli, result, types);
    for (size_t i = 0; i < result->nepochs; i++) {
        if (result->epochs[i].rows > 0)
            printf("%" PRIu64 " %s under epoch %u\n", result->epochs[i].rows,
                   cli_plural(result->epochs[i].rows, "row is", "rows are"),
                   result->epochs[i].epoch);
        else
            printf("complete: no row is under epoch %u\n", result->epochs[i].epoch);
    }
    if (result->nepochs == 0)
        printf("complete: the key lists epoch %u only\n", result->epoch);
    if (result->unknown > 0)
        cli_warn(cli, "%" PRIu64 " %s under keys that are missing here", result->unknown,
                 cli_plural(result->unknown, "row is", "rows are"));
    return KT_SUCCESS;
}

static kt_status_t answer_status(cli_t *cli, const kt_request_t *req)
{
    kt_rekey_result_t result = KT_REKEY_RESULT_INIT;
    progress_t p = {.cli = cli, .types = json_array()};
    kt_status_t status;

    if (!cli->json && !cli->quiet)
        printf("%-30s %-11s %10s %10s\n", "TYPE", "NEW NAMES", "MOVED", "TO MOVE");
    status = kt_rekey_status(cli->ctx, req, add_type, &p, &result);
    if (!status)
        return answer(cli, &result, p.types);
    json_decref(p.types);
    return cli_check_ctx(cli, status);
}

static kt_status_t refuse(cli_t *cli, kt_status_t status, json_t *list)
{
    if (!cli->json || json_array_size(list) == 0) {
        json_decref(list);
        return cli_check_ctx(cli, status);
    }
    cli_print_json(json_pack("{s:s, s:s, s:o}", "status", kt_status_name(status), "error",
                             kt_error(cli->ctx), "refused", list));
    return status;
}

kt_status_t verb_rekey(cli_t *cli)
{
    kt_rekey_result_t result = KT_REKEY_RESULT_INIT;
    kt_rekey_options_t options = KT_REKEY_INIT;
    progress_t p = {.cli = cli};
    kt_request_t req;
    kt_status_t status;

    if (cli_given(cli, "status") && cli_given(cli, "handed-out"))
        return cli_fail(cli, KT_USAGE, "--status changes nothing: leave out --handed-out");
    status = cli_open_for(cli, "*", &req);
    if (status)
        return status;
    if (cli_given(cli, "status"))
        return answer_status(cli, &req);
    p.refused = json_array();
    options.handed_out = cli_given(cli, "handed-out") != NULL;
    options.refused = refused;
    options.progress = progress;
    options.arg = &p;
    status = kt_rekey(cli->ctx, &req, &options, &result);
    end_line(&p);
    if (status)
        return refuse(cli, status, p.refused);
    json_decref(p.refused);
    if (!cli->json && !cli->quiet)
        printf("%" PRIu64 " %s moved to epoch %u\n", result.moved,
               cli_plural(result.moved, "secret", "secrets"), result.epoch);
    return answer(cli, &result, json_array());
}

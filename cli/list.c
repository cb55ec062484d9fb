/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn list [PATTERN]: names, versions, states.
 *
 * The first ten thousand are held back, so that the table has its width and a failure does not
 * leave half a list. Further names are printed at once, because a store may have millions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define HELD_MAX 10000

typedef struct {
    kt_entry_t entry;
    char *name;
    char state[12];
} held_t;

typedef struct {
    cli_t *cli;
    json_t *usage;       /* by name; NULL: --usage is not given */
    bool usage_complete; /* no stream is missing from it */
    held_t *held;
    size_t nheld;
    int width; /* of the longest name held */
    uint64_t printed;
    bool head_printed; /* of the table or the object */
} listing_t;

static void add_usage(const listing_t *listing, json_t *secret, const char *name)
{
    json_t *row = json_object_get(listing->usage, name);

    if (row)
        json_object_update(secret, row);
    else
        json_object_update_missing_new(
            secret, json_pack("{s:i, s:n, s:n}", "accessed", 0, "last_accessed", "last_subject"));
    json_object_set_new(secret, "usage", json_string(cli_usage_word(row, listing->usage_complete)));
}

static void print_json(listing_t *listing, const kt_entry_t *entry)
{
    json_t *secret =
        json_pack("{s:s, s:I, s:s, s:o, s:o, s:o, s:o}", "name", entry->name, "version",
                  (json_int_t)entry->version, "state", entry->state, "created",
                  cli_json_time(entry->created), "updated", cli_json_time(entry->updated),
                  "expires", cli_json_time(entry->expires), "due", cli_json_time(entry->due));

    if (listing->usage)
        add_usage(listing, secret, entry->name);
    if (listing->printed > 0)
        fputs(", ", stdout);
    json_dumpf(secret, stdout, 0);
    json_decref(secret);
}

static void print_usage(const listing_t *listing, const kt_entry_t *entry)
{
    const json_t *row = json_object_get(listing->usage, entry->name);

    printf("  %8lld  %-7s  %-20s  ",
           (long long)json_integer_value(json_object_get(row, "accessed")),
           cli_usage_word(row, listing->usage_complete), cli_json_text(row, "last_accessed", "-"));
    cli_print(cli_json_text(row, "last_subject", "-"), 0);
}

static void print_row(const listing_t *listing, const kt_entry_t *entry)
{
    char updated[CLI_TIME_SIZE], expires[CLI_TIME_SIZE];

    cli_print(entry->name, listing->cli->quiet ? 0 : listing->width);
    if (!listing->cli->quiet) {
        printf("  %7llu  %-7s", (unsigned long long)entry->version, entry->state);
        if (listing->usage)
            print_usage(listing, entry);
        else
            printf("  %-20s  %s", cli_time(entry->updated, updated),
                   cli_time(entry->expires, expires));
    }
    putchar('\n');
}

static void print(listing_t *listing, const kt_entry_t *entry)
{
    if (listing->cli->json)
        print_json(listing, entry);
    else
        print_row(listing, entry);
    listing->printed++;
}

/* Prints the head and the held secrets. */
static void print_held(listing_t *listing)
{
    if (listing->cli->json)
        fputs("{\"secrets\": [", stdout);
    else if (!listing->cli->quiet && listing->nheld > 0)
        printf("%-*s  %7s  %-7s  %s\n", listing->width, "NAME", "VERSION", "STATE",
               listing->usage ? "ACCESSED  USAGE    LAST ACCESSED         BY"
                              : "UPDATED               EXPIRES");
    for (size_t i = 0; i < listing->nheld; i++)
        print(listing, &listing->held[i].entry);
    listing->head_printed = true;
}

static int hold(listing_t *listing, const kt_entry_t *entry)
{
    held_t *held = &listing->held[listing->nheld];
    int width = (int)strlen(entry->name);

    held->name = strdup(entry->name);
    if (!held->name)
        return -1;
    held->entry = *entry;
    held->entry.name = held->name;
    snprintf(held->state, sizeof held->state, "%s", entry->state);
    held->entry.state = held->state;
    listing->nheld++;
    if (width > listing->width)
        listing->width = width;
    return 0;
}

static int add(void *arg, const kt_entry_t *entry)
{
    listing_t *listing = arg;

    if (listing->nheld < HELD_MAX)
        return hold(listing, entry);
    if (!listing->head_printed)
        print_held(listing);
    print(listing, entry);
    return ferror(stdout);
}

/* Completes a JSON object whose head is out, with the failure in it. */
static kt_status_t fail(listing_t *listing, kt_status_t status)
{
    cli_t *cli = listing->cli;
    json_t *text;

    if (!cli->json || !listing->head_printed)
        return cli_check_ctx(cli, status);
    text = json_string(kt_error(cli->ctx));
    printf("], \"status\": \"%s\", \"error\": ", kt_status_name(status));
    if (text)
        json_dumpf(text, stdout, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    else
        fputs("\"\"", stdout);
    puts("}");
    json_decref(text);
    cli->failure = status;
    return status;
}

static kt_status_t answer(listing_t *listing, uint64_t hidden)
{
    if (!listing->head_printed)
        print_held(listing);
    if (listing->cli->json)
        printf("], \"hidden\": %llu, \"status\": \"success\"}\n", (unsigned long long)hidden);
    else
        cli_warn_hidden(listing->cli, hidden);
    return KT_SUCCESS;
}

kt_status_t verb_list(cli_t *cli)
{
    listing_t listing = {.cli = cli, .width = 4};
    uint64_t hidden = 0;
    kt_request_t req;
    kt_status_t status = cli_open_for(cli, cli->nargs > 0 ? cli->args[0] : NULL, &req);

    if (!status && cli_given(cli, "usage"))
        status = cli_usage(cli, &listing.usage, &listing.usage_complete);
    if (status)
        return status;
    listing.held = calloc(HELD_MAX, sizeof *listing.held);
    if (!listing.held) {
        json_decref(listing.usage);
        return cli_no_memory(cli);
    }
    status = kt_list(cli->ctx, &req, add, &listing, &hidden);
    /* nothing is shown before it is recorded, except the names of a long list */
    if (!status)
        status = kt_audit_flush(cli->ctx, 0);
    status = status ? fail(&listing, status) : answer(&listing, hidden);
    for (size_t i = 0; i < listing.nheld; i++)
        free(listing.held[i].name);
    free(listing.held);
    json_decref(listing.usage);
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn list [PATTERN]: names in their order, versions, states. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

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
    size_t nheld, room;
    int width; /* of the column of names */
} listing_t;

static void add_usage(const listing_t *listing, json_t *secret, const char *name)
{
    json_t *row = json_object_get(listing->usage, name);

    if (row)
        json_object_update(secret, row);
    else
        json_object_update_missing_new(secret,
                                       json_pack("{s:i, s:n, s:n, s:n}", "accessed", 0,
                                                 "last_accessed", "last_subject", "last_stream"));
    json_object_set_new(secret, "usage", json_string(cli_usage_word(row, listing->usage_complete)));
}

static json_t *as_json(const listing_t *listing, const kt_entry_t *entry)
{
    json_t *secret = json_pack("{s:s, s:I, s:s, s:s, s:o, s:o, s:o, s:o}", "name", entry->name,
                               "version", (json_int_t)entry->version, "state", entry->state,
                               "origin", entry->origin, "created", cli_json_time(entry->created),
                               "updated", cli_json_time(entry->updated), "expires",
                               cli_json_time(entry->expires), "due", cli_json_time(entry->due));

    if (listing->usage)
        add_usage(listing, secret, entry->name);
    return secret;
}

static void print_usage(const listing_t *listing, const kt_entry_t *entry)
{
    const json_t *row = json_object_get(listing->usage, entry->name);

    printf("  %8lld  %-7s  %-20s  ",
           (long long)json_integer_value(json_object_get(row, "accessed")),
           cli_usage_word(row, listing->usage_complete), cli_json_text(row, "last_accessed", "-"));
    cli_print_reader(cli_json_text(row, "last_stream", NULL),
                     cli_json_text(row, "last_subject", NULL));
}

static void print_row(const listing_t *listing, const kt_entry_t *entry)
{
    char updated[CLI_TIME_SIZE], expires[CLI_TIME_SIZE];

    if (listing->cli->quiet)
        cli_print(entry->name, 0);
    else
        cli_print_cut(entry->name, listing->width);
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

#define REST 62     /* columns of a row after its name */
#define NAME_MIN 16 /* columns of a name on a narrow terminal */

static void print(listing_t *listing)
{
    int columns = cli_columns();

    if (columns > 0 && listing->width > columns - REST)
        listing->width = columns - REST > NAME_MIN ? columns - REST : NAME_MIN;
    if (!listing->cli->quiet && listing->nheld > 0)
        printf("%-*s  %7s  %-7s  %s\n", listing->width, "NAME", "VERSION", "STATE",
               listing->usage ? "ACCESSED  USAGE    LAST ACCESSED         BY"
                              : "UPDATED               EXPIRES");
    for (size_t i = 0; i < listing->nheld; i++)
        print_row(listing, &listing->held[i].entry);
}

static bool has_room(listing_t *listing)
{
    size_t room = listing->room > 0 ? 2 * listing->room : 256;
    held_t *held;

    if (listing->nheld < listing->room)
        return true;
    held = reallocarray(listing->held, room, sizeof *held);
    if (!held)
        return false;
    listing->held = held;
    listing->room = room;
    return true;
}

static int add(void *arg, const kt_entry_t *entry)
{
    listing_t *listing = arg;
    int width = (int)strlen(entry->name);
    held_t *held;

    if (!has_room(listing))
        return -1;
    held = &listing->held[listing->nheld];
    held->name = strdup(entry->name);
    if (!held->name)
        return -1;
    held->entry = *entry;
    snprintf(held->state, sizeof held->state, "%s", entry->state);
    listing->nheld++;
    if (width > listing->width)
        listing->width = width;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const held_t *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static void sort(listing_t *listing)
{
    if (listing->nheld > 0)
        qsort(listing->held, listing->nheld, sizeof *listing->held, by_name);
    for (size_t i = 0; i < listing->nheld; i++) {
        listing->held[i].entry.name = listing->held[i].name;
        listing->held[i].entry.state = listing->held[i].state;
    }
}

/* One secret after the other: the objects of a million would take a gigabyte. */
static void print_json(const listing_t *listing, uint64_t hidden)
{
    fputs("{\"status\": \"success\", \"secrets\": [", stdout);
    for (size_t i = 0; i < listing->nheld; i++) {
        json_t *secret = as_json(listing, &listing->held[i].entry);

        if (i > 0)
            fputs(", ", stdout);
        json_dumpf(secret, stdout, 0);
        json_decref(secret);
    }
    printf("], \"hidden\": %llu}\n", (unsigned long long)hidden);
}

static kt_status_t answer(listing_t *listing, uint64_t hidden)
{
    sort(listing);
    if (listing->cli->json) {
        print_json(listing, hidden);
    } else {
        print(listing);
        cli_warn_hidden(listing->cli, hidden);
    }
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
    status = kt_list(cli->ctx, &req, add, &listing, &hidden);
    /* nothing is shown before it is recorded */
    if (!status)
        status = kt_audit_flush(cli->ctx, 0);
    status = status ? cli_check_ctx(cli, status) : answer(&listing, hidden);
    for (size_t i = 0; i < listing.nheld; i++)
        free(listing.held[i].name);
    free(listing.held);
    json_decref(listing.usage);
    return status;
}

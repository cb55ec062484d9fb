/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the verbs share. Each verb is a row of verbs.h and a function in a file of its name, which
 * gets the parsed command line and returns a status, which becomes the exit status. cli_fail()
 * reports it, once.
 */
#ifndef KEYTURN_CLI_H
#define KEYTURN_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "keyturn.h"

#define CLI_VERBS_MAX 40   /* the last one empty */
#define CLI_OPTIONS_MAX 10 /* of one verb, the last one empty */
#define CLI_GIVEN_MAX 80   /* options in one command: all metadata of a secret and some more */

typedef struct cli cli_t;

typedef struct cli_option {
    char letter;      /* -c, or 0 */
    const char *name; /* --name */
    const char *arg;  /* what it takes, as help shows it; NULL: nothing */
    const char *text;
} cli_option_t;

/* Flags of a verb. */
#define CLI_VALUE 1u    /* it reads a value, which is never an operand */
#define CLI_WARNINGS 2u /* shows what the library warns of, although the verb succeeds */
#define CLI_REMARKS 4u  /* shows the remarks of providers */

typedef struct cli_verb {
    const char *name; /* one word or two */
    const char *args; /* operands, as help shows them */
    const char *summary;
    kt_status_t (*run)(cli_t *cli);
    int min, max; /* operands; max -1: any number, and the first one ends the options */
    unsigned flags;
    cli_option_t options[CLI_OPTIONS_MAX];
} cli_verb_t;

struct cli {
    const cli_verb_t *verbs; /* all; ends with a name NULL */
    const cli_verb_t *verb;
    const char *config;
    bool json, quiet;
    kt_status_t failure; /* what cli_fail() told */
    struct {
        const cli_option_t *option;
        const char *value;
    } given[CLI_GIVEN_MAX];
    size_t ngiven;
    char **args;
    int nargs;
    char subject[KT_SUBJECT_MAX + 1]; /* uid:NAME of the effective user */
    kt_setup_t *setup;
    kt_ctx_t *ctx;
    int64_t progress_next; /* progress.c: when to show the next; 0: nothing is shown */
};

/* ---- args.c, help.c: the command line ---- */

extern const cli_option_t cli_globals[]; /* of every verb */

/* Finds the verb, its options and operands, unless --help or --version is given before. */
kt_status_t cli_parse(cli_t *cli, int argc, char **argv);
void cli_help(const cli_t *cli);
/* the last value of --name, "" for a switch; NULL: not given */
const char *cli_given(const cli_t *cli, const char *name);
/* --name as a whole number of [min, max]; left alone if it is not given. */
kt_status_t cli_number(cli_t *cli, const char *name, uint64_t min, uint64_t max,
                       uint64_t *ret_number);
kt_status_t cli_parse_number(cli_t *cli, const char *what, const char *text, uint64_t min,
                             uint64_t max, uint64_t *ret);

/* ---- open.c: the context ---- */

kt_status_t cli_setup(cli_t *cli); /* configuration and keys into cli->setup */
kt_status_t cli_open(cli_t *cli);  /* and the context into cli->ctx */
kt_request_t cli_request(const cli_t *cli, const char *reference);
void cli_user(char *name, size_t size); /* the effective user's name, or number */
/* dev, stage, prod in full; NULL: not a name for an environment */
const char *cli_environment(const char *name);

/* ---- output.c: what the user is told; nothing here takes a value but cli_write() ---- */

/* Tells why, as text on stderr or as the JSON object on stdout, and answers `status`. */
kt_status_t cli_fail(cli_t *cli, kt_status_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
kt_status_t cli_fail_ctx(cli_t *cli, kt_status_t status);   /* with the context's own words */
kt_status_t cli_fail_setup(cli_t *cli, kt_status_t status); /* with the setup's own words */
bool cli_is_control(char c);                                /* a control character of ASCII */
/* not with --quiet */
void cli_warn(const cli_t *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* also with --quiet: one of several errors */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The answer: `object` (taken) with its status for --json. */
kt_status_t cli_answer(cli_t *cli, json_t *object);
/* The answer of a verb that makes a version: the number alone on its line, or name and version. */
kt_status_t cli_answer_version(cli_t *cli, const char *name, uint64_t version);
kt_status_t cli_answer_name(cli_t *cli, const char *name);
/* "N rows saved" and the like. */
kt_status_t cli_answer_count(cli_t *cli, const char *done, uint64_t rows);
/* The whole answer, which is `object` (taken) with a status of its own. */
void cli_print_json(json_t *object);
/* to stdout, past stdio's buffers */
kt_status_t cli_write(cli_t *cli, const void *data, size_t size);
/* to stdout, what a terminal would obey made visible; padded */
void cli_print(const char *text, int width);
/* The bits of kt_strength() in words. */
void cli_weakness(unsigned weak, char *text, size_t size);
void cli_json_init(void);       /* jansson wipes what it frees */
void cli_json_free(char *text); /* of json_dumps() */

/* ---- rows.c: what check, verify and audit verify answer ---- */

void cli_add_row(json_t *rows, const char *status, const char *what, const char *detail);
/* A kt_check_fn: one row of the array `arg`. A command in `...` at the end of the detail is also
 * the row's `fix`. */
void cli_collect(void *arg, kt_status_t status, const char *what, const char *detail);
/* The one with the higher exit status, any failure before success. */
kt_status_t cli_worse(kt_status_t a, kt_status_t b);
/* Takes the rows; returns `status`. */
kt_status_t cli_answer_rows(cli_t *cli, kt_status_t status, json_t *rows);

/* ---- secret.c: verbs of the secret that the first operand names ---- */

/* What is known of it. The caller frees *ret_info. */
kt_status_t cli_info(cli_t *cli, kt_info_t **ret_info);
/* Changes it and answers its name. */
kt_status_t cli_change(cli_t *cli, kt_status_t (*change)(kt_ctx_t *ctx, const kt_request_t *req));

/* ---- progress.c: on a terminal, from 4096 of whatever is counted ---- */

void cli_progress(cli_t *cli); /* until cli_progress_end() */
void cli_progress_end(cli_t *cli);

/* ---- value.c, prompt.c: a value comes in ---- */

/* From the file ("-": stdin), with file NULL from stdin or, on a terminal, a prompt. The caller
 * frees *ret_value. */
kt_status_t cli_read_value(cli_t *cli, const char *name, const char *file, kt_secret_t **ret_value);
/* Of --passphrase, without warnings; NULL if it is not given. */
kt_status_t cli_passphrase(cli_t *cli, kt_secret_t **ret_passphrase);
/* Asks twice without echo on the terminal `fd`. */
kt_status_t cli_prompt(cli_t *cli, int fd, const char *name, kt_secret_t **ret_value);

/* ---- when.c: times ---- */

#define CLI_TIME_SIZE 32
/* --expires, a duration or an RFC 3339 time; 0: not given */
kt_status_t cli_expires(cli_t *cli, int64_t *ret_ms);
/* --since, a duration before now or an RFC 3339 time; 0: not given */
kt_status_t cli_since(cli_t *cli, int64_t *ret_ms);
int64_t cli_now(void);                                      /* ms */
const char *cli_time(int64_t ms, char text[CLI_TIME_SIZE]); /* RFC 3339 in UTC; "-" for 0 */
json_t *cli_json_time(int64_t ms);                          /* null for 0 */

/* ---- usage.c: how often secrets were read ---- */

/* {name: {accessed, last_accessed, last_subject}} of all that were ever read; the caller's. Not
 * complete: some streams may not be read or had no room, and the warning is given. */
kt_status_t cli_usage(cli_t *cli, json_t **ret_usage, bool *ret_complete);
json_t *cli_json_subject(const kt_usage_t *usage); /* null: not known, or no UTF-8 */
/* "unused", "normal", "high", or "unknown" where a count of 0 may not be the truth; row NULL: never
 * read */
const char *cli_usage_word(const json_t *row, bool complete);

/* ---- the verbs: kt_status_t verb_NAME(cli_t *cli) ---- */

#define VERB(function, ...) kt_status_t verb_##function(cli_t *cli);
#include "verbs.h"

#endif /* KEYTURN_CLI_H */

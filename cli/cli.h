/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the verbs share. A verb is a row of verbs.h and a function in a file of that name. The
 * function gets the parsed command line and returns a status, which decides the exit status. The
 * first failure is reported by cli_fail() or one of its kin, and no other.
 */
#ifndef KEYTURN_CLI_H
#define KEYTURN_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "keyturn.h"

#define CLI_VERBS_MAX 40   /* the last one empty */
#define CLI_OPTIONS_MAX 12 /* of one verb, the last one empty */
#define CLI_GIVEN_MAX 80   /* options in one command: all metadata of a secret and some more */

typedef struct cli cli_t;

typedef struct cli_option {
    char letter;      /* -c, or 0 */
    const char *name; /* --name */
    const char *arg;  /* its argument, as help shows it; NULL: it has none */
    const char *text;
} cli_option_t;

/* Flags of a verb. */
#define CLI_VALUE 1u   /* reads a value, which is never an operand */
#define CLI_REMARKS 4u /* shows the providers' remarks */

typedef struct cli_verb {
    const char *name; /* one word or two */
    const char *args; /* operands, as help shows them */
    const char *summary;
    kt_status_t (*run)(cli_t *cli);
    int min, max; /* number of operands; max -1: no limit, and the first one ends the options */
    unsigned flags;
    cli_option_t options[CLI_OPTIONS_MAX];
} cli_verb_t;

struct cli {
    const cli_verb_t *verbs; /* all of them; the name of the last is NULL */
    const cli_verb_t *verb;
    const char *config;
    bool json, quiet;
    kt_status_t failure; /* reported by cli_fail() */
    json_t *warnings;    /* texts of the library's warnings; NULL: none */
    bool unkept;         /* one of them says that a promise was not kept */
    int exit;            /* the exit status in place of the failure's; 0: the failure's */
    struct {
        const cli_option_t *option;
        const char *value;
    } given[CLI_GIVEN_MAX];
    size_t ngiven;
    char **args;
    int nargs;
    char subject[KT_SUBJECT_MAX + 1]; /* uid:NAME of the effective user */
    char actor[65];                   /* the person who logged in or called sudo; "": not known */
    kt_setup_t *setup;
    kt_ctx_t *ctx;
    int64_t progress_next; /* progress.c: when to show the next line; 0: nothing is shown */
};

/* ---- args.c, help.c: the command line ---- */

extern const cli_option_t cli_globals[]; /* options of every verb */

/* Finds the verb, its options and operands. --help or --version before the verb ends the search. */
kt_status_t cli_parse(cli_t *cli, int argc, char **argv);
kt_status_t cli_help(cli_t *cli);
kt_status_t cli_print_version(cli_t *cli);
/* The last value of --name, "" for a switch; NULL: not given. */
const char *cli_given(const cli_t *cli, const char *name);
bool cli_asks(const cli_t *cli, char letter); /* was an option with this letter given? */
/* --name as a whole number of [min, max]; *ret_number is kept if the option is not given. */
kt_status_t cli_number(cli_t *cli, const char *name, uint64_t min, uint64_t max,
                       uint64_t *ret_number);
/* The second operand, a version; *ret_version is kept if there is none. */
kt_status_t cli_version(cli_t *cli, uint64_t *ret_version);

/* KT_USAGE unless it is the name of a secret; it is not repeated, since it may be a value. */
kt_status_t cli_check_name(cli_t *cli, const char *name);

/* ---- meta.c: metadata, and values that are made up ---- */

typedef struct {
    kt_meta_t entries[CLI_GIVEN_MAX];
    size_t count;
} cli_meta_t;
/* Adds K=V; K= removes the key. `what` was given. cli_meta() adds each --meta. The caller calls
 * cli_meta_free() in any case. */
kt_status_t cli_meta_add(cli_t *cli, cli_meta_t *meta, const char *text, const char *what);
kt_status_t cli_meta(cli_t *cli, cli_meta_t *meta);
void cli_meta_free(cli_meta_t *meta);
/* --length (0: not given) and --alphabet. */
kt_status_t cli_made_up(cli_t *cli, size_t *ret_length, kt_alphabet_t *ret_alphabet);

/* ---- open.c: the context ---- */

kt_status_t cli_setup(cli_t *cli); /* loads configuration and keys into cli->setup */
kt_status_t cli_open(cli_t *cli);  /* loads them and opens cli->ctx */
/* Where init --system puts the audit logs. */
#define CLI_TRAIL KT_LOCALSTATEDIR "/log/keyturn"
/* Where the audit logs are, for verbs that only read them. Who may not read the machine's
 * configuration gets CLI_TRAIL. cli_trail_open() also opens cli->ctx, which writes what this user's
 * processes have not written yet; it stays NULL if the user has no stream and cannot get one. */
kt_status_t cli_trail_path(cli_t *cli, const char **ret_path);
kt_status_t cli_trail_open(cli_t *cli, const char **ret_path);
/* Opens cli->ctx and makes a request for it. */
kt_status_t cli_open_for(cli_t *cli, const char *reference, kt_request_t *ret_request);
kt_request_t cli_request(const cli_t *cli, const char *reference); /* needs cli_setup() */
void cli_user(char *name, size_t size); /* name or number of the effective user */
/* dev, stage and prod in full; NULL: not a name for an environment. */
const char *cli_environment(const char *name);
/* The same; a wrong name is an error. */
kt_status_t cli_check_environment(cli_t *cli, const char *name, const char **ret_environment);
/* Does `key:` of cli->setup have an entry of this name? */
bool cli_has_key(const cli_t *cli, const char *stream);

/* ---- output.c: answers and messages; only cli_write() may get a value ---- */

/* Reports the failure, as text on stderr or as the JSON object on stdout. Returns `status`. */
kt_status_t cli_fail(cli_t *cli, kt_status_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
kt_status_t cli_no_memory(cli_t *cli);
/* The next three report a failure, and leave KT_SUCCESS alone. Without an error text they say what
 * the status means. They return `status`. */
kt_status_t cli_check(cli_t *cli, kt_status_t status, const char *error);
kt_status_t cli_check_ctx(cli_t *cli, kt_status_t status);   /* with the context's error text */
kt_status_t cli_check_setup(cli_t *cli, kt_status_t status); /* with the setup's error text */
bool cli_is_control(char c);                                 /* a control character of ASCII */
/* Silent with --quiet. */
void cli_warn(const cli_t *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Warns that a listing is incomplete, if secrets are hidden from us. */
void cli_warn_hidden(const cli_t *cli, uint64_t hidden);
/* One of several errors, printed even with --quiet. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the answer to --json: `object` with a status of success. Takes the reference. */
kt_status_t cli_answer(cli_t *cli, json_t *object);
/* The answer of a verb that makes a version: a line with the number, or name and version. */
kt_status_t cli_answer_version(cli_t *cli, const char *name, uint64_t version);
kt_status_t cli_answer_name(cli_t *cli, const char *name);
/* "N secrets with M versions saved" and the like. */
kt_status_t cli_answer_count(cli_t *cli, const char *done, const kt_backup_count_t *count);
/* Prints `object`, which has a status of its own. Takes the reference. */
void cli_print_json(json_t *object);
/* The string at `key`, or `otherwise`. */
const char *cli_json_text(const json_t *object, const char *key, const char *otherwise);
/* Writes to stdout, past the buffers of stdio. */
kt_status_t cli_write(cli_t *cli, const void *data, size_t size);
/* Prints `text`, made visible and padded to `width`. */
void cli_print(const char *text, int width);
void cli_print_line(const char *text); /* and a newline */
/* The same as cli_print(), but a longer text is cut and ends with "...". */
void cli_print_cut(const char *text, int width);
int cli_columns(void);          /* of the terminal that stdout is; 0: stdout is not one */
void cli_json_init(void);       /* jansson wipes what it frees */
void cli_json_free(char *text); /* of json_dumps() */

/* ---- visible.c: what others have written ---- */

/* Puts a `?` in place of each character that a terminal obeys or does not show, and of what is not
 * UTF-8. Answers how many characters there are. */
size_t cli_visible(char *text);
json_t *cli_visible_json(const json_t *value); /* the same in all its strings; a new reference */

/* ---- trail.c: lines of the audit logs ---- */

typedef struct cli_trail {
    cli_t *cli;
    json_t *notes; /* [{stream, note}]: what was not read; also on stderr, unless with --json */
} cli_trail_t;
/* A line as an object: with `stream` as its folder has it, and `marks`, a list of words, if
 * something is wrong with it. The caller owns it. */
json_t *cli_trail_parse(const kt_audit_line_t *line);
void cli_trail_print(const json_t *line);
void cli_trail_note(void *arg, kt_status_t status, const char *what, const char *detail);

/* ---- rows.c: the answers of check, verify and audit verify ---- */

void cli_add_row(json_t *rows, const char *status, const char *what, const char *detail);
/* A kt_check_fn: adds a row to the array `arg`. A command in backquotes at the end of the detail
 * is also the row's `fix`. */
void cli_collect(void *arg, kt_status_t status, const char *what, const char *detail);
/* The status with the higher exit status; any failure is worse than success. */
kt_status_t cli_worse(kt_status_t a, kt_status_t b);
/* Prints the rows and takes their reference. Returns `status`. */
kt_status_t cli_answer_rows(cli_t *cli, kt_status_t status, json_t *rows);

/* ---- secret.c: verbs of the secret that the first operand names ---- */

/* Answers with what is known about it, as JSON or in print. */
kt_status_t cli_info(cli_t *cli, json_t *(*as_json)(const kt_info_t *info),
                     void (*print)(const cli_t *cli, const kt_info_t *info));
json_t *cli_json_metadata(const kt_info_t *info); /* {key: value} */
/* Changes the secret and answers with its name. */
kt_status_t cli_change(cli_t *cli, kt_status_t (*change)(kt_ctx_t *ctx, const kt_request_t *req));

/* ---- progress.c: on a terminal, once 4096 steps are done ---- */

void cli_progress(cli_t *cli); /* until cli_progress_end() */
void cli_progress_end(cli_t *cli);

/* ---- file.c: files ---- */

/* Opens a file for reading; the caller closes *ret_fd. */
kt_status_t cli_open_file(cli_t *cli, const char *path, int *ret_fd);
/* Reads a regular file of at most `most` bytes. *ret_text has a NUL after the bytes; the caller
 * drops it. */
kt_status_t cli_read_file(cli_t *cli, const char *path, size_t most, char **ret_text,
                          size_t *ret_size);
/* Wipes and frees a text of `size` bytes; NULL is allowed. */
void cli_drop(char *text, size_t size);
/* Reads the first line of a file, without its end; "" if it is empty. */
kt_status_t cli_read_line(cli_t *cli, const char *path, char *line, int size);

/* ---- value.c, prompt.c: reading a value ---- */

/* Reads from `file` ("-": stdin). With NULL it reads stdin or, on a terminal, prompts. The caller
 * frees *ret_value. */
kt_status_t cli_read_value(cli_t *cli, const char *name, const char *file, kt_secret_t **ret_value);
/* Warns of the newline of `echo`, once a value is stored. */
void cli_warn_newline(const cli_t *cli, const kt_secret_t *value);
/* Reads the passphrase of --passphrase; NULL: the option is not given. */
kt_status_t cli_passphrase(cli_t *cli, kt_secret_t **ret_passphrase);
/* Asks twice, without echo, on the terminal `fd`. */
kt_status_t cli_prompt(cli_t *cli, int fd, const char *name, kt_secret_t **ret_value);
/* Asks on the terminal; KT_USAGE unless the answer is yes. */
kt_status_t cli_confirm(cli_t *cli, const char *question);

/* The noun, or the verb, that goes with a number. */
static inline const char *cli_plural(uint64_t number, const char *one, const char *many)
{
    return number == 1 ? one : many;
}

/* ---- strength.c ---- */

/* True: `text` says what is weak about the value, never the value. `ignored` has the bits KT_WEAK_
 * that do not count. */
bool cli_weakness(const kt_secret_t *value, kt_strength_t kind, unsigned ignored, char *text,
                  size_t size);

/* ---- when.c: times ---- */

#define CLI_TIME_SIZE 32
/* --expires, a duration from now or an RFC 3339 time; 0: not given */
kt_status_t cli_expires(cli_t *cli, int64_t *ret_ms);
/* --since or --until: a duration before now or an RFC 3339 time; 0: not given */
kt_status_t cli_since(cli_t *cli, int64_t *ret_ms);
kt_status_t cli_before(cli_t *cli, const char *option, int64_t *ret_ms);
int64_t cli_now(void);                                      /* ms since the epoch */
const char *cli_time(int64_t ms, char text[CLI_TIME_SIZE]); /* RFC 3339 in UTC; "-" for 0 */
json_t *cli_json_time(int64_t ms);                          /* null for 0 */

/* ---- usage.c: how often secrets were read ---- */

/* {name: {accessed, last_accessed, last_subject, last_stream}} of all secrets that were ever read;
 * the caller owns it. *ret_complete is false, after a warning, if streams may not be read or had no
 * room. */
kt_status_t cli_usage(cli_t *cli, json_t **ret_usage, bool *ret_complete);
json_t *cli_json_subject(const kt_usage_t *usage); /* null: not known, or not UTF-8 */
json_t *cli_json_stream(const kt_usage_t *usage);
/* "cli-shop (uid:shop)"; both may be NULL. */
void cli_print_reader(const char *stream, const char *subject);
/* "unused", "normal" or "high"; "unknown" for a count of 0 that is not complete. `row` NULL: the
 * secret was never read. */
const char *cli_usage_word(const json_t *row, bool complete);

/* ---- the verbs: kt_status_t verb_NAME(cli_t *cli) ---- */

#define VERB(function, ...) kt_status_t verb_##function(cli_t *cli);
#include "verbs.h"

#endif /* KEYTURN_CLI_H */

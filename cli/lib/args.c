/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: options, the verb, its operands. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

const cli_option_t cli_globals[] = {
    {'c', "config", "FILE", "the configuration [$KEYTURN_CONFIG, else " KT_DEFAULT_CONFIG "]"},
    {0, "json", NULL, "answer with one JSON object"},
    {'q', "quiet", NULL, "no warnings, and less in tables"},
    {'h', "help", NULL, "this text; after a verb, the verb's"},
    {'V', "version", NULL, "the version of the program"},
    {0, NULL, NULL, NULL},
};

#define KNOWN_MAX (CLI_OPTIONS_MAX + sizeof cli_globals / sizeof *cli_globals)

/* The options of every verb and, once the verb is known, its own. */
static size_t known_options(const cli_t *cli, const cli_option_t *known[KNOWN_MAX])
{
    size_t n = 0;

    /* one of the verb's own comes before one of the same name of every verb */
    for (const cli_option_t *o = cli->verb ? cli->verb->options : NULL; o && o->name; o++)
        known[n++] = o;
    for (const cli_option_t *o = cli_globals; o->name; o++)
        known[n++] = o;
    return n;
}

/* ---- suggestions ---- */

static bool is_verb(const cli_t *cli, const char *name)
{
    for (const cli_verb_t *v = cli->verbs; v->name; v++)
        if (v->summary && strcmp(v->name, name) == 0)
            return true;
    return false;
}

/* What other commands call the verb. */
static const char *const habits[][2] = {
    {"add", "set"},         {"cat", "get"},        {"destroy-version", "destroy"},
    {"export", "run"},      {"gen", "generate"},   {"history", "versions"},
    {"insert", "set"},      {"kv", "get"},         {"log", "audit log"},
    {"logs", "audit log"},  {"ls", "list"},        {"metadata", "meta"},
    {"put", "set"},         {"read", "get"},       {"remove", "delete"},
    {"rm", "delete"},       {"show", "get"},       {"status", "check"},
    {"tail", "audit tail"}, {"unlock", "lockout"}, {"write", "set"},
};

static const char *nearest_verb(const cli_t *cli, const char *word)
{
    const char *names[CLI_VERBS_MAX] = {NULL};
    size_t n = 0;

    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++)
        if (strcmp(word, habits[i][0]) == 0 && is_verb(cli, habits[i][1]))
            return habits[i][1];
    for (const cli_verb_t *v = cli->verbs; v->name; v++)
        if (v->summary)
            names[n++] = v->name;
    return kt_nearest(word, names);
}

static const char *nearest_option(const cli_t *cli, const char *word)
{
    const cli_option_t *known[KNOWN_MAX];
    const char *names[KNOWN_MAX + 1] = {NULL};
    size_t n = known_options(cli, known);

    for (size_t i = 0; i < n; i++)
        names[i] = known[i]->name;
    return kt_nearest(word, names);
}

/* ---- options ---- */

/* Does an option have this letter? Only of others does getopt's `optopt` say that they are
 * unknown: of ours it says that a value was given or is missing. */
static bool is_letter(int c)
{
    for (const cli_option_t *o = cli_globals; o->name; o++)
        if (o->letter == c)
            return true;
    return false;
}

/* What follows a '=' is not repeated: it may be a value. */
static kt_status_t refuse_option(cli_t *cli, const char *word)
{
    const char *space = cli->verb ? " " : "", *verb = cli->verb ? cli->verb->name : "", *near;
    char name[41];

    if (optopt > 0 && optopt < 256 && !is_letter(optopt))
        return cli_fail(cli, KT_USAGE, "unknown option -%c; keyturn%s%s --help lists all", optopt,
                        space, verb);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    near = nearest_option(cli, name);
    if (near && strcmp(near, name) == 0)
        return cli_fail(cli, KT_USAGE, "the option --%s takes no value", name);
    if (near)
        return cli_fail(cli, KT_USAGE, "unknown option --%s (did you mean --%s?)", name, near);
    return cli_fail(cli, KT_USAGE, "unknown option --%s; keyturn%s%s --help lists all", name, space,
                    verb);
}

static kt_status_t apply_option(cli_t *cli, const cli_option_t *option, const char *value)
{
    if (strcmp(option->name, "config") == 0) {
        cli->config = value;
    } else if (strcmp(option->name, "json") == 0) {
        cli->json = true;
    } else if (strcmp(option->name, "quiet") == 0) {
        cli->quiet = true;
    } else if (cli->ngiven == CLI_GIVEN_MAX) {
        return cli_fail(cli, KT_USAGE, "there are more than %d options", CLI_GIVEN_MAX);
    } else {
        cli->given[cli->ngiven].option = option;
        cli->given[cli->ngiven++].value = value ? value : "";
    }
    return KT_SUCCESS;
}

/* Those of the verb itself, for getopt: at most one, which has a value. */
static const char *known_letters(const cli_t *cli)
{
    static char letters[] = "n:";

    for (const cli_option_t *o = cli->verb ? cli->verb->options : NULL; o && o->name; o++)
        if (o->letter) {
            letters[0] = o->letter;
            return letters;
        }
    return "";
}

/*
 * Parses the options among argv[1]... and leaves the other words at *argv. It runs twice: until the
 * verb is known, the first other word ends the options; afterwards they may stand anywhere.
 */
static kt_status_t parse_options(cli_t *cli, int *argc, char ***argv)
{
    struct option longs[KNOWN_MAX + 1] = {{0}};
    const cli_option_t *known[KNOWN_MAX];
    char letters[16];
    size_t n = known_options(cli, known);
    kt_status_t status = KT_SUCCESS;
    int c;

    snprintf(letters, sizeof letters, "%s:c:qhV%s", cli->verb && cli->verb->max >= 0 ? "" : "+",
             known_letters(cli));
    for (size_t i = 0; i < n; i++) {
        longs[i].name = known[i]->name;
        longs[i].has_arg = known[i]->arg ? required_argument : no_argument;
        longs[i].val = known[i]->letter ? known[i]->letter : 256 + (int)i;
    }
    optind = 0;
    opterr = 0;
    while (!status && (c = getopt_long(*argc, *argv, letters, longs, NULL)) != -1) {
        if (c == ':')
            return cli_fail(cli, KT_USAGE, "the option %.40s needs a value", (*argv)[optind - 1]);
        if (c == '?')
            return refuse_option(cli, (*argv)[optind - 1]);
        for (size_t i = 0; i < n; i++)
            if (longs[i].val == c)
                status = apply_option(cli, known[i], optarg);
    }
    *argc -= optind;
    *argv += optind;
    return status;
}

const char *cli_given(const cli_t *cli, const char *name)
{
    for (size_t i = cli->ngiven; i > 0; i--)
        if (strcmp(cli->given[i - 1].option->name, name) == 0)
            return cli->given[i - 1].value;
    return NULL;
}

bool cli_asks(const cli_t *cli, char letter)
{
    for (size_t i = 0; i < cli->ngiven; i++)
        if (cli->given[i].option->letter == letter)
            return true;
    return false;
}

static kt_status_t parse_number(cli_t *cli, const char *what, const char *text, uint64_t min,
                                uint64_t max, uint64_t *ret)
{
    uint64_t number = 0;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || text[digits] != '\0' || digits > 18)
        return cli_fail(cli, KT_USAGE, "%s must be a whole number", what);
    for (const char *p = text; *p; p++)
        number = number * 10 + (uint64_t)(*p - '0');
    if (number < min || number > max)
        return cli_fail(cli, KT_USAGE, "%s must be %llu to %llu", what, (unsigned long long)min,
                        (unsigned long long)max);
    *ret = number;
    return KT_SUCCESS;
}

kt_status_t cli_number(cli_t *cli, const char *name, uint64_t min, uint64_t max,
                       uint64_t *ret_number)
{
    const char *text = cli_given(cli, name);
    char what[32];

    if (!text)
        return KT_SUCCESS;
    snprintf(what, sizeof what, "--%s", name);
    return parse_number(cli, what, text, min, max, ret_number);
}

kt_status_t cli_version(cli_t *cli, uint64_t *ret_version)
{
    if (cli->nargs < 2)
        return KT_SUCCESS;
    return parse_number(cli, "VERSION", cli->args[1], 1, UINT64_MAX, ret_version);
}

kt_status_t cli_check_name(cli_t *cli, const char *name)
{
    const char *why = "";

    if (kt_name_check(name, 0, &why) == KT_SUCCESS)
        return KT_SUCCESS;
    return cli_fail(cli, KT_USAGE, "not a name: %s", why);
}

/* ---- the verb ---- */

static const cli_verb_t *find_verb(const cli_t *cli, int argc, char **argv, int *ret_words)
{
    for (const cli_verb_t *v = cli->verbs; v->name; v++) {
        size_t first = strcspn(v->name, " ");

        if (strlen(argv[0]) != first || strncmp(argv[0], v->name, first) != 0)
            continue;
        *ret_words = v->name[first] ? 2 : 1;
        if (*ret_words == 1 || (argc > 1 && strcmp(argv[1], v->name + first + 1) == 0))
            return v;
    }
    return NULL;
}

static bool is_word(const char *text)
{
    return strlen(text) <= 20 && strspn(text, "abcdefghijklmnopqrstuvwxyz-") == strlen(text);
}

/* "tail, verify" for the word "audit"; "" if no verb begins with the word. */
static void second_words(const cli_t *cli, const char *first, char *text, size_t size)
{
    size_t len = strlen(first), used = 0;

    text[0] = '\0';
    for (const cli_verb_t *v = cli->verbs; v->name && used < size; v++)
        if (strncmp(v->name, first, len) == 0 && v->name[len] == ' ')
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
                                     v->name + len + 1);
}

/* The word may be a value that was typed in the wrong place: it is repeated only if it looks like
 * a verb. */
static kt_status_t refuse_verb(cli_t *cli, int argc, char **argv)
{
    const char *shown = is_word(argv[0]) ? argv[0] : "", *near;
    char both[42], seconds[100];

    snprintf(both, sizeof both, "%.20s %.20s", argv[0], argc > 1 ? argv[1] : "");
    second_words(cli, argv[0], seconds, sizeof seconds);
    near = nearest_verb(cli, argc > 1 ? both : argv[0]);
    if (!near && *seconds)
        return cli_fail(cli, KT_USAGE, "%s needs a second word: %s", argv[0], seconds);
    if (!near)
        near = nearest_verb(cli, argv[0]);
    if (near)
        return cli_fail(cli, KT_USAGE, "unknown verb%s%s (did you mean %s?)", *shown ? " " : "",
                        shown, near);
    return cli_fail(cli, KT_USAGE, "unknown verb%s%s; keyturn --help lists all", *shown ? " " : "",
                    shown);
}

static kt_status_t check_operands(cli_t *cli)
{
    const cli_verb_t *verb = cli->verb;

    if (cli->nargs < verb->min)
        return cli_fail(cli, KT_USAGE, "%s needs: %s", verb->name, verb->args);
    if (verb->max < 0 || cli->nargs <= verb->max)
        return KT_SUCCESS;
    if (verb->flags & CLI_VALUE)
        return cli_fail(cli, KT_USAGE,
                        "a value is not taken from the command line, where every user of this "
                        "machine can read it: give it on stdin or with --file");
    return cli_fail(cli, KT_USAGE, "too many arguments; %s takes: %s", verb->name,
                    verb->args[0] ? verb->args : "none");
}

static bool asks_only(const cli_t *cli)
{
    return cli_asks(cli, 'h') || cli_asks(cli, 'V');
}

/* `keyturn help VERB` and `keyturn version` are other spellings of the options. */
static bool is_option_as_word(cli_t *cli, const char *word)
{
    for (const cli_option_t *o = cli_globals; o->name; o++)
        if (strcmp(word, o->name) == 0 && (o->letter == 'h' || o->letter == 'V'))
            return apply_option(cli, o, NULL) == KT_SUCCESS;
    return false;
}

kt_status_t cli_parse(cli_t *cli, int argc, char **argv)
{
    kt_status_t status = parse_options(cli, &argc, &argv);
    int words;

    if (!status && !asks_only(cli) && argc > 0 && is_option_as_word(cli, argv[0])) {
        argc--;
        argv++;
        if (argc == 0)
            return KT_SUCCESS;
    } else if (status || asks_only(cli)) {
        return status;
    }
    if (argc == 0)
        return cli_fail(cli, KT_USAGE, "a verb is missing; keyturn --help lists all");
    cli->verb = find_verb(cli, argc, argv, &words);
    if (!cli->verb)
        return refuse_verb(cli, argc, argv);
    /* the last word of the verb takes the place of argv[0] */
    argc -= words - 1;
    argv += words - 1;
    status = parse_options(cli, &argc, &argv);
    cli->args = argv;
    cli->nargs = argc;
    return status || asks_only(cli) ? status : check_operands(cli);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyturn command. A verb is one file and one row of verbs.h (and a paragraph of keyturn.1,
 * which a test demands).
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli.h"

const cli_option_t cli_globals[] = {
    {'c', "config", "FILE", "the configuration [$KEYTURN_CONFIG, else " KT_DEFAULT_CONFIG "]"},
    {0, "json", NULL, "answer with one JSON object"},
    {0, "quiet", NULL, "no warnings, and less in tables"},
    {'h', "help", NULL, "this text; after a verb, the verb's"},
    {0, "version", NULL, "the version of the program"},
    {0, NULL, NULL, NULL},
};

const cli_verb_t cli_verbs[] = {
#define OPTION(name, arg, text)                                                                    \
    {                                                                                              \
        0, name, arg, text                                                                         \
    }
#define NO_OPTIONS OPTION(NULL, NULL, NULL)
#define VERB(function, name, operands, min, max, flags, summary, ...)                              \
    {name, operands, summary, verb_##function, min, max, flags, {__VA_ARGS__}},
#include "verbs.h"
    {NULL, NULL, NULL, NULL, 0, 0, 0, {{0}}},
};

/* ---- help ---- */

static void help_options(const cli_option_t *options)
{
    char left[40], letter[] = "-c, ";

    for (const cli_option_t *o = options; o->name; o++) {
        letter[0] = o->letter ? '-' : '\0';
        letter[1] = o->letter;
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->arg ? " " : "",
                 o->arg ? o->arg : "");
        printf("  %-22s  %s\n", left, o->text);
    }
}

static void help(const cli_verb_t *verb)
{
    if (verb) {
        printf("Usage: keyturn %s%s%s%s\n", verb->name, verb->options[0].name ? " [OPTION]..." : "",
               verb->args[0] ? " " : "", verb->args);
        printf("%c%s.\n", verb->summary[0] - 'a' + 'A', verb->summary + 1);
        if (verb->options[0].name)
            printf("\n");
        help_options(verb->options);
        printf("\nOptions of every verb:\n");
        help_options(cli_globals);
        return;
    }
    printf("Usage: keyturn [OPTION]... VERB [ARGUMENT]...\n"
           "Secrets for the servers that need them.\n\n");
    for (verb = cli_verbs; verb->name; verb++) {
        char left[40];

        if (!verb->summary)
            continue;
        snprintf(left, sizeof left, "%s%s%s", verb->name, verb->args[0] ? " " : "", verb->args);
        printf("  %-26s  %s\n", left, verb->summary);
    }
    printf("\n");
    help_options(cli_globals);
    printf("\nA value is never an argument, where every user of the machine could read it.\n"
           "keyturn VERB --help tells a verb's options, keyturn(1) everything.\n");
}

/* ---- the command line ---- */

static const char *nearest_verb(const char *word)
{
    const char *names[sizeof cli_verbs / sizeof *cli_verbs] = {NULL};
    size_t n = 0;

    for (const cli_verb_t *v = cli_verbs; v->name; v++)
        if (v->summary)
            names[n++] = v->name;
    return kt_nearest(word, names);
}

static const cli_option_t *find_option(const cli_option_t *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

static const char *nearest_option(const cli_verb_t *verb, const char *word)
{
    const char *names[CLI_OPTIONS_MAX + sizeof cli_globals / sizeof *cli_globals] = {NULL};
    size_t n = 0;

    for (const cli_option_t *o = cli_globals; o->name; o++)
        names[n++] = o->name;
    for (const cli_option_t *o = verb ? verb->options : NULL; o && o->name; o++)
        names[n++] = o->name;
    return kt_nearest(word, names);
}

/* Without what stands behind a '=': that may be a value. */
static kt_status_t refuse_option(cli_t *cli, const char *word)
{
    const char *near;
    char name[41];

    if (word[0] != '-' || word[1] != '-')
        return cli_fail(cli, KT_USAGE, "unknown option; keyturn%s%s --help lists all",
                        cli->verb ? " " : "", cli->verb ? cli->verb->name : "");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    if (find_option(cli_globals, name) || (cli->verb && find_option(cli->verb->options, name)))
        return cli_fail(cli, KT_USAGE, "the option --%s takes no value", name);
    near = nearest_option(cli->verb, name);
    if (near)
        return cli_fail(cli, KT_USAGE, "unknown option --%s (did you mean --%s?)", name, near);
    return cli_fail(cli, KT_USAGE, "unknown option --%s; keyturn%s%s --help lists all", name,
                    cli->verb ? " " : "", cli->verb ? cli->verb->name : "");
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
        return cli_fail(cli, KT_USAGE, "more than %d options", CLI_GIVEN_MAX);
    } else {
        cli->given[cli->ngiven].option = option;
        cli->given[cli->ngiven++].value = value ? value : "";
    }
    return KT_SUCCESS;
}

/*
 * Takes the options of argv[1]...; with cli->verb set also the verb's. What is no option is left at
 * *argv. Twice: before the verb is known the first word ends the options, afterwards they may stand
 * anywhere.
 */
static kt_status_t parse_options(cli_t *cli, int *argc, char ***argv)
{
    struct option longs[CLI_OPTIONS_MAX + sizeof cli_globals / sizeof *cli_globals];
    const cli_option_t *known[CLI_OPTIONS_MAX + sizeof cli_globals / sizeof *cli_globals];
    const char *letters = cli->verb && cli->verb->max >= 0 ? ":c:h" : "+:c:h";
    int n = 0, c;

    memset(longs, 0, sizeof longs);
    for (const cli_option_t *table = cli_globals;; table = cli->verb->options) {
        for (const cli_option_t *o = table; o->name; o++, n++) {
            known[n] = o;
            longs[n].name = o->name;
            longs[n].has_arg = o->arg ? required_argument : no_argument;
            longs[n].val = o->letter ? o->letter : 256 + n;
        }
        if (!cli->verb || table == cli->verb->options)
            break;
    }
    optind = 0;
    opterr = 0;
    while ((c = getopt_long(*argc, *argv, letters, longs, NULL)) != -1) {
        kt_status_t status;

        if (c == ':')
            return cli_fail(cli, KT_USAGE, "the option %.*s wants a value", 40,
                            (*argv)[optind - 1]);
        if (c == '?')
            return refuse_option(cli, (*argv)[optind - 1]);
        for (int i = 0; i < n; i++)
            if (longs[i].val == c) {
                status = apply_option(cli, known[i], optarg);
                if (status)
                    return status;
            }
    }
    *argc -= optind;
    *argv += optind;
    return KT_SUCCESS;
}

static const cli_verb_t *find_verb(int argc, char **argv, int *ret_words)
{
    for (const cli_verb_t *v = cli_verbs; v->name; v++) {
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

/* "tail, verify" of the word "audit"; "" if it begins no verb. */
static void second_words(const char *first, char *text, size_t size)
{
    size_t len = strlen(first), used = 0;

    text[0] = '\0';
    for (const cli_verb_t *v = cli_verbs; v->name && used < size; v++)
        if (strncmp(v->name, first, len) == 0 && v->name[len] == ' ')
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
                                     v->name + len + 1);
}

/* Its first argument may be a value that was typed in the wrong place: it is repeated if it looks
 * like a verb. */
static kt_status_t refuse_verb(cli_t *cli, int argc, char **argv)
{
    const char *shown = is_word(argv[0]) ? argv[0] : "", *near;
    char both[42], seconds[100];

    snprintf(both, sizeof both, "%.20s %.20s", argv[0], argc > 1 ? argv[1] : "");
    second_words(argv[0], seconds, sizeof seconds);
    near = nearest_verb(argc > 1 ? both : argv[0]);
    if (!near && *seconds)
        return cli_fail(cli, KT_USAGE, "%s needs a second word: %s", argv[0], seconds);
    if (!near)
        near = nearest_verb(argv[0]);
    if (near)
        return cli_fail(cli, KT_USAGE, "unknown verb%s%s (did you mean %s?)", *shown ? " " : "",
                        shown, near);
    return cli_fail(cli, KT_USAGE, "unknown verb%s%s; keyturn --help lists all", *shown ? " " : "",
                    shown);
}

static kt_status_t parse(cli_t *cli, int argc, char **argv)
{
    kt_status_t status = parse_options(cli, &argc, &argv);
    int words;

    if (status)
        return status;
    if (argc == 0 || cli_given(cli, "help") || cli_given(cli, "version"))
        return KT_SUCCESS;
    cli->verb = find_verb(argc, argv, &words);
    if (!cli->verb)
        return refuse_verb(cli, argc, argv);
    /* the last word of the verb takes the place of argv[0] */
    argc -= words - 1;
    argv += words - 1;
    status = parse_options(cli, &argc, &argv);
    cli->args = argv;
    cli->nargs = argc;
    return status;
}

static kt_status_t check_operands(cli_t *cli)
{
    const cli_verb_t *verb = cli->verb;

    if (cli->nargs < verb->min)
        return cli_fail(cli, KT_USAGE, "%s wants: %s", verb->name, verb->args);
    if (verb->max < 0 || cli->nargs <= verb->max)
        return KT_SUCCESS;
    if (verb->flags & CLI_VALUE)
        return cli_fail(cli, KT_USAGE,
                        "a value is not taken from the command line, where every user of this "
                        "machine can read it: give it on stdin or with --file");
    return cli_fail(cli, KT_USAGE, "too many arguments; %s takes: %s", verb->name,
                    verb->args[0] ? verb->args : "none");
}

const char *cli_given(const cli_t *cli, const char *name)
{
    for (size_t i = cli->ngiven; i > 0; i--)
        if (strcmp(cli->given[i - 1].option->name, name) == 0)
            return cli->given[i - 1].value;
    return NULL;
}

/* ---- the process ---- */

/* A descriptor 0 to 2 that is closed would become the store's, and get our messages. */
static bool open_standard(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* No core dump and no debugger of the same user: values pass through this memory. */
static void protect(void)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__ /* its leak check attaches to the process */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    cli_t cli = {0};
    kt_status_t status;

    if (!open_standard())
        return kt_status_exit(KT_INTERNAL);
    protect();
    cli_json_init();
    status = parse(&cli, argc, argv);
    if (status)
        goto out;
    if (cli_given(&cli, "version")) {
        printf("keyturn %s\n", KT_VERSION);
    } else if (cli_given(&cli, "help")) {
        help(cli.verb && cli.verb->summary ? cli.verb : NULL);
    } else if (!cli.verb) {
        status = cli_fail(&cli, KT_USAGE, "a verb is missing; keyturn --help lists all");
    } else {
        status = check_operands(&cli);
        if (!status)
            status = cli.verb->run(&cli);
    }
out:
    kt_close(cli.ctx);
    kt_setup_free(cli.setup);
    if (fflush(stdout) != 0 && !status)
        status = cli_fail(&cli, KT_NOSPACE, "cannot write the answer");
    return kt_status_exit(status);
}

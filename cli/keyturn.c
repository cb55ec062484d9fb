/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyturn command: one table of verbs, from which parsing, --help and completion come. A verb
 * is one file and one row here (and a paragraph of keyturn.1, which a test demands).
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
    {"init",
     "DIR|--system",
     "make a home: configuration, key, store, audit folders",
     verb_init,
     0,
     1,
     {
         {0, "system", NULL,
          "for this machine's nginx, Redis and PostgreSQL, in " KT_SYSCONFDIR "/keyturn; as root"},
         {0, "environment", "E",
          "development, staging, production or another name [$ENVIRONMENT, else development]"},
         {0, "user", "USER", "with --system: one more who may read; USER:TYPE,... [type api-keys]"},
         {0, "audit-key", "FILE", "write the audit key to this new file [it is shown once]"},
     }},
    {"keygen",
     "OUT",
     "make a key file",
     verb_keygen,
     1,
     1,
     {
         {0, "environment", "E", "the environment of a new key [the configuration's]"},
         {0, "types", "T,...",
          "only the keys of these types, derived from the configuration's key"},
         {0, "epoch", NULL, "the configuration's key with one more epoch"},
         {0, "passphrase", "F", "under the passphrase in this file; - is stdin or a prompt"},
         {0, "stream", "NAME", "no key file: the folder OUT of a stream of the trail"},
         {0, "audit-key", "FILE", "the audit key under which the stream begins"},
         {0, "recipient", NULL, "no key file: a pair of keys for backups, OUT and OUT.pub"},
     }},
    {"set",
     "NAME",
     "store a value: from stdin, a prompt or a file; prints the new version",
     verb_set,
     1,
     1,
     {
         {0, "file", "F", "take the value from this file; - is stdin"},
         {0, "field", "K", "replace one field of the JSON object, keep the others"},
         {0, "expires", "T", "when reads end: 90d, 12h, 30m, 45s, 2w or an RFC 3339 time [never]"},
         {0, "meta", "K=V", "metadata, any number of times; K= takes it away"},
         {0, "cas", "N", "only if N is the current version (0: there is none yet)"},
     }},
    {"get",
     "REFERENCE",
     "write a value, byte for byte; masked on a terminal",
     verb_get,
     1,
     1,
     {
         {0, "reveal", NULL, "show it on a terminal, or in the JSON object"},
         {0, "mask", "STYLE", "write its mask instead, everywhere: full, or partial (both ends)"},
     }},
    {"list",
     "[PATTERN]",
     "names, versions and states",
     verb_list,
     0,
     1,
     {
         {0, "usage", NULL, "how often each was read, when last and by whom"},
     }},
    {"info", "NAME", "metadata of a secret, never its value", verb_info, 1, 1, {{0}}},
    {"versions", "NAME", "kept versions of a secret, newest first", verb_versions, 1, 1, {{0}}},
    {"rotate",
     "[NAME]",
     "a new random value, or one from a file; prints the new version",
     verb_rotate,
     0,
     1,
     {
         {0, "length", "N", "characters of the random value, 16 to 1024 [32]"},
         {0, "alphabet", "CLASS", "alnum, urlsafe, symbols, hex or uuid [alnum]"},
         {0, "file", "F", "take the new value from this file; - is stdin"},
         {0, "store-only", NULL, "a database password that you change on the server yourself"},
         {0, "due", NULL, "instead of NAME: all whose metadata `rotation` says that it is time"},
         {0, "type", "T", "instead of NAME, or with --due: those of this type"},
         {0, "all", NULL, "instead of NAME: all of them"},
         {0, "dry-run", NULL, "only tell which would be rotated, which not, and why"},
     }},
    {"rollback",
     "NAME [VERSION]",
     "make the previous or an older version current again",
     verb_rollback,
     1,
     2,
     {{0}}},
    {"delete", "NAME", "end reads of a secret, keep its versions", verb_delete, 1, 1, {{0}}},
    {"undelete", "NAME", "bring a deleted secret back", verb_undelete, 1, 1, {{0}}},
    {"destroy",
     "NAME VERSION|--all",
     "erase a version, or the whole secret, for good",
     verb_destroy,
     1,
     2,
     {
         {0, "all", NULL, "every version"},
     }},
    {"audit tail",
     "[STREAM]",
     "the last 20 lines of the trail, all streams by time",
     verb_audit_tail,
     0,
     1,
     {
         {0, "follow", NULL, "and go on with what comes"},
     }},
    {"audit verify",
     "[DIR]",
     "is the trail what was written, line by line?",
     verb_audit_verify,
     0,
     1,
     {
         {0, "audit-key", "FILE", "prove by the audit key also who wrote it"},
         {0, "received", "FILE", "lines that a sink received: is each seal of them in the trail?"},
     }},
    {"audit report",
     "[DIR]",
     "who was refused, what failed, who read and changed what",
     verb_audit_report,
     0,
     1,
     {
         {0, "since", "T", "only from T on: 90d, 12h, 30m, 45s or 2w ago, or an RFC 3339 time"},
     }},
    {"rekey",
     "",
     "move the store to the newest epoch of the key, while it is in use",
     verb_rekey,
     0,
     0,
     {
         {0, "status", NULL, "only tell how far it is, and prove what is left behind"},
         {0, "handed-out", NULL, "key files that cannot be seen from here list that epoch"},
     }},
    {"backup",
     "FILE",
     "a consistent copy of the store in a new file, encrypted",
     verb_backup,
     1,
     1,
     {
         {0, "recipient", "FILE", "only the holder of this public key's other half can read it"},
     }},
    {"restore",
     "FILE",
     "make a backup the store again, on the record",
     verb_restore,
     1,
     1,
     {
         {0, "going-back", NULL, "although the store has something newer, or something else"},
         {0, "recipient-key", "FILE", "the private key of the one whom it is for; - is stdin"},
     }},
    {"import",
     "--fernet STORE --key FILE",
     "secrets of an older, encrypted file",
     verb_import,
     0,
     0,
     {
         {0, "fernet", "STORE", "a Fernet token of a JSON object, or a JSON object of tokens"},
         {0, "key", "FILE", "its Fernet key"},
         {0, "prefix", "P", "goes in front of each name: api-keys/"},
         {0, "map", "KEY=NAME", "another name for this key; any number of times"},
         {0, "replace", NULL, "a new version where a secret has another value [refused]"},
         {0, "dry-run", NULL, "only tell what would be done"},
     }},
    {"verify",
     "",
     "the whole store: seals, indexes, generations against anchors",
     verb_verify,
     0,
     0,
     {{0}}},
    {"check",
     "",
     "configuration, keys, permissions, reachability of each provider",
     verb_check,
     0,
     0,
     {
         {0, "secrets", NULL, "and all secrets: weak, used twice, never read or very often"},
     }},
    {"hash",
     "",
     "an Argon2id string that recognises a value and does not tell it",
     verb_hash,
     0,
     0,
     {
         {0, "file", "F", "take the value from this file; - is stdin"},
         {0, "check", "H",
          "is it the value of the hash in this file? Prints a better hash if need be"},
     }},
    {"run",
     "COMMAND [ARGUMENT]...",
     "start a command with secrets in its environment",
     verb_run,
     1,
     -1,
     {
         {0, "map", "VAR=REF", "the variable and what goes into it; any number of times"},
     }},
    {"completion", "", NULL, verb_completion, 0, 0, {{0}}},
    {NULL, NULL, NULL, NULL, 0, 0, {{0}}},
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

static size_t distance(const char *a, const char *b)
{
    size_t row[41], la = strnlen(a, 40), lb = strnlen(b, 40);

    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t corner = row[0];

        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);

            corner = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

static const char *nearest_verb(const char *word)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;

    for (const cli_verb_t *v = cli_verbs; v->name; v++)
        if (v->summary && distance(word, v->name) < least) {
            least = distance(word, v->name);
            best = v->name;
        }
    return best;
}

static const char *nearest_option(const cli_verb_t *verb, const char *word)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;

    for (const cli_option_t *table = cli_globals;; table = verb->options) {
        for (const cli_option_t *o = table; o->name; o++)
            if (distance(word, o->name) < least) {
                least = distance(word, o->name);
                best = o->name;
            }
        if (!verb || table == verb->options)
            return best;
    }
}

/* Without what stands behind a '=': that may be a value. */
static kt_status_t refuse_option(cli_t *cli, const char *word)
{
    char name[41];

    if (word[0] != '-' || word[1] != '-')
        return cli_fail(cli, KT_USAGE, "unknown option; keyturn%s%s --help lists all",
                        cli->verb ? " " : "", cli->verb ? cli->verb->name : "");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    return cli_fail(cli, KT_USAGE, "unknown option --%s (nearest: --%s)", name,
                    nearest_option(cli->verb, name));
}

static kt_status_t take_option(cli_t *cli, const cli_option_t *option, const char *value)
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
                status = take_option(cli, known[i], optarg);
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
        return cli_fail(cli, KT_USAGE, "unknown verb%s%s (nearest: %s); keyturn --help lists all",
                        is_word(argv[0]) ? " " : "", is_word(argv[0]) ? argv[0] : "",
                        nearest_verb(argv[0]));
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
    if (verb->run == verb_set || verb->run == verb_rotate || verb->run == verb_hash)
        return cli_fail(cli, KT_USAGE,
                        "a value is not taken from the command line, where every user of this "
                        "machine can read it: give it on stdin%s or with --file",
                        verb->run == verb_set ? ", at the prompt" : "");
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

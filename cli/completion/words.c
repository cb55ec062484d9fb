/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The candidates for a word of the command line, from the table of verbs: the help's names of
 * operands and arguments say what they are.
 */
#include <stdio.h>
#include <string.h>

#include "completion.h"

typedef struct {
    const cli_verb_t *verb;
    const char *first;           /* the word of a verb of two words whose second is missing */
    const cli_option_t *pending; /* the option whose argument comes next */
    const char *before;          /* the operand before the word, or NULL */
    int operands;
    bool end; /* of options */
} line_t;

/* ---- what the words before have said ---- */

static const cli_option_t *find_option(const line_t *line, const char *word, size_t size)
{
    const cli_option_t *lists[] = {cli_globals, line->verb ? line->verb->options : NULL};

    for (size_t i = 0; i < 2; i++)
        for (const cli_option_t *o = lists[i]; o && o->name; o++)
            if ((strlen(o->name) == size - 2 && strncmp(word, "--", 2) == 0 &&
                 strncmp(word + 2, o->name, size - 2) == 0) ||
                (size == 2 && word[0] == '-' && o->letter == word[1]))
                return o;
    return NULL;
}

static void take_value(cli_t *cli, const cli_option_t *option, const char *value)
{
    if (strcmp(option->name, "config") == 0)
        cli->config = value;
}

static void take_option(cli_t *cli, line_t *line, const char *word)
{
    size_t size = strcspn(word, "=");
    const cli_option_t *option = find_option(line, word, size);

    if (!option || !option->arg)
        return;
    if (word[size])
        take_value(cli, option, word + size + 1);
    else
        line->pending = option;
}

static void take_verb(const cli_t *cli, line_t *line, const char *word)
{
    char both[42];

    snprintf(both, sizeof both, "%.20s %.20s", line->first ? line->first : "", word);
    for (const cli_verb_t *v = cli->verbs; v->name; v++)
        if (strcmp(v->name, line->first ? both : word) == 0)
            line->verb = v;
    line->first = line->verb || line->first ? NULL : word;
}

static void take(cli_t *cli, line_t *line, const char *word)
{
    if (line->pending) {
        take_value(cli, line->pending, word);
        line->pending = NULL;
    } else if (!line->end && strcmp(word, "--") == 0) {
        line->end = true;
    } else if (!line->end && word[0] == '-') {
        take_option(cli, line, word);
    } else if (!line->verb) {
        take_verb(cli, line, word);
    } else {
        line->before = word;
        line->operands++;
        line->end = line->end || line->verb->max < 0; /* a command's options are its own */
    }
}

/* ---- candidates ---- */

typedef struct {
    const char *head; /* the whole word */
    int size;         /* bytes of it before the part that is completed */
    const char *part;
} word_t;

static void offer(const word_t *word, const char *candidate)
{
    if (strncmp(candidate, word->part, strlen(word->part)) == 0)
        printf("%.*s%s\n", word->size, word->head, candidate);
}

static void offer_options(const cli_option_t *options, const word_t *word)
{
    char text[64];

    for (const cli_option_t *o = options; o && o->name; o++) {
        snprintf(text, sizeof text, "--%s", o->name);
        offer(word, text);
    }
}

/* First words of verbs or, after `first`, second ones. Each once. */
static void offer_verbs(const cli_t *cli, const char *first, const word_t *word)
{
    char text[32], last[32] = "";
    size_t skip = first ? strlen(first) + 1 : 0;

    for (const cli_verb_t *v = cli->verbs; v->name; v++) {
        if (!v->summary ||
            (first && (strncmp(v->name, first, skip - 1) != 0 || v->name[skip - 1] != ' ')))
            continue;
        snprintf(text, sizeof text, "%.*s", (int)strcspn(v->name + skip, " "), v->name + skip);
        if (strcmp(text, last) != 0)
            offer(word, text);
        snprintf(last, sizeof last, "%s", text);
    }
}

static int collect(void *arg, const kt_entry_t *entry)
{
    return json_array_append_new(arg, json_string(entry->name));
}

/* Nothing is shown before it is recorded. */
static void offer_names(cli_t *cli, const word_t *word)
{
    char pattern[KT_NAME_MAX + 2];
    json_t *names = json_array(), *name;
    kt_request_t req;
    size_t i;

    snprintf(pattern, sizeof pattern, "%.*s*", (int)KT_NAME_MAX, word->part);
    if (cli_open_for(cli, pattern, &req) == KT_SUCCESS) {
        req.purpose = KT_PURPOSE_COMPLETION;
        if (kt_list(cli->ctx, &req, collect, names, NULL) == KT_SUCCESS &&
            kt_audit_flush(cli->ctx, 0) == KT_SUCCESS) {
            json_array_foreach(names, i, name) offer(word, json_string_value(name));
        }
    }
    json_decref(names);
}

static void offer_versions(cli_t *cli, const char *name, const word_t *word)
{
    kt_info_t *info = NULL;
    kt_request_t req;
    char text[24];

    if (!name || cli_open_for(cli, name, &req) != KT_SUCCESS)
        return;
    req.purpose = KT_PURPOSE_COMPLETION;
    if (kt_info(cli->ctx, &req, &info) != KT_SUCCESS || kt_audit_flush(cli->ctx, 0) != KT_SUCCESS) {
        kt_info_free(info);
        return;
    }
    for (size_t i = 0; i < kt_info_versions(info); i++) {
        const kt_version_t *version = kt_info_version(info, i);

        snprintf(text, sizeof text, "%llu", (unsigned long long)version->version);
        if (strcmp(version->state, "destroyed") != 0)
            offer(word, text);
    }
    kt_info_free(info);
}

/* NAME@VERSION is completed after the @, and a name before it. */
static void offer_references(cli_t *cli, const word_t *word)
{
    static const char *const words[] = {"current", "previous", "pending"};
    const char *at = strchr(word->part, '@');
    char name[KT_NAME_MAX + 1];
    word_t part = *word;

    if (!at) {
        offer_names(cli, word);
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word->part, "#@"), word->part);
    part.part = at + 1;
    part.size = (int)(part.part - part.head);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        offer(&part, words[i]);
    offer_versions(cli, name, &part);
}

static void offer_list(const char *words, const word_t *word)
{
    char text[32];

    for (const char *p = words; *p; p += strspn(p, " ")) {
        size_t size = strcspn(p, " ");

        snprintf(text, sizeof text, "%.*s", (int)size, p);
        offer(word, text);
        p += size;
    }
}

static void offer_references_after_equals(cli_t *cli, const word_t *word)
{
    const char *equals = strchr(word->part, '=');
    word_t part = *word;

    if (!equals)
        return;
    part.part = equals + 1;
    part.size = (int)(part.part - part.head);
    offer_references(cli, &part);
}

typedef enum { NONE, NAMES, REFERENCES, VERSIONS, FILES, COMMANDS, VARIABLES, WORDS } kind_t;

/* The names of operands and arguments in verbs.h. Others complete to nothing. */
static const struct {
    const char *name;
    kind_t kind;
    const char *words;
} kinds[] = {
    {"NAME", NAMES, NULL},
    {"PATTERN", NAMES, NULL},
    {"P", NAMES, NULL},
    {"REFERENCE", REFERENCES, NULL},
    {"VERSION", VERSIONS, NULL},
    {"VAR=REF", VARIABLES, NULL},
    {"FILE", FILES, NULL},
    {"F", FILES, NULL},
    {"KEYFILE", FILES, NULL},
    {"BACKUP", FILES, NULL},
    {"DIR", FILES, NULL},
    {"IN", FILES, NULL},
    {"OUT", FILES, NULL},
    {"COMMAND", COMMANDS, NULL},
    {"HOST", WORDS, "nginx postgresql redis"},
    {"CAPABILITY", WORDS, "admin delete list read rotate write"},
    {"CLASS", WORDS, "alnum hex symbols urlsafe uuid"},
    {"STYLE", WORDS, "full partial"},
    {"E", WORDS, "development production staging"},
    {"SHELL", WORDS, "bash fish zsh"},
    {"STREAM", WORDS, "nginx postgresql redis"},
    {"list", WORDS, "clear list"},
};

/* "VERSION" of "VERSION|--all", of "[VERSION]" and of "VERSION...". */
static void offer_kind(cli_t *cli, const line_t *line, const char *name, const word_t *word)
{
    size_t row = 0, count = sizeof kinds / sizeof *kinds, size;

    name += strspn(name, "[");
    size = strcspn(name, " ]|.,");
    while (row < count &&
           (strlen(kinds[row].name) != size || strncmp(kinds[row].name, name, size) != 0))
        row++;
    if (row == count)
        return;
    switch (kinds[row].kind) {
    case NAMES:
        offer_names(cli, word);
        break;
    case REFERENCES:
        offer_references(cli, word);
        break;
    case VERSIONS:
        offer_versions(cli, line->before, word);
        break;
    case VARIABLES:
        offer_references_after_equals(cli, word);
        break;
    case FILES:
        puts(":files");
        break;
    case COMMANDS:
        puts(":command");
        break;
    case WORDS:
        offer_list(kinds[row].words, word);
        break;
    case NONE:
        break;
    }
}

/* The operand at `index`; the last one may be given again. */
static const char *operand(const cli_verb_t *verb, int index)
{
    const char *p = verb->args, *next;

    while (index-- > 0 && (next = strchr(p, ' ')))
        p = next + 1;
    return p;
}

static void offer_operand(cli_t *cli, const line_t *line, const word_t *word)
{
    const cli_verb_t *verb = line->verb;

    if (verb->max < 0 && line->operands > 0)
        puts(":command");
    else if (verb->max < 0 || line->operands < verb->max)
        offer_kind(cli, line, operand(verb, line->operands), word);
}

kt_status_t completion_words(cli_t *cli, int count, char **words)
{
    line_t line = {.verb = NULL};
    const char *last = count > 0 ? words[count - 1] : "";
    word_t word = {last, 0, last};
    size_t equals = strcspn(word.part, "=");
    const cli_option_t *option;

    cli->quiet = true;
    for (int i = 0; i < count - 1; i++)
        take(cli, &line, words[i]);
    option = line.end ? NULL : find_option(&line, word.part, equals);
    if (line.pending) {
        offer_kind(cli, &line, line.pending->arg, &word);
    } else if (!line.end && word.part[0] == '-' && word.part[equals] && option && option->arg) {
        word = (word_t){last, (int)equals + 1, last + equals + 1};
        offer_kind(cli, &line, option->arg, &word);
    } else if (!line.end && word.part[0] == '-') {
        offer_options(line.verb ? line.verb->options : NULL, &word);
        offer_options(cli_globals, &word);
    } else if (line.verb) {
        offer_operand(cli, &line, &word);
    } else {
        offer_verbs(cli, line.first, &word);
    }
    return KT_SUCCESS; /* a candidate that cannot be had is not offered */
}

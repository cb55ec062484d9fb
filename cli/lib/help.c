/* SPDX-License-Identifier: BSD-2-Clause */
/* --help, from the tables. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

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

static void help_verb(const cli_verb_t *verb)
{
    printf("Usage: keyturn %s%s%s%s\n", verb->name, verb->options[0].name ? " [OPTION]..." : "",
           verb->args[0] ? " " : "", verb->args);
    printf("%c%s%s\n", verb->summary[0] - 'a' + 'A', verb->summary + 1,
           verb->summary[strlen(verb->summary) - 1] == '?' ? "" : ".");
    if (verb->options[0].name)
        printf("\n");
    help_options(verb->options);
    printf("\nOptions of every verb:\n");
    help_options(cli_globals);
}

static json_t *json_options(const cli_option_t *options)
{
    json_t *array = json_array();

    for (const cli_option_t *o = options; o->name; o++)
        json_array_append_new(array, json_pack("{s:s, s:s?, s:s}", "name", o->name, "argument",
                                               o->arg, "text", o->text));
    return array;
}

/* All verbs, or the one of the command line. */
static kt_status_t answer_json(cli_t *cli)
{
    json_t *array = json_array();

    for (const cli_verb_t *v = cli->verbs; v->name; v++)
        if (v->summary && (!cli->verb || v == cli->verb))
            json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:o}", "name", v->name,
                                                   "operands", v->args, "summary", v->summary,
                                                   "options", json_options(v->options)));
    return cli_answer(
        cli, json_pack("{s:o, s:o}", "verbs", array, "options", json_options(cli_globals)));
}

kt_status_t cli_print_version(cli_t *cli)
{
    if (cli->json)
        return cli_answer(cli, json_pack("{s:s}", "version", KT_VERSION));
    printf("keyturn %s\n", KT_VERSION);
    return KT_SUCCESS;
}

kt_status_t cli_help(cli_t *cli)
{
    if (cli->json)
        return answer_json(cli);
    if (cli->verb && cli->verb->summary) {
        help_verb(cli->verb);
        return KT_SUCCESS;
    }
    printf("Usage: keyturn [OPTION]... VERB [ARGUMENT]...\n"
           "Secrets for the servers that need them.\n\n");
    for (const cli_verb_t *verb = cli->verbs; verb->name; verb++) {
        char left[40];

        if (!verb->summary)
            continue;
        snprintf(left, sizeof left, "%s%s%s", verb->name, verb->args[0] ? " " : "", verb->args);
        printf("  %-26s  %s\n", left, verb->summary);
    }
    printf("\n");
    help_options(cli_globals);
    printf("\nA value is never an argument, where every user of the machine could read it.\n"
           "keyturn VERB --help lists a verb's options; keyturn(1) describes everything.\n");
    return KT_SUCCESS;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn completion: bash's, from the tables. The help leaves the verb out; keyturn(1) has it. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* What the first operand is: "NAME" of "[NAME]" and of "NAME VERSION". */
static const char *kind_of_operand(const cli_verb_t *verb)
{
    static const char *const kinds[][2] = {
        {"NAME", "names"}, {"REFERENCE", "names"}, {"DIR", "files"},
        {"FILE", "files"}, {"OUT", "files"},
    };
    const char *first = verb->args + strspn(verb->args, "[");
    size_t size = strcspn(first, " ]|");

    if (strchr(verb->name, ' '))
        return "none"; /* the second word comes first */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i][0]) == size && strncmp(first, kinds[i][0], size) == 0)
            return kinds[i][1];
    return "none";
}

static void print_options(const cli_option_t *options)
{
    for (const cli_option_t *o = options; o->name; o++)
        printf(" --%s", o->name);
}

/* The options whose argument is a FILE, or F for short. */
static void print_file_options(const cli_option_t *options)
{
    for (const cli_option_t *o = options; o->name; o++)
        if (o->arg && o->arg[0] == 'F')
            printf("|--%s", o->name);
}

/* Verbs of two words share the first: each branch adds its words to those found before. */
static void print_verb(const cli_verb_t *verb)
{
    int first = (int)strcspn(verb->name, " ");

    printf("    %.*s) operand=%s words+='%s", first, verb->name, kind_of_operand(verb),
           verb->name + first);
    print_options(verb->options);
    print_options(cli_globals);
    printf(" ' ;;&\n");
}

kt_status_t verb_completion(cli_t *cli)
{
    printf("# bash completion for keyturn, printed by `keyturn completion`\n"
           "_keyturn()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local verb= word words= operand=none\n"
           "    case $prev in\n"
           "    -c");
    print_file_options(cli_globals);
    for (const cli_verb_t *v = cli->verbs; v->name; v++)
        print_file_options(v->options);
    printf(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
           "    esac\n"
           "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
           "        case $word in [a-z]*) verb=$word; break ;; esac\n"
           "    done\n"
           "    case $verb in\n");
    for (const cli_verb_t *v = cli->verbs; v->name; v++)
        if (v->summary)
            print_verb(v);
    printf("    '') words='");
    for (const cli_verb_t *v = cli->verbs; v->name; v++)
        if (v->summary)
            printf("%.*s ", (int)strcspn(v->name, " "), v->name);
    print_options(cli_globals);
    printf("' ;;\n    esac\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "    case $operand:$cur in\n"
           "    *:-*) ;;\n"
           "    names:*)\n"
           "        words=$(keyturn --quiet list 2>/dev/null)\n"
           "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
           "    files:*) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
           "    esac\n"
           "}\n"
           "complete -F _keyturn keyturn\n");
    return KT_SUCCESS;
}

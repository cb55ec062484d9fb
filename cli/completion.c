/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn completion (not in the help; keyturn(1) tells of it): bash's, from the tables. */
#include <stdio.h>

#include "cli.h"

static void print_options(const cli_option_t *options)
{
    for (const cli_option_t *o = options; o->name; o++)
        printf(" --%s", o->name);
}

kt_status_t verb_completion(cli_t *cli)
{
    (void)cli;
    printf("# bash completion for keyturn, printed by `keyturn completion`\n"
           "_keyturn()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local verb= word words\n"
           "    case $prev in\n"
           "    -c|--config|--file|--audit-key) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
           "    esac\n"
           "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
           "        case $word in [a-z]*) verb=$word; break ;; esac\n"
           "    done\n"
           "    case $verb in\n");
    for (const cli_verb_t *v = cli_verbs; v->name; v++) {
        int first = 0;

        if (!v->summary)
            continue;
        while (v->name[first] && v->name[first] != ' ')
            first++;
        printf("    %.*s) words='%s", first, v->name, v->name[first] ? v->name + first + 1 : "");
        print_options(v->options);
        print_options(cli_globals);
        printf("' ;;\n");
    }
    printf("    *) words='");
    for (const cli_verb_t *v = cli_verbs; v->name; v++)
        if (v->summary)
            printf("%s ", v->name);
    print_options(cli_globals);
    printf("' ;;\n    esac\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "    case $verb in\n"
           "    set|get|info|versions|rotate|rollback|delete|undelete|destroy)\n"
           "        case $cur in -*) return ;; esac\n"
           "        words=$(keyturn --quiet list 2>/dev/null)\n"
           "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
           "    init|keygen)\n"
           "        case $cur in -*) ;; *) COMPREPLY=($(compgen -f -- \"$cur\")) ;; esac ;;\n"
           "    esac\n"
           "}\n"
           "complete -F _keyturn keyturn\n");
    return KT_SUCCESS;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn completion [SHELL]: the completion for bash, zsh or fish, to be read by the shell. The
 * help leaves the verb out; keyturn(1) has it.
 *
 * The scripts know nothing of verbs. They hand over the words of the line, the last of them being
 * typed, with `keyturn completion words -- WORD...`, and get one candidate a line. A line `:files`
 * or
 * `:command` asks the shell for its own.
 */
#include <stdio.h>
#include <string.h>

#include "completion.h"

/* Bash splits words at = and @ too; the answer must not repeat what stands before the last of them.
 */
static const char bash[] =
    "# bash completion for keyturn, printed by `keyturn completion bash`\n"
    "_keyturn()\n"
    "{\n"
    "    local i words=() cur='' head='' line\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        case ${COMP_WORDS[i]}:${COMP_WORDS[i-1]} in\n"
    "        [=@]*:* | *:[=@])\n"
    "            if ((${#words[@]} > 0)); then\n"
    "                words[-1]+=${COMP_WORDS[i]}\n"
    "                continue\n"
    "            fi ;;\n"
    "        esac\n"
    "        words+=(\"${COMP_WORDS[i]}\")\n"
    "    done\n"
    "    cur=${words[-1]}\n"
    "    case $cur in *[=@]*) head=${cur%\"${cur##*[=@]}\"} ;; esac\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        case $line in\n"
    "        :files) compopt -o filenames 2>/dev/null\n"
    "            COMPREPLY+=($(compgen -f -- \"${cur#\"$head\"}\")) ;;\n"
    "        :command) COMPREPLY+=($(compgen -c -- \"$cur\") $(compgen -f -- \"$cur\")) ;;\n"
    "        *) COMPREPLY+=(\"${line#\"$head\"}\") ;;\n"
    "        esac\n"
    "    done < <(\"${COMP_WORDS[0]}\" completion words -- \"${words[@]}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _keyturn keyturn\n";

static const char zsh[] =
    "#compdef keyturn\n"
    "# zsh completion for keyturn, printed by `keyturn completion zsh`\n"
    "_keyturn()\n"
    "{\n"
    "    local line\n"
    "    local -a found\n"
    "    for line in \"${(@f)$(\"${words[1]}\" completion words -- \"${(@)words[2,CURRENT]}\" "
    "2>/dev/null)}\"; do\n"
    "        case $line in\n"
    "        :files) _files ;;\n"
    "        :command) _command_names -e; _files ;;\n"
    "        ?*) found+=(\"$line\") ;;\n"
    "        esac\n"
    "    done\n"
    "    (( ${#found} )) && compadd -- \"${found[@]}\"\n"
    "}\n"
    "if [ \"${funcstack[1]}\" = _keyturn ]; then\n"
    "    _keyturn \"$@\"\n"
    "else\n"
    "    compdef _keyturn keyturn\n"
    "fi\n";

static const char fish[] =
    "# fish completion for keyturn, printed by `keyturn completion fish`\n"
    "function __keyturn_complete\n"
    "    set -l words (commandline -opc) (commandline -ct)\n"
    "    for line in ($words[1] completion words -- $words[2..-1] 2>/dev/null)\n"
    "        switch $line\n"
    "            case :files\n"
    "                __fish_complete_path (commandline -ct)\n"
    "            case :command\n"
    "                __fish_complete_command\n"
    "            case '*'\n"
    "                echo $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c keyturn -f -a '(__keyturn_complete)'\n";

const char *const completion_shells[][2] = {
    {"bash", bash},
    {"fish", fish},
    {"zsh", zsh},
    {NULL, NULL},
};

kt_status_t verb_completion(cli_t *cli)
{
    const char *shell = cli->nargs > 0 ? cli->args[0] : "bash";

    if (strcmp(shell, "words") == 0) {
        int skip = cli->nargs > 1 && strcmp(cli->args[1], "--") == 0 ? 2 : 1;

        return completion_words(cli, cli->nargs - skip, cli->args + skip);
    }
    if (cli->nargs > 1)
        return cli_fail(cli, KT_USAGE, "too many arguments; completion takes: [SHELL]");
    for (size_t i = 0; completion_shells[i][0]; i++) {
        if (strcmp(shell, completion_shells[i][0]) == 0) {
            fputs(completion_shells[i][1], stdout);
            return KT_SUCCESS;
        }
    }
    return cli_fail(cli, KT_USAGE, "no completion for that shell (use bash, fish or zsh)");
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A value typed at a terminal, twice, without echo. */
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define LINE_MAX_SIZE 4094u /* what a terminal takes in its usual mode, too */

/* The library sends no signal: a key that means one is ours to raise. Asks again after a stop. */
static kt_status_t ask(cli_t *cli, int fd, const char *prompt, kt_secret_t **ret_line)
{
    kt_status_t status;
    int number;

    do {
        status = kt_prompt(fd, prompt, LINE_MAX_SIZE, 0, &number, ret_line);
        if (number)
            raise(number);
    } while (number == SIGTSTP);
    if (status == KT_USAGE)
        return cli_fail(cli, status, "no value was typed; nothing was stored");
    if (status == KT_TOOLARGE)
        return cli_fail(cli, status,
                        "a line at a prompt has %u bytes at most: use a pipe or --file",
                        LINE_MAX_SIZE);
    return status ? cli_fail(cli, status, "out of memory for the value") : KT_SUCCESS;
}

static bool are_equal(const kt_secret_t *a, const kt_secret_t *b)
{
    return kt_secret_size(a) == kt_secret_size(b) &&
           sodium_memcmp(kt_secret_bytes(a), kt_secret_bytes(b), kt_secret_size(a)) == 0;
}

/* Only the word yes is a yes: a key that is pressed by mistake is not. */
kt_status_t cli_confirm(cli_t *cli, const char *question)
{
    char line[16] = "";

    fprintf(stderr, "%s Type yes: ", question);
    fflush(stderr);
    if (fgets(line, sizeof line, stdin) && strcmp(line, "yes\n") == 0)
        return KT_SUCCESS;
    return cli_fail(cli, KT_USAGE, "nothing was done: the answer was not yes");
}

kt_status_t cli_prompt(cli_t *cli, int fd, const char *name, kt_secret_t **ret_value)
{
    kt_secret_t *first = NULL, *again = NULL;
    char prompt[KT_NAME_MAX + 32];
    kt_status_t status;

    snprintf(prompt, sizeof prompt, "Value of %s: ", name);
    status = ask(cli, fd, prompt, &first);
    if (!status)
        status = ask(cli, fd, "The same again: ", &again);
    if (!status && !are_equal(first, again))
        status = cli_fail(cli, KT_USAGE, "the two values differ; nothing was stored");
    kt_secret_free(again);
    if (status)
        kt_secret_free(first);
    else
        *ret_value = first;
    return status;
}

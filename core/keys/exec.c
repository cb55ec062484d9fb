/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exec.c: a key file's text from a command, as from a password manager or an HSM's tool.
 *
 * No shell, so that nothing in the configuration is ever expanded; an environment of our own and no
 * descriptor of the host, so that the command cannot leak what the host holds; a group of its own,
 * so that its children end with it.
 */
#include <stdlib.h>
#include <string.h>

#include "source.h"

#define WORDS_MAX 32u

static kt_status_t judge(const char *command, const kt_command_result_t *result)
{
    if (result->timed_out)
        return kt_fail(KT_UNAVAIL, "%s: timed out and was killed", command);
    if (result->signal != 0)
        return kt_fail(KT_CONFIG, "%s: killed by signal %d", command, result->signal);
    if (result->exit < 0)
        return kt_fail(KT_INTERNAL, "%s: exit status unknown: this process ignores SIGCHLD",
                       command);
    if (result->exit > 0)
        return kt_fail(KT_CONFIG, "%s: failed with exit status %d", command, result->exit);
    if (result->size == 0)
        return kt_fail(KT_CONFIG, "%s: printed nothing", command);
    return KT_SUCCESS;
}

static kt_status_t run_words(char *const argv[], unsigned limit, kt_command_result_t *ret_result)
{
    kt_command_result_t result;
    kt_environ_t env;
    kt_command_t command = {
        .argv = argv, .env = &env, .output_max = KT_KEYFILE_MAX, .timeout = limit};
    kt_status_t status;

    kt_environ_init(&env);
    kt_environ_add(&env, "LC_ALL=C");
    status = kt_command_run(&command, &result);
    if (status == KT_TOOLARGE)
        return kt_fail(KT_CONFIG, "%s: printed more than a key file may hold", argv[0]);
    if (status != KT_SUCCESS)
        return status;
    status = judge(argv[0], &result);
    if (status == KT_SUCCESS)
        *ret_result = result;
    else
        kt_locked_free(result.output);
    return status;
}

kt_status_t kt_exec_read(const char *command, unsigned limit, char **ret_text, size_t *ret_size)
{
    char *copy = strdup(command), *rest = NULL, *word, *argv[WORDS_MAX + 1];
    kt_command_result_t result = {.exit = -1};
    size_t n = 0;
    kt_status_t status;

    if (copy == NULL)
        return kt_no_memory();
    for (word = strtok_r(copy, " \t", &rest); word != NULL && n < WORDS_MAX;
         word = strtok_r(NULL, " \t", &rest))
        argv[n++] = word;
    argv[n] = NULL;
    if (n == 0 || word != NULL)
        status =
            kt_fail(KT_CONFIG, n == 0 ? "no command is given" : "too many words for a command");
    else
        status = run_words(argv, limit, &result);
    free(copy);
    if (status != KT_SUCCESS)
        return status;
    *ret_text = result.output;
    *ret_size = result.size;
    return KT_SUCCESS;
}

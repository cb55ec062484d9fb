/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command.c: commands of providers. A host may wait for every child itself, as nginx does when one
 * ends, and then its exit status is lost here. So a helper runs the command and writes the
 * status after its output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "provider.h"

#define WORDS_MAX 32u
#define MARK "KTRNEXIT" /* and three digits, as modules/exec/helper/run.c writes them */
#define MARK_SIZE (sizeof(MARK) - 1 + 3)

static kt_status_t find_words(const ktp_command_t *command, char helper[PATH_MAX],
                              char path[PATH_MAX], char *words[WORDS_MAX + 2])
{
    char folder[PATH_MAX];
    uid_t owner;
    size_t n = 0;
    kt_status_t status = kt_command_find(command->argv[0], path);

    if (status == KT_SUCCESS)
        status = kt_provider_folder(folder, &owner);
    if (status == KT_SUCCESS && snprintf(helper, PATH_MAX, "%s/run", folder) >= PATH_MAX)
        status = kt_fail(KT_INTERNAL, "the path of libkeyturn is too long");
    if (status != KT_SUCCESS)
        return status;
    words[n++] = helper;
    words[n++] = path;
    for (size_t i = 1; command->argv[i] != NULL; i++) {
        if (n == WORDS_MAX + 1)
            return kt_fail(KT_CONFIG, "%s: more than %u words", path, WORDS_MAX);
        words[n++] = (char *)(uintptr_t)command->argv[i];
    }
    words[n] = NULL;
    return KT_SUCCESS;
}

/* Of three digits; -1: they are not. */
static int number_of(const char *digits)
{
    int number = 0;

    for (size_t i = 0; i < 3; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return -1;
        number = 10 * number + (digits[i] - '0');
    }
    return number;
}

/* Takes the mark off the output. */
static kt_status_t judge(const char *path, size_t output_max, kt_command_result_t *result,
                         int *ret_exit)
{
    const char *mark;

    if (result->timed_out)
        return kt_fail(KT_UNAVAIL, "%s: timed out and was killed", path);
    mark = result->size >= MARK_SIZE ? result->output + result->size - MARK_SIZE : NULL;
    if (mark == NULL || memcmp(mark, MARK, MARK_SIZE - 3) != 0)
        return kt_fail(KT_UNAVAIL, "%s: its exit status is not known", path);
    *ret_exit = number_of(mark + MARK_SIZE - 3);
    if (*ret_exit < 0)
        return kt_fail(KT_UNAVAIL, "%s: its exit status is not known", path);
    if (*ret_exit > 255)
        *ret_exit = -1;
    result->size -= MARK_SIZE;
    if (result->size > output_max)
        return kt_fail(KT_TOOLARGE, "%s: printed more than %zu bytes", path, output_max);
    return KT_SUCCESS;
}

static kt_status_t run_words(const ktp_command_t *command, char *const *words, int *ret_exit,
                             kt_command_result_t *ret_result)
{
    kt_command_result_t result = {.exit = -1};
    kt_environ_t env;
    kt_command_t run = {.argv = words,
                        .env = &env,
                        .output_max = 4 * (command->output_max + 2048),
                        .timeout = command->timeout,
                        .is_interrupted = kt_provider_interrupted};
    kt_status_t status;

    kt_environ_init(&env);
    kt_environ_add(&env, "LC_ALL=C");
    for (size_t i = 0; command->environment != NULL && command->environment[i] != NULL; i++)
        kt_environ_add(&env, "%s", command->environment[i]);
    status = kt_command_run(&run, &result);
    kt_wipe(&env, sizeof(env));
    if (status != KT_SUCCESS)
        return status;
    status = judge(words[1], command->output_max, &result, ret_exit);
    if (status == KT_SUCCESS)
        *ret_result = result;
    else
        kt_locked_free(result.output);
    return status;
}

ktp_status_t kt_command_service(void *host, ktp_command_t *command)
{
    char helper[PATH_MAX], path[PATH_MAX], *words[WORDS_MAX + 2];
    kt_command_result_t result;
    kt_status_t status = find_words(command, helper, path, words);

    if (status == KT_SUCCESS)
        status = run_words(command, words, &command->exit, &result);
    if (status == KT_SUCCESS) {
        command->output = (ktp_buffer_t){(unsigned char *)result.output, result.size};
        return KTP_SUCCESS;
    }
    kt_provider_say(host, "%s", kt_failure());
    kt_failure_clear();
    return status == KT_PERMISSION ? KTP_FORBIDDEN
           : status == KT_TOOLARGE ? KTP_MALFORMED
           : status == KT_TRYAGAIN ? KTP_TRYAGAIN
                                   : KTP_UNAVAIL;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyturn command. A verb is a file, a row of verbs.h and a paragraph of keyturn.1, which a
 * test demands.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli.h"

static const cli_verb_t verbs[] = {
#define OPTION(name, arg, text)                                                                    \
    {                                                                                              \
        0, name, arg, text                                                                         \
    }
#define LETTERED(letter, name, arg, text)                                                          \
    {                                                                                              \
        letter, name, arg, text                                                                    \
    }
#define NO_OPTIONS OPTION(NULL, NULL, NULL)
#define VERB(function, name, operands, min, max, flags, summary, ...)                              \
    {name, operands, summary, verb_##function, min, max, flags, {__VA_ARGS__}},
#include "verbs.h"
    {NULL, NULL, NULL, NULL, 0, 0, 0, {{0}}},
};

_Static_assert(sizeof verbs / sizeof *verbs <= CLI_VERBS_MAX, "more verbs than CLI_VERBS_MAX");

/* If a descriptor from 0 to 2 is closed, the store would get its number, and our messages. A closed
 * stdout stays one that cannot be written: the answer would be lost. */
static bool open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int flags = fd == STDOUT_FILENO ? O_RDONLY : O_RDWR;

        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags | O_CLOEXEC) != fd)
            return false;
    }
    return true;
}

/* Values pass through this memory: no core dump, and no debugger of the same user. */
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
    cli_t cli = {.verbs = verbs};
    kt_status_t status;

    if (!open_standard())
        return kt_status_exit(KT_INTERNAL);
    protect();
    cli_json_init();
    status = cli_parse(&cli, argc, argv);
    if (!status && cli_asks(&cli, 'V'))
        status = cli_print_version(&cli);
    else if (!status && cli_asks(&cli, 'h'))
        status = cli_help(&cli);
    else if (!status)
        status = cli.verb->run(&cli);
    kt_close(cli.ctx);
    if (!status && cli.unkept)
        status = KT_NOSPACE; /* done, but not all that its answer promises */
    json_decref(cli.warnings);
    kt_setup_free(cli.setup);
    if (fflush(stdout) != 0 && !status)
        status = cli_fail(&cli, KT_NOSPACE, "cannot write the answer");
    return status && cli.exit ? cli.exit : kt_status_exit(status);
}

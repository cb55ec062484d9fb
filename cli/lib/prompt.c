/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A value typed at a terminal, twice, without echo. A signal that ends or stops the program finds
 * the terminal as it was: the handlers only note it, ppoll() comes back with EINTR, the echo is
 * switched on again, and then the signal is raised once more with its own action. Signals are
 * blocked but in ppoll(), so that none comes just before it and is overlooked.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

/* what a terminal hands over at most, in a line; more is cut by the kernel */
#define LINE_SIZE 4096

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU};
#define CAUGHT (sizeof caught / sizeof *caught)
static volatile sig_atomic_t noted;

static void note_signal(int number)
{
    noted = number;
}

static void catch_signals(struct sigaction old[CAUGHT], sigset_t *ret_mask)
{
    struct sigaction action = {.sa_handler = note_signal};
    sigset_t block;

    sigemptyset(&block);
    for (size_t i = 0; i < CAUGHT; i++)
        sigaddset(&block, caught[i]);
    sigprocmask(SIG_BLOCK, &block, ret_mask);
    for (size_t i = 0; i < CAUGHT; i++) {
        sigaction(caught[i], NULL, &old[i]);
        if (old[i].sa_handler != SIG_IGN)
            sigaction(caught[i], &action, NULL);
    }
}

/* The mask first: what is pending shall be noted, not end us with the terminal silent. */
static void restore_signals(const struct sigaction old[CAUGHT], const sigset_t *mask)
{
    sigprocmask(SIG_SETMASK, mask, NULL);
    for (size_t i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &old[i], NULL);
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        return; /* a prompt that nobody sees harms nobody */
}

/* One line into `line`, without its newline. -1: end of file, an error, or a signal in `noted`. */
static ssize_t read_line(int fd, const sigset_t *mask, unsigned char line[LINE_SIZE])
{
    struct pollfd in = {.fd = fd, .events = POLLIN};
    ssize_t n;

    if (ppoll(&in, 1, NULL, mask) < 0)
        return -1;
    n = read(fd, line, LINE_SIZE);
    if (n <= 0)
        return -1;
    return line[n - 1] == '\n' ? n - 1 : n;
}

static ssize_t ask_once(int fd, const char *prompt, unsigned char line[LINE_SIZE])
{
    struct sigaction old[CAUGHT];
    struct termios before, silent;
    sigset_t mask;
    ssize_t n = -1;

    if (tcgetattr(fd, &before) != 0)
        return -1;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    silent.c_lflag |= ICANON | ISIG;
    noted = 0;
    catch_signals(old, &mask);
    if (tcsetattr(fd, TCSAFLUSH, &silent) == 0) {
        say(fd, prompt);
        n = read_line(fd, &mask, line);
        tcsetattr(fd, TCSAFLUSH, &before);
        say(fd, "\n");
    }
    restore_signals(old, &mask);
    return n;
}

/* Asks again after the program was stopped and goes on; a signal that ends it ends it here. */
static ssize_t ask(int fd, const char *prompt, unsigned char line[LINE_SIZE])
{
    for (;;) {
        ssize_t n = ask_once(fd, prompt, line);

        if (!noted)
            return n;
        explicit_bzero(line, LINE_SIZE);
        raise(noted);
        if (noted != SIGTSTP && noted != SIGTTIN && noted != SIGTTOU)
            return -1;
    }
}

kt_status_t cli_prompt(cli_t *cli, int fd, const char *name, kt_secret_t **ret_value)
{
    unsigned char first[LINE_SIZE], again[LINE_SIZE];
    char prompt[KT_NAME_MAX + 32];
    kt_status_t status = KT_SUCCESS;
    ssize_t n, m = -1;

    snprintf(prompt, sizeof prompt, "Value of %s: ", name);
    n = ask(fd, prompt, first);
    if (n > 0 && n < LINE_SIZE - 1)
        m = ask(fd, "The same again: ", again);

    if (n < 0 || (n > 0 && n < LINE_SIZE - 1 && m < 0))
        status = cli_fail(cli, KT_USAGE, "no value was typed; nothing was stored");
    else if (n == 0)
        status = cli_fail(cli, KT_USAGE, "the value is empty");
    else if (n >= LINE_SIZE - 1)
        status =
            cli_fail(cli, KT_TOOLARGE, "a terminal's line ends at %d bytes: use a pipe or --file",
                     LINE_SIZE - 2);
    else if (n != m || memcmp(first, again, (size_t)n) != 0)
        status = cli_fail(cli, KT_USAGE, "the two values differ; nothing was stored");
    else if (!(*ret_value = kt_secret_new(first, (size_t)n)))
        status = cli_fail(cli, KT_INTERNAL, "out of memory for the value");

    explicit_bzero(first, sizeof first);
    explicit_bzero(again, sizeof again);
    return status;
}

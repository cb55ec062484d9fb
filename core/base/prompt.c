/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prompt.c: one line typed at a terminal, without echo.
 *
 * All signals are blocked and the terminal's keys are read as bytes, so that nothing ends or stops
 * the process while the echo is off. readpassphrase(3) was rejected: it installs handlers for the
 * whole process, which is a host's own business, has no time limit, and cuts the line at a NUL.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base.h"

#define STEP 200 /* ms between looks for a signal */
enum { ERASE_BYTE = 8, END_OF_FILE = 4, KILL_LINE = 0x15, ERASE_WORD = 0x17, DELETE = 0x7f };

typedef struct typed {
    unsigned char *line;
    size_t size, max;
    int64_t deadline; /* ms, monotonic; 0: none */
    bool too_large;
} typed_t;

typedef enum ending { LINE, NOTHING, STOPPED } ending_t;

static bool is_pending(int number)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && sigismember(&pending, number) == 1;
}

static bool has_to_end(void)
{
    return is_pending(SIGTERM) || is_pending(SIGINT) || is_pending(SIGHUP) || is_pending(SIGQUIT) ||
           is_pending(SIGALRM);
}

/* The signal that the terminal sends for this key, or 0. */
static int signal_of(unsigned char key, const struct termios *settings)
{
    if (key == settings->c_cc[VINTR])
        return SIGINT;
    if (key == settings->c_cc[VQUIT])
        return SIGQUIT;
    return key == settings->c_cc[VSUSP] ? SIGTSTP : 0;
}

/* One character, however many bytes of UTF-8 it has. */
static void erase(typed_t *t)
{
    while (t->size > 0 && (t->line[--t->size] & 0xc0) == 0x80)
        ;
    t->too_large = false;
}

static void type(typed_t *t, unsigned char key)
{
    if (key == ERASE_BYTE || key == DELETE) {
        erase(t);
    } else if (key == KILL_LINE) {
        t->size = 0;
        t->too_large = false;
    } else if (key == ERASE_WORD) {
        while (t->size > 0 && t->line[t->size - 1] == ' ')
            erase(t);
        while (t->size > 0 && t->line[t->size - 1] != ' ')
            erase(t);
    } else if (t->size < t->max) {
        t->line[t->size++] = key;
    } else {
        t->too_large = true;
    }
}

static ending_t read_line(int fd, typed_t *t, const struct termios *settings, int *ret_signal)
{
    struct pollfd in = {.fd = fd, .events = POLLIN};
    unsigned char key;

    while ((t->deadline == 0 || kt_monotonic() < t->deadline) && !has_to_end()) {
        if (is_pending(SIGTSTP))
            return STOPPED;
        if (poll(&in, 1, STEP) <= 0)
            continue;
        if (read(fd, &key, 1) != 1 || key == END_OF_FILE)
            return NOTHING;
        *ret_signal = signal_of(key, settings);
        if (*ret_signal != 0)
            return NOTHING;
        if (key == '\n' || key == '\r')
            return t->size > 0 ? LINE : NOTHING;
        type(t, key);
    }
    return NOTHING;
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        return; /* an unseen prompt does no harm */
}

/* A pending signal is delivered when the mask is restored, with the terminal as it was. */
static ending_t ask(int fd, const char *text, typed_t *t, int *ret_signal)
{
    struct termios before, silent;
    sigset_t all, mask;
    ending_t ending = NOTHING;

    if (tcgetpgrp(fd) != getpgrp() || tcgetattr(fd, &before) != 0)
        return NOTHING;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL | ICANON | ISIG);
    silent.c_cc[VMIN] = 1;
    silent.c_cc[VTIME] = 0;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &mask);
    if (tcsetattr(fd, TCSAFLUSH, &silent) == 0) {
        say(fd, text);
        ending = read_line(fd, t, &before, ret_signal);
        (void)tcsetattr(fd, TCSAFLUSH, &before);
        say(fd, "\n");
    }
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return ending;
}

kt_status_t kt_prompt(int fd, const char *text, size_t max, unsigned timeout, int *ret_signal,
                      kt_secret_t **ret_line)
{
    typed_t t = {.line = kt_locked_alloc(max),
                 .max = max,
                 .deadline = timeout != 0 ? kt_monotonic() + timeout : 0};
    kt_status_t status = KT_SUCCESS;
    ending_t ending = STOPPED;

    *ret_signal = 0;
    if (t.line == NULL)
        return kt_no_memory();
    while (ending == STOPPED) {
        t.size = 0;
        ending = ask(fd, text, &t, ret_signal);
    }
    if (ending == NOTHING)
        status = kt_fail(KT_USAGE, "nothing was typed");
    else if (t.too_large)
        status = kt_fail(KT_TOOLARGE, "the line is too long: at most %zu bytes", max);
    if (status == KT_SUCCESS) {
        *ret_line = kt_secret_new(t.line, t.size);
        if (*ret_line == NULL)
            status = kt_no_memory();
    }
    kt_locked_free(t.line);
    return status;
}

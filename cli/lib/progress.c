/* SPDX-License-Identifier: BSD-2-Clause */
/* Shows the progress of a long verb on one line of a terminal, which is cleared at the end. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define SHOW_FROM 4096 /* steps: fewer are done before a line could be read */
#define SHOW_EVERY 200 /* ms */

static int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void show(void *arg, const char *what, uint64_t done, uint64_t total)
{
    cli_t *cli = arg;
    int64_t now;

    if (done < SHOW_FROM)
        return;
    now = clock_ms();
    if (now < cli->progress_next)
        return;
    cli->progress_next = now + SHOW_EVERY;
    if (total > 0)
        fprintf(stderr, "\r\033[K%s: %llu of %llu (%u %%)", what, (unsigned long long)done,
                (unsigned long long)total, (unsigned)(100.0 * (double)done / (double)total));
    else
        fprintf(stderr, "\r\033[K%s: %llu", what, (unsigned long long)done);
    fflush(stderr);
}

void cli_progress(cli_t *cli)
{
    if (!cli->quiet && isatty(STDERR_FILENO))
        kt_progress(cli->ctx, show, cli);
}

void cli_progress_end(cli_t *cli)
{
    kt_progress(cli->ctx, NULL, NULL);
    if (cli->progress_next > 0)
        fputs("\r\033[K", stderr);
    cli->progress_next = 0;
}

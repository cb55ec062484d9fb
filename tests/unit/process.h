/* SPDX-License-Identifier: BSD-2-Clause */
/* process.h: child processes of a test, and what a process has in use. */
#ifndef KT_PROCESS_H
#define KT_PROCESS_H

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "unit.h"

/* A child that opens a context of world.setup and ends with life(ctx, n); 0: all was well. `stop`
 * is its KEYTURN_DEBUG_STOP, or NULL. */
pid_t start(int (*life)(kt_ctx_t *ctx, unsigned n), unsigned n, const char *stop);
/* Waits for the child's end: by this signal, or, if 0, with status 0. */
void wait_for_child(pid_t pid, int signal);

/* Of this process: open descriptors, and kilobytes of locked memory. */
unsigned open_files(void);
size_t locked_kilobytes(void);

#endif /* KT_PROCESS_H */

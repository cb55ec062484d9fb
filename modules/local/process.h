/* SPDX-License-Identifier: BSD-2-Clause */
/* process.h: the clock, forks, and the open connections of this process. */
#ifndef KEYTURN_LOCAL_PROCESS_H
#define KEYTURN_LOCAL_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* Milliseconds of a monotonic clock; no system call, 4 ms coarse. */
int64_t local_clock(void);
/* The calling process; a system call only the first time after a fork. */
pid_t local_process(void);
/* Adds to the number of open connections of this process. */
void local_count(int change);
/* The process that had connections open when it forked this one; 0: there is none. */
pid_t local_inherited(void);

#endif /* KEYTURN_LOCAL_PROCESS_H */

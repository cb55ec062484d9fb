/* SPDX-License-Identifier: BSD-2-Clause */
/* busy.h: whose process is at a pending version, or holds a lock. */
#ifndef KT_BUSY_H
#define KT_BUSY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KT_BUSY_SIZE 160u

/* "This process, for at most `lease` ms." */
void kt_busy_format(int64_t lease, char text[KT_BUSY_SIZE]);
/* Does that process live, and is its time not over? *ret_pid is 0 if it is of another machine.
 * NULL: nobody is. */
bool kt_busy_is(const char *text, long *ret_pid);

#define KT_LOCK_WAIT 500u /* ms for a lock that is held while one small file is written */
/* flock(LOCK_EX) within `wait` ms. False with errno: EWOULDBLOCK if somebody has it still. */
bool kt_lock_file(int fd, unsigned wait);
/* Who holds the flock() of this file: "process 4711 (keyturn of uid 33)", or "another process". */
void kt_lock_holder(int fd, char *text, size_t size);

#endif /* KT_BUSY_H */

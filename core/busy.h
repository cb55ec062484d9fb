/* SPDX-License-Identifier: BSD-2-Clause */
/* busy.h: whose process is at a pending version. */
#ifndef KT_BUSY_H
#define KT_BUSY_H

#include <stdbool.h>
#include <stdint.h>

#define KT_BUSY_SIZE 160u

/* "This process, for at most `lease` ms." */
void kt_busy_format(int64_t lease, char text[KT_BUSY_SIZE]);
/* Does that process live, and is its time not over? *ret_pid is 0 if it is of another machine. NULL: nobody is. */
bool kt_busy_is(const char *text, long *ret_pid);

#endif /* KT_BUSY_H */

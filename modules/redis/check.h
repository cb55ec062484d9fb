/* SPDX-License-Identifier: BSD-2-Clause */
/* check.h: is the server fit for us? */
#ifndef KEYTURN_REDIS_CHECK_H
#define KEYTURN_REDIS_CHECK_H

#include "instance.h"

/* Does what reading and following need: lists, reads a sealed secret, subscribes. `writing`: and
 * would it take a write? Changes nothing. */
ktp_status_t kr_check(ktp_instance_t *instance, int writing);

#endif /* KEYTURN_REDIS_CHECK_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/* create.h: a new store. */
#ifndef KEYTURN_LOCAL_CREATE_H
#define KEYTURN_LOCAL_CREATE_H

#include "store.h"

ktp_status_t local_create(ktp_instance_t *instance);

#endif /* KEYTURN_LOCAL_CREATE_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/* names.h: all names that the server lists. */
#ifndef KEYTURN_REDIS_NAMES_H
#define KEYTURN_REDIS_NAMES_H

#include "instance.h"

typedef struct kr_names {
    char **list;
    size_t count, room;
} kr_names_t;

/* Adds them to the list, sorted; one may be there twice. Also after a failure the caller calls
 * kr_names_free(). */
ktp_status_t kr_names_list(ktp_instance_t *instance, kr_names_t *names);
void kr_names_free(kr_names_t *names);

#endif /* KEYTURN_REDIS_NAMES_H */

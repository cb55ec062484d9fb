/* SPDX-License-Identifier: BSD-2-Clause */
/* generations.h: the generations that lines of an audit log have of one store, a provider's name.
 */
#ifndef KT_GENERATIONS_H
#define KT_GENERATIONS_H

#include "files.h"

typedef struct kt_generation {
    char type[KT_NAME_MAX + 1];
    uint64_t number;
} kt_generation_t;

/* ---- generation_line.c ---- */

/* The types of a checkpoint for kt_audit_next_type(), KT_CATALOGUE_TYPE among them, and the store's
 * id. NULL: the line is not a checkpoint, or does not have this store. */
const char *kt_audit_checkpoint(const char *line, const char *store,
                                unsigned char ret_id[KT_ID_SIZE]);
bool kt_audit_next_type(const char **at, kt_generation_t *ret_generation);
/* A change that was done, or what a process found above all anchors; and the id of its store. */
bool kt_audit_change(const char *line, const char *store, unsigned char ret_id[KT_ID_SIZE],
                     kt_generation_t *ret_generation);

#endif /* KT_GENERATIONS_H */

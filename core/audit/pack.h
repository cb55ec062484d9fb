/* SPDX-License-Identifier: BSD-2-Clause */
/* pack.h: compresses the logs that this library has closed. */
#ifndef KT_PACK_H
#define KT_PACK_H

#include "config/config.h"
#include "trail.h"

typedef struct kt_pack kt_pack_t;

/*
 * Works for about `ms` in the stream's folder, whose owner this process has to be. *pack is what is
 * under way: NULL at first. True: there is more to do. Needs no lock of the stream; two processes
 * never take the same log. What fails is left as it is.
 */
bool kt_pack_step(int folder, const kt_config_t *config, kt_pack_t **pack, int64_t ms);
/* Gives up what is under way: nothing of it is left. */
void kt_pack_stop(int folder, kt_pack_t **pack);

#endif /* KT_PACK_H */

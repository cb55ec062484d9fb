/* SPDX-License-Identifier: BSD-2-Clause */
/* address.h: where a server is. */
#ifndef KEYTURN_REDIS_ADDRESS_H
#define KEYTURN_REDIS_ADDRESS_H

#include "instance.h"

/* [redis://|rediss://]HOST:PORT, [IPV6]:PORT or unix:/PATH as host (to be freed) and port, or path,
 * and whether TLS is spoken. What the instance had before is freed. 0, or -1: not an address. */
int kr_address(ktp_instance_t *instance, const char *address);

#endif /* KEYTURN_REDIS_ADDRESS_H */

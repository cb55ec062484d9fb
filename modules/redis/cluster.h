/* SPDX-License-Identifier: BSD-2-Clause */
/* cluster.h: which node of a cluster has a secret. */
#ifndef KEYTURN_REDIS_CLUSTER_H
#define KEYTURN_REDIS_CLUSTER_H

#include "connection.h"

/* The node that had this secret last, with our present password; the instance itself, which then
 * hears where it is, if that is not known or this is not a cluster. */
ktp_instance_t *kr_cluster_owner(ktp_instance_t *instance, const char *name);
/*
 * The node that another one of them sent us to. If the secret has moved for good, that is kept.
 * NULL: no memory, more than KR_NODES_MAX nodes, or not an address; instance->error says which.
 */
ktp_instance_t *kr_cluster_follow(ktp_instance_t *instance, const ktp_instance_t *from);
/* The node at this address, which a cluster named; NULL as above. */
ktp_instance_t *kr_cluster_node(ktp_instance_t *instance, const char *address);
/* It cannot be reached: its secrets are looked for at another one. */
void kr_cluster_forget(ktp_instance_t *instance, const ktp_instance_t *node);
/* A host and a port that `from` named as an address of its kind, in `address`; without a host it
 * means its own. 0, or -1: it does not fit. */
int kr_cluster_address(const ktp_instance_t *from, const char *host, size_t length,
                       const char *port, char address[KR_ADDRESS_MAX]);
void kr_cluster_free(ktp_instance_t *instance);

#endif /* KEYTURN_REDIS_CLUSTER_H */

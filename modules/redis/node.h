/* SPDX-License-Identifier: BSD-2-Clause */
/* node.h: one server of an account whose password changes, as its administrator sees it. */
#ifndef KEYTURN_REDIS_NODE_H
#define KEYTURN_REDIS_NODE_H

#include "connection.h"

typedef struct kr_node {
    ktp_instance_t server; /* `commands` is the administrator's connection; error: why it failed */
    const ktp_account_t *account;
    redisReply *user; /* what ACL GETUSER answered last; hashes, and no password */
    int acl_file;     /* users are kept there, and not in the server's configuration file */
    int touched;      /* a change was sent */
} kr_node_t;

/* A server that is not connected yet. KTP_MALFORMED: not an address. kr_node_close() in any case.
 */
ktp_status_t kr_node_init(kr_node_t *node, const ktp_services_t *services,
                          const ktp_account_t *account, const char *address);
void kr_node_close(kr_node_t *node);

/* One command of the administrator; an error reply is answered as KTP_SUCCESS. */
ktp_status_t kr_node_ask(kr_node_t *node, const kr_argument_t *arguments, size_t count,
                         redisReply **ret_reply);
/* One command that answers nothing of interest. `name` is shown in errors, `right` is what its
 * user needs. KTP_FORBIDDEN, KTP_CONFLICT: refused. */
ktp_status_t kr_node_run(kr_node_t *node, const kr_argument_t *arguments, size_t count,
                         const char *name, const char *right);
/* What an error reply means; frees it. */
ktp_status_t kr_node_refused(kr_node_t *node, redisReply *reply, const char *name,
                             const char *right);

/*
 * Connects, and finds out whether the account's password can be changed and the change be kept;
 * for the latter it saves what is there. KTP_CONFLICT: the server is not such a one. After a
 * failure node->user is NULL if it is not known which passwords the server has.
 */
ktp_status_t kr_node_look(kr_node_t *node);
int kr_node_has(const kr_node_t *node, const char *hash, size_t size);
/* The server accepts the new password too. */
ktp_status_t kr_node_add(kr_node_t *node);
/* The server itself logs in to its master with it. */
ktp_status_t kr_node_link(kr_node_t *node);
ktp_status_t kr_node_save(kr_node_t *node);
/* Logs in with the new password, on a connection of its own. */
ktp_status_t kr_node_test(kr_node_t *node);
/* Takes away what account->removed names, but never the new password. */
ktp_status_t kr_node_remove(kr_node_t *node);

#endif /* KEYTURN_REDIS_NODE_H */

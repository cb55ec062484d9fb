/* SPDX-License-Identifier: BSD-2-Clause */
/* connection.h: how a file is opened, recognised and closed. */
#ifndef KEYTURN_LOCAL_CONNECTION_H
#define KEYTURN_LOCAL_CONNECTION_H

#include "store.h"

/* Opens the connection, or opens it again if the files were replaced. Waits until its deadline at
 * most. */
ktp_status_t local_connect(ktp_instance_t *instance, local_connection_t *connection);
void local_disconnect(ktp_instance_t *instance, local_connection_t *connection);

#endif /* KEYTURN_LOCAL_CONNECTION_H */

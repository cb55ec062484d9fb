/* SPDX-License-Identifier: BSD-2-Clause */
/* account.h: a password that a rotation changes on several servers. */
#ifndef KEYTURN_REDIS_ACCOUNT_H
#define KEYTURN_REDIS_ACCOUNT_H

#include <keyturn_provider.h>

/* The member `account` of the provider's table. */
ktp_status_t kr_account(const ktp_services_t *services, const ktp_account_t *account,
                        ktp_account_step_t step);

#endif /* KEYTURN_REDIS_ACCOUNT_H */

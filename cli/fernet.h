/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KEYTURN_FERNET_H
#define KEYTURN_FERNET_H

#include <stdbool.h>
#include <stddef.h>

#define FERNET_MAX (16u << 20) /* characters of a token */

typedef struct fernet_key {
    unsigned char bytes[32]; /* for signing, for encryption; the caller wipes it */
} fernet_key_t;

/* White space behind a key or token is none of it. False: it is no key. */
bool fernet_key(const char *text, size_t size, fernet_key_t *ret_key);
/* NULL: *ret_plain has the bytes and a NUL behind them, which the caller wipes and frees. Else why
 * not: a static text. */
const char *fernet_open(const fernet_key_t *key, const char *text, size_t size, char **ret_plain,
                        size_t *ret_size);

#endif /* KEYTURN_FERNET_H */

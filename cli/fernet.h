/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KEYTURN_FERNET_H
#define KEYTURN_FERNET_H

#include <stdbool.h>
#include <stddef.h>

#define FERNET_MAX (16u << 20) /* characters of a token */
#define FERNET_NO_TOKEN "it is not a Fernet token"

typedef struct fernet_key {
    unsigned char bytes[32]; /* 16 for signing, 16 for encryption; the caller wipes them */
} fernet_key_t;

/* White space at the end of a key or token is ignored. False: not a key. */
bool fernet_key(const char *text, size_t size, fernet_key_t *ret_key);
/* Returns NULL, with the bytes and a NUL in *ret_plain, which the caller wipes and frees; or a
 * static text that says why it cannot be opened. */
const char *fernet_open(const fernet_key_t *key, const char *text, size_t size, char **ret_plain,
                        size_t *ret_size);

#endif /* KEYTURN_FERNET_H */

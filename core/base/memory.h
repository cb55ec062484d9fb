/* SPDX-License-Identifier: BSD-2-Clause */
/* memory.h: secret memory. memory.c is the only file of the core that locks and wipes. */
#ifndef KT_MEMORY_H
#define KT_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/keyturn.h"

void kt_wipe(void *data, size_t size);
/* The time depends on `given_size` alone: neither on the length of what is known, nor on where the
 * two differ. */
bool kt_equal(const void *known, size_t known_size, const void *given, size_t given_size);
void *kt_locked_alloc(size_t size); /* zeroed, locked as far as the limit goes, undumpable; NULL:
                                       ENOMEM. Thread-safe */
void kt_locked_free(void *data);    /* wipes */
size_t kt_locked_size(const void *data); /* bytes of locked memory that it takes; of NULL none */
/* Guarded pages for keys; with `wipe_on_fork` a child reads zeros. */
void *kt_guarded_alloc(size_t size, bool wipe_on_fork);
/* The same of address space: only the first `used` bytes are locked, and wiped at the end, until
 * kt_guarded_extend() says more. */
void *kt_guarded_reserve(size_t size, size_t used, bool wipe_on_fork);
void kt_guarded_extend(void *data, size_t used);
void kt_guarded_free(void *data);
void kt_free_wiped(char *string);           /* wipes up to NUL and frees; NULL is allowed */
void kt_dontfork(void *pages, size_t size); /* a child has nothing mapped there */
/* How many bytes this process has that could not be locked: it tries those again first. */
size_t kt_locked_failures(void);
bool kt_locked_is_failing(void);  /* more than none, as of the last try: for every call */
size_t kt_locked_limit(void);     /* RLIMIT_MEMLOCK in bytes; SIZE_MAX: none */
bool kt_locked_room(size_t size); /* could as much be locked now, over what is? */
/* From now on memory that cannot be locked is not given out (kt_no_memory() says why). */
void kt_locked_require(bool required);

struct kt_secret {
    atomic_uint refs;
    uint64_t version;
    int64_t expires; /* ms since the epoch; 0: never */
    int64_t since;   /* when the current version of its name was made, ms since the epoch; 0: not
                        known */
    bool stale;
    size_t size;
    unsigned char *data; /* locked memory */
};
/* With so much room, and a size that its maker sets: 0 until then. */
kt_secret_t *kt_secret_room(size_t room);
kt_secret_t *kt_secret_ref(kt_secret_t *secret);
/* So many references at once, for one that gives them out one by one; and back those that it still
 * has. NULL is allowed for the second. */
void kt_secret_add_refs(kt_secret_t *secret, unsigned count);
void kt_secret_drop_refs(kt_secret_t *secret, unsigned count);

#endif /* KT_MEMORY_H */

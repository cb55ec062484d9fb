/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * world.h: what a test of serve/, rotate/ and maintain/ needs: a folder with a configuration and
 * a key, a context, and fake providers.
 *
 *   world.c    the folder, and a context over the real provider `local` or over fakes
 *   memory.c   a sealed provider in memory, strict about what a caller may do with rows
 *   plain.c    a plain provider whose answers the test writes down
 */
#ifndef KT_WORLD_H
#define KT_WORLD_H

#include "unit.h"

#define ALL "nginx:all"         /* the subject that may do everything */
#define READER "nginx:reader"   /* reads and lists api-keys/ only */
#define MONITOR "nginx:monitor" /* sees states of database/ only */

typedef struct world {
    char dir[64], config[96], key[96], store[96], log[128];
    kt_setup_t *setup;
    kt_ctx_t *ctx;
} world_t;
extern world_t world;

/* The folder with key and configuration; `more` follows the rest ("cache: {ttl: 1s}\n"),
 * `providers` and `routes` go into their sections
 * ("local: {...}"). NULL: one provider `local` for everything. */
void world_make(const char *providers, const char *routes, const char *more);
/* world.setup and world.ctx over the real providers of the configuration. */
void world_open(void);
/* The same over tables of the test's, one for each provider of the configuration, in its order. */
void world_open_with(const ktp_provider_t *const *apis, size_t count);
/* Both, and an empty store. */
void world_of_local(void);
void world_of_memory(const char *more);
/* A further context of the same setup, to be closed by the test. */
kt_ctx_t *world_context(void);
void world_end(void); /* also takes the folder away */

void world_write(const char *path, const char *text, mode_t mode);
/* A file's contents, malloc'ed, with a NUL after them. */
char *world_read(const char *path, size_t *ret_size);
/* Takes the log away, so that none can be made before world_open_log(). Root could make one. */
void world_close_log(void);
void world_open_log(void);
/* How many lines of the trail, with all that waits to be one, have all these texts (NULL at the
 * end). */
size_t world_lines(const char *text, ...);

kt_request_t request(const char *reference);
kt_request_t request_by(const char *subject, const char *reference);
/* The value at `reference` is `text`, of `version` (0: any). */
void assert_value(const char *reference, const char *text, uint64_t version);
/* Writes, and the version is this one. */
void put(const char *name, const char *text, uint64_t version);

/* ---- memory.c ---- */

typedef struct memory {
    uint64_t calls;   /* of the provider, since the test set it to 0 */
    uint64_t fail_at; /* the call that fails; 0: none */
    ktp_status_t fail_with;
    uint64_t begins, commits;
    bool no_token;    /* the token is not available */
    bool stuck_token; /* it does not say that something was committed */
    unsigned open_txns, instances;
    void (*before)(
        void); /* called in each reading begin, to change the store while a reader works */
    void (*committing)(void);           /* called in each commit */
    void (*putting)(ktp_space_t space); /* called before each row is put */
} memory_t;
extern memory_t memory;
extern const ktp_provider_t memory_provider; /* "memory": hashed names, a token, KTP_CREATE */
extern const ktp_provider_t
    memory_clear_provider; /* "clear": as a server, by clear names, blocking */
void memory_reset(void);
/* The stored bytes of a row, to be changed by a test: NULL if there is none. `n` counts rows of the
 * space. */
unsigned char *memory_record(ktp_space_t space, size_t n, size_t *ret_size);
unsigned char *memory_beside(size_t n, size_t *ret_size);
void memory_stamp(ktp_space_t space, size_t n, uint64_t stamp);
/* The bytes of a row's key; and a value's version gets one more. */
unsigned char *memory_id(ktp_space_t space, size_t n, size_t *ret_size);
void memory_next_version(size_t n);
/* The record next to the n-th head becomes a copy of this; NULL: none. */
void memory_set_beside(size_t n, const unsigned char *beside, size_t size);
/* A copy of a row, and its way back into whatever is stored then. */
void *memory_take(ktp_space_t space, size_t n);
void memory_give(void *taken);
void memory_swap(ktp_space_t space, size_t a, size_t b); /* exchanges two rows' contents */
void memory_remove(ktp_space_t space, size_t n);
size_t memory_count(ktp_space_t space);
/* Saves everything that is stored, and restores it: a rollback by an editor of the store.
 */
void memory_save(void);
void memory_restore(void);

/* ---- plain.c ---- */

typedef struct plain {
    ktp_status_t status;
    const char *value, *error;
    uint64_t version;
    int64_t expires;
    unsigned gets;
    uint64_t token;
    bool no_token;
    char asked[300];      /* name@version of the last get */
    void (*during)(void); /* called in each get */
} plain_t;
extern plain_t plain[2];                     /* of the two providers */
extern const ktp_provider_t plain_provider;  /* "plain": does not block */
extern const ktp_provider_t remote_provider; /* "remote": blocks, has a token */

#endif /* KT_WORLD_H */

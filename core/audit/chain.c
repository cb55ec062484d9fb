/* SPDX-License-Identifier: BSD-2-Clause */
/* chain.c: the keys of a log's blocks, its chain, and the MAC of a seal. */
#include <sodium.h>
#include <string.h>

#include "trail.h"

static void begin_hash(crypto_generichash_blake2b_state *state, const unsigned char *key,
                       const char personal[17])
{
    (void)crypto_generichash_blake2b_init_salt_personal(state, key, key != NULL ? KT_AUDIT_HASH : 0,
                                                        KT_AUDIT_HASH, NULL,
                                                        (const unsigned char *)personal);
}

static void add_prefixed(crypto_generichash_blake2b_state *state, const char *text)
{
    unsigned char length[4];

    kt_put_u32(length, (uint32_t)strlen(text));
    (void)crypto_generichash_blake2b_update(state, length, sizeof(length));
    (void)crypto_generichash_blake2b_update(state, (const unsigned char *)text, strlen(text));
}

void kt_audit_first_key(const unsigned char audit_key[KT_KEY_SIZE], const kt_audit_name_t *name,
                        const unsigned char instance[KT_AUDIT_ID],
                        unsigned char ret_key[KT_AUDIT_HASH])
{
    crypto_generichash_blake2b_state state;

    begin_hash(&state, audit_key, "keyturn stream  ");
    add_prefixed(&state, name->environment);
    add_prefixed(&state, name->stream);
    (void)crypto_generichash_blake2b_update(&state, instance, KT_AUDIT_ID);
    (void)crypto_generichash_blake2b_final(&state, ret_key, KT_AUDIT_HASH);
    kt_wipe(&state, sizeof(state));
}

void kt_audit_next_key(unsigned char key[KT_AUDIT_HASH])
{
    crypto_generichash_blake2b_state state;

    begin_hash(&state, key, "keyturn next    ");
    (void)crypto_generichash_blake2b_final(&state, key, KT_AUDIT_HASH);
    kt_wipe(&state, sizeof(state));
}

static void begin_link(crypto_generichash_blake2b_state *state,
                       const unsigned char chain[KT_AUDIT_HASH])
{
    begin_hash(state, NULL, "keyturn lines   ");
    (void)crypto_generichash_blake2b_update(state, chain, KT_AUDIT_HASH);
}

void kt_audit_link(unsigned char chain[KT_AUDIT_HASH], const char *text, size_t size)
{
    crypto_generichash_blake2b_state state;

    begin_link(&state, chain);
    (void)crypto_generichash_blake2b_update(&state, (const unsigned char *)text, size);
    (void)crypto_generichash_blake2b_final(&state, chain, KT_AUDIT_HASH);
}

void kt_chain_begin(kt_audit_chain_t *chain, const unsigned char sealed[KT_AUDIT_HASH])
{
    memcpy(chain->sealed, sealed, KT_AUDIT_HASH);
    chain->open = false;
}

void kt_chain_add(kt_audit_chain_t *chain, const char *line, size_t size)
{
    if (!chain->open)
        begin_link(&chain->lines, chain->sealed);
    chain->open = true;
    (void)crypto_generichash_blake2b_update(&chain->lines, (const unsigned char *)line, size);
}

void kt_chain_through(const kt_audit_chain_t *chain, unsigned char ret_chain[KT_AUDIT_HASH])
{
    crypto_generichash_blake2b_state lines;

    memcpy(ret_chain, chain->sealed, KT_AUDIT_HASH);
    if (!chain->open)
        return;
    lines = chain->lines;
    (void)crypto_generichash_blake2b_final(&lines, ret_chain, KT_AUDIT_HASH);
}

void kt_chain_seal(kt_audit_chain_t *chain, const unsigned char said[KT_AUDIT_HASH],
                   const char *line, size_t size)
{
    kt_chain_begin(chain, said);
    kt_audit_link(chain->sealed, line, size);
}

void kt_audit_mac(const unsigned char key[KT_AUDIT_HASH], const unsigned char chain[KT_AUDIT_HASH],
                  const char *text, size_t size, unsigned char ret_mac[KT_AUDIT_HASH])
{
    crypto_generichash_blake2b_state state;

    begin_hash(&state, key, "keyturn seal    ");
    (void)crypto_generichash_blake2b_update(&state, chain, KT_AUDIT_HASH);
    (void)crypto_generichash_blake2b_update(&state, (const unsigned char *)text, size);
    (void)crypto_generichash_blake2b_final(&state, ret_mac, KT_AUDIT_HASH);
    kt_wipe(&state, sizeof(state));
}

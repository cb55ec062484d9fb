/* SPDX-License-Identifier: BSD-2-Clause */
/* source.c: who is refused: a subject and the address that it comes from. */
#include <string.h>

#include "refusals.h"

_Static_assert(KT_SUBJECT_MAX + 1 + KT_REFUSALS_ADDRESS + 1 <= KT_REFUSALS_WORDS * 8,
               "a slot has room for each source");

/* The port of "192.0.2.1:4711" and "[2001:db8::1]:4711" is left out: each connection has its own.
 */
static size_t address_size(const char *peer)
{
    const char *colon = strrchr(peer, ':'), *end = strchr(peer, ']');

    if (peer[0] == '[' && end != NULL)
        return (size_t)(end - peer) + 1;
    if (colon == NULL || strchr(peer, ':') != colon || colon[1] == '\0' ||
        colon[1 + strspn(colon + 1, "0123456789")] != '\0')
        return strlen(peer);
    return (size_t)(colon - peer);
}

size_t kt_refusals_text(const char *subject, const char *peer,
                        char text[KT_REFUSALS_WORDS * sizeof(uint64_t)])
{
    size_t size = subject != NULL ? strnlen(subject, KT_SUBJECT_MAX) : 0,
           address = peer != NULL ? address_size(peer) : 0;

    if (address > KT_REFUSALS_ADDRESS)
        address = KT_REFUSALS_ADDRESS;
    memcpy(text, subject != NULL ? subject : "", size);
    text[size++] = '\0';
    memcpy(text + size, peer != NULL ? peer : "", address);
    text[size + address] = '\0';
    return size + address;
}

uint64_t kt_refusals_hash(const unsigned char key[crypto_shorthash_KEYBYTES], const char *subject,
                          const char *peer)
{
    char text[KT_REFUSALS_WORDS * sizeof(uint64_t)];
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t source;

    (void)crypto_shorthash(hash, (const unsigned char *)text, kt_refusals_text(subject, peer, text),
                           key);
    memcpy(&source, hash, sizeof(source));
    return source != 0 ? source : 1;
}

bool kt_refusals_split(const unsigned char key[crypto_shorthash_KEYBYTES], uint64_t source,
                       const uint64_t words[KT_REFUSALS_WORDS], char subject[KT_SUBJECT_MAX + 1],
                       char peer[KT_REFUSALS_ADDRESS + 1])
{
    const char *text = (const char *)words;
    size_t room = KT_REFUSALS_WORDS * sizeof(uint64_t), size = strnlen(text, room), address;

    if (size > KT_SUBJECT_MAX)
        return false;
    address = strnlen(text + size + 1, room - size - 1);
    if (address > KT_REFUSALS_ADDRESS)
        return false;
    memcpy(subject, text, size + 1);
    memcpy(peer, text + size + 1, address);
    peer[address] = '\0';
    return kt_refusals_hash(key, subject, peer) == source;
}

uint32_t kt_refusals_until(uint64_t lockout)
{
    return (uint32_t)lockout;
}

uint32_t kt_refusals_duration(uint64_t lockout)
{
    return (uint32_t)(lockout >> 32);
}

unsigned kt_refusals_left(uint64_t lockout, uint32_t now)
{
    uint32_t until = kt_refusals_until(lockout);

    return until <= now || until - now > kt_refusals_duration(lockout) ? 0 : until - now;
}

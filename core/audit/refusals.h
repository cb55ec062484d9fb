/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refusals.h: the table of refusals of a stream (docs/format.md, "Refusals").
 *
 *   refusals.c    maps it, and counts: for the stream's own processes
 *   lockouts.c    reads it as a file, for an operator
 *   source.c      the name of a source, and its hash
 */
#ifndef KT_REFUSALS_H
#define KT_REFUSALS_H

#include <sodium.h>

#include "audit.h"

#define KT_REFUSALS_MAGIC "KTF2"
#define KT_REFUSALS_SETS 64u
#define KT_REFUSALS_WAYS 16u
#define KT_REFUSALS_SLOTS (KT_REFUSALS_SETS * KT_REFUSALS_WAYS)
#define KT_REFUSALS_WINDOW 3600u /* s */
#define KT_REFUSALS_ADDRESS 128u /* bytes of an address at most */
#define KT_REFUSALS_WORDS 55u

typedef struct kt_refusals_slot {
    _Atomic uint64_t source; /* 0: free */
    /* until when (s since the epoch), above it how long the last one took */
    _Atomic uint64_t lockout;
    _Atomic uint32_t count; /* of all refusals: the next one's place in `times` */
    _Atomic uint32_t last;  /* time of the last */
    _Atomic uint32_t times[KT_REFUSALS_MAX];
    _Atomic uint32_t missed; /* refusals during lock-outs that have no record yet */
    uint32_t zero;
    _Atomic uint64_t text[KT_REFUSALS_WORDS]; /* the subject, NUL, the address, NUL */
} kt_refusals_slot_t;

typedef struct kt_refusals_table {
    char magic[4];
    uint32_t slots;
    unsigned char key[crypto_shorthash_KEYBYTES];
    /* no lock-out lasts longer: as long as there is none, a refusal looks here only */
    _Atomic uint64_t latest;
    _Atomic uint64_t missed; /* of all slots */
    unsigned char zeros[24];
    kt_refusals_slot_t slot[KT_REFUSALS_SLOTS];
} kt_refusals_table_t;

_Static_assert(sizeof(kt_refusals_slot_t) == 512, "docs/format.md has the layout of a slot");
_Static_assert(sizeof(kt_refusals_table_t) == 64 + 512 * KT_REFUSALS_SLOTS,
               "docs/format.md has the table's layout");

/* ---- source.c ---- */

/* The text of a source: subject and address without port, each with NUL. Returns the bytes before
 * the last NUL. Both may be NULL. */
size_t kt_refusals_text(const char *subject, const char *peer,
                        char text[KT_REFUSALS_WORDS * sizeof(uint64_t)]);
uint64_t kt_refusals_hash(const unsigned char key[crypto_shorthash_KEYBYTES], const char *subject,
                          const char *peer);
/* The parts of a text that was read from the table; false: its writer was killed half-way. */
bool kt_refusals_split(const unsigned char key[crypto_shorthash_KEYBYTES], uint64_t source,
                       const uint64_t words[KT_REFUSALS_WORDS], char subject[KT_SUBJECT_MAX + 1],
                       char peer[KT_REFUSALS_ADDRESS + 1]);
uint32_t kt_refusals_until(uint64_t lockout);
uint32_t kt_refusals_duration(uint64_t lockout);
/* How long it still lasts. A clock that was set back must not make it longer. */
unsigned kt_refusals_left(uint64_t lockout, uint32_t now);

#endif /* KT_REFUSALS_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fields.h: the fields of a decision, one row each, in the order of its line.
 *
 * A new field is a member of kt_event_t and a row here: ring, line and the test that compares the
 * list of docs/format.md with the rows follow. The kinds of rows:
 *
 *   TEXT(member, key, size, absent, from, meaning)
 *       a text. A ring keeps it after the record, which has room for ten lengths. `size`: bytes at
 *       most; the rest is cut off.
 *       `absent`: what a line says if it is NULL. `from`: OF_ALL, or OF_ONE: reads with different
 *       texts are coalesced, and the line of more than one has none.
 *   NUMBER(member, key, meaning)
 *       a uint64_t that is not there if it is 0. A ring keeps it in the record: there is room for
 *       two, and KTG2 has to change for a third.
 *   FLAG(member, key, bit, meaning)
 *       a bool, which is not there if it is false. A ring keeps it as a bit of the record's flags,
 *       of which 4 and 8 are taken.
 *   LINE(put, key, value, meaning)
 *       no ring keeps it, or not in this way: what put() of line.c makes of an expression about
 *       `event`.
 *
 * The time, boot, stream and seq of a line come before them (line.c).
 */
#ifndef KT_AUDIT_FIELDS_H
#define KT_AUDIT_FIELDS_H

#define WORD_MAX 64u     /* bytes of what a host calls something */
#define ADDRESS_MAX 128u /* of a client's address, and of a request's id */
#define OF_ALL 0u
#define OF_ONE 1u

/* clang-format off */
#define KT_AUDIT_FIELDS(TEXT, NUMBER, FLAG, LINE)                                                  \
    TEXT(action, "action", WORD_MAX, NULL, OF_ALL,                                                 \
        "`recover`, `gap`, `retention`, `settle` and `checkpoint` (below), `alert` (a source is "  \
        "locked out, see Refusals), `lockout` (how often it was refused meanwhile), or what was "  \
        "asked for; keyturn-audit(5) describes each word")                                         \
    TEXT(subject, "subject", KT_SUBJECT_MAX, "", OF_ALL,                                           \
        "who asked, as the host vouches for it; empty if it did not")                              \
    TEXT(peer, "peer", ADDRESS_MAX, NULL, OF_ONE,                                                  \
        "the client's address, if the host gave one")                                              \
    TEXT(reference, "reference", KT_REFERENCE_MAX, NULL, OF_ALL,                                   \
        "what was asked for, in its one normal form; of `list` the pattern")                       \
    NUMBER(version, "version",                                                                     \
        "what was served or made; not there if none was")                                          \
    NUMBER(generation, "generation",                                                               \
        "of a change: the generation of the type's index after it; not there without an index")    \
    LINE(put_id, "store", event->store_id,                                                         \
        "of a generation: the id of its store, in hexadecimal")                                    \
    TEXT(provider, "provider", WORD_MAX, NULL, OF_ALL,                                             \
        "who answered; not there if none was asked")                                               \
    TEXT(status, "status", WORD_MAX, NULL, OF_ALL,                                                 \
        "the status's name, or `intent`: a change that is about to be committed. Its outcome "     \
        "follows")                                                                                 \
    FLAG(stale, "stale", 1u,                                                                       \
        "`true`, or not there: served from the stale window")                                      \
    FLAG(fallback, "fallback", 2u,                                                                 \
        "`true`, or not there: served by another provider than the route's first")                 \
    FLAG(configured, "configured", 16u,                                                            \
        "`true`, or not there: a refusal of what the host's own configuration asks for, not a "    \
        "client; it does not count as an attempt")                                                 \
    LINE(put_count, "count", event->count,                                                         \
        "of coalesced reads, how many; `time` is the first one's, and `peer` and `request` are "   \
        "left out. Of `lockout`, the refusals that have no line; of `state`, the secrets. Not "    \
        "there: one, and of `state` none or one")                                                  \
    LINE(put_some, "seconds", event->seconds,                                                      \
        "of `alert` and `lockout`: how long the source is locked out")                             \
    LINE(put_object, "generations", event->generations,                                            \
        "of `checkpoint` (below)")                                                                 \
    LINE(put_some, "more", event->more,                                                            \
        "of `checkpoint` (below)")                                                                 \
    TEXT(actor, "actor", WORD_MAX, NULL, OF_ALL,                                                   \
        "the person who asked as this subject, if the host knows it (below)")                      \
    LINE(put_word, "severity", kt_severity(event),                                                 \
        "`critical`, `high`, `medium` (below), or not there")                                      \
    TEXT(purpose, "purpose", WORD_MAX, NULL, OF_ALL,                                               \
        "the host's own words for what it is for, if it has them")                                 \
    TEXT(request_id, "request", ADDRESS_MAX, NULL, OF_ONE,                                         \
        "the host's own id for it, if it has one")
/* clang-format on */

/* A kind of rows that is of no interest. */
#define KT_AUDIT_NOTHING(...)

#define KT_AUDIT_ENUM(member, ...) TEXT_##member,
enum { KT_AUDIT_FIELDS(KT_AUDIT_ENUM, KT_AUDIT_NOTHING, KT_AUDIT_NOTHING, KT_AUDIT_NOTHING) TEXTS };

#endif /* KT_AUDIT_FIELDS_H */

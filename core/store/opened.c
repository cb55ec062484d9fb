/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * opened.c: heads that were opened before, so that a read of the same bytes need not open them
 * again.
 *
 * An entry is found by the record's tag, and counts only if the whole record, the key's id and the
 * type are those that were opened: then the plain text is the same too. So nothing has to be
 * dropped when a head is changed, and a record that was tampered with is opened, and fails.
 *
 * Records, which are sealed, lie one after the other in a ring, and the plain texts in another,
 * whose pages are locked, in no core dump, and empty in a child. A new entry overwrites the
 * oldest. Once the ring is full, it does so at each eighth miss only: if more heads are read than
 * fit, to keep one takes a tenth of a read, and would seldom be of use. With each plain text lies
 * the key that seals the values of this secret, because it is derived from the name. What lies at a
 * position is there as long as fewer bytes than the ring has were written since. The ring of plain
 * texts grows only while the cache of values could still be locked, too.
 */
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define SLOTS 65536u
#define SEALED_ROOM (8u << 20) /* bytes of address space: about 15,000 heads with few versions */
#define PLAIN_ROOM (2u << 20)  /* bytes of locked memory at most: about 10,000 of them */
#define STEP (64u << 10)       /* by which it grows */
#define RECORD_MAX 8192u       /* larger ones are opened each time */
#define ALIGNED 16u
#define KEPT_OF 8u /* of those that overwrite others, every eighth is kept */

struct kt_opened {
    unsigned char *sealed, *plain;  /* NULL: nothing was kept yet */
    uint64_t sealed_end, plain_end; /* where the next entry goes, modulo the room */
    size_t plain_room;              /* bytes that are locked */
    bool grown;                     /* as far as it goes */
    const unsigned char *found;     /* the record that was found last; NULL: none was */
    const kt_halfway_t *halfway;    /* then: of its value */
    unsigned left_out;              /* since one was kept that overwrote another */
    uint64_t at[SLOTS];             /* of the entry in `sealed`; 0: none */
};

typedef struct entry { /* then the type and the record */
    unsigned char key_id[KT_KEYID_SIZE];
    uint64_t plain_at;
    uint32_t type_size, record_size, plain_size;
} entry_t;

kt_opened_t *kt_opened_new(void)
{
    kt_opened_t *opened = calloc(1, sizeof(*opened));

    if (opened != NULL)
        opened->sealed_end = SEALED_ROOM;
    return opened;
}

void kt_opened_free(kt_opened_t *opened)
{
    if (opened == NULL)
        return;
    kt_guarded_free(opened->plain);
    free(opened->sealed);
    free(opened);
}

static size_t slot_of(const unsigned char tag[KT_TAG_SIZE])
{
    return (size_t)(tag[0] | tag[1] << 8) % SLOTS;
}

/* Where its value's key lies, and then its plain text. */
static const unsigned char *find(const kt_opened_t *opened, const kt_typekey_t *type,
                                 const ktp_row_t *row, size_t *ret_size)
{
    size_t type_size = strlen(type->type);
    const unsigned char *at;
    entry_t entry;
    uint64_t start;

    if (opened == NULL || opened->plain_room == 0 || row->record_size < KT_TAG_SIZE)
        return NULL; /* change.c keeps only what is beside the record */
    start = opened->at[slot_of(row->record + row->record_size - KT_TAG_SIZE)];
    if (start == 0 || start + SEALED_ROOM < opened->sealed_end)
        return NULL;
    at = opened->sealed + start % SEALED_ROOM;
    memcpy(&entry, at, sizeof(entry));
    at += sizeof(entry);
    if (entry.plain_at + opened->plain_room < opened->plain_end || entry.type_size != type_size ||
        entry.record_size != row->record_size ||
        memcmp(entry.key_id, type->id, KT_KEYID_SIZE) != 0 ||
        memcmp(at, type->type, type_size) != 0 ||
        memcmp(at + type_size, row->record, row->record_size) != 0)
        return NULL;
    at = opened->plain + entry.plain_at % opened->plain_room;
    if (at[0] != 1)
        return NULL; /* a fork wiped it */
    *ret_size = entry.plain_size;
    return at + 1;
}

void kt_opened_ahead(const kt_opened_t *opened, const unsigned char tag[KT_TAG_SIZE])
{
    if (opened != NULL)
        __builtin_prefetch(&opened->at[slot_of(tag)]);
}

const unsigned char *kt_opened_find(kt_opened_t *opened, const kt_typekey_t *type,
                                    const ktp_row_t *row, size_t *ret_size)
{
    const unsigned char *at = find(opened, type, row, ret_size);

    if (opened != NULL)
        opened->found = at != NULL ? row->record : NULL;
    if (at == NULL)
        return NULL;
    opened->halfway = (const kt_halfway_t *)(const void *)at;
    return at + sizeof(kt_halfway_t);
}

const kt_halfway_t *kt_opened_halfway(const kt_opened_t *opened, const ktp_row_t *row,
                                      const unsigned char *record, size_t size)
{
    return opened != NULL && row->record != NULL && opened->found == row->record &&
                   kt_is_halfway(opened->halfway, record, size)
               ? opened->halfway
               : NULL;
}

/* The position of the next `size` bytes, which do not go past the end of the ring. */
static uint64_t take_room(uint64_t *io_end, size_t room, size_t size)
{
    uint64_t start = *io_end;

    if (start % room + size > room)
        start += room - start % room;
    *io_end = start + (size + ALIGNED - 1) / ALIGNED * ALIGNED;
    return start;
}

static bool is_ready(kt_opened_t *opened, size_t size, size_t spare)
{
    if (opened->sealed == NULL)
        opened->sealed = malloc(SEALED_ROOM);
    if (opened->plain == NULL)
        opened->plain = kt_guarded_reserve(PLAIN_ROOM, 0, true);
    if (opened->sealed == NULL || opened->plain == NULL)
        return false;
    if (opened->grown || opened->plain_end + size <= opened->plain_room)
        return opened->plain_room > 0;
    if (opened->plain_room < PLAIN_ROOM && kt_locked_room(STEP + spare)) {
        opened->plain_room += STEP;
        kt_guarded_extend(opened->plain, opened->plain_room);
    } else {
        opened->grown = true;
    }
    return opened->plain_room > 0;
}

static bool is_left_out(kt_opened_t *opened)
{
    return opened->grown && opened->left_out++ % KEPT_OF != 0;
}

static void keep_halfway(const kt_typekey_t *type, const char *name, const ktp_row_t *row,
                         kt_halfway_t *halfway)
{
    unsigned char key[KT_KEY_SIZE];

    kt_secret_key(type, name, key);
    if (row->beside == NULL || !kt_unseal_halfway(key, row->beside, row->beside_size, halfway))
        memset(halfway, 0, sizeof(*halfway)); /* equals no nonce */
    kt_wipe(key, sizeof(key));
}

void kt_opened_keep(kt_opened_t *opened, const kt_typekey_t *type, const ktp_row_t *row,
                    const kt_opening_t *opening)
{
    size_t whole = 1 + sizeof(kt_halfway_t) + opening->size;
    entry_t entry = {.type_size = (uint32_t)strlen(type->type),
                     .record_size = (uint32_t)row->record_size,
                     .plain_size = (uint32_t)opening->size};
    unsigned char *at;
    uint64_t start;

    if (opened != NULL)
        opened->found = NULL;
    if (opened == NULL || row->record_size > RECORD_MAX || opening->size > RECORD_MAX ||
        !is_ready(opened, whole, opening->spare) || is_left_out(opened))
        return; /* it is opened again */
    entry.plain_at = take_room(&opened->plain_end, opened->plain_room, whole);
    at = opened->plain + entry.plain_at % opened->plain_room;
    at[0] = 1;
    keep_halfway(type, opening->name, row, (kt_halfway_t *)(void *)(at + 1));
    opened->halfway = (const kt_halfway_t *)(const void *)(at + 1);
    opened->found = row->record; /* its value is opened next */
    memcpy(at + 1 + sizeof(kt_halfway_t), opening->plain, opening->size);
    start = take_room(&opened->sealed_end, SEALED_ROOM,
                      sizeof(entry) + entry.type_size + row->record_size);
    opened->at[slot_of(row->record + row->record_size - KT_TAG_SIZE)] = start;
    at = opened->sealed + start % SEALED_ROOM;
    memcpy(entry.key_id, type->id, KT_KEYID_SIZE);
    memcpy(at, &entry, sizeof(entry));
    at += sizeof(entry);
    memcpy(at, type->type, entry.type_size);
    memcpy(at + entry.type_size, row->record, row->record_size);
}

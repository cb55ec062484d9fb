/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index.c: proves that a head is the one that was written last, and that a name without a head
 * never had one.
 *
 * Each type has its own tree, from the keyed hash of a name to the tag of its head. A node holds
 * the tags of its children. The root row holds the tag of the topmost node, the generation and the
 * store's id. All tags are keyed by the type, and all changes are in the transaction of the head.
 *
 *     META 'r' + key id            store id (16), generation (8), count (8), tag of the topmost
 *                                  node (16; zero: there is none), MAC (32);
 *                                  before the MAC, if the type is moving or has moved to another
 *                                  epoch: link (1), other key id (16)
 *     NODE key id, path            0, entries of name hash (32) and head tag (16), sorted:
 *                                  a leaf, at most LEAF_MAX
 *                                  1, sixteen tags (16 each; zero: no child): a branch, by the next
 *                                  four bits
 * A leaf that grows past LEAF_MAX becomes a branch of leaves, so that a proof needs one node per
 * level: one for 20 secrets, five for a million. A B-tree was rejected: it needs balancing, and its
 * shape would reveal the order of writing.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "index_node.h"

#define ROOT_BODY (KT_ID_SIZE + 8u + 8u + KT_TAG_SIZE)
#define ROOT_LINK (1u + KT_KEYID_SIZE)
#define ROOT_SIZE_MAX KT_ROOT_MAX

static const unsigned char no_tag[KT_TAG_SIZE];

unsigned kt_nibble(const unsigned char hash[KT_HASH_SIZE], size_t depth)
{
    return depth % 2 == 0 ? hash[depth / 2] >> 4 : hash[depth / 2] & 15u;
}

/* The row key of the node at `depth` on the path to `hash`: key id, depth, the nibbles so far. */
void kt_node_key(const kt_index_t *index, const unsigned char hash[KT_HASH_SIZE], size_t depth,
                 ktp_key_t *ret_key)
{
    size_t bytes = (depth + 1) / 2;

    memset(ret_key, 0, sizeof(*ret_key));
    ret_key->space = KTP_NODE;
    memcpy(ret_key->id, index->key_id, KT_KEYID_SIZE);
    ret_key->id[KT_KEYID_SIZE] = (unsigned char)depth;
    memcpy(ret_key->id + KT_KEYID_SIZE + 1, hash, bytes);
    if (depth % 2 == 1)
        ret_key->id[KT_KEYID_SIZE + bytes] &= 0xf0;
    ret_key->id_size = KT_KEYID_SIZE + 1 + bytes;
}

/* The tag includes the node's place: otherwise two subtrees could be swapped. */
static void node_tag(const kt_index_t *index, const ktp_key_t *key, const unsigned char *data,
                     size_t size, unsigned char ret_tag[KT_TAG_SIZE])
{
    const kt_part_t parts[] = {{key->id + KT_KEYID_SIZE, key->id_size - KT_KEYID_SIZE},
                               {data, size}};

    kt_mac(index->key, "keyturn node    ", parts, KT_ARRAY(parts), ret_tag, KT_TAG_SIZE);
}

kt_status_t kt_index_tampered(const kt_index_t *index, const char *what)
{
    return kt_fail(KT_ROLLEDBACK, "%s: the index of the type \"%s\" was tampered with: %s",
                   index->store->name, index->type, what);
}

/* ---- the root ---- */

static void root_mac(const kt_index_t *index, const unsigned char *body, size_t size,
                     unsigned char ret_mac[KT_HASH_SIZE])
{
    size_t environment = strlen(index->environment), type = strlen(index->type);
    unsigned char lengths[2][4];
    const kt_part_t parts[] = {{lengths[0], 4},
                               {index->environment, environment},
                               {lengths[1], 4},
                               {index->type, type},
                               {body, size}};

    kt_put_u32(lengths[0], (uint32_t)environment);
    kt_put_u32(lengths[1], (uint32_t)type);
    kt_mac(index->key, "keyturn root    ", parts, KT_ARRAY(parts), ret_mac, KT_HASH_SIZE);
}

/* What an authentic root says. */
static kt_status_t take_root(kt_index_t *index, const kt_root_row_t *root)
{
    const unsigned char *record = root->record;

    if (root->size == ROOT_SIZE_MAX) {
        if (record[ROOT_BODY] < KT_LINK_TO || record[ROOT_BODY] > KT_LINK_FROM)
            return kt_fail(
                KT_MALFORMED,
                "%s: the root of the type \"%s\" has an unknown link: it may come from a "
                "newer version of keyturn",
                index->store->name, index->type);
        index->link = (kt_link_t)record[ROOT_BODY];
        memcpy(index->other, record + ROOT_BODY + 1, KT_KEYID_SIZE);
    }
    memcpy(index->store_id, record, KT_ID_SIZE);
    index->generation = kt_get_u64(record + KT_ID_SIZE);
    index->count = kt_get_u64(record + KT_ID_SIZE + 8);
    memcpy(index->root, record + KT_ID_SIZE + 16, KT_TAG_SIZE);
    index->stamp = root->stamp;
    if (root->stamp != index->generation)
        return kt_index_tampered(index, "its root's stamp is not its generation");
    return KT_SUCCESS;
}

static kt_status_t read_root(kt_index_t *index)
{
    const kt_root_row_t *known = kt_proofs_root(index->store->proofs, index->key_id);
    unsigned char mac[KT_HASH_SIZE];
    kt_root_row_t root;
    ktp_key_t key;
    ktp_row_t row;
    size_t size;
    kt_status_t status;

    if (known != NULL)
        return take_root(index, known);
    kt_key_meta(&key, 'r', index->key_id);
    status = kt_rows_get(index->store, index->txn, &key, &row);
    if (status == KT_NOTFOUND)
        return KT_SUCCESS; /* generation 0: this type was never written, if the anchors agree */
    if (status != KT_SUCCESS)
        return status;
    if (row.record_size != ROOT_BODY + KT_HASH_SIZE && row.record_size != ROOT_SIZE_MAX)
        return kt_index_tampered(index, "its root has the wrong size");
    size = row.record_size - KT_HASH_SIZE;
    root_mac(index, row.record, size, mac);
    if (sodium_memcmp(mac, row.record + size, sizeof(mac)) != 0)
        return kt_index_tampered(index, "its root is not authentic");
    memcpy(root.key_id, index->key_id, KT_KEYID_SIZE);
    memcpy(root.record, row.record, row.record_size);
    root.size = row.record_size;
    root.stamp = row.stamp;
    status = take_root(index, &root);
    if (status == KT_SUCCESS)
        kt_proofs_keep_root(index->store->proofs, &root);
    return status;
}

kt_status_t kt_index_seal(kt_index_t *index, uint64_t generation)
{
    unsigned char record[ROOT_SIZE_MAX];
    ktp_row_t row = {.record = record, .stamp = generation};
    size_t size = ROOT_BODY;
    ktp_key_t key;
    kt_status_t status;

    memcpy(record, index->store_id, KT_ID_SIZE);
    kt_put_u64(record + KT_ID_SIZE, generation);
    kt_put_u64(record + KT_ID_SIZE + 8, index->count);
    memcpy(record + KT_ID_SIZE + 16, index->root, KT_TAG_SIZE);
    if (index->link != KT_LINK_NONE) {
        record[ROOT_BODY] = (unsigned char)index->link;
        memcpy(record + ROOT_BODY + 1, index->other, KT_KEYID_SIZE);
        size += ROOT_LINK;
    }
    root_mac(index, record, size, record + size);
    row.record_size = size + KT_HASH_SIZE;
    kt_key_meta(&key, 'r', index->key_id);
    status = kt_rows_put(index->store, index->txn, &key, &row, index->stamp);
    if (status == KT_SUCCESS)
        index->generation = index->stamp = generation;
    return status;
}

kt_status_t kt_index_open(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                          const kt_typekey_t *type, kt_index_t *ret_index)
{
    memset(ret_index, 0, sizeof(*ret_index));
    ret_index->environment = holder->keyring->environment;
    ret_index->store = store;
    ret_index->txn = txn;
    memcpy(ret_index->type, type->type, sizeof(ret_index->type));
    ret_index->epoch = type->epoch;
    memcpy(ret_index->key_id, type->id, KT_KEYID_SIZE);
    kt_index_key(type, ret_index->key);
    return read_root(ret_index);
}

void kt_index_anchored(const kt_index_t *index, kt_anchored_t *ret_anchored)
{
    ret_anchored->store = index->store->name;
    ret_anchored->type = index->type;
    ret_anchored->key = index->key;
    memcpy(ret_anchored->key_id, index->key_id, KT_KEYID_SIZE);
    memcpy(ret_anchored->store_id, index->store_id, KT_ID_SIZE);
    ret_anchored->generation = index->generation;
    memcpy(ret_anchored->root, index->root, KT_TAG_SIZE);
}

void kt_index_close(kt_index_t *index)
{
    kt_wipe(index, sizeof(*index));
}

/* ---- nodes ---- */

/* The node's row, if it has the tag that its parent expects. The provider owns the row, and keeps
 * it until the next call. */
static kt_status_t get_node(const kt_index_t *index, const ktp_key_t *key,
                            const unsigned char expected[KT_TAG_SIZE], ktp_row_t *ret_row)
{
    unsigned char tag[KT_TAG_SIZE];
    ktp_row_t row;
    kt_status_t status;

    status = kt_rows_get(index->store, index->txn, key, &row);
    if (status == KT_NOTFOUND)
        return kt_index_tampered(index, "a node is missing");
    if (status != KT_SUCCESS)
        return status;
    node_tag(index, key, row.record, row.record_size, tag);
    if (sodium_memcmp(tag, expected, sizeof(tag)) != 0)
        return kt_index_tampered(index, "a row was put back, removed or exchanged");
    /* Only a holder of the type's key, or a bug of ours, can have made a bad node: but a node_t has
     * no room for more than one extra entry. */
    if (row.record_size < 1 || row.record_size > NODE_MAX - ENTRY_SIZE ||
        (row.record[0] == BRANCH && row.record_size != BRANCH_SIZE) ||
        (row.record[0] == LEAF && (row.record_size - 1) % ENTRY_SIZE != 0) ||
        row.record[0] > BRANCH)
        return kt_index_tampered(index, "a node does not parse");
    if (row.stamp != NODE_STAMP)
        return kt_index_tampered(index, "a node has the wrong stamp");
    *ret_row = row;
    return KT_SUCCESS;
}

/* A copy of the node at `depth` on the path to `hash`, to be changed, with its row's key. If
 * `expected` is zero, there is no such node, and the copy is a new leaf. The caller frees *ret_node
 * even after a failure. */
static kt_status_t copy_node(const kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                             size_t depth, const unsigned char expected[KT_TAG_SIZE],
                             ktp_key_t *ret_key, node_t **ret_node)
{
    node_t *node = depth <= DEPTH_MAX ? calloc(1, sizeof(*node)) : NULL;
    ktp_row_t row;
    kt_status_t status;

    *ret_node = node;
    if (node == NULL)
        return depth <= DEPTH_MAX ? kt_no_memory() : kt_index_tampered(index, "it is too deep");
    node->size = 1;
    kt_node_key(index, hash, depth, ret_key);
    if (memcmp(expected, no_tag, KT_TAG_SIZE) == 0)
        return KT_SUCCESS;
    status = get_node(index, ret_key, expected, &row);
    if (status != KT_SUCCESS)
        return status;
    node->stamp = row.stamp;
    node->size = row.record_size;
    memcpy(node->data, row.record, row.record_size);
    return KT_SUCCESS;
}

kt_status_t kt_node_write(const kt_index_t *index, const ktp_key_t *key, const node_t *node,
                          unsigned char ret_tag[KT_TAG_SIZE])
{
    ktp_row_t row = {.record = node->data, .record_size = node->size, .stamp = NODE_STAMP};
    kt_status_t status = kt_rows_put(index->store, index->txn, key, &row, node->stamp);

    if (status != KT_SUCCESS)
        return status;
    node_tag(index, key, node->data, node->size, ret_tag);
    if (node->data[0] == BRANCH)
        kt_proofs_keep(index->store->proofs, ret_tag, node->data + 1);
    return KT_SUCCESS;
}

unsigned char *kt_node_child(node_t *node, unsigned n)
{
    return node->data + 1 + n * KT_TAG_SIZE;
}

size_t kt_leaf_entries(const node_t *leaf)
{
    return (leaf->size - 1) / ENTRY_SIZE;
}

static unsigned char *entry_at(node_t *leaf, size_t i)
{
    return leaf->data + 1 + i * ENTRY_SIZE;
}

/* True, and the place of the entry of `hash` in a leaf's bytes; or false, and where it belongs. */
static bool find_entry(const unsigned char *leaf, size_t size,
                       const unsigned char hash[KT_HASH_SIZE], size_t *ret_i)
{
    size_t low = 0, high = (size - 1) / ENTRY_SIZE;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = memcmp(leaf + 1 + middle * ENTRY_SIZE, hash, KT_HASH_SIZE);

        if (order == 0) {
            *ret_i = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_i = low;
    return false;
}

/* ---- proof ---- */

bool kt_index_is_empty(const kt_index_t *index)
{
    return memcmp(index->root, no_tag, sizeof(no_tag)) == 0;
}

/* The entry of `hash` in a proved leaf with this tag. */
static bool look_into_leaf(const kt_index_t *index, const ktp_row_t *row,
                           const unsigned char hash[KT_HASH_SIZE],
                           const unsigned char leaf[KT_TAG_SIZE],
                           unsigned char ret_tag[KT_TAG_SIZE])
{
    size_t i;

    if (!find_entry(row->record, row->record_size, hash, &i))
        return false;
    memcpy(ret_tag, row->record + 1 + i * ENTRY_SIZE + KT_HASH_SIZE, KT_TAG_SIZE);
    kt_proofs_keep_entry(index->store->proofs, leaf, hash, ret_tag);
    return true;
}

kt_status_t kt_index_lookup(const kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                            bool *ret_found, unsigned char ret_tag[KT_TAG_SIZE])
{
    const unsigned char *children, *known;
    unsigned char tag[KT_TAG_SIZE];
    ktp_row_t row;
    ktp_key_t key;
    size_t depth;
    kt_status_t status;

    *ret_found = false;
    if (index->generation == 0 || kt_index_is_empty(index))
        return KT_SUCCESS;
    memcpy(tag, index->root, sizeof(tag));
    for (depth = 0; depth <= DEPTH_MAX; depth++) {
        known = kt_proofs_entry(index->store->proofs, tag, hash);
        if (known != NULL) {
            *ret_found = true;
            memcpy(ret_tag, known, KT_TAG_SIZE);
            return KT_SUCCESS;
        }
        children = kt_proofs_find(index->store->proofs, tag);
        if (children == NULL) {
            kt_node_key(index, hash, depth, &key);
            status = get_node(index, &key, tag, &row);
            if (status != KT_SUCCESS)
                return status;
            if (row.record[0] == LEAF) {
                *ret_found = look_into_leaf(index, &row, hash, tag, ret_tag);
                return KT_SUCCESS;
            }
            children = row.record + 1;
            kt_proofs_keep(index->store->proofs, tag, children);
        }
        memcpy(tag, children + kt_nibble(hash, depth) * KT_TAG_SIZE, sizeof(tag));
        if (memcmp(tag, no_tag, sizeof(tag)) == 0)
            return KT_SUCCESS;
    }
    return kt_index_tampered(index, "it is too deep");
}

typedef struct walk {
    const kt_index_t *index;
    kt_index_fn fn;
    void *arg;
    bool stopped;
    uint64_t nodes;
} walk_t;

/* `hash` holds the nibbles of the path so far; the rest of it is scratch space. */
static kt_status_t walk_below(walk_t *walk, unsigned char hash[KT_HASH_SIZE], size_t depth,
                              const unsigned char tag[KT_TAG_SIZE])
{
    node_t *node;
    ktp_key_t key;
    unsigned n;
    size_t i;
    kt_status_t status = copy_node(walk->index, hash, depth, tag, &key, &node);

    walk->nodes++;
    for (i = 0; status == KT_SUCCESS && node->data[0] == LEAF && i < kt_leaf_entries(node) &&
                !walk->stopped;
         i++)
        walk->stopped =
            walk->fn(walk->arg, entry_at(node, i), entry_at(node, i) + KT_HASH_SIZE) != 0;
    for (n = 0; status == KT_SUCCESS && node->data[0] == BRANCH && n < FANOUT && !walk->stopped;
         n++) {
        unsigned char *at = &hash[depth / 2];

        *at = (unsigned char)(depth % 2 == 0 ? (*at & 0x0f) | n << 4 : (*at & 0xf0) | n);
        if (memcmp(kt_node_child(node, n), no_tag, KT_TAG_SIZE) != 0)
            status = walk_below(walk, hash, depth + 1, kt_node_child(node, n));
    }
    free(node);
    return status;
}

kt_status_t kt_index_walk(const kt_index_t *index, kt_index_fn fn, void *arg)
{
    unsigned char hash[KT_HASH_SIZE] = {0};
    walk_t walk = {index, fn, arg, false, 0};

    return index->generation == 0 || kt_index_is_empty(index)
               ? KT_SUCCESS
               : walk_below(&walk, hash, 0, index->root);
}

static int count_entry(void *arg, const unsigned char hash[KT_HASH_SIZE],
                       const unsigned char tag[KT_TAG_SIZE])
{
    uint64_t *count = arg;

    (void)hash, (void)tag;
    (*count)++;
    return 0;
}

kt_status_t kt_index_count(const kt_index_t *index, uint64_t *ret_entries, uint64_t *ret_nodes)
{
    unsigned char hash[KT_HASH_SIZE] = {0};
    walk_t walk = {index, count_entry, ret_entries, false, 0};
    kt_status_t status = KT_SUCCESS;

    *ret_entries = 0;
    if (index->generation > 0 && !kt_index_is_empty(index))
        status = walk_below(&walk, hash, 0, index->root);
    *ret_nodes = walk.nodes;
    if (status == KT_SUCCESS && *ret_entries != index->count)
        return kt_fail(
            KT_ROLLEDBACK, "its index has %llu %s and says %llu", (unsigned long long)*ret_entries,
            kt_plural(*ret_entries, "entry", "entries"), (unsigned long long)index->count);
    return status;
}

/* ---- change ---- */

void kt_leaf_insert(node_t *leaf, size_t i, const unsigned char hash[KT_HASH_SIZE],
                    const unsigned char tag[KT_TAG_SIZE])
{
    unsigned char *at = entry_at(leaf, i);

    memmove(at + ENTRY_SIZE, at, (kt_leaf_entries(leaf) - i) * ENTRY_SIZE);
    memcpy(at, hash, KT_HASH_SIZE);
    memcpy(at + KT_HASH_SIZE, tag, KT_TAG_SIZE);
    leaf->size += ENTRY_SIZE;
}

/* Turns a leaf that is too full into a branch, with its entries in new leaves. */
static kt_status_t split(const kt_index_t *index, node_t *node, size_t depth)
{
    node_t *child = malloc(sizeof(*child));
    unsigned char branch[BRANCH_SIZE] = {BRANCH};
    size_t i = 0, count = kt_leaf_entries(node);
    ktp_key_t key;
    kt_status_t status = child != NULL ? KT_SUCCESS : kt_no_memory();

    while (status == KT_SUCCESS && i < count) {
        const unsigned char *first = entry_at(node, i);
        unsigned n = kt_nibble(first, depth);

        child->stamp = 0;
        child->size = 1;
        child->data[0] = LEAF;
        for (; i < count && kt_nibble(entry_at(node, i), depth) == n; i++)
            kt_leaf_insert(child, kt_leaf_entries(child), entry_at(node, i),
                           entry_at(node, i) + KT_HASH_SIZE);
        if (kt_leaf_entries(child) > LEAF_MAX)
            status = depth < DEPTH_MAX ? split(index, child, depth + 1)
                                       : kt_index_tampered(index, "it is too deep");
        kt_node_key(index, first, depth + 1, &key);
        if (status == KT_SUCCESS)
            status = kt_node_write(index, &key, child, branch + 1 + n * KT_TAG_SIZE);
    }
    free(child);
    if (status == KT_SUCCESS) {
        memcpy(node->data, branch, sizeof(branch));
        node->size = sizeof(branch);
    }
    return status;
}

kt_status_t kt_node_set(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                        const unsigned char tag[KT_TAG_SIZE], size_t depth,
                        unsigned char io_tag[KT_TAG_SIZE])
{
    node_t *node;
    ktp_key_t key;
    size_t i;
    kt_status_t status = copy_node(index, hash, depth, io_tag, &key, &node);

    if (status == KT_SUCCESS && node->data[0] == BRANCH) {
        status =
            kt_node_set(index, hash, tag, depth + 1, kt_node_child(node, kt_nibble(hash, depth)));
    } else if (status == KT_SUCCESS && find_entry(node->data, node->size, hash, &i)) {
        memcpy(entry_at(node, i) + KT_HASH_SIZE, tag, KT_TAG_SIZE);
    } else if (status == KT_SUCCESS) {
        kt_leaf_insert(node, i, hash, tag);
        index->count++;
        if (kt_leaf_entries(node) > LEAF_MAX)
            status = split(index, node, depth);
    }
    if (status == KT_SUCCESS)
        status = kt_node_write(index, &key, node, io_tag);
    if (status == KT_SUCCESS && node->data[0] == LEAF)
        kt_proofs_keep_entry(index->store->proofs, io_tag, hash, tag);
    free(node);
    return status;
}

static bool has_child(node_t *node)
{
    unsigned n;

    for (n = 0; n < FANOUT; n++) {
        if (memcmp(kt_node_child(node, n), no_tag, KT_TAG_SIZE) != 0)
            return true;
    }
    return false;
}

/* Removes `hash` from the subtree at `depth`. *io_tag becomes zero if that was the last entry. */
static kt_status_t remove_below(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                                size_t depth, unsigned char io_tag[KT_TAG_SIZE])
{
    node_t *node;
    ktp_key_t key;
    bool keep = false;
    size_t i;
    kt_status_t status = copy_node(index, hash, depth, io_tag, &key, &node);

    if (status == KT_SUCCESS && node->data[0] == BRANCH) {
        status = remove_below(index, hash, depth + 1, kt_node_child(node, kt_nibble(hash, depth)));
        keep = has_child(node);
    } else if (status == KT_SUCCESS && find_entry(node->data, node->size, hash, &i)) {
        memmove(entry_at(node, i), entry_at(node, i + 1),
                (kt_leaf_entries(node) - i - 1) * ENTRY_SIZE);
        node->size -= ENTRY_SIZE;
        keep = node->size > 1;
    } else if (status == KT_SUCCESS) {
        status = kt_index_tampered(index, "an entry is missing");
    }
    if (status == KT_SUCCESS && keep) {
        status = kt_node_write(index, &key, node, io_tag);
    } else if (status == KT_SUCCESS) {
        status = kt_rows_remove(index->store, index->txn, &key, node->stamp);
        memset(io_tag, 0, KT_TAG_SIZE);
    }
    free(node);
    return status;
}

kt_status_t kt_index_put(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                         const unsigned char tag[KT_TAG_SIZE])
{
    return kt_node_set(index, hash, tag, 0, index->root);
}

kt_status_t kt_index_remove(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE])
{
    kt_status_t status = remove_below(index, hash, 0, index->root);

    if (status == KT_SUCCESS)
        index->count--;
    return status;
}

kt_status_t kt_index_set(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                         const unsigned char tag[KT_TAG_SIZE])
{
    kt_status_t status = kt_index_put(index, hash, tag);

    return status == KT_SUCCESS ? kt_index_seal(index, index->generation + 1) : status;
}

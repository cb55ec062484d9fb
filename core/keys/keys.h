/* SPDX-License-Identifier: BSD-2-Clause */
/* keys.h: keyrings, where their keys come from, and who holds one. */
#ifndef KT_KEYS_H
#define KT_KEYS_H

#include "base/base.h"
#include "config/config.h"
#include "record.h"

/* Stands for the catalogue of types where types are named: no type is called so. */
#define KT_CATALOGUE_TYPE "@"

typedef struct kt_envkey {
    unsigned epoch;
    unsigned char key[KT_KEY_SIZE];
    unsigned char id[KT_KEYID_SIZE];
} kt_envkey_t;

#define KT_LABEL_MAX 512u /* bytes of a sealed label */
typedef struct kt_typekey {
    char type[KT_NAME_MAX + 1];
    unsigned epoch;
    unsigned char key[KT_KEY_SIZE];
    unsigned char id[KT_KEYID_SIZE];
    unsigned char index_key[KT_KEY_SIZE],
        head_key[KT_KEY_SIZE];           /* derived, as each read needs both */
    unsigned char env_id[KT_KEYID_SIZE]; /* of the environment key that it came from */
    unsigned char label[KT_LABEL_MAX];   /* the type's name, sealed by the environment key */
    size_t label_size;
} kt_typekey_t;

typedef struct kt_keyring {
    uint32_t alive; /* 1; a fork reads 0, because the pages of a context are wiped there */
    char environment[KT_ENVIRONMENT_MAX];
    size_t nenv;                      /* 0: type keys only */
    kt_envkey_t env[KT_EPOCHS_MAX];   /* newest first */
    size_t ntypes, evicted;           /* evicted: how often a full table made room */
    kt_typekey_t types[KT_TYPES_MAX]; /* grows as types are derived; the last member,
                                         because unused pages are not allocated yet */
} kt_keyring_t;

/* Reads the key source of `host`, which is the name of a stream: "nginx", "cli-USER"; guarded
 * memory. KT_CONFIG, KT_PERMISSION, KT_WRONGKEY (another environment), KT_MALFORMED. */
kt_status_t kt_keyring_read(const kt_config_t *config, const char *host,
                            kt_keyring_t **ret_keyring);
/* The same in a running server, where it must neither wait for a command nor ask for a passphrase:
 * KT_NOKEY for those. */
kt_status_t kt_keyring_read_again(const kt_config_t *config, const char *host,
                                  kt_keyring_t **ret_keyring);
kt_status_t kt_keyring_copy(const kt_keyring_t *keyring, bool wipe_on_fork,
                            kt_keyring_t **ret_keyring);
/* The same keyring with the keys of `fresh`, in place: for what points to it. Pointers to its keys
 * are void after it. */
void kt_keyring_update(kt_keyring_t *keyring, const kt_keyring_t *fresh);
void kt_keyring_free(kt_keyring_t *keyring);
kt_status_t kt_keyring_new(const char *environment,
                           kt_keyring_t **ret_keyring); /* empty, inherited by a fork */
kt_status_t kt_keyring_add_env(kt_keyring_t *keyring, unsigned epoch,
                               const unsigned char key[KT_KEY_SIZE]);
kt_status_t kt_keyring_add_type(kt_keyring_t *keyring, const char *type, unsigned epoch,
                                const unsigned char key[KT_KEY_SIZE], const unsigned char *label,
                                size_t label_size);
kt_status_t kt_keyring_parse(const char *path, const char *environment,
                             kt_keyring_t **ret_keyring); /* keyfile.c */
/* The same for root: the file may belong to `owner` instead of the caller. */
kt_status_t kt_keyring_parse_of(const char *path, uid_t owner, const char *environment,
                                kt_keyring_t **ret_keyring);
/* The key of `type` at its n-th epoch, newest first, derived if need be: KT_NOKEY when n is past
 * the last. */
kt_status_t kt_keyring_type(kt_keyring_t *keyring, const char *type, size_t n,
                            const kt_typekey_t **ret_key);
/* The held type key with this id; KT_NOKEY. */
kt_status_t kt_keyring_find(kt_keyring_t *keyring, const unsigned char id[KT_KEYID_SIZE],
                            const kt_typekey_t **ret_key);
/* The type that a label names, opened with the environment key, which is the n-th of the keyring;
 * KT_NOKEY without it. */
kt_status_t kt_label_open(const kt_keyring_t *keyring, const unsigned char *label, size_t size,
                          char ret_type[KT_NAME_MAX + 1], size_t *ret_n);
void kt_name_hash(const kt_typekey_t *key, const char *name, unsigned char ret_hash[KT_HASH_SIZE]);
void kt_secret_key(const kt_typekey_t *key, const char *name,
                   unsigned char ret_key[KT_KEY_SIZE]); /* seals values */
void kt_backup_key(const kt_envkey_t *env,
                   unsigned char ret_key[KT_KEY_SIZE]); /* encrypts backups */
void kt_catalogue_key(const kt_envkey_t *env,
                      unsigned char ret_key[KT_KEY_SIZE]); /* seals the catalogue of types */
void kt_catalogue_mac_key(const kt_envkey_t *env,
                          unsigned char ret_key[KT_KEY_SIZE]); /* MACs its anchors */
void kt_index_key(const kt_typekey_t *key, unsigned char ret_key[KT_KEY_SIZE]); /* MACs the index */
void kt_head_key(const kt_typekey_t *key, unsigned char ret_key[KT_KEY_SIZE]);  /* seals heads */

/* Who reads and writes rows: what a store needs to know of the context that asks. */
typedef struct kt_holder {
    kt_keyring_t *keyring;
    kt_config_t *config;
    char stream[64];    /* its audit log, and so its folder of anchors */
    unsigned wait;      /* ms that a reading transaction may wait to begin: while another process
                           recovers a store after a crash */
    bool missing_epoch; /* a call met a type that has moved to an epoch whose key is not held */
    int64_t keys_read;  /* ms, monotonic, when that made it read its keys again; 0: never */
    kt_logger_t logger;
} kt_holder_t;

/* ---- keygen.c ---- */

/* The environment's keys with one more epoch, and the keys of some types ("a, b"), as new files.
 * KT_NOKEY: the keyring has type keys only; KT_TOOLARGE, KT_USAGE, KT_CONFLICT: the file exists. */
kt_status_t kt_keyring_write_epoch(const kt_keyring_t *keyring, const kt_secret_t *passphrase,
                                   const char *path);
kt_status_t kt_keyring_write_types(kt_keyring_t *keyring, const char *types, const char *path);

/* ---- source.c ---- */

bool kt_source_is_phrase(const kt_config_t *config, const char *host);

/* The entry of `key:` that this host uses, or NULL. */
const kt_cfg_key_t *kt_key_of(const kt_config_t *config, const char *host);

#endif /* KT_KEYS_H */

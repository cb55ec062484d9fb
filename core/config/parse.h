/* SPDX-License-Identifier: BSD-2-Clause */
/* parse.h: what the files of this folder share, and their tests. */
#ifndef KT_PARSE_H
#define KT_PARSE_H

#include "config.h"

#define KT_CONFIG_MAX 1048576u  /* bytes of the file */
#define KT_YAML_DEPTH_MAX 8u    /* maps and lists inside each other */
#define KT_YAML_ITEMS_MAX 4096u /* entries of one map or list */

/* ---- yaml.c: text to a tree that knows its lines ---- */

typedef enum kt_yaml_kind { KT_YAML_TEXT, KT_YAML_LIST, KT_YAML_MAP } kt_yaml_kind_t;
typedef struct kt_yaml {
    kt_yaml_kind_t kind;
    int line;
    bool null;              /* TEXT: nothing, `~` or `null`, not quoted */
    bool quoted;            /* TEXT */
    char *text;             /* TEXT: UTF-8 without NUL inside */
    struct kt_yaml **items; /* LIST: its items; MAP: key, value, key, value ... */
    size_t count;           /* of items */
} kt_yaml_t;

/* One document without anchors, aliases, tags and equal keys, whose keys are text. `path` is only
 * for errors: KT_CONFIG with "PATH:LINE: ...". The caller frees *ret_root. */
kt_status_t kt_yaml_parse(const char *path, const char *data, size_t size, kt_yaml_t **ret_root);
void kt_yaml_free(kt_yaml_t *node);
/* The value at `key` of a map, or NULL. */
const kt_yaml_t *kt_yaml_at(const kt_yaml_t *map, const char *key);

/* ---- text.c ---- */

/* kt_fail(KT_CONFIG) with "PATH:LINE: " in front. */
kt_status_t kt_config_fail(const char *path, int line, const char *format, ...) KT_PRINTF(3, 4);

/* ---- who.c ---- */

/* Can `who`, a pattern, match a subject of any host? Else KT_CONFIG with the nearest kind. */
kt_status_t kt_who_check(const char *path, int line, const char *who);

/* ---- config.c ---- */

/* kt_config_read() of a text in memory. `path` is not opened. */
kt_status_t kt_config_parse(const char *path, const char *data, size_t size,
                            kt_config_t **ret_config);

/* ---- fields.c ---- */

/* The tree to the fields; what it leaves behind after a failure kt_config_unref() frees. */
kt_status_t kt_config_keys(kt_config_t *config, const kt_yaml_t *root);

#endif /* KT_PARSE_H */

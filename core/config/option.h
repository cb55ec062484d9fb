/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * option.h: one row for each option of the configuration. The row is all that there is to say of an
 * option: a new one needs its field in the configuration, its row, and its entry in
 * keyturn.yaml(5), which tests/cli/test_manual.py compares with the row.
 */
#ifndef KT_CONFIG_OPTION_H
#define KT_CONFIG_OPTION_H

#include "parse.h"

#define KT_COMMAND_WORDS 64u /* words of a command */

typedef struct kt_option kt_option_t;

/* How options of one kind are read and freed. */
typedef struct kt_option_kind {
    /* Writes the field. `value` is never null. On failure the field may hold what `release` frees.
     */
    kt_status_t (*read)(kt_config_t *config, const kt_option_t *option, const kt_yaml_t *value,
                        void *field);
    void (*release)(const kt_option_t *option, void *field); /* NULL: there is nothing to free */
} kt_option_kind_t;

struct kt_option {
    const char *name;
    const kt_option_kind_t *kind;    /* NULL: the option belongs to a later version */
    size_t offset;                   /* of the field in the struct that the map is read into */
    const char *preset;              /* is read where the option is missing; NULL: nothing is */
    const char *least, *most;        /* of durations and sizes; `most` of a text: its bytes */
    const char *const *choices;      /* of kt_option_choice, up to NULL */
    const struct kt_option *options; /* of kt_option_map: its rows */
    bool required;
    const char *value, *text; /* keyturn.yaml(5): what stands for the value, and one sentence */
};

/* Kinds, and what their fields are. */
extern const kt_option_kind_t kt_option_text;     /* char * */
extern const kt_option_kind_t kt_option_path;     /* char *, absolute */
extern const kt_option_kind_t kt_option_bool;     /* bool */
extern const kt_option_kind_t kt_option_duration; /* int64_t, ms */
extern const kt_option_kind_t kt_option_size;     /* size_t, bytes */
extern const kt_option_kind_t kt_option_choice;   /* an enum, or unsigned: index in `choices` */
extern const kt_option_kind_t kt_option_command;  /* char **, NULL after the last word */
extern const kt_option_kind_t kt_option_list;     /* char **, NULL after the last text */
extern const kt_option_kind_t kt_option_map;      /* the struct that `options` describe */
extern const kt_option_kind_t kt_option_switch;   /* kt_config_t: routes.c */
extern const kt_option_kind_t kt_option_targets;  /* kt_config_t: targets.c */
extern const kt_option_kind_t kt_option_sinks;    /* kt_config_t: audit_sinks.c */

/* The options of the whole file (fields.c), of one target (targets.c) and of its `redis`
 * (target_redis.c). Tables end with a row without a name. */
extern const kt_option_t kt_config_options[], kt_target_options[], kt_redis_options[];
/* What the table cannot say; completes `redis`. */
kt_status_t kt_redis_check(const kt_config_t *config, const kt_yaml_t *pattern,
                           kt_cfg_redis_t *redis);

/* Reads a map by its table, in the order of the table. `what` names the map in errors. */
kt_status_t kt_options_read(kt_config_t *config, const char *what, const kt_yaml_t *map,
                            const kt_option_t *options, void *into);
void kt_options_release(const kt_option_t *options, void *from);

/* What other kinds are made of. */
kt_status_t kt_option_check_text(const kt_config_t *config, const char *key,
                                 const kt_yaml_t *value);
kt_status_t kt_option_read_text(kt_config_t *config, const kt_option_t *option,
                                const kt_yaml_t *value, void *field);
void kt_option_release_text(const kt_option_t *option, void *field);
/* KT_CONFIG: `text` is not among `names`, which end with NULL. */
kt_status_t kt_option_unknown(const kt_config_t *config, const char *what, const kt_yaml_t *text,
                              const char *const *names);
/* Splits a command at blanks; the first word is an absolute path. *ret_argv is to be freed by
 * kt_command_free() after a failure too. */
kt_status_t kt_command_split(const kt_config_t *config, const char *what, int line,
                             const char *text, char ***ret_argv);
void kt_command_free(char **argv);

/* The default of `switch`. */
kt_status_t kt_config_default_route(kt_config_t *config);

#endif /* KT_CONFIG_OPTION_H */

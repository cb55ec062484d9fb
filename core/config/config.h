/* SPDX-License-Identifier: BSD-2-Clause */
/* config.h: the configuration as all others see it. parse.h is for this
 * folder. */
#ifndef KT_CONFIG_H
#define KT_CONFIG_H

#include <stdatomic.h>

#include "base/base.h"

#define KT_STATUSES 20u
typedef struct kt_cfg_option {
    char *name, *text; /* in a map: MAP.NAME. Of a list: a newline between two */
    bool list;
    int line;
} kt_cfg_option_t;

typedef struct kt_cfg_provider {
    char *name;
    int line;
    kt_cfg_option_t *options;
    size_t noptions;
} kt_cfg_provider_t;

typedef struct kt_cfg_step {
    size_t provider;         /* index in providers */
    bool go_on[KT_STATUSES]; /* by kt_status_t: continue with the next step */
} kt_cfg_step_t;

typedef struct kt_cfg_route {
    char *pattern;
    int line;
    kt_cfg_step_t *steps;
    size_t nsteps;
} kt_cfg_route_t;

typedef struct kt_cfg_rule {
    char *who;            /* pattern of subjects */
    unsigned allow, deny; /* KT_CAP_* */
    char **names;         /* patterns */
    size_t nnames;
    int line;
} kt_cfg_rule_t;

typedef struct kt_cfg_key {
    char *host;   /* or "cli-USER"; NULL: any */
    char *source; /* "file:/etc/keyturn/production.key" */
    int line;
} kt_cfg_key_t;

/* An ACL user of Redis servers whose password is the secret. Lists end with NULL. */
typedef struct kt_cfg_redis {
    char *user, **servers;        /* servers NULL: there is no such target */
    char *admin, *admin_password; /* NULL: the user itself. A secret's name, or "file:PATH" */
    char *ca, *cert, *key, *name; /* of TLS; NULL: not given */
    char **sentinels, *master;    /* NULL: none; their only one */
    int64_t overlap, timeout;     /* ms */
    bool save, masterauth, requirepass;
} kt_cfg_redis_t;

typedef struct kt_cfg_target {
    char *pattern;         /* of names; the first that matches counts */
    char **exec, **notify; /* words of a command, ends with NULL; NULL: none */
    bool old, whole, test; /* gets the current value too, whole values, is asked by a `test` step */
    char *webhook, *webhook_key,
        *webhook_ca; /* URL, name of the secret that signs, file of certificates; NULL: none */
    int64_t timeout; /* ms, of one run */
    kt_cfg_redis_t redis;
    int line;
} kt_cfg_target_t;

typedef enum kt_send { KT_SEND_ALERTS, KT_SEND_SEALS, KT_SEND_ALL } kt_send_t;
typedef struct kt_cfg_sink {
    char *text;   /* "syslog:auth", "exec:/path/command" */
    char **argv;  /* of exec, ends with NULL; NULL: syslog */
    char *socket; /* of syslog */
    int facility;
    int line;
} kt_cfg_sink_t;

typedef struct kt_config {
    atomic_uint refs;
    char *path;   /* absolute */
    char *folder; /* of path; relative paths start there */
    char environment[KT_ENVIRONMENT_MAX];
    kt_cfg_key_t *keys;
    size_t nkeys;
    kt_cfg_provider_t *providers;
    size_t nproviders;
    kt_cfg_route_t *routes;
    size_t nroutes;
    kt_cfg_rule_t *rules;
    size_t nrules;
    kt_member_fn is_member; /* of the host; NULL: it has no groups */
    void *member_arg;
    kt_cfg_target_t *targets;
    size_t ntargets;
    int64_t cache_ttl, cache_negative, cache_stale; /* ms */
    size_t cache_size;                              /* bytes */
    char *audit_path;
    bool audit_required;
    int64_t audit_reads;      /* ms; 0: every read has its line */
    int64_t audit_checkpoint; /* ms between two of them */
    size_t audit_rotate;      /* bytes of a log; a longer one is closed, and another one begun */
    int64_t audit_keep;       /* ms that a closed log is kept */
    kt_cfg_sink_t *sinks;
    size_t nsinks;
    kt_send_t send;           /* what goes to them */
    unsigned memory_required; /* secret_memory: 1 is require */
} kt_config_t;

/* KT_CONFIG with "FILE:LINE: ...", or if it is missing; KT_PERMISSION if it cannot be opened or
 * others may write it. */
kt_status_t kt_config_read(const char *path, kt_config_t **ret_config);
kt_config_t *kt_config_ref(kt_config_t *config);
void kt_config_unref(kt_config_t *config);
/* "300s", "12h", "90d", "250ms", "0" to milliseconds; -1. */
int64_t kt_duration_parse(const char *text);
/* "critical", "weekly", "90d" ...: how often a secret is rotated, in ms; -1: not a schedule. */
int64_t kt_schedule_parse(const char *text);
int64_t kt_size_parse(const char *text); /* "4M", "512K", "100000" to bytes; -1 */
/* The target of this name, or NULL. */
const kt_cfg_target_t *kt_config_target(const kt_config_t *config, const char *name);
/* Does it have to learn a new value, or is it only notified? */
bool kt_config_has_target(const kt_cfg_target_t *target);
/* The names of such targets, as they are noted with versions: "exec:/path", "redis:app". */
#define KT_TARGET_EXEC "exec:"
#define KT_TARGET_REDIS "redis:"
void kt_config_target_label(const kt_cfg_target_t *target, char *label, size_t size);
/* Does a version's note name such a target, and not a server that a host manages? */
bool kt_config_is_target(const char *noted);
/* `path` itself if absolute, else below the configuration's folder; malloc'ed. */
char *kt_config_resolve(const kt_config_t *config, const char *path);

#include "policy.h"

#endif /* KT_CONFIG_H */

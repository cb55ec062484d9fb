/* SPDX-License-Identifier: BSD-2-Clause */
/* provider.h: the plug-ins, what the core lends them, and what they answer. */
#ifndef KT_PROVIDER_H
#define KT_PROVIDER_H

#include <limits.h>
#include <stdatomic.h>

#include "base/base.h"
#include "config/config.h"

/* ---- loader.c ---- */

#define KT_KEEP_VERSIONS "keep_versions" /* an option of every provider that keeps versions ... */
#define KT_KEPT 10u                      /* ... and of those that lack it */

typedef struct kt_module {
    const ktp_provider_t *api;
    const kt_cfg_provider_t *config;
    ktp_option_t *options; /* resolved, checked; secrets in locked memory */
    size_t noptions;
    const kt_config_t *of;   /* the configuration that the module belongs to */
    char **environment;      /* of kt_modules_t, with KTP_ENVIRONMENT; else NULL */
    size_t nvariables;       /* of it */
    ktp_services_t services; /* the host of which is the module */
} kt_module_t;

typedef struct kt_modules {
    atomic_uint refs;
    char **environment; /* NULL: no provider needs it */
    size_t nvariables;
    size_t count;
    kt_module_t *list; /* one for each provider of the configuration, in its order */
} kt_modules_t;

/* The folder of providers and of what helps them, and who owns this library. */
kt_status_t kt_provider_folder(char folder[PATH_MAX], uid_t *ret_owner);
kt_status_t kt_modules_load(const kt_config_t *config, kt_modules_t **ret_modules);
kt_modules_t *kt_modules_ref(kt_modules_t *modules);
void kt_modules_unref(kt_modules_t *modules);
/* reserve() of a provider that has it; one that cannot keep space free promises none. */
ktp_status_t kt_provider_reserve(const ktp_provider_t *api, ktp_txn_t *txn, uint64_t bytes);
/* expire() of a provider that has it; for the others the sealed head is all. */
ktp_status_t kt_provider_expire(const ktp_provider_t *api, ktp_txn_t *txn, const ktp_key_t *key,
                                int64_t when);

/* account() of the provider of this name, which need not be configured. KT_CONFIG: it cannot be
 * loaded, or has none; KT_PERMISSION. */
typedef ktp_status_t (*kt_account_fn)(const ktp_services_t *services, const ktp_account_t *account,
                                      ktp_account_step_t step);
kt_status_t kt_provider_account(const char *name, kt_account_fn *ret_account);
/* publish() of a provider that has it, else commit(). */
ktp_status_t kt_provider_publish(const ktp_provider_t *api, ktp_txn_t *txn);
/* sync() of a provider that has it: without publish() there is nothing to sync. */
ktp_status_t kt_provider_sync(const ktp_provider_t *api, ktp_instance_t *instance);

/* ---- options.c ---- */

/* Resolves and checks what is configured for the module. KT_CONFIG names file and line. */
kt_status_t kt_options_set(const kt_config_t *config, kt_module_t *module);
void kt_options_free(kt_module_t *module);
/* Puts the place in the configuration before the failure's text. Returns `status`. */
kt_status_t kt_options_at(const kt_config_t *config, int line, kt_status_t status);
/* The service `secret`. */
ktp_status_t kt_options_secret(void *host, const char *name, size_t index, ktp_buffer_t *ret_value);

/* ---- environment.c ---- */

#define KT_ENVIRONMENT_SIZE (256u * 1024u) /* bytes of a copy, its list included */
/* A copy of this process's environment in secret memory, for kt_locked_free(). No other thread may
 * change the environment meanwhile. KT_CONFIG: too large; KT_INTERNAL. */
kt_status_t kt_environment_copy(char ***ret_environment, size_t *ret_count);
/* The service `variable`. */
const char *kt_environment_service(void *host, size_t index);

/* ---- services.c, http.c ---- */

/* All but those that the loader adds, because they are a module's own: `secret`, `variable`. */
const ktp_services_t *kt_services(void);
ktp_status_t kt_http(void *host, ktp_http_t *exchange);

/* ---- command.c ---- */

/* The service `run`. */
ktp_status_t kt_command_service(void *host, ktp_command_t *command);

/* ---- answer.c: what the provider said last on this thread ---- */

/* Nothing yet. The logger takes this thread's debug lines until this is called with NULL. */
void kt_provider_begin(const kt_logger_t *logger);
const kt_logger_t *kt_provider_logger(void);
bool kt_provider_interrupted(void); /* shall the call that runs give up? */
/* The service `error` of a provider, and of what answers in its place. */
void kt_provider_say(void *host, const char *format, ...) KT_PRINTF(2, 3);
const char *kt_provider_error(void); /* "" if nothing */
void kt_provider_error_clear(void);
/* The answer of the provider called `name` as ours; one out of range is KT_MALFORMED. Sets a text
 * if the provider gave none. */
kt_status_t kt_from_provider(const char *name, ktp_status_t status);

#endif /* KT_PROVIDER_H */


/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_keyturn_tls.h"
#include "ngx_keyturn_stat.h"


#define NGX_KEYTURN_STRICT  0
#define NGX_KEYTURN_WARN    1


typedef struct {
    ngx_str_t              path;
    kt_setup_t            *setup;
    ngx_msec_t             left;       /* that the master may wait for it */
    ngx_uint_t             check;      /* "secret_check" */
    time_t                 loaded;
    ngx_shm_zone_t        *zone;       /* of counts, or NULL */

    ngx_array_t            require;    /* of ngx_keyturn_require_t */
    ngx_keyturn_secret_t  *first;

    unsigned               warned:1;   /* of the debug log */
} ngx_keyturn_conf_t;


typedef struct {
    kt_ctx_t              *ctx;
    ngx_keyturn_agent_t   *agent;
    pthread_t              trail;
    time_t                 retry;

    unsigned               recording:1;  /* the thread "trail" runs */
} ngx_keyturn_process_t;


static void ngx_keyturn_open(ngx_keyturn_conf_t *kcf, ngx_log_t *log);
static void ngx_keyturn_close(ngx_log_t *log);
static void ngx_keyturn_log(void *arg, int level, const char *text);
static void ngx_keyturn_cleanup(void *data);
static void *ngx_keyturn_create_conf(ngx_cycle_t *cycle);
static char *ngx_keyturn_init_conf(ngx_cycle_t *cycle, void *conf);
static void ngx_keyturn_warn_debug(ngx_cycle_t *cycle);
static char *ngx_keyturn_config(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_keyturn_init_process(ngx_cycle_t *cycle);
static void ngx_keyturn_exit_process(ngx_cycle_t *cycle);


static ngx_conf_enum_t  ngx_keyturn_checks[] = {
    { ngx_string("strict"), NGX_KEYTURN_STRICT },
    { ngx_string("warn"), NGX_KEYTURN_WARN },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_keyturn_commands[] = {

    { ngx_string("keyturn_config"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_keyturn_config,
      0,
      0,
      NULL },

    { ngx_string("secret_check"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      0,
      offsetof(ngx_keyturn_conf_t, check),
      &ngx_keyturn_checks },

      ngx_null_command
};


static ngx_core_module_t  ngx_keyturn_module_ctx = {
    ngx_string("keyturn"),
    ngx_keyturn_create_conf,               /* create configuration */
    ngx_keyturn_init_conf                  /* init configuration */
};


ngx_module_t  ngx_keyturn_module = {
    NGX_MODULE_V1,
    &ngx_keyturn_module_ctx,               /* module context */
    ngx_keyturn_commands,                  /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_keyturn_init_process,              /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_keyturn_exit_process,              /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_keyturn_process_t  ngx_keyturn_process;


ngx_int_t
ngx_keyturn_require(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *subject)
{
    ngx_uint_t              i;
    ngx_keyturn_conf_t     *kcf;
    ngx_keyturn_require_t  *require;

    kcf = (ngx_keyturn_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                              ngx_keyturn_module);

    require = kcf->require.elts;

    for (i = 0; i < kcf->require.nelts; i++) {
        if (require[i].secret == secret && require[i].subject == subject) {
            return NGX_OK;
        }
    }

    require = ngx_array_push(&kcf->require);
    if (require == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(require, sizeof(ngx_keyturn_require_t));

    require->secret = secret;
    require->subject = subject;

    return NGX_OK;
}


void
ngx_keyturn_use(ngx_cycle_t *cycle, ngx_keyturn_secret_t *secret,
    ngx_log_t *log)
{
    ngx_keyturn_conf_t  *kcf;

    kcf = (ngx_keyturn_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                              ngx_keyturn_module);

    if (kcf->first == NULL) {
        kcf->first = secret;
    }

    for ( /* void */ ; log && !kcf->warned; log = log->next) {

        if (log->log_level & NGX_LOG_DEBUG_ALL) {
            ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                          "error_log of level \"debug\" shows secrets, "
                          "as nginx writes headers and parameters into it");
            kcf->warned = 1;
        }
    }
}


char *
ngx_keyturn_count(ngx_conf_t *cf)
{
    ngx_keyturn_conf_t  *kcf;

    kcf = (ngx_keyturn_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                              ngx_keyturn_module);

    kcf->zone = ngx_keyturn_stat_zone(cf);

    return kcf->zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


ngx_array_t *
ngx_keyturn_requires(ngx_cycle_t *cycle)
{
    ngx_keyturn_conf_t  *kcf;

    kcf = (ngx_keyturn_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                              ngx_keyturn_module);
    return &kcf->require;
}


ngx_str_t *
ngx_keyturn_path(ngx_cycle_t *cycle)
{
    ngx_keyturn_conf_t  *kcf;

    kcf = (ngx_keyturn_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                              ngx_keyturn_module);
    return &kcf->path;
}


time_t
ngx_keyturn_loaded(ngx_cycle_t *cycle)
{
    ngx_keyturn_conf_t  *kcf;

    kcf = (ngx_keyturn_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                              ngx_keyturn_module);
    return kcf->loaded;
}


kt_ctx_t *
ngx_keyturn_ctx(ngx_log_t *log)
{
    ngx_keyturn_conf_t  *kcf;

    if (ngx_keyturn_process.ctx) {
        return ngx_keyturn_process.ctx;
    }

    kcf = (ngx_keyturn_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                              ngx_keyturn_module);

    if (ngx_time() > ngx_keyturn_process.retry) {
        ngx_keyturn_open(kcf, log);
    }

    return ngx_keyturn_process.ctx;
}


ngx_int_t
ngx_keyturn_refresh(kt_request_t *req, ngx_keyturn_wait_t *wait,
    ngx_log_t *log)
{
    ngx_keyturn_process_t  *process;

    process = &ngx_keyturn_process;

    if (process->ctx == NULL) {
        return NGX_ERROR;
    }

    if (process->agent == NULL) {
        process->agent = ngx_keyturn_agent_create(process->ctx, log);

        if (process->agent == NULL) {
            return NGX_ERROR;
        }
    }

    ngx_keyturn_stat_touch();

    return ngx_keyturn_agent_post(process->agent, req, wait);
}


void
ngx_keyturn_wait(ngx_msec_t ms)
{
    if (ngx_keyturn_process.agent) {
        ngx_keyturn_agent_wait(ngx_keyturn_process.agent, ms);
    }
}


void
ngx_keyturn_cancel(ngx_keyturn_wait_t *wait)
{
    if (wait->queued) {
        ngx_keyturn_agent_cancel(wait);
    }
}


static void
ngx_keyturn_open(ngx_keyturn_conf_t *kcf, ngx_log_t *log)
{
    ngx_keyturn_process.retry = ngx_time();

    if (kcf->setup == NULL) {
        return;
    }

    kt_setup_log(kcf->setup, ngx_keyturn_log, NULL);

    if (kt_open(kcf->setup, &ngx_keyturn_process.ctx) != KT_SUCCESS) {
        ngx_log_error(NGX_LOG_EMERG, log, 0,
                      "no secret can be served: %s (%s)",
                      kt_setup_error(kcf->setup),
                      kt_status_name(kt_setup_status(kcf->setup)));
        return;
    }

    ngx_keyturn_stat_context(ngx_keyturn_process.ctx);

    /* without the thread, requests write the trail down themselves */

    if (ngx_keyturn_trail_start(&ngx_keyturn_process.trail,
                                ngx_keyturn_process.ctx, log)
        == NGX_OK)
    {
        ngx_keyturn_process.recording = 1;
    }

    /* the context has keys of its own; a process need not hold them twice */

    kt_setup_free(kcf->setup);
    kcf->setup = NULL;
}


static void
ngx_keyturn_close(ngx_log_t *log)
{
    kt_ctx_t             *ctx;
    ngx_uint_t            left;
    ngx_keyturn_agent_t  *agent;

    left = 0;
    ctx = ngx_keyturn_process.ctx;
    agent = ngx_keyturn_process.agent;

    ngx_keyturn_process.ctx = NULL;
    ngx_keyturn_process.agent = NULL;
    ngx_keyturn_stat_context(NULL);

    if (agent && ngx_keyturn_agent_destroy(agent) == NGX_AGAIN) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "a provider does not answer, its thread is abandoned");
        left = 1;
    }

    if (ngx_keyturn_process.recording) {
        ngx_keyturn_process.recording = 0;

        kt_audit_stop(ctx);

        if (ngx_keyturn_thread_join(ngx_keyturn_process.trail) == NGX_AGAIN) {
            ngx_log_error(NGX_LOG_ERR, log, 0,
                          "the audit trail is not written, "
                          "its thread is abandoned");
            left = 1;
        }
    }

    if (!left) {
        kt_close(ctx);
    }
}


static void
ngx_keyturn_log(void *arg, int level, const char *text)
{
    ngx_log_t  *log;

    log = arg ? arg : ngx_cycle->log;

    /* the levels of syslog are those of nginx less one */

    ngx_log_error((ngx_uint_t) level + 1, log, 0, "keyturn: %s", text);
}


static void
ngx_keyturn_cleanup(void *data)
{
    ngx_keyturn_conf_t  *kcf = data;

    kt_setup_free(kcf->setup);
    kcf->setup = NULL;
}


static void *
ngx_keyturn_create_conf(ngx_cycle_t *cycle)
{
    ngx_keyturn_conf_t  *kcf;

    kcf = ngx_pcalloc(cycle->pool, sizeof(ngx_keyturn_conf_t));
    if (kcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&kcf->require, cycle->pool, 4,
                       sizeof(ngx_keyturn_require_t))
        != NGX_OK)
    {
        return NULL;
    }

    kcf->left = NGX_KEYTURN_PATIENCE;
    kcf->loaded = ngx_time();
    kcf->check = NGX_CONF_UNSET_UINT;

    return kcf;
}


/* "keyturn_config" may follow http{}, so this is where all is known */

static char *
ngx_keyturn_init_conf(ngx_cycle_t *cycle, void *conf)
{
    ngx_keyturn_conf_t  *kcf = conf;

    ngx_core_conf_t      *ccf;
    ngx_keyturn_check_t   check;

    /* "nginx -s stop" needs no secret */

    if (kcf->first == NULL || ngx_process == NGX_PROCESS_SIGNALLER) {
        return NGX_CONF_OK;
    }

    if (kcf->setup == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"%V\" needs \"keyturn_config\" in the main "
                      "context in %s:%ui",
                      &kcf->first->directive, kcf->first->file, kcf->first->line);
        return NGX_CONF_ERROR;
    }

    ngx_keyturn_use(cycle, kcf->first, &cycle->new_log);
    ngx_keyturn_warn_debug(cycle);

    kt_setup_log(kcf->setup, ngx_keyturn_log, cycle->log);

    check.setup = kcf->setup;
    check.requires = &kcf->require;
    check.left = kcf->left;
    check.warn = (kcf->check == NGX_KEYTURN_WARN);

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    check.workers = ngx_max(ccf->worker_processes, 1);

    if (ngx_keyturn_check(cycle, &check) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void
ngx_keyturn_warn_debug(ngx_cycle_t *cycle)
{
#if (NGX_DEBUG)

    ngx_event_conf_t  *ecf;

    if (ngx_get_conf(cycle->conf_ctx, ngx_events_module) == NULL) {
        return;
    }

    ecf = ngx_event_get_conf(cycle->conf_ctx, ngx_event_core_module);

    if (ecf->debug_connection.nelts) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "\"debug_connection\" shows secrets of these clients, "
                      "as nginx writes headers and parameters into its log");
    }

#endif
}


static char *
ngx_keyturn_config(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_keyturn_conf_t  *kcf = conf;

    ngx_int_t            rc;
    ngx_str_t           *value;
    kt_status_t          status;
    ngx_pool_cleanup_t  *cln;

    if (kcf->path.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    kcf->path = value[1];

    if (ngx_conf_full_name(cf->cycle, &kcf->path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_process == NGX_PROCESS_SIGNALLER) {
        return NGX_CONF_OK;
    }

    cln = ngx_pool_cleanup_add(cf->cycle->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_keyturn_cleanup;
    cln->data = kcf;

    rc = ngx_keyturn_read_setup(cf->cycle, &kcf->path, &kcf->left, &kcf->setup,
                                &status);

    if (rc == NGX_ABORT) {
        ngx_keyturn_give_way(cf->cycle);
        return NGX_CONF_ERROR;
    }

    if (rc == NGX_AGAIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "keyturn: the key could not be read within %d s",
                           NGX_KEYTURN_PATIENCE / 1000);
        return NGX_CONF_ERROR;
    }

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (status != KT_SUCCESS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "keyturn: %s (%s)",
                           kcf->setup ? kt_setup_error(kcf->setup)
                                      : kt_status_text(status),
                           kt_status_name(status));
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_keyturn_init_process(ngx_cycle_t *cycle)
{
    ngx_keyturn_conf_t  *kcf;

    kcf = (ngx_keyturn_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                              ngx_keyturn_module);

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        /* the cache manager and loader need no keys */

        ngx_keyturn_cleanup(kcf);
        return NGX_OK;
    }

    ngx_keyturn_stat_start(kcf->zone);

    if (kcf->first) {
        ngx_keyturn_open(kcf, cycle->log);
        ngx_keyturn_tls_process.start(&kcf->require, cycle->log);
    }

    /* an error here would leave the site without worker processes */

    return NGX_OK;
}


static void
ngx_keyturn_exit_process(ngx_cycle_t *cycle)
{
    ngx_keyturn_close(cycle->log);
    ngx_keyturn_tls_process.stop();
}


/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * What can be known when the configuration has been read, and would show a
 * secret: a certificate of "data:$variable", which no handshake could use; a
 * log of rewrites; a connection to an upstream whose certificate is not
 * verified.
 *
 * Whether a location passes requests on through TLS stands in a private
 * structure of each module.  The scheme is seen when the directive is: for as
 * long as http{} is read, the handler of "proxy_pass" and its like is one that
 * notes "https://" and calls theirs.  Flags are read by the offset that a
 * module's table of directives has.
 */


#include "ngx_http_keyturn_module.h"


typedef struct {
    const char              *module;
    const char              *pass;
    const char              *scheme;
    const char              *verify;

    ngx_module_t            *found;
    ngx_command_t           *command;
    char                  *(*set)(ngx_conf_t *cf, ngx_command_t *cmd,
                                  void *conf);
} ngx_http_keyturn_guard_t;


typedef struct {
    void                     **conf;     /* of the location, by module */
    ngx_http_keyturn_guard_t  *guard;
    u_char                    *file;
    ngx_uint_t                 line;
} ngx_http_keyturn_pass_t;


typedef struct {
    void                     **conf;
    ngx_keyturn_secret_t      *secret;   /* that rewrite may use */
} ngx_http_keyturn_place_t;


static char *ngx_http_keyturn_guard_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void ngx_http_keyturn_guard_restore(void *data);
static ngx_module_t *ngx_http_keyturn_guard_module(ngx_conf_t *cf,
    const char *name);
static ngx_command_t *ngx_http_keyturn_guard_command(ngx_module_t *module,
    const char *name);
static ngx_flag_t ngx_http_keyturn_guard_flag(void **conf,
    ngx_module_t *module, const char *name);
static void ngx_http_keyturn_guard_passes(ngx_conf_t *cf,
    ngx_array_t *passes);
static void ngx_http_keyturn_guard_places(ngx_conf_t *cf,
    ngx_array_t *places);
static ngx_int_t ngx_http_keyturn_guard_servers(ngx_conf_t *cf);
static ngx_int_t ngx_http_keyturn_guard_values(ngx_conf_t *cf,
    ngx_array_t *values, const char *directive);


static ngx_http_keyturn_guard_t  ngx_http_keyturn_guards[] = {

    { "ngx_http_proxy_module", "proxy_pass", "https://", "proxy_ssl_verify",
      NULL, NULL, NULL },

    { "ngx_http_grpc_module", "grpc_pass", "grpcs://", "grpc_ssl_verify",
      NULL, NULL, NULL },

    { "ngx_http_uwsgi_module", "uwsgi_pass", "suwsgi://", "uwsgi_ssl_verify",
      NULL, NULL, NULL },

    { NULL, NULL, NULL, NULL, NULL, NULL, NULL }
};


ngx_int_t
ngx_http_keyturn_guard_start(ngx_conf_t *cf)
{
    ngx_pool_cleanup_t            *cln;
    ngx_http_keyturn_guard_t      *guard;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    if (ngx_array_init(&kmcf->passes, cf->pool, 4,
                       sizeof(ngx_http_keyturn_pass_t))
        != NGX_OK
        || ngx_array_init(&kmcf->locations, cf->pool, 4, sizeof(void **))
           != NGX_OK
        || ngx_array_init(&kmcf->places, cf->pool, 4,
                          sizeof(ngx_http_keyturn_place_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* a configuration that fails, or leaves out this module, must find them */

    cln = ngx_pool_cleanup_add(cf->cycle->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_keyturn_guard_restore;

    for (guard = ngx_http_keyturn_guards; guard->module; guard++) {
        guard->found = ngx_http_keyturn_guard_module(cf, guard->module);

        if (guard->found == NULL) {
            continue;
        }

        guard->command = ngx_http_keyturn_guard_command(guard->found,
                                                        guard->pass);

        if (guard->command
            && guard->command->set != ngx_http_keyturn_guard_set)
        {
            guard->set = guard->command->set;
            guard->command->set = ngx_http_keyturn_guard_set;
        }
    }

    return NGX_OK;
}


static char *
ngx_http_keyturn_guard_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    size_t                         len;
    ngx_str_t                     *value;
    ngx_http_conf_ctx_t           *ctx;
    ngx_http_keyturn_pass_t       *pass;
    ngx_http_keyturn_guard_t      *guard;
    ngx_http_keyturn_main_conf_t  *kmcf;

    for (guard = ngx_http_keyturn_guards; guard->command != cmd; guard++) {
        /* one of them is */
    }

    value = cf->args->elts;
    len = ngx_strlen(guard->scheme);

    if (value[1].len > len
        && ngx_strncasecmp(value[1].data, (u_char *) guard->scheme, len) == 0)
    {
        kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

        pass = ngx_array_push(&kmcf->passes);
        if (pass == NULL) {
            return NGX_CONF_ERROR;
        }

        ctx = cf->ctx;

        pass->conf = ctx->loc_conf;
        pass->guard = guard;
        pass->file = cf->conf_file->file.name.data;
        pass->line = cf->conf_file->line;
    }

    return guard->set(cf, cmd, conf);
}


static void
ngx_http_keyturn_guard_restore(void *data)
{
    ngx_http_keyturn_guard_t  *guard;

    for (guard = ngx_http_keyturn_guards; guard->module; guard++) {

        if (guard->command
            && guard->command->set == ngx_http_keyturn_guard_set)
        {
            guard->command->set = guard->set;
        }

        guard->command = NULL;
    }
}


static ngx_module_t *
ngx_http_keyturn_guard_module(ngx_conf_t *cf, const char *name)
{
    ngx_uint_t  i;

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (ngx_strcmp(cf->cycle->modules[i]->name, name) == 0) {
            return cf->cycle->modules[i];
        }
    }

    return NULL;
}


static ngx_command_t *
ngx_http_keyturn_guard_command(ngx_module_t *module, const char *name)
{
    ngx_command_t  *cmd;

    for (cmd = module->commands; cmd && cmd->name.len; cmd++) {
        if (ngx_strcmp(cmd->name.data, name) == 0) {
            return cmd;
        }
    }

    return NULL;
}


/* 0 also if there is no such directive: nginx was built without TLS */

static ngx_flag_t
ngx_http_keyturn_guard_flag(void **conf, ngx_module_t *module,
    const char *name)
{
    ngx_command_t  *cmd;

    cmd = ngx_http_keyturn_guard_command(module, name);

    if (cmd == NULL || cmd->set != ngx_conf_set_flag_slot
        || conf[module->ctx_index] == NULL)
    {
        return 0;
    }

    return *(ngx_flag_t *) ((char *) conf[module->ctx_index] + cmd->offset);
}


/* all blocks have been merged */

ngx_int_t
ngx_http_keyturn_guard_end(ngx_conf_t *cf)
{
    ngx_http_keyturn_main_conf_t  *kmcf;

    ngx_http_keyturn_guard_restore(NULL);

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    ngx_http_keyturn_guard_passes(cf, &kmcf->passes);
    ngx_http_keyturn_guard_places(cf, &kmcf->places);

    return ngx_http_keyturn_guard_servers(cf);
}


static void
ngx_http_keyturn_guard_passes(ngx_conf_t *cf, ngx_array_t *passes)
{
    ngx_uint_t                    i;
    ngx_http_keyturn_pass_t      *pass;
    ngx_http_keyturn_entry_t     *entry;
    ngx_http_keyturn_loc_conf_t  *klcf;

    pass = passes->elts;

    for (i = 0; i < passes->nelts; i++) {
        klcf = pass[i].conf[ngx_http_keyturn_module.ctx_index];

        if (klcf == NULL || klcf->entries == NULL
            || klcf->entries->nelts == 0
            || ngx_http_keyturn_guard_flag(pass[i].conf,
                                           pass[i].guard->found,
                                           pass[i].guard->verify)
               == 1)
        {
            continue;
        }

        entry = klcf->entries->elts;

        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"%V\" may be sent to an upstream whose certificate is "
                      "not verified (\"%s on\" verifies it) in %s:%ui",
                      &entry->secret->label, pass[i].guard->verify,
                      pass[i].file, pass[i].line);
    }
}


/* other modules may not have merged this block, so its flags are read later */

ngx_int_t
ngx_http_keyturn_guard_add(ngx_conf_t *cf, ngx_keyturn_secret_t *secret)
{
    ngx_http_conf_ctx_t           *ctx;
    ngx_http_keyturn_place_t      *place;
    ngx_http_keyturn_main_conf_t  *kmcf;

    if (secret->scope != NGX_KEYTURN_SCOPE_REQUEST) {
        return NGX_OK;
    }

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    place = ngx_array_push(&kmcf->places);
    if (place == NULL) {
        return NGX_ERROR;
    }

    ctx = cf->ctx;

    place->conf = ctx->loc_conf;
    place->secret = secret;

    return NGX_OK;
}


static void
ngx_http_keyturn_guard_places(ngx_conf_t *cf, ngx_array_t *places)
{
    ngx_uint_t                 i;
    ngx_module_t              *module;
    ngx_http_keyturn_place_t  *place;

    module = ngx_http_keyturn_guard_module(cf, "ngx_http_rewrite_module");

    if (module == NULL) {
        return;
    }

    place = places->elts;

    for (i = 0; i < places->nelts; i++) {

        if (ngx_http_keyturn_guard_flag(place[i].conf, module, "rewrite_log")
            != 1)
        {
            continue;
        }

        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"rewrite_log on\" shows \"%V\" where a directive of "
                      "rewrite uses it in %s:%ui",
                      &place[i].secret->label, place[i].secret->file,
                      place[i].secret->line);
        return;
    }
}


static ngx_int_t
ngx_http_keyturn_guard_servers(ngx_conf_t *cf)
{
#if (NGX_HTTP_SSL)

    ngx_uint_t                   i;
    ngx_module_t                *module;
    ngx_http_ssl_srv_conf_t     *sscf;
    ngx_http_core_srv_conf_t   **cscfp;
    ngx_http_core_main_conf_t   *cmcf;

    module = ngx_http_keyturn_guard_module(cf, "ngx_http_ssl_module");

    if (module == NULL) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    cscfp = cmcf->servers.elts;

    for (i = 0; i < cmcf->servers.nelts; i++) {
        sscf = cscfp[i]->ctx->srv_conf[module->ctx_index];

        if (ngx_http_keyturn_guard_values(cf, sscf->certificate_values,
                                          "ssl_certificate")
            != NGX_OK
            || ngx_http_keyturn_guard_values(cf, sscf->certificate_key_values,
                                             "ssl_certificate_key")
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

#endif

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_guard_values(ngx_conf_t *cf, ngx_array_t *values,
    const char *directive)
{
    ngx_uint_t                     i, n;
    ngx_http_complex_value_t      *cv;
    ngx_http_keyturn_variable_t   *kv;
    ngx_http_keyturn_main_conf_t  *kmcf;

    if (values == NULL) {
        return NGX_OK;
    }

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    kv = kmcf->variables.elts;
    cv = values->elts;

    for (i = 0; i < values->nelts; i++) {
        for (n = 0; n < kmcf->variables.nelts; n++) {

            if (ngx_keyturn_text_names(&cv[i].value, &kv[n].name)) {
                ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                              "\"%s %V\": a handshake cannot have a secret of "
                              "\"secret_get\", use \"secret_ssl_certificate\"",
                              directive, &cv[i].value);
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}

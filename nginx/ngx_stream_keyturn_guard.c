
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * Warns of a server block whose upstream is not verified.  The flags stand in a
 * private structure of the proxy module, and are read by the offsets that its
 * table of directives has.
 */


#include "ngx_stream_keyturn_module.h"


static ngx_flag_t ngx_stream_keyturn_guard_flag(void **conf,
    ngx_module_t *module, const char *name);


/* all blocks have been merged */

void
ngx_stream_keyturn_guard(ngx_conf_t *cf, void **conf)
{
    ngx_uint_t                      i;
    ngx_module_t                   *module;
    ngx_stream_keyturn_entry_t     *entry;
    ngx_stream_keyturn_srv_conf_t  *kscf;

    kscf = conf[ngx_stream_keyturn_module.ctx_index];

    if (kscf->entries == NULL || kscf->entries->nelts == 0) {
        return;
    }

    for (i = 0; cf->cycle->modules[i]; i++) {
        module = cf->cycle->modules[i];

        if (ngx_strcmp(module->name, "ngx_stream_proxy_module") != 0
            || ngx_stream_keyturn_guard_flag(conf, module, "proxy_ssl") != 1
            || ngx_stream_keyturn_guard_flag(conf, module, "proxy_ssl_verify")
               == 1)
        {
            continue;
        }

        entry = kscf->entries->elts;

        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"%V\" may be used for an upstream whose certificate "
                      "is not verified (\"proxy_ssl_verify on\" verifies it) "
                      "in %s:%ui",
                      &entry->secret->label, entry->secret->file,
                      entry->secret->line);
    }
}


/* 0 also if there is no such directive: nginx was built without TLS */

static ngx_flag_t
ngx_stream_keyturn_guard_flag(void **conf, ngx_module_t *module,
    const char *name)
{
    ngx_command_t  *cmd;

    for (cmd = module->commands; cmd && cmd->name.len; cmd++) {

        if (ngx_strcmp(cmd->name.data, name) == 0
            && cmd->set == ngx_conf_set_flag_slot
            && conf[module->ctx_index])
        {
            return *(ngx_flag_t *) ((char *) conf[module->ctx_index]
                                    + cmd->offset);
        }
    }

    return 0;
}


/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * A directive that names a secret: its name, compiled.
 */


#include "ngx_stream_keyturn_module.h"


ngx_int_t
ngx_stream_keyturn_compile_name(ngx_conf_t *cf, ngx_keyturn_secret_t *secret)
{
    ngx_stream_compile_complex_value_t  ccv;

    if (!secret->dynamic) {
        return NGX_OK;
    }

    secret->complex = ngx_palloc(cf->pool, sizeof(ngx_stream_complex_value_t));
    if (secret->complex == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_stream_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &secret->name;
    ccv.complex_value = secret->complex;

    return ngx_stream_compile_complex_value(&ccv);
}

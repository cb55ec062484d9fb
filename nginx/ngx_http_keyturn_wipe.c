
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * nginx copies a secret where it likes: into the request to an upstream, twice
 * if two headers have it, into what "set", "map" or a complex value makes, into
 * lower case for a lookup.  All of that is memory of the request's pool, and
 * nginx frees a pool without wiping it.
 */


#include "ngx_http_keyturn_module.h"

#include <malloc.h>


/*
 * Nothing but ngx_destroy_pool() uses the pool after this: it finds no large
 * block any more, and a cleanup whose "next" is NULL.
 */

void
ngx_http_keyturn_wipe_pool(ngx_pool_t *pool)
{
    u_char            *p;
    ngx_pool_t        *block;
    ngx_pool_large_t  *l;

    for (l = pool->large; l; l = l->next) {
        if (l->alloc) {
            ngx_explicit_memzero(l->alloc, malloc_usable_size(l->alloc));
            ngx_free(l->alloc);
        }
    }

    pool->large = NULL;

    for (block = pool; block; block = block->d.next) {
        p = (u_char *) block;
        p += (block == pool) ? sizeof(ngx_pool_t) : sizeof(ngx_pool_data_t);

        if (p < block->d.last) {
            ngx_explicit_memzero(p, block->d.last - p);
        }
    }
}


/* TLS keeps what it has sent in a buffer of the upstream's connection */

void
ngx_http_keyturn_wipe_sent(ngx_http_request_t *r)
{
#if (NGX_HTTP_SSL)

    ngx_buf_t         *b;
    ngx_connection_t  *c;

    c = r->upstream ? r->upstream->peer.connection : NULL;

    if (c == NULL || c->ssl == NULL) {
        return;
    }

    b = c->ssl->buf;

    if (b && b->start && b->pos == b->last) {
        ngx_explicit_memzero(b->start, b->end - b->start);
    }

#endif
}

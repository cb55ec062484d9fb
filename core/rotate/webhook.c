/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhook.c: reports to a server by HTTPS that a version is current, signed so that the server can
 * check the sender.
 *
 *     Keyturn-Signature: t=1790000000,v1=HEX     HEX = HMAC-SHA-256(key, "1790000000." + body)
 *
 * The signature includes the time, so that a recorded request cannot be replayed later.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"

#define ANSWER_MAX 65536u
/* However long the target's commands may take: a silent server holds a process no longer than this
 * in all, whatever the number of secrets that it rotates. */
#define SILENT_MS 10000
#define TRY_MS 250 /* with less time left it is not tried again */

static void sign(const kt_secret_t *key, const char *time, const char *body, char *ret_hex,
                 size_t size)
{
    crypto_auth_hmacsha256_state state;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];

    crypto_auth_hmacsha256_init(&state, key->data, key->size);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)time, strlen(time));
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)".", 1);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)body, strlen(body));
    crypto_auth_hmacsha256_final(&state, mac);
    kt_wipe(&state, sizeof(state));
    (void)sodium_bin2hex(ret_hex, size, mac, sizeof(mac));
}

/* What this process knows of the server; NULL: the table is full, so only one attempt is bounded.
 */
static kt_webhook_t *webhook_of(kt_ctx_t *ctx, const char *url)
{
    kt_webhook_t *webhook = ctx->webhooks;
    size_t i;

    for (i = 0; i < KT_WEBHOOKS_MAX; i++, webhook++) {
        if (webhook->url == NULL)
            webhook->url = url;
        if (strcmp(webhook->url, url) == 0)
            return webhook;
    }
    return NULL;
}

/* A total time limit, so that an answer in drips does not help. */
static kt_status_t send_in_time(kt_ctx_t *ctx, const kt_cfg_target_t *config, ktp_http_t *x)
{
    kt_webhook_t *webhook = webhook_of(ctx, config->webhook);
    int64_t begun = kt_monotonic(), left = SILENT_MS - (webhook != NULL ? webhook->spent : 0);

    if (left < TRY_MS)
        return kt_fail(KT_UNAVAIL, "the webhook: the server did not answer before, so it was not "
                                   "asked again");
    x->timeout = (unsigned)(config->timeout < left ? config->timeout : left);
    kt_provider_error_clear();
    if (kt_http(NULL, x) == KTP_SUCCESS)
        return KT_SUCCESS;
    if (webhook != NULL)
        webhook->spent += kt_monotonic() - begun;
    return kt_fail(KT_UNAVAIL, "the webhook: %s", kt_provider_error());
}

static kt_status_t send_signed(kt_ctx_t *ctx, const kt_cfg_target_t *config, const kt_secret_t *key,
                               const char *body)
{
    char hex[2 * crypto_auth_hmacsha256_BYTES + 1], time[24], signature[160];
    const char *headers[] = {"Content-Type: application/json", signature, NULL};
    ktp_http_t x = {.size = sizeof(x),
                    .method = "POST",
                    .url = config->webhook,
                    .headers = headers,
                    .body = body,
                    .body_size = strlen(body),
                    .answer_max = ANSWER_MAX};
    char *ca = NULL;
    kt_status_t status;

    if (config->webhook_ca != NULL) {
        ca = kt_config_resolve(ctx->holder.config, config->webhook_ca);
        if (ca == NULL)
            return kt_no_memory();
        x.ca_file = ca;
    }
    (void)snprintf(time, sizeof(time), "%lld", (long long)(kt_now() / 1000));
    sign(key, time, body, hex, sizeof(hex));
    (void)snprintf(signature, sizeof(signature), "Keyturn-Signature: t=%s,v1=%s", time, hex);
    status = send_in_time(ctx, config, &x);
    free(ca);
    kt_locked_free(x.answer.data);
    if (status != KT_SUCCESS)
        return status;
    if (x.status < 200 || x.status > 299)
        return kt_fail(KT_UNAVAIL, "the webhook: the server answered %ld", x.status);
    return KT_SUCCESS;
}

kt_status_t kt_webhook_send(kt_ctx_t *ctx, const kt_request_t *req, const kt_cfg_target_t *config,
                            const char *name, uint64_t version)
{
    kt_request_t read = *req;
    char body[KT_EVENT_SIZE];
    kt_secret_t *key = NULL;
    kt_status_t status;

    /* read as the subject of the rotation, with the policy and the audit log of any other read */
    read.reference = config->webhook_key;
    read.reference_len = 0;
    read.purpose = "webhook";
    read.provider = NULL;
    status = kt_get(ctx, &read, &key);
    if (status != KT_SUCCESS)
        return kt_fail_prefix(status, "the webhook's key");
    kt_event_format(ctx, name, version, body);
    status = send_signed(ctx, config, key, body);
    kt_secret_free(key);
    return status;
}

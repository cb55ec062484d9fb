/* SPDX-License-Identifier: BSD-2-Clause */
/* write.h: what write.c and steps.c share, and nobody else sees. Include it after internal.h. */
#ifndef KT_WRITE_H
#define KT_WRITE_H

unsigned kt_write_timeout(const kt_request_t *req);
kt_status_t kt_write_begin(kt_ctx_t *ctx, const kt_call_t *call, unsigned capability,
                           const char *action);
kt_status_t kt_write_finish(kt_ctx_t *ctx, const kt_call_t *call, kt_change_t *change,
                            const char *action, uint64_t version, const char *provider);
kt_status_t kt_write_no_pending(const kt_head_t *head);

#endif /* KT_WRITE_H */

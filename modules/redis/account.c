/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * account.c: an ACL user's password changes on several servers, each of which keeps users of its
 * own: neither replicas nor the nodes of a cluster get them from another one.
 *
 *   look   connect to every server, as its administrator, and to every Sentinel; save what is there
 *   add    every server accepts the new password beside those that it has
 *   test   every server lets the user log in with it
 *   link   replicas and Sentinels use it; every server saves
 *
 * None of these can lock anybody out, and each may be repeated, so an interrupted change begins
 * again with the first one. Only after all of them passwords are removed. What one server refuses
 * is found by the look, before any of them is changed.
 */
#include "account.h"

#include <stdlib.h>
#include <string.h>

#include "monitor.h"

typedef struct change {
    const ktp_services_t *services;
    const ktp_account_t *account;
    kr_node_t *nodes;
    size_t count;
    kr_monitor_t *monitors;
    size_t nmonitors;
} change_t;

/* ---- servers and Sentinels ---- */

static size_t length(const char *const *list)
{
    size_t n = 0;

    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

/* Says why one of them failed. */
static ktp_status_t say(const change_t *change, const kr_node_t *node, ktp_status_t status)
{
    return ktp_fail(change->services, status, "%s: %s", node->server.address, node->server.error);
}

static ktp_status_t begin(change_t *change)
{
    const ktp_account_t *account = change->account;
    size_t count = length(account->servers), nmonitors = length(account->monitors);
    ktp_status_t status = KTP_SUCCESS;

    change->nodes = calloc(count + 1, sizeof(*change->nodes));
    change->monitors = calloc(nmonitors + 1, sizeof(*change->monitors));
    if (change->nodes == NULL || change->monitors == NULL)
        return ktp_fail(change->services, KTP_UNAVAIL, "out of memory");
    while (change->count < count && status == KTP_SUCCESS) {
        kr_node_t *node = &change->nodes[change->count];

        status = kr_node_init(node, change->services, account, account->servers[change->count++]);
        if (status != KTP_SUCCESS)
            (void)say(change, node, status);
    }
    while (change->nmonitors < nmonitors && status == KTP_SUCCESS) {
        kr_monitor_t *monitor = &change->monitors[change->nmonitors];

        status = kr_monitor_init(monitor, change->services, account,
                                 account->monitors[change->nmonitors++]);
        if (status != KTP_SUCCESS)
            (void)say(change, &monitor->node, status);
    }
    return status;
}

static void end(change_t *change)
{
    size_t i;

    for (i = 0; i < change->count; i++)
        kr_node_close(&change->nodes[i]);
    for (i = 0; i < change->nmonitors; i++)
        kr_monitor_close(&change->monitors[i]);
    free(change->nodes);
    free(change->monitors);
}

static ktp_status_t on_each_node(change_t *change, ktp_status_t (*step)(kr_node_t *node))
{
    ktp_status_t status;
    size_t i;

    for (i = 0; i < change->count; i++) {
        status = step(&change->nodes[i]);
        if (status != KTP_SUCCESS)
            return say(change, &change->nodes[i], status);
    }
    return KTP_SUCCESS;
}

static ktp_status_t on_each_monitor(change_t *change, ktp_status_t (*step)(kr_monitor_t *monitor))
{
    ktp_status_t status;
    size_t i;

    for (i = 0; i < change->nmonitors; i++) {
        status = step(&change->monitors[i]);
        if (status != KTP_SUCCESS)
            return say(change, &change->monitors[i].node, status);
    }
    return KTP_SUCCESS;
}

/* ---- steps ---- */

/* Is it sure that no server has the new password, not from an earlier attempt either? */
static int is_nowhere(const change_t *change)
{
    const ktp_text_t *hash = &change->account->password_hash;
    size_t i;

    for (i = 0; i < change->count; i++) {
        const kr_node_t *node = &change->nodes[i];

        if (node->touched || node->user == NULL || kr_node_has(node, hash->data, hash->size))
            return 0;
    }
    return change->count == length(change->account->servers);
}

/* All of them, also after a failure, which is said last. */
static ktp_status_t look(change_t *change)
{
    ktp_status_t status = KTP_SUCCESS, one;
    size_t i;

    for (i = 0; i < change->count; i++) {
        one = kr_node_look(&change->nodes[i]);
        if (one != KTP_SUCCESS && status == KTP_SUCCESS)
            status = say(change, &change->nodes[i], one);
    }
    return status == KTP_SUCCESS ? on_each_monitor(change, kr_monitor_look) : status;
}

static ktp_status_t set(change_t *change)
{
    ktp_status_t status = look(change);

    /* a refusal is final only if nothing has happened, now or before */
    if (status != KTP_SUCCESS)
        return status == KTP_CONFLICT && !is_nowhere(change) ? KTP_UNAVAIL : status;
    status = on_each_node(change, kr_node_add);
    if (status == KTP_SUCCESS)
        status = on_each_node(change, kr_node_test);
    if (status == KTP_SUCCESS)
        status = on_each_node(change, kr_node_link);
    if (status == KTP_SUCCESS)
        status = on_each_node(change, kr_node_save);
    if (status == KTP_SUCCESS)
        status = on_each_monitor(change, kr_monitor_set);
    return status == KTP_CONFLICT ? KTP_UNAVAIL : status;
}

static ktp_status_t remove_old(change_t *change)
{
    ktp_status_t status = set(change);

    if (status == KTP_SUCCESS)
        status =
            on_each_node(change, kr_node_test); /* once more: a server may have started again */
    if (status == KTP_SUCCESS)
        status = on_each_node(change, kr_node_remove);
    return status == KTP_SUCCESS ? on_each_node(change, kr_node_save) : status;
}

static ktp_status_t take_step(change_t *change, ktp_account_step_t step)
{
    switch (step) {
    case KTP_ACCOUNT_CHECK:
        return look(change);
    case KTP_ACCOUNT_SET:
        return set(change);
    case KTP_ACCOUNT_TEST:
        return on_each_node(change, kr_node_test);
    case KTP_ACCOUNT_REMOVE:
        return remove_old(change);
    }
    return ktp_fail(change->services, KTP_UNAVAIL, "a step that this provider does not know");
}

ktp_status_t kr_account(const ktp_services_t *services, const ktp_account_t *account,
                        ktp_account_step_t step)
{
    change_t change = {services, account, NULL, 0, NULL, 0};
    ktp_status_t status;

    if (account->size < sizeof(*account) || account->user == NULL)
        return ktp_fail(services, KTP_UNAVAIL, "the account is not filled in (a bug of the host)");
    status = begin(&change);
    if (status == KTP_SUCCESS)
        status = take_step(&change, step);
    end(&change);
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the audit logs say about refusals that an administrator should end: warnings of check. */
#include <stdio.h>
#include <string.h>

#include "check.h"

#define LINES 2000 /* of the logs that are looked at, the newest */

typedef struct {
    cli_t *cli;
    json_t *rows;
    json_t *seen; /* "SUBJECT NAME" of the mistakes */
} refused_t;

/* A line of a server that asks in vain for what its own configuration names. The policy may
 * be another one by now. */
static int look_at(void *arg, const kt_audit_line_t *line)
{
    refused_t *refused = arg;
    kt_can_t can = KT_CAN_INIT;
    json_t *object = !line->marks && strstr(line->text, "\"configured\":true")
                         ? json_loads(line->text, 0, NULL)
                         : NULL;
    const char *subject = cli_json_text(object, "subject", ""),
               *reference = cli_json_text(object, "reference", "");
    char name[KT_NAME_MAX + 1], key[KT_SUBJECT_MAX + KT_NAME_MAX + 2], detail[700];

    if (!object)
        return 0;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(reference, "#@"), reference);
    snprintf(key, sizeof key, "%s %s", subject, name);
    if (!json_object_get(refused->seen, key) &&
        kt_can(refused->cli->setup, subject, "read", name, &can) == KT_DENIED) {
        snprintf(
            detail, sizeof detail,
            "%s is refused %s, which its own configuration asks for: allow it in %s, or remove "
            "it there",
            subject, name, kt_setup_config(refused->cli->setup));
        cli_add_row(refused->rows, "warning", "policy", detail);
        json_object_set_new(refused->seen, key, json_true());
    }
    json_decref(object);
    return 0;
}

static void add_lockout(void *arg, const kt_lockout_t *lockout)
{
    json_t *rows = arg;
    char detail[700];

    if (lockout->seconds == 0)
        return;
    snprintf(
        detail, sizeof detail,
        "%s was refused too often, and is locked out for another %u s (`keyturn lockout list`)",
        lockout->source, lockout->seconds);
    cli_add_row(rows, "warning", "lock-out", detail);
}

kt_status_t check_refused(cli_t *cli, json_t *rows)
{
    refused_t refused = {cli, rows, json_object()};
    kt_status_t status = kt_lockouts(cli->ctx, add_lockout, rows, NULL);

    /* a log that cannot be read is a row of its own, and no reason to end here */
    if (!status && kt_audit_tail(cli->ctx, NULL, LINES, look_at, NULL, &refused))
        cli_add_row(rows, "warning", "policy", kt_error(cli->ctx));
    json_decref(refused.seen);
    return cli_check_ctx(cli, status);
}

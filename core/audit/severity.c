/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * severity.c: which decisions an operator should hear of, and how urgently: one table, of which the
 * first row that fits counts.
 *
 * An absence (NOTFOUND) and a CONFLICT are answers, not failures: a server that asks for an
 * optional secret gets them all day long.
 */
#include <string.h>

#include "audit.h"

#define CRITICAL "critical"
#define HIGH "high"
#define MEDIUM "medium"
#define NONE NULL

static bool has_no_name(const kt_event_t *event)
{
    const char *name = event->subject != NULL ? strrchr(event->subject, ':') : NULL;

    if (event->subject == NULL || event->subject[0] == '\0')
        return true;
    return strcmp(name != NULL ? name + 1 : event->subject, "anonymous") == 0;
}

static bool is_second_best(const kt_event_t *event)
{
    return event->stale || event->fallback;
}

/* NULL matches all; a star at the end of an action matches any text. */
static const struct {
    const char *action, *status;
    bool (*is)(const kt_event_t *event);
    const char *severity;
} rows[] = {
    {"alert", NULL, NULL, CRITICAL},      /* a source is locked out */
    {"gap", NULL, NULL, CRITICAL},        /* a log was taken away while it was written */
    {"lockout", NULL, NULL, MEDIUM},      /* the alert said so already */
    {NULL, "denied", NULL, CRITICAL},     /* a request for something forbidden */
    {NULL, "rolledback", NULL, CRITICAL}, /* an older store was put in place */
    {"read", "success", has_no_name, MEDIUM},
    {NULL, "success", is_second_best, MEDIUM},
    {NULL, "success", NULL, NONE},
    {NULL, "intent", NULL, NONE},
    {NULL, "notfound", NULL, NONE},
    {NULL, "conflict", NULL, NONE},
    {"rotate*", NULL, NULL, HIGH}, /* a rotation failed */
    {NULL, NULL, NULL, HIGH},      /* something could not be read or made */
};

static bool action_fits(const char *pattern, const char *action)
{
    size_t size;

    if (pattern == NULL)
        return true;
    if (action == NULL || pattern[0] != action[0])
        return false;
    size = strlen(pattern);
    return pattern[size - 1] == '*' ? strncmp(pattern, action, size - 1) == 0
                                    : strcmp(pattern, action) == 0;
}

const char *kt_severity(const kt_event_t *event)
{
    size_t i;

    for (i = 0; i < KT_ARRAY(rows); i++) {
        if (action_fits(rows[i].action, event->action) &&
            (rows[i].is == NULL || rows[i].is(event)) &&
            (rows[i].status == NULL ||
             (event->status != NULL && strcmp(rows[i].status, event->status) == 0)))
            return rows[i].severity;
    }
    return NONE;
}

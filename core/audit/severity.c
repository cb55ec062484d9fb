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

/* The subject, or what follows its last colon. */
static bool has_no_name(const kt_event_t *event)
{
    static const char none[] = "anonymous";
    const char *subject = event->subject;
    size_t size = subject != NULL ? strlen(subject) : 0, end = sizeof(none) - 1;

    if (size == 0)
        return true;
    return size >= end && memcmp(subject + size - end, none, end) == 0 &&
           (size == end || subject[size - end - 1] == ':');
}

static bool is_second_best(const kt_event_t *event)
{
    return event->stale || event->fallback;
}

/* The words that the rows tell apart, each a bit. This is asked for each line, so the words of an
 * event are looked up once; most differ in their first byte. */
typedef struct word {
    const char *text;
    size_t size; /* that has to be the same, NUL included, if nothing may follow */
} word_t;
#define WORD(text)                                                                                 \
    {                                                                                              \
        text, sizeof(text)                                                                         \
    }
#define PREFIX(text)                                                                               \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
#define ANY ~0u
enum { ALERT = 1, GAP = 2, LOCKOUT = 4, READ = 8, ROTATE = 16, MATCH = 32 };
static const word_t actions[] = {WORD("alert"), WORD("gap"),      WORD("lockout"),
                                 WORD("read"),  PREFIX("rotate"), WORD("match")};
enum {
    DENIED = 1,
    ROLLEDBACK = 2,
    SUCCESS = 4,
    INTENT = 8,
    NOTFOUND = 16,
    CONFLICT = 32,
    USAGE = 64
};
static const word_t statuses[] = {WORD("denied"), WORD("rolledback"), WORD("success"),
                                  WORD("intent"), WORD("notfound"),   WORD("conflict"),
                                  WORD("usage")};

static const struct {
    unsigned action, status;
    bool (*is)(const kt_event_t *event);
    const char *severity;
} rows[] = {
    {ALERT, ANY, NULL, CRITICAL},          /* a source is locked out */
    {GAP, ANY, NULL, CRITICAL},            /* a log was taken away while it was written */
    {LOCKOUT, ANY, NULL, MEDIUM},          /* the alert said so already */
    {MATCH, DENIED | USAGE, NULL, MEDIUM}, /* somebody who does not know the value */
    {ANY, DENIED, NULL, CRITICAL},         /* a request for something forbidden */
    {ANY, ROLLEDBACK, NULL, CRITICAL},     /* an older store was put in place */
    {READ, SUCCESS, has_no_name, MEDIUM},
    {ANY, SUCCESS, is_second_best, MEDIUM},
    {ANY, SUCCESS, NULL, NONE},
    {ANY, INTENT, NULL, NONE},
    {ANY, NOTFOUND, NULL, NONE},
    {ANY, CONFLICT, NULL, NONE},
    {ROTATE, ANY, NULL, HIGH}, /* a rotation failed */
    {ANY, ANY, NULL, HIGH},    /* something could not be read or made */
};

/* The bit of a word; of one that is not in the list, the bit after them. */
static unsigned find(const word_t *words, size_t count, const char *text)
{
    size_t i;

    for (i = 0; text != NULL && i < count; i++)
        if (words[i].text[0] == text[0] && strncmp(words[i].text, text, words[i].size) == 0)
            return 1u << i;
    return 1u << count;
}

const char *kt_severity(const kt_event_t *event)
{
    unsigned action = find(actions, KT_ARRAY(actions), event->action),
             status = find(statuses, KT_ARRAY(statuses), event->status);
    size_t i;

    for (i = 0; i < KT_ARRAY(rows); i++) {
        if ((rows[i].action & action) != 0 && (rows[i].status & status) != 0 &&
            (rows[i].is == NULL || rows[i].is(event)))
            return rows[i].severity;
    }
    return NONE;
}

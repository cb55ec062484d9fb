/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * subject.c: which subjects a stream can vouch for, and what a line says of itself.
 *
 * A stream's processes may write any line, and seal it, too. What they must not be able to do is to
 * write about others: who reads a trail trusts the stream, whose uid the kernel vouches for, and
 * not the words in its lines.
 */
#include <string.h>

#include "subject.h"

static const struct kind {
    const char *stream; /* the whole name, or, with a `-` at its end, the beginning of one */
    const char *host;
    const char *prefix; /* of its subjects */
} kinds[] = {
    {"nginx", "nginx", "nginx:"},
    {"redis", "redis", "redis:"},
    {"postgresql", "postgresql", "postgresql:"},
    {"api", "api", "api:"},
    {"cli-", "cli", "uid:"},
};

#define USER_MAX 50u /* bytes of a user's name in the name of a stream (serve/open.c) */

static bool is_of(const struct kind *kind, const char *stream, size_t size)
{
    size_t length;

    if (size == 0 || stream[0] != kind->stream[0])
        return false; /* each read comes here */
    length = strlen(kind->stream);
    return kind->stream[length - 1] == '-'
               ? size > length && memcmp(stream, kind->stream, length) == 0
               : size == length && memcmp(stream, kind->stream, length) == 0;
}

static const struct kind *kind_of(const char *stream, size_t size)
{
    size_t i;

    for (i = 0; i < KT_ARRAY(kinds); i++)
        if (is_of(&kinds[i], stream, size))
            return &kinds[i];
    return NULL;
}

static const struct kind *kind_of_host(const char *host)
{
    size_t i;

    for (i = 0; i < KT_ARRAY(kinds); i++)
        if (strcmp(kinds[i].host, host) == 0)
            return &kinds[i];
    return NULL;
}

static const struct kind *kind_of_subject(const char *subject, size_t size)
{
    size_t i;

    for (i = 0; i < KT_ARRAY(kinds); i++)
        if (size > 0 && subject[0] == kinds[i].prefix[0] && size >= strlen(kinds[i].prefix) &&
            memcmp(subject, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            return &kinds[i];
    return NULL;
}

/* Of a command's stream, only its own user. Its name is cut in the stream's. */
static bool is_user(const char *stream, size_t stream_size, const char *subject, size_t size)
{
    size_t user = stream_size - strlen("cli-"), named = size - strlen("uid:");

    return named >= user && memcmp(subject + strlen("uid:"), stream + strlen("cli-"), user) == 0 &&
           (named == user || user >= USER_MAX);
}

static bool vouches(const struct kind *kind, const char *stream, size_t stream_size,
                    const char *subject, size_t size)
{
    if (kind_of_subject(subject, size) != kind)
        return false;
    return strcmp(kind->host, "cli") != 0 || !is_of(kind, stream, stream_size) ||
           is_user(stream, stream_size, subject, size);
}

bool kt_audit_vouches(const char *stream, const char *host, const char *subject)
{
    size_t size = strlen(stream);
    const struct kind *kind = kind_of(stream, size);

    if (kind == NULL && host != NULL)
        kind = kind_of_host(host);
    if (subject == NULL || subject[0] == '\0')
        return true;
    return kind == NULL ? kind_of_subject(subject, strlen(subject)) != NULL
                        : vouches(kind, stream, size, subject, strlen(subject));
}

/* ---- lines ---- */

static bool parse_text(const char **at, const char *key, kt_audit_text_t *ret_text)
{
    const char *text = *at + strlen(key), *end;

    if (strncmp(*at, key, strlen(key)) != 0)
        return false;
    for (end = text; *end != '"'; end++) {
        if (*end == '\\' && end[1] != '\0')
            end++; /* an escaped quote does not end it */
        if ((unsigned char)*end < ' ')
            return false;
    }
    *ret_text = (kt_audit_text_t){text, (size_t)(end - text)};
    *at = end + 1;
    return true;
}

bool kt_audit_parse_claim(const char *line, kt_audit_claim_t *ret_claim)
{
    const char *at = line;

    memset(ret_claim, 0, sizeof(*ret_claim));
    if (!parse_text(&at, KT_AUDIT_TIME, &ret_claim->time) ||
        !parse_text(&at, ",\"boot\":\"", &ret_claim->boot) ||
        !parse_text(&at, ",\"stream\":\"", &ret_claim->stream) ||
        !kt_audit_parse_number(&at, ",\"seq\":", &ret_claim->sequence) ||
        !parse_text(&at, ",\"action\":\"", &ret_claim->action))
        return false;
    if (strncmp(at, ",\"subject\":", 11) == 0)
        return parse_text(&at, ",\"subject\":\"", &ret_claim->subject);
    return true;
}

static bool is_same(const kt_audit_text_t *text, const char *other)
{
    return text->size == strlen(other) && memcmp(text->text, other, text->size) == 0;
}

void kt_audit_judge_begin(kt_audit_judge_t *judge, const char *stream)
{
    memset(judge, 0, sizeof(*judge));
    judge->stream = stream;
}

static bool is_own_subject(kt_audit_judge_t *judge, const kt_audit_claim_t *claim)
{
    const kt_audit_text_t *subject = &claim->subject;
    size_t size = strlen(judge->stream);
    const struct kind *kind = kind_of(judge->stream, size);

    if (subject->size == 0)
        return true;
    if (kind != NULL)
        return vouches(kind, judge->stream, size, subject->text, subject->size);
    /* the stream has a name of the operator's: whatever its host is, it is one */
    kind = kind_of_subject(subject->text, subject->size);
    if (kind != NULL && judge->prefix == NULL)
        judge->prefix = kind->prefix;
    return kind != NULL && judge->prefix == kind->prefix;
}

unsigned kt_audit_judge(kt_audit_judge_t *judge, const kt_audit_claim_t *claim)
{
    unsigned marks = 0;

    if (!is_same(&claim->stream, judge->stream))
        marks |= KT_LINE_FOREIGN_STREAM;
    if (!is_own_subject(judge, claim))
        marks |= KT_LINE_FOREIGN_SUBJECT;
    if (claim->boot.size >= sizeof(judge->boot))
        marks |= KT_LINE_FOREIGN_STREAM;
    else if (judge->has_boot && !is_same(&claim->boot, judge->boot))
        marks |= KT_LINE_FOREIGN_STREAM;
    else if (!judge->has_boot)
        memcpy(judge->boot, claim->boot.text, claim->boot.size);
    judge->has_boot = true;
    return marks;
}

void kt_audit_judge_seal(kt_audit_judge_t *judge)
{
    judge->has_boot = false;
    memset(judge->boot, 0, sizeof(judge->boot));
}

bool kt_audit_is_later(const kt_audit_text_t *time, const char *than)
{
    size_t size = strcspn(than, "\"");

    /* two times in UTC with milliseconds compare as texts; any other text counts as later */
    return time->size != size || memcmp(time->text, than, size) > 0;
}

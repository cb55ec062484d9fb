/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reference.c: the grammar of names, references, patterns and environments.
 *
 *     reference    = name [ "#" field ] [ "@" version ]         KT_REFERENCE_MAX bytes with NUL
 *     name         = segment *( "/" segment )                   KT_NAME_MAX bytes
 *     segment      = 1*( A-Z a-z 0-9 "." "_" "-" )              but neither "." nor ".."
 *     field        = 1*( UTF-8 without controls, "#" and "@" )  KT_FIELD_MAX bytes
 *     version      = "current" / "previous" / "pending" / a number from 1 without leading zeros
 *     pattern      = a name in which "*" may stand for any bytes, "/" too
 *
 * All of it runs in time linear in its input: names come from requests.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base.h"

#define GENERAL "general" /* the type of a name of one segment */

static bool name_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool dots(const char *segment, size_t len)
{
    return (len == 1 && segment[0] == '.') || (len == 2 && memcmp(segment, "..", 2) == 0);
}

/* What is wrong with the name, or NULL. `extra` is one more byte that it may have, or 0. */
static const char *name_fault(const char *name, size_t len, char extra)
{
    size_t start = 0;

    if (len == 0)
        return "a name must not be empty";
    if (len > KT_NAME_MAX)
        return "a name must not have more than 255 bytes";
    for (size_t i = 0; i <= len; i++) {
        if (i < len && name[i] != '/') {
            if (!name_byte((unsigned char)name[i]) && (extra == 0 || name[i] != extra))
                return "a name may only have the bytes A-Z a-z 0-9 . _ - /";
            continue;
        }
        if (i == start)
            return "a name must not have an empty segment";
        if (dots(name + start, i - start))
            return "a name must not have a segment '.' or '..'";
        start = i + 1;
    }
    return NULL;
}

/* Bytes of the UTF-8 character at `text`, no longer than `len`; 0: none, or a control character. */
static size_t character(const unsigned char *text, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = text[0];
    size_t size = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    uint32_t code;

    if (c < 0x80)
        return !kt_is_control((char)c);
    if (c < 0xc2 || c > 0xf4 || size > len)
        return 0;
    code = c & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3fu);
    }
    if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) || code < 0xa0)
        return 0;
    return size;
}

static const char *field_fault(const char *field, size_t len)
{
    size_t size;

    if (len == 0)
        return "a reference has '#' without a field";
    if (len > KT_FIELD_MAX)
        return "a field has more than 255 bytes";
    for (size_t i = 0; i < len; i += size) {
        size = character((const unsigned char *)field + i, len - i);
        if (size == 0 || field[i] == '#' || field[i] == '@')
            return "a field has '#', '@', a control character or what is not UTF-8";
    }
    return NULL;
}

static bool equal(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* Not past INT64_MAX, which is what SQL and JSON readers hold. */
static const char *number_fault(const char *text, size_t len, uint64_t *ret_number)
{
    static const char wrong[] = "a version is a number from 1, current, previous or pending";
    uint64_t number = 0;

    if (len == 0 || text[0] == '0')
        return wrong;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)((unsigned char)text[i] - '0');

        if (digit > 9)
            return wrong;
        if (number > ((uint64_t)INT64_MAX - digit) / 10)
            return "a version is over 9223372036854775807";
        number = number * 10 + digit;
    }
    *ret_number = number;
    return NULL;
}

static const char *version_fault(const char *text, size_t len, kt_selector_t *ret_selector,
                                 uint64_t *ret_number)
{
    *ret_number = 0;
    if (equal(text, len, "current"))
        *ret_selector = KT_SEL_CURRENT;
    else if (equal(text, len, "previous"))
        *ret_selector = KT_SEL_PREVIOUS;
    else if (equal(text, len, "pending"))
        *ret_selector = KT_SEL_PENDING;
    else {
        *ret_selector = KT_SEL_NUMBER;
        return number_fault(text, len, ret_number);
    }
    return NULL;
}

/* Where the parts of a reference are. `field` is NULL without '#'. */
typedef struct parts {
    size_t name_len;
    const char *field;
    size_t field_len;
    kt_selector_t selector;
    uint64_t number;
} parts_t;

/* What is wrong with the reference, or NULL. */
static const char *reference_fault(const char *text, size_t len, parts_t *ret_parts)
{
    const char *end = text + len, *at = memchr(text, '@', len), *hash;
    const char *fault = NULL;

    memset(ret_parts, 0, sizeof(*ret_parts));
    if (at != NULL) {
        fault =
            version_fault(at + 1, (size_t)(end - at) - 1, &ret_parts->selector, &ret_parts->number);
        end = at;
    }
    hash = memchr(text, '#', (size_t)(end - text));
    if (hash != NULL) {
        ret_parts->field = hash + 1;
        ret_parts->field_len = (size_t)(end - hash) - 1;
        end = hash;
        if (fault == NULL)
            fault = field_fault(ret_parts->field, ret_parts->field_len);
    }
    ret_parts->name_len = (size_t)(end - text);
    return fault != NULL ? fault : name_fault(text, ret_parts->name_len, 0);
}

static kt_status_t answer(const char *fault, const char **why)
{
    if (why != NULL)
        *why = fault;
    return fault == NULL ? KT_SUCCESS : kt_fail(KT_USAGE, "%s", fault);
}

kt_status_t kt_name_check(const char *name, size_t len, const char **why)
{
    return answer(name_fault(name, len != 0 ? len : strlen(name), 0), why);
}

kt_status_t kt_reference_check(const char *reference, size_t len, const char **why)
{
    parts_t parts;

    return answer(reference_fault(reference, len != 0 ? len : strlen(reference), &parts), why);
}

static void copy(char *to, const char *from, size_t len)
{
    memcpy(to, from, len);
    to[len] = '\0';
}

kt_status_t kt_reference_parse(const char *text, size_t len, kt_reference_t *ret_reference)
{
    parts_t parts;
    const char *fault = reference_fault(text, len != 0 ? len : strlen(text), &parts);
    const char *slash;

    if (fault != NULL)
        return kt_fail(KT_USAGE, "%s", fault);
    slash = memchr(text, '/', parts.name_len);
    copy(ret_reference->name, text, parts.name_len);
    if (slash != NULL)
        copy(ret_reference->type, text, (size_t)(slash - text));
    else
        copy(ret_reference->type, GENERAL, sizeof(GENERAL) - 1);
    copy(ret_reference->field, parts.field != NULL ? parts.field : "", parts.field_len);
    ret_reference->selector = parts.selector;
    ret_reference->version = parts.number;
    return KT_SUCCESS;
}

/* On the path of each read, hence without printf but for a number. */
void kt_reference_format(const kt_reference_t *reference, char *text, size_t size)
{
    static const char *const selectors[] = {
        [KT_SEL_CURRENT] = "", [KT_SEL_PREVIOUS] = "@previous", [KT_SEL_PENDING] = "@pending"};
    char number[24];
    const char *pieces[] = {reference->name, reference->field[0] != '\0' ? "#" : "",
                            reference->field, number};
    size_t used = 0;

    if (reference->selector == KT_SEL_NUMBER)
        snprintf(number, sizeof(number), "@%" PRIu64, reference->version);
    else
        pieces[3] = selectors[reference->selector];
    for (size_t i = 0; i < KT_ARRAY(pieces); i++) {
        size_t len = strnlen(pieces[i], size - used - 1);

        memcpy(text + used, pieces[i], len);
        used += len;
    }
    text[used] = '\0';
}

kt_status_t kt_pattern_check(const char *pattern)
{
    const char *fault = name_fault(pattern, strlen(pattern), '*');

    return fault == NULL ? KT_SUCCESS : kt_fail(KT_USAGE, "as a pattern, %s", fault);
}

/*
 * What lies before the first star and after the last one is compared in place; each piece between
 * two stars is looked for from the left by memmem(), which is linear. Backtracking is not needed: a
 * piece found further left leaves more room for the next ones.
 */
bool kt_pattern_match(const char *pattern, const char *text)
{
    const char *star = strchr(pattern, '*');
    const char *last = strrchr(pattern, '*');
    const char *end = text + strlen(text);
    size_t head, tail;

    if (star == NULL)
        return strcmp(pattern, text) == 0;
    head = (size_t)(star - pattern);
    tail = strlen(last + 1);
    if ((size_t)(end - text) < head + tail || memcmp(pattern, text, head) != 0 ||
        memcmp(last + 1, end - tail, tail) != 0)
        return false;
    text += head;
    end -= tail;
    while (star < last) {
        const char *next = strchr(star + 1, '*');
        size_t size = (size_t)(next - star) - 1;
        const char *found = memmem(text, (size_t)(end - text), star + 1, size);

        if (found == NULL)
            return false;
        text = found + size;
        star = next;
    }
    return true;
}

kt_status_t kt_environment_parse(const char *text, char ret_environment[KT_ENVIRONMENT_MAX])
{
    static const char *const aliases[][2] = {
        {"dev", "development"}, {"stage", "staging"}, {"prod", "production"}};
    size_t len = strlen(text);

    if (len == 0 || len >= KT_ENVIRONMENT_MAX)
        return kt_fail(KT_USAGE, "an environment has 1 to %u bytes", KT_ENVIRONMENT_MAX - 1);
    for (size_t i = 0; i < len; i++)
        if (!name_byte((unsigned char)text[i]))
            return kt_fail(KT_USAGE, "an environment has a byte other than A-Z a-z 0-9 . _ -");
    if (dots(text, len))
        return kt_fail(KT_USAGE, "an environment is '.' or '..'");
    for (size_t i = 0; i < KT_ARRAY(aliases); i++)
        if (strcmp(text, aliases[i][0]) == 0)
            text = aliases[i][1];
    memmove(ret_environment, text, strlen(text) + 1);
    return KT_SUCCESS;
}

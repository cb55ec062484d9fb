/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json.c: fields of values that are JSON objects.
 *
 * The JSON library judges whether a value is JSON and decodes strings; a change is then cut into
 * the value's own text, so that all other fields keep their bytes (1.10 stays 1.10) and their
 * order. A value made here only ever lies in locked memory. No error text comes from the library:
 * it would quote the value.
 */
#include "json.h"

#include <pthread.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* ---- The library ---- */

/* The library reports memory that ran out and text that is not JSON in the same way. They must not
 * be confused: a database's value that "is not a JSON object" would be rotated as a whole. */
static _Thread_local bool starved;

static void *noting_malloc(size_t size)
{
    void *data = malloc(size);

    if (data == NULL)
        starved = true;
    return data;
}

static void wiping_free(void *data)
{
    kt_wipe(data, malloc_usable_size(data));
    free(data);
}

/* A host that gave the library an allocator of its own keeps it: what that one has allocated must
 * not come to free(). */
static void setup_once(void)
{
    json_malloc_t alloc = NULL;
    json_free_t release = NULL;

    json_get_alloc_funcs(&alloc, &release);
    if (alloc == malloc && release == free)
        json_set_alloc_funcs(noting_malloc, wiping_free);
}

void kt_json_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, setup_once);
    starved = false;
}

/* The object that `value` is; NULL: none, or `starved`. No error record: it would quote the value,
 * on the stack. The library passes over a zero byte after a number; we reject it. */
json_t *kt_json_object(const kt_secret_t *value)
{
    json_t *json;

    kt_json_setup();
    if (memchr(value->data, '\0', value->size) != NULL)
        return NULL;
    json = json_loadb((const char *)value->data, value->size, JSON_REJECT_DUPLICATES, NULL);
    /* without memory for a string, the library may answer an object that lacks it */
    if (json != NULL && (!json_is_object(json) || starved)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

bool kt_json_starved(void)
{
    return starved;
}

static kt_status_t no_object(const char *text)
{
    return starved ? kt_no_memory() : kt_fail(KT_MALFORMED, "%s", text);
}

/* `text` as a JSON string, quotes and all, in locked memory. KT_MALFORMED with `fault`: it is not
 * UTF-8 or holds NUL. */
static kt_status_t quote(const char *text, size_t size, const char *fault, char **ret_quoted,
                         size_t *ret_size)
{
    json_t *json = NULL;
    char *quoted = NULL;
    size_t need;

    kt_json_setup();
    if (memchr(text, '\0', size) == NULL)
        json = json_stringn(text, size);
    if (json == NULL)
        return no_object(fault);
    need = json_dumpb(json, NULL, 0, JSON_ENCODE_ANY);
    if (need > 0)
        quoted = kt_locked_alloc(need);
    if (quoted != NULL && json_dumpb(json, quoted, need, JSON_ENCODE_ANY) != need) {
        kt_locked_free(quoted); /* it allocates here too */
        quoted = NULL;
    }
    json_decref(json);
    if (quoted == NULL)
        return kt_no_memory();
    *ret_quoted = quoted;
    *ret_size = need;
    return KT_SUCCESS;
}

/* ---- Places in the text of an object, which the library has taken ---- */

typedef struct place {
    bool found;
    bool first;        /* not found: the object is empty */
    size_t start, end; /* of the field's value; not found: both where a new field goes */
} place_t;

/* Should the library and we disagree on a text, the cursor ends up at its end, not past it. */
typedef struct cursor {
    const char *text;
    size_t at, end;
} cursor_t;

static char here(const cursor_t *cursor)
{
    return cursor->at < cursor->end ? cursor->text[cursor->at] : '\0';
}

static void step(cursor_t *cursor)
{
    cursor->at += cursor->at < cursor->end;
}

static void skip_space(cursor_t *cursor)
{
    while (cursor->at < cursor->end && strchr(" \t\n\r", here(cursor)) != NULL)
        step(cursor);
}

static void skip_string(cursor_t *cursor)
{
    step(cursor);
    while (cursor->at < cursor->end && here(cursor) != '"') {
        if (here(cursor) == '\\')
            step(cursor);
        step(cursor);
    }
    step(cursor);
}

static void skip_value(cursor_t *cursor)
{
    static const char between[] = "{[]},: \t\r\n";
    size_t depth = 0;

    do {
        char c = here(cursor);

        if (c == '"') {
            skip_string(cursor);
        } else if (strchr(between, c) != NULL) {
            depth += c == '{' || c == '[';
            depth -= c == '}' || c == ']';
            step(cursor);
        } else {
            while (cursor->at < cursor->end && strchr(between, here(cursor)) == NULL)
                step(cursor);
        }
    } while (depth > 0 && cursor->at < cursor->end);
}

/* Is the quoted string at `text` the name `field`? */
static bool names_field(const char *text, size_t size, const char *field)
{
    json_t *json;
    bool same;

    if (memchr(text, '\\', size) == NULL)
        return size - 2 == strlen(field) && memcmp(text + 1, field, size - 2) == 0;
    json = json_loadb(text, size, JSON_DECODE_ANY, NULL);
    same = json != NULL && strcmp(json_string_value(json), field) == 0;
    json_decref(json);
    return same;
}

/* Past the comma, the name and the colon of the next field; whether that is `field`. */
static bool skip_name(cursor_t *cursor, const char *field)
{
    size_t start;
    bool same;

    if (here(cursor) == ',') {
        step(cursor);
        skip_space(cursor);
    }
    start = cursor->at;
    skip_string(cursor);
    same = names_field(cursor->text + start, cursor->at - start, field);
    skip_space(cursor);
    step(cursor);
    skip_space(cursor);
    return same;
}

static kt_status_t find_place(const kt_secret_t *object, const char *field, place_t *ret_place)
{
    cursor_t cursor = {.text = (const char *)object->data, .end = object->size};
    place_t place = {.first = true};

    skip_space(&cursor);
    step(&cursor);
    place.start = place.end = cursor.at;
    for (skip_space(&cursor); cursor.at < cursor.end && here(&cursor) != '}'; skip_space(&cursor)) {
        place.first = false;
        place.found = skip_name(&cursor, field);
        place.start = cursor.at;
        skip_value(&cursor);
        place.end = cursor.at;
        if (place.found)
            break;
        place.start = place.end;
    }
    if (cursor.at == cursor.end)
        return kt_fail(KT_MALFORMED, "the value is not a JSON object");
    if (!place.found && starved)
        return kt_no_memory();
    *ret_place = place;
    return KT_SUCCESS;
}

/* ---- Making values ---- */

kt_status_t kt_json_no_secret(size_t size)
{
    if (size > KT_VALUE_MAX)
        return kt_fail(KT_TOOLARGE, "the value would have %zu bytes, over %u", size, KT_VALUE_MAX);
    return kt_no_memory();
}

/* A copy of `old` with `size` bytes for what lies at `place`; *ret_at is where they go. */
static kt_status_t splice(const kt_secret_t *old, const place_t *place, size_t size, char **ret_at,
                          kt_secret_t **ret_value)
{
    size_t whole = old->size - (place->end - place->start) + size;
    kt_secret_t *value = kt_secret_new(NULL, whole);

    if (value == NULL)
        return kt_json_no_secret(whole);
    memcpy(value->data, old->data, place->start);
    memcpy(value->data + place->start + size, old->data + place->end, old->size - place->end);
    *ret_at = (char *)value->data + place->start;
    *ret_value = value;
    return KT_SUCCESS;
}

/* `raw` is the JSON text of the field's value. `object` has been taken by the library. */
static kt_status_t set_raw(const kt_secret_t *object, const char *field, const char *raw,
                           size_t size, kt_secret_t **ret_value)
{
    kt_status_t status;
    size_t name_size;
    char *name, *at;
    place_t place;

    status = find_place(object, field, &place);
    if (status != KT_SUCCESS)
        return status;
    if (place.found) {
        status = splice(object, &place, size, &at, ret_value);
        if (status == KT_SUCCESS)
            memcpy(at, raw, size);
        return status;
    }
    status = quote(field, strlen(field), "the field's name is not UTF-8", &name, &name_size);
    if (status != KT_SUCCESS)
        return status;
    status = splice(object, &place, (place.first ? 0 : 2) + name_size + 2 + size, &at, ret_value);
    if (status == KT_SUCCESS) {
        if (!place.first)
            at = mempcpy(at, ", ", 2);
        at = mempcpy(at, name, name_size);
        at = mempcpy(at, ": ", 2);
        memcpy(at, raw, size);
    }
    kt_locked_free(name);
    return status;
}

kt_status_t kt_json_set_string(const kt_secret_t *object, const char *field, const char *text,
                               size_t text_size, kt_secret_t **ret_value)
{
    static const char fault[] = "the new value is not UTF-8 or holds a zero byte: it cannot be a "
                                "field of a JSON object";
    kt_status_t status;
    size_t size;
    char *raw;

    status = quote(text, text_size, fault, &raw, &size);
    if (status != KT_SUCCESS)
        return status;
    status = set_raw(object, field, raw, size, ret_value);
    kt_locked_free(raw);
    return status;
}

kt_status_t kt_json_check(const kt_secret_t *value)
{
    json_t *json = kt_json_object(value);

    if (json == NULL)
        return no_object("the value is not a JSON object");
    json_decref(json);
    return KT_SUCCESS;
}

kt_status_t kt_json_copy(const kt_secret_t *object, const char *from, const char *to,
                         kt_secret_t **ret_value)
{
    kt_status_t status;
    place_t place;

    status = find_place(object, from, &place);
    if (status != KT_SUCCESS)
        return status;
    if (!place.found)
        return kt_fail(KT_NOTFOUND, "the value has no field `%s`", from);
    return set_raw(object, to, (const char *)object->data + place.start, place.end - place.start,
                   ret_value);
}

/* ---- One field ---- */

/* A string without its quotes and escapes; a number as it stands in the text. */
static kt_status_t field_value(const kt_secret_t *secret, const json_t *member, const char *field,
                               kt_secret_t **ret_secret)
{
    kt_secret_t *value;
    kt_status_t status;
    place_t place;

    if (json_is_string(member)) {
        value = kt_secret_new(json_string_value(member), json_string_length(member));
    } else if (json_is_number(member)) {
        status = find_place(secret, field, &place);
        if (status != KT_SUCCESS)
            return status;
        value = kt_secret_new(secret->data + place.start, place.end - place.start);
    } else {
        return kt_fail(KT_MALFORMED, "the field `%s` is neither a string nor a number", field);
    }
    if (value == NULL)
        return kt_json_no_secret(0);
    value->version = secret->version;
    value->expires = secret->expires;
    value->stale = secret->stale;
    *ret_secret = value;
    return KT_SUCCESS;
}

bool kt_json_uri(const json_t *object, kt_uri_t *ret_uri)
{
    static const char *const names[] = {"url", "uri", "dsn", "database_url", "connection_string"};
    size_t i;

    for (i = 0; i < KT_ARRAY(names); i++) {
        const json_t *member = json_object_get(object, names[i]);

        if (json_is_string(member) &&
            kt_uri_parse(json_string_value(member), json_string_length(member), ret_uri))
            return true;
    }
    return false;
}

/* A part of the URI that the secret is, or that the object has in a field; KT_NOTFOUND. */
static kt_status_t uri_field(const kt_secret_t *secret, const json_t *object, const char *field,
                             kt_secret_t **ret_secret)
{
    kt_uri_part_t part = kt_uri_part_of(field);
    kt_secret_t *value = NULL;
    kt_status_t status;
    kt_uri_t uri;

    if (part == KT_URI_PARTS ||
        !(object != NULL ? kt_json_uri(object, &uri)
                         : kt_uri_parse((const char *)secret->data, secret->size, &uri)))
        return KT_NOTFOUND;
    if (!kt_uri_has(&uri, part))
        return KT_NOTFOUND;
    status = kt_uri_get(&uri, part, &value);
    if (status != KT_SUCCESS)
        return status;
    value->version = secret->version;
    value->expires = secret->expires;
    value->stale = secret->stale;
    *ret_secret = value;
    return KT_SUCCESS;
}

kt_status_t kt_secret_field(const kt_secret_t *secret, const char *field, kt_secret_t **ret_secret)
{
    json_t *object = kt_json_object(secret);
    const json_t *member;
    kt_status_t status;

    if (object == NULL && starved)
        return kt_no_memory();
    member = json_object_get(object, field); /* NULL of no object */
    if (member == NULL)
        status = uri_field(secret, object, field, ret_secret);
    else
        status = field_value(secret, member, field, ret_secret);
    if (member == NULL && status == KT_NOTFOUND)
        status = object != NULL
                     ? kt_fail(KT_NOTFOUND, "the value has no field `%s`", field)
                     : kt_fail(KT_MALFORMED,
                               "the value is not a JSON object, so it has no field `%s`", field);
    json_decref(object);
    return status;
}

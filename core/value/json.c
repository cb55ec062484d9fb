/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json.c: fields of values that are JSON objects.
 *
 * A field is read from the value's own text (member.c). The JSON library judges whether a value may
 * be changed and writes strings; a change is then cut into that text, so that all other fields keep
 * their bytes (1.10 stays 1.10) and their order. A value made here only ever lies in locked memory.
 * No error text comes from the library: it would quote the value.
 */
#include "json.h"

#include "member.h"

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
 * on the stack. The library passes over a zero byte after a number; we reject it. A name that
 * comes twice is nobody's to change: whose value would the new one be? A large integer or an
 * escaped zero byte is the business of who reads that field. */
json_t *kt_json_object(const kt_secret_t *value)
{
    json_t *json;

    kt_json_setup();
    if (memchr(value->data, '\0', value->size) != NULL)
        return NULL;
    json = json_loadb((const char *)value->data, value->size,
                      JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
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

static kt_status_t find_place(const kt_secret_t *object, const char *field, kt_member_t *ret_place)
{
    if (!kt_member_find((const char *)object->data, object->size, field, ret_place))
        return kt_fail(KT_MALFORMED, "the value is not a JSON object");
    if (ret_place->twice)
        return kt_fail(KT_MALFORMED, "the value has the field `%s` twice", field);
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
static kt_status_t splice(const kt_secret_t *old, const kt_member_t *place, size_t size,
                          char **ret_at, kt_secret_t **ret_value)
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
    kt_member_t place;

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
    kt_member_t place;

    status = find_place(object, from, &place);
    if (status != KT_SUCCESS)
        return status;
    if (!place.found)
        return kt_fail(KT_NOTFOUND, "the value has no field `%s`", from);
    return set_raw(object, to, (const char *)object->data + place.start, place.end - place.start,
                   ret_value);
}

/* ---- One field ---- */

/* A new value like `secret`, of `size` bytes; NULL: out of memory. */
static kt_secret_t *part_of(const kt_secret_t *secret, const void *data, size_t size)
{
    kt_secret_t *value = kt_secret_new(data, size);

    if (value != NULL) {
        value->version = secret->version;
        value->expires = secret->expires;
        value->stale = secret->stale;
    }
    return value;
}

/* A string without its quotes and escapes; anything else as it stands in the text. */
static kt_status_t field_value(const kt_secret_t *secret, const kt_member_t *place,
                               const char *field, kt_secret_t **ret_secret)
{
    const char *text = (const char *)secret->data + place->start;
    size_t size = place->end - place->start, real = size;
    bool quoted = *text == '"';
    char *bytes = NULL;
    kt_status_t status = KT_SUCCESS;

    if (*text == 'n')
        return kt_fail(KT_MALFORMED, "the field `%s` is null", field);
    if (quoted) {
        bytes = kt_locked_alloc(size);
        if (bytes == NULL)
            return kt_no_memory();
        if (!kt_member_unquote(text, size, bytes, &real))
            status = kt_fail(KT_MALFORMED, "the field `%s` holds a zero byte or half a character",
                             field);
    }
    if (status == KT_SUCCESS) {
        *ret_secret = part_of(secret, quoted ? bytes : text, real);
        if (*ret_secret == NULL)
            status = kt_json_no_secret(0);
    }
    kt_locked_free(bytes);
    return status;
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

static kt_status_t missing_field(const kt_secret_t *secret, bool is_object, const char *field,
                                 kt_secret_t **ret_secret)
{
    json_t *object = is_object ? kt_json_object(secret) : NULL;
    kt_status_t status;

    if (is_object && object == NULL && starved)
        return kt_no_memory();
    status = uri_field(secret, object, field, ret_secret);
    json_decref(object);
    if (status != KT_NOTFOUND)
        return status;
    return is_object ? kt_fail(KT_NOTFOUND, "the value has no field `%s`", field)
                     : kt_fail(KT_MALFORMED,
                               "the value is not a JSON object, so it has no field `%s`", field);
}

static kt_status_t get_field(const kt_secret_t *secret, const char *field, bool plain,
                             kt_secret_t **ret_secret)
{
    kt_member_t place;
    bool is_object = kt_member_find((const char *)secret->data, secret->size, field, &place);

    if (!is_object || !place.found)
        return missing_field(secret, is_object, field, ret_secret);
    if (place.twice)
        return kt_fail(KT_MALFORMED, "the value has the field `%s` twice", field);
    if (plain && strchr("{[tfn", secret->data[place.start]) != NULL)
        return kt_fail(KT_MALFORMED, "the field `%s` is neither a string nor a number", field);
    return field_value(secret, &place, field, ret_secret);
}

kt_status_t kt_json_plain(const kt_secret_t *secret, const char *field, kt_secret_t **ret_secret)
{
    return get_field(secret, field, true, ret_secret);
}

kt_status_t kt_secret_field(const kt_secret_t *secret, const char *field, kt_secret_t **ret_secret)
{
    return get_field(secret, field, false, ret_secret);
}

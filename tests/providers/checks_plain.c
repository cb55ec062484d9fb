/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checks_plain.c: the sentences of keyturn_provider.h about providers that know values. What a
 * provider does not declare is not asked of it; one without KTP_WRITE is only asked for what is not
 * there.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance.h"

#define VALUE_MAX 65536u /* bytes, of the core */
#define PUTS 60          /* of a thread */

/* ---- a value ---- */

static bool puts_value(session_t *s, const char *name, const void *data, size_t size)
{
    uint64_t version;

    return s_value_put(s, name, data, size, &version) == KTP_SUCCESS &&
           (version != 0) == host_can(KTP_VERSIONS);
}

static bool has(session_t *s, const char *name, const char *version, const void *data, size_t size)
{
    ktp_value_t value;
    bool same;

    if (s_value_get(s, name, version, &value) != KTP_SUCCESS)
        return false;
    same = value.value.size == size && memcmp(value.value.data, data, size) == 0;
    value_free(s, &value);
    return same;
}

/* A removed secret does not exist, or did exist: both are facts. */
static bool is_away(session_t *s, const char *name)
{
    ktp_value_t value;
    ktp_status_t status = s_value_get(s, name, "current", &value);

    if (status == KTP_SUCCESS)
        value_free(s, &value);
    return status == KTP_NOTFOUND || status == KTP_GONE;
}

static const char *check_absent(void)
{
    secret_t secret = fresh_secret();
    session_t *a = host_open();
    ktp_value_t value;

    EXPECT(s_value_get(a, secret.name, "current", &value) == KTP_NOTFOUND);
    EXPECT(s_value_get(a, secret.name, "current", &value) == KTP_NOTFOUND);
    return NULL;
}

/* Values are bytes: ends of strings, of lines, and what no text has. */
static const char *check_bytes(void)
{
    static const char bytes[] = "CANARY \0 \n \r\n \xff\xfe \x1b[0m %s \n";
    session_t *a = host_open(), *b = host_open();
    secret_t secret = fresh_secret();

    EXPECT(puts_value(a, secret.name, bytes, sizeof bytes - 1));
    EXPECT(has(a, secret.name, "current", bytes, sizeof bytes - 1));
    EXPECT(has(b, secret.name, "current", bytes, sizeof bytes - 1));
    host_close_all();
    EXPECT(has(host_open(), secret.name, "current", bytes, sizeof bytes - 1));
    return NULL;
}

static const char *check_sizes(void)
{
    static const size_t sizes[] = {1, 0, 63, 64, 4096, 4095, VALUE_MAX, 2};
    unsigned char *data = malloc(VALUE_MAX);
    session_t *a = host_open(), *b = host_open();
    secret_t secret = fresh_secret();
    uint64_t seed = rows_run;

    EXPECT(data != NULL);
    for (size_t i = 0; i < VALUE_MAX; i++)
        data[i] = (unsigned char)random_number(&seed);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        EXPECT(puts_value(a, secret.name, data, sizes[i]));
        EXPECT(has(b, secret.name, "current", data, sizes[i]));
    }
    free(data);
    return NULL;
}

static const char *check_remove(void)
{
    session_t *a = host_open(), *b = host_open();
    secret_t secret = fresh_secret(), other = fresh_secret();
    ktp_status_t status;

    EXPECT(puts_value(a, secret.name, "one", 3) && puts_value(a, other.name, "other", 5));
    EXPECT(s_value_remove(a, secret.name) == KTP_SUCCESS);
    EXPECT(is_away(a, secret.name) && is_away(b, secret.name));
    status = s_value_remove(b, secret.name);
    EXPECT(status == KTP_NOTFOUND || status == KTP_GONE);
    EXPECT(has(b, other.name, "current", "other", 5));
    EXPECT(puts_value(b, secret.name, "again", 5) && has(a, secret.name, "current", "again", 5));
    return NULL;
}

/* Names that a careless mapping confuses. */
static const char *check_names(void)
{
    static const char *const ends[] = {"",    "/b",  "-b",  "_b",   ".b", "/b/c", "/b-c", "/B",
                                       "b/c", "/b.", "/.b", "/b/b", "/_", "-",    "/..."};
    session_t *a = host_open(), *b = host_open();
    secret_t secret = fresh_secret();
    size_t length = strlen(secret.name), count = sizeof ends / sizeof ends[0];
    char name[256];

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "%s%s", secret.name, ends[i]);
        EXPECT(puts_value(a, name, ends[i], strlen(ends[i])));
    }
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "%s%s", secret.name, ends[i]);
        EXPECT(has(b, name, "current", ends[i], strlen(ends[i])));
    }
    memset(secret.name + length, 'x', 255 - length);
    memcpy(secret.name + length, "/-._.x/A9", 9);
    secret.name[255] = '\0';
    EXPECT(puts_value(a, secret.name, "long", 4) && has(b, secret.name, "current", "long", 4));
    return NULL;
}

/* ---- versions ---- */

static const char *check_versions(void)
{
    session_t *a = host_open();
    secret_t secret = fresh_secret();
    uint64_t first, second;
    char number[24];
    ktp_value_t value;

    EXPECT(s_value_put(a, secret.name, "one", 3, &first) == KTP_SUCCESS);
    EXPECT(s_value_get(a, secret.name, "previous", &value) == KTP_NOTFOUND);
    EXPECT(s_value_put(a, secret.name, "two", 3, &second) == KTP_SUCCESS && second > first);
    EXPECT(s_value_get(a, secret.name, "current", &value) == KTP_SUCCESS &&
           value.version == second);
    value_free(a, &value);
    EXPECT(has(a, secret.name, "previous", "one", 3));
    (void)snprintf(number, sizeof number, "%" PRIu64, first);
    EXPECT(has(a, secret.name, number, "one", 3));
    EXPECT(s_value_get(a, secret.name, "999999", &value) == KTP_NOTFOUND);
    return NULL;
}

/* ---- lists ---- */

typedef struct listing {
    const char *prefix;
    unsigned ours, calls, end_after;
} listing_t;

static int count_name(void *arg, const char *name)
{
    listing_t *listing = arg;

    listing->calls++;
    listing->ours += strncmp(name, listing->prefix, strlen(listing->prefix)) == 0;
    return listing->end_after != 0 && listing->calls >= listing->end_after;
}

static const char *check_list(void)
{
    session_t *a = host_open();
    secret_t secret = fresh_secret();
    listing_t listing = {.prefix = secret.name}, cut = {.prefix = "", .end_after = 2};
    char name[300];

    for (unsigned i = 0; i < 5; i++) {
        (void)snprintf(name, sizeof name, "%s/%u", secret.name, i);
        EXPECT(puts_value(a, name, "x", 1) && puts_value(a, name, "y", 1));
    }
    EXPECT(s_value_remove(a, name) == KTP_SUCCESS);
    EXPECT(s_list(a, count_name, &listing) == KTP_SUCCESS && listing.ours == 4);
    EXPECT(s_list(a, count_name, &cut) == KTP_SUCCESS && cut.calls == 2);
    return NULL;
}

typedef struct names {
    char list[250][256];
    size_t count;
} names_t;

static int keep_name(void *arg, const char *name)
{
    names_t *names = arg;

    (void)snprintf(names->list[names->count++], sizeof names->list[0], "%s", name);
    return names->count == sizeof names->list / sizeof names->list[0];
}

/* A list that is empty proves nothing, but a name in it that is not there is wrong. */
static const char *check_listed(void)
{
    static names_t names;
    session_t *a = host_open();
    ktp_value_t value;

    names.count = 0;
    EXPECT(s_list(a, keep_name, &names) == KTP_SUCCESS);
    for (size_t i = 0; i < names.count; i++) {
        EXPECT(s_value_get(a, names.list[i], "current", &value) == KTP_SUCCESS);
        value_free(a, &value);
    }
    return NULL;
}

/* ---- two at once ---- */

typedef struct writer {
    session_t *session;
    const char *name;
    const unsigned char *values[2]; /* VALUE_MAX bytes each */
    bool failed;
} writer_t;

static void *write_values(void *arg)
{
    writer_t *writer = arg;
    uint64_t version;

    for (int i = 0; i < PUTS && !writer->failed; i++) {
        ktp_status_t status =
            s_value_put(writer->session, writer->name, writer->values[i % 2], VALUE_MAX, &version);

        writer->failed = status != KTP_SUCCESS && status != KTP_TRYAGAIN && status != KTP_CONFLICT;
    }
    return NULL;
}

/* A reader during a write gets the old value or the new one, or is asked to try again. */
static const char *read_values(session_t *s, const writer_t *writer)
{
    for (int i = 0; i < PUTS; i++) {
        ktp_value_t value;
        ktp_status_t status = s_value_get(s, writer->name, "current", &value);
        bool whole;

        if (status == KTP_TRYAGAIN)
            continue;
        EXPECT(status == KTP_SUCCESS);
        whole = value.value.size == VALUE_MAX &&
                (memcmp(value.value.data, writer->values[0], VALUE_MAX) == 0 ||
                 memcmp(value.value.data, writer->values[1], VALUE_MAX) == 0);
        value_free(s, &value);
        EXPECT(whole);
    }
    return NULL;
}

static const char *check_two_at_once(void)
{
    static unsigned char values[2][VALUE_MAX];
    secret_t secret = fresh_secret();
    writer_t writers[2];
    pthread_t threads[2];
    session_t *reader = host_open();
    const char *wrong;

    memset(values[0], 'a', VALUE_MAX);
    memset(values[1], 'b', VALUE_MAX);
    for (int i = 0; i < 2; i++)
        writers[i] = (writer_t){host_open(), secret.name, {values[i], values[1 - i]}, false};
    EXPECT(puts_value(reader, secret.name, values[0], VALUE_MAX));
    for (int i = 0; i < 2; i++)
        EXPECT(pthread_create(&threads[i], NULL, write_values, &writers[i]) == 0);
    wrong = read_values(reader, &writers[0]);
    for (int i = 0; i < 2; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    EXPECT(!writers[0].failed && !writers[1].failed);
    return wrong;
}

const check_t checks_plain[] = {
    {"an absent secret is not found", check_absent, 0, false},
    {"a value comes back as it was put", check_bytes, KTP_WRITE, false},
    {"values up to 64 KiB, and of no bytes", check_sizes, KTP_WRITE, false},
    {"what is removed is away, and nothing else", check_remove, KTP_WRITE, false},
    {"names are kept apart, up to 255 bytes", check_names, KTP_WRITE, false},
    {"versions by number and by word", check_versions, KTP_WRITE | KTP_VERSIONS, false},
    {"a list has each name once, and stops when asked", check_list, KTP_WRITE | KTP_LIST, false},
    {"what is listed can be read", check_listed, KTP_LIST, false},
    {"two writers and a reader: each value whole", check_two_at_once, KTP_WRITE, false},
    {NULL, NULL, 0, false},
};

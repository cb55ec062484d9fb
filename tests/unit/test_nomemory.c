/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each allocation fails once: what was asked for is then refused as KT_INTERNAL, or made without
 * it; it is never taken for a wrong input, and nothing is lost of what was allocated before.
 *
 * The program's own malloc() counts and fails, also for the libraries; so a memory checker that
 * brings its own sees only the rest of this test.
 */
#include "config_text.h"

#include <errno.h>

static long countdown; /* allocations until the one that fails; 0: none does */
static long balance;   /* allocations that are not freed */

#ifdef __SANITIZE_ADDRESS__
#define OWN_MALLOC 0
#elif defined(__has_feature)
#define OWN_MALLOC !__has_feature(address_sanitizer)
#else
#define OWN_MALLOC 1
#endif

#if OWN_MALLOC
#define EXPORTED __attribute__((visibility("default"))) /* the libraries' too */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *data, size_t size);
extern void __libc_free(void *data);

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    errno = ENOMEM;
    return true;
}

EXPORTED void *malloc(size_t size)
{
    void *data = fails() ? NULL : __libc_malloc(size);

    balance += data != NULL;
    return data;
}

EXPORTED void *calloc(size_t count, size_t size)
{
    void *data = fails() ? NULL : __libc_calloc(count, size);

    balance += data != NULL;
    return data;
}

EXPORTED void *realloc(void *data, size_t size)
{
    void *new = fails() ? NULL : __libc_realloc(data, size);

    balance += data == NULL && new != NULL;
    return new;
}

EXPORTED void free(void *data)
{
    balance -= data != NULL;
    __libc_free(data);
}
#endif

/* Check allocates as well. */
static void check_secret(const kt_secret_t *secret, const char *text)
{
    long left = countdown;

    countdown = 0;
    assert_secret(secret, text);
    countdown = left;
}

static kt_secret_t *database, *api_key, *uri, *beside, *part;

static kt_status_t read_config(void)
{
    kt_config_t *config;
    kt_status_t status = parse(whole, &config);

    kt_config_unref(config);
    return status;
}

static kt_status_t set_field(void)
{
    kt_secret_t *value = NULL;
    kt_status_t status = kt_shape_set_field(database, "new \xc3\xa4", part, &value);

    if (status == KT_SUCCESS)
        check_secret(value, "{\"us\\u0065r\":\"u\",\"password\":\"p\",\"port\":1, "
                            "\"new \xc3\xa4\": \"new\"}");
    kt_secret_free(value);
    return status;
}

static kt_status_t set_escaped_field(void)
{
    kt_secret_t *value = NULL;
    kt_status_t status = kt_shape_set_field(database, "user", part, &value);

    if (status == KT_SUCCESS)
        check_secret(value, "{\"us\\u0065r\":\"new\",\"password\":\"p\",\"port\":1}");
    kt_secret_free(value);
    return status;
}

static kt_status_t get_fields(void)
{
    kt_secret_t *user = NULL, *port = NULL;
    kt_status_t status = kt_secret_field(database, "user", &user);

    if (status == KT_SUCCESS) {
        check_secret(user, "u");
        status = kt_secret_field(database, "port", &port);
    }
    if (status == KT_SUCCESS) {
        check_secret(port, "1");
        kt_secret_free(user);
        user = NULL;
        status = kt_secret_field(beside, "host", &user); /* of its URI */
    }
    kt_secret_free(user);
    kt_secret_free(port);
    return status;
}

static kt_status_t encode_basic(void)
{
    kt_secret_t *text = NULL;
    kt_status_t status = kt_secret_encode(database, KT_ENCODE_BASIC, &text);

    if (status == KT_SUCCESS)
        check_secret(text, "dTpw");
    kt_secret_free(text);
    return status;
}

/* A shape that cannot be made out is not taken for an opaque value, of which nothing would stay. */
static kt_status_t rotate(const kt_secret_t *old, const char *wanted)
{
    kt_secret_t *value = NULL;
    kt_status_t status = kt_shape_rotate(kt_shape_of(old), old, part, 0, &value);

    if (status == KT_SUCCESS)
        check_secret(value, wanted);
    kt_secret_free(value);
    return status;
}

static kt_status_t rotate_database(void)
{
    return rotate(database, "{\"us\\u0065r\":\"u\",\"password\":\"new\",\"port\":1, "
                            "\"rotated_at\": \"1970-01-01T00:00:00Z\"}");
}

static kt_status_t rotate_api_key(void)
{
    return rotate(api_key, "{\"\\u0061pi_key\":\"new\", \"previous_key\": \"k\", "
                           "\"rotated_at\": \"1970-01-01T00:00:00Z\"}");
}

static kt_status_t rotate_uri(void)
{
    return rotate(uri, "postgres://u:new@h/x");
}

/* A URI that cannot be compared is not another account's. */
static kt_status_t rotate_uri_beside(void)
{
    return rotate(beside, "{\"user\":\"u\",\"password\":\"new\",\"url\":\"postgres://u:new@h\", "
                          "\"rotated_at\": \"1970-01-01T00:00:00Z\"}");
}

static kt_status_t (*const works[])(void) = {
    read_config,     set_field,      set_escaped_field, get_fields,        encode_basic,
    rotate_database, rotate_api_key, rotate_uri,        rotate_uri_beside,
};

START_TEST(each_allocation_fails_once)
{
    long failures = 0;

    database = secret_of("{\"us\\u0065r\":\"u\",\"password\":\"p\",\"port\":1}");
    api_key = secret_of("{\"\\u0061pi_key\":\"k\"}");
    uri = secret_of("postgres://u:p@h/x");
    beside = secret_of("{\"user\":\"u\",\"password\":\"p\",\"url\":\"postgres://u:p@h\"}");
    part = secret_of("new");
    assert_ok(works[_i]()); /* what is made only once is made */
    for (long n = 1;; n++) {
        long before = balance;
        kt_status_t status;

        countdown = n;
        status = works[_i]();
        if (countdown > 0 || !OWN_MALLOC)
            break;
        countdown = 0;
        if (status != KT_SUCCESS)
            assert_status(status, KT_INTERNAL);
        ck_assert_msg(balance == before, "%ld left of the failure of allocation %ld",
                      balance - before, n);
        failures += status != KT_SUCCESS;
    }
    countdown = 0;
    /* a field that is there is read without any */
    ck_assert(failures >= 2 || !OWN_MALLOC || works[_i] == encode_basic);
    kt_secret_free(part);
    kt_secret_free(beside);
    kt_secret_free(uri);
    kt_secret_free(api_key);
    kt_secret_free(database);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, each_allocation_fails_once, works);
}

UNIT_MAIN("nomemory", add_tests)

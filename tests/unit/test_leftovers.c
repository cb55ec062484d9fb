/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nothing that the core does with a value leaves it behind: after each piece of work every writable
 * byte of the process is searched, its stack and heap included.
 */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define NEEDLE_SIZE 32u
#define MASK 0x5a
#define MAPPING_MAX (256u << 20) /* bytes of a mapping: not the shadow of a sanitizer */
#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

/* A random value, masked: what is looked for must itself not be found. */
static unsigned char masked[NEEDLE_SIZE];

static kt_secret_t *needle(void)
{
    kt_secret_t *value = kt_generate(KT_ALPHABET_HEX, NEEDLE_SIZE);

    for (size_t i = 0; i < NEEDLE_SIZE; i++)
        masked[i] = value->data[i] ^ MASK;
    return value;
}

/* Half of the value is enough to be found. In place, since a copy would be found as well. */
#define PART (NEEDLE_SIZE / 2)

UNCHECKED static bool found_at(const unsigned char *at)
{
    for (size_t i = 0; i < PART; i++)
        if ((at[i] ^ MASK) != masked[i])
            return false;
    return true;
}

UNCHECKED static size_t search(const unsigned char *from, const unsigned char *to)
{
    size_t count = 0;

    for (; from + PART <= to; from++)
        if ((*from ^ MASK) == masked[0] && found_at(from))
            count++;
    return count;
}

/* How often the value is found in what this process may write. */
static size_t leftovers(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    uintptr_t from, to;
    char line[512], mode[5];
    size_t count = 0;

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps) != NULL)
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, mode) == 3 &&
            strncmp(mode, "rw", 2) == 0 && to - from <= MAPPING_MAX)
            count += search((const unsigned char *)from, (const unsigned char *)to);
    fclose(maps);
    return count;
}

static void free_all(kt_secret_t **secrets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        kt_secret_free(secrets[i]);
}

static void nothing(kt_secret_t *value)
{
    (void)value;
}

static void encode(kt_secret_t *value)
{
    for (kt_encoding_t encoding = KT_ENCODE_NONE; encoding < KT_ENCODE_BASIC; encoding++) {
        kt_secret_t *text = NULL;

        assert_ok(kt_secret_encode(value, encoding, &text));
        kt_secret_free(text);
    }
}

static void fields(kt_secret_t *value)
{
    kt_secret_t *s[4] = {NULL};

    assert_ok(kt_shape_set_field(NULL, "password", value, &s[0]));
    assert_ok(kt_shape_set_field(s[0], "user", value, &s[1]));
    assert_ok(kt_secret_field(s[1], "user", &s[2]));
    assert_ok(kt_secret_encode(s[1], KT_ENCODE_BASIC, &s[3]));
    free_all(s, 4);
}

static void rotate(kt_secret_t *value)
{
    kt_secret_t *s[5] = {NULL};

    assert_ok(kt_shape_set_field(NULL, "api_key", value, &s[0]));
    assert_ok(kt_shape_rotate(kt_shape_of(s[0]), s[0], value, 0, &s[1]));
    assert_ok(kt_shape_rotate(KT_SHAPE_OPAQUE, NULL, value, 0, &s[2]));
    assert_status(kt_shape_rotate(KT_SHAPE_DATABASE, value, value, 0, &s[3]), KT_MALFORMED);
    s[3] = secret_of("\xff");
    assert_status(kt_shape_rotate(KT_SHAPE_API_KEY, s[0], s[3], 0, &s[4]), KT_MALFORMED);
    free_all(s, 5);
}

/* JSON that breaks off after the value, at different places of the parser. */
static void refuse(kt_secret_t *value)
{
    static const char *const tails[] = {"",      "\"",     "\":",        "\":1",
                                        "\":1,", "\":1}x", "\":\"\\u00", "\xff"};

    for (size_t i = 0; i < KT_ARRAY(tails); i++) {
        kt_secret_t *bad = kt_secret_new(NULL, 2 + NEEDLE_SIZE + strlen(tails[i])), *field = NULL;

        memcpy(bad->data, "{\"", 2);
        memcpy(bad->data + 2, value->data, NEEDLE_SIZE);
        memcpy(bad->data + 2 + NEEDLE_SIZE, tails[i], strlen(tails[i]));
        assert_status(kt_secret_field(bad, "x", &field), KT_MALFORMED);
        kt_secret_free(bad);
    }
}

static void sign(kt_secret_t *value)
{
    static const char request[] = "GET\n/\n\nx-amz-date:20130524T000000Z\n\n";
    kt_sign_t how = KT_SIGN_INIT;
    unsigned char mac[KT_MAC_MAX];
    size_t size;

    for (how.algorithm = KT_HMAC_SHA256; how.algorithm <= KT_HMAC_SHA512; how.algorithm++)
        assert_ok(kt_secret_sign(value, &how, request, sizeof(request) - 1, mac, &size));
    how.algorithm = KT_HMAC_SHA256;
    how.derive = "aws4:us-east-1/s3";
    assert_ok(kt_secret_sign(value, &how, request, sizeof(request) - 1, mac, &size));
}

static void compare(kt_secret_t *value)
{
    ck_assert(kt_secret_equal(value, value->data, value->size));
    ck_assert(!kt_secret_equal(value, "x", 1));
}

static void (*const works[])(kt_secret_t *value) = {nothing, encode, fields, rotate,
                                                    refuse,  sign,   compare};

START_TEST(nothing_is_left_of_a_value)
{
    kt_secret_t *value = needle();

    ck_assert_uint_eq(leftovers(), 1);
    works[_i](value);
    kt_secret_free(value);
    ck_assert_uint_eq(leftovers(), 0);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, nothing_is_left_of_a_value, works);
}

/*
 * With all functions of libraries resolved beforehand: at the first call of one the dynamic linker
 * saves the vector registers on the stack, and a value that was just copied is in them.
 */
int main(int argc, char **argv)
{
    if (getenv("LD_BIND_NOW") == NULL && argc > 0) {
        setenv("LD_BIND_NOW", "1", 1);
        execv("/proc/self/exe", argv);
    }
    return unit_run("leftovers", add_tests);
}

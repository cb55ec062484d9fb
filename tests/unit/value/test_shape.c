/* SPDX-License-Identifier: BSD-2-Clause */
/* core/value/shape.c: fields of JSON objects and what a rotation keeps. */
#include "unit.h"

#include <jansson.h>

#define PEM "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

/* ---- Shapes ---- */

static const struct {
    const char *value;
    kt_shape_t shape;
} shapes[] = {
    {"", KT_SHAPE_OPAQUE},
    {"plain", KT_SHAPE_OPAQUE},
    {"{", KT_SHAPE_OPAQUE},
    {"[]", KT_SHAPE_OPAQUE},
    {"\"password\"", KT_SHAPE_OPAQUE},
    {"{}", KT_SHAPE_OPAQUE},
    {"{\"value\":\"x\"}", KT_SHAPE_OPAQUE},
    {"{\"host\":\"h\",\"port\":\"5432\",\"name\":\"n\",\"user\":\"u\",\"password\":\"p\"}",
     KT_SHAPE_DATABASE},
    {"{\"user\":\"u\",\"password\":\"p\"}", KT_SHAPE_DATABASE},
    {" { \"password\" : \"p\" , \"host\" : \"h\" }\n", KT_SHAPE_DATABASE},
    {"{\"password\":\"p\"}", KT_SHAPE_DATABASE},
    {"{\"username\":\"u\",\"password\":\"p\"}", KT_SHAPE_DATABASE},
    {"{\"user\":\"u\",\"password\":null}", KT_SHAPE_OPAQUE},
    {"{\"user\":\"u\",\"password\":\"p\",\"password\":\"q\"}", KT_SHAPE_OPAQUE}, /* twice */
    {"{\"user\":\"u\",\"password\":\"p\"} x", KT_SHAPE_OPAQUE},
    {"{\"api_key\":\"k\"}", KT_SHAPE_API_KEY},
    {"{\"api_key\":1}", KT_SHAPE_OPAQUE},
    {PEM, KT_SHAPE_CERTIFICATE},
    {"Bag\n-----BEGIN RSA PRIVATE KEY-----\n", KT_SHAPE_CERTIFICATE},
    {"{\"certificate\":\"c\",\"private_key\":\"k\"}", KT_SHAPE_CERTIFICATE},
    {"{\"certificate\":\"c\"}", KT_SHAPE_OPAQUE},
    {"{\"note\":\"-----BEGIN CERTIFICATE-----\"}", KT_SHAPE_OPAQUE},
};

START_TEST(shapes_by_table)
{
    kt_secret_t *value = secret_of(shapes[_i].value);

    ck_assert_int_eq((int)kt_shape_of(value), (int)shapes[_i].shape);
    kt_secret_free(value);
}
END_TEST

/* ---- One field ---- */

static const struct {
    const char *value, *field;
    kt_status_t status;
    const char *text; /* the field, or the error text */
} fields[] = {
    {"{\"a\":\"x\"}", "a", KT_SUCCESS, "x"},
    {"{\"a\":\"\"}", "a", KT_SUCCESS, ""},
    {"{\"a\":\"\\u00e4\\n\\\"\\/\"}", "a", KT_SUCCESS, "\xc3\xa4\n\"/"},
    {"{\"a\":\"\xc3\xa4\"}", "a", KT_SUCCESS, "\xc3\xa4"},
    {"{\"p\\u00e4\":\"x\"}", "p\xc3\xa4", KT_SUCCESS, "x"},
    {"{\"a b\":\"x\"}", "a b", KT_SUCCESS, "x"},
    {"{\"port\":5432}", "port", KT_SUCCESS, "5432"},
    {"{\"port\":\"5432\"}", "port", KT_SUCCESS, "5432"},
    {"{\"r\": 1.10 }", "r", KT_SUCCESS, "1.10"},
    {" \n{\"r\":-0}", "r", KT_SUCCESS, "-0"},
    {"{\"r\":1e5}", "r", KT_SUCCESS, "1e5"},
    {"{\"b\":{\"a\":1},\"c\":[\"a\",{\"a\":2}],\"\\u0061\":3,\"d\":4}", "a", KT_SUCCESS, "3"},
    {"{\"x\":\"\\\\\",\"y\":\"}\",\"a\":7}", "a", KT_SUCCESS, "7"},
    {"{\"x\":\"\\\"a\\\":1\",\"a\":7}", "a", KT_SUCCESS, "7"},
    {"{\"a\":1}", "b", KT_NOTFOUND, "the value has no field `b`"},
    {"{\"a\":1}", "A", KT_NOTFOUND, "the value has no field `A`"},
    {"{\"a\":{\"b\":1}}", "a.b", KT_NOTFOUND, "the value has no field `a.b`"},
    {"{\"a\": 1.50\n}", "a", KT_SUCCESS, "1.50"},
    {"{\"a\":true,\"b\":1}", "a", KT_SUCCESS, "true"},
    {"{\"a\": false }", "a", KT_SUCCESS, "false"},
    {"{\"a\" : {} }", "a", KT_SUCCESS, "{}"},
    {"{\"a\":{\"b\": [1, 2.0e+1, \"}\"]} , \"c\":2}", "a", KT_SUCCESS,
     "{\"b\": [1, 2.0e+1, \"}\"]}"},
    {"{\"a\":[\"x\" , null]}", "a", KT_SUCCESS, "[\"x\" , null]"},
    {"{\"a\":12345678901234567890123}", "a", KT_SUCCESS, "12345678901234567890123"},
    {"{\"n\":12345678901234567890,\"a\":\"x\"}", "a", KT_SUCCESS, "x"},
    {"{\"n\":1e999,\"a\":\"x\"}", "a", KT_SUCCESS, "x"},
    {"{\"n\":1,\"n\":2,\"a\":\"x\"}", "a", KT_SUCCESS, "x"},
    {"{\"n\":\"\\u0000\",\"a\":\"x\"}", "a", KT_SUCCESS, "x"},
    {"{\"n\":\"\\ud800\",\"a\":\"x\"}", "a", KT_SUCCESS, "x"},
    {"{\"a\\u0000\":1,\"a\":\"x\"}", "a", KT_SUCCESS, "x"},
    {"{\"a\":\"\\uD83d\\uDe00\\/\"}", "a", KT_SUCCESS, "\xf0\x9f\x98\x80/"},
    {"{\"a\":\"x\",\"n\":01}", "a", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":\"x\",}", "a", KT_MALFORMED, "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":\"x\",\"n\":[1,]}", "a", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":\"x\",\"n\":[}]}", "a", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":\"x\" \"n\":1}", "a", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":\"x\",\"n\":\"\xc0\x80\"}", "a", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":\"x\",\"n\":\"\xed\xa0\x80\"}", "a", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":null}", "a", KT_MALFORMED, "the field `a` is null"},
    {"{\"a\":\"CANARY\\ud800\"}", "a", KT_MALFORMED,
     "the field `a` holds a zero byte or half a character"},
    {"CANARY", "a", KT_MALFORMED, "the value is not a JSON object, so it has no field `a`"},
    {"", "a", KT_MALFORMED, "the value is not a JSON object, so it has no field `a`"},
    {"[1]", "a", KT_MALFORMED, "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":1} CANARY", "a", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":1,\"a\":2}", "a", KT_MALFORMED, "the value has the field `a` twice"},
    {"{\"a\":1,\"\\u0061\":2}", "a", KT_MALFORMED, "the value has the field `a` twice"},
    {"{\"a\":\"\xff\"}", "a", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `a`"},
    {"{\"a\":\"\\u0000\"}", "a", KT_MALFORMED,
     "the field `a` holds a zero byte or half a character"},
    {"{'a':1}", "a", KT_MALFORMED, "the value is not a JSON object, so it has no field `a`"},
};

START_TEST(fields_by_table)
{
    kt_secret_t *value = secret_of(fields[_i].value), *field = NULL;

    value->version = 9;
    value->expires = 8;
    value->stale = true;
    assert_status(kt_secret_field(value, fields[_i].field, &field), fields[_i].status);
    if (fields[_i].status == KT_SUCCESS) {
        assert_secret(field, fields[_i].text);
        ck_assert_uint_eq(kt_secret_version(field), 9);
        ck_assert(field->expires == 8);
        ck_assert_int_ne(kt_secret_stale(field), 0);
    } else {
        assert_failure(fields[_i].text);
        ck_assert_ptr_null(field);
    }
    kt_secret_free(field);
    kt_secret_free(value);
}
END_TEST

START_TEST(a_zero_byte_is_nowhere_in_json)
{
    static const char whole[] = "{ \"a\" : 1 , \"b\" : [ 0 , true ] , \"c\" : \"x\" } ";
    kt_secret_t *part = secret_of("x"), *value = NULL;

    for (size_t i = 0; i < sizeof(whole) - 1; i++) {
        kt_secret_t *bad = kt_secret_new(whole, sizeof(whole) - 1);

        bad->data[i] = '\0';
        assert_status(kt_secret_field(bad, "c", &value), KT_MALFORMED);
        assert_status(kt_shape_set_field(bad, "d", part, &value), KT_MALFORMED);
        kt_secret_free(bad);
    }
    kt_secret_free(part);
}
END_TEST

START_TEST(an_endless_nesting_is_refused)
{
    size_t depth = 60000;
    char *text = malloc(depth + 6);
    kt_secret_t *value, *field = NULL;

    memcpy(text, "{\"a\":", 5);
    memset(text + 5, '[', depth);
    value = kt_secret_new(text, depth + 5);
    assert_status(kt_secret_field(value, "a", &field), KT_MALFORMED);
    kt_secret_free(value);
    free(text);
}
END_TEST

/* ---- Setting a field ---- */

static const struct {
    const char *old, *field, *part, *wanted; /* old NULL: there is none */
} sets[] = {
    {NULL, "a", "x", "{\"a\": \"x\"}"},
    {"{}", "a", "x", "{\"a\": \"x\"}"},
    {"{ }", "a", "x", "{\"a\": \"x\" }"},
    {"{\"a\":\"old\"}", "a", "x", "{\"a\":\"x\"}"},
    {"\n {\"a\":\"old\"}", "a", "x", "\n {\"a\":\"x\"}"},
    {"{\"a\":\"old\"}", "b", "x", "{\"a\":\"old\", \"b\": \"x\"}"},
    {"{\n  \"a\": 1\n}\n", "b", "x", "{\n  \"a\": 1, \"b\": \"x\"\n}\n"},
    {"{\"a\":1.10,\"b\":[1,{\"a\":2}] ,\"c\":\"\\u00e4\"}", "b", "x",
     "{\"a\":1.10,\"b\":\"x\" ,\"c\":\"\\u00e4\"}"},
    {"{\"\\u0061\" : {\"a\":\"}\"}}", "a", "x", "{\"\\u0061\" : \"x\"}"},
    {"{\"n\":12345678901234567890,\"z\":\"\\u0000\",\"a\":\"old\"}", "a", "x",
     "{\"n\":12345678901234567890,\"z\":\"\\u0000\",\"a\":\"x\"}"},
    {"{\"a\":null}", "a", "", "{\"a\":\"\"}"},
    {"{\"a\":1}", "a", "q\"b\\n\nu\x01\xc3\xa4/", "{\"a\":\"q\\\"b\\\\n\\nu\\u0001\xc3\xa4/\"}"},
    {"{}", "q\"\xc3\xa4", "x", "{\"q\\\"\xc3\xa4\": \"x\"}"},
};

START_TEST(sets_by_table)
{
    kt_secret_t *old = sets[_i].old != NULL ? secret_of(sets[_i].old) : NULL;
    kt_secret_t *part = secret_of(sets[_i].part), *value = NULL, *back = NULL;

    assert_ok(kt_shape_set_field(old, sets[_i].field, part, &value));
    assert_secret(value, sets[_i].wanted);
    assert_ok(kt_secret_field(value, sets[_i].field, &back));
    assert_secret(back, sets[_i].part);
    if (old != NULL)
        assert_secret(old, sets[_i].old);
    kt_secret_free(back);
    kt_secret_free(value);
    kt_secret_free(part);
    kt_secret_free(old);
}
END_TEST

static const struct {
    const char *old, *field, *part;
    size_t part_size;
    const char *failure;
} not_sets[] = {
    {"CANARY", "a", "x", 1, "the value is not a JSON object"},
    {"[]", "a", "x", 1, "the value is not a JSON object"},
    {"{\"a\":1,\"a\":2}", "a", "x", 1, "the value is not a JSON object"},
    {"{}", "a", "CANARY\xff", 7,
     "the new value is not UTF-8 or holds a zero byte: it cannot be a field of a JSON object"},
    {"{}", "a", "CANARY\0x", 8,
     "the new value is not UTF-8 or holds a zero byte: it cannot be a field of a JSON object"},
    {"{}", "a\xff", "x", 1, "the field's name is not UTF-8"},
};

START_TEST(what_cannot_be_set_by_table)
{
    kt_secret_t *old = secret_of(not_sets[_i].old), *value = NULL;
    kt_secret_t *part = kt_secret_new(not_sets[_i].part, not_sets[_i].part_size);

    assert_status(kt_shape_set_field(old, not_sets[_i].field, part, &value), KT_MALFORMED);
    assert_failure(not_sets[_i].failure);
    ck_assert_ptr_null(value);
    kt_secret_free(part);
    kt_secret_free(old);
}
END_TEST

/* The block that was freed last is the first to be used again. */
START_TEST(a_new_object_leaves_no_block_behind)
{
    kt_secret_t *part = secret_of("p"), *value = NULL, *block = secret_of("{}");
    const unsigned char *bytes = kt_secret_bytes(block);

    kt_secret_free(block);
    assert_ok(kt_shape_set_field(NULL, "a", part, &value));
    block = secret_of("{}");
    ck_assert_ptr_eq(kt_secret_bytes(block), bytes);
    kt_secret_free(block);
    kt_secret_free(value);
    kt_secret_free(part);
}
END_TEST

START_TEST(a_value_has_64_kib_at_most)
{
    static char letters[KT_VALUE_MAX];
    const size_t fits = KT_VALUE_MAX - strlen("{\"a\": \"\"}");
    kt_secret_t *old = secret_of("{\"a\": \"x\"}"), *value = NULL;

    memset(letters, 'x', sizeof(letters));
    for (size_t size = fits - 1; size <= fits + 1; size++) {
        kt_secret_t *part = kt_secret_new(letters, size);

        assert_status(kt_shape_set_field(NULL, "a", part, &value),
                      size <= fits ? KT_SUCCESS : KT_TOOLARGE);
        if (size <= fits)
            kt_secret_free(value);
        /* put in place of another */
        assert_status(kt_shape_set_field(old, "a", part, &value),
                      size <= fits ? KT_SUCCESS : KT_TOOLARGE);
        if (size <= fits)
            kt_secret_free(value);
        kt_secret_free(part);
    }
    assert_failure("the value would have 65537 bytes, over 65536");
    kt_secret_free(old);
}
END_TEST

/* ---- Rotation ---- */

#define NOW 1700000000123 /* ms */
#define AT "\"2023-11-14T22:13:20Z\""

static const struct {
    kt_shape_t shape;
    const char *old, *wanted;
} rotations[] = {
    {KT_SHAPE_DATABASE,
     "{\"host\":\"h\",\"port\":5432,\"name\":\"n\",\"user\":\"u\",\"password\":\"old\","
     "\"rotated_at\":\"2020-01-01T00:00:00Z\"}",
     "{\"host\":\"h\",\"port\":5432,\"name\":\"n\",\"user\":\"u\",\"password\":\"new\","
     "\"rotated_at\":" AT "}"},
    {KT_SHAPE_DATABASE,
     "{\"port\": \"5432\", \"user\": \"u\", \"password\": \"old\", \"x\": [1.0]}",
     "{\"port\": \"5432\", \"user\": \"u\", \"password\": \"new\", \"x\": [1.0], "
     "\"rotated_at\": " AT "}"},
    {KT_SHAPE_API_KEY, "{\"api_key\":\"a\\u0041\"}",
     "{\"api_key\":\"new\", \"previous_key\": \"a\\u0041\", \"rotated_at\": " AT "}"},
    {KT_SHAPE_API_KEY,
     "{\"rotated_at\":null,\"previous_key\":\"older\",\"api_key\":\"old\",\"x\":1}",
     "{\"rotated_at\":" AT ",\"previous_key\":\"old\",\"api_key\":\"new\",\"x\":1}"},
    {KT_SHAPE_API_KEY, "{\"x\":1}", "{\"x\":1, \"api_key\": \"new\", \"rotated_at\": " AT "}"},
    {KT_SHAPE_OPAQUE, "old", "new"},
    {KT_SHAPE_OPAQUE, "{\"value\":\"old\"}", "new"},
};

START_TEST(rotations_by_table)
{
    kt_secret_t *old = secret_of(rotations[_i].old), *part = secret_of("new"), *value = NULL;

    assert_ok(kt_shape_rotate(rotations[_i].shape, old, part, NOW, &value));
    assert_secret(value, rotations[_i].wanted);
    assert_secret(old, rotations[_i].old);
    assert_secret(part, "new");
    kt_secret_free(value);
    kt_secret_free(part);
    kt_secret_free(old);
}
END_TEST

START_TEST(what_is_not_rotated)
{
    kt_secret_t *old = secret_of("CANARY"), *part = secret_of("x\xff"), *value = NULL;
    kt_secret_t *object = secret_of("{\"user\":\"u\",\"password\":\"p\"}"), *good = secret_of("x");

    assert_status(kt_shape_rotate(KT_SHAPE_CERTIFICATE, old, good, NOW, &value), KT_CONFLICT);
    assert_status(kt_shape_rotate(KT_SHAPE_DATABASE, old, good, NOW, &value), KT_MALFORMED);
    assert_status(kt_shape_rotate(KT_SHAPE_API_KEY, old, good, NOW, &value), KT_MALFORMED);
    assert_status(kt_shape_rotate(KT_SHAPE_DATABASE, object, part, NOW, &value), KT_MALFORMED);
    ck_assert_ptr_null(value);
    assert_ok(kt_shape_rotate(KT_SHAPE_OPAQUE, NULL, part, NOW, &value));
    ck_assert(kt_secret_equal(value, "x\xff", 2));
    kt_secret_free(value);
    kt_secret_free(good);
    kt_secret_free(object);
    kt_secret_free(part);
    kt_secret_free(old);
}
END_TEST

/* An object that is cut anywhere is not an object; one with a changed byte harms no memory. */
START_TEST(no_damage_does_harm)
{
    static const char whole[] = "{\"a\":{\"b\":[1,2.5e3,\"\\\"}\"]},\"user\":\"u\\u00e4\", "
                                "\"password\" :\"p\",\"t\":true}";
    kt_secret_t *part = secret_of("x"), *value = NULL;

    for (size_t i = 0; i < sizeof(whole) - 1; i++) {
        kt_secret_t *old = kt_secret_new(whole, i);

        assert_status(kt_shape_set_field(old, "user", part, &value), KT_MALFORMED);
        kt_secret_free(old);
        for (unsigned c = 0; c < 256; c++) {
            old = kt_secret_new(whole, sizeof(whole) - 1);
            kt_secret_buffer(old)[i] = (unsigned char)c;
            if (kt_shape_set_field(old, "user", part, &value) == KT_SUCCESS) {
                kt_secret_t *field = NULL;

                assert_ok(kt_secret_field(value, "user", &field));
                assert_secret(field, "x");
                kt_secret_free(field);
                kt_secret_free(value);
            }
            kt_secret_free(old);
        }
    }
    kt_secret_free(part);
}
END_TEST

START_TEST(the_library_frees_by_wiping)
{
    json_malloc_t alloc;
    json_free_t release;

    json_get_alloc_funcs(&alloc, &release);
    ck_assert(release == free);
    kt_json_setup();
    json_get_alloc_funcs(&alloc, &release);
    ck_assert(alloc != malloc && release != free);
    release(NULL);
}
END_TEST

static void *own_alloc(size_t size)
{
    return malloc(size);
}

static void own_free(void *data)
{
    free(data);
}

START_TEST(a_host_keeps_its_allocator)
{
    json_malloc_t alloc;
    json_free_t release;

    json_set_alloc_funcs(own_alloc, own_free);
    kt_json_setup();
    json_get_alloc_funcs(&alloc, &release);
    ck_assert(alloc == own_alloc && release == own_free);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, shapes_by_table, shapes);
    UNIT_TABLE(tests, fields_by_table, fields);
    tcase_add_test(tests, a_zero_byte_is_nowhere_in_json);
    tcase_add_test(tests, an_endless_nesting_is_refused);
    UNIT_TABLE(tests, sets_by_table, sets);
    UNIT_TABLE(tests, what_cannot_be_set_by_table, not_sets);
    tcase_add_test(tests, a_new_object_leaves_no_block_behind);
    tcase_add_test(tests, a_value_has_64_kib_at_most);
    UNIT_TABLE(tests, rotations_by_table, rotations);
    tcase_add_test(tests, what_is_not_rotated);
    tcase_add_test(tests, no_damage_does_harm);
    tcase_add_test(tests, the_library_frees_by_wiping);
    tcase_add_test(tests, a_host_keeps_its_allocator);
}

UNIT_MAIN("shape", add_tests)

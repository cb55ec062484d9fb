/* SPDX-License-Identifier: BSD-2-Clause */
/* core/value/uri.c: connection URIs of PostgreSQL, alone and in the fields of objects. */
#include "unit.h"

#define PG "postgresql://"
#define NOW 1700000000123 /* ms */
#define AT "\"2023-11-14T22:13:20Z\""

/* ---- Parts ---- */

static const struct {
    const char *value, *field;
    kt_status_t status;
    const char *text; /* the field, or the error text */
} parts[] = {
    {PG "app:pw@db1:5432/shop?sslmode=require", "user", KT_SUCCESS, "app"},
    {PG "app:pw@db1:5432/shop?sslmode=require", "username", KT_SUCCESS, "app"},
    {PG "app:pw@db1:5432/shop?sslmode=require", "password", KT_SUCCESS, "pw"},
    {PG "app:pw@db1:5432/shop?sslmode=require", "host", KT_SUCCESS, "db1"},
    {PG "app:pw@db1:5432/shop?sslmode=require", "port", KT_SUCCESS, "5432"},
    {PG "app:pw@db1:5432/shop?sslmode=require", "name", KT_SUCCESS, "shop"},
    {PG "app:pw@db1:5432/shop?sslmode=require", "dbname", KT_SUCCESS, "shop"},
    {PG "app:pw@db1:5432/shop?sslmode=require", "database", KT_SUCCESS, "shop"},
    {PG "app:pw@db1:5432/shop?sslmode=require", "sslmode", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `sslmode`"},
    {"postgres://app:pw@db1/x", "password", KT_SUCCESS, "pw"},
    {"postgresql+psycopg2://app:pw@db1/x", "password", KT_SUCCESS, "pw"},
    {"postgres://app:pw@db1/x\n", "password", KT_SUCCESS, "pw"},
    {"postgres://app:pw@db1/x\n", "name", KT_SUCCESS, "x"},
    {PG "a%70p%3A:p%40w%2f%25@/x", "user", KT_SUCCESS, "app:"},
    {PG "a%70p:p%40w%2F%25@/x", "password", KT_SUCCESS, "p@w/%"},
    {PG "app:p+w@h", "password", KT_SUCCESS, "p+w"},
    {PG "app:p:w?x=y@h", "password", KT_SUCCESS, "p:w?x=y"}, /* as libpq has it */
    {PG "app:a@b@h", "password", KT_SUCCESS, "a"},
    {PG "app:\xc3\xa4@h", "password", KT_SUCCESS, "\xc3\xa4"},
    {PG "app:pw@[::1]:5433/x", "host", KT_SUCCESS, "::1"},
    {PG "app:pw@[::1]:5433/x", "port", KT_SUCCESS, "5433"},
    {PG "app:pw@%2Frun%2Fpg/x", "host", KT_SUCCESS, "/run/pg"},
    {PG "app:pw@h1:1,h2:2/x", "password", KT_SUCCESS, "pw"},
    {PG "app:pw@h1:1,h2:2/x", "name", KT_SUCCESS, "x"},
    {PG "app:pw@h1:1,h2:2/x", "host", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `host`"},
    {PG "/x?user=app&password=p%20w", "user", KT_SUCCESS, "app"},
    {PG "/x?user=app&password=p%20w", "password", KT_SUCCESS, "p w"},
    {PG "a:b@h/x?user=app&password=pw&host=h2&port=9&dbname=y", "user", KT_SUCCESS, "app"},
    {PG "a:b@h/x?user=app&password=pw&host=h2&port=9&dbname=y", "password", KT_SUCCESS, "pw"},
    {PG "a:b@h/x?user=app&password=pw&host=h2&port=9&dbname=y", "host", KT_SUCCESS, "h2"},
    {PG "a:b@h/x?user=app&password=pw&host=h2&port=9&dbname=y", "port", KT_SUCCESS, "9"},
    {PG "a:b@h/x?user=app&password=pw&host=h2&port=9&dbname=y", "name", KT_SUCCESS, "y"},
    {PG "app:CANARY%zz@h", "password", KT_USAGE,
     "the password in the connection URI has a percent sign without two hexadecimal digits, or "
     "%00"},
    {PG "app:CANARY%4@h", "password", KT_USAGE,
     "the password in the connection URI has a percent sign without two hexadecimal digits, or "
     "%00"},
    {PG "app:CANARY%00@h", "password", KT_USAGE,
     "the password in the connection URI has a percent sign without two hexadecimal digits, or "
     "%00"},
    {PG "app:@h", "password", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `password`"},
    {PG "h/x", "host", KT_MALFORMED, "the value is not a JSON object, so it has no field `host`"},
    {"mysql://app:CANARY@h/x", "password", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `password`"},
    {" " PG "app:CANARY@h/x", "password", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `password`"},
    {PG "app:CANARY@h/x y", "password", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `password`"},
    {"postgresql", "user", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `user`"},
    {"postgresql:", "user", KT_MALFORMED,
     "the value is not a JSON object, so it has no field `user`"},
    {PG, "user", KT_MALFORMED, "the value is not a JSON object, so it has no field `user`"},
    /* in an object: its own fields first */
    {"{\"url\":\"" PG "app:pw@h/x\"}", "password", KT_SUCCESS, "pw"},
    {"{\"url\":\"" PG "app:pw@h/x\"}", "user", KT_SUCCESS, "app"},
    {"{\"DATABASE\":1,\"dsn\":\"postgres:\\/\\/app:p\\u00e4@h\"}", "password", KT_SUCCESS,
     "p\xc3\xa4"},
    {"{\"uri\":\"" PG "app:pw@h/x\",\"user\":\"own\"}", "user", KT_SUCCESS, "own"},
    {"{\"url\":\"https://h/\",\"uri\":\"" PG "app:pw@h/x\"}", "password", KT_SUCCESS, "pw"},
    {"{\"url\":\"https://h/\"}", "password", KT_NOTFOUND, "the value has no field `password`"},
    {"{\"other\":\"" PG "app:pw@h/x\"}", "password", KT_NOTFOUND,
     "the value has no field `password`"},
};

START_TEST(parts_by_table)
{
    kt_secret_t *value = secret_of(parts[_i].value), *field = NULL;

    value->version = 9;
    assert_status(kt_secret_field(value, parts[_i].field, &field), parts[_i].status);
    if (parts[_i].status == KT_SUCCESS) {
        assert_secret(field, parts[_i].text);
        ck_assert_uint_eq(kt_secret_version(field), 9);
    } else {
        assert_failure(parts[_i].text);
        ck_assert_ptr_null(field);
    }
    kt_secret_free(field);
    kt_secret_free(value);
}
END_TEST

/* ---- Rotation ---- */

static const struct {
    const char *old, *part, *wanted;
} rotations[] = {
    {PG "app:old@h:5432/x?sslmode=require&x=%20", "new",
     PG "app:new@h:5432/x?sslmode=require&x=%20"},
    {PG "app:old@h/x\n", "a@b:/?#%&\xc3\xa4 -._~",
     PG "app:a%40b%3A%2F%3F%23%25%26%C3%A4%20-._~@h/x\n"},
    {PG "%61pp:%6fld@h1:1,h2:2/x", "new", PG "%61pp:new@h1:1,h2:2/x"},
    {PG "/x?user=app&password=old&a=b", "n&w", PG "/x?user=app&password=n%26w&a=b"},
    {PG "app:out@h/x?password=old", "new", PG "app:out@h/x?password=new"},
    /* none yet */
    {PG "app@h/x", "new", PG "app:new@h/x"},
    {PG "app:@h/x", "new", PG "app:new@h/x"},
    {PG "/x?user=app", "new", PG "/x?user=app&password=new"},
    {PG "h/x?user=app\n", "new", PG "h/x?user=app&password=new\n"},
    /* in an object */
    {"{\"url\": \"" PG "app:old@h/x\", \"n\": 1.10}", "n/w",
     "{\"url\": \"" PG "app:n%2Fw@h/x\", \"n\": 1.10, \"rotated_at\": " AT "}"},
    {"{\"url\": \"" PG "app@h/x\"}", "new",
     "{\"url\": \"" PG "app:new@h/x\", \"rotated_at\": " AT "}"},
    {"{\"user\":\"app\",\"password\":\"old\",\"replica\":\"" PG "app:old@h2/x\"}", "new",
     "{\"user\":\"app\",\"password\":\"new\",\"replica\":\"" PG "app:new@h2/x\", "
     "\"rotated_at\": " AT "}"},
    /* another user's, another password's, another server's */
    {"{\"username\":\"app\",\"password\":\"old\",\"a\":\"" PG "adm:old@h/x\",\"b\":\"" PG
     "app:other@h/x\",\"c\":\"redis://app:old@h/0\"}",
     "new",
     "{\"username\":\"app\",\"password\":\"new\",\"a\":\"" PG "adm:old@h/x\",\"b\":\"" PG
     "app:other@h/x\",\"c\":\"redis://app:old@h/0\", \"rotated_at\": " AT "}"},
};

START_TEST(rotations_by_table)
{
    kt_secret_t *old = secret_of(rotations[_i].old), *part = secret_of(rotations[_i].part);
    kt_secret_t *value = NULL, *back = NULL;

    ck_assert_int_eq(kt_shape_of(old) == KT_SHAPE_DATABASE, !kt_shape_wants_password(old));
    assert_ok(kt_shape_rotate(KT_SHAPE_DATABASE, old, part, NOW, &value));
    assert_secret(value, rotations[_i].wanted);
    assert_ok(kt_secret_field(value, "password", &back));
    assert_secret(back, rotations[_i].part);
    assert_secret(old, rotations[_i].old);
    kt_secret_free(back);
    kt_secret_free(value);
    kt_secret_free(part);
    kt_secret_free(old);
}
END_TEST

START_TEST(one_field_of_a_uri_is_set)
{
    kt_secret_t *old = secret_of(PG "app:old@h/x"), *part = secret_of("new"), *value = NULL;
    kt_secret_t *bad = kt_secret_new("CANARY\0x", 8);

    assert_ok(kt_shape_set_field(old, "password", part, &value));
    assert_secret(value, PG "app:new@h/x");
    kt_secret_free(value);
    value = NULL;
    assert_status(kt_shape_set_field(old, "user", part, &value), KT_MALFORMED);
    assert_status(kt_shape_set_field(old, "password", bad, &value), KT_MALFORMED);
    assert_failure("the password has a zero byte: it cannot be part of a URI");
    ck_assert_ptr_null(value);
    assert_ok(kt_shape_has_field(old, "password"));
    assert_status(kt_shape_has_field(old, "port"), KT_NOTFOUND);
    assert_status(kt_shape_has_field(old, "sslmode"), KT_NOTFOUND);
    kt_secret_free(bad);
    kt_secret_free(part);
    kt_secret_free(old);
}
END_TEST

/* Cut or changed anywhere, it harms no memory. */
START_TEST(no_damage_does_harm)
{
    static const char whole[] = PG "a%70p:p%40w@[::1]:5432,h/x?user=b&password=c%20&x";
    kt_secret_t *part = secret_of("x");

    for (size_t i = 0; i < sizeof(whole); i++)
        for (unsigned c = 0; c < 256; c++) {
            kt_secret_t *old = kt_secret_new(whole, i), *value = NULL;

            if (i > 0)
                old->data[i / 2] = (unsigned char)c;
            if (kt_secret_field(old, "password", &value) != KT_SUCCESS)
                ck_assert_ptr_null(value);
            kt_secret_free(value);
            value = NULL;
            if (kt_shape_set_field(old, "password", part, &value) != KT_SUCCESS)
                ck_assert_ptr_null(value);
            kt_secret_free(value);
            kt_secret_free(old);
        }
    kt_secret_free(part);
}
END_TEST

START_TEST(a_value_has_64_kib_at_most)
{
    static char letters[KT_VALUE_MAX];
    const size_t fits = KT_VALUE_MAX - strlen(PG "app:@h");
    kt_secret_t *old = secret_of(PG "app:old@h"), *value = NULL;

    memset(letters, 'x', sizeof(letters));
    for (size_t size = fits; size <= fits + 1; size++) {
        kt_secret_t *part = kt_secret_new(letters, size);

        assert_status(kt_shape_set_field(old, "password", part, &value),
                      size <= fits ? KT_SUCCESS : KT_TOOLARGE);
        if (size <= fits)
            kt_secret_free(value);
        kt_secret_free(part);
    }
    kt_secret_free(old);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, parts_by_table, parts);
    UNIT_TABLE(tests, rotations_by_table, rotations);
    tcase_add_test(tests, one_field_of_a_uri_is_set);
    tcase_add_test(tests, no_damage_does_harm);
    tcase_add_test(tests, a_value_has_64_kib_at_most);
}

UNIT_MAIN("uri", add_tests)

/* SPDX-License-Identifier: BSD-2-Clause */
/* core/value/mask.c: requirements 70 to 74. */
#include "unit.h"

#include <stdio.h>

static const struct {
    const char *value, *partial;
} masks[] = {
    {"a", "*"},
    {"12345678", "********"},
    {"123456789", "1234*6789"},
    {"sk-0123456789abcdef", "sk-0***********cdef"},
    {"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4", "****"}, /* four characters */
    {"\xc3\xa4"
     "bcdefgh\xe2\x82\xac",
     "\xc3\xa4"
     "bcd*fgh\xe2\x82\xac"},                         /* nine */
    {"\x1b[2Jxxxxxx\n\n\xff\x07", "?[2J******????"}, /* nothing that a terminal obeys */
    {"\xc2\x9b"
     "abcxxxxx\xe2\x82",
     "?abc***xx??"}, /* C1, and a character cut short */
    {"\xc2\xa0"
     "abcxxxxxdefg",
     "\xc2\xa0"
     "abc*****defg"}, /* the first one after C1 */
};

START_TEST(a_partial_mask_shows_four_at_each_end)
{
    kt_secret_t *secret = secret_of(masks[_i].value), *text = NULL;

    assert_ok(kt_mask(secret, KT_MASK_PARTIAL, &text));
    assert_secret(text, masks[_i].partial);
    kt_secret_free(text);
    assert_ok(kt_mask(secret, KT_MASK_FULL, &text));
    assert_secret(text, "[MASKED]");
    kt_secret_free(text);
    text = NULL;
    assert_status(kt_mask(secret, (kt_mask_style_t)7, &text), KT_USAGE);
    ck_assert_ptr_null(text);
    kt_secret_free(secret);
}
END_TEST

START_TEST(styles_have_names)
{
    ck_assert_int_eq(kt_mask_parse("full"), KT_MASK_FULL);
    ck_assert_int_eq(kt_mask_parse("partial"), KT_MASK_PARTIAL);
    ck_assert_int_eq(kt_mask_parse("none"), -1);
    ck_assert_int_eq(kt_mask_parse(""), -1);
}
END_TEST

static const struct {
    const char *text, *clean;
} logs[] =
    {
        {"", ""},
        {"user logged in", "user logged in"},
        {"token abcdefghij0123456789 sent", "token [REDACTED] sent"},
        {"token abcdefghij012345678 sent", "token abcdefghij012345678 sent"}, /* nineteen */
        {"sk_live_abcdefghij0123456789",
         "sk_live_[REDACTED]"}, /* although '_' does not end a word */
        {"a=ABCDEFGHIJKLMNOPQRSTUVWXYZ,b=abcdefghij0123456789X", "a=[REDACTED],b=[REDACTED]"},
        {"3f2504e0-4f89-11d3-9a0c-0305e82c3301", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"},
},
  errors[] = {
      {"", ""},
      {"cannot connect", "cannot connect"},
      {"password=\"hunter2\" is wrong", "password=[REDACTED] is wrong"},
      {"Password: 'hunter2'", "Password: [REDACTED]"},
      {"PASSWORD 'hunter2', KEY \"k\"", "PASSWORD [REDACTED], KEY [REDACTED]"},
      {"{\"api_key\": \"sk-1\", \"n\": 1}", "{\"api_key\": [REDACTED], \"n\": 1}"},
      {"{'secret' => 'it\\'s'}", "{'secret' => [REDACTED]}"},
      {"db_password_old = 'a b'", "db_password_old = [REDACTED]"},
      {"secret\"x\"", "secret[REDACTED]"},
      {"secret 'never ends hunter2", "secret [REDACTED]"},
      {"the key is missing, says \"vault\"", "the key is missing, says \"vault\""},
      {"monkey 'business'", "monkey [REDACTED]"}, /* rather too much */
      {"no /etc/app/prod.env here", "no /[PATH]/[FILE].env here"},
      {"'/srv/App/.ENV': denied", "'/[PATH]/[FILE].env': denied"},
      {"/a/b/c.env.bak", "/[PATH]/[FILE].env.bak"},
      {"/etc/environment and /etc/x.envy", "/etc/environment and /etc/x.envy"},
};

START_TEST(a_log_line_loses_its_tokens)
{
    char out[200];

    kt_sanitize_log(logs[_i].text, out, sizeof(out));
    ck_assert_str_eq(out, logs[_i].clean);
}
END_TEST

START_TEST(an_error_loses_its_values)
{
    char out[200];

    kt_sanitize_error(errors[_i].text, out, sizeof(out));
    ck_assert_str_eq(out, errors[_i].clean);
}
END_TEST

START_TEST(a_small_buffer_cuts_and_never_tells)
{
    char out[64];

    for (size_t size = 0; size < sizeof(out); size++) {
        memset(out, '#', sizeof(out));
        kt_sanitize_error("password 'hunter2' in /etc/app/prod.env", out, size);
        ck_assert_ptr_null(memmem(out, sizeof(out), "hunt", 4));
        ck_assert_int_eq(out[size], '#');
        ck_assert(size == 0 || memchr(out, '\0', size) != NULL);
        memset(out, '#', sizeof(out));
        kt_sanitize_log("x abcdefghij0123456789 y", out, size);
        ck_assert_ptr_null(memmem(out, sizeof(out), "abc", 3));
        ck_assert_int_eq(out[size], '#');
        ck_assert(size == 0 || memchr(out, '\0', size) != NULL);
    }
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, a_partial_mask_shows_four_at_each_end, masks);
    tcase_add_test(tests, styles_have_names);
    UNIT_TABLE(tests, a_log_line_loses_its_tokens, logs);
    UNIT_TABLE(tests, an_error_loses_its_values, errors);
    tcase_add_test(tests, a_small_buffer_cuts_and_never_tells);
}

UNIT_MAIN("mask", add_tests)

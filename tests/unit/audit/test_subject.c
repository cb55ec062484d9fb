/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/subject.c: whom a stream can vouch for. */
#include "unit.h"

#include "audit/subject.h"

#define FIFTY "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwx"

static const struct vouched {
    const char *stream, *host, *subject;
    bool expected;
} vouched[] = {
    {"nginx", "nginx", "nginx:example.org", true},
    {"nginx", "nginx", NULL, true},
    {"nginx", "nginx", "", true},
    {"nginx", "nginx", "uid:root", false},
    {"nginx", "nginx", "nginx", false},
    {"nginx", "nginx", "xnginx:a", false},
    {"nginx", NULL, "nginx:", true},
    {"redis", "redis", "redis:default", true},
    {"redis", "redis", "nginx:default", false},
    {"postgresql", "postgresql", "postgresql:role:app", true},
    {"postgresql", "postgresql", "postgresql:worker", true},
    {"postgresql", "postgresql", "uid:postgres", false},
    {"api", NULL, "api:token", true},
    {"cli-shop", "cli", "uid:shop", true},
    {"cli-shop", "cli", "uid:root", false},
    {"cli-shop", "cli", "uid:shop2", false},
    {"cli-shop", "cli", "uid:sho", false},
    {"cli-shop", "cli", "uid:", false},
    {"cli-1234", "cli", "uid:1234", true},
    {"cli-" FIFTY, "cli", "uid:" FIFTY, true},
    {"cli-" FIFTY, "cli", "uid:" FIFTY "yz", true},
    {"cli-" FIFTY, "cli", "uid:x" FIFTY, false},
    {"cli-", "cli", "uid:shop", true}, /* an operator's name, of the host cli */
    {"web-1", "nginx", "nginx:shop", true},
    {"web-1", "nginx", "redis:shop", false},
    {"web-1", "cli", "uid:anybody", true},
    {"web-1", NULL, "redis:shop", true},
    {"web-1", NULL, "ftp:shop", false},
    {"nginx-1", "redis", "redis:a", true},
};

START_TEST(a_stream_vouches_for_its_own)
{
    const struct vouched *row = &vouched[_i];

    ck_assert_msg(kt_audit_vouches(row->stream, row->host, row->subject) == row->expected,
                  "%s of %s", row->subject, row->stream);
}
END_TEST

#define BEGIN "{\"time\":\"t\",\"boot\":\"b\",\"stream\":\"nginx\",\"seq\":7,\"action\":\"read\""

static const struct claimed {
    const char *line;
    bool whole;
} claimed[] = {
    {BEGIN ",\"subject\":\"nginx:a\",\"status\":\"success\"}\n", true},
    {BEGIN ",\"status\":\"success\"}\n", true},
    {BEGIN ",\"subject\":\"a\\\"b\"}\n", true},
    {BEGIN ",\"subject\":\"a\n", false},
    {BEGIN ",\"subject\":7}\n", false},
    {"{\"time\":\"t\",\"stream\":\"nginx\",\"seq\":7,\"action\":\"read\"}\n", false},
    {"{\"time\":\"t\",\"boot\":\"b\",\"stream\":\"nginx\",\"seq\":,\"action\":\"read\"}\n", false},
    {"{\"time\":\"t\",\"boot\":\"b\",\"seq\":7,\"stream\":\"nginx\",\"action\":\"read\"}\n", false},
    {"{\"time\":\"", false},
    {"{\"time\":\"\\", false},
    {"", false},
};

START_TEST(what_a_line_says_of_itself)
{
    kt_audit_claim_t claim;

    ck_assert_msg(kt_audit_parse_claim(claimed[_i].line, &claim) == claimed[_i].whole, "%s",
                  claimed[_i].line);
    if (claimed[_i].whole) {
        ck_assert_uint_eq(claim.sequence, 7);
        ck_assert_int_eq(strncmp(claim.stream.text, "nginx\"", 6), 0);
    }
}
END_TEST

START_TEST(times_are_compared_as_text)
{
    static const char than[] = "2026-11-23T10:00:00.000Z\",\"chain\":";
    static const struct {
        const char *time;
        bool later;
    } rows[] = {{"2026-11-23T10:00:00.000Z", false}, {"2026-11-23T09:59:59.999Z", false},
                {"2026-11-23T10:00:00.001Z", true},  {"9999-12-31T23:59:59.999Z", true},
                {"2026-11-23T10:00:00Z", true},      {"", true}};

    for (size_t i = 0; i < KT_ARRAY(rows); i++) {
        const kt_audit_text_t time = {rows[i].time, strlen(rows[i].time)};

        ck_assert_msg(kt_audit_is_later(&time, than) == rows[i].later, "%s", rows[i].time);
    }
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, a_stream_vouches_for_its_own, vouched);
    UNIT_TABLE(tests, what_a_line_says_of_itself, claimed);
    tcase_add_test(tests, times_are_compared_as_text);
}

UNIT_MAIN("audit subjects", add_tests)

/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/fields.h: what its rows say is what docs/format.md says, and what a line has. */
#include "world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/stream.h"
#include "audit/verify.h"
#include "audit/ring_file.h"

static char *page;

static void read_page(void)
{
    const char *top = getenv("KT_TOP");
    char path[500];

    (void)snprintf(path, sizeof(path), "%s/docs/format.md", top != NULL ? top : ".");
    page = world_read(path, NULL);
}

static void free_page(void)
{
    free(page);
}

/* What the page has between two texts. */
static char *cut(const char *from, const char *to)
{
    const char *at = strstr(page, from), *end = at != NULL ? strstr(at + strlen(from), to) : NULL;

    ck_assert_msg(end != NULL, "docs/format.md has no `%s` with `%s` after it", from, to);
    at += strlen(from);
    return strndup(at, (size_t)(end - at));
}

#define ROW(key, meaning) "| `" key "` | " meaning " |\n"
#define TEXT_ROW(member, key, size, absent, from, meaning) ROW(key, meaning)
#define NUMBER_ROW(member, key, meaning) ROW(key, meaning)
#define FLAG_ROW(member, key, bit, meaning) ROW(key, meaning)
#define LINE_ROW(put, key, value, meaning) ROW(key, meaning)

START_TEST(the_page_has_these_fields_in_this_order)
{
    static const char rows[] = KT_AUDIT_FIELDS(TEXT_ROW, NUMBER_ROW, FLAG_ROW, LINE_ROW);
    char *list = cut("| `seq` |", "\nBytes outside"), *first = strchr(list, '\n');

    ck_assert_ptr_nonnull(first);
    ck_assert_str_eq(first + 1, rows);
    free(list);
}
END_TEST

#define TEXT_NAME(member, key, size, absent, from, meaning) ", " key
#define NUMBER_NAME(member, key, meaning) ", " key
#define FLAG_NAME(member, key, bit, meaning)                                                       \
    (void)snprintf(flags + strlen(flags), sizeof(flags) - strlen(flags), "%u: " key ", ", bit);

START_TEST(the_page_has_what_a_ring_keeps)
{
    static const char texts[] = "" KT_AUDIT_FIELDS(TEXT_NAME, NOTHING, NOTHING, NOTHING),
                      numbers[] = "" KT_AUDIT_FIELDS(NOTHING, NUMBER_NAME, NOTHING, NOTHING);
    char flags[200] = "", *found = cut("lengths of nine texts with their NUL (", ")");

    ck_assert_str_eq(found, texts + 2);
    ck_assert_int_eq(TEXTS, 9);
    free(found);
    found = cut("| 48 | 16 | ", ";");
    ck_assert_str_eq(found, numbers + 2);
    free(found);
    KT_AUDIT_FIELDS(NOTHING, NOTHING, FLAG_NAME, NOTHING)
    found = cut("| 10 | 2 | flags; ", "4: may stand");
    ck_assert_str_eq(found, flags);
    free(found);
}
END_TEST

#define SET_TEXT(member, ...) event.member = #member;
#define SET_NUMBER(member, ...) event.member = ++number;
#define SET_FLAG(member, ...) event.member = true;
#define CHECK_TEXT(member, key, ...) ck_assert(has(lines.text, key, "\"" #member "\""));
#define CHECK_NUMBER(member, key, ...) ck_assert(has(lines.text, key, ++number == 1 ? "1" : "2"));
#define CHECK_FLAG(member, key, ...) ck_assert(has(lines.text, key, "true"));

static bool has(const char *line, const char *key, const char *value)
{
    char text[200];

    (void)snprintf(text, sizeof(text), ",\"%s\":%s", key, value);
    return strstr(line, text) != NULL;
}

/* Each field, through a ring and into a line. */
START_TEST(no_field_is_lost_on_the_way)
{
    const kt_audit_name_t name = {"production", "nginx", "boot"};
    int folder = open(world.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kt_event_t event = {.action = NULL};
    kt_lines_t lines = {.size = 0};
    kt_ring_record_t record;
    kt_ring_walk_t walk;
    kt_ring_t *ring;
    uint64_t number = 0;

    KT_AUDIT_FIELDS(SET_TEXT, SET_NUMBER, SET_FLAG, NOTHING)
    assert_ok(kt_ring_create(world.dir, folder, KT_RING_INLINE, "boot", &ring));
    ck_assert_int_eq(kt_ring_put(ring, &event, 1000, 0), KT_RING_PUT);
    walk = kt_ring_begin(ring);
    ck_assert_int_eq(kt_ring_next(ring, &walk, 1000, 0, &record), KT_RING_RECORD);
    assert_ok(kt_lines_begin(&lines, KT_LINES_MIN));
    (void)kt_line_event(&lines, &name, &record.event, 1, 1000);
    lines.text[lines.size] = '\0';
    number = 0;
    KT_AUDIT_FIELDS(CHECK_TEXT, CHECK_NUMBER, CHECK_FLAG, NOTHING)
    kt_lines_free(&lines);
    kt_ring_close(ring);
    (void)close(folder);
}
END_TEST

static void make_world(void)
{
    world_make(NULL, NULL, NULL);
    read_page();
}

static void end_world(void)
{
    free_page();
    world_end();
}

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, the_page_has_these_fields_in_this_order);
    tcase_add_test(tests, the_page_has_what_a_ring_keeps);
    tcase_add_test(tests, no_field_is_lost_on_the_way);
}

UNIT_MAIN("audit fields", add_tests)

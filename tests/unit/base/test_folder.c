/* SPDX-License-Identifier: BSD-2-Clause */
/* core/base/folder.c, and each place that lists a folder: a list that broke off is not a whole one.
 */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>

#include "maintain/check.h"

static int entries_left = -1; /* before readdir() fails; -1: it does not */

struct dirent *__real_readdir(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir);

struct dirent *__wrap_readdir(DIR *dir)
{
    if (entries_left == 0) {
        errno = EIO;
        return NULL;
    }
    entries_left -= entries_left > 0;
    return __real_readdir(dir);
}

static void make_world(void)
{
    entries_left = -1;
    world_of_local();
    put("api-keys/a", "a", 1);
}

static void end_world(void)
{
    entries_left = -1;
    world_end();
}

/* ---- the list itself ---- */

static unsigned count(const char *path, bool *ret_whole)
{
    kt_folder_t list;
    unsigned found = 0;

    ck_assert(kt_folder_open(&list, AT_FDCWD, path));
    while (kt_folder_next(&list)) {
        ck_assert_str_ne(list.name, ".");
        ck_assert_str_ne(list.name, "..");
        found++;
    }
    *ret_whole = kt_folder_close(&list);
    return found;
}

START_TEST(a_whole_list)
{
    bool whole;
    unsigned all = count(world.dir, &whole);

    ck_assert(whole && all >= 4); /* key, configuration, store, audit ... */
    entries_left = 3;             /* "." and ".." among them, perhaps */
    ck_assert(count(world.dir, &whole) < all);
    ck_assert(!whole);
    ck_assert_int_eq(errno, EIO);
}
END_TEST

START_TEST(what_is_no_folder)
{
    kt_folder_t list;

    ck_assert(!kt_folder_open(&list, AT_FDCWD, world.key));
    ck_assert_int_eq(errno, ENOTDIR);
    ck_assert(!kt_folder_open(&list, AT_FDCWD, "/nonexistent"));
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

/* ---- who lists ---- */

static size_t wrong;

static void find(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg, (void)what, (void)detail;
    wrong += status != KT_SUCCESS;
}

static int see_line(void *arg, const kt_audit_line_t *line)
{
    (void)arg, (void)line;
    return 0;
}

static const char *audit_path(void)
{
    return world.ctx->holder.config->audit_path;
}

START_TEST(the_readers_of_trails)
{
    assert_ok(kt_audit_flush(world.ctx, 0));
    assert_ok(kt_audit_verify(audit_path(), NULL, find, NULL));
    entries_left = 0;
    wrong = 0;
    assert_status(kt_audit_verify(audit_path(), NULL, find, NULL), KT_MALFORMED);
    ck_assert_uint_ge(wrong, 1);
    assert_status(kt_audit_scan(audit_path(), 0, see_line, NULL, NULL), KT_PERMISSION);
    assert_status(kt_audit_last(audit_path(), NULL, 5, see_line, NULL, NULL), KT_PERMISSION);
}
END_TEST

START_TEST(the_counts_of_reads)
{
    kt_access_sum_t sum;

    kt_access_of(world.ctx->holder.config, "nginx", "api-keys/a", &sum);
    ck_assert_uint_eq(sum.hidden, 0);
    entries_left = 0;
    kt_access_of(world.ctx->holder.config, "nginx", "api-keys/a", &sum);
    ck_assert_uint_eq(sum.hidden, 1);
}
END_TEST

/* A log that was renamed is looked for; "gone" is said only of one that is nowhere. */
START_TEST(the_log_that_was_renamed)
{
    char name[160], to[160];

    assert_ok(kt_audit_flush(world.ctx, 0));
    (void)snprintf(name, sizeof(name), "%s/audit/nginx/log", world.dir);
    (void)snprintf(to, sizeof(to), "%s.1", name);
    ck_assert_int_eq(rename(name, to), 0);
    entries_left = 0;
    ck_assert(kt_audit_flush(world.ctx, 0) ==
              KT_SUCCESS); /* nothing to write: nothing is looked for */
    assert_status(kt_delete(world.ctx, &(kt_request_t){.size = sizeof(kt_request_t),
                                                       .reference = "api-keys/a",
                                                       .subject = ALL}),
                  KT_AUDIT);
    ck_assert_msg(strstr(kt_error(world.ctx), "gone") == NULL, "%s", kt_error(world.ctx));
    entries_left = -1;
    put("api-keys/a", "b", 2);
}
END_TEST

START_TEST(the_rings_of_others)
{
    entries_left = 0;
    assert_status(kt_audit_sweep(world.ctx->audit), KT_AUDIT);
    entries_left = -1;
    assert_ok(kt_audit_sweep(world.ctx->audit));
}
END_TEST

START_TEST(the_anchors)
{
    kt_anchors_t *anchors;
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/anchors", world.dir);
    assert_ok(kt_anchors_new(path, &anchors));
    entries_left = 0;
    assert_status(kt_anchors_load(anchors), KT_NOSPACE);
    entries_left = -1;
    assert_ok(kt_anchors_load(anchors));
    kt_anchors_free(anchors);
}
END_TEST

START_TEST(the_owner_of_all_files)
{
    kt_person_t person = {.uid = geteuid(), .gid = getegid()};
    char path[160], text[1024];

    (void)snprintf(person.name, sizeof(person.name), "%s", getpwuid(geteuid())->pw_name);
    (void)snprintf(path, sizeof(path), "%s/audit/nginx", world.dir);
    assert_ok(kt_path_owned(&person, path, text, sizeof(text)));
    entries_left = 0;
    assert_status(kt_path_owned(&person, path, text, sizeof(text)), KT_AUDIT);
    ck_assert_msg(strstr(text, "cannot list") != NULL, "%s", text);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, a_whole_list);
    tcase_add_test(tests, what_is_no_folder);
    tcase_add_test(tests, the_readers_of_trails);
    tcase_add_test(tests, the_counts_of_reads);
    tcase_add_test(tests, the_log_that_was_renamed);
    tcase_add_test(tests, the_rings_of_others);
    tcase_add_test(tests, the_anchors);
    tcase_add_test(tests, the_owner_of_all_files);
}

UNIT_MAIN("folder", add_tests)

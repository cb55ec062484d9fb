/* SPDX-License-Identifier: BSD-2-Clause */
/* core/base/memory.c: values are wiped, counted and bounded; keys do not cross a fork. */
#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(a_secret_is_a_copy)
{
    char text[] = "s3cret";
    kt_secret_t *secret = kt_secret_new(text, 6);

    memset(text, 'x', 6);
    assert_secret(secret, "s3cret");
    ck_assert_uint_eq(kt_secret_size(secret), 6);
    ck_assert_uint_eq(kt_secret_version(secret), 0);
    ck_assert_int_eq(kt_secret_stale(secret), 0);
    kt_secret_free(secret);
    kt_secret_free(NULL);
}
END_TEST

START_TEST(sizes_are_bounded)
{
    kt_secret_t *secret;

    errno = 0;
    ck_assert_ptr_null(kt_secret_new(NULL, KT_VALUE_MAX + 1));
    ck_assert_int_eq(errno, EFBIG);
    secret = kt_secret_new(NULL, KT_VALUE_MAX);
    ck_assert_ptr_nonnull(secret);
    for (size_t i = 0; i < KT_VALUE_MAX; i++)
        ck_assert_uint_eq(kt_secret_bytes(secret)[i], 0);
    kt_secret_free(secret);
    secret = kt_secret_new("", 0);
    ck_assert_uint_eq(kt_secret_size(secret), 0);
    ck_assert_int_eq(kt_secret_equal(secret, NULL, 0), 1);
    kt_secret_free(secret);
}
END_TEST

START_TEST(what_is_freed_is_wiped)
{
    /* a block of the arena stays mapped, and the next one of its size is the same: looked at, it
     * holds zeros only */
    kt_secret_t *secret = secret_of("CANARY-of-this-very-test");
    const unsigned char *bytes = kt_secret_bytes(secret);
    kt_secret_t *next;

    kt_secret_free(secret);
    next = kt_secret_new(NULL, 24);
    ck_assert_ptr_eq(kt_secret_bytes(next), bytes);
    for (size_t i = 0; i < 24; i++)
        ck_assert_uint_eq(bytes[i], 0);
    kt_secret_free(next);
}
END_TEST

START_TEST(shrinking_wipes_the_tail)
{
    kt_secret_t *secret = secret_of("abcdef");

    assert_ok(kt_secret_resize(secret, 2));
    assert_secret(secret, "ab");
    ck_assert_int_eq(memcmp(kt_secret_bytes(secret), "ab\0\0\0\0", 6), 0);
    assert_status(kt_secret_resize(secret, 3), KT_USAGE);
    kt_secret_free(secret);
}
END_TEST

START_TEST(what_others_hold_is_not_changed)
{
    kt_secret_t *secret = secret_of("abcdef"), *other = kt_secret_ref(secret);

    assert_status(kt_secret_resize(secret, 2), KT_USAGE);
    kt_secret_free(other);
    assert_secret(secret, "abcdef");
    assert_ok(kt_secret_resize(secret, 2));
    kt_secret_free(secret);
}
END_TEST

START_TEST(comparison_looks_at_size_and_bytes)
{
    kt_secret_t *secret = secret_of("abc");

    ck_assert_int_eq(kt_secret_equal(secret, "abc", 3), 1);
    ck_assert_int_eq(kt_secret_equal(secret, "abd", 3), 0);
    ck_assert_int_eq(kt_secret_equal(secret, "abcd", 4), 0);
    ck_assert_int_eq(kt_secret_equal(secret, "ab", 2), 0);
    kt_secret_free(secret);
}
END_TEST

START_TEST(blocks_of_every_size_are_apart)
{
    unsigned char *blocks[40];
    size_t sizes[40];

    for (size_t i = 0; i < KT_ARRAY(blocks); i++) {
        sizes[i] = (size_t)1 << (i % 19);
        blocks[i] = kt_locked_alloc(sizes[i]);
        ck_assert_ptr_nonnull(blocks[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            ck_assert_uint_eq(blocks[i][k], 0);
        memset(blocks[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < KT_ARRAY(blocks); i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            ck_assert_uint_eq(blocks[i][k], i + 1);
        kt_locked_free(blocks[i]);
    }
    errno = 0;
    ck_assert_ptr_null(kt_locked_alloc(SIZE_MAX - 3));
    ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

START_TEST(memory_is_locked_and_used_again)
{
    size_t before;

    kt_locked_free(kt_locked_alloc(100));
    before = locked_kilobytes();
#if !defined(__SANITIZE_ADDRESS__) &&                                                              \
    !defined(__SANITIZE_THREAD__) /* which makes mlock() do nothing */
    if (kt_locked_failures() == 0)
        ck_assert_uint_ge(before, 256);
#endif
    for (size_t i = 0; i < 20000; i++)
        kt_secret_free(kt_secret_new(NULL, i % 3000));
    ck_assert_uint_le(locked_kilobytes(), before + 256);
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
START_TEST(what_could_not_be_locked_is_counted)
{
    struct rlimit limit = {0, 0};
    size_t before = kt_locked_failures();
    void *value, *key;

    assert_not_root();
    ck_assert(kt_locked_room(4096));
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    ck_assert(!kt_locked_room(4096));
    value = kt_locked_alloc(1u << 20);
    ck_assert_uint_ge(kt_locked_failures(), before + (1u << 20));
    before = kt_locked_failures();
    key = kt_guarded_alloc(4096, false);
    ck_assert_uint_eq(kt_locked_failures(), before + 4096);
    ck_assert(kt_locked_is_failing());
    kt_guarded_free(key);
    ck_assert_uint_eq(kt_locked_failures(), before);
    kt_locked_free(value);
    ck_assert_uint_eq(kt_locked_failures(), 0);
    ck_assert(!kt_locked_is_failing());
}
END_TEST

START_TEST(what_must_be_locked_is_not_given_out_otherwise)
{
    struct rlimit limit = {0, 0};
    void *key;

    assert_not_root();
    key = kt_guarded_alloc(100, false);
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    kt_locked_require(true);
    errno = 0;
    ck_assert_ptr_null(kt_locked_alloc(1u << 20));
    ck_assert_int_eq(errno, ENOMEM);
    assert_status(kt_no_memory(), KT_CONFIG);
    assert_failure_has("RLIMIT_MEMLOCK");
    assert_status(kt_no_memory(), KT_INTERNAL);
    ck_assert_ptr_null(kt_guarded_alloc(4096, true));
    assert_status(kt_no_memory(), KT_CONFIG);
    ck_assert_uint_eq(kt_locked_failures(), 0);
    kt_locked_require(false);
    kt_guarded_free(key);
}
END_TEST
#endif

/* madvise(MADV_DONTDUMP) shows as "dd" in smaps, MADV_WIPEONFORK as "wf". */
static bool has_flag(const void *address, const char *flag)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false, found = false;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)address >= from && (uintptr_t)address < to;
        if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    }
    if (file != NULL)
        (void)fclose(file);
    return found;
}

START_TEST(no_secret_is_dumped)
{
    kt_secret_t *secret = secret_of("x"), *large = kt_secret_new(NULL, KT_VALUE_MAX);
    void *key = kt_guarded_alloc(100, true);

    ck_assert(has_flag(kt_secret_bytes(secret), " dd"));
    ck_assert(has_flag(kt_secret_bytes(large), " dd"));
    ck_assert(has_flag(key, " dd"));
    ck_assert(has_flag(key, " wf"));
    kt_guarded_free(key);
    kt_secret_free(large);
    kt_secret_free(secret);
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* Of the child: 0, or which of its expectations failed first. */
static int see_locks(const kt_secret_t *value, const kt_secret_t *large, const void *key,
                     const void *wiped, size_t locked)
{
    size_t mine, unlocked;

    kt_memory(&mine, &unlocked);
    if (!has_flag(kt_secret_bytes(value), " lo") || !has_flag(kt_secret_bytes(value), " dd"))
        return 1;
    if (!has_flag(kt_secret_bytes(large), " lo"))
        return 2;
    if (!has_flag(key, " lo"))
        return 3;
    if (has_flag(wiped, " lo")) /* a page of zeros */
        return 4;
    if (unlocked != 0 || mine != locked - (size_t)sysconf(_SC_PAGESIZE))
        return 5;
    if (locked_kilobytes() != mine / 1024)
        return 6;
    return kt_secret_equal(value, "of the parent", 13) ? 0 : 7;
}

START_TEST(a_child_locks_again)
{
    kt_secret_t *value = secret_of("of the parent"), *large = kt_secret_new(NULL, KT_VALUE_MAX);
    void *key = kt_guarded_alloc(100, false), *wiped = kt_guarded_alloc(100, true);
    size_t locked, unlocked;
    int status;
    pid_t pid;

    kt_memory(&locked, &unlocked);
    ck_assert_uint_eq(unlocked, 0);
    pid = fork();
    if (pid == 0) {
        int seen = see_locks(value, large, key, wiped, locked);

        pid = seen == 0 ? fork() : -1; /* as a daemon's worker */
        if (pid == 0)
            _exit(see_locks(value, large, key, wiped, locked));
        if (pid > 0 && waitpid(pid, &status, 0) == pid)
            seen = WIFEXITED(status) ? 10 * WEXITSTATUS(status) : 100;
        _exit(seen);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    kt_memory(&unlocked, NULL);
    ck_assert_uint_eq(unlocked, locked);
    kt_guarded_free(wiped);
    kt_guarded_free(key);
    kt_secret_free(large);
    kt_secret_free(value);
}
END_TEST

START_TEST(a_child_that_may_not_lock_knows)
{
    struct rlimit limit = {0, 0};
    kt_secret_t *value = secret_of("of the parent");
    size_t locked, unlocked;
    int status;
    pid_t pid;

    assert_not_root();
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0); /* what is locked stays so */
    ck_assert_uint_eq(kt_locked_failures(), 0);
    pid = fork();
    if (pid == 0) {
        kt_memory(&locked, &unlocked);
        _exit(locked == 0 && unlocked > 0 && kt_locked_is_failing() ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert(!kt_locked_is_failing());
    kt_secret_free(value);
}
END_TEST
#endif

static void *fork_often(void *arg)
{
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();

        if (pid == 0) { /* another thread may have been in the arena */
            kt_locked_free(kt_locked_alloc(100));
            _exit(0);
        }
        if (waitpid(pid, NULL, 0) != pid)
            return arg;
    }
    return NULL;
}

static int child_of(bool wipe)
{
    char *key = kt_guarded_alloc(64, wipe);
    int status;
    pid_t pid;

    memset(key, 'k', 64);
    pid = fork();
    if (pid == 0) {
        int seen = key[0] == 'k' && key[63] == 'k' ? 1 : key[0] == 0 && key[63] == 0 ? 2 : 3;

        kt_guarded_free(key); /* must not fault where the fork has wiped it */
        _exit(seen);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(key[0], 'k');
    kt_guarded_free(key);
    ck_assert_msg(WIFEXITED(status), "the child died of signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

START_TEST(a_fork_has_no_keys)
{
    ck_assert_int_eq(child_of(true), 2);
    ck_assert_int_eq(child_of(false), 1);
}
END_TEST

static int touch(volatile char *address)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        (void)*address;
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    /* else a signal, or a sanitizer's exit */
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

START_TEST(keys_stand_between_guards)
{
    char *key = kt_guarded_alloc(4000, false);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)key / page * page;

    ck_assert_int_eq(touch(key), 0);
    ck_assert_int_eq(touch((char *)first - 1), 1);
    ck_assert_int_eq(touch((char *)first + page), 1);
    kt_guarded_free(key);
    kt_guarded_free(NULL);
}
END_TEST

static void *churn(void *arg)
{
    unsigned char mark = (unsigned char)(uintptr_t)arg;

    for (size_t i = 0; i < 3000; i++) {
        size_t size = i % 700 + 1;
        unsigned char *data = kt_locked_alloc(size);

        memset(data, mark, size);
        for (size_t k = 0; k < size; k++)
            if (data[k] != mark)
                return arg;
        kt_locked_free(data);
    }
    return NULL;
}

START_TEST(threads_get_memory_of_their_own)
{
    pthread_t threads[4];

    for (uintptr_t i = 0; i < KT_ARRAY(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
    for (size_t i = 0; i < KT_ARRAY(threads); i++) {
        void *wrong;

        (void)pthread_join(threads[i], &wrong);
        ck_assert_ptr_null(wrong);
    }
}
END_TEST

START_TEST(a_child_may_use_the_arena_that_threads_use)
{
    pthread_t threads[3], forks;
    void *wrong;

    for (uintptr_t i = 0; i < KT_ARRAY(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
    ck_assert_int_eq(pthread_create(&forks, NULL, fork_often, threads), 0);
    (void)pthread_join(forks, &wrong);
    ck_assert_ptr_null(wrong);
    for (size_t i = 0; i < KT_ARRAY(threads); i++)
        (void)pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(text_is_wiped_and_freed)
{
    kt_free_wiped(strdup("password"));
    kt_free_wiped(NULL);
    kt_wipe(NULL, 5);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, a_secret_is_a_copy);
    tcase_add_test(tests, sizes_are_bounded);
    tcase_add_test(tests, what_is_freed_is_wiped);
    tcase_add_test(tests, shrinking_wipes_the_tail);
    tcase_add_test(tests, what_others_hold_is_not_changed);
    tcase_add_test(tests, comparison_looks_at_size_and_bytes);
    tcase_add_test(tests, blocks_of_every_size_are_apart);
    tcase_add_test(tests, memory_is_locked_and_used_again);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    tcase_add_test(tests, what_could_not_be_locked_is_counted);
    tcase_add_test(tests, what_must_be_locked_is_not_given_out_otherwise);
    tcase_add_test(tests, a_child_locks_again);
    tcase_add_test(tests, a_child_that_may_not_lock_knows);
#endif
    tcase_add_test(tests, no_secret_is_dumped);
    tcase_add_test(tests, a_fork_has_no_keys);
    tcase_add_test(tests, keys_stand_between_guards);
    tcase_add_test(tests, threads_get_memory_of_their_own);
    tcase_add_test(tests, a_child_may_use_the_arena_that_threads_use);
    tcase_add_test(tests, text_is_wiped_and_freed);
}

UNIT_MAIN("secret", add_tests)

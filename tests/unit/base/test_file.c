/* SPDX-License-Identifier: BSD-2-Clause */
/* core/base/file.c, lock.c: private files, small files, locks and who holds them. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[96], path[128];
static int lowest;

static int lowest_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)close(fd);
    return fd;
}

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(dir, sizeof(dir), "%s/ktf-XXXXXX",
                   tmp != NULL && strlen(tmp) < 64 ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/file", dir);
    lowest = lowest_descriptor();
}

/* No call leaves a descriptor open. */
static void tear_down(void)
{
    ck_assert_int_eq(lowest_descriptor(), lowest);
    (void)unlink(path);
    (void)rmdir(dir);
}

static void write_file(const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    (void)close(fd);
}

static void assert_private(const char *wanted)
{
    char *text = NULL;
    size_t size = 0;

    assert_ok(kt_read_private(path, &text, &size));
    ck_assert_uint_eq(size, strlen(wanted));
    ck_assert_str_eq(text, wanted);
    kt_locked_free(text);
}

static kt_status_t read_private(void)
{
    char *text = NULL;
    size_t size;
    kt_status_t status = kt_read_private(path, &text, &size);

    ck_assert((status == KT_SUCCESS) == (text != NULL));
    kt_locked_free(text);
    return status;
}

static const struct {
    mode_t mode;
    bool is_private;
} modes[] = {{0600, true},  {0400, true},  {0640, true},  {0440, true},  {0604, false},
             {0602, false}, {0601, false}, {0620, false}, {0610, false}, {0700, false}};

START_TEST(modes_of_private_files)
{
    char why[64];

    write_file("key\n", modes[_i].mode);
    if (modes[_i].is_private) {
        assert_private("key\n");
    } else {
        assert_status(read_private(), KT_PERMISSION);
        (void)snprintf(why, sizeof(why), "mode %04o is too open for a key file",
                       (unsigned)modes[_i].mode);
        assert_failure_has(why);
    }
}
END_TEST

START_TEST(a_private_file_is_a_file_of_512_kib_at_most)
{
    assert_status(read_private(), KT_CONFIG);
    write_file("", 0600);
    assert_private("");
    ck_assert_int_eq(truncate(path, KT_KEYFILE_MAX), 0);
    assert_ok(read_private());
    ck_assert_int_eq(truncate(path, KT_KEYFILE_MAX + 1), 0);
    assert_status(read_private(), KT_CONFIG);
    assert_failure_has("too large for a key file");
    (void)unlink(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* a FIFO without a writer */
    assert_status(read_private(), KT_PERMISSION);
    assert_failure_has("not a regular file");
}
END_TEST

START_TEST(a_key_is_written_once_and_with_its_mode)
{
    struct stat st;

    (void)umask(0077);
    assert_ok(kt_write_key(path, "key\n", 0640));
    assert_private("key\n");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0640);
    assert_status(kt_write_key(path, "another\n", 0600), KT_CONFLICT);
    assert_private("key\n");
}
END_TEST

/* 48 bytes fill a block of the arena, but for the NUL. */
START_TEST(the_end_of_a_text_is_in_its_block)
{
    char *text = NULL, *larger = kt_locked_alloc(49);
    size_t size;

    write_file("0123456789abcdef0123456789abcdef0123456789abcdef", 0600);
    assert_ok(kt_read_private(path, &text, &size));
    ck_assert_uint_eq(kt_locked_size(text), kt_locked_size(larger));
    kt_locked_free(larger);
    kt_locked_free(text);
}
END_TEST

START_TEST(half_a_key_is_not_left)
{
    struct rlimit before, limit;
    kt_status_t status;

    assert_ok(kt_write_key(path, "k", 0600));
    (void)unlink(path);
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){3, before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    status = kt_write_key(path, "key\n", 0600);
    (void)setrlimit(RLIMIT_FSIZE, &before); /* check itself writes to a file */
    assert_status(status, KT_NOSPACE);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(a_key_that_cannot_be_written)
{
    char missing[160];

    assert_not_root();
    (void)snprintf(missing, sizeof(missing), "%s/none/file", dir);
    assert_status(kt_write_key(missing, "key\n", 0600), KT_NOSPACE);
    ck_assert_int_eq(chmod(dir, 0500), 0);
    assert_status(kt_write_key(path, "key\n", 0600), KT_PERMISSION);
    ck_assert_int_eq(chmod(dir, 0300), 0); /* it cannot be opened, hence not synced */
    assert_status(kt_write_key(path, "key\n", 0600), KT_NOSPACE);
    ck_assert_int_eq(chmod(dir, 0700), 0);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(a_small_file_is_cut_to_its_room)
{
    char text[5] = "left";

    ck_assert(!kt_read_text(path, text, sizeof(text)));
    write_file("", 0600);
    ck_assert(!kt_read_text(path, text, sizeof(text)));
    ck_assert_str_eq(text, "left");
    write_file("abcdef", 0600);
    ck_assert(kt_read_text(path, text, sizeof(text)));
    ck_assert_str_eq(text, "abcd");
    write_file("a", 0600);
    ck_assert(kt_read_text(path, text, sizeof(text)));
    ck_assert_str_eq(text, "a");
}
END_TEST

/* Number 0 is a descriptor like any other. */
START_TEST(a_host_without_standard_input)
{
    char text[8];
    int kept = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 20), fd;

    (void)close(STDIN_FILENO);
    assert_ok(kt_write_key(path, "key\n", 0600));
    assert_private("key\n");
    ck_assert(kt_read_text(path, text, sizeof(text)));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(fd, 0);
    kt_close_fd(&fd);
    ck_assert_int_eq(fd, -1);
    kt_close_fd(&fd);
    ck_assert_int_eq(lowest_descriptor(), 0);
    (void)dup2(kept, STDIN_FILENO);
    (void)close(kept);
}
END_TEST

START_TEST(a_boot_has_an_id)
{
    char boot[KT_BOOT_ID];

    kt_boot_id(boot);
    ck_assert_uint_eq(strlen(boot), 36);
    ck_assert_uint_eq(strspn(boot, "0123456789abcdef-"), 36);
}
END_TEST

/* ---- locks ---- */

/* A process that holds a lock of the file, by flock() or not, until its input ends. */
static pid_t hold(int ret_ends[2], bool by_flock)
{
    int ready[2];
    char byte = 0;
    pid_t pid;

    ck_assert_int_eq(pipe2(ret_ends, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        int fd = open(path, O_RDWR | O_CLOEXEC);

        (void)close(ret_ends[1]);
        _exit((by_flock ? flock(fd, LOCK_EX) : lockf(fd, F_LOCK, 0)) != 0 ||
              write(ready[1], "", 1) != 1 || read(ret_ends[0], &byte, 1) != 0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    (void)close(ready[1]);
    return pid;
}

START_TEST(a_lock_is_waited_for_and_its_holder_named)
{
    int ends[2], fd, status;
    char text[96], wanted[96];
    int64_t begun;
    pid_t pid;

    write_file("", 0600);
    pid = hold(ends, true);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    begun = kt_monotonic();
    errno = 0;
    ck_assert(!kt_lock_file(fd, 100));
    ck_assert_int_eq(errno, EWOULDBLOCK);
    ck_assert_int_ge(kt_monotonic() - begun, 100);
    ck_assert_int_lt(kt_monotonic() - begun, 10000);
    (void)snprintf(wanted, sizeof(wanted), "process %d (test_file of uid %u)", (int)pid,
                   (unsigned)geteuid());
    kt_lock_holder(fd, text, sizeof(text));
    ck_assert_str_eq(text, wanted);

    (void)close(ends[0]);
    (void)close(ends[1]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert(kt_lock_file(fd, 0));
    kt_lock_holder(fd, text, sizeof(text)); /* it is this process */
    ck_assert_str_eq(text, "another process");
    (void)close(fd);
}
END_TEST

START_TEST(a_lock_of_another_kind_is_not_ours)
{
    int ends[2], fd;
    char text[96];
    pid_t pid;

    write_file("", 0600);
    pid = hold(ends, false);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    kt_lock_holder(fd, text, sizeof(text));
    ck_assert_str_eq(text, "another process");
    ck_assert(kt_lock_file(fd, 0));
    (void)close(fd);
    (void)close(ends[0]);
    (void)close(ends[1]);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(what_cannot_be_locked)
{
    errno = 0;
    ck_assert(!kt_lock_file(-1, 10000));
    ck_assert_int_eq(errno, EBADF);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, set_up, tear_down);
    UNIT_TABLE(tests, modes_of_private_files, modes);
    tcase_add_test(tests, a_private_file_is_a_file_of_512_kib_at_most);
    tcase_add_test(tests, a_key_is_written_once_and_with_its_mode);
    tcase_add_test(tests, the_end_of_a_text_is_in_its_block);
    tcase_add_test(tests, half_a_key_is_not_left);
    tcase_add_test(tests, a_key_that_cannot_be_written);
    tcase_add_test(tests, a_small_file_is_cut_to_its_room);
    tcase_add_test(tests, a_host_without_standard_input);
    tcase_add_test(tests, a_boot_has_an_id);
    tcase_add_test(tests, a_lock_is_waited_for_and_its_holder_named);
    tcase_add_test(tests, a_lock_of_another_kind_is_not_ours);
    tcase_add_test(tests, what_cannot_be_locked);
}

UNIT_MAIN("file", add_tests)

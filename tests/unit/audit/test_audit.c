/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/audit.c and core/audit/tail.c: one whole line for each decision, or no decision. */
#include "process.h"
#include "world.h"
#include "audit/trail.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

static kt_config_t config;
static kt_audit_t *audit;
static char folder[160], state[160], saved[160];

static void make_world(void)
{
    world_make(NULL, NULL, NULL);
    memset(&config, 0, sizeof(config));
    (void)snprintf(folder, sizeof(folder), "%s/audit", world.dir);
    (void)snprintf(state, sizeof(state), "%s/audit/nginx/state", world.dir);
    (void)snprintf(saved, sizeof(saved), "%s/audit/nginx/log.1", world.dir);
    config.audit_path = folder;
    assert_ok(kt_audit_open(&config, "nginx", &audit));
}

static void end_world(void)
{
    kt_audit_close(audit);
    audit = NULL;
    world_end();
}

static kt_event_t event_of(const char *reference)
{
    return (kt_event_t){.action = "read",
                        .subject = ALL,
                        .reference = reference,
                        .status = "success",
                        .version = 3};
}

static kt_status_t write_down(kt_audit_t *trail, const kt_event_t *event)
{
    kt_status_t status = kt_audit_write(trail, event);

    return status == KT_SUCCESS ? kt_audit_drain(trail) : status;
}

static kt_status_t record(const char *reference)
{
    kt_event_t event = event_of(reference);

    return write_down(audit, &event);
}

START_TEST(a_line_has_its_fields_in_order)
{
    static const char *const order[] = {"{\"time\":\"",           "\"boot\":\"",
                                        "\"stream\":\"nginx\"",   "\"seq\":1,",
                                        "\"action\":\"read\"",    "\"subject\":\"nginx:all\"",
                                        "\"peer\":\"192.0.2.1\"", "\"reference\":\"a/b\"",
                                        "\"version\":3",          "\"provider\":\"local\"",
                                        "\"status\":\"success\"", "\"stale\":true",
                                        "\"fallback\":true",      "\"purpose\":\"proxy\"",
                                        "\"request\":\"r1\"}\n"};
    kt_event_t event = event_of("a/b");
    const char *at;
    char *log;

    event.peer = "192.0.2.1";
    event.provider = "local";
    event.stale = event.fallback = event.durable = true;
    event.purpose = "proxy";
    event.request_id = "r1";
    assert_ok(write_down(audit, &event));
    at = log = world_read(world.log, NULL);
    for (size_t i = 0; i < KT_ARRAY(order); i++) {
        const char *found = strstr(at, order[i]);

        ck_assert_msg(found != NULL, "%s after %s", order[i], at);
        at = found + strlen(order[i]);
    }
    ck_assert_int_eq(strncmp(at, "{\"seal\":0,", 10), 0);
    free(log);
    event = (kt_event_t){.action = "read", .status = "denied", .reference = "a/b"};
    assert_ok(write_down(audit, &event));
    ck_assert_uint_eq(world_lines("\"subject\":\"\"", "\"seq\":2,", NULL), 1);
    ck_assert_uint_eq(world_lines("\"version\"", NULL), 1);
}
END_TEST

/* What a client sends cannot end its string or its line. */
START_TEST(no_line_can_be_forged)
{
    char all[300];
    kt_event_t event = event_of("a/b");
    char *log;
    size_t size;

    for (int i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    all[255] = '\0';
    event.subject = event.peer = event.purpose = event.request_id = event.reference = all;
    assert_ok(write_down(audit, &event));
    event.peer = "x\",\"status\":\"success\"}\n{\"time\":\"";
    assert_ok(write_down(audit, &event));
    log = world_read(world.log, &size);
    for (size_t i = 0; i < size; i++)
        ck_assert((log[i] >= ' ' && log[i] < 0x7f) || log[i] == '\n');
    ck_assert_uint_eq(world_lines("{\"time\"", "\"status\":\"success\"", NULL), 2);
    ck_assert_uint_eq(world_lines("\\u0022,\\u0022status\\u0022:\\u0022success", NULL), 1);
    free(log);
}
END_TEST

static void copy_state(const char *from, const char *to)
{
    size_t size = 0;
    char *bytes = world_read(from, &size);
    FILE *file = fopen(to, "w");

    ck_assert(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
    free(bytes);
}

/* As after a power cut: the log is on the disk, and the state as it was written long before. */
START_TEST(an_old_state_catches_up)
{
    kt_event_t event = {.action = "write",
                        .subject = "uid:all",
                        .reference = "a/b",
                        .status = "success",
                        .durable = true};
    char old[200];

    (void)snprintf(old, sizeof(old), "%s.old", state);
    assert_ok(kt_audit_write(audit, &event));
    copy_state(state, old);
    for (int i = 0; i < 200; i++)
        assert_ok(kt_audit_write(audit, &event));
    kt_audit_close(audit);
    copy_state(old, state);
    assert_ok(kt_audit_open(&config, "nginx", &audit));
    event.reference = "a/c";
    assert_ok(kt_audit_write(audit, &event));
    ck_assert_uint_eq(world_lines("a/b", NULL), 201);
    ck_assert_uint_eq(world_lines("a/c", "\"seq\":202,", NULL), 1);
    ck_assert_uint_eq(world_lines("\"gap\"", NULL) + world_lines("\"recover\"", NULL), 0);
    ck_assert_int_eq(unlink(old), 0);
}
END_TEST

static void assert_escaped(kt_lines_t *lines, size_t size, size_t at, unsigned byte)
{
    static const kt_audit_name_t name = {"test", "nginx", "boot"};
    bool is_plain = byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\';
    char text[64], escaped[12], expected[128], *line;
    kt_event_t event = {.action = "read", .subject = text, .status = "success"};

    memset(text, 'a', size);
    text[size] = '\0';
    text[at] = (char)byte;
    (void)snprintf(escaped, sizeof(escaped), is_plain ? "%c" : "\\u%04x", byte);
    (void)snprintf(expected, sizeof(expected), "\"subject\":\"%.*s%s%s\",", (int)at, text, escaped,
                   text + at + 1);
    assert_ok(kt_lines_begin(lines, KT_LINES_MIN));
    (void)kt_line_event(lines, &name, &event, 1, 0);
    line = strndup(lines->text, lines->size);
    ck_assert_msg(strstr(line, expected) != NULL, "%s is not in %s", expected, line);
    free(line);
}

/* Up to sixteen bytes are looked at together, and the last ones again. */
START_TEST(a_byte_is_escaped_wherever_it_stands)
{
    kt_lines_t lines = {.size = 0};

    for (size_t size = 1; size <= 35; size++)
        for (size_t at = 0; at < size; at++)
            for (unsigned byte = 1; byte < 256; byte++)
                assert_escaped(&lines, size, at, byte);
    kt_lines_free(&lines);
}
END_TEST

static void assert_number(kt_lines_t *lines, uint64_t number)
{
    static const kt_audit_name_t name = {"test", "nginx", "boot"};
    kt_event_t event = {.action = "read", .status = "success", .version = number};
    char expected[64], *line;

    (void)snprintf(expected, sizeof(expected), "\"version\":%llu,", (unsigned long long)number);
    assert_ok(kt_lines_begin(lines, KT_LINES_MIN));
    (void)kt_line_event(lines, &name, &event, 1, 0);
    line = strndup(lines->text, lines->size);
    ck_assert_msg(strstr(line, expected) != NULL, "%s is not in %s", expected, line);
    free(line);
}

START_TEST(numbers_of_all_lengths_are_written)
{
    kt_lines_t lines = {.size = 0};
    uint64_t power = 10;

    assert_number(&lines, 1);
    for (int digits = 2; digits <= 20; digits++) {
        assert_number(&lines, power - 1);
        assert_number(&lines, power);
        assert_number(&lines, power + power / 10 * 2 + 3);
        power *= 10;
    }
    assert_number(&lines, UINT64_MAX);
    kt_lines_free(&lines);
}
END_TEST

/* The longest of everything, each byte of it an escape: still one line, with its end. */
START_TEST(the_longest_line_is_whole)
{
    char *text = malloc(100001);
    kt_event_t event = event_of("a/b");
    size_t size;

    memset(text, 1, 100000);
    text[100000] = '\0';
    event.action = event.subject = event.peer = event.reference = event.provider = event.status =
        event.purpose = event.request_id = text;
    event.stale = event.fallback = true;
    event.version = UINT64_MAX;
    assert_ok(write_down(audit, &event));
    assert_ok(record("next/one"));
    ck_assert_uint_eq(world_lines("\"request\":\"", "\"}", NULL), 1);
    ck_assert_uint_eq(world_lines("next/one", "\"seq\":2,", NULL), 1);
    free(text);
    text = world_read(world.log, &size);
    ck_assert_uint_lt(size, 10000);
    free(text);
}
END_TEST

START_TEST(numbers_go_on_over_openings)
{
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(record("a/b"));
        kt_audit_close(audit);
        assert_ok(kt_audit_open(&config, "nginx", &audit));
    }
    ck_assert_uint_eq(world_lines("\"seq\":3,", NULL), 1);
    ck_assert_uint_eq(world_lines("\"seq\":", NULL), 3);
}
END_TEST

START_TEST(an_opened_trail_that_records_nothing_leaves_no_trace)
{
    ck_assert_int_ne(access(world.log, F_OK), 0);
    ck_assert_int_ne(access(state, F_OK), 0);
}
END_TEST

START_TEST(files_are_private)
{
    struct stat st;

    assert_ok(record("a/b"));
    ck_assert_int_eq(stat(world.log, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777 & ~0640u, 0);
    ck_assert_int_eq(stat(state, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
}
END_TEST

/* ---- the trail is tampered with ---- */

static kt_status_t record_anew(void)
{
    kt_status_t status;

    kt_audit_close(audit);
    assert_ok(kt_audit_open(&config, "nginx", &audit));
    status = record("a/b");
    return status;
}

/* What is said about the log that was being written, which had one block. */
static void assert_gap(const char *reason)
{
    char said[128];

    (void)snprintf(said, sizeof(said),
                   "\"reason\":\"%s\",\"from\":0,\"to\":0,\"first\":1,\"last\":1,", reason);
    ck_assert_uint_eq(
        world_lines("\"seq\":2,\"action\":\"gap\"", "\"severity\":\"critical\"", said, NULL), 1);
    ck_assert_uint_eq(world_lines("{\"log\":\"continue\"", "\"block\":1,\"last\":1,", NULL), 1);
    ck_assert_uint_eq(world_lines("\"seq\":3,", NULL), 1);
    ck_assert_uint_eq(world_lines("\"action\":\"gap\"", NULL), 1); /* said once */
}

START_TEST(a_log_that_is_gone_is_said)
{
    assert_ok(record("a/b"));
    ck_assert_int_eq(unlink(world.log), 0);
    assert_ok(_i == 0 ? record("a/b") : record_anew());
    assert_gap("gone");
    assert_ok(record_anew());
    ck_assert_uint_eq(world_lines("\"seq\":4,", NULL), 1);
}
END_TEST

static const off_t cuts[] = {0, -1};

START_TEST(a_log_that_was_cut_is_said)
{
    size_t size;

    assert_ok(record("a/b"));
    free(world_read(world.log, &size));
    ck_assert_int_eq(truncate(world.log, cuts[_i] == 0 ? 0 : (off_t)size - 1), 0);
    assert_ok(record("a/b"));
    assert_gap("cut");
    assert_ok(record_anew());
    ck_assert_uint_eq(world_lines("\"seq\":4,", NULL), 1);
}
END_TEST

/* Of the same inode and length: only a process that opens it looks. */
START_TEST(a_log_with_other_lines_is_said)
{
    size_t size;
    char *text;

    assert_ok(record("a/b"));
    text = world_read(world.log, &size);
    text[size - 10] ^= 1;
    world_write(world.log, text, 0640);
    free(text);
    assert_ok(record_anew());
    assert_gap("changed");
}
END_TEST

START_TEST(a_copy_of_the_log_is_found)
{
    char *text;

    assert_ok(record("a/b"));
    text = world_read(world.log, NULL);
    ck_assert_int_eq(unlink(world.log), 0);
    world_write(_i == 0 ? world.log : saved, text, 0640); /* restored; or copied and removed */
    free(text);
    assert_ok(record_anew());
    assert_gap("copied");
}
END_TEST

START_TEST(logrotate_begins_a_new_log)
{
    assert_ok(record("a/b"));
    ck_assert_int_eq(rename(world.log, saved), 0);
    assert_ok(record("a/b"));
    ck_assert_uint_eq(world_lines("\"seq\":2,", NULL), 1);
    ck_assert_uint_eq(world_lines("\"seq\":", NULL), 1);
    ck_assert_int_eq(rename(world.log, saved), 0);
    assert_ok(record_anew());
    ck_assert_uint_eq(world_lines("\"seq\":3,", NULL), 1);
}
END_TEST

/* Does this process have a removed file of this name open? */
static bool holds_removed(const char *name)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    bool found = false;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[300], target[300];
        ssize_t size;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        size = readlink(path, target, sizeof(target) - 1);
        target[size > 0 ? size : 0] = '\0';
        found = found || (strstr(target, name) != NULL && strstr(target, "(deleted)") != NULL);
    }
    (void)closedir(dir);
    return found;
}

/* A process that has it open notices that, too: another instance begins, in a log of its own. */
START_TEST(a_removed_state_is_started_again)
{
    kt_audit_t *other;
    kt_event_t event = event_of("a/b");

    assert_ok(record("a/b"));
    assert_ok(kt_audit_open(&config, "nginx", &other));
    assert_ok(write_down(other, &event));
    ck_assert_int_eq(unlink(state), 0);
    ck_assert(holds_removed("state"));
    assert_ok(record_anew());
    assert_ok(write_down(other, &event));
    ck_assert(!holds_removed("state")); /* both lock the same file again */
    assert_ok(record("a/b"));
    ck_assert_uint_eq(world_lines("{\"log\":\"start\"", "\"keyed\":false", NULL), 1);
    ck_assert_uint_eq(world_lines("\"seq\":1,\"action\":\"gap\"", "\"reason\":\"state\"",
                                  "\"to\":1,\"last\":2,", NULL),
                      1);
    ck_assert_uint_eq(world_lines("\"seq\":4,", NULL), 1);
    ck_assert_uint_eq(world_lines("\"seq\":5,", NULL), 0);
    kt_audit_close(other);
}
END_TEST

/* No caller got an answer for such a line. */
START_TEST(what_a_dead_process_left_is_cut_and_said)
{
    FILE *file;

    assert_ok(record("a/b"));
    file = fopen(world.log, "a");
    (void)fputs("{\"a line whose writer died\":1}\n{\"half a li", file);
    (void)fclose(file);
    assert_ok(record("a/b"));
    ck_assert_uint_eq(
        world_lines("\"seq\":2,", "\"recover\"", "\"dropped\":42,\"missing\":0}", NULL), 1);
    ck_assert_uint_eq(world_lines("\"seq\":3,", NULL), 1);
    ck_assert_uint_eq(world_lines("whose writer died", NULL), 0);
    ck_assert_uint_eq(world_lines("half a li", NULL), 0);
}
END_TEST

static const char *const damaged[] = {"", "K", "KTA1", "KTA4....................................",
                                      "0123456789012345678901234567890123456789"};

/* Also an empty one: the disk was full when it was made. */
START_TEST(a_damaged_state_begins_an_instance)
{
    assert_ok(record("a/b"));
    world_write(state, damaged[_i], 0600);
    assert_ok(_i % 2 == 0 ? record("a/b") : record_anew());
    ck_assert_uint_eq(world_lines("\"seq\":1,\"action\":\"gap\"", "\"reason\":\"state\"",
                                  "\"to\":0,\"last\":1,", NULL),
                      1);
    ck_assert_uint_eq(world_lines("\"seq\":2,", NULL), 1);
}
END_TEST

/* Nothing is followed and nothing is waited for; the log is another file. */
START_TEST(links_pipes_and_folders_are_passed_by)
{
    char target[200];
    struct stat st;

    (void)snprintf(target, sizeof(target), "%s/elsewhere", world.dir);
    world_write(target, "", 0600);
    ck_assert_int_eq(_i == 0   ? symlink(target, world.log)
                     : _i == 1 ? mkfifo(world.log, 0600)
                               : mkdir(world.log, 0700),
                     0);
    assert_ok(record("a/b"));
    ck_assert_uint_eq(world_lines("\"seq\":1,", NULL), 1);
    ck_assert_int_eq(lstat(world.log, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    ck_assert_int_eq(stat(target, &st), 0);
    ck_assert_int_eq(st.st_size, 0);
}
END_TEST

START_TEST(a_full_disk_leaves_no_half_line)
{
    struct rlimit limit = {0, 0}, old;
    size_t size;
    char *log;

    assert_ok(record("a/b"));
    free(world_read(world.log, &size));
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit.rlim_cur = (rlim_t)size + 20;
    limit.rlim_max = old.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_status(record("a/b"), KT_AUDIT);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    log = world_read(world.log, NULL);
    ck_assert_uint_eq(strlen(log), size);
    free(log);
    assert_ok(record("a/b"));
    ck_assert_uint_eq(world_lines("\"seq\":2,", "}", NULL), 1);
}
END_TEST

/* ---- many at once ---- */

#define EACH 1500

static void *write_many(void *arg)
{
    kt_audit_t *mine = NULL;
    kt_event_t event = event_of("a/b");

    if (kt_audit_open(&config, "nginx", &mine) != KT_SUCCESS)
        return arg;
    for (int i = 0; i < EACH; i++)
        if (kt_audit_write(mine, &event) != KT_SUCCESS)
            return arg;
    kt_audit_close(mine);
    return NULL;
}

static void assert_numbers(unsigned count)
{
    char *log = world_read(world.log, NULL), *line = log, *end;
    unsigned n = 0;

    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        unsigned sequence = 0;

        *end = '\0';
        ck_assert_int_eq(line[strlen(line) - 1], '}');
        if (strncmp(line, "{\"time\":", 8) != 0)
            continue; /* a seal */
        ck_assert_int_eq(sscanf(strstr(line, "\"seq\":"), "\"seq\":%u,", &sequence), 1);
        ck_assert_uint_eq(sequence, ++n);
    }
    ck_assert_uint_eq(n, count);
    ck_assert_str_eq(line, "");
    free(log);
}

START_TEST(processes_and_threads_count_together)
{
    pthread_t threads[3];
    pid_t pids[3];
    int status;

    /* All processes before the first thread: a child of a process with threads may wait for ever
     * for a lock that one of them had. */
    for (size_t i = 0; i < 3; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(write_many(&status) == NULL ? 0 : 1);
    }
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_many, &status), 0);
    for (size_t i = 0; i < 3; i++) {
        void *failed;

        wait_for_child(pids[i], 0);
        (void)pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    assert_numbers(6 * EACH);
}
END_TEST

START_TEST(killed_writers_leave_whole_numbered_lines)
{
    for (unsigned i = 0; i < 30; i++) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            for (;;)
                (void)write_many(&status);
        }
        (void)usleep(1000 + i * 331 % 4000);
        (void)kill(pid, SIGKILL);
        wait_for_child(pid, SIGKILL);
    }
    assert_ok(record("last/one"));
    assert_numbers((unsigned)world_lines("\"seq\":", NULL));
}
END_TEST

/* ---- reading ---- */

typedef struct seen {
    char *lines[64];
    size_t count, stop;
} seen_t;

static int see(void *arg, const kt_audit_line_t *line)
{
    seen_t *seen = arg;

    seen->lines[seen->count++] = strdup(line->text);
    return seen->count == seen->stop;
}

static void forget(seen_t *seen)
{
    while (seen->count > 0)
        free(seen->lines[--seen->count]);
}

START_TEST(the_last_lines_are_read)
{
    seen_t seen = {.count = 0};
    char name[32];

    for (unsigned i = 1; i <= 9; i++) {
        (void)snprintf(name, sizeof(name), "a/n%u", i);
        assert_ok(record(name));
    }
    assert_ok(kt_audit_last(config.audit_path, "nginx", 3, see, NULL, &seen));
    ck_assert_uint_eq(seen.count, 3);
    ck_assert_ptr_nonnull(strstr(seen.lines[0], "a/n7"));
    ck_assert_ptr_nonnull(strstr(seen.lines[2], "a/n9"));
    forget(&seen);
    assert_ok(kt_audit_last(config.audit_path, "nginx", 50, see, NULL, &seen));
    ck_assert_uint_eq(seen.count, 9);
    forget(&seen);
    assert_ok(kt_audit_last(config.audit_path, "nginx", 0, see, NULL, &seen));
    ck_assert_uint_eq(seen.count, 0);
    seen.stop = 2;
    assert_ok(kt_audit_last(config.audit_path, NULL, SIZE_MAX, see, NULL, &seen));
    ck_assert_uint_eq(seen.count, 2);
    forget(&seen);
    assert_status(kt_audit_last(config.audit_path, "nope", 3, see, NULL, &seen), KT_NOTFOUND);
    assert_status(kt_audit_last(config.audit_path, "../audit/nginx", 3, see, NULL, &seen),
                  KT_USAGE);
    assert_status(kt_audit_last(config.audit_path, "", 3, see, NULL, &seen), KT_USAGE);
    assert_status(kt_audit_last(config.audit_path, ".", 3, see, NULL, &seen), KT_USAGE);
}
END_TEST

START_TEST(streams_are_merged_by_time)
{
    kt_audit_t *other = NULL;
    kt_event_t event = event_of("b/2");
    seen_t seen = {.count = 0};

    assert_ok(kt_audit_open(&config, "redis", &other));
    assert_ok(record("a/1"));
    (void)usleep(3000);
    assert_ok(write_down(other, &event));
    (void)usleep(3000);
    assert_ok(record("a/3"));
    assert_ok(kt_audit_last(config.audit_path, NULL, 3, see, NULL, &seen));
    ck_assert_uint_eq(seen.count, 3);
    ck_assert_ptr_nonnull(strstr(seen.lines[0], "a/1"));
    ck_assert_ptr_nonnull(strstr(seen.lines[1], "b/2"));
    ck_assert_ptr_nonnull(strstr(seen.lines[2], "a/3"));
    forget(&seen);
    kt_audit_close(other);
}
END_TEST

/* Another user's log may contain anything: an operator's terminal must not get it raw. */
START_TEST(foreign_lines_are_harmless)
{
    seen_t seen = {.count = 0};
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/redis", folder);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/redis/log", folder);
    world_write(path, "\n\x1b]0;evil\a\xff\n{}\n{\"time\":\nno end", 0600);
    assert_ok(kt_audit_last(config.audit_path, "redis", 20, see, NULL, &seen));
    ck_assert_uint_eq(seen.count, 4);
    ck_assert_str_eq(seen.lines[0], "");
    ck_assert_str_eq(seen.lines[1], "?]0;evil??");
    forget(&seen);
    assert_ok(kt_audit_last(config.audit_path, NULL, 20, see, NULL, &seen));
    forget(&seen);
}
END_TEST

START_TEST(a_long_log_is_read_from_its_end_by_whole_lines)
{
    seen_t seen = {.count = 0};
    FILE *file = fopen(world.log, "w");

    ck_assert_ptr_nonnull(file);
    for (unsigned i = 0; i < 400; i++) {
        for (unsigned k = 0; k < 7000; k++)
            (void)fputc('x', file);
        (void)fputs(i % 100 == 42 ? "end\n{\"seal\":1}\n" : "end\n", file);
    }
    (void)fclose(file);
    assert_ok(kt_audit_last(config.audit_path, "nginx", 3, see, NULL, &seen));
    ck_assert_uint_eq(seen.count, 3);
    ck_assert_uint_eq(strlen(seen.lines[0]), 7003);
    forget(&seen);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, an_old_state_catches_up);
    tcase_add_test(tests, a_byte_is_escaped_wherever_it_stands);
    tcase_add_test(tests, numbers_of_all_lengths_are_written);
    tcase_add_test(tests, a_line_has_its_fields_in_order);
    tcase_add_test(tests, no_line_can_be_forged);
    tcase_add_test(tests, the_longest_line_is_whole);
    tcase_add_test(tests, numbers_go_on_over_openings);
    tcase_add_test(tests, an_opened_trail_that_records_nothing_leaves_no_trace);
    tcase_add_test(tests, files_are_private);
    tcase_add_loop_test(tests, a_log_that_is_gone_is_said, 0, 2);
    UNIT_TABLE(tests, a_log_that_was_cut_is_said, cuts);
    tcase_add_test(tests, a_log_with_other_lines_is_said);
    tcase_add_loop_test(tests, a_copy_of_the_log_is_found, 0, 2);
    tcase_add_test(tests, logrotate_begins_a_new_log);
    tcase_add_test(tests, a_removed_state_is_started_again);
    tcase_add_test(tests, what_a_dead_process_left_is_cut_and_said);
    UNIT_TABLE(tests, a_damaged_state_begins_an_instance, damaged);
    tcase_add_loop_test(tests, links_pipes_and_folders_are_passed_by, 0, 3);
    tcase_add_test(tests, a_full_disk_leaves_no_half_line);
    tcase_add_test(tests, processes_and_threads_count_together);
    tcase_add_test(tests, killed_writers_leave_whole_numbered_lines);
    tcase_add_test(tests, the_last_lines_are_read);
    tcase_add_test(tests, streams_are_merged_by_time);
    tcase_add_test(tests, foreign_lines_are_harmless);
    tcase_add_test(tests, a_long_log_is_read_from_its_end_by_whole_lines);
}

UNIT_MAIN("audit", add_tests)

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every allocation and every system call of the core fails once, in each piece of work: never a
 * crash, never a wrong value, nothing left behind, and a reason in the error text. The linker puts
 * the functions below in front of the real ones (core.mk, FAULTS); the provider `local` is loaded
 * and keeps the real ones.
 */
#include "process.h"
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALLOCATIONS, CALLS };

static struct {
    bool armed;
    int kind;
    unsigned calls, fail_at;
    bool failed;
    int error;
} fault;
static long allocated, locked; /* what is in use */

static bool fails(int kind)
{
    if (!fault.armed || fault.kind != kind || ++fault.calls != fault.fail_at)
        return false;
    fault.failed = true;
    errno = kind == ALLOCATIONS ? ENOMEM : fault.error;
    return true;
}

static void *count(long *counter, void *data)
{
    *counter += data != NULL;
    return data;
}

/* The linker chose these names, with two underscores. */
#define REAL(type, name, ...)                                                                      \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

REAL(void *, malloc, size_t size)
{
    return fails(ALLOCATIONS) ? NULL : count(&allocated, __real_malloc(size));
}

REAL(void *, calloc, size_t n, size_t size)
{
    return fails(ALLOCATIONS) ? NULL : count(&allocated, __real_calloc(n, size));
}

REAL(void *, realloc, void *old, size_t size)
{
    if (fails(ALLOCATIONS))
        return NULL;
    allocated += old == NULL;
    return __real_realloc(old, size);
}

REAL(void *, reallocarray, void *old, size_t n, size_t size)
{
    if (fails(ALLOCATIONS))
        return NULL;
    allocated += old == NULL;
    return __real_reallocarray(old, n, size);
}

REAL(void, free, void *data)
{
    allocated -= data != NULL;
    __real_free(data);
}

REAL(char *, strdup, const char *text)
{
    return fails(ALLOCATIONS) ? NULL : count(&allocated, __real_strdup(text));
}

REAL(char *, strndup, const char *text, size_t size)
{
    return fails(ALLOCATIONS) ? NULL : count(&allocated, __real_strndup(text, size));
}

static int print(char **text, const char *format, va_list args)
{
    if (fails(ALLOCATIONS)) {
        *text = (char *)1; /* undefined, says the manual */
        return -1;
    }
    allocated++;
    return vasprintf(text, format, args);
}

int __wrap_asprintf(char **text, const char *format, ...) KT_PRINTF(2, 3);
int __wrap_asprintf(char **text, const char *format, ...)
{
    va_list args;
    int size;

    va_start(args, format);
    size = print(text, format, args);
    va_end(args);
    return size;
}

int __wrap___asprintf_chk(char **text, int flag, const char *format, ...) KT_PRINTF(3, 4);
int __wrap___asprintf_chk(char **text, int flag, const char *format, ...)
{
    va_list args;
    int size;

    (void)flag;
    va_start(args, format);
    size = print(text, format, args);
    va_end(args);
    return size;
}

REAL(void *, kt_locked_alloc, size_t size)
{
    return fails(ALLOCATIONS) ? NULL : count(&locked, __real_kt_locked_alloc(size));
}

REAL(void, kt_locked_free, void *data)
{
    locked -= data != NULL;
    __real_kt_locked_free(data);
}

REAL(void *, kt_guarded_alloc, size_t size, bool wipe)
{
    return fails(ALLOCATIONS) ? NULL : count(&locked, __real_kt_guarded_alloc(size, wipe));
}

REAL(void *, kt_guarded_reserve, size_t size, size_t used, bool wipe)
{
    return fails(ALLOCATIONS) ? NULL : count(&locked, __real_kt_guarded_reserve(size, used, wipe));
}

REAL(void, kt_guarded_free, void *data)
{
    locked -= data != NULL;
    __real_kt_guarded_free(data);
}

REAL(kt_secret_t *, kt_secret_new, const void *data, size_t size)
{
    return fails(ALLOCATIONS) ? NULL : __real_kt_secret_new(data, size);
}

#define FAILING(type, name, arguments, ...)                                                        \
    REAL(type, name, __VA_ARGS__)                                                                  \
    {                                                                                              \
        return fails(CALLS) ? -1 : __real_##name arguments;                                        \
    }

FAILING(ssize_t, read, (fd, data, size), int fd, void *data, size_t size)
FAILING(ssize_t, write, (fd, data, size), int fd, const void *data, size_t size)
FAILING(ssize_t, pread, (fd, data, size, at), int fd, void *data, size_t size, off_t at)
FAILING(ssize_t, pwrite, (fd, data, size, at), int fd, const void *data, size_t size, off_t at)
FAILING(int, fsync, (fd), int fd)
FAILING(int, fdatasync, (fd), int fd)
FAILING(int, flock, (fd, operation), int fd, int operation)
FAILING(int, open, (path, flags, mode), const char *path, int flags, mode_t mode)
FAILING(int, openat, (fd, path, flags, mode), int fd, const char *path, int flags, mode_t mode)

FAILING(int, fstat, (fd, st), int fd, struct stat *st)
FAILING(int, fchmod, (fd, mode), int fd, mode_t mode)
FAILING(int, ftruncate, (fd, size), int fd, off_t size)
FAILING(int, fallocate, (fd, mode, at, size), int fd, int mode, off_t at, off_t size)
FAILING(int, renameat, (from, path, to, name), int from, const char *path, int to, const char *name)
FAILING(int, linkat, (from, path, to, name, flags), int from, const char *path, int to,
        const char *name, int flags)
FAILING(int, fflush, (file), FILE *file)

REAL(int, posix_fallocate, int fd, off_t at, off_t size)
{
    return fails(CALLS) ? fault.error : __real_posix_fallocate(fd, at, size);
}

REAL(size_t, fwrite, const void *data, size_t size, size_t count, FILE *file)
{
    return fails(CALLS) ? 0 : __real_fwrite(data, size, count, file);
}

REAL(void *, mmap, void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return fails(CALLS) ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}

/* ---- pieces of work ---- */

#define OLD "{\"user\": \"app\", \"password\": \"old-password\"}"

static kt_status_t read_value(kt_ctx_t *ctx, const char *reference, const char *wanted)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(ctx, &req, &secret);

    if (status == KT_SUCCESS && !kt_secret_equal(secret, wanted, strlen(wanted)))
        ck_abort_msg("a wrong value");
    kt_secret_free(secret);
    return status;
}

static kt_status_t work_get(kt_ctx_t *ctx)
{
    return read_value(ctx, "database/a#password", "old-password");
}

static kt_status_t work_previous(kt_ctx_t *ctx)
{
    return read_value(ctx, "database/a@previous", "first");
}

static kt_status_t work_refresh(kt_ctx_t *ctx)
{
    kt_request_t req = request("database/a");

    return kt_refresh(ctx, &req);
}

static kt_status_t work_put(kt_ctx_t *ctx)
{
    static const kt_meta_t meta[] = {{"owner", "me"}, {"tier", "1"}};
    kt_request_t req = request("api-keys/new");
    kt_put_options_t options = KT_PUT_INIT;
    kt_secret_t *value = kt_secret_new("new", 3);
    kt_status_t status;

    if (value == NULL)
        return kt_fail(KT_INTERNAL, "out of memory");
    options.meta = meta;
    options.nmeta = 2;
    status = kt_put(ctx, &req, value, &options, NULL);
    kt_secret_free(value);
    return status;
}

static kt_status_t work_put_field(kt_ctx_t *ctx)
{
    kt_request_t req = request("database/b");
    kt_put_options_t options = KT_PUT_INIT;
    kt_secret_t *value = kt_secret_new("new", 3);
    kt_status_t status;

    if (value == NULL)
        return kt_fail(KT_INTERNAL, "out of memory");
    options.field = "password";
    status = kt_put(ctx, &req, value, &options, NULL);
    kt_secret_free(value);
    return status;
}

static kt_status_t work_rotate(kt_ctx_t *ctx)
{
    kt_request_t req = request("api-keys/rotated");

    kt_rotate_options_t options = KT_ROTATE_INIT;

    options.generate = 1;
    return kt_rotate(ctx, &req, &options, NULL);
}

static kt_status_t no_target(void *arg, kt_rotation_t *rotation)
{
    kt_secret_t *password = NULL;
    kt_status_t status = kt_rotation_value(rotation, "password", &password);

    (void)arg;
    if (status == KT_SUCCESS)
        status = kt_rotation_note(rotation, "key", "value");
    kt_secret_free(password);
    return status;
}

static kt_status_t work_rotate_target(kt_ctx_t *ctx)
{
    static const kt_target_ops_t target = {sizeof(kt_target_ops_t), "exec:test", no_target, NULL};
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_request_t req = request("database/b");
    kt_status_t status;

    options.target = &target;
    status = kt_rotate(ctx, &req, &options, NULL);
    /* what is left pending is given up, so that the next round can begin */
    if (status != KT_SUCCESS) {
        kt_rotation_t *rotation = NULL;
        char why[KT_ERROR_SIZE];

        memcpy(why, kt_failure(), sizeof(why));
        fault.armed = false;
        if (kt_rotation_resume(ctx, &req, &rotation) == KT_SUCCESS)
            assert_ok(kt_rotation_abandon(rotation));
        (void)kt_fail(status, "%s", why);
    }
    return status;
}

static kt_status_t work_adopt(kt_ctx_t *ctx)
{
    static const kt_meta_t note = {"key", "value"};
    kt_adopt_t adopt = KT_ADOPT_INIT;
    kt_request_t req = request("database/b");
    kt_rotation_t *rotation = NULL;
    kt_secret_t *password = NULL;
    kt_info_t *info = NULL;
    kt_status_t status = kt_rotation_look(ctx, &req, 1, &rotation);

    if (status == KT_SUCCESS)
        status = kt_rotation_info(rotation, &info);
    if (status == KT_SUCCESS)
        status = kt_rotation_at(rotation, kt_rotation_version(rotation), "password", &password);
    adopt.target = "exec:test";
    adopt.notes = &note;
    adopt.nnotes = 1;
    if (status == KT_SUCCESS)
        status = kt_rotation_adopt(rotation, &adopt);
    kt_secret_free(password);
    kt_info_free(info);
    kt_rotation_leave(rotation);
    return status;
}

static kt_status_t work_changes(kt_ctx_t *ctx)
{
    kt_request_t req = request("api-keys/rotated");
    kt_status_t status = kt_rollback(ctx, &req, 0, NULL);

    if (status == KT_SUCCESS)
        status = kt_delete(ctx, &req);
    if (status == KT_SUCCESS)
        status = kt_undelete(ctx, &req);
    if (status != KT_SUCCESS) { /* in any case, the next round begins with a live one */
        char why[KT_ERROR_SIZE];

        memcpy(why, kt_failure(), sizeof(why));
        fault.armed = false;
        (void)!kt_undelete(ctx, &req);
        (void)kt_fail(status, "%s", why);
    }
    return status;
}

/* No ck_assert in what follows: Check itself allocates. */
static int count_entry(void *arg, const kt_entry_t *entry)
{
    *(unsigned *)arg += entry->name[0] == 'd';
    return 0;
}

static kt_status_t work_list(kt_ctx_t *ctx)
{
    kt_request_t req = request("database/*");
    unsigned n = 0;
    uint64_t hidden = 0;
    kt_status_t status = kt_list(ctx, &req, count_entry, &n, &hidden);

    if (status == KT_SUCCESS && (n != 2 || hidden != 0))
        ck_abort_msg("a listing of %u names, %u hidden", n, (unsigned)hidden);
    return status;
}

static kt_status_t work_info(kt_ctx_t *ctx)
{
    kt_request_t req = request("database/a");
    kt_info_t *info = NULL;
    kt_status_t status = kt_info(ctx, &req, &info);

    if (status == KT_SUCCESS && kt_info_versions(info) != 2)
        ck_abort_msg("%zu versions", kt_info_versions(info));
    kt_info_free(info);
    return status;
}

static kt_status_t work_bundle(kt_ctx_t *ctx)
{
    kt_bundle_t *slot = NULL, *copy = NULL;
    kt_request_t req = request("api-keys/b");
    kt_secret_t *value = kt_secret_new("in the bundle", 13), *secret = NULL;
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_status_t status;

    if (value == NULL)
        return kt_fail(KT_INTERNAL, "out of memory");
    options.generate = 1;
    req.bundle = &slot;
    status = kt_put(ctx, &req, value, NULL, NULL);
    if (status == KT_SUCCESS)
        status = kt_rotate(ctx, &req, &options, NULL);
    if (status == KT_SUCCESS)
        status = kt_bundle_copy(slot, &copy);
    req.bundle = &copy;
    req.reference = "api-keys/b@1";
    if (status == KT_SUCCESS)
        status = kt_get(ctx, &req, &secret);
    if (status == KT_SUCCESS && !kt_secret_equal(secret, "in the bundle", 13))
        ck_abort_msg("a wrong value");
    kt_secret_free(secret);
    kt_secret_free(value);
    kt_bundle_free(copy);
    kt_bundle_free(slot);
    return status;
}

static int see_line(void *arg, const kt_audit_line_t *line)
{
    (void)arg;
    return line->text[0] != '{';
}

static kt_status_t work_tail(kt_ctx_t *ctx)
{
    return kt_audit_tail(ctx, NULL, 5, see_line, NULL, NULL);
}

static kt_status_t work_keys(kt_ctx_t *ctx)
{
    char path[160];
    kt_status_t status;

    (void)ctx;
    (void)snprintf(path, sizeof(path), "%s/types.key", world.dir);
    status = kt_keygen_types(world.setup, "api-keys,tls", path);
    if (status != KT_SUCCESS)
        status = access(path, F_OK) != 0 ? status : KT_NOTFOUND; /* a key file is left behind */
    (void)unlink(path);
    return status;
}

static void see_finding(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg, (void)status;
    if (what == NULL || detail == NULL)
        abort();
}

static kt_status_t work_verify(kt_ctx_t *ctx)
{
    return kt_verify(ctx, see_finding, NULL);
}

static kt_status_t work_check(kt_ctx_t *ctx)
{
    return kt_check(ctx, see_finding, NULL);
}

static kt_status_t work_backup(kt_ctx_t *ctx)
{
    kt_request_t req = request(NULL);
    char path[160];
    kt_backup_count_t count = KT_BACKUP_COUNT_INIT;
    kt_status_t status;

    (void)snprintf(path, sizeof(path), "%s/backup", world.dir);
    status = kt_backup(ctx, &req, path, &count);
    if (status != KT_SUCCESS && access(path, F_OK) == 0)
        status = KT_NOTFOUND; /* half a file is left behind */
    if (status == KT_SUCCESS)
        status = kt_restore(ctx, &req, path, 1, &count);
    (void)unlink(path);
    return status;
}

/* A failure is never reported as a success without a text. */
static kt_status_t work_encode(kt_ctx_t *ctx)
{
    static const kt_encoding_t encodings[] = {KT_ENCODE_BASE64, KT_ENCODE_HEX, KT_ENCODE_BASIC};
    kt_request_t req = request("database/a");
    kt_secret_t *secret = NULL, *text = NULL;
    kt_status_t status = kt_get(ctx, &req, &secret);

    for (size_t i = 0; status == KT_SUCCESS && i <= KT_ARRAY(encodings); i++) {
        status = i < KT_ARRAY(encodings) ? kt_secret_encode(secret, encodings[i], &text)
                                         : kt_mask(secret, KT_MASK_PARTIAL, &text);
        if ((status == KT_SUCCESS) != (text != NULL))
            ck_abort_msg("encoding %zu: %s", i, kt_status_name(status));
        kt_secret_free(text);
        text = NULL;
    }
    kt_secret_free(secret);
    return status;
}

/* A new key file is on the disk, or it is not there: no call of it may fail unnoticed. */
static kt_status_t work_key_file(kt_ctx_t *ctx)
{
    bool failed_before = fault.failed;
    unsigned calls = fault.calls;
    char path[160];
    kt_status_t status;

    (void)ctx;
    (void)snprintf(path, sizeof(path), "%s/new.key", world.dir);
    status = kt_write_key(path, "key\n", 0600);
    if (fault.failed && !failed_before && status == KT_SUCCESS)
        ck_abort_msg("a key file is written although a call failed");
    if ((status == KT_SUCCESS) != (unlink(path) == 0))
        ck_abort_msg("%s, and the key file says otherwise", kt_status_name(status));
    /* open, write, fchmod and fsync of the file; open and fsync of its folder */
    if (fault.armed && fault.kind == CALLS && status == KT_SUCCESS && fault.calls - calls != 6)
        ck_abort_msg("a key file is written with %u calls", fault.calls - calls);
    return status;
}

static const struct {
    const char *name;
    kt_status_t (*work)(kt_ctx_t *ctx);
} works[] = {{"get", work_get},
             {"previous", work_previous},
             {"refresh", work_refresh},
             {"put", work_put},
             {"field", work_put_field},
             {"rotate", work_rotate},
             {"target", work_rotate_target},
             {"adopt", work_adopt},
             {"changes", work_changes},
             {"list", work_list},
             {"info", work_info},
             {"bundle", work_bundle},
             {"tail", work_tail},
             {"keys", work_keys},
             {"verify", work_verify},
             {"check", work_check},
             {"backup", work_backup},
             {"encode", work_encode},
             {"key file", work_key_file}};

/* Is this key's line the first one that it has? */
static bool is_first(const char *text, const char *line)
{
    char key[34];

    (void)snprintf(key, sizeof(key), "\n%.32s", line);
    return strstr(text, key) + 1 == line;
}

/* The types that have an anchor, in one line or in two: none may ever be lost. */
static unsigned anchored(void)
{
    char path[160], *text;
    unsigned n = 0;

    (void)snprintf(path, sizeof(path), "%s/anchors/nginx/generations", world.dir);
    text = world_read(path, NULL);
    for (const char *at = strchr(text, '\n'); at != NULL && at[1] != '\0';
         at = strchr(at + 1, '\n'))
        n += is_first(text, at + 1);
    free(text);
    return n;
}

/* All of a process's life: reading the configuration, opening, working, closing. */
static kt_status_t live(kt_status_t (*work)(kt_ctx_t *ctx), char why[KT_ERROR_SIZE])
{
    kt_setup_t *setup = NULL;
    kt_ctx_t *ctx = NULL;
    kt_status_t status = kt_setup(world.config, "nginx", &setup);

    if (status == KT_SUCCESS)
        status = kt_open(setup, &ctx);
    (void)snprintf(why, KT_ERROR_SIZE, "%s",
                   setup != NULL ? kt_setup_error(setup) : "out of memory");
    if (status == KT_SUCCESS) {
        status = work(ctx);
        (void)snprintf(why, KT_ERROR_SIZE, "%s", kt_error(ctx));
    }
    kt_close(ctx);
    kt_setup_free(setup);
    return status;
}

static void make_world(void)
{
    world_make(NULL, NULL, NULL);
    world_of_local();
    put("database/a", "first", 1);
    put("database/a", OLD, 2);
    put("database/b", OLD, 1);
    put("api-keys/rotated", "one", 1);
    put("api-keys/rotated", "two", 2);
    fault.error = EIO;
}

static void fail_each(int kind, int which)
{
    char why[KT_ERROR_SIZE];
    unsigned rounds = 0, files, anchors = anchored();
    long memory_before, locked_before;

    assert_ok(live(works[which].work, why)); /* what is made once is made now */
    files = open_files();
    memory_before = allocated;
    locked_before = locked;
    do {
        kt_status_t status;

        fault.failed = false;
        fault.calls = 0;
        fault.kind = kind;
        fault.fail_at = ++rounds;
        fault.armed = true;
        status = live(works[which].work, why);
        fault.armed = false;
        if (works[which].work == work_check || works[which].work == work_verify)
            why[0] = '?'; /* these answer through their function */
        if (status != KT_SUCCESS) {
            ck_assert_msg(fault.failed, "%s: %s without a fault: %s", works[which].name,
                          kt_status_name(status), why);
            ck_assert_msg(why[0] != '\0', "%s, call %u: %s without a reason", works[which].name,
                          rounds, kt_status_name(status));
            ck_assert_msg(status != KT_NOTFOUND && status != KT_GONE && status != KT_WRONGKEY &&
                              status != KT_DENIED && status != KT_NOKEY && status != KT_MOVED &&
                              status != KT_ROLLEDBACK && status != KT_TOOLARGE,
                          "%s, call %u: %s, which is a fact: %s", works[which].name, rounds,
                          kt_status_name(status), why);
        }
        ck_assert_msg(anchored() >= anchors, "%s, call %u: an anchor is lost", works[which].name,
                      rounds);
        ck_assert_msg(open_files() == files, "%s, call %u: a descriptor is left", works[which].name,
                      rounds);
        ck_assert_msg(locked == locked_before, "%s, call %u: locked memory is left",
                      works[which].name, rounds);
        ck_assert_msg(allocated == memory_before, "%s, call %u: %ld allocations are left",
                      works[which].name, rounds, allocated - memory_before);
    } while (fault.failed);
    ck_assert_uint_gt(rounds, 5);
    assert_value("database/a", OLD, 2);
    assert_value("database/a@1", "first", 1);
}

START_TEST(every_allocation_fails_once)
{
    fail_each(ALLOCATIONS, _i);
}
END_TEST

START_TEST(every_call_fails_once)
{
    fail_each(CALLS, _i);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, make_world, world_end);
    UNIT_TABLE(tests, every_allocation_fails_once, works);
    UNIT_TABLE(tests, every_call_fails_once, works);
}

UNIT_MAIN("fault", add_tests)

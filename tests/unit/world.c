/* SPDX-License-Identifier: BSD-2-Clause */
/* world.c: a folder, a configuration, a context. */
#include "world.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

world_t world;

void world_write(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    (void)close(fd);
}

char *world_read(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0, got;

    ck_assert_msg(file != NULL, "cannot open %s", path);
    do {
        text = realloc(text, size + 65537);
        got = fread(text + size, 1, 65536, file);
        size += got;
    } while (got > 0);
    text[size] = '\0';
    (void)fclose(file);
    if (ret_size != NULL)
        *ret_size = size;
    return text;
}

static bool has_all(const char *line, size_t size, const char *text, va_list more)
{
    for (; text != NULL; text = va_arg(more, const char *))
        if (memmem(line, size, text, strlen(text)) == NULL)
            return false;
    return true;
}

static void set_mode_of_stream(mode_t mode)
{
    char stream[sizeof(world.log)];

    (void)snprintf(stream, sizeof(stream), "%s/audit/nginx", world.dir);
    (void)chmod(stream, mode); /* a world without a log has no stream */
}

void world_close_log(void)
{
    ck_assert_int_eq(unlink(world.log), 0);
    set_mode_of_stream(0500);
}

void world_open_log(void)
{
    set_mode_of_stream(0700);
}

size_t world_lines(const char *text, ...)
{
    char *log;
    size_t count = 0;

    if (world.ctx != NULL)
        (void)!kt_audit_flush(world.ctx, /* all= */ 1);
    if (access(world.log, F_OK) != 0)
        return 0;
    log = world_read(world.log, NULL);
    for (char *line = log, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        va_list more;

        va_start(more, text);
        count += has_all(line, (size_t)(end - line), text, more);
        va_end(more);
    }
    free(log);
    return count;
}

void world_make(const char *providers, const char *routes, const char *more)
{
    const char *tmp = getenv("TMPDIR");
    char text[4096], local[160], error[256];

    memset(&world, 0, sizeof(world));
    (void)snprintf(world.dir, sizeof(world.dir), "%s/ktu-XXXXXX",
                   tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(world.dir));
    (void)snprintf(world.config, sizeof(world.config), "%s/keyturn.yaml", world.dir);
    (void)snprintf(world.key, sizeof(world.key), "%s/test.key", world.dir);
    (void)snprintf(world.store, sizeof(world.store), "%s/test.db", world.dir);
    (void)snprintf(world.log, sizeof(world.log), "%s/audit/nginx/log", world.dir);
    (void)snprintf(local, sizeof(local), "local: {path: \"%s\", keep_versions: 4}", world.store);
    (void)snprintf(text, sizeof(text),
                   "environment: test\nkey: \"file:test.key\"\nproviders:\n  %s\nswitch:\n  %s\n"
                   "policy:\n  - {who: \"" ALL
                   "\", allow: [read, write, rotate, list, delete, admin], names: [\"*\"]}\n"
                   "  - {who: \"" READER "\", allow: [read, list], names: [\"api-keys/*\"]}\n"
                   "  - {who: \"" MONITOR "\", allow: [state], names: [\"database/*\"]}\n"
                   "audit: {path: audit, required: true, rotate: 1000M}\n%s", /* tests count the
                                                                                 lines of one log */
                   providers != NULL ? providers : local, routes != NULL ? routes : "\"*\": local",
                   more != NULL ? more : "");
    world_write(world.config, text, 0600);
    assert_ok(kt_keygen(world.key, "test", error, sizeof(error)));
    (void)snprintf(text, sizeof(text), "%s/audit", world.dir);
    ck_assert_int_eq(mkdir(text, 0700), 0);
}

static void open_context(void)
{
    kt_status_t status = kt_open(world.setup, &world.ctx);

    ck_assert_msg(status == KT_SUCCESS, "kt_open: %s", kt_setup_error(world.setup));
}

void world_open(void)
{
    kt_status_t status = kt_setup(world.config, "nginx", &world.setup);

    ck_assert_msg(status == KT_SUCCESS, "kt_setup: %s", kt_setup_error(world.setup));
    open_context();
}

void world_open_with(const ktp_provider_t *const *apis, size_t count)
{
    kt_setup_t *setup = calloc(1, sizeof(*setup));

    world.setup = setup;
    (void)snprintf(setup->host, sizeof(setup->host), "nginx");
    (void)snprintf(setup->stream, sizeof(setup->stream), "nginx");
    assert_ok(kt_config_read(world.config, &setup->config));
    assert_ok(kt_keyring_read(setup->config, "nginx", &setup->keyring));
    ck_assert_uint_eq(setup->config->nproviders, count);
    setup->modules = calloc(1, sizeof(*setup->modules));
    atomic_init(&setup->modules->refs, 1);
    setup->modules->list = calloc(count, sizeof(*setup->modules->list));
    setup->modules->count = count;
    for (size_t i = 0; i < count; i++) {
        setup->modules->list[i].api = apis[i];
        setup->modules->list[i].config = &setup->config->providers[i];
        setup->modules->list[i].services = *kt_services();
    }
    open_context();
}

void world_of_local(void)
{
    if (world.dir[0] == '\0')
        world_make(NULL, NULL, NULL);
    world_open();
    assert_ok(kt_create(world.ctx));
}

void world_of_memory(const char *more)
{
    static const ktp_provider_t *const apis[] = {&memory_provider};

    memory_reset();
    world_make("memory: {}", "\"*\": memory", more);
    world_open_with(apis, 1);
    assert_ok(kt_create(world.ctx));
}

kt_ctx_t *world_context(void)
{
    kt_ctx_t *ctx = NULL;
    kt_status_t status = kt_open(world.setup, &ctx);

    ck_assert_msg(status == KT_SUCCESS, "kt_open: %s", kt_setup_error(world.setup));
    return ctx;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void world_end(void)
{
    kt_close(world.ctx);
    kt_setup_free(world.setup);
    ck_assert_uint_eq(memory.open_txns, 0);
    ck_assert_uint_eq(memory.instances, 0);
    memory_reset();
    world_open_log();
    if (world.dir[0] != '\0')
        (void)nftw(world.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    memset(&world, 0, sizeof(world));
}

kt_request_t request_by(const char *subject, const char *reference)
{
    kt_request_t req = KT_REQUEST_INIT;

    req.reference = reference;
    req.subject = subject;
    return req;
}

kt_request_t request(const char *reference)
{
    return request_by(ALL, reference);
}

void assert_value(const char *reference, const char *text, uint64_t version)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;

    assert_ok(kt_get(world.ctx, &req, &secret));
    assert_secret(secret, text);
    if (version != 0)
        ck_assert_uint_eq(kt_secret_version(secret), version);
    kt_secret_free(secret);
}

void put(const char *name, const char *text, uint64_t version)
{
    kt_secret_t *value = secret_of(text);
    kt_request_t req = request(name);
    uint64_t got = 0;

    assert_ok(kt_put(world.ctx, &req, value, NULL, &got));
    ck_assert_uint_eq(got, version);
    kt_secret_free(value);
}

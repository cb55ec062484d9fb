/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * host.c: what a provider sees of a host, and the rules that hold for each call:
 *   - the status is one of those that a provider may answer;
 *   - a status other than SUCCESS and NOTFOUND comes after exactly one error text, SUCCESS after
 * none;
 *   - no text holds bytes of a record;
 *   - a failing call leaves its outputs as they were;
 *   - secret memory is given back or handed over with a value.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"

#define SESSIONS 24
#define OPTIONS_MAX 32

const ktp_provider_t *provider;
const char *provider_path;
char **provider_options;
unsigned host_violations;

static ktp_option_t options[OPTIONS_MAX];
static size_t noptions;
static session_t sessions[SESSIONS];
extern char **environ;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fprintf(stderr, "conformance: ");
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(2);
}

__attribute__((format(printf, 2, 3))) static void violation(const char *call, const char *format,
                                                            ...)
{
    va_list args;

    host_violations++;
    va_start(args, format);
    (void)printf("# %s: ", call);
    (void)vprintf(format, args);
    (void)putchar('\n');
    va_end(args);
}

/* ---- services ---- */

/* A block names its session, so that a foreign one, or one from malloc, is detected. */
typedef struct block {
    const session_t *of;
    size_t size;
    max_align_t data[];
} block_t;

static void *service_alloc(void *host, size_t size)
{
    block_t *block = calloc(1, sizeof *block + size);
    session_t *s = host;

    if (block == NULL)
        return NULL;
    block->of = s;
    block->size = size;
    s->blocks++;
    return block->data;
}

static block_t *block_of(const session_t *s, void *data)
{
    block_t *block = (block_t *)((char *)data - offsetof(block_t, data));

    return block->of == s ? block : NULL;
}

static void service_free(void *host, void *data)
{
    session_t *s = host;
    block_t *block;

    if (data == NULL)
        return;
    block = block_of(s, data);
    if (block == NULL)
        die("secret_free: not from secret_alloc of this host");
    block->of = NULL;
    s->blocks--;
    free(block);
}

static int64_t service_now(void *host)
{
    struct timespec now;

    (void)host;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void look_for_bytes(const char *what, const char *text)
{
    if (strstr(text, "KTRN") != NULL || strstr(text, "CANARY") != NULL)
        violation(what, "a record in the text");
    if (text[0] == '\0' || strchr(text, '\n') != NULL)
        violation(what, "not one line");
}

static void service_error(void *host, const char *format, ...)
{
    session_t *s = host;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(s->error, sizeof s->error, format, args);
    va_end(args);
    s->errors++;
    look_for_bytes("error", s->error);
}

static void service_debug(void *host, const char *format, ...)
{
    char text[600];
    va_list args;

    (void)host;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    look_for_bytes("debug", text);
}

static ktp_status_t service_http(void *host, ktp_http_t *exchange)
{
    (void)exchange;
    service_error(host, "there is no network here");
    return KTP_UNAVAIL;
}

static int service_interrupted(void *host)
{
    (void)host;
    return 0;
}

static char *read_secret(const char *text, size_t *ret_size);

/* A list has one source here. */
static ktp_status_t service_secret(void *host, const char *name, size_t index,
                                   ktp_buffer_t *ret_value)
{
    const char *text = NULL;
    size_t size = 0;
    char *data;

    for (size_t i = 0; provider_options[i] != NULL; i++)
        if (strncmp(provider_options[i], name, strlen(name)) == 0 &&
            provider_options[i][strlen(name)] == '=')
            text = provider_options[i] + strlen(name) + 1;
    if (text == NULL || index > 0)
        return KTP_NOTFOUND;
    data = read_secret(text, &size);
    ret_value->data = service_alloc(host, size + 1);
    if (ret_value->data != NULL)
        memcpy(ret_value->data, data, size);
    free(data);
    ret_value->size = size;
    return ret_value->data != NULL ? KTP_SUCCESS : KTP_UNAVAIL;
}

static const char *service_variable(void *host, size_t index)
{
    size_t i = 0;

    (void)host;
    while (i < index && environ[i] != NULL)
        i++;
    return environ[i];
}

/* Enough for what tests read with this host: NAME=VALUE, bare, in any dialect but "none". */
static ktp_status_t service_dotenv(void *host, const char *dialect, const char *file,
                                   const char *text, size_t size, ktp_pair_fn fn, void *arg)
{
    const char *end = text + size;

    while (text < end) {
        size_t length = strcspn(text, "\n"), name = strcspn(text, "=\n");

        if (text[name] != '=' || strcmp(dialect, "none") == 0) {
            service_error(host, "%s: not read", file);
            return KTP_MALFORMED;
        }
        if (fn(arg, text, name, text + name + 1, length - name - 1) != 0)
            break;
        text += length + 1;
    }
    return KTP_SUCCESS;
}

/* No command runs here: what asks for one learns that it does not know it. */
static ktp_status_t service_run(void *host, ktp_command_t *command)
{
    (void)host;
    command->exit = 66;
    command->output = (ktp_buffer_t){service_alloc(host, 1), 0};
    return KTP_SUCCESS;
}

static const ktp_services_t services = {
    .size = sizeof(ktp_services_t),
    .abi_major = KTP_ABI_MAJOR,
    .abi_minor = KTP_ABI_MINOR,
    .secret_alloc = service_alloc,
    .secret_free = service_free,
    .now = service_now,
    .error = service_error,
    .debug = service_debug,
    .http = service_http,
    .interrupted = service_interrupted,
    .secret = service_secret,
    .variable = service_variable,
    .dotenv = service_dotenv,
    .run = service_run,
};

/* ---- loading ---- */

static char *read_secret(const char *text, size_t *ret_size)
{
    const char *path = strncmp(text, "file:", 5) == 0 ? text + 5 : text;
    FILE *file = fopen(path, "rb");
    char *data = calloc(1, 4097);

    if (file == NULL || data == NULL)
        die("%s: %s", path, strerror(errno));
    *ret_size = fread(data, 1, 4096, file);
    (void)fclose(file);
    return data;
}

static int64_t parse_number(const ktp_option_spec_t *spec, const char *text)
{
    static const struct {
        const char *name;
        int64_t factor;
    } units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
    };
    char *end;
    int64_t number;

    if (spec->type == KTP_BOOL && (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0))
        return 1;
    if (spec->type == KTP_BOOL && (strcmp(text, "false") == 0 || strcmp(text, "no") == 0))
        return 0;
    number = strtoll(text, &end, 10);
    if (end != text && spec->type == KTP_DURATION)
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
            if (strcmp(end, units[i].name) == 0)
                return number * units[i].factor;
    if (end == text || *end != '\0')
        die("option %s: '%s' is not a number", spec->name, text);
    return number;
}

static void set_option(const ktp_option_spec_t *spec, ktp_option_t *option, const char *text)
{
    option->text = text;
    option->text_size = text != NULL ? strlen(text) : 0;
    if (text == NULL)
        return;
    if (spec->type == KTP_SECRET || spec->type == KTP_SECRETS)
        option->text = read_secret(text, &option->text_size);
    if (spec->type == KTP_NUMBER || spec->type == KTP_DURATION || spec->type == KTP_BOOL)
        option->number = parse_number(spec, text);
}

static void read_options(char **given)
{
    const ktp_option_spec_t *spec;
    size_t found = 0, count = 0;

    for (char **at = given; *at != NULL; at++)
        count++;
    for (spec = provider->options; spec->name != NULL; spec++) {
        ktp_option_t *option = &options[noptions++];
        size_t length = strlen(spec->name);
        const char *text = spec->fallback;

        if (noptions > OPTIONS_MAX)
            die("more than %d options", OPTIONS_MAX);
        for (char **at = given; *at != NULL; at++) {
            if (strncmp(*at, spec->name, length) == 0 && (*at)[length] == '=') {
                text = *at + length + 1;
                found++;
            }
        }
        if (text == NULL && spec->required)
            die("option %s is required", spec->name);
        *option = (ktp_option_t){.name = spec->name, .file = "conformance", .line = 1};
        set_option(spec, option, text);
    }
    if (found != count)
        die("an option that %s does not have, or has twice", provider->name);
}

void host_load(const char *path, char **given)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (handle == NULL)
        die("%s", dlerror());
    provider = dlsym(handle, "keyturn_provider");
    if (provider == NULL)
        die("%s: %s", path, dlerror());
    if (provider->magic != KTP_MAGIC || provider->abi_major != KTP_ABI_MAJOR ||
        provider->size < sizeof(ktp_provider_t))
        die("%s: not a provider of ABI %d", path, KTP_ABI_MAJOR);
    provider_path = path;
    provider_options = given;
    read_options(given);
}

bool host_can(uint32_t capability)
{
    return (provider->capabilities & capability) == capability;
}

/* ---- sessions ---- */

session_t *host_open(void)
{
    session_t *s = NULL;
    ktp_status_t status;

    for (size_t i = 0; i < SESSIONS && s == NULL; i++)
        if (sessions[i].instance == NULL)
            s = &sessions[i];
    if (s == NULL)
        die("more than %d sessions", SESSIONS);
    memset(s, 0, sizeof *s);
    s->services = services;
    s->services.host = s;
    status = provider->open(&s->services, options, noptions, &s->instance);
    if (status != KTP_SUCCESS)
        die("open answered %d: %s", (int)status, s->error);
    return s;
}

void host_close(session_t *s)
{
    if (s->instance != NULL)
        provider->close(s->instance);
    if (s->blocks != 0)
        violation("close", "%u blocks of secret memory are left", s->blocks);
    s->instance = NULL;
    s->txn = NULL;
    s->blocks = 0;
}

void host_close_all(void)
{
    for (size_t i = 0; i < SESSIONS; i++)
        host_close(&sessions[i]);
}

int host_run(const char *action, const char *argument)
{
    char *args[OPTIONS_MAX + 8], run[32];
    posix_spawn_file_actions_t files;
    size_t count = 0;
    int status = -1;
    pid_t pid;

    (void)snprintf(run, sizeof run, "--run=%" PRIx64, rows_run);
    args[count++] = (char *)"conformance";
    args[count++] = run;
    args[count++] = (char *)action;
    if (argument != NULL)
        args[count++] = (char *)argument;
    args[count++] = (char *)provider_path;
    for (char **at = provider_options; *at != NULL && count < OPTIONS_MAX + 7; at++)
        args[count++] = *at;
    args[count] = NULL;
    (void)fflush(stdout);
    if (posix_spawn_file_actions_init(&files) != 0)
        return -1;
    (void)posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&pid, "/proc/self/exe", &files, NULL, args, environ) != 0 ||
        waitpid(pid, &status, 0) != pid)
        status = -1;
    (void)posix_spawn_file_actions_destroy(&files);
    return status != -1 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- calls, watched ---- */

static void before(session_t *s)
{
    s->errors = 0;
    s->error[0] = '\0';
}

static ktp_status_t after(session_t *s, const char *call, ktp_status_t status)
{
    if ((unsigned)status > KTP_NOSPACE)
        violation(call, "answered %d, which is not a status of a provider", (int)status);
    if (status == KTP_SUCCESS && s->errors != 0)
        violation(call, "succeeded and said: %s", s->error);
    if (status == KTP_NOTFOUND && s->errors > 1)
        violation(call, "said why %u times", s->errors);
    if (status != KTP_SUCCESS && status != KTP_NOTFOUND && s->errors != 1)
        violation(call, "answered %d and said why %u times", (int)status, s->errors);
    return status;
}

ktp_status_t s_check(session_t *s, int writing)
{
    before(s);
    return after(s, "check", provider->check(s->instance, writing));
}

ktp_status_t s_create(session_t *s)
{
    before(s);
    return after(s, "create", provider->create(s->instance));
}

ktp_status_t s_begin(session_t *s, int writing, unsigned timeout)
{
    ktp_status_t status;
    ktp_txn_t *txn = NULL;

    before(s);
    status = after(s, "begin", provider->begin(s->instance, writing, timeout, &txn));
    if ((status == KTP_SUCCESS) != (txn != NULL))
        violation("begin", "answered %d and %s transaction", (int)status, txn != NULL ? "a" : "no");
    if (status == KTP_SUCCESS)
        s->txn = txn;
    return status;
}

ktp_status_t s_get(session_t *s, const ktp_key_t *key, ktp_row_t *ret_row)
{
    static const ktp_row_t untouched = {.stamp = 0xfeedface, .record_size = 77};
    ktp_row_t row = untouched;
    ktp_status_t status;

    before(s);
    status = after(s, "row_get", provider->row_get(s->txn, key, &row));
    if (status != KTP_SUCCESS && memcmp(&row, &untouched, sizeof row) != 0)
        violation("row_get", "answered %d and changed its output", (int)status);
    if (status == KTP_SUCCESS && (row.stamp == 0 || row.record == NULL || row.record_size == 0))
        violation("row_get", "a row without stamp or record");
    if (status == KTP_SUCCESS && row.beside == NULL && row.beside_size != 0)
        violation("row_get", "a size of nothing");
    if (status == KTP_SUCCESS)
        *ret_row = row;
    return status;
}

ktp_status_t s_put(session_t *s, const ktp_key_t *key, const ktp_row_t *row, uint64_t expected)
{
    before(s);
    return after(s, "row_put", provider->row_put(s->txn, key, row, expected));
}

ktp_status_t s_remove(session_t *s, const ktp_key_t *key, uint64_t expected)
{
    before(s);
    return after(s, "row_remove", provider->row_remove(s->txn, key, expected));
}

ktp_status_t s_scan(session_t *s, ktp_space_t space, ktp_scan_fn fn, void *arg)
{
    before(s);
    return after(s, "row_scan", provider->row_scan(s->txn, space, fn, arg));
}

ktp_status_t s_commit(session_t *s)
{
    ktp_txn_t *txn = s->txn;

    before(s);
    s->txn = NULL;
    return after(s, "commit", provider->commit(txn));
}

bool host_can_publish(void)
{
    return provider->abi_minor >= 3 && provider->publish != NULL && provider->sync != NULL;
}

ktp_status_t s_publish(session_t *s)
{
    ktp_txn_t *txn = s->txn;

    before(s);
    s->txn = NULL;
    return after(s, "publish", host_can_publish() ? provider->publish(txn) : provider->commit(txn));
}

ktp_status_t s_sync(session_t *s)
{
    before(s);
    return after(s, "sync", host_can_publish() ? provider->sync(s->instance) : KTP_SUCCESS);
}

void s_abort(session_t *s)
{
    ktp_txn_t *txn = s->txn;

    before(s);
    s->txn = NULL;
    provider->abort(txn);
    if (s->errors != 0)
        violation("abort", "said: %s", s->error);
}

ktp_status_t s_token(session_t *s, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    before(s);
    return after(s, "token", provider->token(s->instance, ret_token));
}

/* ---- calls of plain providers ---- */

static ktp_request_t request_for(const char *name, const char *version)
{
    return (ktp_request_t){sizeof(ktp_request_t), "development", name, version, WAIT};
}

void value_free(session_t *s, ktp_value_t *value)
{
    service_free(s, value->value.data);
    *value = (ktp_value_t){.size = sizeof *value};
}

static void look_at_value(session_t *s, const ktp_value_t *value)
{
    const block_t *block = value->value.data != NULL ? block_of(s, value->value.data) : NULL;

    if (block == NULL)
        violation("get", "the value is not in memory of secret_alloc");
    else if (block->size < value->value.size)
        violation("get", "the value is larger than its memory");
    if (value->size != sizeof *value)
        violation("get", "the size of the struct was changed");
    if (value->version != 0 && !host_can(KTP_VERSIONS))
        violation("get", "a version of a provider that declares none");
    if (value->created < 0 || value->expires < 0)
        violation("get", "a time before 1970");
}

ktp_status_t s_value_get(session_t *s, const char *name, const char *version,
                         ktp_value_t *ret_value)
{
    const ktp_value_t untouched = {.size = sizeof untouched, .expires = 0x7e5};
    ktp_request_t request = request_for(name, version);
    ktp_value_t value = untouched;
    unsigned blocks = s->blocks;
    ktp_status_t status;

    before(s);
    status = after(s, "get", provider->get(s->instance, &request, &value));
    if (status == KTP_SUCCESS) {
        look_at_value(s, &value);
        *ret_value = value;
    } else if (memcmp(&value, &untouched, sizeof value) != 0) {
        violation("get", "answered %d and changed its output", (int)status);
    }
    if (s->blocks != blocks + (status == KTP_SUCCESS))
        violation("get", "answered %d and left %u blocks of secret memory", (int)status,
                  s->blocks - blocks);
    return status;
}

/* The host's memory belongs to the host: a put must not change it. */
ktp_status_t s_value_put(session_t *s, const char *name, const void *data, size_t size,
                         uint64_t *ret_version)
{
    ktp_request_t request = request_for(name, "current");
    ktp_value_t value = {.size = sizeof value};
    unsigned char *copy = service_alloc(s, size + 1);
    unsigned blocks = s->blocks;
    uint64_t version = 0xfeedface;
    ktp_status_t status;

    if (copy == NULL)
        die("out of memory");
    memcpy(copy, data, size);
    value.value = (ktp_buffer_t){copy, size};
    before(s);
    status = after(s, "put", provider->put(s->instance, &request, &value, &version));
    if ((status == KTP_SUCCESS) == (version == 0xfeedface))
        violation("put", "answered %d and %s a version", (int)status,
                  status == KTP_SUCCESS ? "not" : "changed");
    if (s->blocks != blocks || value.value.data != copy || memcmp(copy, data, size) != 0)
        violation("put", "the value was changed, taken, or memory was left");
    service_free(s, copy);
    if (status == KTP_SUCCESS)
        *ret_version = version;
    return status;
}

ktp_status_t s_value_remove(session_t *s, const char *name)
{
    ktp_request_t request = request_for(name, "current");
    unsigned blocks = s->blocks;
    ktp_status_t status;

    before(s);
    status = after(s, "remove", provider->remove(s->instance, &request));
    if (s->blocks != blocks)
        violation("remove", "memory was left");
    return status;
}

ktp_status_t s_list(session_t *s, int (*fn)(void *arg, const char *name), void *arg)
{
    before(s);
    return after(s, "list", provider->list(s->instance, fn, arg));
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn_redis.c: load, the one table of commands, and what an operator reads.
 *
 *     loadmodule /usr/lib/redis/modules/keyturn.so config /etc/keyturn/keyturn.yaml
 *
 * Without `config` the module has no key: it keeps and serves sealed values, as on a replica.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "keyturn_redis.h"

/* ---- commands ---- */

enum { KTR_NO_KEY = 0 }; /* key flags of a command without one */

/*
 * Flags are the server's. The key flags are what an ACL selects by: a user with %W~ only may SET
 * and never GET; INFO and VERSIONS need any right to the key. A command that takes a value hides it
 * by ktr_redact().
 */
typedef struct ktr_command {
    const char *name;
    RedisModuleCmdFunc fn;
    const char *flags;
    int arity;
    unsigned key;
    const char *acl; /* categories, where the server lets a module choose (7.2) */
    const char *args, *summary;
} ktr_command_t;

#define RO REDISMODULE_CMD_KEY_RO
#define RW REDISMODULE_CMD_KEY_RW
#define OW REDISMODULE_CMD_KEY_OW
#define ACCESS REDISMODULE_CMD_KEY_ACCESS
#define UPDATE REDISMODULE_CMD_KEY_UPDATE
#define DELETE REDISMODULE_CMD_KEY_DELETE

static const ktr_command_t commands[] = {
    { "SECRET.SET", ktr_set, "write deny-oom", -3, OW | UPDATE, "write",
      "key value [EX seconds | PX ms | EXAT seconds | PXAT ms] [CAS version] [META key value ...]",
      "Stores a new version, which is current at once; answers its number." },
    { "SECRET.GET", ktr_get, "readonly fast", -2, RO | ACCESS, "read fast",
      "key [VERSION version] [FIELD field]",
      "The current value, another version's, or one field of a JSON object." },
    { "SECRET.GETSEALED", ktr_getsealed, "readonly fast", 2, RO | ACCESS, "read fast", "key",
      "The whole secret as it is stored, sealed; needs no key here." },
    { "SECRET.SETSEALED", ktr_setsealed, "write deny-oom", -3, OW | UPDATE, "write",
      "key bundle [PXAT ms]",
      "Stores a secret that the client sealed, if it follows what is there." },
    { "SECRET.RESTORE", ktr_restore, "write deny-oom", -3, OW | UPDATE, "write admin dangerous",
      "key bundle [NAME name] [PXAT ms]", "Internal: how a write is replicated." },
    { "SECRET.ROTATE", ktr_rotate, "write deny-oom", -2, RW | UPDATE, "write",
      "key [GENERATE] [LENGTH n] [ALPHABET class] | VALUE value",
      "Puts a generated value, or the one given, in place; answers its version." },
    { "SECRET.ROLLBACK", ktr_rollback, "write deny-oom", -2, RW | UPDATE, "write",
      "key [VERSION version]", "Makes the previous version current again, or the one named." },
    { "SECRET.INFO", ktr_info, "readonly fast", 2, RO, "read fast", "key",
      "What is known of a secret, its metadata included; never the value." },
    { "SECRET.VERSIONS", ktr_versions, "readonly fast", 2, RO, "read fast", "key",
      "The kept versions, newest first." },
    { "SECRET.LIST", ktr_list, "readonly", -1, KTR_NO_KEY, "read slow",
      "[cursor] [MATCH pattern] [COUNT n]",
      "Names of secrets that the user has some right to, as SCAN does it." },
    { "SECRET.DEL", ktr_del, "write", 2, RW | DELETE, "write", "key",
      "Deletes so that UNDELETE brings it back." },
    { "SECRET.UNDELETE", ktr_undelete, "write", 2, RW | UPDATE, "write", "key",
      "Takes a SECRET.DEL back." },
    { "SECRET.DESTROY", ktr_destroy, "write", -3, RW | DELETE, "write",
      "key VERSION version | ALL", "Removes the value of one version, or of all, for ever." },
    { "SECRET.META", ktr_meta, "write deny-oom", -2, RW | UPDATE, "write",
      "key [SET key value ...] [DEL key ...]",
      "Shows or changes metadata; the value and its version stay." },
    { "SECRET.HELP", ktr_help, "fast", 1, KTR_NO_KEY, "fast", "", "This text." },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int register_info(RedisModuleCtx *ctx, const ktr_command_t *row)
{
    RedisModuleCommandKeySpec keys[2];
    RedisModuleCommandInfo info = {
        .version = REDISMODULE_COMMAND_INFO_VERSION,
        .summary = row->summary,
        .since = KT_VERSION,
        .arity = row->arity,
    };
    RedisModuleCommand *command = RedisModule_GetCommand(ctx, row->name);

    memset(keys, 0, sizeof(keys));
    keys[0].flags = row->key;
    keys[0].begin_search_type = REDISMODULE_KSPEC_BS_INDEX;
    keys[0].bs.index.pos = 1;
    keys[0].find_keys_type = REDISMODULE_KSPEC_FK_RANGE;
    keys[0].fk.range.keystep = 1;
    if (row->key != KTR_NO_KEY)
        info.key_specs = keys;
    if (RedisModule_SetCommandInfo(command, &info) != REDISMODULE_OK)
        return REDISMODULE_ERR;
    if (ktr_SetCommandACLCategories != NULL)
        return ktr_SetCommandACLCategories(command, row->acl);
    return REDISMODULE_OK;
}

static int register_commands(RedisModuleCtx *ctx)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        const ktr_command_t *row = &commands[i];
        int key = row->key != KTR_NO_KEY;

        if (RedisModule_CreateCommand(ctx, row->name, row->fn, row->flags, key, key, key) !=
                REDISMODULE_OK ||
            register_info(ctx, row) != REDISMODULE_OK) {
            RedisModule_Log(ctx, "warning", "cannot register %s", row->name);
            return REDISMODULE_ERR;
        }
    }
    return REDISMODULE_OK;
}

/* SECRET.HELP: an array of lines */
int ktr_help(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    REDISMODULE_NOT_USED(argv);
    REDISMODULE_NOT_USED(argc);
    RedisModule_ReplyWithArray(ctx, 2 * (long) COMMANDS);
    for (size_t i = 0; i < COMMANDS; i++) {
        RedisModuleString *line =
            RedisModule_CreateStringPrintf(ctx, "%s %s", commands[i].name, commands[i].args);

        RedisModule_ReplyWithString(ctx, line);
        RedisModule_FreeString(ctx, line);
        line = RedisModule_CreateStringPrintf(ctx, "    %s", commands[i].summary);
        RedisModule_ReplyWithString(ctx, line);
        RedisModule_FreeString(ctx, line);
    }
    return REDISMODULE_OK;
}

/* ---- what an operator reads ---- */

static void log_line(void *arg, int level, const char *text)
{
    static const char *const names[] = { "warning", "warning", "warning", "warning",
                                         "warning", "notice",  "verbose", "debug" };

    REDISMODULE_NOT_USED(arg);
    RedisModule_Log(NULL, names[level & 7], "keyturn: %s", text);
}

/* For INFO: the server may evict secrets, and loses some if it is killed. */
static int evictable, unpersisted;

/* A secret is an ordinary key: the server may evict it, and loses it with the process when it
 * persists nothing. */
static void warn_of_loss(RedisModuleCtx *ctx)
{
    int flags = RedisModule_GetContextFlags(ctx);

    evictable = (flags & REDISMODULE_CTX_FLAGS_EVICT) != 0;
    unpersisted = (flags & REDISMODULE_CTX_FLAGS_AOF) == 0;
    if (flags & REDISMODULE_CTX_FLAGS_EVICT)
        RedisModule_Log(ctx, "warning",
                        "maxmemory-policy evicts keys, secrets among them: use noeviction");
    if (flags & REDISMODULE_CTX_FLAGS_AOF)
        return;
    if (flags & REDISMODULE_CTX_FLAGS_RDB)
        RedisModule_Log(ctx, "warning",
                        "appendonly is off: a secret that was set since the last save is lost if "
                        "the server is killed (CONFIG SET appendonly yes)");
    else
        RedisModule_Log(ctx, "warning",
                        "neither appendonly nor save is set: secrets do not survive a restart "
                        "(CONFIG SET appendonly yes)");
}

static void on_config(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
    const RedisModuleConfigChange *change = data;

    REDISMODULE_NOT_USED(event);
    REDISMODULE_NOT_USED(sub);
    for (uint32_t i = 0; i < change->num_changes; i++) {
        const char *name = change->config_names[i];

        if (strcasecmp(name, "maxmemory-policy") == 0 || strcasecmp(name, "maxmemory") == 0 ||
            strcasecmp(name, "appendonly") == 0 || strcasecmp(name, "save") == 0) {
            warn_of_loss(ctx);
            return;
        }
    }
}

/* ---- the thread that writes the audit trail down, so that no command waits for a disk ---- */

static pthread_t trail;
static pid_t trail_of; /* the process whose thread it is; 0: none */

static void *write_trail(void *arg)
{
    return kt_audit_run(arg) == KT_SUCCESS ? NULL : arg; /* the log hook has said why */
}

/* Signals are for the server, faults for the thread that causes them. Without the thread,
 * commands write the trail down themselves. */
static void start_trail(RedisModuleCtx *ctx)
{
    sigset_t set, old;

    sigfillset(&set);
    sigdelset(&set, SIGILL);
    sigdelset(&set, SIGFPE);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    if (pthread_create(&trail, NULL, write_trail, ktr_context) == 0)
        trail_of = getpid();
    else
        RedisModule_Log(ctx, "warning", "keyturn: no thread can be started for the audit trail");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void end_trail(void)
{
    if (trail_of != getpid())
        return; /* a child has no such thread */
    trail_of = 0;
    kt_audit_stop(ktr_context);
    pthread_join(trail, NULL);
}

/* At exit(), not at the server's event of it: a shutdown whose RDB cannot be saved is taken back,
 * and the server goes on. */
__attribute__((destructor)) static void close_context(void)
{
    end_trail();
    kt_close(ktr_context);
    ktr_context = NULL;
}

/* Also called while a crash report is written: no lock, no memory. */
static void on_info(RedisModuleInfoCtx *info, int for_crash)
{
    REDISMODULE_NOT_USED(for_crash);
    RedisModule_InfoAddSection(info, "server");
    RedisModule_InfoAddFieldCString(info, "version", KT_VERSION);
    RedisModule_InfoAddFieldCString(info, "mode", ktr_context != NULL ? "open" : "sealed");
    RedisModule_InfoAddFieldLongLong(info, "unpersisted", unpersisted);
    RedisModule_InfoAddFieldLongLong(info, "evictable", evictable);
}

/* ---- load ---- */

static int open_context(RedisModuleCtx *ctx, const char *config)
{
    kt_setup_t *setup = NULL;
    kt_status_t status = kt_setup(config, "redis", &setup);

    if (status == KT_SUCCESS) {
        kt_setup_log(setup, log_line, NULL);
        status = kt_open(setup, &ktr_context);
    }
    if (status == KT_SUCCESS) {
        ktr_group_follow();
        start_trail(ctx);
    }
    if (status == KT_SUCCESS)
        RedisModule_Log(ctx, "notice", "keyturn %s: environment %s, audit stream %s", KT_VERSION,
                        kt_setup_environment(setup), kt_setup_stream(setup));
    else
        RedisModule_Log(ctx, "warning", "keyturn: %s",
                        setup != NULL ? kt_setup_error(setup) : kt_status_text(status));
    kt_setup_free(setup);
    return status == KT_SUCCESS ? REDISMODULE_OK : REDISMODULE_ERR;
}

static int open_configured(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    if (argc == 0) {
        RedisModule_Log(ctx, "notice",
                        "keyturn %s: no configuration, no key: sealed values are kept and served",
                        KT_VERSION);
        return REDISMODULE_OK;
    }
    if (argc != 2 || !ktr_is(argv[0], "config")) {
        RedisModule_Log(ctx, "warning", "keyturn: the only argument is: config PATH");
        return REDISMODULE_ERR;
    }
    return open_context(ctx, RedisModule_StringPtrLen(argv[1], NULL));
}

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx,
                                                              RedisModuleString **argv, int argc);

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    if (RedisModule_Init(ctx, "keyturn", 1, REDISMODULE_APIVER_1) != REDISMODULE_OK)
        return REDISMODULE_ERR;
    ktr_compat_init();
    ktr_group_start(ctx);
    /* sealed writes only are signalled as modifications: a refused command must not fail another
     * client's WATCH */
    RedisModule_SetModuleOptions(ctx, REDISMODULE_OPTIONS_HANDLE_IO_ERRORS |
                                          REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD |
                                          REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED);
    if (open_configured(ctx, argv, argc) != REDISMODULE_OK)
        return REDISMODULE_ERR;
    if (ktr_type_register(ctx) != REDISMODULE_OK || register_commands(ctx) != REDISMODULE_OK ||
        ktr_config_register(ctx) != REDISMODULE_OK ||
        ktr_follow_keys(ctx) != REDISMODULE_OK ||
        RedisModule_RegisterInfoFunc(ctx, on_info) != REDISMODULE_OK) {
        close_context();
        return REDISMODULE_ERR;
    }
    RedisModule_SubscribeToServerEvent(ctx, RedisModuleEvent_Config, on_config);
    warn_of_loss(ctx);
    return REDISMODULE_OK;
}

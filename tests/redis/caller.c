/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * caller.c: another module, for the tests. Its calls reach ours by RedisModule_Call(), with and
 * without a user.
 *
 *   CALLER.ROOT command [argument ...]   as the server's unrestricted user, which has no name
 *   CALLER.USER command [argument ...]   as the user of the client
 *   CALLER.LATER command [argument ...]  from a timer, where there is no client; the reply goes to
 *                                        the list caller:replies
 */
#include <redismodule.h>
#include <stddef.h>

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx,
                                                              RedisModuleString **argv, int argc);

static int call(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, const char *format)
{
    RedisModuleCallReply *reply;

    if (argc < 2)
        return RedisModule_WrongArity(ctx);
    reply = RedisModule_Call(ctx, RedisModule_StringPtrLen(argv[1], NULL), format, argv + 2,
                             (size_t)argc - 2);
    if (reply == NULL)
        return RedisModule_ReplyWithError(ctx, "ERR no reply");
    RedisModule_ReplyWithCallReply(ctx, reply);
    RedisModule_FreeCallReply(reply);
    return REDISMODULE_OK;
}

static int as_root(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    return call(ctx, argv, argc, "vE!");
}

static int as_user(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    return call(ctx, argv, argc, "vEC!");
}

typedef struct later {
    RedisModuleString *argv[16];
    int argc;
} later_t;

static void on_timer(RedisModuleCtx *ctx, void *data)
{
    later_t *later = data;
    const char *text;
    size_t len = 0;
    RedisModuleCallReply *reply;

    reply = RedisModule_Call(ctx, RedisModule_StringPtrLen(later->argv[1], NULL), "vE",
                             later->argv + 2, (size_t)later->argc - 2);
    text = reply != NULL ? RedisModule_CallReplyStringPtr(reply, &len) : NULL;
    if (text == NULL)
        text = "other", len = 5;
    RedisModule_FreeCallReply(RedisModule_Call(ctx, "RPUSH", "cb", "caller:replies", text, len));
    if (reply != NULL)
        RedisModule_FreeCallReply(reply);
    for (int i = 0; i < later->argc; i++)
        RedisModule_FreeString(ctx, later->argv[i]);
    RedisModule_Free(later);
}

static int later(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    later_t *data;

    if (argc < 2 || argc > 16)
        return RedisModule_WrongArity(ctx);
    data = RedisModule_Calloc(1, sizeof(*data));
    for (int i = 0; i < argc; i++) {
        data->argv[i] = argv[i];
        RedisModule_RetainString(ctx, argv[i]);
    }
    data->argc = argc;
    RedisModule_CreateTimer(ctx, 1, on_timer, data);
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    static const struct {
        const char *name;
        RedisModuleCmdFunc fn;
    } commands[] = {{"CALLER.ROOT", as_root}, {"CALLER.USER", as_user}, {"CALLER.LATER", later}};
    int status = RedisModule_Init(ctx, "caller", 1, REDISMODULE_APIVER_1);

    (void)argv;
    (void)argc;
    for (size_t i = 0; i < 3 && status == REDISMODULE_OK; i++)
        status = RedisModule_CreateCommand(ctx, commands[i].name, commands[i].fn, "write", 0, 0, 0);
    return status;
}

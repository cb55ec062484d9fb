/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * target.c: a command of `targets:` as the target of a rotation.
 *
 *   exit 0     it worked
 *   exit 65    rejected: the target keeps the old value
 *   any other  it is not known which value the target has: a traceback ends with 1, a missing
 *              program with 127, a broken connection with any number
 */
#include <stdio.h>
#include <string.h>

#include "rotate.h"
#include "target.h"

#define EXIT_REJECTED 65

bool kt_rotate_runs_targets(const kt_ctx_t *ctx, const kt_request_t *req)
{
    return strcmp(ctx->host, "cli") == 0 && req->bundle == NULL;
}

kt_status_t kt_target_part(const kt_secret_t *value, kt_secret_t **ret_part)
{
    switch (kt_shape_of(value)) {
    case KT_SHAPE_DATABASE:
        return kt_secret_field(value, "password", ret_part);
    case KT_SHAPE_API_KEY:
        return kt_secret_field(value, "api_key", ret_part);
    default:
        *ret_part = kt_secret_new(value->data, value->size);
        return *ret_part != NULL ? KT_SUCCESS : kt_no_memory();
    }
}

static kt_status_t keep_part(const kt_exec_t *exec, kt_status_t status, kt_secret_t **value)
{
    kt_secret_t *part = NULL;

    if (status != KT_SUCCESS || exec->config->whole)
        return status;
    status = kt_target_part(*value, &part);
    kt_secret_free(*value);
    *value = part;
    return status;
}

static kt_status_t status_of_exit(const kt_exec_t *exec, const char *step, int status)
{
    if (status == 0)
        return KT_SUCCESS;
    if (status == EXIT_REJECTED)
        return kt_fail(KT_CONFLICT, "%s: rejected in step %s (exit status %d)", exec->label, step,
                       status);
    if (status < 0)
        return kt_fail(
            KT_UNAVAIL,
            "%s: ended by a signal or its timeout in step %s: it may have worked (rotate "
            "again to find out)",
            exec->label, step);
    return kt_fail(KT_UNAVAIL,
                   "%s: exit status %d in step %s: it may have worked (rotate again to find out)",
                   exec->label, status, step);
}

static void set_environ(kt_environ_t *env, const kt_ctx_t *ctx, const char *name, uint64_t version,
                        const char *step)
{
    kt_environ_init(env);
    kt_environ_add(env, "LC_ALL=C.UTF-8");
    kt_environ_add(env, "KEYTURN_ENVIRONMENT=%s", ctx->holder.config->environment);
    kt_environ_add(env, "KEYTURN_NAME=%s", name);
    kt_environ_add(env, "KEYTURN_VERSION=%llu", (unsigned long long)version);
    kt_environ_add(env, "KEYTURN_STEP=%s", step);
}

static kt_status_t run_step(kt_exec_t *exec, kt_rotation_t *rotation, const char *step)
{
    kt_secret_t *value = NULL, *old = NULL;
    kt_environ_t env;
    kt_command_t command = {
        .argv = exec->config->exec, .env = &env, .timeout = exec->config->timeout};
    kt_command_result_t result;
    kt_status_t status;

    status = keep_part(exec, kt_rotation_value(rotation, NULL, &value), &value);
    if (status == KT_SUCCESS && exec->config->old)
        status = keep_part(exec, kt_rotation_old(rotation, NULL, &old), &old);
    command.input = value;
    command.extra = old;
    set_environ(&env, exec->ctx, kt_rotation_name(rotation), kt_rotation_version(rotation), step);
    if (status == KT_SUCCESS)
        status = kt_command_run(&command, &result);
    kt_secret_free(value);
    kt_secret_free(old);
    /* KT_CONFLICT would mean that the target rejected the value, which only the command may say */
    if (status != KT_SUCCESS)
        return status == KT_CONFLICT ? kt_fail_prefix(KT_UNAVAIL, "%s", exec->label) : status;
    return status_of_exit(exec, step, result.exit);
}

static kt_status_t exec_set(void *arg, kt_rotation_t *rotation)
{
    return run_step(arg, rotation, "set");
}

static kt_status_t exec_test(void *arg, kt_rotation_t *rotation)
{
    return run_step(arg, rotation, "test");
}

void kt_exec_init(kt_exec_t *exec, kt_ctx_t *ctx, const kt_cfg_target_t *config)
{
    kt_config_target_label(config, exec->label, sizeof(exec->label));
    exec->ctx = ctx;
    exec->config = config;
    exec->ops = (kt_target_ops_t){sizeof(kt_target_ops_t), exec->label, exec_set,
                                  config->test ? exec_test : NULL};
}

bool kt_exec_is(const kt_target_ops_t *ops)
{
    return ops != NULL && ops->set == exec_set;
}

kt_status_t kt_exec_check(const kt_target_ops_t *ops)
{
    const kt_exec_t *exec = (const kt_exec_t *)ops; /* its first member */

    return kt_command_check(exec->config->exec[0]);
}

/* ---- notifications ---- */

void kt_event_format(const kt_ctx_t *ctx, const char *name, uint64_t version,
                     char text[KT_EVENT_SIZE])
{
    /* names and environments have no character that JSON escapes */
    (void)snprintf(
        text, KT_EVENT_SIZE,
        "{\"event\": \"rotated\", \"environment\": \"%s\", \"name\": \"%s\", \"version\": %llu}\n",
        ctx->holder.config->environment, name, (unsigned long long)version);
}

bool kt_exec_notify(const kt_ctx_t *ctx, const kt_cfg_target_t *config, const char *name,
                    uint64_t version)
{
    char text[KT_EVENT_SIZE];
    kt_environ_t env;
    kt_command_t command = {.argv = config->notify, .env = &env, .timeout = config->timeout};
    kt_command_result_t result = {.exit = -1};
    kt_secret_t *event;
    kt_status_t status;

    kt_event_format(ctx, name, version, text);
    event = kt_secret_new(text, strlen(text));
    command.input = event;
    set_environ(&env, ctx, name, version, "notify");
    status = event != NULL ? kt_command_run(&command, &result) : kt_no_memory();
    kt_secret_free(event);
    if (status == KT_SUCCESS && result.exit != 0)
        (void)kt_fail(KT_UNAVAIL, "%s: exit status %d", config->notify[0], result.exit);
    return status == KT_SUCCESS && result.exit == 0;
}

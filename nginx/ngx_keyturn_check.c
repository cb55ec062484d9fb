
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * When the configuration has been read, a child process with the user of the
 * worker processes checks the secrets.  So a file that this user may
 * not use (the store, the folder of the audit trail) is found here and not at
 * the first request, the master process neither loads a provider nor opens a
 * store, and nothing stays in it, after "nginx -t" as after a reload.
 */


#include "ngx_keyturn.h"

#include <grp.h>


static ngx_int_t ngx_keyturn_check_wait(ngx_cycle_t *cycle,
    ngx_keyturn_check_t *check, ngx_fd_t fd, pid_t pid);
static ngx_int_t ngx_keyturn_check_end(ngx_cycle_t *cycle, ngx_fd_t fd,
    pid_t pid);
static ngx_int_t ngx_keyturn_check_user(ngx_cycle_t *cycle);
static ngx_int_t ngx_keyturn_check_all(ngx_keyturn_check_t *check,
    ngx_log_t *log);
static ngx_int_t ngx_keyturn_check_room(ngx_keyturn_check_t *check,
    kt_ctx_t *ctx, ngx_log_t *log);
static ngx_int_t ngx_keyturn_check_one(ngx_keyturn_check_t *check,
    ngx_keyturn_require_t *require, kt_ctx_t *ctx, ngx_log_t *log);


ngx_int_t
ngx_keyturn_check(ngx_cycle_t *cycle, ngx_keyturn_check_t *check)
{
    int         fd[2];
    pid_t       pid;
    sigset_t    set, old;
    ngx_int_t   rc;
    ngx_uint_t  passed;

    if (pipe(fd) == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno, "pipe() failed");
        return NGX_ERROR;
    }

    /* the child is ours, not one that the master process has to reap */

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGCHLD);
    (void) sigprocmask(SIG_BLOCK, &set, &old);

    pid = fork();

    if (pid == 0) {
        ngx_pid = ngx_getpid();

        passed = (ngx_keyturn_check_user(cycle) == NGX_OK
                  && ngx_keyturn_check_all(check, cycle->log) == NGX_OK);

        if (passed && write(fd[1], "1", 1) != 1) {
            passed = 0;
        }

        _exit(!passed);
    }

    (void) close(fd[1]);

    if (pid == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno, "fork() failed");
        rc = NGX_ERROR;

    } else {
        rc = ngx_keyturn_check_wait(cycle, check, fd[0], pid);
    }

    (void) close(fd[0]);
    (void) sigprocmask(SIG_SETMASK, &old, NULL);

    return rc;
}


static ngx_int_t
ngx_keyturn_check_wait(ngx_cycle_t *cycle, ngx_keyturn_check_t *check,
    ngx_fd_t fd, pid_t pid)
{
    ngx_int_t   rc;
    ngx_uint_t  n, level;

    rc = ngx_keyturn_await(fd, &check->left);

    if (rc == NGX_OK) {
        return ngx_keyturn_check_end(cycle, fd, pid);
    }

    /* one that a hung disk holds cannot end: nginx reaps it when it does */

    (void) kill(pid, SIGKILL);

    for (n = 0; n < 10 && waitpid(pid, NULL, WNOHANG) == 0; n++) {
        ngx_msleep(10);
    }

    if (rc == NGX_ABORT) {
        ngx_keyturn_give_way(cycle);
        return NGX_ERROR;
    }

    level = check->warn ? NGX_LOG_WARN : NGX_LOG_EMERG;

    ngx_log_error(level, cycle->log, 0,
                  "secrets could not be checked within %d s: "
                  "the store or the audit log does not answer",
                  NGX_KEYTURN_PATIENCE / 1000);

    return check->warn ? NGX_OK : NGX_ERROR;
}


/* not the status of the child: SIGCHLD may be ignored, which loses it */

static ngx_int_t
ngx_keyturn_check_end(ngx_cycle_t *cycle, ngx_fd_t fd, pid_t pid)
{
    int      status;
    u_char   c;
    ssize_t  n;

    status = 0;

    do {
        n = read(fd, &c, 1);
    } while (n == -1 && ngx_errno == NGX_EINTR);

    while (waitpid(pid, &status, 0) == -1 && ngx_errno == NGX_EINTR) {
        /* void */
    }

    if (WIFSIGNALED(status)) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "the check of secrets exited on signal %d",
                      WTERMSIG(status));
    }

    return (n == 1) ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_keyturn_check_user(ngx_cycle_t *cycle)
{
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (geteuid() != 0) {
        return NGX_OK;
    }

    if (setgid(ccf->group) == -1
        || initgroups(ccf->username, ccf->group) == -1
        || setuid(ccf->user) == -1)
    {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "cannot become user \"%s\" to check secrets",
                      ccf->username);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_keyturn_check_all(ngx_keyturn_check_t *check, ngx_log_t *log)
{
    kt_ctx_t               *ctx;
    ngx_int_t               rc;
    ngx_uint_t              i, level;
    ngx_keyturn_require_t  *require;

    level = check->warn ? NGX_LOG_WARN : NGX_LOG_EMERG;

    if (kt_open(check->setup, &ctx) != KT_SUCCESS) {
        ngx_log_error(level, log, 0,
                      "worker processes cannot use keyturn_config \"%s\": "
                      "%s (%s)",
                      kt_setup_config(check->setup),
                      kt_setup_error(check->setup),
                      kt_status_name(kt_setup_status(check->setup)));
        return check->warn ? NGX_OK : NGX_ERROR;
    }

    /* without required secrets nothing may ever be recorded */

    rc = (check->requires->nelts) ? ngx_keyturn_check_room(check, ctx, log)
                                  : NGX_OK;
    require = check->requires->elts;

    for (i = 0; i < check->requires->nelts; i++) {
        if (ngx_keyturn_check_one(check, &require[i], ctx, log) != NGX_OK) {
            rc = NGX_ERROR;
        }
    }

    kt_close(ctx);

    return rc;
}


/* a secret is asked for by one process, and each worker process records */

static ngx_int_t
ngx_keyturn_check_room(ngx_keyturn_check_t *check, kt_ctx_t *ctx,
    ngx_log_t *log)
{
    ngx_uint_t  level;

    if (kt_audit_fits(ctx, (unsigned) check->workers) == KT_SUCCESS) {
        return NGX_OK;
    }

    level = check->warn ? NGX_LOG_WARN : NGX_LOG_EMERG;

    ngx_log_error(level, log, 0, "worker processes cannot record: %s",
                  kt_error(ctx));

    return check->warn ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_keyturn_check_one(ngx_keyturn_check_t *check,
    ngx_keyturn_require_t *require, kt_ctx_t *ctx, ngx_log_t *log)
{
    kt_status_t            status;
    kt_request_t           req = KT_REQUEST_INIT;
    ngx_uint_t             level;
    ngx_keyturn_secret_t  *secret;

    secret = require->secret;

    req.reference = (const char *) secret->reference.data;
    req.subject = (const char *) require->subject->data;

    status = kt_probe(ctx, &req);

    switch (status) {

    case KT_SUCCESS:
        return NGX_OK;

    case KT_TRYAGAIN:

        /* it is across a network, and a site must start without that */

        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "secret \"%V\" of \"%V\" is not checked before its "
                      "first use in %s:%ui",
                      &secret->reference, &secret->label, secret->file,
                      secret->line);
        return NGX_OK;

    case KT_NOTFOUND:
    case KT_GONE:

        if (!secret->required) {
            return NGX_OK;
        }

        /* fall through */

    default:

        /* an optional one may be absent, but that it is refused is a mistake */

        level = (secret->required && !check->warn) ? NGX_LOG_EMERG
                                                   : NGX_LOG_WARN;

        ngx_log_error(level, log, 0,
                      "%s secret \"%V\" of \"%V\" cannot be read by "
                      "\"%V\": %s (%s) in %s:%ui",
                      secret->required ? "required" : "optional",
                      &secret->reference, &secret->label, require->subject,
                      kt_error(ctx), kt_status_name(status), secret->file,
                      secret->line);

        return (level == NGX_LOG_EMERG) ? NGX_ERROR : NGX_OK;
    }
}

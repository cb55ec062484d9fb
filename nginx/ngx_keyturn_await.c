
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * What the master process waits for while it reads a configuration: a key,
 * which a command may print, and the child process that checks secrets.  All
 * of it together has a limit, and a worker process that ends meanwhile is
 * replaced first: the reload is given up then, and begins again.
 *
 * A thread reads the key, so that what it finds need not be carried from one
 * process to another.  A thread that is still waiting for its command when the
 * limit is reached is left alone, and frees what it gets.
 */


#include "ngx_keyturn.h"

#include <poll.h>


#define NGX_KEYTURN_STEP  50    /* ms between two looks at the workers */


typedef struct {
    pthread_mutex_t        mutex;
    pthread_t              thread;
    char                  *path;
    ngx_fd_t               fd[2];

    kt_setup_t            *setup;
    kt_status_t            status;

    unsigned               done:1;
    unsigned               abandoned:1;
} ngx_keyturn_reader_t;


static ngx_uint_t ngx_keyturn_worker_ended(void);
static uint64_t ngx_keyturn_now(void);
static ngx_keyturn_reader_t *ngx_keyturn_reader_create(char *path);
static void ngx_keyturn_reader_free(ngx_keyturn_reader_t *reader);
static void *ngx_keyturn_reader_cycle(void *data);
static ngx_int_t ngx_keyturn_reader_wait(ngx_keyturn_reader_t *reader,
    ngx_msec_t *left);
static ngx_uint_t ngx_keyturn_has_terminal(void);


ngx_int_t
ngx_keyturn_await(ngx_fd_t fd, ngx_msec_t *left)
{
    int            n;
    uint64_t       start, passed;
    struct pollfd  pfd;

    start = ngx_keyturn_now();

    pfd.fd = fd;
    pfd.events = POLLIN;

    for ( ;; ) {
        pfd.revents = 0;

        n = poll(&pfd, 1, NGX_KEYTURN_STEP);

        passed = ngx_keyturn_now() - start;

        if (n > 0 || (n == -1 && ngx_errno != NGX_EINTR)) {
            *left -= ngx_min(passed, *left);
            return NGX_OK;
        }

        if (ngx_keyturn_worker_ended()) {
            return NGX_ABORT;
        }

        if (passed >= *left) {
            *left = 0;
            return NGX_AGAIN;
        }
    }
}


void
ngx_keyturn_give_way(ngx_cycle_t *cycle)
{
    ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                  "a worker process ended during the reload: "
                  "it is replaced first, and the reload begins again");

    ngx_reconfigure = 1;
}


/* its status is left to nginx, which replaces it when it handles SIGCHLD */

static ngx_uint_t
ngx_keyturn_worker_ended(void)
{
    ngx_int_t       i;
    siginfo_t       info;
    ngx_process_t  *process;

    for (i = 0; i < ngx_last_process; i++) {
        process = &ngx_processes[i];

        if (process->pid <= 0 || process->exiting || process->exited
            || !process->respawn)
        {
            continue;
        }

        info.si_pid = 0;

        if (waitid(P_PID, (id_t) process->pid, &info,
                   WEXITED|WNOHANG|WNOWAIT)
            == 0
            && info.si_pid == process->pid)
        {
            return 1;
        }
    }

    return 0;
}


static uint64_t
ngx_keyturn_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


ngx_int_t
ngx_keyturn_read_setup(ngx_cycle_t *cycle, ngx_str_t *path, ngx_msec_t *left,
    kt_setup_t **setup, kt_status_t *status)
{
    ngx_int_t              rc;
    ngx_keyturn_reader_t  *reader;

    /* "passphrase:PROMPT" asks a person, who may take longer */

    if (ngx_is_init_cycle(cycle->old_cycle) && ngx_keyturn_has_terminal()) {
        *status = kt_setup((const char *) path->data, "nginx", setup);
        return NGX_OK;
    }

    reader = ngx_keyturn_reader_create((char *) path->data);

    if (reader == NULL
        || ngx_keyturn_thread_start(&reader->thread, ngx_keyturn_reader_cycle,
                                    reader, cycle->log)
           != NGX_OK)
    {
        ngx_keyturn_reader_free(reader);
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "no thread that could read the key");
        return NGX_ERROR;
    }

    rc = ngx_keyturn_reader_wait(reader, left);

    if (rc == NGX_OK) {
        (void) pthread_join(reader->thread, NULL);

        *setup = reader->setup;
        *status = reader->status;
        ngx_keyturn_reader_free(reader);
    }

    return rc;
}


/* NGX_OK: it is done; otherwise it is abandoned, and frees itself */

static ngx_int_t
ngx_keyturn_reader_wait(ngx_keyturn_reader_t *reader, ngx_msec_t *left)
{
    ngx_int_t   rc;
    pthread_t   thread;
    ngx_uint_t  done;

    rc = ngx_keyturn_await(reader->fd[0], left);

    (void) pthread_mutex_lock(&reader->mutex);

    thread = reader->thread;
    done = reader->done;
    reader->abandoned = !done;

    (void) pthread_mutex_unlock(&reader->mutex);

    if (done) {
        return NGX_OK;
    }

    ngx_keyturn_thread_abandon(thread);

    return (rc == NGX_OK) ? NGX_ERROR : rc;
}


static void *
ngx_keyturn_reader_cycle(void *data)
{
    ngx_keyturn_reader_t  *reader = data;

    ngx_uint_t             abandoned;

    reader->status = kt_setup(reader->path, "nginx", &reader->setup);

    (void) pthread_mutex_lock(&reader->mutex);

    reader->done = 1;
    abandoned = reader->abandoned;

    if (!abandoned && write(reader->fd[1], "1", 1) != 1) {
        /* then it has to wait until the limit, and sees that it is done */
    }

    (void) pthread_mutex_unlock(&reader->mutex);

    if (abandoned) {
        kt_setup_free(reader->setup);
        ngx_keyturn_reader_free(reader);
    }

    return NULL;
}


/* not of a pool: it may outlive the cycle */

static ngx_keyturn_reader_t *
ngx_keyturn_reader_create(char *path)
{
    ngx_keyturn_reader_t  *reader;

    reader = calloc(1, sizeof(ngx_keyturn_reader_t));
    if (reader == NULL) {
        return NULL;
    }

    (void) pthread_mutex_init(&reader->mutex, NULL);

    reader->path = strdup(path);

    if (reader->path == NULL || pipe2(reader->fd, O_CLOEXEC) == -1) {
        free(reader->path);
        free(reader);
        return NULL;
    }

    return reader;
}


static void
ngx_keyturn_reader_free(ngx_keyturn_reader_t *reader)
{
    if (reader == NULL) {
        return;
    }

    (void) close(reader->fd[0]);
    (void) close(reader->fd[1]);
    (void) pthread_mutex_destroy(&reader->mutex);
    free(reader->path);
    free(reader);
}


static ngx_uint_t
ngx_keyturn_has_terminal(void)
{
    ngx_fd_t  fd;

    fd = open("/dev/tty", O_RDWR|O_NOCTTY|O_CLOEXEC);

    if (fd == -1) {
        return 0;
    }

    (void) close(fd);

    return 1;
}

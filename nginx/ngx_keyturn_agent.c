
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * One thread for each worker process, started when the first secret must be
 * fetched by a call that blocks.  Who owns what:
 *
 *   the event loop   the waiters, the list of all jobs
 *   the thread       the job that it has taken from the queue
 *   both, by mutex   the queue, the list of done jobs
 *
 * A job goes from the queue (posted) to the thread (taken) to the list of done
 * jobs, and only the event loop frees it: after its waiters were called, or
 * when the last of them is cancelled before the thread has taken it.  A job
 * that was taken stays until it is done, even without waiters, because the thread
 * reads it without the mutex.  If a provider hangs at the end of the process,
 * the thread, its job and the agent are abandoned for the same reason.
 *
 * A job is memory of malloc(), because it outlives the request that posted it.
 * The thread touches no pool and no log of a request; it wakes the event loop
 * through an eventfd.  ngx_notify() is not used: it has one handler for the
 * whole process, which belongs to the thread pools.
 */


#include "ngx_keyturn.h"

#include <poll.h>
#include <sys/eventfd.h>


#define NGX_KEYTURN_JOBS  256  /* more than can be fetched in time anyway */


struct ngx_keyturn_job_s {
    ngx_queue_t             queue;      /* in agent->jobs */
    ngx_queue_t             link;       /* in agent->todo or agent->done */
    ngx_queue_t             waiters;
    ngx_keyturn_agent_t    *agent;

    kt_request_t            req;
    kt_status_t             status;

    ngx_uint_t              taken;      /* by the thread, under the mutex */
};


struct ngx_keyturn_agent_s {
    kt_ctx_t               *ctx;
    ngx_connection_t       *connection;
    ngx_socket_t            fd;

    ngx_queue_t             jobs;
    ngx_uint_t              njobs;

    pthread_t               thread;
    pthread_mutex_t         mutex;
    pthread_cond_t          cond;
    ngx_queue_t             todo;
    ngx_queue_t             done;
    ngx_uint_t              stop;
};


static ngx_int_t ngx_keyturn_agent_listen(ngx_keyturn_agent_t *agent,
    ngx_log_t *log);
static ngx_keyturn_job_t *ngx_keyturn_agent_find(ngx_keyturn_agent_t *agent,
    kt_request_t *req);
static ngx_keyturn_job_t *ngx_keyturn_agent_job(kt_request_t *req);
static void *ngx_keyturn_agent_cycle(void *data);
static void ngx_keyturn_agent_event(ngx_event_t *ev);
static void ngx_keyturn_agent_finish(ngx_keyturn_job_t *job);
static void ngx_keyturn_agent_free(ngx_keyturn_agent_t *agent);


ngx_keyturn_agent_t *
ngx_keyturn_agent_create(kt_ctx_t *ctx, ngx_log_t *log)
{
    ngx_keyturn_agent_t  *agent;

    agent = ngx_calloc(sizeof(ngx_keyturn_agent_t), log);
    if (agent == NULL) {
        return NULL;
    }

    agent->ctx = ctx;

    ngx_queue_init(&agent->jobs);
    ngx_queue_init(&agent->todo);
    ngx_queue_init(&agent->done);

    (void) pthread_mutex_init(&agent->mutex, NULL);
    (void) pthread_cond_init(&agent->cond, NULL);

    if (ngx_keyturn_agent_listen(agent, log) != NGX_OK) {
        ngx_free(agent);
        return NULL;
    }

    if (ngx_keyturn_thread_start(&agent->thread, ngx_keyturn_agent_cycle, agent,
                                 log)
        != NGX_OK)
    {
        ngx_keyturn_agent_free(agent);
        return NULL;
    }

    return agent;
}


ngx_int_t
ngx_keyturn_agent_post(ngx_keyturn_agent_t *agent, kt_request_t *req,
    ngx_keyturn_wait_t *wait)
{
    ngx_keyturn_job_t  *job;

    job = ngx_keyturn_agent_find(agent, req);

    if (job == NULL) {

        /* names may come from clients, so the queue must have a limit */

        if (agent->njobs >= NGX_KEYTURN_JOBS) {
            return NGX_ERROR;
        }

        job = ngx_keyturn_agent_job(req);
        if (job == NULL) {
            return NGX_ERROR;
        }

        job->agent = agent;

        ngx_queue_insert_tail(&agent->jobs, &job->queue);
        agent->njobs++;

        (void) pthread_mutex_lock(&agent->mutex);

        ngx_queue_insert_tail(&agent->todo, &job->link);

        (void) pthread_cond_signal(&agent->cond);
        (void) pthread_mutex_unlock(&agent->mutex);
    }

    ngx_queue_insert_tail(&job->waiters, &wait->queue);
    wait->job = job;
    wait->queued = 1;

    return NGX_OK;
}


/* a job without a wait only delays the others, so it is dropped */

void
ngx_keyturn_agent_cancel(ngx_keyturn_wait_t *wait)
{
    ngx_uint_t            taken;
    ngx_keyturn_job_t    *job;
    ngx_keyturn_agent_t  *agent;

    job = wait->job;
    agent = job->agent;

    ngx_queue_remove(&wait->queue);
    wait->queued = 0;

    if (!ngx_queue_empty(&job->waiters)) {
        return;
    }

    (void) pthread_mutex_lock(&agent->mutex);

    taken = job->taken;

    if (!taken) {
        ngx_queue_remove(&job->link);
    }

    (void) pthread_mutex_unlock(&agent->mutex);

    if (!taken) {
        ngx_queue_remove(&job->queue);
        agent->njobs--;
        ngx_free(job);
    }
}


ngx_int_t
ngx_keyturn_agent_destroy(ngx_keyturn_agent_t *agent)
{
    ngx_int_t           rc;
    ngx_queue_t        *q;
    ngx_keyturn_job_t  *job;

    (void) pthread_mutex_lock(&agent->mutex);

    agent->stop = 1;

    (void) pthread_cond_signal(&agent->cond);
    (void) pthread_mutex_unlock(&agent->mutex);

    rc = ngx_keyturn_thread_join(agent->thread);

    while (!ngx_queue_empty(&agent->jobs)) {
        q = ngx_queue_head(&agent->jobs);
        job = ngx_queue_data(q, ngx_keyturn_job_t, queue);

        ngx_queue_remove(q);

        job->taken = 1;
        job->status = KT_UNAVAIL;
        ngx_keyturn_agent_finish(job);

        /* the thread may still read what it was given */

        if (rc == NGX_OK) {
            ngx_free(job);
        }
    }

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ngx_keyturn_agent_free(agent);

    return NGX_OK;
}


void
ngx_keyturn_agent_wait(ngx_keyturn_agent_t *agent, ngx_msec_t ms)
{
    struct pollfd  pfd;

    pfd.fd = agent->fd;
    pfd.events = POLLIN;

    if (poll(&pfd, 1, (int) ms) > 0) {
        ngx_keyturn_agent_event(agent->connection->read);
    }
}


static ngx_int_t
ngx_keyturn_agent_listen(ngx_keyturn_agent_t *agent, ngx_log_t *log)
{
    ngx_int_t          event;
    ngx_connection_t  *c;

    agent->fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    if (agent->fd == -1) {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno, "eventfd() failed");
        return NGX_ERROR;
    }

    c = ngx_get_connection(agent->fd, ngx_cycle->log);

    if (c == NULL) {
        goto failed;
    }

    c->data = agent;
    c->recv = ngx_recv;
    c->log = ngx_cycle->log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->read->handler = ngx_keyturn_agent_event;

    /* as of the master's channel: not a connection left open at exit */

    c->read->channel = 1;
    c->write->channel = 1;

    agent->connection = c;

    event = (ngx_event_flags & NGX_USE_CLEAR_EVENT) ? NGX_CLEAR_EVENT
                                                    : NGX_LEVEL_EVENT;

    if (ngx_add_event(c->read, NGX_READ_EVENT, event) == NGX_OK) {
        return NGX_OK;
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

failed:

    (void) close(agent->fd);

    return NGX_ERROR;
}


static ngx_keyturn_job_t *
ngx_keyturn_agent_find(ngx_keyturn_agent_t *agent, kt_request_t *req)
{
    ngx_queue_t        *q;
    ngx_keyturn_job_t  *job;

    for (q = ngx_queue_head(&agent->jobs);
         q != ngx_queue_sentinel(&agent->jobs);
         q = ngx_queue_next(q))
    {
        job = ngx_queue_data(q, ngx_keyturn_job_t, queue);

        if (ngx_strcmp(job->req.reference, req->reference) == 0
            && ngx_strcmp(job->req.subject, req->subject) == 0)
        {
            return job;
        }
    }

    return NULL;
}


static ngx_keyturn_job_t *
ngx_keyturn_agent_job(kt_request_t *req)
{
    u_char             *p;
    size_t              reference, subject;
    ngx_keyturn_job_t  *job;

    reference = ngx_strlen(req->reference) + 1;
    subject = ngx_strlen(req->subject) + 1;

    job = ngx_calloc(sizeof(ngx_keyturn_job_t) + reference + subject,
                     ngx_cycle->log);
    if (job == NULL) {
        return NULL;
    }

    ngx_queue_init(&job->waiters);

    job->req.size = sizeof(kt_request_t);
    job->req.purpose = "proxy";

    p = (u_char *) job + sizeof(ngx_keyturn_job_t);

    job->req.reference = (char *) p;
    p = ngx_cpymem(p, req->reference, reference);

    job->req.subject = (char *) p;
    ngx_memcpy(p, req->subject, subject);

    return job;
}


static void *
ngx_keyturn_agent_cycle(void *data)
{
    ngx_keyturn_agent_t  *agent = data;

    uint64_t            one;
    ngx_queue_t        *q;
    ngx_keyturn_job_t  *job;

    one = 1;

    (void) pthread_mutex_lock(&agent->mutex);

    for ( ;; ) {

        while (ngx_queue_empty(&agent->todo) && !agent->stop) {
            (void) pthread_cond_wait(&agent->cond, &agent->mutex);
        }

        if (agent->stop) {
            break;
        }

        q = ngx_queue_head(&agent->todo);
        ngx_queue_remove(q);

        job = ngx_queue_data(q, ngx_keyturn_job_t, link);
        job->taken = 1;

        (void) pthread_mutex_unlock(&agent->mutex);

        job->status = kt_refresh(agent->ctx, &job->req);

        (void) pthread_mutex_lock(&agent->mutex);

        ngx_queue_insert_tail(&agent->done, &job->link);

        if (write(agent->fd, &one, sizeof(one)) == -1) {
            /* the counter is full: the event loop is awake already */
        }
    }

    (void) pthread_mutex_unlock(&agent->mutex);

    return NULL;
}


static void
ngx_keyturn_agent_event(ngx_event_t *ev)
{
    uint64_t              count;
    ngx_queue_t          *q, done;
    ngx_connection_t     *c;
    ngx_keyturn_job_t    *job;
    ngx_keyturn_agent_t  *agent;

    c = ev->data;
    agent = c->data;

    if (read(agent->fd, &count, sizeof(count)) == -1
        && ngx_errno != NGX_EAGAIN)
    {
        ngx_log_error(NGX_LOG_ALERT, ev->log, ngx_errno,
                      "read() from eventfd failed");
    }

    ngx_queue_init(&done);

    (void) pthread_mutex_lock(&agent->mutex);

    if (!ngx_queue_empty(&agent->done)) {
        ngx_queue_add(&done, &agent->done);
        ngx_queue_init(&agent->done);
    }

    (void) pthread_mutex_unlock(&agent->mutex);

    while (!ngx_queue_empty(&done)) {
        q = ngx_queue_head(&done);
        job = ngx_queue_data(q, ngx_keyturn_job_t, link);

        ngx_queue_remove(q);
        ngx_queue_remove(&job->queue);
        agent->njobs--;

        ngx_keyturn_agent_finish(job);
        ngx_free(job);
    }
}


static void
ngx_keyturn_agent_finish(ngx_keyturn_job_t *job)
{
    ngx_queue_t         *q;
    ngx_keyturn_wait_t  *wait;

    /* a handler may cancel other waiters of the same job */

    while (!ngx_queue_empty(&job->waiters)) {
        q = ngx_queue_head(&job->waiters);
        wait = ngx_queue_data(q, ngx_keyturn_wait_t, queue);

        ngx_queue_remove(q);

        wait->queued = 0;
        wait->status = job->status;
        wait->handler(wait);
    }
}


static void
ngx_keyturn_agent_free(ngx_keyturn_agent_t *agent)
{
    ngx_connection_t  *c;

    c = agent->connection;

    (void) ngx_del_event(c->read, NGX_READ_EVENT, NGX_CLOSE_EVENT);

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    (void) close(agent->fd);

    (void) pthread_cond_destroy(&agent->cond);
    (void) pthread_mutex_destroy(&agent->mutex);

    ngx_free(agent);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * audit.c: how a decision gets into the trail.
 *
 * What cannot be recorded is not served: every failure here is KT_AUDIT, and read.c and write.c
 * refuse the request. A decision that changes something is on the disk when the call returns. Any
 * other is put into the ring of its process (ring.h), which needs no system call and outlives the
 * process. It becomes a line soon after, in one of two ways:
 *
 *   with a thread of the host       every second, and when the ring is half full; at the decision
 *   (kt_audit_thread_run)           that finds it full
 *   without                         at the first decision a second or more after it, unless another
 *                                   process has swept it, or when the ring is half full; when the
 *                                   host asks for it; on close
 *
 * After a drain that fails every decision is refused until a drain works again; the records stay in
 * the ring. The stream's folder is opened with a context, its files at the first record, so that a
 * context that decides nothing (`nginx -t`) leaves no trace.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"

#define DRAIN_MS 1000 /* the longest that a record waits in the ring after its window */
#define PACK_MS 50    /* of compressing a log between two drains */
#define PACK_CLOSE_MS                                                                              \
    10000 /* the same, before a process without a thread ends: 400 MB and more                     \
           */
#define PACK_AGAIN_MS                                                                              \
    60000            /* to the next look for logs to compress: a sink may have needed one          \
                      */
#define RETRY_MS 200 /* between two attempts of a drain that fails */

/* ---- opening ---- */

static kt_status_t open_folder(kt_audit_t *audit)
{
    struct stat st;

    audit->folder = open(audit->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (audit->folder < 0 && errno == ENOENT) {
        if (mkdir(audit->path, 0700) != 0)
            return kt_fail(
                KT_AUDIT,
                "audit trail %s: %s (create the folder, owned by the user of this process)",
                audit->path, strerror(errno));
        audit->folder = open(audit->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (audit->folder < 0 || fstat(audit->folder, &st) != 0)
        return kt_fail(KT_AUDIT, "audit trail %s: %s", audit->path, strerror(errno));
    if (st.st_uid != geteuid() && geteuid() != 0)
        return kt_fail(
            KT_AUDIT, "audit trail %s: the folder belongs to uid %u, and this process is of uid %u",
            audit->path, (unsigned)st.st_uid, (unsigned)geteuid());
    audit->owner = st.st_uid;
    audit->ringless = st.st_uid != geteuid();
    return KT_SUCCESS;
}

kt_status_t kt_audit_open(const kt_config_t *config, const char *stream, kt_audit_t **ret_audit)
{
    kt_audit_t *audit = calloc(1, sizeof(*audit));
    kt_status_t status;

    if (audit == NULL)
        return kt_no_memory();
    audit->folder = audit->log = audit->state = audit->rings = -1;
    audit->reads = config->audit_reads;
    audit->interval = config->audit_checkpoint;
    audit->config = config;
    audit->rotate = config->audit_rotate > 0 ? config->audit_rotate : UINT64_MAX;
    audit->keep = config->audit_keep;
    (void)pthread_mutex_init(&audit->lock, NULL);
    (void)pthread_mutex_init(&audit->why_lock, NULL);
    (void)sem_init(&audit->wake, 0, 0);
    (void)snprintf(audit->stream, sizeof(audit->stream), "%s", stream);
    (void)snprintf(audit->environment, sizeof(audit->environment), "%s", config->environment);
    kt_boot_id(audit->boot);
    audit->name = (kt_audit_name_t){audit->environment, audit->stream, audit->boot};
    if (asprintf(&audit->path, "%s/%s", config->audit_path, stream) < 0) {
        audit->path = NULL;
        status = kt_no_memory();
    } else {
        status = open_folder(audit);
    }
    if (status != KT_SUCCESS) {
        kt_audit_close(audit);
        return status;
    }
    *ret_audit = audit;
    return KT_SUCCESS;
}

void kt_audit_set_log(kt_audit_t *audit, kt_log_fn log, void *arg)
{
    audit->log_fn = log;
    audit->log_arg = arg;
}

/* A ring that cannot be drained now is left to the stream's next process. */
static void leave_ring(kt_audit_t *audit)
{
    kt_ring_t *ring = atomic_load(&audit->ring);

    if (ring == NULL)
        return;
    if (!kt_ring_is_empty(ring))
        (void)kt_audit_drain_rings(audit, NULL, true);
    if (kt_ring_is_empty(ring))
        kt_ring_remove(audit->rings, ring);
    kt_ring_close(ring);
}

/* Compresses what was closed, for about so long. True: there is more to do. One thread. */
static bool pack(kt_audit_t *audit, int64_t ms)
{
    int64_t until = kt_monotonic() + ms;
    bool more = !audit->ringless && atomic_exchange(&audit->pack_due, false);

    while (more && kt_monotonic() < until)
        more = kt_pack_step(audit->folder, audit->config, &audit->pack, until - kt_monotonic());
    if (more)
        atomic_store(&audit->pack_due, true);
    return more;
}

void kt_audit_close(kt_audit_t *audit)
{
    if (audit == NULL)
        return;
    leave_ring(audit);
    pack(audit, PACK_CLOSE_MS);
    kt_pack_stop(audit->folder, &audit->pack);
    kt_lines_free(&audit->lines);
    kt_close_fd(&audit->log);
    kt_close_fd(&audit->state);
    kt_close_fd(&audit->rings);
    kt_close_fd(&audit->folder);
    (void)sem_destroy(&audit->wake);
    (void)pthread_mutex_destroy(&audit->why_lock);
    (void)pthread_mutex_destroy(&audit->lock);
    free(audit->path);
    free(audit);
}

/* ---- does the trail work? ---- */

static void note(kt_audit_t *audit, kt_status_t status)
{
    if (status != KT_SUCCESS) {
        (void)pthread_mutex_lock(&audit->why_lock);
        (void)snprintf(audit->why, sizeof(audit->why), "%s", kt_failure());
        (void)pthread_mutex_unlock(&audit->why_lock);
    }
    atomic_store(&audit->failing, status != KT_SUCCESS);
}

/* Without waiting for a drain. */
static kt_status_t refuse(kt_audit_t *audit)
{
    char why[KT_ERROR_SIZE];

    (void)pthread_mutex_lock(&audit->why_lock);
    memcpy(why, audit->why, sizeof(why));
    (void)pthread_mutex_unlock(&audit->why_lock);
    return kt_fail(KT_AUDIT, "%s", why);
}

/* `all`: also records whose window still runs, as when the ring is half full. */
static kt_status_t drain(kt_audit_t *audit, const kt_event_t *event, bool all)
{
    kt_ring_t *ring;
    kt_status_t status;

    (void)pthread_mutex_lock(&audit->lock);
    ring = atomic_load(&audit->ring);
    status = kt_audit_drain_rings(audit, event, all || (ring != NULL && kt_ring_is_pressed(ring)));
    note(audit, status);
    (void)pthread_mutex_unlock(&audit->lock);
    return status;
}

void kt_audit_waiting(const kt_audit_t *audit, uint64_t *ret_count, int64_t *ret_oldest)
{
    const kt_ring_t *ring = atomic_load(&audit->ring);

    if (ring == NULL)
        return;
    *ret_count = kt_ring_recorded(ring) - kt_ring_drained(ring);
    *ret_oldest = kt_ring_oldest(ring);
}

/* ---- one decision ---- */

void kt_audit_wake(kt_audit_t *audit)
{
    if (!atomic_exchange(&audit->woken, true))
        (void)sem_post(&audit->wake);
}

/* Does another process sweep this ring (PostgreSQL's does for its backends)? Then what is in it is
 * young, and nothing is due. Looked at once in a while, as a drain of our own would be. */
static bool is_swept(kt_audit_t *audit, const kt_ring_t *ring, int64_t now)
{
    int64_t oldest = kt_ring_oldest(ring);

    if ((oldest != 0 && (now - oldest >= DRAIN_MS || now < oldest)) || kt_ring_is_removed(ring))
        return false;
    audit->since = oldest;
    return true;
}

/* Drains what is due before a decision is recorded. If that fails, the decision is refused and must
 * not have a record that says otherwise. */
static kt_status_t prepare(kt_audit_t *audit, bool has_thread, int64_t now)
{
    kt_ring_t *ring = atomic_load_explicit(&audit->ring, memory_order_acquire);
    bool failing = atomic_load_explicit(&audit->failing, memory_order_relaxed);
    kt_status_t status;

    if (has_thread && (ring != NULL || failing))
        return failing ? refuse(audit) : KT_SUCCESS;
    if (ring != NULL && !failing && !kt_ring_is_pressed(ring) &&
        (audit->since == 0 || (now - audit->since < DRAIN_MS && now >= audit->since) ||
         is_swept(audit, ring, now)))
        return KT_SUCCESS;
    status = drain(audit, NULL, false);
    if (status == KT_SUCCESS)
        audit->since = kt_ring_is_empty(atomic_load(&audit->ring)) ? 0 : now;
    return status;
}

/* A ring that was made before the thread started is too small for one. Only the producer may
 * replace it. */
static void outgrow(kt_audit_t *audit)
{
    kt_ring_t *ring = atomic_load(&audit->ring);
    kt_status_t status;

    if (ring == NULL || kt_ring_size(ring) >= KT_RING_THREAD ||
        atomic_load_explicit(&audit->failing, memory_order_relaxed))
        return;
    (void)pthread_mutex_lock(&audit->lock);
    status = kt_audit_drain_rings(audit, NULL, true);
    note(audit, status);
    if (status == KT_SUCCESS && kt_ring_is_empty(ring)) {
        kt_ring_remove(audit->rings, ring);
        kt_ring_close(ring);
        atomic_store(&audit->ring, NULL);
    }
    (void)pthread_mutex_unlock(&audit->lock);
}

/* More is recorded than the thread writes down: this caller waits for the disk, and none is refused
 * because others ask so much. */
static kt_status_t put_into_full(kt_audit_t *audit, const kt_event_t *event, int64_t now)
{
    kt_status_t status = drain(audit, NULL, true);
    kt_ring_t *ring = atomic_load_explicit(&audit->ring, memory_order_acquire);

    if (status != KT_SUCCESS || kt_ring_put(ring, event, now, audit->reads) != KT_RING_FULL)
        return status;
    return kt_fail(KT_AUDIT, "audit trail %s/rings/%s: the ring is full", audit->path,
                   kt_ring_name(ring));
}

static kt_status_t put(kt_audit_t *audit, const kt_event_t *event)
{
    bool has_thread = atomic_load_explicit(&audit->has_thread, memory_order_relaxed);
    int64_t now = event->now != 0 ? event->now : kt_now();
    kt_status_t status;
    kt_ring_t *ring;

    if (has_thread)
        outgrow(audit);
    status = prepare(audit, has_thread, now);
    if (status != KT_SUCCESS)
        return status;
    ring = atomic_load_explicit(&audit->ring, memory_order_acquire);
    if (kt_ring_put(ring, event, now, audit->reads) == KT_RING_FULL) {
        status = put_into_full(audit, event, now);
        if (status != KT_SUCCESS)
            return status;
        ring = atomic_load_explicit(&audit->ring, memory_order_acquire);
    }
    if (has_thread && kt_ring_is_pressed(ring))
        kt_audit_wake(audit);
    if (!has_thread && audit->since == 0)
        audit->since = now;
    return KT_SUCCESS;
}

kt_status_t kt_audit_write(kt_audit_t *audit, const kt_event_t *event)
{
    return event->durable || audit->ringless ? drain(audit, event, true) : put(audit, event);
}

kt_status_t kt_audit_room(kt_audit_t *audit, unsigned processes)
{
    int fd = audit->rings >= 0 ? audit->rings : audit->folder;

    if (audit->ringless || fd < 0 || atomic_load(&audit->ring) != NULL)
        return KT_SUCCESS;
    return kt_ring_room(audit->path, fd, processes);
}

kt_status_t kt_audit_drain(kt_audit_t *audit)
{
    kt_ring_t *ring;
    bool idle;

    (void)pthread_mutex_lock(&audit->lock);
    ring = atomic_load(&audit->ring);
    idle = (ring == NULL || kt_ring_is_empty(ring)) && !atomic_load(&audit->failing);
    (void)pthread_mutex_unlock(&audit->lock);
    return idle ? KT_SUCCESS : drain(audit, NULL, true);
}

kt_status_t kt_audit_sweep(kt_audit_t *audit)
{
    kt_status_t status;

    if (audit->ringless)
        return KT_SUCCESS;
    (void)pthread_mutex_lock(&audit->lock);
    status = kt_audit_sweep_rings(audit);
    note(audit, status);
    (void)pthread_mutex_unlock(&audit->lock);
    (void)pack(audit, PACK_MS);
    return status;
}

/* ---- the draining thread ---- */

static void wait_for_work(kt_audit_t *audit, int64_t most)
{
    struct timespec until;
    long ms = atomic_load(&audit->failing) ? RETRY_MS : DRAIN_MS;

    if (most < ms)
        ms = (long)most;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms % 1000 * 1000000L;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    while (sem_clockwait(&audit->wake, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
        ;
    atomic_store(&audit->woken, false);
}

/* Logged once when a failure begins, and once when it ends. */
static void tell(const kt_audit_t *audit, bool failed_before, kt_status_t status)
{
    char text[KT_ERROR_SIZE + 64];

    if (audit->log_fn == NULL || failed_before == (status != KT_SUCCESS))
        return;
    if (status != KT_SUCCESS)
        (void)snprintf(text, sizeof(text), "%s (requests that cannot be recorded are refused)",
                       kt_failure());
    else
        (void)snprintf(text, sizeof(text), "audit trail %s: works again", audit->path);
    audit->log_fn(audit->log_arg, status != KT_SUCCESS ? 3 : 5, text);
}

/* All that was recorded before it begins is a line when it ends. */
static kt_status_t drain_batch(kt_audit_t *audit)
{
    kt_status_t status;

    if (audit->batch.begin != NULL)
        audit->batch.begin(audit->batch.arg);
    status = drain(audit, NULL, false);
    if (audit->batch.end != NULL)
        audit->batch.end(audit->batch.arg, audit->batch_required ? status : KT_SUCCESS,
                         status != KT_SUCCESS ? kt_failure() : "");
    return status;
}

void kt_audit_follow(kt_audit_t *audit, const kt_deferred_ops_t *batch, bool required)
{
    audit->batch = *batch;
    audit->batch_required = required;
}

kt_status_t kt_audit_thread_run(kt_audit_t *audit, kt_log_fn log, void *arg)
{
    int64_t looked = kt_monotonic(), wait;
    bool failed_before = false;
    kt_status_t status;

    if (audit->ringless)
        return KT_SUCCESS; /* nothing waits */
    (void)pthread_mutex_lock(&audit->lock);
    if (atomic_exchange(&audit->has_thread, true)) {
        (void)pthread_mutex_unlock(&audit->lock);
        return kt_fail(KT_CONFLICT, "audit trail %s: another thread drains it already",
                       audit->path);
    }
    kt_audit_set_log(audit, log, arg);
    (void)pthread_mutex_unlock(&audit->lock);
    while (!atomic_load(&audit->stopping)) {
        status = drain_batch(audit);
        tell(audit, failed_before, status);
        failed_before = status != KT_SUCCESS;
        wait = audit->tick != NULL ? audit->tick(audit->tick_arg) : DRAIN_MS;
        if (kt_monotonic() - looked >= PACK_AGAIN_MS) {
            looked = kt_monotonic();
            atomic_store(&audit->pack_due, true);
        }
        wait_for_work(audit, pack(audit, PACK_MS) ? 0 : wait);
    }
    kt_pack_stop(audit->folder, &audit->pack); /* a server that ends does not wait for it */
    atomic_store(&audit->pack_due, false);
    atomic_store(&audit->has_thread, false);
    atomic_store(&audit->stopping, false);
    return kt_audit_drain(audit);
}

void kt_audit_set_tick(kt_audit_t *audit, int64_t (*tick)(void *arg), void *arg)
{
    audit->tick = tick;
    audit->tick_arg = arg;
}

bool kt_audit_has_thread(const kt_audit_t *audit)
{
    return audit != NULL && atomic_load_explicit(&audit->has_thread, memory_order_relaxed);
}

bool kt_audit_is_new(const kt_audit_t *audit)
{
    return atomic_load(&audit->checkpoint) == 0;
}

void kt_audit_thread_stop(kt_audit_t *audit)
{
    atomic_store(&audit->stopping, true);
    (void)sem_post(&audit->wake);
}

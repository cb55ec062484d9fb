/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sinks.c: sends what is in the log to external sinks.
 *
 *     PATH/STREAM/sent    how far each sink has the trail; locked by the one process of the stream
 *                         that is sending
 *
 * No decision waits for a sink, and no sink can refuse one: only lines that are sealed and on the
 * disk are copied. A sink that hangs, ends or is missing gets everything later, in order, from
 * where it was, through logs that logrotate has renamed. What a sink has not confirmed is sent
 * again, also after a crash of either side: a line may arrive twice, and its number tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "sinks.h"

#define CHUNK (256u * 1024u) /* bytes of the log at once; more if a block is longer */
#define CHUNK_MAX (8u * 1024u * 1024u)
#define BATCHES 16u       /* of one sink in one step */
#define AGAIN_MIN_MS 1000 /* to the next attempt with a sink that failed, doubled each time */
#define AGAIN_MAX_MS 300000
/* how long other processes leave alone what a process that is gone was sending */
#define AT_IT_MS ((KT_SINK_EXEC_S + 15) * 1000)
#define MAGIC 0x3153544bu /* "KTS1" */

_Static_assert(sizeof(kt_sent_t) == 128, "docs/format.md has the layout of `sent`");

typedef struct sink {
    const kt_cfg_sink_t *config;
    unsigned char id[16];
    size_t slot;
    kt_sent_t sent;
    kt_batch_t batch; /* under way */
    uint64_t after;   /* offset after it */
    bool failing;     /* was logged */
    kt_sink_exec_t exec;
    kt_sink_syslog_t syslog;
} sink_t;

struct kt_sinks {
    char *path; /* of the stream's folder */
    char stream[64], environment[KT_ENVIRONMENT_MAX];
    kt_send_t send;
    int folder, lock; /* descriptors; -1: not open */
    bool holding;
    kt_log_fn log;
    void *arg;
    sink_t list[KT_SINKS_MAX];
    size_t count;
    kt_config_t *config;
};

/* ---- life ---- */

static void make_id(const kt_cfg_sink_t *config, unsigned char id[16])
{
    (void)crypto_generichash(id, 16, (const unsigned char *)config->text, strlen(config->text),
                             NULL, 0);
}

kt_status_t kt_sinks_open(kt_config_t *config, const char *stream, kt_log_fn log, void *arg,
                          kt_sinks_t **ret_sinks)
{
    kt_sinks_t *sinks;
    size_t i;

    if (config->nsinks == 0) {
        *ret_sinks = NULL;
        return KT_SUCCESS;
    }
    sinks = calloc(1, sizeof(*sinks));
    if (sinks == NULL || asprintf(&sinks->path, "%s/%s", config->audit_path, stream) < 0) {
        free(sinks);
        return kt_no_memory();
    }
    (void)snprintf(sinks->stream, sizeof(sinks->stream), "%s", stream);
    (void)snprintf(sinks->environment, sizeof(sinks->environment), "%s", config->environment);
    sinks->config = kt_config_ref(config);
    sinks->send = config->send;
    sinks->folder = sinks->lock = -1;
    sinks->log = log;
    sinks->arg = arg;
    for (i = 0; i < config->nsinks && i < KT_SINKS_MAX; i++) {
        sink_t *sink = &sinks->list[sinks->count++];

        sink->config = &config->sinks[i];
        make_id(sink->config, sink->id);
        kt_sink_exec_init(&sink->exec);
        sink->syslog.fd = -1;
    }
    *ret_sinks = sinks;
    return KT_SUCCESS;
}

static void let_go(kt_sinks_t *sinks)
{
    size_t i;

    for (i = 0; i < sinks->count; i++) {
        kt_batch_free(&sinks->list[i].batch);
        kt_sink_exec_close(&sinks->list[i].exec);
    }
    if (sinks->holding)
        (void)flock(sinks->lock, LOCK_UN);
    sinks->holding = false;
}

void kt_sinks_close(kt_sinks_t *sinks)
{
    size_t i;

    if (sinks == NULL)
        return;
    let_go(sinks);
    for (i = 0; i < sinks->count; i++)
        kt_sink_syslog_close(&sinks->list[i].syslog);
    kt_close_fd(&sinks->lock);
    kt_close_fd(&sinks->folder);
    kt_config_unref(sinks->config);
    free(sinks->path);
    free(sinks);
}

/* ---- the host's log: once when a failure begins, and once when it ends ---- */

static void say(const kt_sinks_t *sinks, int level, const sink_t *sink, const char *what)
{
    char text[KT_ERROR_SIZE + 300];

    if (sinks->log == NULL)
        return;
    (void)snprintf(text, sizeof(text), "audit sink %.200s: %s", sink->config->text, what);
    sinks->log(sinks->arg, level, text);
}

/* ---- the file of positions ---- */

static bool open_files(kt_sinks_t *sinks)
{
    struct stat st;

    if (sinks->folder < 0)
        sinks->folder = open(sinks->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sinks->folder < 0 || fstat(sinks->folder, &st) != 0 || st.st_uid != geteuid())
        return false; /* root in another user's stream, whose own processes send */
    if (sinks->lock < 0)
        sinks->lock =
            openat(sinks->folder, "sent",
                   O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
    return sinks->lock >= 0 && fstat(sinks->lock, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_uid == geteuid();
}

static bool is_configured(const kt_sinks_t *sinks, const unsigned char id[16])
{
    size_t i;

    for (i = 0; i < sinks->count; i++)
        if (memcmp(sinks->list[i].id, id, 16) == 0)
            return true;
    return false;
}

/* The slot of a sink: its own, a free one, or one of a sink that is no longer configured. */
static void find_slot(const kt_sinks_t *sinks, sink_t *sink, kt_sent_t *slots)
{
    size_t i;

    for (i = 0; i < KT_SINKS_MAX; i++)
        if (slots[i].magic == MAGIC && memcmp(slots[i].id, sink->id, 16) == 0)
            break;
    if (i == KT_SINKS_MAX) {
        for (i = 0;
             i + 1 < KT_SINKS_MAX && slots[i].magic == MAGIC && is_configured(sinks, slots[i].id);
             i++)
            ;
        memset(&slots[i], 0, sizeof(slots[i]));
        slots[i].magic = MAGIC;
        memcpy(slots[i].id, sink->id, 16);
    }
    sink->slot = i;
    sink->sent = slots[i];
}

static bool hold(kt_sinks_t *sinks)
{
    kt_sent_t slots[KT_SINKS_MAX];
    size_t i;

    if (sinks->holding)
        return true;
    if (!open_files(sinks) || flock(sinks->lock, LOCK_EX | LOCK_NB) != 0)
        return false;
    memset(slots, 0, sizeof(slots));
    if (pread(sinks->lock, slots, sizeof(slots), 0) < 0)
        memset(slots, 0, sizeof(slots));
    for (i = 0; i < sinks->count; i++)
        find_slot(sinks, &sinks->list[i], slots);
    sinks->holding = true;
    return true;
}

/* Has this sink not got past the log? A slot of another instance tells nothing. */
static bool needs(const kt_sent_t slots[KT_SINKS_MAX], const kt_cfg_sink_t *config,
                  const kt_audit_log_t *log)
{
    unsigned char id[16];
    size_t i;

    make_id(config, id);
    for (i = 0; i < KT_SINKS_MAX; i++)
        if (slots[i].magic == MAGIC && memcmp(slots[i].id, id, 16) == 0)
            return slots[i].inode != 0 &&
                   (memcmp(slots[i].instance, log->head.instance, KT_AUDIT_ID) != 0 ||
                    slots[i].head_block <= log->head.block);
    return false;
}

bool kt_sinks_need(const kt_config_t *config, int folder, const kt_audit_log_t *log)
{
    kt_sent_t slots[KT_SINKS_MAX];
    int sent = openat(folder, "sent", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    bool needed = false;
    size_t i;

    memset(slots, 0, sizeof(slots));
    if (sent >= 0 && pread(sent, slots, sizeof(slots), 0) < 0)
        memset(slots, 0, sizeof(slots));
    kt_close_fd(&sent);
    for (i = 0; i < config->nsinks && !needed; i++)
        needed = needs(slots, &config->sinks[i], log);
    return needed;
}

/* Not synced: after a power cut some lines may be sent again. */
static void save(const kt_sinks_t *sinks, const sink_t *sink)
{
    (void)!pwrite(sinks->lock, &sink->sent, sizeof(sink->sent),
                  (off_t)(sink->slot * sizeof(sink->sent)));
}

/* ---- logs ---- */

static void enter(const kt_sinks_t *sinks, sink_t *sink, const kt_audit_log_t *log, uint64_t offset)
{
    sink->sent.inode = log->inode;
    sink->sent.head_block = log->head.block;
    memcpy(sink->sent.instance, log->head.instance, KT_AUDIT_ID);
    sink->sent.offset = offset;
    save(sinks, sink);
}

/* The log that this sink has reached. *ret_old: it is not the current one. -1: nothing to send. */
static int open_current(const kt_sinks_t *sinks, sink_t *sink, bool *ret_old)
{
    kt_audit_log_t head;
    int log = kt_sink_log_open(sinks->folder, "log", &head);

    *ret_old = false;
    if (sink->sent.inode == 0) {
        if (log >= 0)
            enter(sinks, sink, &head, kt_sink_log_near_end(log, &head));
        return log;
    }
    if (log >= 0 && kt_sink_log_is(&sink->sent, &head))
        return log;
    *ret_old = log >= 0;
    kt_close_fd(&log);
    log = kt_sink_log_find(sinks->folder, &sink->sent, false, &head);
    if (log >= 0)
        return log;
    if (!*ret_old)
        return -1; /* between two logs, or the trail was removed */
    log = kt_sink_log_find(sinks->folder, &sink->sent, true, &head);
    if (log < 0)
        log = kt_sink_log_open(sinks->folder, "log", &head);
    say(sinks, 4, sink, "the log that was being sent is gone: some of its lines were not sent");
    if (log >= 0)
        enter(sinks, sink, &head, 0);
    return log;
}

/* Moves to the next log. */
static bool go_on(const kt_sinks_t *sinks, sink_t *sink)
{
    kt_audit_log_t head;
    int log = kt_sink_log_find(sinks->folder, &sink->sent, true, &head);

    if (log < 0)
        log = kt_sink_log_open(sinks->folder, "log", &head); /* of another instance */
    if (log < 0)
        return false;
    (void)close(log);
    enter(sinks, sink, &head, 0);
    return true;
}

/* ---- a batch ---- */

static char *read_chunk(int log, uint64_t offset, size_t want, size_t *ret_size)
{
    char *text = malloc(want);
    ssize_t got = text != NULL ? pread(log, text, want, (off_t)offset) : -1;

    if (got <= 0) {
        free(text);
        return NULL;
    }
    *ret_size = (size_t)got;
    return text;
}

/* The next blocks of the log. False: there are none. */
static bool fill_from(const kt_sinks_t *sinks, sink_t *sink, int log)
{
    size_t want, size, used = 0;
    char *text;

    for (want = CHUNK; want <= CHUNK_MAX && used == 0; want *= 4) {
        text = read_chunk(log, sink->sent.offset, want, &size);
        if (text == NULL ||
            kt_batch_make(text, size, sinks->send, &used, &sink->batch) != KT_SUCCESS) {
            free(text);
            return false;
        }
        free(text);
        if (used == 0)
            kt_batch_free(&sink->batch);
        if (size < want)
            break;
    }
    sink->after = sink->sent.offset + used;
    return used > 0;
}

static bool fill(const kt_sinks_t *sinks, sink_t *sink)
{
    bool old = true, filled;
    int log;

    while (old) {
        log = open_current(sinks, sink, &old);
        if (log < 0)
            return false;
        filled = fill_from(sinks, sink, log);
        (void)close(log);
        if (filled)
            return true;
        if (old && !go_on(sinks, sink))
            return false;
    }
    return false;
}

/* ---- sending ---- */

static void delivered(const kt_sinks_t *sinks, sink_t *sink)
{
    if (sink->failing)
        say(sinks, 5, sink, "works again");
    sink->failing = false;
    sink->sent.offset = sink->after;
    sink->sent.failures = 0;
    sink->sent.next = 0;
    save(sinks, sink);
    kt_batch_free(&sink->batch);
}

static void failed(const kt_sinks_t *sinks, sink_t *sink)
{
    int64_t pause = AGAIN_MIN_MS << (sink->sent.failures < 9 ? sink->sent.failures : 9);

    if (!sink->failing)
        say(sinks, 4, sink, kt_failure());
    sink->failing = true;
    sink->sent.failures++;
    sink->sent.next = kt_now() + (pause < AGAIN_MAX_MS ? pause : AGAIN_MAX_MS);
    save(sinks, sink);
    kt_batch_free(&sink->batch);
    kt_failure_clear();
}

static kt_delivery_t deliver(kt_sinks_t *sinks, sink_t *sink)
{
    if (sink->batch.size == 0)
        return KT_DELIVERY_DONE; /* nothing of these blocks is for a sink */
    if (sink->config->argv == NULL)
        return kt_sink_syslog_send(&sink->syslog, sink->config, &sink->batch);
    /* if this process ends before the command does, no other starts the same batch at once */
    if (sink->sent.next == 0) {
        sink->sent.next = kt_now() + AT_IT_MS;
        save(sinks, sink);
    }
    return kt_sink_exec_send(&sink->exec, sink->config, sinks->environment, sinks->stream,
                             &sink->batch);
}

static bool may_begin(const sink_t *sink)
{
    int64_t now = kt_now();

    /* the second half: the clock was set back */
    return sink->sent.next <= now || sink->sent.next > now + AGAIN_MAX_MS + AT_IT_MS;
}

/* True: it has more to do. */
static bool step(kt_sinks_t *sinks, sink_t *sink)
{
    unsigned batches;

    for (batches = 0; batches < BATCHES; batches++) {
        if (sink->batch.text == NULL) {
            if (!may_begin(sink) || !fill(sinks, sink))
                return false;
            sink->sent.next = 0;
        }
        switch (deliver(sinks, sink)) {
        case KT_DELIVERY_DONE:
            delivered(sinks, sink);
            break;
        case KT_DELIVERY_BUSY:
            return true;
        default:
            failed(sinks, sink);
            return false;
        }
    }
    return true;
}

bool kt_sinks_step(kt_sinks_t *sinks)
{
    bool busy = false, under_way = false;
    size_t i;

    if (sinks == NULL || !hold(sinks))
        return false;
    for (i = 0; i < sinks->count; i++) {
        busy = step(sinks, &sinks->list[i]) || busy;
        under_way = under_way || sinks->list[i].batch.text != NULL;
    }
    if (!under_way)
        let_go(sinks); /* so that another process may take the next step */
    return busy;
}

void kt_sinks_finish(kt_sinks_t *sinks, unsigned ms)
{
    const struct timespec nap = {0, 2000000};
    int64_t until = kt_monotonic() + ms;

    while (kt_sinks_step(sinks) && kt_monotonic() < until)
        (void)nanosleep(&nap, NULL);
}

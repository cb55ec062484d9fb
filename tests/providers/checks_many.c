/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checks_many.c: lists, tokens, two processes, two threads, and 1000 random operations against a
 * model.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"

#define LISTED 300u
#define OPERATIONS 1000u
#define MODEL_SECRETS 8u
#define MODEL_VALUES 40u /* versions of a secret that may be kept at once */
#define THREAD_ROUNDS 150u

/* ---- scan ---- */

typedef struct listing {
    const secret_t *secrets;
    unsigned seen[LISTED];
    unsigned count, others, stop_after;
    bool wrong;
} listing_t;

static int list_head(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    listing_t *listing = arg;

    for (unsigned i = 0; i < LISTED; i++) {
        ktp_key_t mine = head_key(&listing->secrets[i]);
        bool same =
            host_can(KTP_CLEAR_NAMES)
                ? key->name != NULL && strcmp(key->name, mine.name) == 0
                : key->id_size == mine.id_size && memcmp(key->id, mine.id, mine.id_size) == 0;
        ktp_row_t made;

        if (!same)
            continue;
        made = head_row(&listing->secrets[i], 1, SMALL);
        listing->wrong |= !row_equal(&made, row) || key->space != KTP_HEAD;
        listing->seen[i]++;
        row_free(&made);
        return ++listing->count == listing->stop_after;
    }
    listing->others++;
    return 0;
}

static const char *check_scan(void)
{
    session_t *a = host_open(), *b = host_open();
    static secret_t secrets[LISTED];
    listing_t all = {.secrets = secrets}, some = {.secrets = secrets, .stop_after = 7};

    for (unsigned i = 0; i < LISTED; i++) {
        secrets[i] = fresh_secret();
        EXPECT(write_head(a, &secrets[i], 1, 0, SMALL) == KTP_SUCCESS);
    }
    EXPECT(s_begin(b, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_scan(b, KTP_HEAD, list_head, &all) == KTP_SUCCESS);
    EXPECT(!all.wrong && all.count == LISTED);
    for (unsigned i = 0; i < LISTED; i++)
        EXPECT(all.seen[i] == 1);
    EXPECT(s_scan(b, KTP_HEAD, list_head, &some) == KTP_SUCCESS);
    EXPECT(some.count == 7);
    EXPECT(s_commit(b) == KTP_SUCCESS);
    return NULL;
}

static int count_values(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    uint64_t *sum = arg;

    if (key->id_size == 8 && memcmp(key->id, "scanning", 8) == 0 && row->stamp == key->version)
        *sum += key->version;
    return 0;
}

static const char *check_scan_values(void)
{
    session_t *a = host_open();
    ktp_key_t key = plain_key(KTP_VALUE, "scanning", 8);
    uint64_t sum = 0;

    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    for (key.version = 1; key.version <= 100; key.version++) {
        ktp_row_t row = plain_row(key.version, 5000, key.version);
        ktp_status_t status = s_put(a, &key, &row, 0);

        row_free(&row);
        EXPECT(status == KTP_SUCCESS);
    }
    EXPECT(s_scan(a, KTP_VALUE, count_values, &sum) == KTP_SUCCESS && sum == 5050);
    s_abort(a);
    sum = 0;
    EXPECT(s_begin(a, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_scan(a, KTP_VALUE, count_values, &sum) == KTP_SUCCESS && sum == 0);
    s_abort(a);
    return NULL;
}

/* ---- the change token ---- */

static bool same_token(session_t *s, unsigned char last[KTP_TOKEN_SIZE])
{
    unsigned char token[KTP_TOKEN_SIZE];
    bool same;

    if (s_token(s, token) != KTP_SUCCESS)
        abort();
    same = memcmp(token, last, KTP_TOKEN_SIZE) == 0;
    memcpy(last, token, KTP_TOKEN_SIZE);
    return same;
}

static void pause_ms(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    (void)nanosleep(&time, NULL);
}

/* At once, or within a second if the news comes over a network. */
static bool token_changes(session_t *s, unsigned char last[KTP_TOKEN_SIZE])
{
    for (unsigned waited = 0; same_token(s, last); waited++) {
        if (!host_can(KTP_BLOCKING) || waited == 1000)
            return false;
        pause_ms(1);
    }
    return true;
}

/* A provider may follow changes only from the first read after a token on; and news of one commit
 * over a network may come in more than one piece. */
static bool settles(session_t *s, const secret_t *secret, unsigned char last[KTP_TOKEN_SIZE])
{
    (void)same_token(s, last);
    (void)read_head(s, secret, SMALL);
    for (int tries = 0; tries < 50; tries++) {
        if (host_can(KTP_BLOCKING))
            pause_ms(20);
        if (same_token(s, last))
            return true;
    }
    return false;
}

static const char *check_token(void)
{
    secret_t secret = fresh_secret();
    session_t *a = host_open(), *b = host_open();
    unsigned char token[KTP_TOKEN_SIZE];

    EXPECT(write_head(a, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(s_token(b, token) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 1);
    EXPECT(settles(b, &secret, token));
    for (int i = 0; i < 1000; i++)
        EXPECT(same_token(b, token));
    EXPECT(read_head(a, &secret, SMALL) == 1);
    EXPECT(same_token(b, token));
    for (uint64_t counter = 2; counter < 40; counter++) {
        EXPECT(write_head(a, &secret, counter, counter - 1, SMALL) == KTP_SUCCESS);
        EXPECT(token_changes(b, token));
        EXPECT(settles(b, &secret, token));
    }
    return NULL;
}

static const char *check_token_other_process(void)
{
    secret_t secret = fresh_secret();
    session_t *a = host_open();
    unsigned char token[KTP_TOKEN_SIZE];
    char number[16];

    (void)snprintf(number, sizeof number, "%u", secret.number);
    EXPECT(read_head(a, &secret, SMALL) == 0);
    EXPECT(s_token(a, token) == KTP_SUCCESS);
    for (uint64_t counter = 1; counter <= 5; counter++) {
        EXPECT(settles(a, &secret, token));
        EXPECT(host_run("--bump", number) == 0);
        EXPECT(token_changes(a, token));
        EXPECT(read_head(a, &secret, SMALL) == counter);
    }
    return NULL;
}

/* ---- processes and threads ---- */

static const char *check_other_process(void)
{
    secret_t secret = fresh_secret();
    session_t *a = host_open();
    char number[16];

    (void)snprintf(number, sizeof number, "%u", secret.number);
    EXPECT(write_head(a, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(host_run("--bump", number) == 0);
    EXPECT(read_head(a, &secret, SMALL) == 2);
    EXPECT(write_head(a, &secret, 3, 2, SMALL) == KTP_SUCCESS);
    host_close_all();
    EXPECT(host_run("--bump", number) == 0);
    EXPECT(read_head(host_open(), &secret, SMALL) == 4);
    return NULL;
}

/* 0: the provider refused the child, because the parent opened the instance. */
static int try_in_child(session_t *s, const secret_t *secret)
{
    unsigned char token[KTP_TOKEN_SIZE];

    if (s_begin(s, /* writing= */ 0, WAIT) != KTP_UNAVAIL)
        return 1;
    if (s_begin(s, /* writing= */ 1, WAIT) != KTP_UNAVAIL)
        return 2;
    if (host_can(KTP_TOKEN) && s_token(s, token) != KTP_UNAVAIL)
        return 3;
    if (s_check(s, /* writing= */ 0) != KTP_UNAVAIL)
        return 4;
    if (read_head(s, secret, SMALL) != UINT64_MAX)
        return 5;
    host_close(s);
    return host_violations == 0 ? 0 : 6;
}

static const char *check_fork(void)
{
    secret_t secret = fresh_secret();
    session_t *a = host_open();
    int status;
    pid_t pid;

    EXPECT(write_head(a, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(read_head(a, &secret, SMALL) == 1);
    (void)fflush(stdout);
    pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0)
        _exit(try_in_child(a, &secret));
    EXPECT(waitpid(pid, &status, 0) == pid);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT(write_head(a, &secret, 2, 1, SMALL) == KTP_SUCCESS);
    EXPECT(read_head(a, &secret, SMALL) == 2);
    EXPECT(read_head(host_open(), &secret, SMALL) == 2);
    return NULL;
}

typedef struct worker {
    pthread_t thread;
    session_t *session;
    secret_t own, shared;
    unsigned done, trouble;
} worker_t;

/* Writes a secret of its own, which no other thread writes, and one that all of them write as fast
 * as they can. */
static void *work(void *arg)
{
    worker_t *w = arg;

    for (uint64_t counter = 1; counter <= THREAD_ROUNDS; counter++) {
        uint64_t seen = read_head(w->session, &w->shared, SMALL);
        ktp_status_t status = write_head(w->session, &w->shared, seen + 1, seen, SMALL);

        w->done += status == KTP_SUCCESS;
        w->trouble += status != KTP_SUCCESS && status != KTP_CONFLICT && status != KTP_TRYAGAIN;
        while ((status = write_head(w->session, &w->own, counter, counter - 1, SMALL)) ==
               KTP_TRYAGAIN)
            continue;
        w->trouble += status != KTP_SUCCESS || read_head(w->session, &w->own, SMALL) != counter;
    }
    return NULL;
}

static const char *check_threads(void)
{
    secret_t shared = fresh_secret();
    worker_t workers[3] = {0};
    unsigned done = 0;

    for (int i = 0; i < 3; i++) {
        workers[i].session = host_open();
        workers[i].own = fresh_secret();
        workers[i].shared = shared;
    }
    for (int i = 0; i < 3; i++)
        EXPECT(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    for (int i = 0; i < 3; i++)
        (void)pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < 3; i++) {
        EXPECT(workers[i].trouble == 0);
        done += workers[i].done;
    }
    EXPECT(read_head(host_open(), &shared, SMALL) == done);
    return NULL;
}

/* ---- the model ---- */

typedef struct model {
    secret_t secret;
    uint64_t counter;        /* 0: absent */
    bool kept[MODEL_VALUES]; /* by version modulo */
    uint64_t versions[MODEL_VALUES];
} model_t;

static bool agrees(session_t *s, const model_t *m)
{
    bool good = read_head(s, &m->secret, SMALL) == m->counter;

    if (s_begin(s, /* writing= */ 0, WAIT) != KTP_SUCCESS)
        return false;
    for (unsigned i = 0; i < MODEL_VALUES && good; i++) {
        ktp_key_t key = value_key(&m->secret, m->versions[i]);
        ktp_row_t made = value_row(&m->secret, m->versions[i], SMALL), got;
        ktp_status_t status = m->versions[i] == 0 ? KTP_NOTFOUND : s_get(s, &key, &got);

        good =
            m->kept[i] ? status == KTP_SUCCESS && row_equal(&made, &got) : status == KTP_NOTFOUND;
        row_free(&made);
    }
    s_abort(s);
    return good;
}

/* Adds a version of a secret inside the open transaction, and sometimes removes an old one. The
 * model follows. */
static ktp_status_t change(session_t *s, model_t *m, uint64_t dice)
{
    uint64_t old = m->counter, counter = old + 1;
    unsigned place = (unsigned)(old % MODEL_VALUES), drop = (unsigned)(dice / 8 % MODEL_VALUES);
    ktp_key_t head = head_key(&m->secret), value = value_key(&m->secret, old);
    ktp_row_t row = head_row(&m->secret, counter, SMALL), kept = value_row(&m->secret, old, SMALL);
    ktp_status_t status = s_put(s, &head, &row, old);

    if (status == KTP_SUCCESS && m->kept[drop] && (drop == place || dice % 2 == 0)) {
        value.version = m->versions[drop];
        status = s_remove(s, &value, 1);
        m->kept[drop] = false;
    }
    if (status == KTP_SUCCESS && old > 0 && !m->kept[place] && dice % 4 != 0) {
        value.version = old;
        status = s_put(s, &value, &kept, 0);
        m->kept[place] = true;
        m->versions[place] = old;
    }
    m->counter = counter;
    row_free(&row);
    row_free(&kept);
    return status;
}

static const char *one_operation(session_t *s, model_t *models, uint64_t *random)
{
    uint64_t dice = random_number(random);
    model_t *m = &models[dice % MODEL_SECRETS], next = *m;
    ktp_key_t key = head_key(&m->secret);
    ktp_row_t row = head_row(&m->secret, m->counter + 2, SMALL);
    ktp_status_t status;

    dice = random_number(random);
    EXPECT(s_begin(s, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    if (dice % 10 == 0) { /* a writer that missed a write */
        status = s_put(s, &key, &row, m->counter + 1);
        row_free(&row);
        if (status == KTP_SUCCESS) {
            EXPECT(s_commit(s) == KTP_CONFLICT);
            return NULL;
        }
        s_abort(s);
        EXPECT(status == KTP_CONFLICT);
        return NULL;
    }
    row_free(&row);
    EXPECT(change(s, &next, dice / 16) == KTP_SUCCESS);
    if (dice % 10 == 1) {
        s_abort(s);
        return NULL;
    }
    EXPECT(s_commit(s) == KTP_SUCCESS);
    *m = next;
    return NULL;
}

static const char *check_random(void)
{
    static model_t models[MODEL_SECRETS];
    session_t *s[3] = {host_open(), host_open(), host_open()};
    uint64_t random = rows_run;

    for (unsigned i = 0; i < MODEL_SECRETS; i++) {
        memset(&models[i], 0, sizeof models[i]);
        models[i].secret = fresh_secret();
    }
    for (unsigned i = 0; i < OPERATIONS; i++) {
        const char *wrong = one_operation(s[random_number(&random) % 3], models, &random);

        if (wrong != NULL)
            return wrong;
        EXPECT(
            agrees(s[random_number(&random) % 3], &models[random_number(&random) % MODEL_SECRETS]));
        if (i % 100 == 99) {
            host_close(s[i / 100 % 3]);
            s[i / 100 % 3] = host_open();
        }
    }
    for (unsigned i = 0; i < MODEL_SECRETS; i++)
        EXPECT(agrees(s[0], &models[i]));
    return NULL;
}

const check_t checks_many[] = {
    {"a scan shows each head once, and stops when asked", check_scan, KTP_WRITE | KTP_LIST, false},
    {"a scan of values, inside the transaction that put them", check_scan_values,
     KTP_WRITE | KTP_LIST, true},
    {"the token changes with each commit and not without", check_token, KTP_WRITE | KTP_TOKEN,
     false},
    {"the token sees another process", check_token_other_process, KTP_WRITE | KTP_TOKEN, false},
    {"two processes share the rows", check_other_process, KTP_WRITE, false},
    {"an instance does not survive a fork, and its parent does", check_fork, KTP_WRITE, false},
    {"instances in three threads", check_threads, KTP_WRITE, false},
    {"1000 random operations agree with a model", check_random, KTP_WRITE | KTP_CAS, false},
    {NULL, NULL, 0, false},
};

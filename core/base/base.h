/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base.h: what all of the core stands on: sizes, the error text, clock, log, files, locks, bytes.
 *
 * Every function of the core that answers a kt_status_t other than KT_SUCCESS has set the calling
 * thread's error text by kt_fail(): one line, without a value. Results (ret_x) are written on
 * success only.
 */
#ifndef KT_BASE_H
#define KT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "include/keyturn.h"
#include "include/keyturn_provider.h"

#define KT_HIDDEN __attribute__((visibility("hidden")))
#define KT_PRINTF(a, b) __attribute__((format(printf, a, b)))

#define KT_KEY_SIZE 32u   /* bytes of an environment, type or secret key */
#define KT_KEYID_SIZE 16u /* bytes of a key's id, a commitment to it */
#define KT_ID_SIZE 16u    /* bytes of a secret's random id */
#define KT_HASH_SIZE 32u  /* bytes of the keyed hash of a name */
#define KT_TAG_SIZE KTP_RECORD_TAG
#define KT_ERROR_SIZE 512u /* bytes of an error text, NUL included */
#define KT_EPOCHS_MAX 8u   /* epochs in one key file */
#define KT_TYPES_MAX 4096u /* types and epochs that one keyring holds at once */
#define KT_WHERE_SIZE 256u /* of a text that names a file and a line */
#define KT_ENVIRONMENT_MAX 64u

#define KT_WAIT 5000u /* ms that a call that may block waits for a lock ... */
#define KT_WAIT_PEEK                                                                               \
    20u /* ... and one in an event loop, where failing the request would be worse */

#define KT_ARRAY(a) (sizeof(a) / sizeof((a)[0]))

#include "command.h"
#include "file.h"
#include "memory.h"
#include "reference.h"

/* ---- status.c: the calling thread's error text ---- */

/* Sets the thread's error text and answers `status`, so that `return kt_fail(...)` reads well. */
kt_status_t kt_fail(kt_status_t status, const char *format, ...) KT_PRINTF(2, 3);
kt_status_t kt_no_memory(void);  /* KT_INTERNAL, "out of memory"; or what the next one said */
void kt_no_memory_to_lock(void); /* the thread's next kt_no_memory() is about RLIMIT_MEMLOCK */
/* Puts "prefix: " in front of the thread's error text. */
kt_status_t kt_fail_prefix(kt_status_t status, const char *format, ...) KT_PRINTF(2, 3);
/* The noun, or the verb, that goes with a number. */
static inline const char *kt_plural(uint64_t number, const char *one, const char *many)
{
    return number == 1 ? one : many;
}

static inline bool kt_is_control(char byte) /* of ASCII */
{
    return (unsigned char)byte < ' ' || byte == 0x7f;
}
void kt_flatten(char *text);  /* control characters show as '?' */
const char *kt_failure(void); /* the thread's error text; "" after kt_failure_clear() */
void kt_failure_clear(void);

/* A failure that is kept while other calls are made. */
typedef struct kt_failure {
    kt_status_t status;
    char text[KT_ERROR_SIZE];
} kt_failure_t;
void kt_failure_save(kt_failure_t *ret_saved, kt_status_t status);
/* Answers the status that was saved; the thread has its text again, unless that is KT_SUCCESS. */
kt_status_t kt_failure_restore(const kt_failure_t *saved);
/* The status of this upper-case name as in `[UNAVAIL=continue]`, or -1. */
int kt_status_parse(const char *name, size_t len);

/* ---- clock.c ---- */

int64_t kt_now(void); /* wall clock, ms */
/* The same as of the kernel's last tick: up to 10 ms late, and three times as fast. */
int64_t kt_now_about(void);
int64_t kt_monotonic(void); /* ms */

/* ---- log.c: the host's log; the library has none of its own ---- */

typedef struct kt_logger {
    kt_log_fn fn; /* NULL: lines are dropped */
    void *arg;
    kt_progress_fn progress; /* NULL: progress is not reported */
    void *progress_arg;
    kt_interrupted_fn interrupted; /* NULL: a call is never interrupted */
    void *interrupted_arg;
} kt_logger_t;
void kt_log(const kt_logger_t *logger, int level, const char *format, ...) KT_PRINTF(3, 4);
void kt_progress_tell(const kt_logger_t *logger, const char *what, uint64_t done, uint64_t total);

/* ---- bytes.c ---- */

/* Big-endian, as records and keys of rows have them. */
void kt_put_u64(unsigned char *at, uint64_t value);
uint64_t kt_get_u64(const unsigned char *at);
void kt_put_u32(unsigned char *at, uint32_t value);
uint32_t kt_get_u32(const unsigned char *at);

/* ---- debug.c ---- */

#ifdef KT_DEBUG_HOOKS
/* Stops (SIGSTOP) or with ":kill" kills this process at the point that KEYTURN_DEBUG_STOP names. */
void kt_debug_point(const char *point);
#else
#define kt_debug_point(point) ((void)0)
#endif

#endif /* KT_BASE_H */

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * status.c: what a call may answer, and the calling thread's error text.
 */
#include "base.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* One row a status, in the order of its number. The exit numbers are those of sysexits.h. */
static const struct {
    const char *name;
    int exit;
    const char *text;
} statuses[] = {
    [KT_SUCCESS] = {"success", 0, "done"},
    [KT_NOTFOUND] = {"notfound", 66, "there is no such secret, version or field"},
    [KT_GONE] = {"gone", 66, "the secret or version was deleted, disabled or has expired"},
    [KT_FORBIDDEN] = {"forbidden", 77, "the provider's service refuses us"},
    [KT_UNAVAIL] = {"unavail", 69, "the provider cannot be reached"},
    [KT_TRYAGAIN] = {"tryagain", 75, "the provider is busy for now: try again"},
    [KT_MALFORMED] = {"malformed", 65, "a record or value does not parse or fails its seal"},
    [KT_CONFLICT] = {"conflict", 73, "another writer was first, or the state does not allow it"},
    [KT_NOSPACE] = {"nospace", 74, "the disk is full or fails"},
    [KT_DENIED] = {"denied", 77, "the policy does not allow it"},
    [KT_AUDIT] = {"audit", 74, "refused because it cannot be recorded in the audit trail"},
    [KT_NOKEY] = {"nokey", 77, "no key for secrets of this type is held"},
    [KT_WRONGKEY] = {"wrongkey", 77, "the key that is held is not this store's"},
    [KT_ROLLEDBACK] = {"rolledback", 65, "the store is older than what was seen of it"},
    [KT_USAGE] = {"usage", 64, "a name, option or argument is wrong"},
    [KT_TOOLARGE] = {"toolarge", 65, "the value or its metadata is too large"},
    [KT_CONFIG] = {"config", 78, "the configuration is wrong"},
    [KT_PERMISSION] = {"permission", 77, "a file's owner or mode is refused, or it is unreadable"},
    [KT_INTERNAL] = {"internal", 70, "out of memory, or a fault in keyturn"},
    [KT_MOVED] = {"moved", 65, "the sealed secret found here belongs to another name"},
};

static _Thread_local char failure[KT_ERROR_SIZE];

static size_t status_row(kt_status_t status)
{
    return (unsigned)status < KT_ARRAY(statuses) ? (size_t)status : KT_INTERNAL;
}

const char *kt_status_name(kt_status_t status)
{
    return statuses[status_row(status)].name;
}

int kt_status_exit(kt_status_t status)
{
    return statuses[status_row(status)].exit;
}

const char *kt_status_text(kt_status_t status)
{
    return statuses[status_row(status)].text;
}

static bool upper_equal(const char *name, size_t len, const char *lower)
{
    if (strlen(lower) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] != toupper((unsigned char)lower[i]))
            return false;
    return true;
}

int kt_status_parse(const char *name, size_t len)
{
    for (size_t i = 0; i < KT_ARRAY(statuses); i++)
        if (upper_equal(name, len, statuses[i].name))
            return (int)i;
    return -1;
}

/* Operators read one line: what came from a file or a server cannot break it. */
void kt_flatten(char *text)
{
    for (; *text != '\0'; text++)
        if (kt_is_control(*text))
            *text = '?';
}

/*
 * The new text gets a buffer of its own, because an argument may be kt_failure() itself.
 * A failed vsnprintf leaves the status's own sentence.
 */
static void failure_set(kt_status_t status, const char *tail, const char *format, va_list args)
{
    char text[KT_ERROR_SIZE];
    int len = vsnprintf(text, sizeof(text), format, args);

    if (len < 0)
        len = snprintf(text, sizeof(text), "%s", kt_status_text(status));
    if (tail != NULL && (size_t)len < sizeof(text))
        snprintf(text + len, sizeof(text) - (size_t)len, "%s%s", *tail != '\0' ? ": " : "", tail);
    kt_flatten(text);
    memcpy(failure, text, sizeof(failure));
}

kt_status_t kt_fail(kt_status_t status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    failure_set(status, NULL, format, args);
    va_end(args);
    return status;
}

static _Thread_local bool lock_refused;

void kt_no_memory_to_lock(void)
{
    lock_refused = true;
}

kt_status_t kt_no_memory(void)
{
    if (!lock_refused)
        return kt_fail(KT_INTERNAL, "out of memory");
    lock_refused = false;
    return kt_fail(KT_CONFIG, "no more memory can be locked, and secret_memory is `require`: raise "
                              "RLIMIT_MEMLOCK (LimitMEMLOCK= of systemd, ulimit -l)");
}

kt_status_t kt_fail_prefix(kt_status_t status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    failure_set(status, failure, format, args);
    va_end(args);
    return status;
}

const char *kt_failure(void)
{
    return failure;
}

void kt_failure_clear(void)
{
    failure[0] = '\0';
}

void kt_failure_save(kt_failure_t *ret_saved, kt_status_t status)
{
    ret_saved->status = status;
    if (status != KT_SUCCESS)
        memcpy(ret_saved->text, failure, strlen(failure) + 1);
}

kt_status_t kt_failure_restore(const kt_failure_t *saved)
{
    return saved->status == KT_SUCCESS ? KT_SUCCESS : kt_fail(saved->status, "%s", saved->text);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel.c: a key file's text from the kernel's keyring: `keyctl padd user DESC @u < FILE`.
 *
 * By system calls: three of them do not justify a library. A key is readable for its
 * possessor only, and possessed is what hangs below a keyring of the process; the user's keyring
 * does not, after su or in a service. So that is linked into the thread's own keyring while we
 * read.
 */
#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "source.h"

#define DESCRIPTION_MAX 512u
#define GROUP_CHANGES 0x2400u /* write, set attributes */
#define OTHER_ANYTHING 0x3eu  /* all but view */

static long keyctl(int operation, long a, long b, long c, long d)
{
    return syscall(SYS_keyctl, operation, a, b, c, d);
}

static kt_status_t refused(const char *description)
{
    switch (errno) {
    case ENOKEY:
        return kt_fail(KT_CONFIG,
                       "there is no user key \"%s\" in the session's or the user's keyring: keyctl "
                       "padd user %s @u < KEYFILE",
                       description, description);
    case EKEYEXPIRED:
        return kt_fail(KT_CONFIG, "the key \"%s\" of the kernel's keyring has expired",
                       description);
    case EKEYREVOKED:
    case EKEYREJECTED:
        return kt_fail(KT_CONFIG, "the key \"%s\" of the kernel's keyring is revoked", description);
    case ENOSYS:
    case EOPNOTSUPP:
        return kt_fail(KT_CONFIG, "this kernel has no keyrings: use file: or exec:");
    case EPERM:
        return kt_fail(KT_PERMISSION,
                       "this kernel (or container) refuses keyrings: use file: or exec:");
    default:
        return kt_fail(KT_PERMISSION, "the key \"%s\" of the kernel's keyring: %s", description,
                       strerror(errno));
    }
}

/* The session's first, then the user's. */
static long find_key(const char *description)
{
    static const int keyrings[] = {KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING};
    long id = -1;
    size_t i;

    for (i = 0; i < KT_ARRAY(keyrings) && id < 0; i++) {
        id = keyctl(KEYCTL_SEARCH, keyrings[i], (long)"user", (long)description, 0);
        if (id < 0 && errno != ENOKEY)
            return -1;
    }
    return id;
}

/* "user;UID;GID;PERMISSIONS;DESCRIPTION" */
static kt_status_t check_key(long id, const char *description)
{
    char text[DESCRIPTION_MAX];
    unsigned uid, permissions;
    long size = keyctl(KEYCTL_DESCRIBE, id, (long)text, sizeof(text) - 1, 0);

    if (size < 0)
        return refused(description);
    text[(size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1] = '\0';
    if (sscanf(text, "user;%u;%*d;%x;", &uid, &permissions) != 2)
        return kt_fail(KT_PERMISSION, "the key \"%s\" of the kernel's keyring is not a user key",
                       description);
    if (uid != 0 && uid != geteuid())
        return kt_fail(KT_PERMISSION,
                       "the key \"%s\" of the kernel's keyring must belong to root or to uid %u, "
                       "not to uid %u",
                       description, (unsigned)geteuid(), uid);
    if ((permissions & (GROUP_CHANGES | OTHER_ANYTHING)) != 0)
        return kt_fail(KT_PERMISSION,
                       "the key \"%s\" of the kernel's keyring is open to others (0x%08x): keyctl "
                       "setperm %ld 0x3f010000",
                       description, permissions, id);
    return KT_SUCCESS;
}

/* It may be replaced by a longer one between the two calls: then it is refused, not cut. */
static kt_status_t read_key(long id, const char *description, char **ret_text, size_t *ret_size)
{
    long size = keyctl(KEYCTL_READ, id, 0, 0, 0), got;
    char *text;

    if (size < 0)
        return refused(description);
    text = kt_locked_alloc((size_t)size + 1);
    if (text == NULL)
        return kt_no_memory();
    got = keyctl(KEYCTL_READ, id, (long)text, size, 0);
    if (got != size) {
        kt_status_t status =
            got < 0
                ? refused(description)
                : kt_fail(KT_CONFIG, "the key \"%s\" was changed while it was read", description);

        kt_locked_free(text);
        return status;
    }
    *ret_text = text;
    *ret_size = (size_t)size;
    return KT_SUCCESS;
}

kt_status_t kt_kernel_key(const char *description, char **ret_text, size_t *ret_size)
{
    bool linked = keyctl(KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_THREAD_KEYRING, 0, 0) == 0;
    long id = find_key(description);
    kt_status_t status = id < 0 ? refused(description) : check_key(id, description);

    if (status == KT_SUCCESS)
        status = read_key(id, description, ret_text, ret_size);
    if (linked)
        (void)keyctl(KEYCTL_UNLINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_THREAD_KEYRING, 0, 0);
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * token.c: has something changed? The folder and the files that were read last are looked at, by
 * stat: a watch of the kernel would be one for each process, of which a user may have 128.
 *
 * A file's times move in steps of some milliseconds, so that a second change in the same step
 * cannot be seen. So a file that changed a moment ago counts as changing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>

#include "file.h"

#define STEP_NS 50000000 /* more than a step of the kernel's clock */

typedef struct mix {
    uint64_t a, b;
} mix_t;

static void mix_in(mix_t *mix, uint64_t value)
{
    mix->a = (mix->a ^ value) * 0x9e3779b97f4a7c15u;
    mix->a ^= mix->a >> 29;
    mix->b = (mix->b + value) * 0xbf58476d1ce4e5b9u;
    mix->b ^= mix->b >> 31;
}

static int64_t nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static void mix_stat(mix_t *mix, const char *path, int64_t now)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        mix_in(mix, (uint64_t)errno);
        return;
    }
    mix_in(mix, st.st_dev);
    mix_in(mix, st.st_ino);
    mix_in(mix, (uint64_t)st.st_size);
    mix_in(mix, st.st_mode);
    mix_in(mix, (uint64_t)nanoseconds(&st.st_mtim));
    mix_in(mix, (uint64_t)nanoseconds(&st.st_ctim));
    if (now - nanoseconds(&st.st_ctim) < STEP_NS && now >= nanoseconds(&st.st_ctim))
        mix_in(mix, (uint64_t)now);
}

void token_watch(ktp_instance_t *instance, const char *file)
{
    if (strlen(file) >= NAME_ROOM)
        return;
    for (size_t i = 0; i < WATCHED; i++) {
        if (strcmp(instance->watched[i], file) == 0)
            return;
    }
    (void)strcpy(instance->watched[instance->next], file);
    instance->next = (instance->next + 1) % WATCHED;
}

ktp_status_t token_of(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    int pointer = place_is_pointer(instance);
    mix_t mix = {1, 2};
    char path[PATH_MAX];
    struct timespec now;

    memset(ret_token, 0, KTP_TOKEN_SIZE);
    if (!instance->watch)
        return KTP_SUCCESS;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (!pointer) {
        ktp_status_t status = place_path(instance, path);

        if (status != KTP_SUCCESS)
            return status;
        mix_stat(&mix, path, nanoseconds(&now));
    }
    for (size_t i = 0; i < WATCHED; i++) {
        char whole[PATH_MAX + NAME_ROOM];

        if (instance->watched[i][0] == '\0')
            continue;
        if (pointer) {
            mix_stat(&mix, instance->watched[i], nanoseconds(&now));
            continue;
        }
        (void)strcpy(stpcpy(stpcpy(whole, path), "/"), instance->watched[i]);
        mix_stat(&mix, whole, nanoseconds(&now));
    }
    memcpy(ret_token, &mix, sizeof mix);
    return KTP_SUCCESS;
}

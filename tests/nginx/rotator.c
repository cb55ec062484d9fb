/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rotator.c: rotates a secret as fast as it can, for the tests of nginx under load.
 *
 *     rotator CONFIG NAME FIRST USER
 *
 * The first line of standard input is PASSWORD; each line after it asks for one more version, from
 * FIRST on, and the end of input ends it. Version N is the object
 * {"user": "USER-N", "password": "PASSWORD-N"}, set as a whole, because a rotation of such an
 * object would replace the password alone. Each version prints two lines, "begin N NS" before it
 * and "done N NS" when kt_put() has returned: NS is CLOCK_MONOTONIC, which is the same clock for
 * all processes.
 */
#define _GNU_SOURCE
#include <err.h>
#include <inttypes.h>
#include <keyturn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct rotator {
    kt_ctx_t *ctx;
    const char *name, *user;
    char password[128], subject[128];
} rotator_t;

static void say(const char *what, uint64_t version)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)printf("%s %" PRIu64 " %" PRId64 "\n", what, version,
                 (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
    (void)fflush(stdout);
}

static void rotate(const rotator_t *rotator, uint64_t wanted)
{
    kt_request_t req = KT_REQUEST_INIT;
    kt_secret_t *value;
    uint64_t version;
    char text[512];

    (void)snprintf(text, sizeof(text),
                   "{\"user\": \"%s-%" PRIu64 "\", \"password\": \"%s-%" PRIu64 "\"}",
                   rotator->user, wanted, rotator->password, wanted);
    value = kt_secret_new(text, strlen(text));
    explicit_bzero(text, sizeof(text));
    req.reference = rotator->name;
    req.subject = rotator->subject;
    if (kt_put(rotator->ctx, &req, value, NULL, &version) != KT_SUCCESS)
        errx(1, "%s", kt_error(rotator->ctx));
    kt_secret_free(value);
    if (version != wanted)
        errx(1, "version %" PRIu64 " instead of %" PRIu64, version, wanted);
}

int main(int argc, char **argv)
{
    rotator_t rotator = {0};
    kt_setup_t *setup = NULL;
    char line[8];

    if (argc != 5 || fgets(rotator.password, sizeof(rotator.password), stdin) == NULL)
        errx(64, "usage: rotator CONFIG NAME FIRST USER");
    rotator.password[strcspn(rotator.password, "\n")] = '\0';
    if (kt_setup(argv[1], "cli", &setup) != KT_SUCCESS ||
        kt_open(setup, &rotator.ctx) != KT_SUCCESS)
        errx(1, "%s", kt_setup_error(setup));
    (void)snprintf(rotator.subject, sizeof(rotator.subject), "uid:%s",
                   kt_setup_stream(setup) + strlen("cli-"));
    rotator.name = argv[2];
    rotator.user = argv[4];
    for (uint64_t version = strtoull(argv[3], NULL, 10);
         fgets(line, sizeof(line), stdin) != NULL; version++) {
        say("begin", version);
        rotate(&rotator, version);
        say("done", version);
    }
    kt_close(rotator.ctx);
    kt_setup_free(setup);
    return 0;
}

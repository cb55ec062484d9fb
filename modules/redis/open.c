/* SPDX-License-Identifier: BSD-2-Clause */
/* open.c: a connection is made: TCP or a unix socket, TLS, log-in, database. */
#include "open.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tls.h"

#define PASSWORDS_MAX 8u /* sources of `password` that are tried */

/* An answer of no interest. */
static ktp_status_t run(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
                        const kr_argument_t *arguments, size_t count)
{
    redisReply *reply = NULL;
    ktp_status_t status = kr_exchange(instance, connection, deadline, arguments, count, &reply);

    if (status == KTP_SUCCESS)
        freeReplyObject(reply);
    return status;
}

/* ---- log-in ---- */

static ktp_status_t try_password(ktp_instance_t *instance, kr_connection_t *connection,
                                 int64_t deadline, const char *password, size_t size)
{
    kr_argument_t arguments[3] = {KR_TEXT("AUTH")};
    ktp_status_t status;
    size_t count = 1;

    if (instance->username != NULL)
        arguments[count++] = (kr_argument_t){instance->username, strlen(instance->username)};
    arguments[count++] = (kr_argument_t){password, size};
    status = run(instance, connection, deadline, arguments, count);
    if (status == KTP_UNAVAIL &&
        connection->context != NULL) /* a refusal that has no word of its own, too */
        return kr_fail(instance, KTP_FORBIDDEN, "%s", KR_WRONG_PASSWORD);
    return status;
}

size_t kr_trim(const void *text, size_t size)
{
    const char *bytes = text;

    /* a file that an editor wrote ends with a newline */
    if (size > 0 && bytes[size - 1] == '\n')
        size--;
    if (size > 0 && bytes[size - 1] == '\r')
        size--;
    return size;
}

/* Keeps the password that the server took. */
static void keep(ktp_instance_t *instance, ktp_buffer_t *password)
{
    const ktp_services_t *services = instance->services;

    if (instance->kept.data != NULL)
        services->secret_free(services->host, instance->kept.data);
    instance->kept = *password;
    instance->password = (const char *)password->data;
    instance->password_size = kr_trim(password->data, password->size);
}

/* All sources of the password as they are now. KTP_FORBIDDEN: the server takes none. */
static ktp_status_t read_again(ktp_instance_t *instance, kr_connection_t *connection,
                               int64_t deadline)
{
    const ktp_services_t *services = instance->services;
    ktp_status_t status = KTP_FORBIDDEN, found;
    ktp_buffer_t password;

    for (size_t i = 0; i < PASSWORDS_MAX && status == KTP_FORBIDDEN; i++) {
        memset(&password, 0, sizeof(password));
        found = services->secret(services->host, instance->password_option, i, &password);
        if (found == KTP_NOTFOUND)
            break;
        if (found != KTP_SUCCESS)
            continue; /* the one that is not there yet, or not any more */
        status = try_password(instance, connection, deadline, (const char *)password.data,
                              kr_trim(password.data, password.size));
        if (status == KTP_SUCCESS)
            keep(instance, &password);
        else
            services->secret_free(services->host, password.data);
    }
    return status;
}

static ktp_status_t log_in(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline)
{
    ktp_status_t status;

    if (instance->password == NULL)
        return KTP_SUCCESS;
    status = try_password(instance, connection, deadline, instance->password,
                          instance->password_size);
    if (status == KTP_FORBIDDEN && instance->password_option != NULL)
        status = read_again(instance, connection, deadline);
    /* our own trouble says nothing of the secret: what is cached is served meanwhile */
    instance->refusal = status == KTP_FORBIDDEN ? KR_LOG_IN : KR_OTHER;
    return status == KTP_FORBIDDEN ? KTP_UNAVAIL : status;
}

static ktp_status_t choose_db(ktp_instance_t *instance, kr_connection_t *connection,
                              int64_t deadline)
{
    kr_argument_t arguments[2] = {KR_TEXT("SELECT")};
    char number[24];

    if (instance->db == 0)
        return KTP_SUCCESS;
    arguments[1] = (kr_argument_t){
        number, (size_t)snprintf(number, sizeof(number), "%lld", (long long)instance->db)};
    return run(instance, connection, deadline, arguments, 2);
}

/* ---- connecting ---- */

static redisContext *connect_within(const ktp_instance_t *instance, int64_t deadline)
{
    int64_t left = deadline - kr_clock();
    struct timeval timeout;

    if (left < 1)
        left = 1;
    timeout.tv_sec = left / 1000;
    timeout.tv_usec = left % 1000 * 1000;
    if (instance->host == NULL)
        return redisConnectUnixWithTimeout(instance->path, timeout);
    return redisConnectWithTimeout(instance->host, instance->port, timeout);
}

/* A server that went without a word is noticed within 25 s, also by a connection that only waits.
 */
static void keep_alive(int fd)
{
    static const int yes = 1, idle = 10, interval = 5, count = 3, unheard = 20000;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard, sizeof(unheard));
}

ktp_status_t kr_open(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline)
{
    redisContext *context = connect_within(instance, deadline);
    ktp_status_t status = KTP_SUCCESS;

    instance->refusal = KR_OTHER;
    if (context == NULL || context->err != 0) {
        status = kr_fail(instance, KTP_UNAVAIL, "cannot connect: %.128s",
                         context != NULL ? context->errstr : "out of memory");
        redisFree(context);
        return status;
    }
    connection->context = context;
    fcntl(context->fd, F_SETFD, FD_CLOEXEC);
    if (instance->host != NULL)
        keep_alive(context->fd);
    if (instance->secure)
        status = kr_tls_start(instance, connection, deadline);
    if (status == KTP_SUCCESS)
        status = log_in(instance, connection, deadline);
    if (status == KTP_SUCCESS)
        status = choose_db(instance, connection, deadline);
    if (status != KTP_SUCCESS)
        kr_close(connection);
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn get REFERENCE: the bytes of a value, and nothing else. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* A terminal obeys control characters; U+0080 to U+009F are some too. */
static bool is_control(const unsigned char *p, size_t left)
{
    if (*p == 0xc2 && left > 1 && p[1] < 0xa0)
        return true;
    return (*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f;
}

static kt_status_t show(cli_t *cli, const kt_secret_t *value)
{
    const unsigned char *bytes = kt_secret_bytes(value);
    size_t size = kt_secret_size(value), from = 0;
    json_t *text = json_stringn((const char *) bytes, size);  /* NULL: not UTF-8 */
    bool utf8 = text != NULL;
    kt_status_t status = KT_SUCCESS;

    json_decref(text);
    for (size_t i = 0; i <= size && !status; i++) {
        char escape[5];

        if (i < size && !is_control(bytes + i, size - i) && (utf8 || bytes[i] < 0x80))
            continue;
        status = cli_write(cli, bytes + from, i - from);
        from = i + 1;
        if (status || i == size)
            break;
        snprintf(escape, sizeof escape, "\\x%02x", bytes[i]);
        status = cli_write(cli, escape, 4);
        explicit_bzero(escape, sizeof escape);
    }
    if (!status && (size == 0 || bytes[size - 1] != '\n'))
        status = cli_write(cli, "\n", 1);
    return status;
}

static kt_status_t answer_json(cli_t *cli, const char *reference, const kt_secret_t *value)
{
    json_t *object = json_pack("{s:s%, s:I}", "name", reference, strcspn(reference, "#@"), "version",
                               (json_int_t) kt_secret_version(value));
    kt_secret_t *encoded = NULL;
    json_t *text;

    if (!cli_given(cli, "reveal"))
        return cli_answer(cli, object);
    text = json_stringn((const char *) kt_secret_bytes(value), kt_secret_size(value));  /* NULL: not UTF-8 */
    if (text) {
        json_object_set_new(object, "value", text);
    } else if (kt_secret_encode(value, KT_ENCODE_BASE64, &encoded) == KT_SUCCESS) {
        json_object_set_new(object, "value_base64",
                            json_stringn((const char *) kt_secret_bytes(encoded), kt_secret_size(encoded)));
    } else {
        json_decref(object);
        object = NULL;
    }
    kt_secret_free(encoded);
    return cli_answer(cli, object);
}

static void warn_of_readers(const cli_t *cli)
{
    struct stat st;

    if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & (S_IRGRP | S_IROTH)))
        cli_warn(cli, "others may read the file that this value is written to (umask 077 first)");
}

kt_status_t verb_get(cli_t *cli)
{
    const char *reference = cli->args[0], *why = "";
    kt_secret_t *value = NULL;
    kt_request_t req;
    kt_status_t status;

    if (kt_reference_check(reference, 0, &why) != KT_SUCCESS)
        return cli_fail(cli, KT_USAGE, "not a reference: %s", why);
    status = cli_open(cli);
    if (status)
        return status;
    req = cli_request(cli, reference);
    status = kt_get(cli->ctx, &req, &value);
    if (status) {
        status = cli_fail_ctx(cli, status);
    } else if (cli->json) {
        status = answer_json(cli, reference, value);
    } else if (!isatty(STDOUT_FILENO)) {
        warn_of_readers(cli);
        status = cli_write(cli, kt_secret_bytes(value), kt_secret_size(value));
    } else if (cli_given(cli, "reveal")) {
        status = show(cli, value);
    } else {
        status = cli_write(cli, "[MASKED]\n", 9);
    }
    kt_secret_free(value);
    return status;
}

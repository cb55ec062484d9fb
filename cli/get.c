/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn get REFERENCE: writes the bytes of a value, and nothing else. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* A terminal also obeys U+0080 to U+009F, which are c2 80 to c2 9f. */
static bool is_control(const unsigned char *bytes, size_t i, size_t size)
{
    unsigned char c = bytes[i];

    if (c == 0xc2 && i + 1 < size && bytes[i + 1] < 0xa0)
        return true;
    if (c >= 0x80 && c < 0xa0 && i > 0 && bytes[i - 1] == 0xc2)
        return true;
    return cli_is_control((char)c) && c != '\n' && c != '\t';
}

static kt_status_t show(cli_t *cli, const kt_secret_t *value)
{
    const unsigned char *bytes = kt_secret_bytes(value);
    size_t size = kt_secret_size(value), from = 0;
    json_t *text = json_stringn((const char *)bytes, size); /* NULL: not UTF-8 */
    bool utf8 = text != NULL;
    kt_status_t status = KT_SUCCESS;

    json_decref(text);
    for (size_t i = 0; i <= size && !status; i++) {
        char escape[5];

        if (i < size && !is_control(bytes, i, size) && (utf8 || bytes[i] < 0x80))
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

/* kt_secret_encode() has the size limit of a value, which base64 may exceed. */
static json_t *json_base64(const kt_secret_t *value)
{
    const int variant = sodium_base64_VARIANT_ORIGINAL;
    size_t size = kt_secret_size(value), room = sodium_base64_encoded_len(size, variant);
    char *text = malloc(room);
    json_t *string;

    if (!text)
        return NULL;
    string = json_string(sodium_bin2base64(text, room, kt_secret_bytes(value), size, variant));
    explicit_bzero(text, room);
    free(text);
    return string;
}

static json_t *name_and_version(const char *reference, const kt_secret_t *value)
{
    return json_pack("{s:s%, s:I}", "name", reference, strcspn(reference, "#@"), "version",
                     (json_int_t)kt_secret_version(value));
}

static kt_status_t answer_json(cli_t *cli, const char *reference, const kt_secret_t *value)
{
    json_t *object = name_and_version(reference, value), *text;

    if (!cli_given(cli, "reveal"))
        return cli_answer(cli, object);
    /* NULL: not UTF-8 */
    text = json_stringn((const char *)kt_secret_bytes(value), kt_secret_size(value));
    if (text)
        json_object_set_new(object, "value", text);
    else if (json_object_set_new(object, "value_base64", json_base64(value)) != 0)
        return cli_no_memory(cli);
    return cli_answer(cli, object);
}

/* Writes the mask in place of the value. */
static kt_status_t answer_mask(cli_t *cli, const char *reference, const kt_secret_t *value,
                               int style)
{
    kt_secret_t *mask = NULL;
    kt_status_t status = kt_mask(value, (kt_mask_style_t)style, &mask);

    if (status)
        return cli_check(cli, status, NULL);
    if (cli->json) {
        json_t *object = name_and_version(reference, value);

        json_object_set_new(
            object, "masked",
            json_stringn((const char *)kt_secret_bytes(mask), kt_secret_size(mask)));
        status = cli_answer(cli, object);
    } else {
        status = cli_write(cli, kt_secret_bytes(mask), kt_secret_size(mask));
        if (!status)
            status = cli_write(cli, "\n", 1);
    }
    kt_secret_free(mask);
    return status;
}

static void warn_of_readers(const cli_t *cli)
{
    struct stat st;

    if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & (S_IRGRP | S_IROTH)))
        cli_warn(cli, "other users may read the file that gets the value (use umask 077)");
}

/* The terminal may end in a file: script(1), `ssh -t` and `docker exec -t` make one for a command
 * whose output is redirected. A mask on stdout would be taken for the value there. */
static kt_status_t refuse_terminal(cli_t *cli)
{
    return cli_fail(cli, KT_PERMISSION,
                    "[MASKED]: a terminal does not get the value (--reveal shows it there; a pipe "
                    "or a file gets its bytes)");
}

kt_status_t verb_get(cli_t *cli)
{
    const char *reference = cli->args[0], *why = "", *mask = cli_given(cli, "mask");
    kt_secret_t *value = NULL;
    kt_request_t req;
    kt_status_t status;

    if (kt_reference_check(reference, 0, &why) != KT_SUCCESS)
        return cli_fail(cli, KT_USAGE, "not a reference: %s", why);
    if (mask && (kt_mask_parse(mask) < 0 || cli_given(cli, "reveal")))
        return cli_fail(cli, KT_USAGE, "--mask is full or partial, and excludes --reveal");
    status = cli_open_for(cli, reference, &req);
    if (status)
        return status;
    status = kt_get(cli->ctx, &req, &value);
    if (!status)
        status = kt_audit_flush(cli->ctx, 0); /* nothing is shown before it is recorded */
    if (status) {
        status = cli_check_ctx(cli, status);
    } else if (mask) {
        status = answer_mask(cli, reference, value, kt_mask_parse(mask));
    } else if (cli->json) {
        status = answer_json(cli, reference, value);
    } else if (!isatty(STDOUT_FILENO)) {
        warn_of_readers(cli);
        status = cli_write(cli, kt_secret_bytes(value), kt_secret_size(value));
    } else if (cli_given(cli, "reveal")) {
        status = show(cli, value);
    } else {
        status = refuse_terminal(cli);
    }
    kt_secret_free(value);
    return status;
}

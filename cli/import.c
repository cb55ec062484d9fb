/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn import: copies the secrets of an older store. Three passes, so that an import that cannot
 * succeed changes nothing: all values are decrypted and named, then compared with the store, then
 * written, each by a compare-and-set of its own. If the third pass ends early, the same command
 * continues it, because it leaves equal secrets alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "fernet.h"

#define KEYS_MAX 10000u

typedef struct {
    char name[KT_NAME_MAX + 1];
    kt_secret_t *value;
    uint64_t version;   /* the current one, which will be replaced; 0: none */
    const char *result; /* "new", "replaced", "unchanged" */
} item_t;

typedef struct {
    cli_t *cli;
    fernet_key_t key;
    item_t *items;
    size_t count;
    unsigned refused;   /* keys; one is enough that nothing is written */
    kt_status_t status; /* of the last of them */
} import_t;

/* Reports that a key cannot be imported: every one, not only the first. Returns false. */
static bool refuse(import_t *import, kt_status_t status, const char *name, const char *why)
{
    import->refused++;
    import->status = status;
    cli_say("%s: %s", name, why);
    return false;
}

/* ---- files ---- */

static kt_status_t read_key(import_t *import)
{
    const char *path = cli_given(import->cli, "key");
    char *text = NULL;
    size_t size = 0;
    kt_status_t status = cli_read_file(import->cli, path, 4096, &text, &size);

    if (!status && !fernet_key(text, size, &import->key))
        status = cli_fail(import->cli, KT_MALFORMED, "%s: not a Fernet key (32 bytes in base64url)",
                          path);
    cli_drop(text, size);
    return status;
}

/* NULL: *ret_why says why. The library reads no integer of more than 64 bits; Python writes them.
 */
static json_t *parse(const char *text, size_t size, const char **ret_why)
{
    json_error_t error;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

    if (json_is_object(object))
        return object;
    *ret_why = !object && json_error_code(&error) == json_error_numeric_overflow
                   ? "a number in it is too large to be read exactly: write it as a string there"
                   : "it does not hold a JSON object of names and values";
    json_decref(object);
    explicit_bzero(&error, sizeof error); /* the text near the fault */
    return NULL;
}

/* The file is the token of a JSON object, or a JSON object of tokens. */
static kt_status_t read_store(import_t *import, json_t **ret_object, bool *ret_tokens)
{
    const char *path = cli_given(import->cli, "fernet"), *why = NULL;
    char *text = NULL, *plain = NULL;
    size_t size = 0, plain_size = 0;
    kt_status_t status = cli_read_file(import->cli, path, FERNET_MAX, &text, &size);

    if (status)
        return status;
    *ret_tokens = size > 0 && (text[0] == '{' || text[strspn(text, " \t\r\n")] == '{');
    if (!*ret_tokens)
        why = fernet_open(&import->key, text, size, &plain, &plain_size);
    if (why)
        status = cli_fail(import->cli, KT_MALFORMED, "%s: %s", path, why);
    else
        *ret_object = *ret_tokens ? parse(text, size, &why) : parse(plain, plain_size, &why);
    if (!status && !*ret_object)
        status = cli_fail(import->cli, KT_MALFORMED, "%s: %s", path, why);
    cli_drop(plain, plain_size);
    cli_drop(text, size);
    return status;
}

/* ---- names ---- */

/* The name that --map gives this key, or NULL. */
static const char *mapped(const cli_t *cli, const char *key)
{
    size_t size = strlen(key);

    for (size_t i = 0; i < cli->ngiven; i++) {
        const char *value = cli->given[i].value;

        if (strcmp(cli->given[i].option->name, "map") == 0 && strncmp(value, key, size) == 0 &&
            value[size] == '=')
            return value + size + 1;
    }
    return NULL;
}

/* The name without our environment in front of it; NULL: another environment is in front. */
static const char *without_environment(const cli_t *cli, const char *key)
{
    char first[64];
    size_t size = strcspn(key, "/");
    const char *environment;

    if (key[size] != '/' || size >= sizeof first)
        return key;
    memcpy(first, key, size);
    first[size] = '\0';
    environment = cli_environment(first);
    if (environment && strcmp(environment, kt_setup_environment(cli->setup)) == 0)
        return key + size + 1;
    if (environment &&
        (strcmp(environment, "development") == 0 || strcmp(environment, "staging") == 0 ||
         strcmp(environment, "production") == 0))
        return NULL;
    return key;
}

static bool name_item(import_t *import, const char *key, item_t *item)
{
    const char *name = mapped(import->cli, key), *why = "";
    const char *prefix = cli_given(import->cli, "prefix");
    int length;

    if (name) {
        length = snprintf(item->name, sizeof item->name, "%s", name);
    } else {
        name = without_environment(import->cli, key);
        if (!name)
            return refuse(import, KT_DENIED, key,
                          "it belongs to another environment than the configuration");
        length = snprintf(item->name, sizeof item->name, "%s%s", prefix ? prefix : "", name);
    }
    if (length >= (int)sizeof item->name || kt_name_check(item->name, 0, &why) != KT_SUCCESS)
        return refuse(import, KT_USAGE, key,
                      why && why[0] ? why : "a name must not have more than 255 bytes");
    for (item_t *other = import->items; other < import->items + import->count; other++)
        if (strcmp(other->name, item->name) == 0)
            return refuse(import, KT_USAGE, key,
                          "another key gets the same name (give one of them a --map)");
    return true;
}

/* ---- values ---- */

static bool set_value(import_t *import, const char *key, const char *bytes, size_t size,
                      item_t *item)
{
    if (size == 0)
        return refuse(import, KT_USAGE, key, "its value is empty");
    item->value = size <= KT_VALUE_MAX ? kt_secret_new(bytes, size) : NULL;
    if (!item->value)
        refuse(import, size > KT_VALUE_MAX ? KT_TOOLARGE : KT_INTERNAL, key,
               size > KT_VALUE_MAX ? "its value has more than 64 KiB" : "out of memory");
    return item->value != NULL;
}

static bool decrypt_value(import_t *import, const char *key, const json_t *value, item_t *item)
{
    char *plain = NULL;
    size_t size = 0;
    const char *why = json_is_string(value) ? fernet_open(&import->key, json_string_value(value),
                                                          json_string_length(value), &plain, &size)
                                            : FERNET_NO_TOKEN;
    bool good = false;

    if (why)
        refuse(import, KT_MALFORMED, key, why);
    else
        good = set_value(import, key, plain, size, item);
    cli_drop(plain, size);
    return good;
}

/* A string is the value; an object, a number, true and false are imported as their JSON text. */
static bool copy_value(import_t *import, const char *key, const json_t *value, item_t *item)
{
    char *text;
    bool good;

    if (json_is_string(value))
        return set_value(import, key, json_string_value(value), json_string_length(value), item);
    if (json_is_array(value) || json_is_null(value))
        return refuse(import, KT_MALFORMED, key, "its value is a list or null");
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return refuse(import, KT_INTERNAL, key, "out of memory");
    good = set_value(import, key, text, strlen(text), item);
    cli_json_free(text);
    return good;
}

static kt_status_t read_items(import_t *import, json_t *object, bool tokens)
{
    const char *key;
    json_t *value;

    if (json_object_size(object) > KEYS_MAX)
        return cli_fail(import->cli, KT_TOOLARGE, "more than %u keys in one file", KEYS_MAX);
    import->items = calloc(json_object_size(object) + 1, sizeof *import->items);
    if (!import->items)
        return cli_no_memory(import->cli);
    json_object_foreach(object, key, value)
    {
        item_t *item = &import->items[import->count];

        if (name_item(import, key, item) && (tokens ? decrypt_value(import, key, value, item)
                                                    : copy_value(import, key, value, item)))
            import->count++;
    }
    return KT_SUCCESS;
}

/* ---- the store ---- */

static void compare(import_t *import, item_t *item)
{
    kt_request_t req = cli_request(import->cli, item->name);
    kt_secret_t *old = NULL;
    kt_info_t *info = NULL;
    kt_status_t status = kt_info(import->cli->ctx, &req, &info);

    item->result = "new";
    if (status == KT_NOTFOUND)
        return;
    req.purpose = "check";
    if (!status) {
        /* a compare-and-set treats a deleted secret as a missing one */
        if (strcmp(kt_info_entry(info)->state, "deleted") != 0)
            item->version = kt_info_entry(info)->version;
        status = kt_get(import->cli->ctx, &req, &old);
    }
    kt_info_free(info);
    item->result = "replaced";
    if (!status && kt_secret_equal(old, kt_secret_bytes(item->value), kt_secret_size(item->value)))
        item->result = "unchanged";
    else if (status && status != KT_GONE)
        refuse(import, status, item->name, kt_error(import->cli->ctx));
    else if (!cli_given(import->cli, "replace"))
        refuse(import, KT_CONFLICT, item->name,
               status ? "it was deleted or has expired (--replace makes a new version)"
                      : "it exists with another value (--replace makes a new version)");
    else if ((status = kt_put_check(import->cli->ctx, &req, NULL)) != KT_SUCCESS)
        refuse(import, status, item->name, kt_error(import->cli->ctx));
    kt_secret_free(old);
}

static kt_status_t write_item(import_t *import, item_t *item)
{
    kt_put_options_t options = KT_PUT_INIT;
    kt_request_t req = cli_request(import->cli, item->name);
    kt_status_t status;

    if (strcmp(item->result, "unchanged") == 0 || cli_given(import->cli, "dry-run"))
        return KT_SUCCESS;
    options.cas = (int64_t)item->version;
    options.force = 1; /* --replace asks for it, and compare() has looked who knows the old value */
    status = kt_put(import->cli->ctx, &req, item->value, &options, &item->version);
    return status ? cli_fail(import->cli, status, "%s (the same command continues from here)",
                             kt_error(import->cli->ctx))
                  : KT_SUCCESS;
}

static kt_status_t answer(import_t *import)
{
    bool dry = cli_given(import->cli, "dry-run") != NULL;
    json_t *secrets = json_array();

    for (item_t *item = import->items; item < import->items + import->count; item++) {
        if (!import->cli->json)
            printf("%-10s%s\n", item->result, item->name);
        json_array_append_new(secrets,
                              json_pack("{s:s, s:I, s:s}", "name", item->name, "version",
                                        (json_int_t)item->version, "result", item->result));
    }
    if (import->cli->json)
        return cli_answer(import->cli, json_pack("{s:o, s:b}", "secrets", secrets, "dry_run", dry));
    json_decref(secrets);
    return KT_SUCCESS;
}

static kt_status_t run(import_t *import)
{
    json_t *object = NULL;
    bool tokens = false;
    kt_status_t status = read_key(import);

    if (!status)
        status = read_store(import, &object, &tokens);
    if (!status)
        status = read_items(import, object, tokens);
    json_decref(object); /* wipes */
    for (size_t i = 0; !status && i < import->count; i++)
        compare(import, &import->items[i]);
    if (!status && import->refused > 0)
        status =
            cli_fail(import->cli, import->status,
                     "nothing was imported: %u of the keys cannot be imported", import->refused);
    for (size_t i = 0; !status && i < import->count; i++)
        status = write_item(import, &import->items[i]);
    return status ? status : answer(import);
}

kt_status_t verb_import(cli_t *cli)
{
    import_t import = {.cli = cli};
    kt_status_t status;

    if (!cli_given(cli, "fernet") || !cli_given(cli, "key"))
        return cli_fail(cli, KT_USAGE, "import needs --fernet STORE and --key FILE");
    status = cli_open(cli);
    if (!status)
        status = run(&import);
    for (size_t i = 0; i < import.count; i++)
        kt_secret_free(import.items[i].value);
    free(import.items);
    explicit_bzero(&import.key, sizeof import.key);
    return status;
}

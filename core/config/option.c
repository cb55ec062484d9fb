/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * option.c: maps are read by their tables, and the kinds of values that several tables share.
 *
 * Every error names file and line and, for an unknown key, the nearest known one. No error shows a
 * value: only keys, and names that one chooses from.
 */
#include "option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 16u /* of one table */
#define BLANK " \t\n"
#define SHOWN_MAX 40u /* bytes of a key that an error repeats */

/* What was read as a key may be a value in the wrong place, or a line of another file altogether.
 */
static bool may_be_shown(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");

    return size > 0 && size <= SHOWN_MAX && text[size] == '\0';
}

kt_status_t kt_option_unknown(const kt_config_t *config, const char *what, const kt_yaml_t *text,
                              const char *const *names)
{
    const char *nearest = kt_nearest(text->text, names);
    const char *quote = may_be_shown(text->text) ? "`" : "";
    const char *shown = *quote != '\0' ? text->text : "(not shown)";
    char known[256] = "";

    if (nearest != NULL)
        return kt_config_fail(config->path, text->line, "unknown %s %s%s%s (did you mean `%s`?)",
                              what, quote, shown, quote, nearest);
    for (size_t i = 0; names[i] != NULL; i++) {
        strncat(known, i > 0 ? ", " : "", sizeof(known) - strlen(known) - 1);
        strncat(known, names[i], sizeof(known) - strlen(known) - 1);
    }
    return kt_config_fail(config->path, text->line, "unknown %s %s%s%s (known: %s)", what, quote,
                          shown, quote, known);
}

/* ---- A map and its table ---- */

static kt_status_t check_known(const kt_config_t *config, const kt_yaml_t *map,
                               const kt_option_t *options)
{
    const char *names[OPTIONS_MAX + 1] = {NULL};

    for (size_t i = 0; options[i].name != NULL; i++)
        names[i] = options[i].name;
    for (size_t i = 0; i < map->count; i += 2) {
        size_t row = 0;

        while (names[row] != NULL && strcmp(map->items[i]->text, names[row]) != 0)
            row++;
        if (names[row] == NULL)
            return kt_option_unknown(config, "key", map->items[i], names);
    }
    return KT_SUCCESS;
}

/* A default is read like a value of the file: "{}" is an empty map, all others are texts. */
static kt_status_t read_preset(kt_config_t *config, const kt_option_t *option, void *field)
{
    bool map = strcmp(option->preset, "{}") == 0;
    const kt_yaml_t value = {.kind = map ? KT_YAML_MAP : KT_YAML_TEXT,
                             .text = (char *)(uintptr_t)option->preset};

    return option->kind->read(config, option, &value, field);
}

static kt_status_t read_option(kt_config_t *config, const kt_option_t *option,
                               const kt_yaml_t *value, void *field)
{
    if (option->kind == NULL)
        return kt_config_fail(config->path, value->line, "`%s`: not available in this version",
                              option->name);
    if (value->null)
        return kt_config_fail(config->path, value->line, "`%s`: the value is missing",
                              option->name);
    return option->kind->read(config, option, value, field);
}

kt_status_t kt_options_read(kt_config_t *config, const char *what, const kt_yaml_t *map,
                            const kt_option_t *options, void *into)
{
    kt_status_t status;

    if (map->kind != KT_YAML_MAP)
        return kt_config_fail(config->path, map->line,
                              "%s: not a map (write lines such as `key: value`)", what);
    status = check_known(config, map, options);
    for (; status == KT_SUCCESS && options->name != NULL; options++) {
        const kt_yaml_t *value = kt_yaml_at(map, options->name);
        void *field = (char *)into + options->offset;

        if (value != NULL)
            status = read_option(config, options, value, field);
        else if (options->required)
            status =
                kt_config_fail(config->path, map->line, "%s: `%s` is missing", what, options->name);
        else if (options->preset != NULL)
            status = read_preset(config, options, field);
    }
    return status;
}

void kt_options_release(const kt_option_t *options, void *from)
{
    for (; options->name != NULL; options++)
        if (options->kind != NULL && options->kind->release != NULL)
            options->kind->release(options, (char *)from + options->offset);
}

static kt_status_t read_map(kt_config_t *config, const kt_option_t *option, const kt_yaml_t *value,
                            void *field)
{
    char what[64];

    (void)snprintf(what, sizeof(what), "`%s`", option->name);
    return kt_options_read(config, what, value, option->options, field);
}

static void release_map(const kt_option_t *option, void *field)
{
    kt_options_release(option->options, field);
}

const kt_option_kind_t kt_option_map = {read_map, release_map};

/* ---- Texts ---- */

kt_status_t kt_option_check_text(const kt_config_t *config, const char *key, const kt_yaml_t *value)
{
    if (value->kind != KT_YAML_TEXT)
        return kt_config_fail(config->path, value->line, "`%.64s`: not a string", key);
    if (value->null || value->text[0] == '\0')
        return kt_config_fail(config->path, value->line, "`%.64s`: the value is missing", key);
    return KT_SUCCESS;
}

kt_status_t kt_option_read_text(kt_config_t *config, const kt_option_t *option,
                                const kt_yaml_t *value, void *field)
{
    kt_status_t status = kt_option_check_text(config, option->name, value);
    char **text = field;

    if (status != KT_SUCCESS)
        return status;
    if (option->most != NULL && strlen(value->text) > strtoul(option->most, NULL, 10))
        return kt_config_fail(config->path, value->line, "`%s`: longer than %s bytes", option->name,
                              option->most);
    *text = strdup(value->text);
    return *text != NULL ? KT_SUCCESS : kt_no_memory();
}

static kt_status_t read_path(kt_config_t *config, const kt_option_t *option, const kt_yaml_t *value,
                             void *field)
{
    kt_status_t status = kt_option_check_text(config, option->name, value);
    char **path = field;

    if (status != KT_SUCCESS)
        return status;
    *path = kt_config_resolve(config, value->text);
    return *path != NULL ? KT_SUCCESS : kt_no_memory();
}

void kt_option_release_text(const kt_option_t *option, void *field)
{
    (void)option;
    free(*(char **)field);
}

const kt_option_kind_t kt_option_text = {kt_option_read_text, kt_option_release_text};
const kt_option_kind_t kt_option_path = {read_path, kt_option_release_text};

static kt_status_t read_list(kt_config_t *config, const kt_option_t *option, const kt_yaml_t *value,
                             void *field)
{
    char **list = calloc(value->count + 1, sizeof(*list));
    kt_status_t status = list != NULL ? KT_SUCCESS : kt_no_memory();

    *(char ***)field = list;
    if (status == KT_SUCCESS && value->kind != KT_YAML_LIST)
        return kt_config_fail(config->path, value->line, "`%s`: not a list (write [ONE, ANOTHER])",
                              option->name);
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i++) {
        status = kt_option_check_text(config, option->name, value->items[i]);
        if (status != KT_SUCCESS)
            break;
        list[i] = strdup(value->items[i]->text);
        status = list[i] != NULL ? KT_SUCCESS : kt_no_memory();
    }
    return status;
}

static void release_list(const kt_option_t *option, void *field)
{
    char **list = *(char ***)field;

    (void)option;
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        free(list[i]);
    free(list);
}

const kt_option_kind_t kt_option_list = {read_list, release_list};

/* ---- Numbers and choices ---- */

static kt_status_t read_bool(kt_config_t *config, const kt_option_t *option, const kt_yaml_t *value,
                             void *field)
{
    bool plain = value->kind == KT_YAML_TEXT && !value->quoted;

    if (!plain || (strcmp(value->text, "true") != 0 && strcmp(value->text, "false") != 0))
        return kt_config_fail(config->path, value->line,
                              "`%s`: not a boolean (write true or false, without quotes)",
                              option->name);
    *(bool *)field = value->text[0] == 't';
    return KT_SUCCESS;
}

const kt_option_kind_t kt_option_bool = {read_bool, NULL};

static kt_status_t read_duration(kt_config_t *config, const kt_option_t *option,
                                 const kt_yaml_t *value, void *field)
{
    int64_t duration = value->kind == KT_YAML_TEXT ? kt_duration_parse(value->text) : -1;

    if (duration < 0)
        return kt_config_fail(config->path, value->line,
                              "`%s`: not a duration (write 250ms, 300s, 12h or 90d)", option->name);
    if (option->most != NULL &&
        (duration < kt_duration_parse(option->least) || duration > kt_duration_parse(option->most)))
        return kt_config_fail(config->path, value->line, "`%s`: out of range (from %s to %s)",
                              option->name, option->least, option->most);
    *(int64_t *)field = duration;
    return KT_SUCCESS;
}

const kt_option_kind_t kt_option_duration = {read_duration, NULL};

static kt_status_t read_size(kt_config_t *config, const kt_option_t *option, const kt_yaml_t *value,
                             void *field)
{
    int64_t size = value->kind == KT_YAML_TEXT ? kt_size_parse(value->text) : -1;

    if (size < kt_size_parse(option->least) || size > kt_size_parse(option->most))
        return kt_config_fail(
            config->path, value->line,
            "`%s`: not a size from %s to %s (write 4M, 512K or a number of bytes)", option->name,
            option->least, option->most);
    *(size_t *)field = (size_t)size;
    return KT_SUCCESS;
}

const kt_option_kind_t kt_option_size = {read_size, NULL};

static kt_status_t read_choice(kt_config_t *config, const kt_option_t *option,
                               const kt_yaml_t *value, void *field)
{
    kt_status_t status = kt_option_check_text(config, option->name, value);

    if (status != KT_SUCCESS)
        return status;
    for (unsigned i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(value->text, option->choices[i]) == 0) {
            *(unsigned *)field = i;
            return KT_SUCCESS;
        }
    }
    return kt_option_unknown(config, "choice", value, option->choices);
}

const kt_option_kind_t kt_option_choice = {read_choice, NULL};

/* ---- Commands: an absolute path and its arguments, which no shell sees ---- */

static kt_status_t add_word(const kt_config_t *config, const char *what, int line, char **argv,
                            const char *word, size_t len)
{
    size_t count = 0;

    while (argv[count] != NULL)
        count++;
    if (count == KT_COMMAND_WORDS)
        return kt_config_fail(config->path, line, "%s: more than %u words", what, KT_COMMAND_WORDS);
    argv[count] = strndup(word, len);
    return argv[count] != NULL ? KT_SUCCESS : kt_no_memory();
}

static kt_status_t check_path(const kt_config_t *config, const char *what, int line, char **argv)
{
    if (argv[0] != NULL && argv[0][0] == '/')
        return KT_SUCCESS;
    return kt_config_fail(config->path, line,
                          "%s: the command needs an absolute path (write /path/to/command)", what);
}

kt_status_t kt_command_split(const kt_config_t *config, const char *what, int line,
                             const char *text, char ***ret_argv)
{
    char **argv = *ret_argv = calloc(KT_COMMAND_WORDS + 1, sizeof(*argv));
    kt_status_t status = KT_SUCCESS;

    if (argv == NULL)
        return kt_no_memory();
    if (strpbrk(text, "\"'\\") != NULL)
        return kt_config_fail(
            config->path, line,
            "%s: quotes are not supported, because the command is split at blanks (use a script)",
            what);
    for (text += strspn(text, BLANK); *text != '\0' && status == KT_SUCCESS;) {
        size_t len = strcspn(text, BLANK);

        status = add_word(config, what, line, argv, text, len);
        text += len;
        text += strspn(text, BLANK);
    }
    return status == KT_SUCCESS ? check_path(config, what, line, argv) : status;
}

static kt_status_t read_words(const kt_config_t *config, const char *what, const kt_yaml_t *value,
                              char ***ret_argv)
{
    char **argv = *ret_argv = calloc(KT_COMMAND_WORDS + 1, sizeof(*argv));
    kt_status_t status = argv != NULL ? KT_SUCCESS : kt_no_memory();

    for (size_t i = 0; i < value->count && status == KT_SUCCESS; i++) {
        const kt_yaml_t *item = value->items[i];

        if (item->kind != KT_YAML_TEXT || item->null)
            return kt_config_fail(config->path, item->line, "%s: a word is not a string", what);
        status = add_word(config, what, value->line, argv, item->text, strlen(item->text));
    }
    return status == KT_SUCCESS ? check_path(config, what, value->line, argv) : status;
}

static kt_status_t read_command(kt_config_t *config, const kt_option_t *option,
                                const kt_yaml_t *value, void *field)
{
    char what[64];

    (void)snprintf(what, sizeof(what), "`%s`", option->name);
    if (value->kind == KT_YAML_TEXT)
        return kt_command_split(config, what, value->line, value->text, field);
    if (value->kind == KT_YAML_LIST)
        return read_words(config, what, value, field);
    return kt_config_fail(config->path, value->line,
                          "%s: not a command (write a string or a list of words)", what);
}

void kt_command_free(char **argv)
{
    for (size_t i = 0; argv != NULL && argv[i] != NULL; i++)
        free(argv[i]);
    free(argv);
}

static void release_command(const kt_option_t *option, void *field)
{
    (void)option;
    kt_command_free(*(char ***)field);
}

const kt_option_kind_t kt_option_command = {read_command, release_command};

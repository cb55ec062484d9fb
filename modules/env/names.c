/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.c: which variables a name means, and which name a variable has.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "env.h"

/* ---- aliases ---- */

/* Does a name match the pattern, which may have one star? Then *ret_star is what stands for it. */
static int matches(const char *pattern, size_t size, const char *name, const char **ret_star,
                   size_t *ret_star_size)
{
    const char *star = memchr(pattern, '*', size);
    size_t length = strlen(name), head, tail;

    *ret_star = name + length;
    *ret_star_size = 0;
    if (star == NULL)
        return length == size && memcmp(pattern, name, size) == 0;
    head = (size_t)(star - pattern);
    tail = size - head - 1;
    if (length < head + tail || memcmp(pattern, name, head) != 0 ||
        memcmp(star + 1, name + length - tail, tail) != 0)
        return 0;
    *ret_star = name + head;
    *ret_star_size = length - head - tail;
    return 1;
}

static const char *without_general(const char *name)
{
    return strncmp(name, "general/", 8) == 0 ? name + 8 : name;
}

/* The alias's text, with the star's part of the name in place of its star. */
static int fill_in(const char *text, size_t size, const alias_t *walk, char variable[VARIABLE_ROOM],
                   size_t *ret_length)
{
    const char *star = memchr(text, '*', size);
    char middle[NAME_ROOM] = "";
    size_t head = star != NULL ? (size_t)(star - text) : size;
    int length;

    if (walk->star_size >= sizeof middle || size >= VARIABLE_ROOM)
        return 0;
    if (star != NULL)
        (void)ktp_variable_name(walk->star, walk->star_size, middle);
    length = snprintf(variable, VARIABLE_ROOM, "%.*s%s%.*s", (int)head, text, middle,
                      star != NULL ? (int)(size - head - 1) : 0, star != NULL ? star + 1 : "");
    *ret_length = (size_t)length;
    return length > 0 && length < (int)VARIABLE_ROOM;
}

int alias_next(alias_t *walk, const char *name, char variable[VARIABLE_ROOM], size_t *ret_length)
{
    name = without_general(name);
    while (walk->at != NULL || walk->map[0] != '\0') {
        size_t size;

        if (walk->at == NULL) {
            const char *line = walk->map;
            size_t pattern = strcspn(line, "\t\n"), skip = pattern > 8 ? 8 : 0;

            walk->map += strcspn(line, "\n");
            walk->map += walk->map[0] == '\n';
            skip = strncmp(line, "general/", skip) == 0 ? skip : 0;
            if (matches(line + skip, pattern - skip, name, &walk->star, &walk->star_size))
                walk->at = line + pattern;
            continue;
        }
        if (walk->at[0] != '\t') { /* the end of this line */
            walk->at = NULL;
            continue;
        }
        size = strcspn(walk->at + 1, "\t\n");
        walk->at += 1 + size;
        if (size > 0 && fill_in(walk->at - size, size, walk, variable, ret_length))
            return 1;
    }
    return 0;
}

int alias_name(const char **line, char name[NAME_ROOM])
{
    while ((*line)[0] != '\0') {
        const char *text = *line;
        size_t size = strcspn(text, "\t\n");

        *line += strcspn(text, "\n");
        *line += (*line)[0] == '\n';
        if (size > 0 && size < NAME_ROOM && memchr(text, '*', size) == NULL) {
            memcpy(name, text, size);
            name[size] = '\0';
            return 1;
        }
    }
    return 0;
}

int alias_has(const char *map, const char *name)
{
    char told[NAME_ROOM];

    while (alias_name(&map, told)) {
        if (strcmp(told, name) == 0)
            return 1;
    }
    return 0;
}

/* ---- without an alias ---- */

int variable_of(const ktp_instance_t *instance, const char *name, char variable[VARIABLE_ROOM],
                size_t *ret_length)
{
    size_t prefix = strlen(instance->prefix), size = strlen(name);

    if (prefix + size >= VARIABLE_ROOM)
        return 0;
    memcpy(variable, instance->prefix, prefix);
    *ret_length = prefix + ktp_variable_name(name, size, variable + prefix);
    return 1;
}

/* Only a variable that its own name leads back to: `path` in lower case is found under no name. */
int name_of(const ktp_instance_t *instance, const char *variable, size_t length,
            char name[NAME_ROOM])
{
    size_t prefix = strlen(instance->prefix);
    char back[VARIABLE_ROOM];
    size_t back_length;

    if (length <= prefix || length - prefix >= NAME_ROOM ||
        memcmp(variable, instance->prefix, prefix) != 0)
        return 0;
    memcpy(name, variable + prefix, length - prefix);
    name[length - prefix] = '\0';
    return name[0] != '_' && variable_of(instance, name, back, &back_length) &&
           back_length == length && memcmp(back, variable, length) == 0;
}

/* ---- what looks like a secret ---- */

/* `whole`: between underscores, as in API_KEY, but not in MONKEY or KEYBOARD. */
static int has_word(const char *variable, size_t length, const char *word, int whole)
{
    size_t size = strlen(word);

    for (size_t i = 0; i + size <= length; i++) {
        int apart = (i == 0 || variable[i - 1] == '_') &&
                    (i + size == length || variable[i + size] == '_');

        if ((apart || !whole) && strncasecmp(variable + i, word, size) == 0)
            return 1;
    }
    return 0;
}

/* A URL with a password: scheme://user:password@ ... */
static int has_password(const char *value)
{
    const char *host = strstr(value, "://"), *end, *at, *colon;

    if (host == NULL)
        return 0;
    host += 3;
    end = host + strcspn(host, "/?#");
    at = memrchr(host, '@', (size_t)(end - host));
    if (at == NULL)
        return 0;
    colon = memchr(host, ':', (size_t)(at - host));
    return colon != NULL && colon + 1 < at;
}

int looks_secret(const char *variable, size_t length, const char *value)
{
    static const struct {
        const char *text;
        int whole;
    } words[] = {
        {"PASSWORD", 0}, {"PASSWD", 0}, {"PASSPHRASE", 0}, {"SECRET", 0}, {"TOKEN", 0},
        {"CREDENTIAL", 0}, {"APIKEY", 0}, {"PASS", 1}, {"PWD", 1}, {"KEY", 1}, {"KEYS", 1},
        {"AUTH", 1}, {"DSN", 1}, {"SALT", 1}, {"PRIVATE", 1}, {"WEBHOOK", 1},
    };

    if (length == 3 && memcmp(variable, "PWD", 3) == 0) /* the shell's working folder */
        return 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (has_word(variable, length, words[i].text, words[i].whole))
            return 1;
    }
    return has_password(value);
}

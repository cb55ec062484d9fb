/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others have written, made harmless for a terminal: the only place that decides it.
 *
 * Names, subjects and lines of the audit logs come from other users. A terminal obeys control
 * characters, and characters that turn the direction of writing or have no width make one text look
 * like another. Each of them becomes a `?`, and so does what is not UTF-8.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct {
    unsigned from, to;
} hidden[] = {
    {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},       {0x34f, 0x34f},     {0x61c, 0x61c},
    {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f},   {0x200b, 0x200f},   {0x2028, 0x202e},
    {0x2060, 0x206f}, {0x3164, 0x3164}, {0xd800, 0xdfff},   {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},
    {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0x10ffff},
};

/* The character at `text`, and its bytes; 0 bytes: it is not UTF-8. */
static size_t decode(const char *text, unsigned *ret_character)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)text[0];
    size_t size = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
    unsigned character = size == 1 ? first : first & (0x7fu >> size);

    if (first >= 0xf8)
        return 0;
    for (size_t i = 1; i < size; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | ((unsigned char)text[i] & 0x3f);
    }
    *ret_character = character;
    return size > 0 && character >= least[size] ? size : 0;
}

static bool is_hidden(unsigned character)
{
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (character >= hidden[i].from && character <= hidden[i].to)
            return true;
    return false;
}

size_t cli_visible(char *text)
{
    size_t columns = 0, size;
    char *to = text;
    unsigned character;

    for (const char *from = text; *from; from += size, columns++) {
        size = decode(from, &character);
        if (size == 0 || is_hidden(character)) {
            size += size == 0;
            *to++ = '?';
        } else {
            memmove(to, from, size);
            to += size;
        }
    }
    *to = '\0';
    return columns;
}

/* ---- JSON ---- */

static json_t *visible_string(const char *text)
{
    char *copy = strdup(text);
    json_t *string;

    if (!copy)
        return NULL;
    cli_visible(copy);
    string = json_string(copy);
    free(copy);
    return string;
}

static json_t *visible_object(const json_t *object)
{
    json_t *made = json_object(), *value;
    const char *key;

    json_object_foreach((json_t *)object, key, value)
    {
        json_t *name = visible_string(key);

        if (name)
            json_object_set_new(made, json_string_value(name), cli_visible_json(value));
        json_decref(name);
    }
    return made;
}

json_t *cli_visible_json(const json_t *value)
{
    json_t *made, *item;
    size_t i;

    if (json_is_string(value))
        return visible_string(json_string_value(value));
    if (json_is_object(value))
        return visible_object(value);
    if (!json_is_array(value))
        return json_incref((json_t *)value);
    made = json_array();
    json_array_foreach(value, i, item) json_array_append_new(made, cli_visible_json(item));
    return made;
}

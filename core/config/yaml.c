/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * yaml.c: parses the text of a YAML file into a tree that knows its lines.
 *
 * It uses the events of libyaml, not yaml_parser_load(), which resolves aliases and silently
 * accepts equal keys. Anchors, tags, several documents and equal keys are refused, because with
 * them a file may mean something other than it seems to.
 */
#include "parse.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define STAR_HINT " (quote a string that begins with a star)"

typedef struct reader {
    const char *path;
    const char *data;
    size_t size;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; YAML_NO_EVENT before the first */
} reader_t;

static int line_of(const yaml_mark_t *mark)
{
    return (int)mark->line + 1;
}

static int line_at(const reader_t *reader, size_t offset)
{
    int line = 1;

    for (size_t i = 0; i < offset && i < reader->size; i++)
        line += reader->data[i] == '\n';
    return line;
}

/* An error of libyaml, whose messages quote nothing from the file. */
static kt_status_t parser_failed(const reader_t *reader)
{
    const yaml_parser_t *parser = &reader->parser;

    if (parser->error == YAML_MEMORY_ERROR)
        return kt_no_memory();
    if (parser->error == YAML_READER_ERROR)
        return kt_config_fail(reader->path, line_at(reader, parser->problem_offset), "%s",
                              parser->problem);
    if (parser->context != NULL)
        return kt_config_fail(reader->path, line_of(&parser->problem_mark), "%s %s%s",
                              parser->problem, parser->context,
                              strstr(parser->context, "alias") != NULL ? STAR_HINT : "");
    return kt_config_fail(reader->path, line_of(&parser->problem_mark), "%s", parser->problem);
}

static kt_status_t next_event(reader_t *reader)
{
    yaml_event_delete(&reader->event);
    if (!yaml_parser_parse(&reader->parser, &reader->event))
        return parser_failed(reader);
    return KT_SUCCESS;
}

static kt_yaml_t *node_new(kt_yaml_kind_t kind, int line)
{
    kt_yaml_t *node = calloc(1, sizeof(*node));

    if (node == NULL) {
        kt_no_memory();
        return NULL;
    }
    node->kind = kind;
    node->line = line;
    return node;
}

void kt_yaml_free(kt_yaml_t *node)
{
    if (node == NULL)
        return;
    for (size_t i = 0; i < node->count; i++)
        kt_yaml_free(node->items[i]);
    free(node->items);
    free(node->text);
    free(node);
}

const kt_yaml_t *kt_yaml_at(const kt_yaml_t *map, const char *key)
{
    for (size_t i = 0; i + 1 < map->count; i += 2)
        if (strcmp(map->items[i]->text, key) == 0)
            return map->items[i + 1];
    return NULL;
}

static kt_status_t append(reader_t *reader, kt_yaml_t *parent, kt_yaml_t *child)
{
    if (parent->count == KT_YAML_ITEMS_MAX)
        return kt_config_fail(reader->path, child->line, "more than %u entries in one map or list",
                              KT_YAML_ITEMS_MAX / (parent->kind == KT_YAML_MAP ? 2 : 1));
    if ((parent->count & (parent->count - 1)) == 0) { /* the array doubles at each power of two */
        size_t room = parent->count == 0 ? 1 : parent->count * 2;
        kt_yaml_t **items = reallocarray(parent->items, room, sizeof(*items));

        if (items == NULL)
            return kt_no_memory();
        parent->items = items;
    }
    parent->items[parent->count++] = child;
    return KT_SUCCESS;
}

static kt_status_t read_text(reader_t *reader, kt_yaml_t **ret_node)
{
    const char *text = (const char *)reader->event.data.scalar.value;
    size_t len = reader->event.data.scalar.length;
    int line = line_of(&reader->event.start_mark);
    kt_yaml_t *node;

    if (memchr(text, '\0', len) != NULL)
        return kt_config_fail(reader->path, line, "a string contains a zero byte");
    node = node_new(KT_YAML_TEXT, line);
    if (node == NULL)
        return KT_INTERNAL;
    node->text = strdup(text);
    if (node->text == NULL) {
        kt_yaml_free(node);
        return kt_no_memory();
    }
    node->quoted = reader->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->null = !node->quoted && (len == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
    *ret_node = node;
    return KT_SUCCESS;
}

/* Refuses anchors and tags of the current event, which begins a node. */
static kt_status_t check_properties(reader_t *reader)
{
    const yaml_event_t *event = &reader->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor != NULL || event->type == YAML_ALIAS_EVENT)
        return kt_config_fail(reader->path, line_of(&event->start_mark),
                              "anchors (&) and aliases (*) are not supported" STAR_HINT);
    if (tag != NULL)
        return kt_config_fail(reader->path, line_of(&event->start_mark),
                              "tags (!) are not supported");
    return KT_SUCCESS;
}

static kt_status_t check_key(reader_t *reader, const kt_yaml_t *map, const kt_yaml_t *key)
{
    if (key->kind != KT_YAML_TEXT || key->null)
        return kt_config_fail(reader->path, key->line, "a key is not a string");
    for (size_t i = 0; i < map->count; i += 2)
        if (strcmp(map->items[i]->text, key->text) == 0)
            return kt_config_fail(reader->path, key->line,
                                  "`%.64s`: given twice, first in line %d (remove one)", key->text,
                                  map->items[i]->line);
    return KT_SUCCESS;
}

static kt_status_t read_node(reader_t *reader, unsigned depth, kt_yaml_t **ret_node);

/* Reads the children of `parent`, up to the event that ends it. */
static kt_status_t read_children(reader_t *reader, unsigned depth, kt_yaml_t *parent)
{
    yaml_event_type_t end =
        parent->kind == KT_YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;

    for (;;) {
        kt_yaml_t *child = NULL;
        kt_status_t status = next_event(reader);

        if (status != KT_SUCCESS || reader->event.type == end)
            return status;
        status = read_node(reader, depth, &child);
        if (status == KT_SUCCESS && parent->kind == KT_YAML_MAP && parent->count % 2 == 0)
            status = check_key(reader, parent, child);
        if (status == KT_SUCCESS)
            status = append(reader, parent, child);
        if (status != KT_SUCCESS) {
            kt_yaml_free(child);
            return status;
        }
    }
}

/* The node that the current event begins. */
static kt_status_t read_node(reader_t *reader, unsigned depth, kt_yaml_t **ret_node)
{
    int line = line_of(&reader->event.start_mark);
    kt_status_t status = check_properties(reader);
    kt_yaml_t *node;

    if (status != KT_SUCCESS)
        return status;
    if (reader->event.type == YAML_SCALAR_EVENT)
        return read_text(reader, ret_node);
    if (depth == KT_YAML_DEPTH_MAX)
        return kt_config_fail(reader->path, line, "maps and lists are nested more than %u deep",
                              KT_YAML_DEPTH_MAX);
    node =
        node_new(reader->event.type == YAML_MAPPING_START_EVENT ? KT_YAML_MAP : KT_YAML_LIST, line);
    if (node == NULL)
        return KT_INTERNAL;
    status = read_children(reader, depth + 1, node);
    if (status != KT_SUCCESS) {
        kt_yaml_free(node);
        return status;
    }
    *ret_node = node;
    return KT_SUCCESS;
}

/* What libyaml would accept, or report in words that do not help. */
static kt_status_t check_bytes(const reader_t *reader)
{
    const char *nul = memchr(reader->data, '\0', reader->size);
    bool indent = true;

    if (nul != NULL)
        return kt_config_fail(reader->path, line_at(reader, (size_t)(nul - reader->data)),
                              "the file contains a zero byte");
    for (size_t i = 0; i < reader->size; i++) {
        if (indent && reader->data[i] == '\t')
            return kt_config_fail(reader->path, line_at(reader, i),
                                  "a tab in the indentation (use spaces)");
        indent = reader->data[i] == '\n' || (indent && reader->data[i] == ' ');
    }
    return KT_SUCCESS;
}

static kt_status_t read_document(reader_t *reader, kt_yaml_t **ret_root)
{
    kt_status_t status = next_event(reader); /* of the stream */

    if (status == KT_SUCCESS)
        status = next_event(reader);
    if (status != KT_SUCCESS)
        return status;
    if (reader->event.type == YAML_STREAM_END_EVENT)
        return kt_config_fail(reader->path, 1, "the file is empty");
    status = next_event(reader);
    return status != KT_SUCCESS ? status : read_node(reader, 0, ret_root);
}

static kt_status_t read_end(reader_t *reader)
{
    kt_status_t status = next_event(reader); /* of the document */

    if (status == KT_SUCCESS)
        status = next_event(reader);
    if (status == KT_SUCCESS && reader->event.type != YAML_STREAM_END_EVENT)
        return kt_config_fail(reader->path, line_of(&reader->event.start_mark),
                              "a second document begins (a configuration is one document)");
    return status;
}

kt_status_t kt_yaml_parse(const char *path, const char *data, size_t size, kt_yaml_t **ret_root)
{
    reader_t reader = {.path = path, .data = data, .size = size};
    kt_yaml_t *root = NULL;
    kt_status_t status = check_bytes(&reader);

    if (status != KT_SUCCESS)
        return status;
    if (!yaml_parser_initialize(&reader.parser))
        return kt_no_memory();
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)data, size);
    status = read_document(&reader, &root);
    if (status == KT_SUCCESS)
        status = read_end(&reader);
    if (status == KT_SUCCESS) {
        *ret_root = root;
        root = NULL;
    }
    kt_yaml_free(root);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    return status;
}

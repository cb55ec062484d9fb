/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text.c: what every file of this folder needs and none of them owns: errors with file and line,
 * the nearest of several names, durations, schedules, sizes and relative paths.
 */
#include "parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kt_status_t kt_config_fail(const char *path, int line, const char *format, ...)
{
    char text[KT_ERROR_SIZE];
    va_list args;

    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    return kt_fail(KT_CONFIG, "%s:%d: %s", path, line, text);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

#define NEAREST_MAX 40u /* longer names are not compared */

/* The number of edits (insert, remove, replace, swap two neighbours) that turn `a` into `b`. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][NEAREST_MAX + 1], alen = strlen(a), blen = strlen(b);

    for (size_t j = 0; j <= blen; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= alen; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *older = rows[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= blen; j++) {
            now[j] = least(now[j - 1], before[j]) + 1;
            now[j] = least(now[j], before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], older[j - 2] + 1);
        }
    }
    return rows[alen % 3][blen];
}

/* `url` is not a typo of `ttl`: hence the third. */
const char *kt_nearest(const char *name, const char *const *names)
{
    size_t len = strlen(name), best = 4;
    const char *nearest = NULL;

    if (len > NEAREST_MAX)
        return NULL;
    for (; *names != NULL; names++) {
        size_t other = strlen(*names), edits;

        if (other > NEAREST_MAX)
            continue;
        edits = distance(name, *names);
        if (edits < best && edits * 3 <= (len > other ? len : other)) {
            best = edits;
            nearest = *names;
        }
    }
    return nearest;
}

int64_t kt_duration_parse(const char *text)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const int64_t most = (int64_t)36500 * 86400000; /* a century */
    int64_t number = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (*at - '0');
        if (number > most)
            return -1;
    }
    if (at == text)
        return -1;
    if (strcmp(text, "0") == 0)
        return 0;
    for (size_t i = 0; i < KT_ARRAY(units); i++)
        if (strcmp(at, units[i].name) == 0)
            return number <= most / units[i].ms ? number * units[i].ms : -1;
    return -1;
}

int64_t kt_schedule_parse(const char *text)
{
    static const struct {
        const char *name;
        int64_t days;
    } words[] = {{"critical", 7},  {"high", 30},      {"database", 90},
                 {"api-key", 365}, {"daily", 1},      {"weekly", 7},
                 {"monthly", 30},  {"quarterly", 90}, {"annually", 365}};
    int64_t duration;
    size_t i;

    for (i = 0; i < KT_ARRAY(words); i++) {
        if (strcmp(text, words[i].name) == 0)
            return words[i].days * 86400000;
    }
    duration = kt_duration_parse(text);
    return duration >= 1000 ? duration : -1;
}

int64_t kt_size_parse(const char *text)
{
    int64_t number = 0, unit = 1;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && at - text < 12; at++)
        number = number * 10 + (*at - '0');
    if (*at == 'K' || *at == 'M')
        unit = *at++ == 'K' ? 1024 : 1024 * 1024;
    return at == text || *at != '\0' ? -1 : number * unit;
}

char *kt_config_resolve(const kt_config_t *config, const char *path)
{
    const char *slash = strcmp(config->folder, "/") == 0 ? "" : "/";
    char *resolved;

    if (path[0] == '/')
        return strdup(path);
    if (asprintf(&resolved, "%s%s%s", config->folder, slash, path) < 0)
        return NULL;
    return resolved;
}

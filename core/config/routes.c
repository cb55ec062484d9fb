/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * routes.c: the routes of `switch:`, in the syntax of nsswitch.conf.
 *
 *     "tls-*": vault [UNAVAIL=continue TRYAGAIN=continue] local
 *     "*":     local
 *
 * By default NOTFOUND continues with the next provider, and every other status ends the search. A
 * route may choose an action for what a provider can answer to a read, and for NOKEY: continuing
 * after anything else would hide a refusal of ours or an attack.
 */
#include "option.h"

#include <stdlib.h>
#include <string.h>

#define BLANK " \t\n"
#define ROUTABLE "NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED or NOKEY"

/* The text of one route while it is read. */
typedef struct cursor {
    const kt_config_t *config;
    const kt_yaml_t *value;
    const char *at;
} cursor_t;

/* The word at the cursor, up to white space or one of `[]=`; *ret_len may be 0. */
static const char *word(cursor_t *cursor, size_t *ret_len)
{
    const char *start;

    cursor->at += strspn(cursor->at, BLANK);
    start = cursor->at;
    *ret_len = strcspn(start, BLANK "[]=");
    cursor->at += *ret_len;
    return start;
}

static bool skip(cursor_t *cursor, char c)
{
    cursor->at += strspn(cursor->at, BLANK);
    if (*cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static bool at_end(cursor_t *cursor)
{
    cursor->at += strspn(cursor->at, BLANK);
    return *cursor->at == '\0';
}

static kt_status_t fail(const cursor_t *cursor, const char *what, const char *text, size_t len)
{
    return kt_config_fail(cursor->config->path, cursor->value->line, "%s `%.*s`", what,
                          (int)(len < 64 ? len : 64), text);
}

static kt_status_t unknown_provider(const cursor_t *cursor, const char *name, size_t len)
{
    const kt_config_t *config = cursor->config;
    const char **names = calloc(config->nproviders + 1, sizeof(*names));
    char *text = strndup(name, len < 64 ? len : 64);
    const char *nearest;
    kt_status_t status;

    if (names == NULL || text == NULL) {
        status = kt_no_memory();
        goto out;
    }
    for (size_t i = 0; i < config->nproviders; i++)
        names[i] = config->providers[i].name;
    nearest = kt_nearest(text, names);
    if (nearest != NULL)
        status =
            kt_config_fail(config->path, cursor->value->line,
                           "`%s`: not a configured provider (did you mean `%s`?)", text, nearest);
    else
        status = kt_config_fail(config->path, cursor->value->line,
                                "`%s`: not a configured provider (add it to `providers`)", text);
out:
    free(text);
    free(names);
    return status;
}

static kt_status_t find_provider(const cursor_t *cursor, const char *name, size_t len,
                                 size_t *ret_index)
{
    for (size_t i = 0; i < cursor->config->nproviders; i++) {
        const char *other = cursor->config->providers[i].name;

        if (strlen(other) == len && memcmp(other, name, len) == 0) {
            *ret_index = i;
            return KT_SUCCESS;
        }
    }
    return unknown_provider(cursor, name, len);
}

static bool routable(int status)
{
    return (status >= KT_NOTFOUND && status <= KT_MALFORMED) || status == KT_NOKEY;
}

/* STATUS=ACTION, after the opening bracket. `seen` marks the statuses read before. */
static kt_status_t read_action(cursor_t *cursor, kt_cfg_step_t *step, bool seen[KT_STATUSES])
{
    size_t name_len, action_len;
    const char *name = word(cursor, &name_len), *action;
    int status = kt_status_parse(name, name_len);

    if (name_len == 0)
        return fail(cursor, "a route: expected STATUS=return or STATUS=continue at", cursor->at,
                    strlen(cursor->at));
    if (!routable(status))
        return fail(cursor, "a route: the status must be " ROUTABLE ", not", name, name_len);
    if (seen[status])
        return fail(cursor, "a route: one provider has two actions for", name, name_len);
    seen[status] = true;
    if (!skip(cursor, '='))
        return fail(cursor, "a route: expected =return or =continue after", name, name_len);
    action = word(cursor, &action_len);
    step->go_on[status] = action_len == 8 && memcmp(action, "continue", 8) == 0;
    if (!step->go_on[status] && (action_len != 6 || memcmp(action, "return", 6) != 0))
        return fail(cursor, "a route: expected =return or =continue after", name, name_len);
    return KT_SUCCESS;
}

static kt_status_t read_actions(cursor_t *cursor, kt_cfg_step_t *step)
{
    bool seen[KT_STATUSES] = {false};

    while (!skip(cursor, ']')) {
        kt_status_t status;

        if (*cursor->at == '\0')
            return kt_config_fail(cursor->config->path, cursor->value->line,
                                  "a route: a `[` is not closed (add `]`)");
        status = read_action(cursor, step, seen);
        if (status != KT_SUCCESS)
            return status;
    }
    return KT_SUCCESS;
}

static kt_status_t read_step(cursor_t *cursor, const kt_cfg_route_t *route, kt_cfg_step_t *ret_step)
{
    kt_cfg_step_t step = {.go_on = {[KT_NOTFOUND] = true}};
    size_t len;
    const char *name = word(cursor, &len);
    kt_status_t status;

    if (len == 0)
        return fail(cursor, "a route: expected the name of a provider at", cursor->at,
                    strlen(cursor->at));
    status = find_provider(cursor, name, len, &step.provider);
    for (size_t i = 0; status == KT_SUCCESS && i < route->nsteps; i++)
        if (route->steps[i].provider == step.provider)
            status = fail(cursor, "a route: the provider is named twice:", name, len);
    if (status == KT_SUCCESS && skip(cursor, '['))
        status = read_actions(cursor, &step);
    if (status == KT_SUCCESS)
        *ret_step = step;
    return status;
}

/* A route names each provider at most once, so it has no more steps than there are providers. */
static kt_status_t read_steps(cursor_t *cursor, kt_cfg_route_t *route)
{
    route->steps = calloc(cursor->config->nproviders + 1, sizeof(*route->steps));
    if (route->steps == NULL)
        return kt_no_memory();
    while (!at_end(cursor)) {
        kt_status_t status = read_step(cursor, route, &route->steps[route->nsteps]);

        if (status != KT_SUCCESS)
            return status;
        route->nsteps++;
    }
    if (route->nsteps == 0)
        return kt_config_fail(cursor->config->path, cursor->value->line,
                              "the route of `%.64s`: no provider is named", route->pattern);
    return KT_SUCCESS;
}

/* A pattern that matches a later one, stars included, matches every name the later one does. */
static kt_status_t check_reached(const kt_config_t *config, const kt_cfg_route_t *route)
{
    for (const kt_cfg_route_t *other = config->routes; other < route; other++)
        if (kt_pattern_match(other->pattern, route->pattern))
            return kt_config_fail(
                config->path, route->line,
                "`%.64s`: never reached, because `%.64s` in line %d matches its names (move it up)",
                route->pattern, other->pattern, other->line);
    return KT_SUCCESS;
}

static kt_status_t read_route(kt_config_t *config, const kt_yaml_t *pattern, const kt_yaml_t *value)
{
    kt_cfg_route_t *route = &config->routes[config->nroutes];
    cursor_t cursor = {.config = config, .value = value, .at = value->text};
    kt_status_t status;

    if (kt_pattern_check(pattern->text) != KT_SUCCESS)
        return kt_config_fail(config->path, pattern->line, "`%.64s`: %s", pattern->text,
                              kt_failure());
    if (value->kind != KT_YAML_TEXT || value->null)
        return kt_config_fail(config->path, value->line,
                              "the route of `%.64s`: not a string with names of providers",
                              pattern->text);
    config->nroutes++; /* from now on freed with the configuration */
    route->line = pattern->line;
    route->pattern = strdup(pattern->text);
    if (route->pattern == NULL)
        return kt_no_memory();
    status = check_reached(config, route);
    return status != KT_SUCCESS ? status : read_steps(&cursor, route);
}

/* Without `switch:` every name is looked up in all providers, in order. */
kt_status_t kt_config_default_route(kt_config_t *config)
{
    kt_cfg_route_t *route;

    if (config->nproviders == 0)
        return KT_SUCCESS;
    route = config->routes = calloc(1, sizeof(*config->routes));
    if (route == NULL)
        return kt_no_memory();
    config->nroutes = 1;
    route->pattern = strdup("*");
    route->steps = calloc(config->nproviders, sizeof(*route->steps));
    if (route->pattern == NULL || route->steps == NULL)
        return kt_no_memory();
    for (size_t i = 0; i < config->nproviders; i++) {
        route->steps[i].provider = i;
        route->steps[i].go_on[KT_NOTFOUND] = true;
    }
    route->nsteps = config->nproviders;
    return KT_SUCCESS;
}

static kt_status_t read_switch(kt_config_t *config, const kt_option_t *option,
                               const kt_yaml_t *value, void *field)
{
    (void)field;
    if (value->kind != KT_YAML_MAP || value->count == 0)
        return kt_config_fail(config->path, value->line, "`%s`: not a map of patterns to providers",
                              option->name);
    config->routes = calloc(value->count / 2, sizeof(*config->routes));
    if (config->routes == NULL)
        return kt_no_memory();
    for (size_t i = 0; i < value->count; i += 2) {
        kt_status_t status = read_route(config, value->items[i], value->items[i + 1]);

        if (status != KT_SUCCESS)
            return status;
    }
    return KT_SUCCESS;
}

static void release_routes(const kt_option_t *option, void *field)
{
    kt_config_t *config = field;

    (void)option;
    for (size_t i = 0; i < config->nroutes; i++) {
        free(config->routes[i].pattern);
        free(config->routes[i].steps);
    }
    free(config->routes);
}

const kt_option_kind_t kt_option_switch = {read_switch, release_routes};

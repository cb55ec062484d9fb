/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * audit_sinks.c: `audit: {sinks: [...]}`, where copies of the audit log go.
 *
 *     sinks: ["syslog:auth", "exec:/usr/local/lib/keyturn/ship --to archive"]
 */
#include "option.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define SINKS_MAX 8u
#define SOCKET "/dev/log"
#define SOCKET_MAX 107u /* bytes of a socket's path */

static const struct {
    const char *name;
    int facility;
} facilities[] = {
    {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},
    {"daemon", LOG_DAEMON}, {"ftp", LOG_FTP},           {"kern", LOG_KERN},
    {"lpr", LOG_LPR},       {"mail", LOG_MAIL},         {"news", LOG_NEWS},
    {"syslog", LOG_SYSLOG}, {"user", LOG_USER},         {"uucp", LOG_UUCP},
    {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},     {"local2", LOG_LOCAL2},
    {"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},     {"local5", LOG_LOCAL5},
    {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},
};

/* "auth", or "auth@/path/of/a/socket" where it is not /dev/log. */
static kt_status_t read_syslog(const kt_config_t *config, const char *text, kt_cfg_sink_t *sink)
{
    size_t size = strcspn(text, "@");
    const char *path = text[size] == '@' ? text + size + 1 : SOCKET;

    sink->facility = -1;
    for (size_t i = 0; i < KT_ARRAY(facilities); i++)
        if (strlen(facilities[i].name) == size && memcmp(facilities[i].name, text, size) == 0)
            sink->facility = facilities[i].facility;
    if (sink->facility < 0)
        return kt_config_fail(config->path, sink->line,
                              "unknown facility `%.*s` of syslog (known: auth, authpriv, daemon, "
                              "user, local0 to local7 and others, see syslog(3))",
                              (int)(size < 64 ? size : 64), text);
    if (path[0] != '/' || strlen(path) > SOCKET_MAX)
        return kt_config_fail(
            config->path, sink->line,
            "a sink: the socket after `@` needs an absolute path of at most %u bytes", SOCKET_MAX);
    sink->socket = strdup(path);
    return sink->socket != NULL ? KT_SUCCESS : kt_no_memory();
}

static kt_status_t read_sink(kt_config_t *config, const kt_yaml_t *item)
{
    kt_cfg_sink_t *sink = &config->sinks[config->nsinks];

    if (item->kind != KT_YAML_TEXT || item->null)
        return kt_config_fail(
            config->path, item->line,
            "a sink: not a string (write \"syslog:auth\" or \"exec:/path/command\")");
    config->nsinks++;
    sink->line = item->line;
    sink->text = strdup(item->text);
    if (sink->text == NULL)
        return kt_no_memory();
    if (strncmp(item->text, "syslog:", 7) == 0)
        return read_syslog(config, item->text + 7, sink);
    if (strncmp(item->text, "exec:", 5) == 0)
        return kt_command_split(config, "a command of `sinks`", sink->line, item->text + 5,
                                &sink->argv);
    return kt_config_fail(config->path, item->line,
                          "a sink: unknown kind (write syslog:FACILITY or exec:COMMAND)");
}

static kt_status_t read_sinks(kt_config_t *config, const kt_option_t *option,
                              const kt_yaml_t *value, void *field)
{
    kt_status_t status = KT_SUCCESS;

    (void)option;
    (void)field;
    if (value->kind != KT_YAML_LIST)
        return kt_config_fail(config->path, value->line,
                              "`sinks`: not a list (write [\"syslog:auth\"])");
    if (value->count > SINKS_MAX)
        return kt_config_fail(config->path, value->line, "`sinks`: more than %u sinks", SINKS_MAX);
    config->sinks = calloc(value->count + 1, sizeof(*config->sinks));
    if (config->sinks == NULL)
        return kt_no_memory();
    for (size_t i = 0; i < value->count && status == KT_SUCCESS; i++)
        status = read_sink(config, value->items[i]);
    for (size_t i = 0; i < config->nsinks && status == KT_SUCCESS; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(config->sinks[i].text, config->sinks[j].text) == 0)
                return kt_config_fail(config->path, config->sinks[i].line,
                                      "`sinks`: the same sink twice (remove one)");
    return status;
}

static void release_sinks(const kt_option_t *option, void *field)
{
    kt_config_t *config = field;

    (void)option;
    for (size_t i = 0; i < config->nsinks; i++) {
        kt_command_free(config->sinks[i].argv);
        free(config->sinks[i].socket);
        free(config->sinks[i].text);
    }
    free(config->sinks);
}

const kt_option_kind_t kt_option_sinks = {read_sinks, release_sinks};

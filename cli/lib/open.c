/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens a context for the parsed command line: subject, configuration and keys. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

void cli_user(char *name, size_t size)
{
    const struct passwd *user = getpwuid(geteuid());

    if (user && user->pw_name[0])
        snprintf(name, size, "%s", user->pw_name);
    else
        snprintf(name, size, "%lu", (unsigned long)geteuid());
}

/* Every warning reaches the person, also in the answer to --json. An error (level 3) is about a
 * promise that was not kept: --quiet does not silence it, and the exit status shows it. */
static void warn(void *arg, int level, const char *text)
{
    cli_t *cli = arg;
    unsigned flags = cli->verb ? cli->verb->flags : 0;

    if (level > 4 && !(level == 7 && flags & CLI_REMARKS))
        return;
    if (level <= 4) {
        if (!cli->warnings)
            cli->warnings = json_array();
        json_array_append_new(cli->warnings, json_string(text)); /* NULL, not UTF-8: left out */
    }
    if (level == 3) {
        cli->unkept = true;
        cli_say("%s", text);
    } else {
        cli_warn(cli, "%s", text);
    }
}

#define NO_LOGIN 4294967295u /* of a process that no login began */

static void add_user(char *text, size_t size, const char *how, const char *number)
{
    char *end;
    unsigned long uid = strtoul(number, &end, 10);
    const struct passwd *user;
    size_t at = strlen(text);

    if (end == number || (*end && *end != '\n') || uid >= NO_LOGIN)
        return;
    user = getpwuid((uid_t)uid);
    if (user)
        snprintf(text + at, size - at, "%s%s:%.20s", at ? " " : "", how, user->pw_name);
    else
        snprintf(text + at, size - at, "%s%s:%lu", at ? " " : "", how, uid);
}

/* All administrators are one subject. The kernel keeps with which user a session began; sudo's
 * variable is what is left where no login is kept, and only the environment says it. */
static void find_actor(char *text, size_t size)
{
    char number[16] = "";
    const char *sudo = getenv("SUDO_UID"), *tty;
    FILE *file = fopen("/proc/self/loginuid", "re");

    text[0] = '\0';
    if (file && fgets(number, sizeof number, file))
        add_user(text, size, "login", number);
    if (file)
        fclose(file);
    if (sudo)
        add_user(text, size, "sudo", sudo);
    tty = text[0] ? ttyname(STDIN_FILENO) : NULL;
    if (tty)
        snprintf(text + strlen(text), size - strlen(text), " tty:%.12s",
                 strncmp(tty, "/dev/", 5) == 0 ? tty + 5 : tty);
}

static bool set_up(cli_t *cli)
{
    char user[KT_SUBJECT_MAX - 3];

    cli_user(user, sizeof user);
    snprintf(cli->subject, sizeof cli->subject, "uid:%s", user);
    find_actor(cli->actor, sizeof cli->actor);
    if (kt_setup(cli->config, "cli", &cli->setup) != KT_SUCCESS)
        return false;
    kt_setup_log(cli->setup, warn, cli);
    return true;
}

kt_status_t cli_setup(cli_t *cli)
{
    if (set_up(cli))
        return KT_SUCCESS;
    if (!cli->setup)
        return cli_no_memory(cli);
    return cli_check_setup(cli, kt_setup_status(cli->setup));
}

kt_status_t cli_open(cli_t *cli)
{
    kt_status_t status = cli_setup(cli);

    if (status)
        return status;
    status = kt_open(cli->setup, &cli->ctx);
    return cli_check_setup(cli, status);
}

/* ---- who only reads audit logs ---- */

/* Is the machine's own configuration meant, and may this user not read it? */
static bool is_closed(const cli_t *cli)
{
    const char *other = getenv("KEYTURN_CONFIG");

    return !cli->config && (!other || !other[0]) && access(KT_DEFAULT_CONFIG, R_OK) != 0 &&
           errno == EACCES;
}

/* Neither keys nor providers are needed, only the configuration's `audit: {path}`. */
kt_status_t cli_trail_path(cli_t *cli, const char **ret_path)
{
    bool is_whole = set_up(cli);

    *ret_path = cli->setup ? kt_setup_audit_path(cli->setup) : NULL;
    if (is_whole || *ret_path)
        return KT_SUCCESS;
    if (!cli->setup)
        return cli_no_memory(cli);
    if (!is_closed(cli) || access(CLI_TRAIL, X_OK) != 0)
        return cli_check_setup(cli, kt_setup_status(cli->setup));
    *ret_path = CLI_TRAIL;
    return KT_SUCCESS;
}

/* A user without a stream, such as an auditor, has nothing that is not written yet. */
kt_status_t cli_trail_open(cli_t *cli, const char **ret_path)
{
    kt_status_t status = cli_trail_path(cli, ret_path);
    char own[4096];

    if (status)
        return status;
    snprintf(own, sizeof own, "%s/%s", *ret_path, kt_setup_stream(cli->setup));
    status = kt_open(cli->setup, &cli->ctx);
    if (status && access(own, F_OK) != 0 && errno == ENOENT)
        return KT_SUCCESS;
    return cli_check_setup(cli, status);
}

kt_request_t cli_request(const cli_t *cli, const char *reference)
{
    kt_request_t req = KT_REQUEST_INIT;

    req.reference = reference;
    req.subject = cli->subject;
    req.purpose = "cli";
    req.actor = cli->actor[0] ? cli->actor : NULL;
    return req;
}

kt_status_t cli_open_for(cli_t *cli, const char *reference, kt_request_t *ret_request)
{
    kt_status_t status = cli_open(cli);

    *ret_request = cli_request(cli, reference);
    return status;
}

const char *cli_environment(const char *name)
{
    static const char *const aliases[][2] = {
        {"dev", "development"},
        {"stage", "staging"},
        {"prod", "production"},
    };

    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i][0]) == 0)
            return aliases[i][1];
    if (kt_name_check(name, 0, NULL) != KT_SUCCESS || strchr(name, '/') || strlen(name) > 64)
        return NULL;
    return name;
}

kt_status_t cli_check_environment(cli_t *cli, const char *name, const char **ret_environment)
{
    *ret_environment = cli_environment(name);
    if (*ret_environment)
        return KT_SUCCESS;
    return cli_fail(cli, KT_USAGE, "not a name for an environment: letters, digits and . _ - only");
}

bool cli_has_key(const cli_t *cli, const char *stream)
{
    const char *name;

    for (size_t i = 0; (name = kt_setup_key(cli->setup, i)); i++)
        if (strcmp(name, stream) == 0)
            return true;
    return false;
}

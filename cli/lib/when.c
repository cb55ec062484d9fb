/* SPDX-License-Identifier: BSD-2-Clause */
/* Times as users write and read them: durations, RFC 3339. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

#define CENTURY (100 * 366 * INT64_C(86400000)) /* ms; a longer lifetime is a typing error */

int64_t cli_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 90d, 12h in milliseconds; -1: not a duration */
static int64_t parse_duration(const char *text)
{
    static const struct {
        char letter;
        int64_t ms;
    } units[] = {
        {'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}, {'w', 604800000},
    };
    size_t digits = strspn(text, "0123456789");
    int64_t number = 0;

    if (digits == 0 || digits > 10 || text[digits] == '\0' || text[digits + 1] != '\0')
        return -1;
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (text[i] - '0');
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (units[i].letter == text[digits])
            return number * units[i].ms <= CENTURY ? number * units[i].ms : -1;
    return -1;
}

/* Z, +02:00 or -02:00 in minutes; false: not an offset */
static bool parse_offset(const char *text, int *ret_minutes)
{
    int hours, minutes, end = 0;

    *ret_minutes = 0;
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return true;
    if (strlen(text) != 6 || (text[0] != '+' && text[0] != '-') ||
        strspn(text + 1, "0123456789:") != 5 ||
        sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &end) != 2 || end != 5 || hours > 23 ||
        minutes > 59)
        return false;
    *ret_minutes = (text[0] == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

/* 2027-01-31T12:00:00Z in milliseconds since the epoch; -1: not a time */
static int64_t parse_rfc3339(const char *text)
{
    struct tm given = {0}, made;
    int end = 0, offset;
    time_t seconds;

    if (strspn(text, "0123456789") != 4 ||
        sscanf(text, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &given.tm_year, &given.tm_mon,
               &given.tm_mday, &given.tm_hour, &given.tm_min, &given.tm_sec, &end) != 6 ||
        end != 19)
        return -1;
    text += end;
    if (*text == '.') {
        size_t digits = strspn(text + 1, "0123456789");

        if (digits == 0)
            return -1;
        text += 1 + digits;
    }
    if (!parse_offset(text, &offset))
        return -1;
    given.tm_year -= 1900;
    given.tm_mon--;
    made = given;
    seconds = timegm(&made);
    /* timegm() takes the 31st of February for the 3rd of March */
    if (made.tm_mon != given.tm_mon || made.tm_mday != given.tm_mday ||
        made.tm_hour != given.tm_hour || made.tm_min != given.tm_min || made.tm_sec != given.tm_sec)
        return -1;
    return ((int64_t)seconds - offset * 60) * 1000;
}

/* A duration before (sign -1) or after now, or a time; 0: the option is not given. */
static kt_status_t read_time(cli_t *cli, const char *name, int sign, int64_t *ret_ms)
{
    const char *text = cli_given(cli, name);
    int64_t ms = 0;

    if (text) {
        ms = parse_duration(text);
        ms = ms >= 0 ? cli_now() + sign * ms : parse_rfc3339(text);
    }
    if (ms < 0)
        return cli_fail(cli, KT_USAGE,
                        "--%s must be a duration (90d, 12h, 30m, 45s, 2w) or a time such as "
                        "2027-01-31T12:00:00Z",
                        name);
    *ret_ms = ms;
    return KT_SUCCESS;
}

kt_status_t cli_expires(cli_t *cli, int64_t *ret_ms)
{
    int64_t ms;
    kt_status_t status = read_time(cli, "expires", 1, &ms);

    if (status)
        return status;
    if (cli_given(cli, "expires") && (ms <= cli_now() || ms > cli_now() + CENTURY))
        return cli_fail(cli, KT_USAGE, "--expires is in the past, or more than a century ahead");
    *ret_ms = ms;
    return KT_SUCCESS;
}

kt_status_t cli_since(cli_t *cli, int64_t *ret_ms)
{
    return cli_before(cli, "since", ret_ms);
}

kt_status_t cli_before(cli_t *cli, const char *option, int64_t *ret_ms)
{
    return read_time(cli, option, -1, ret_ms);
}

const char *cli_time(int64_t ms, char text[CLI_TIME_SIZE])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;

    if (ms == 0 || !gmtime_r(&seconds, &parts) ||
        strftime(text, CLI_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        snprintf(text, CLI_TIME_SIZE, "-");
    return text;
}

json_t *cli_json_time(int64_t ms)
{
    char text[CLI_TIME_SIZE];

    return ms == 0 ? json_null() : json_string(cli_time(ms, text));
}

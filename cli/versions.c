/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn versions NAME: the kept versions, newest first. */
#include <stdio.h>

#include "cli.h"

static json_t *as_json(const kt_info_t *info)
{
    json_t *array = json_array();

    for (size_t i = 0; i < kt_info_versions(info); i++) {
        const kt_version_t *version = kt_info_version(info, i);
        bool rotated = kt_info_note(info, version->version, "keyturn.rotated") != NULL;

        json_array_append_new(
            array, json_pack("{s:I, s:s, s:o, s:o, s:s, s:s?}", "version",
                             (json_int_t)version->version, "state", version->state, "created",
                             cli_json_time(version->created), "expires",
                             cli_json_time(version->expires), "by", rotated ? "rotation" : "write",
                             "target", kt_info_note(info, version->version, "target")));
    }
    return json_pack("{s:s, s:o}", "name", kt_info_entry(info)->name, "versions", array);
}

static void print(const cli_t *cli, const kt_info_t *info)
{
    char created[CLI_TIME_SIZE], expires[CLI_TIME_SIZE];

    if (!cli->quiet)
        printf("%7s  %-9s  %-20s  %s\n", "VERSION", "STATE", "CREATED", "EXPIRES");
    for (size_t i = 0; i < kt_info_versions(info); i++) {
        const kt_version_t *version = kt_info_version(info, i);

        printf("%7llu  %-9s  %-20s  %s\n", (unsigned long long)version->version, version->state,
               cli_time(version->created, created), cli_time(version->expires, expires));
    }
}

kt_status_t verb_versions(cli_t *cli)
{
    return cli_info(cli, as_json, print);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_policy.c: does the policy let a server's worker do its work? What PostgreSQL's roles may
 * rotate, the background worker has to be able to find and finish after a crash: without that right
 * the role keeps a password that the store does not give to anybody.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* Patterns are compared as texts: a star is matched by a star, which matches at least as much. */
static bool may_finish(const kt_config_t *config, const char *worker, const char *names)
{
    bool may = kt_policy_check(config, worker, KT_CAP_LIST, names) == KT_SUCCESS &&
               kt_policy_check(config, worker, KT_CAP_ROTATE, names) == KT_SUCCESS;

    kt_failure_clear();
    return may;
}

static void describe(const kt_config_t *config, const char *worker, const char *names, char *text,
                     size_t size)
{
    char line[KT_SUBJECT_MAX + KT_NAME_MAX + 128], sed[2 * PATH_MAX], path[2 * PATH_MAX];

    (void)snprintf(line, sizeof(line),
                   "/^policy:/a\\  - {who: \"%s\", allow: [rotate, list], names: [\"%s\"]}", worker,
                   names);
    (void)snprintf(text, size,
                   "the policy does not let %s list and rotate %s, so a rotation that a crash "
                   "interrupts is not finished and the role's password stays unknown: `sed -i %s "
                   "%s`",
                   worker, names, kt_shell_word(line, sed), kt_shell_word(config->path, path));
}

kt_status_t kt_check_worker(const kt_config_t *config, const char *stream, const char *worker,
                            char *ret_text, size_t size)
{
    char subjects[KT_SUBJECT_MAX + 1];
    size_t i, n;

    (void)snprintf(subjects, sizeof(subjects), "%s:*", stream);
    for (i = 0; i < config->nrules; i++) {
        const kt_cfg_rule_t *rule = &config->rules[i];

        for (n = 0; n < rule->nnames; n++) {
            if ((kt_policy_grants(config, rule, rule->names[n], subjects) & KT_CAP_ROTATE) == 0 ||
                may_finish(config, worker, rule->names[n]))
                continue;
            describe(config, worker, rule->names[n], ret_text, size);
            return KT_DENIED;
        }
    }
    return KT_SUCCESS;
}

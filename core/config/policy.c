/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy.c: who may do what. Everything is denied by default, and a rule that denies always wins.
 */
#include "config.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned bit;
} capabilities[] = {
    {"read", KT_CAP_READ},   {"write", KT_CAP_WRITE},   {"rotate", KT_CAP_ROTATE},
    {"list", KT_CAP_LIST},   {"delete", KT_CAP_DELETE}, {"admin", KT_CAP_ADMIN},
    {"state", KT_CAP_STATE},
};

const char *kt_capability_name(unsigned capability)
{
    for (size_t i = 0; i < KT_ARRAY(capabilities); i++)
        if (capabilities[i].bit == capability)
            return capabilities[i].name;
    return "unknown";
}

unsigned kt_capability_parse(const char *name, size_t len)
{
    for (size_t i = 0; i < KT_ARRAY(capabilities); i++)
        if (strlen(capabilities[i].name) == len && memcmp(capabilities[i].name, name, len) == 0)
            return capabilities[i].bit;
    return 0;
}

/* The group that the rule is for; NULL: it is for no group. */
static const char *group_of(const kt_cfg_rule_t *rule)
{
    size_t size = strlen(KT_MEMBER);

    return strncmp(rule->who, KT_MEMBER, size) == 0 ? rule->who + size : NULL;
}

/* Is the rule for this subject, or for a group whose rights it has? If that is not known, only what
 * the rule denies counts. */
static bool is_for(const kt_config_t *config, const kt_cfg_rule_t *rule, bool denies,
                   const char *subject)
{
    const char *group = group_of(rule);
    int member;

    if (kt_pattern_match(rule->who, subject))
        return true;
    if (group == NULL || config->is_member == NULL)
        return false;
    member = config->is_member(config->member_arg, subject, group);
    return member > 0 || (member < 0 && denies);
}

bool kt_policy_asks(const kt_config_t *config)
{
    for (size_t i = 0; config->is_member != NULL && i < config->nrules; i++)
        if (group_of(&config->rules[i]) != NULL)
            return true;
    return false;
}

/* Subject and name may be patterns too: then the rule applies to everything they match. */
static bool applies(const kt_config_t *config, const kt_cfg_rule_t *rule, bool denies,
                    const char *subject, const char *name)
{
    if (!is_for(config, rule, denies, subject))
        return false;
    for (size_t i = 0; i < rule->nnames; i++)
        if (kt_pattern_match(rule->names[i], name))
            return true;
    return false;
}

/* A subject ends up in the audit log and in other logs, so it has no control characters. */
static bool subject_valid(const char *subject)
{
    size_t len = strnlen(subject, KT_SUBJECT_MAX + 1);

    if (len == 0 || len > KT_SUBJECT_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (kt_is_control(subject[i]))
            return false;
    return true;
}

kt_status_t kt_policy_judge(const kt_config_t *config, const char *subject, unsigned capability,
                            const char *name, const kt_cfg_rule_t **ret_rule)
{
    const kt_cfg_rule_t *allowed = NULL;

    *ret_rule = NULL;
    if (subject == NULL || !subject_valid(subject))
        return kt_fail(KT_DENIED, "%s of %s: the host names no valid subject",
                       kt_capability_name(capability), name);
    for (size_t i = 0; i < config->nrules; i++) {
        const kt_cfg_rule_t *rule = &config->rules[i];
        bool denies = (rule->deny & capability) != 0;

        if ((!denies && (rule->allow & capability) == 0) ||
            !applies(config, rule, denies, subject, name))
            continue;
        if (denies) {
            *ret_rule = rule;
            return kt_fail(KT_DENIED, "%s may not %s %s: denied by %s:%d", subject,
                           kt_capability_name(capability), name, config->path, rule->line);
        }
        allowed = rule;
    }
    *ret_rule = allowed;
    if (allowed == NULL)
        return kt_fail(KT_DENIED, "%s may not %s %s: no rule in %s allows it", subject,
                       kt_capability_name(capability), name, config->path);
    return KT_SUCCESS;
}

kt_status_t kt_policy_check(const kt_config_t *config, const char *subject, unsigned capability,
                            const char *name)
{
    const kt_cfg_rule_t *rule;

    return kt_policy_judge(config, subject, capability, name, &rule);
}

/* Is there a text that both patterns match? If both have stars, the parts between the first and the
 * last star always fit somewhere, so only the two ends can conflict. */
bool kt_pattern_overlap(const char *a, const char *b)
{
    const char *a_last = strrchr(a, '*'), *b_last = strrchr(b, '*');
    size_t a_head = strcspn(a, "*"), b_head = strcspn(b, "*"), a_tail, b_tail, head, tail;

    if (a_last == NULL)
        return kt_pattern_match(b, a);
    if (b_last == NULL)
        return kt_pattern_match(a, b);
    a_tail = strlen(a_last + 1);
    b_tail = strlen(b_last + 1);
    head = a_head < b_head ? a_head : b_head;
    tail = a_tail < b_tail ? a_tail : b_tail;
    return memcmp(a, b, head) == 0 &&
           strcmp(a_last + 1 + a_tail - tail, b_last + 1 + b_tail - tail) == 0;
}

unsigned kt_policy_grants(const kt_config_t *config, const kt_cfg_rule_t *rule, const char *names,
                          const char *subjects)
{
    unsigned granted = kt_pattern_overlap(rule->who, subjects) ? rule->allow : 0;

    for (size_t i = 0; i < config->nrules; i++)
        if (applies(config, &config->rules[i], /* denies= */ true, subjects, names))
            granted &= ~config->rules[i].deny;
    return granted;
}

/* The rule that denies all that both patterns match, or NULL. */
static const kt_cfg_rule_t *denied_by(const kt_config_t *config, const char *subject,
                                      unsigned capability, const char *a, const char *b)
{
    for (size_t i = 0; i < config->nrules; i++) {
        const kt_cfg_rule_t *rule = &config->rules[i];

        if ((rule->deny & capability) != 0 &&
            (applies(config, rule, /* denies= */ true, subject, a) ||
             applies(config, rule, /* denies= */ true, subject, b)))
            return rule;
    }
    return NULL;
}

kt_status_t kt_policy_any(const kt_config_t *config, const char *subject, unsigned capability,
                          const char *names, const kt_cfg_rule_t **ret_rule)
{
    *ret_rule = NULL;
    if (subject == NULL || !subject_valid(subject))
        return kt_fail(KT_DENIED, "%s of %s: the host names no valid subject",
                       kt_capability_name(capability), names);
    for (size_t i = 0; i < config->nrules; i++) {
        const kt_cfg_rule_t *rule = &config->rules[i];

        if ((rule->allow & capability) == 0 || !is_for(config, rule, /* denies= */ false, subject))
            continue;
        for (size_t k = 0; k < rule->nnames; k++) {
            if (!kt_pattern_overlap(rule->names[k], names))
                continue;
            *ret_rule = denied_by(config, subject, capability, rule->names[k], names);
            if (*ret_rule == NULL) {
                *ret_rule = rule;
                return KT_SUCCESS;
            }
        }
    }
    if (*ret_rule != NULL)
        return kt_fail(KT_DENIED, "%s may not %s %s: denied by %s:%d", subject,
                       kt_capability_name(capability), names, config->path, (*ret_rule)->line);
    return kt_fail(KT_DENIED, "%s may not %s %s: no rule in %s allows it", subject,
                   kt_capability_name(capability), names, config->path);
}

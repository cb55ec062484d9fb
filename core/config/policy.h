/* SPDX-License-Identifier: BSD-2-Clause */
/* policy.h: who may do what: the rules of the configuration. */
#ifndef KT_POLICY_H
#define KT_POLICY_H

#include "config.h"

enum {
    KT_CAP_READ = 1,
    KT_CAP_WRITE = 2,
    KT_CAP_ROTATE = 4,
    KT_CAP_LIST = 8,
    KT_CAP_DELETE = 16,
    KT_CAP_ADMIN = 32,
    KT_CAP_STATE = 64,
    KT_CAP_LAST = KT_CAP_STATE
};

#define KT_MEMBER "postgresql:member:"

/* May an answer change while the configuration stays, because a host is asked for members? */
bool kt_policy_asks(const kt_config_t *config);
/* KT_SUCCESS or KT_DENIED; an explicit deny wins, and no rule is a denial. */
kt_status_t kt_policy_check(const kt_config_t *config, const char *subject, unsigned capability,
                            const char *name);
/* The same, with the rule that decides; NULL: there is none. */
kt_status_t kt_policy_judge(const kt_config_t *config, const char *subject, unsigned capability,
                            const char *name, const kt_cfg_rule_t **ret_rule);
/* May the subject do it with any name that matches the pattern `names`? */
kt_status_t kt_policy_any(const kt_config_t *config, const char *subject, unsigned capability,
                          const char *names, const kt_cfg_rule_t **ret_rule);
/* Can any host have this subject? Else KT_USAGE with the nearest kind. */
kt_status_t kt_who_is_subject(const char *who);
/* Is there a text that both patterns match? */
bool kt_pattern_overlap(const char *a, const char *b);
/* The KT_CAP_* that this rule gives to at least one of the subjects that the pattern `subjects`
 * matches ("nginx:*", "uid:deploy"), on the names of one of its own patterns. What a rule denies to
 * all of these subjects on all of these names is left out. */
unsigned kt_policy_grants(const kt_config_t *config, const kt_cfg_rule_t *rule, const char *names,
                          const char *subjects);
const char *kt_capability_name(unsigned capability);
unsigned kt_capability_parse(const char *name, size_t len); /* 0: there is none of this name */

#endif /* KT_POLICY_H */

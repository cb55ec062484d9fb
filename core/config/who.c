/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * who.c: the kinds of subjects. A rule for a kind that no host has would never apply, and its
 * author would believe that it does.
 */
#include <string.h>

#include "parse.h"
#include "policy.h"

/* What hosts put in front of a name (serve/, the hosts). */
static const char *const kinds[] = {
    "nginx:", "redis:", "postgresql:role:", "postgresql:member:", "postgresql:worker",
    "uid:",   "api:"};
/* What people write instead, further away than a misspelling. */
static const struct {
    const char *word, *kind;
} habits[] = {
    {"user", "uid"},      {"os", "uid"},
    {"unix", "uid"},      {"postgres", "postgresql"},
    {"pg", "postgresql"}, {"role", "postgresql:role"},
    {"www", "nginx"},
};

static bool exists(const char *who)
{
    char pattern[32];
    size_t i, size;

    for (i = 0; i < KT_ARRAY(kinds); i++) {
        size = strlen(kinds[i]);
        memcpy(pattern, kinds[i], size + 1);
        if (pattern[size - 1] == ':')
            memcpy(pattern + size, "*", 2);
        if (kt_pattern_overlap(who, pattern))
            return true;
    }
    return false;
}

static const char *nearest(const char *word)
{
    static const char *const names[] = {"nginx", "redis", "postgresql", "uid", "api", NULL};
    size_t i;

    for (i = 0; i < KT_ARRAY(habits); i++)
        if (strcmp(word, habits[i].word) == 0)
            return habits[i].kind;
    return kt_nearest(word, names);
}

/* Why no subject can be called that, as the failure of this thread. */
static kt_status_t refuse(kt_status_t status, const char *who)
{
    char word[32] = "";
    size_t size = strcspn(who, ":");
    const char *near;

    if (size < sizeof(word))
        memcpy(word, who, size);
    near = nearest(word);
    if (near != NULL && strcmp(near, word) != 0)
        return kt_fail(status, "no host has subjects like `%s` (did you mean %s:%s?)", who, near,
                       who[size] == ':' ? who + size + 1 : "NAME");
    return kt_fail(status,
                   "no host has subjects like `%s`: they begin with nginx:, redis:, "
                   "postgresql:role:, postgresql:member:, uid: or api:, or are postgresql:worker",
                   who);
}

kt_status_t kt_who_check(const char *path, int line, const char *who)
{
    if (exists(who))
        return KT_SUCCESS;
    (void)refuse(KT_CONFIG, who);
    return kt_config_fail(path, line, "`who`: %s", kt_failure());
}

kt_status_t kt_who_is_subject(const char *who)
{
    return exists(who) ? KT_SUCCESS : refuse(KT_USAGE, who);
}

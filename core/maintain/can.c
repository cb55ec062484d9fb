/* SPDX-License-Identifier: BSD-2-Clause */
/* can.c: would a request be allowed: the rule and the key that decide. */
#include <stdio.h>
#include <string.h>

#include "maintain.h"

/* Whose key a subject's host reads; "": not known. */
static void stream_of(const char *subject, char *stream, size_t size)
{
    static const struct {
        const char *kind, *stream;
        bool named; /* with the name of the subject at its end */
    } hosts[] = {
        {"nginx:", "nginx", false},
        {"redis:", "redis", false},
        {"postgresql:", "postgresql", false},
        {"uid:", "cli-", true},
    };
    size_t i;

    stream[0] = '\0';
    for (i = 0; i < KT_ARRAY(hosts); i++)
        if (strncmp(subject, hosts[i].kind, strlen(hosts[i].kind)) == 0)
            (void)snprintf(stream, size, "%s%s", hosts[i].stream,
                           hosts[i].named ? subject + strlen(hosts[i].kind) : "");
}

/* Only files are looked at: a command or a passphrase is for the host itself. */
static int look_into_key(const kt_setup_t *setup, const char *stream, const kt_cfg_key_t *key,
                         const char *name)
{
    size_t size = strcspn(name, "/*");
    char type[KT_NAME_MAX + 1];
    kt_keyring_t *keyring;
    const kt_typekey_t *found;
    int held;

    if (strncmp(key->source, "file:", 5) != 0 || name[size] == '*' || size >= sizeof(type))
        return -1;
    (void)snprintf(type, sizeof(type), "%.*s", (int)size, name);
    if (kt_keyring_read(setup->config, stream, &keyring) != KT_SUCCESS)
        return -1;
    held = kt_keyring_type(keyring, name[size] == '/' ? type : "general", 0, &found) == KT_SUCCESS;
    kt_keyring_free(keyring);
    return held;
}

static kt_status_t judge(kt_setup_t *setup, const char *subject, unsigned wanted, const char *name,
                         kt_can_t *ret_can)
{
    const kt_cfg_rule_t *rule;
    const kt_cfg_key_t *key = NULL;
    bool pattern = strchr(name, '*') != NULL;
    kt_status_t status = pattern && wanted == KT_CAP_LIST
                             ? kt_policy_any(setup->config, subject, wanted, name, &rule)
                             : kt_policy_judge(setup->config, subject, wanted, name, &rule);

    ret_can->line = rule != NULL ? rule->line : 0;
    stream_of(subject, setup->asked, sizeof(setup->asked));
    if (setup->asked[0] != '\0') {
        ret_can->stream = setup->asked;
        key = kt_key_of(setup->config, setup->asked);
    }
    ret_can->key = key != NULL ? key->source : NULL;
    if (status != KT_SUCCESS)
        return status;
    if (key != NULL)
        ret_can->held = look_into_key(setup, setup->asked, key, name);
    kt_failure_clear();
    if (ret_can->stream != NULL && key == NULL)
        return kt_fail(KT_NOKEY, "%s:%d allows it, but there is no key for %s under `key:`",
                       setup->config->path, ret_can->line, setup->asked);
    if (ret_can->held == 0)
        return kt_fail(KT_NOKEY, "%s:%d allows it, but %s does not have the key of its type",
                       setup->config->path, ret_can->line, ret_can->key);
    return KT_SUCCESS;
}

kt_status_t kt_can(kt_setup_t *setup, const char *subject, const char *capability, const char *name,
                   kt_can_t *ret_can)
{
    unsigned wanted = kt_capability_parse(capability, strlen(capability));
    kt_can_t can = KT_CAN_INIT;
    const char *why = NULL;
    kt_status_t status;

    if (setup->config == NULL)
        return setup->status;
    kt_failure_clear();
    if (wanted == 0)
        status = kt_fail(
            KT_USAGE,
            "not a capability: it must be read, write, rotate, list, delete, admin or state");
    else if (strcmp(name, "*") != 0 && wanted != KT_CAP_LIST &&
             kt_name_check(name, 0, &why) != KT_SUCCESS)
        status = kt_fail(KT_USAGE, "not a name: %s", why != NULL ? why : "it is empty");
    else if (kt_pattern_check(name) != KT_SUCCESS || kt_who_is_subject(subject) != KT_SUCCESS)
        status = KT_USAGE;
    else
        status = judge(setup, subject, wanted, name, &can);
    can.size = ret_can->size;
    *ret_can = can;
    (void)snprintf(setup->error, sizeof(setup->error), "%s",
                   status == KT_SUCCESS ? "" : kt_failure());
    return status;
}

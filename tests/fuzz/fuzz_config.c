/* SPDX-License-Identifier: BSD-2-Clause */
/* Configurations: one that is accepted is complete; the error of any other names its line. */
#include <stdlib.h>
#include <string.h>

#include "config/parse.h"
#include "fuzz.h"

#define FUZZ_PATH "/fuzz.yaml"

static void check_config(const kt_config_t *config)
{
    must(config->environment[0] != '\0' && config->audit_path != NULL);
    must(config->cache_ttl >= 0 && config->cache_negative >= 0 && config->cache_stale >= 0);
    must((config->nproviders == 0) == (config->nroutes == 0));
    for (size_t i = 0; i < config->nroutes; i++) {
        must(kt_pattern_check(config->routes[i].pattern) == KT_SUCCESS);
        must(config->routes[i].nsteps > 0 && config->routes[i].nsteps <= config->nproviders);
        for (size_t j = 0; j < config->routes[i].nsteps; j++) {
            must(config->routes[i].steps[j].provider < config->nproviders);
            must(!config->routes[i].steps[j].go_on[KT_SUCCESS]);
        }
    }
    for (size_t i = 0; i < config->nrules; i++) {
        must(config->rules[i].who != NULL && config->rules[i].nnames > 0);
        must((config->rules[i].allow | config->rules[i].deny) != 0);
    }
    for (size_t i = 0; i < config->nkeys; i++)
        must(config->keys[i].source != NULL);
    (void)kt_policy_check(config, "nginx:fuzz", KT_CAP_READ, "api-keys/fuzz");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kt_config_t *config = NULL;
    kt_status_t status = kt_config_parse(FUZZ_PATH, (const char *)data, size, &config);

    if (status == KT_SUCCESS) {
        check_config(config);
        kt_config_unref(config);
        return 0;
    }
    must(status == KT_CONFIG && config == NULL);
    must(strncmp(kt_failure(), FUZZ_PATH ":", sizeof(FUZZ_PATH)) == 0);
    must(atoi(kt_failure() + sizeof(FUZZ_PATH)) > 0);
    return 0;
}

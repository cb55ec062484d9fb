/* SPDX-License-Identifier: BSD-2-Clause */
/* Key files: one that is accepted holds a key of the environment, and no error quotes the file.
 */
#include "fuzz.h"
#include "keys/source.h"

static void try_text(const uint8_t *data, size_t size, const char *environment)
{
    char *text = kt_locked_alloc(size + 1);
    kt_keyring_t *keyring = NULL;
    kt_status_t status;

    must(text != NULL);
    memcpy(text, data, size);
    status = kt_keyring_parse_text("/fuzz.key", text, size, environment, NULL, &keyring);
    must((status == KT_SUCCESS) == (keyring != NULL));
    kt_locked_free(text);
    if (keyring == NULL) {
        must(strncmp(kt_failure(), "/fuzz.key", 9) == 0);
        return;
    }
    must(keyring->nenv + keyring->ntypes > 0 && keyring->nenv <= KT_EPOCHS_MAX &&
         keyring->ntypes <= KT_TYPES_MAX);
    must(kt_name_check(keyring->environment, 0, NULL) == KT_SUCCESS);
    must(environment == NULL || strcmp(keyring->environment, environment) == 0);
    for (size_t i = 1; i < keyring->nenv; i++)
        must(keyring->env[i - 1].epoch > keyring->env[i].epoch);
    kt_keyring_free(keyring);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_text(data, size, FUZZ_ENVIRONMENT);
    return 0;
}

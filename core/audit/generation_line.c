/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * generation_line.c: what one line says about the generations of a store.
 *
 * A checkpoint has the generations of all types that its process could read, and of the catalogue
 * if it holds the environment key. A change has that of its type. Both have the id of their store.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generations.h"

#define GENERATION_MAX ((uint64_t)1 << 62) /* what is higher was not counted */

static bool take(const char *type, size_t size, const char *number, const char **ret_end,
                 kt_generation_t *ret_generation)
{
    char *end;

    ret_generation->number = strtoull(number, &end, 10);
    if (ret_end != NULL)
        *ret_end = end;
    if (size == 0 || size > KT_NAME_MAX || ret_generation->number > GENERATION_MAX)
        return false;
    memcpy(ret_generation->type, type, size);
    ret_generation->type[size] = '\0';
    return true;
}

/* An id up to its quote; *ret_end: after that. */
static bool take_id(const char *text, unsigned char ret_id[KT_ID_SIZE], const char **ret_end)
{
    const char *end;

    if (sodium_hex2bin(ret_id, KT_ID_SIZE, text, strcspn(text, "\""), NULL, NULL, &end) != 0 ||
        end != text + (size_t)2 * KT_ID_SIZE || *end != '"')
        return false;
    *ret_end = end + 1;
    return true;
}

/* ,"generations":{"local":{"#":"ID","@":3,"api-keys":12,...},...} */
const char *kt_audit_checkpoint(const char *line, const char *store,
                                unsigned char ret_id[KT_ID_SIZE])
{
    const char *at = strstr(line, ",\"action\":\"checkpoint\","), *end;
    char wanted[96];

    at = at != NULL ? strstr(at, ",\"generations\":{") : NULL;
    (void)snprintf(wanted, sizeof(wanted), "\"%.64s\":{\"#\":\"", store);
    at = at != NULL ? strstr(at, wanted) : NULL;
    if (at == NULL)
        return NULL;
    return take_id(at + strlen(wanted), ret_id, &end) ? end : NULL;
}

bool kt_audit_next_type(const char **at, kt_generation_t *ret_generation)
{
    const char *type = *at + 2;
    size_t size;

    if (strncmp(*at, ",\"", 2) != 0)
        return false;
    size = strcspn(type, "\"");
    return strncmp(type + size, "\":", 2) == 0 &&
           take(type, size, type + size + 2, at, ret_generation);
}

/* ,"generation":12,"store":"ID" of a change, or of `settle`, which has no reference if it is about
 * the catalogue. */
bool kt_audit_change(const char *line, const char *store, unsigned char ret_id[KT_ID_SIZE],
                     kt_generation_t *ret_generation)
{
    const char *number = strstr(line, ",\"generation\":"), *name, *end;
    char provider[128];
    size_t size;

    if (number == NULL)
        return false;
    (void)snprintf(provider, sizeof(provider), ",\"provider\":\"%.64s\",\"status\":\"success\"",
                   store);
    number += strlen(",\"generation\":");
    end = number + strspn(number, "0123456789");
    if (strstr(line, provider) == NULL || strncmp(end, ",\"store\":\"", 10) != 0 ||
        !take_id(end + 10, ret_id, &end))
        return false;
    name = strstr(line, ",\"reference\":\"");
    if (name == NULL)
        return strstr(line, ",\"action\":\"settle\",") != NULL &&
               take(KT_CATALOGUE_TYPE, strlen(KT_CATALOGUE_TYPE), number, NULL, ret_generation);
    name += strlen(",\"reference\":\"");
    size = strcspn(name, "/\"");
    return name[size] == '/' ? take(name, size, number, NULL, ret_generation)
                             : take("general", 7, number, NULL, ret_generation);
}

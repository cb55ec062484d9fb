/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hold.c
 *		What the library allocates and an error must not leave behind.
 *
 * A secret, an info or a rotation hangs on the current memory context: however the
 * context ends, the secret is wiped. A caller that is done earlier drops it.
 */
#include "compat.h"

#include "extension.h"
#include "utils/memutils.h"

typedef struct Held
{
	MemoryContextCallback callback;
	kt_secret_t *secret;
	kt_info_t  *info;
	kt_rotation_t *rotation;
} Held;

static void
release(void *arg)
{
	Held	   *held = arg;

	ktpg_verifier_forget(held->secret);
	kt_secret_free(held->secret);
	held->secret = NULL;
	kt_info_free(held->info);
	held->info = NULL;
	kt_rotation_leave(held->rotation);
	held->rotation = NULL;
}

static Held *
hold(void)
{
	Held	   *held = palloc0(sizeof(Held));

	held->callback.func = release;
	held->callback.arg = held;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &held->callback);
	return held;
}

/* A place for a secret; the library writes it there. */
kt_secret_t **
ktpg_hold_secret(void)
{
	return &hold()->secret;
}

/* A place for an info. */
kt_info_t **
ktpg_hold_info(void)
{
	return &hold()->info;
}

/* A place for a look at a secret, which has nothing to end. */
kt_rotation_t **
ktpg_hold_rotation(void)
{
	return &hold()->rotation;
}

/* Wipes what is held, now. */
void
ktpg_drop_secret(kt_secret_t **secret)
{
	ktpg_verifier_forget(*secret);
	kt_secret_free(*secret);
	*secret = NULL;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scram.c
 *		SCRAM-SHA-256 verifiers, made and compared outside palloc'd memory.
 *
 * The server has functions for this. They leave copies of the password and of
 * the keys in memory that is freed without being wiped, and they take the
 * number of iterations (or md5) from settings that any user may change. So the
 * derivation is done here, by the OpenSSL that the server links too: half the
 * time, no copy, a fixed cost. It can be cancelled, and what it costs is bounded:
 * a role may choose the iterations of its own verifier, and any session that
 * rotates it would have to pay for them.
 */
#include "compat.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <signal.h>

#include "common/saslprep.h"
#include "extension.h"
#include "libpq/crypt.h"
#include "port.h"

#define SCRAM_PREFIX		"SCRAM-SHA-256$"
#define SCRAM_ITERATIONS	4096
#define SCRAM_ITERATIONS_MAX	100000	/* of a verifier that is compared */
#define SCRAM_SLICE			10000	/* iterations between two looks for interrupts */
#define SCRAM_SALT_SIZE		16
#define SCRAM_KEY_SIZE		32
#define SHA256_BLOCK_SIZE	64
/* base64 of a key and of the largest salt that is read, each with its NUL */
#define SCRAM_KEY_TEXT		45
#define SCRAM_SALT_MAX		192

typedef struct ScramKeys
{
	unsigned char stored[SCRAM_KEY_SIZE];
	unsigned char server[SCRAM_KEY_SIZE];
} ScramKeys;

typedef struct ScramVerifier
{
	int			iterations;
	int			salt_size;
	unsigned char salt[SCRAM_SALT_MAX];
	unsigned char stored[SCRAM_KEY_SIZE];
} ScramVerifier;

/* HMAC-SHA256 with a key that is there already, as the states after its two pads. */
typedef struct Hmac
{
	EVP_MD_CTX *inner;
	EVP_MD_CTX *outer;
	EVP_MD_CTX *work;
} Hmac;

static void
hmac_free(Hmac *hmac)
{
	EVP_MD_CTX_free(hmac->inner);
	EVP_MD_CTX_free(hmac->outer);
	EVP_MD_CTX_free(hmac->work);
}

static bool
hmac_init(Hmac *hmac, const unsigned char *key, size_t size)
{
	unsigned char pad[SHA256_BLOCK_SIZE] = {0};
	bool		ok = true;

	hmac->inner = EVP_MD_CTX_new();
	hmac->outer = EVP_MD_CTX_new();
	hmac->work = EVP_MD_CTX_new();
	if (hmac->inner == NULL || hmac->outer == NULL || hmac->work == NULL)
		return false;
	if (size > sizeof(pad))
		ok = EVP_Digest(key, size, pad, NULL, EVP_sha256(), NULL) == 1;
	else
		memcpy(pad, key, size);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	ok = ok && EVP_DigestInit_ex(hmac->inner, EVP_sha256(), NULL) == 1 &&
		EVP_DigestUpdate(hmac->inner, pad, sizeof(pad)) == 1;
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	ok = ok && EVP_DigestInit_ex(hmac->outer, EVP_sha256(), NULL) == 1 &&
		EVP_DigestUpdate(hmac->outer, pad, sizeof(pad)) == 1;
	explicit_bzero(pad, sizeof(pad));
	return ok;
}

/* `out` may be `text`. */
static bool
hmac_run(Hmac *hmac, const unsigned char *text, size_t size, const unsigned char *more,
		 size_t more_size, unsigned char *out)
{
	return EVP_MD_CTX_copy_ex(hmac->work, hmac->inner) == 1 &&
		EVP_DigestUpdate(hmac->work, text, size) == 1 &&
		EVP_DigestUpdate(hmac->work, more, more_size) == 1 &&
		EVP_DigestFinal_ex(hmac->work, out, NULL) == 1 &&
		EVP_MD_CTX_copy_ex(hmac->work, hmac->outer) == 1 &&
		EVP_DigestUpdate(hmac->work, out, SCRAM_KEY_SIZE) == 1 &&
		EVP_DigestFinal_ex(hmac->work, out, NULL) == 1;
}

/* The one block of PBKDF2 that SCRAM-SHA-256 needs. Raises an error when it is cancelled. */
static bool
salted_password(Hmac *hmac, const unsigned char *salt, int salt_size, int iterations,
				unsigned char salted[SCRAM_KEY_SIZE], unsigned char u[SCRAM_KEY_SIZE])
{
	static const unsigned char one[4] = {0, 0, 0, 1};

	if (!hmac_run(hmac, salt, salt_size, one, sizeof(one), u))
		return false;
	memcpy(salted, u, SCRAM_KEY_SIZE);
	for (int i = 1; i < iterations; i++)
	{
		if (i % SCRAM_SLICE == 0)
		{
			ktpg_debug_point("in_pbkdf2");
			CHECK_FOR_INTERRUPTS();
		}
		if (!hmac_run(hmac, u, SCRAM_KEY_SIZE, NULL, 0, u))
			return false;
		for (int k = 0; k < SCRAM_KEY_SIZE; k++)
			salted[k] ^= u[k];
	}
	return true;
}

/* The same for a password, in any thread: with so few iterations nothing has to interrupt it. */
static bool
salt_quickly(const unsigned char *password, size_t size, const unsigned char *salt,
			 int salt_size, int iterations, unsigned char salted[SCRAM_KEY_SIZE])
{
	Hmac		hmac = {NULL, NULL, NULL};
	unsigned char u[SCRAM_KEY_SIZE];
	bool		ok = hmac_init(&hmac, password, size) &&
		salted_password(&hmac, salt, salt_size, iterations, salted, u);

	hmac_free(&hmac);
	explicit_bzero(u, sizeof(u));
	if (!ok)
		explicit_bzero(salted, SCRAM_KEY_SIZE);
	return ok;
}

/* The same for any number of them, and nothing of it is left, whatever happens. */
static bool
salt_password(const unsigned char *password, size_t size, const unsigned char *salt,
			  int salt_size, int iterations, unsigned char salted[SCRAM_KEY_SIZE])
{
	Hmac		hmac = {NULL, NULL, NULL};
	unsigned char u[SCRAM_KEY_SIZE];
	/* before PG_TRY(), which may forget what is changed inside */
	bool		is_ready = hmac_init(&hmac, password, size);
	volatile bool ok = false;

	PG_TRY();
	{
		ok = is_ready && salted_password(&hmac, salt, salt_size, iterations, salted, u);
	}
	PG_FINALLY();
	{
		hmac_free(&hmac);
		explicit_bzero(u, sizeof(u));
		if (!ok)
			explicit_bzero(salted, SCRAM_KEY_SIZE);
	}
	PG_END_TRY();
	return ok;
}

/* Derives the keys of a password that is prepared already. */
static bool
derive_keys(const unsigned char *password, size_t size, const unsigned char *salt,
			int salt_size, int iterations, ScramKeys *keys)
{
	unsigned char salted[SCRAM_KEY_SIZE];
	unsigned char client[SCRAM_KEY_SIZE];
	unsigned int n;
	bool		ok;

	ok = (iterations <= SCRAM_SLICE ? salt_quickly : salt_password)
		(password, size, salt, salt_size, iterations, salted) &&
		HMAC(EVP_sha256(), salted, sizeof(salted), (const unsigned char *) "Client Key",
			 10, client, &n) != NULL &&
		EVP_Digest(client, sizeof(client), keys->stored, &n, EVP_sha256(), NULL) == 1 &&
		HMAC(EVP_sha256(), salted, sizeof(salted), (const unsigned char *) "Server Key",
			 10, keys->server, &n) != NULL;
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client, sizeof(client));
	return ok;
}

static bool
is_ascii(const unsigned char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] == 0 || text[i] >= 0x80)
			return false;
	return true;
}

/*
 * Derives the keys of a password as a user would type it. SASLprep leaves
 * ASCII as it is; for anything else the server's own function is asked, whose
 * scratch memory is beyond our reach. Generated passwords are ASCII.
 */
static bool
password_keys(const kt_secret_t *password, const unsigned char *salt, int salt_size,
			  int iterations, ScramKeys *keys)
{
	const unsigned char *bytes = kt_secret_bytes(password);
	size_t		size = kt_secret_size(password);
	char	   *text;
	char	   *prepared = NULL;
	bool		ok;

	if (size == 0 || is_ascii(bytes, size))
		return size > 0 && derive_keys(bytes, size, salt, salt_size, iterations, keys);

	text = pnstrdup((const char *) bytes, size);
	if (strlen(text) == size && pg_saslprep(text, &prepared) == SASLPREP_SUCCESS)
	{
		ok = derive_keys((unsigned char *) prepared, strlen(prepared), salt, salt_size,
						 iterations, keys);
		explicit_bzero(prepared, strlen(prepared));
	}
	else
		ok = derive_keys(bytes, size, salt, salt_size, iterations, keys);
	explicit_bzero(text, strlen(text)); /* pnstrdup() took no more than this */
	pfree(text);
	return ok;
}

/* A verifier that is being made. */
typedef struct Making
{
	const kt_secret_t *password;
	unsigned char salt[SCRAM_SALT_SIZE];
	ScramKeys	keys;
	bool		ok;
	pthread_t	thread;
} Making;

static Making making;
static bool is_making = false;	/* the thread runs, or has not been joined */
static volatile bool is_awaited = false;	/* the thread is being joined */

/* Computes, and touches nothing that is the server's. */
static void *
make_keys(void *arg)
{
	Making	   *m = arg;

	ktpg_debug_watch("verifier", &is_awaited, kt_secret_bytes(m->password),
					 kt_secret_size(m->password));
	m->ok = derive_keys(kt_secret_bytes(m->password), kt_secret_size(m->password), m->salt,
						sizeof(m->salt), SCRAM_ITERATIONS, &m->keys);
	return NULL;
}

/*
 * Begins to make a verifier with a new salt, on another CPU if there is one. The
 * password must stay until ktpg_verifier_end() or ktpg_verifier_stop(). Signals
 * are for the thread of the server alone.
 */
void
ktpg_verifier_begin(const kt_secret_t *password)
{
	sigset_t	all;
	sigset_t	before;

	ktpg_verifier_stop();
	making.password = password;
	making.ok = false;
	is_awaited = false;
	if (!pg_strong_random(making.salt, sizeof(making.salt)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not make a random salt")));
	if (!is_ascii(kt_secret_bytes(password), kt_secret_size(password)))
		return;
	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
		return;
	is_making = pthread_create(&making.thread, NULL, make_keys, &making) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void
join_making(void)
{
	is_awaited = true;
	if (is_making)
		pthread_join(making.thread, NULL);
	is_making = false;
}

/* Of what was begun, the verifier: KTPG_VERIFIER_SIZE bytes at most. */
void
ktpg_verifier_end(char *verifier)
{
	unsigned char salt[4 * ((SCRAM_SALT_SIZE + 2) / 3) + 1];
	unsigned char stored[SCRAM_KEY_TEXT];
	unsigned char server[SCRAM_KEY_TEXT];

	join_making();
	if (!making.ok &&
		!password_keys(making.password, making.salt, sizeof(making.salt), SCRAM_ITERATIONS,
					   &making.keys))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not make a SCRAM verifier")));

	EVP_EncodeBlock(salt, making.salt, sizeof(making.salt));
	EVP_EncodeBlock(stored, making.keys.stored, sizeof(making.keys.stored));
	EVP_EncodeBlock(server, making.keys.server, sizeof(making.keys.server));
	explicit_bzero(&making, sizeof(making));
	snprintf(verifier, KTPG_VERIFIER_SIZE, SCRAM_PREFIX "%d:%s$%s:%s",
			 SCRAM_ITERATIONS, salt, stored, server);
}

/* After an error: nothing runs any more, and nothing is left. */
void
ktpg_verifier_stop(void)
{
	join_making();
	explicit_bzero(&making, sizeof(making));
}

/*
 * The password is about to be freed. After an error that comes before the
 * callbacks of the transaction's end, while the thread may still read it.
 */
void
ktpg_verifier_forget(const kt_secret_t *password)
{
	if (password != NULL && making.password == password)
		ktpg_verifier_stop();
}

/* Both at once. */
void
ktpg_verifier_make(const kt_secret_t *password, char *verifier)
{
	ktpg_verifier_begin(password);
	ktpg_verifier_end(verifier);
}

/* Decodes base64 of exactly `size` characters; returns the number of bytes, -1 if malformed. */
static int
decode_base64(const char *text, size_t size, unsigned char *bytes, size_t max)
{
	int			n;

	if (size == 0 || size % 4 != 0 || size / 4 * 3 > max)
		return -1;
	n = EVP_DecodeBlock(bytes, (const unsigned char *) text, (int) size);
	if (n < 0)
		return -1;
	return n - (text[size - 1] == '=') - (text[size - 2] == '=');
}

/* Takes a verifier of pg_authid apart. */
static bool
parse_verifier(const char *text, ScramVerifier *verifier)
{
	const char *salt;
	const char *stored;
	const char *server;
	unsigned char key[SCRAM_KEY_SIZE + 4];
	char	   *end;
	long		iterations;

	if (strncmp(text, SCRAM_PREFIX, strlen(SCRAM_PREFIX)) != 0)
		return false;
	iterations = strtol(text + strlen(SCRAM_PREFIX), &end, 10);
	if (*end != ':' || iterations < 1 || iterations > INT_MAX)
		return false;
	salt = end + 1;
	stored = strchr(salt, '$');
	server = stored == NULL ? NULL : strchr(stored, ':');
	if (server == NULL)
		return false;
	verifier->iterations = (int) iterations;
	verifier->salt_size = decode_base64(salt, stored - salt, verifier->salt,
										sizeof(verifier->salt));
	if (verifier->salt_size < 0 ||
		decode_base64(stored + 1, server - stored - 1, key, sizeof(key)) != SCRAM_KEY_SIZE)
		return false;
	memcpy(verifier->stored, key, SCRAM_KEY_SIZE);
	return true;
}

/* As an md5 role is compared: by the server, with copies that we wipe where we can. */
static bool
match_otherwise(const KtpgRole *role, const kt_secret_t *password)
{
	size_t		size = kt_secret_size(password);
	char	   *text = pnstrdup((const char *) kt_secret_bytes(password), size);
	KtpgLogDetail detail = NULL;
	bool		match;

	match = strlen(text) == size &&
		plain_crypt_verify(role->name, role->verifier, text, &detail) == STATUS_OK;
	explicit_bzero(text, strlen(text)); /* pnstrdup() took no more than this */
	pfree(text);
	return match;
}

/*
 * Would this password log the role in? KTPG_UNKNOWN if the verifier is
 * malformed, or would take more work than a rotation may cost.
 */
KtpgAnswer
ktpg_verifier_match(const KtpgRole *role, const kt_secret_t *password)
{
	ScramVerifier verifier;
	ScramKeys	keys;
	bool		match;

	if (role->verifier == NULL)
		return KTPG_NO;
	if (get_password_type(role->verifier) == PASSWORD_TYPE_MD5)
		return match_otherwise(role, password) ? KTPG_YES : KTPG_NO;
	if (!parse_verifier(role->verifier, &verifier) || verifier.iterations > SCRAM_ITERATIONS_MAX ||
		!password_keys(password, verifier.salt, verifier.salt_size, verifier.iterations, &keys))
		return KTPG_UNKNOWN;
	match = CRYPTO_memcmp(keys.stored, verifier.stored, SCRAM_KEY_SIZE) == 0;
	explicit_bzero(&keys, sizeof(keys));
	return match ? KTPG_YES : KTPG_NO;
}

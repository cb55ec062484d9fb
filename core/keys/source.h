/* SPDX-License-Identifier: BSD-2-Clause */
/* source.h: what the files about keys (keyfile.c, source.c, exec.c, kernel.c, passphrase.c,
 * recipient.c) share. */
#ifndef KT_SOURCE_H
#define KT_SOURCE_H

#include "keys.h"

#define KT_EXEC_LIMIT 30000u /* ms that a command may take */
#define KT_PHRASE_MIN 12u    /* bytes of a passphrase */
#define KT_PHRASE_MAX 1024u

/* The text of a key file, which is cut up. `where` is for errors; `phrase` NULL: a sealed key is
 * refused; given: a clear one is. */
kt_status_t kt_keyring_parse_text(const char *where, char *text, size_t size,
                                  const char *environment, const kt_secret_t *phrase,
                                  kt_keyring_t **ret_keyring);

/* ---- exec.c: what a command prints ---- */

/* Runs the words of `command` (the first one absolute) without a shell, for at most `limit` ms.
 * What it printed is in locked memory, with a NUL at its end. KT_CONFIG: it is not there, fails,
 * prints nothing or too much; KT_PERMISSION: others may change it; KT_UNAVAIL: too slow. */
kt_status_t kt_exec_read(const char *command, unsigned limit, char **ret_text, size_t *ret_size);

/* ---- kernel.c: the kernel's ---- */

/* The payload of the user key `description`, in locked memory, with a NUL at its end. KT_CONFIG,
 * KT_PERMISSION. */
kt_status_t kt_kernel_key(const char *description, char **ret_text, size_t *ret_size);

/* ---- passphrase.c: a key file under a passphrase ---- */

/* Asks on the controlling terminal, without echo. KT_CONFIG: there is none, or nothing was typed.
 */
kt_status_t kt_phrase_ask(const char *what, kt_secret_t **ret_phrase);
/* A private file, without the newline at its end. */
kt_status_t kt_phrase_read(const char *path, kt_secret_t **ret_phrase);
/* KT_USAGE for one that is too short or too long to be taken. */
kt_status_t kt_phrase_check(const kt_secret_t *phrase);
/* Appends "argon2id OPSLIMIT MEMLIMIT SALT SEALED" and a newline to `text`. */
kt_status_t kt_phrase_seal(const kt_secret_t *phrase, const char *environment,
                           const kt_envkey_t *keys, size_t count, char *text, size_t room);
/* Opens the words of such a line into the keyring. KT_WRONGKEY: another passphrase; KT_MALFORMED:
 * damaged; KT_CONFIG: below the floor. */
kt_status_t kt_phrase_open(const kt_secret_t *phrase, kt_keyring_t *keyring, char *const words[4]);

#endif /* KT_SOURCE_H */

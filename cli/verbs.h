/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of verbs, in the order of the help. Prototypes, parsing, --help and the completion are
 * made from it. A file that includes it defines VERB, which this file undefines at its end.
 *
 * VERB(FUNCTION, NAME, OPERANDS, MIN, MAX, FLAGS, SUMMARY, OPTIONS...)
 * - verb_FUNCTION() is in FUNCTION.c or FUNCTION/FUNCTION.c.
 * - OPERANDS as the help shows them. Their names, and those of the arguments of options, tell the
 *   completion what to offer: the table is in completion/words.c.
 * - MIN to MAX operands are allowed. With MAX -1 there is no limit, and the first one ends the
 *   options.
 * - FLAGS: CLI_VALUE, CLI_REMARKS in cli.h.
 * - SUMMARY NULL: the help leaves the verb out.
 *
 * OPTION(NAME, ARGUMENT, TEXT), or LETTERED(LETTER, NAME, ARGUMENT, TEXT): also -LETTER
 * - ARGUMENT as the help shows it; NULL: the option has none.
 */
VERB(init, "init", "DIR|--system", 0, 1, 0, "make a home: configuration, key, store, audit folders",
     OPTION("system", NULL,
            "for this machine's nginx, Redis and PostgreSQL, in " KT_SYSCONFDIR
            "/keyturn; as root"),
     OPTION("environment", "E",
            "development, staging, production or another name [$ENVIRONMENT, else development]"),
     OPTION("user", "USER",
            "with --system: another user who may read; USER:TYPE,... [type api-keys]"),
     OPTION("audit-key", "FILE", "write the audit key to this new file [it is shown once]"),
     OPTION("restore", "BACKUP", "with --system: the store of a machine that is lost"),
     OPTION("key", "KEYFILE", "with --restore: the environment's key of that machine"),
     OPTION("recipient-key", "FILE", "with --restore: the private key of the backup's recipient"))
VERB(keygen, "keygen", "OUT", 1, 1, 0, "make a key file",
     OPTION("environment", "E", "the environment of a new key [the configuration's]"),
     OPTION("types", "T,...", "only the keys of these types, derived from the configuration's key"),
     OPTION("epoch", NULL, "the configuration's key with one more epoch"),
     OPTION("passphrase", "F",
            "encrypt it with the passphrase in this file; - is stdin or a prompt"),
     OPTION("stream", "NAME", "make the folder OUT of an audit stream instead of a key file"),
     OPTION("audit-key", "FILE", "the audit key with which the stream begins"),
     OPTION("recipient", NULL, "make a pair of keys for backups instead, OUT and OUT.pub"))
VERB(grant, "grant", "HOST|USER TYPE...", 2, -1, 0,
     "give the key file of a server or user the keys of more types", NO_OPTIONS)
VERB(set, "set", "NAME", 1, 1, CLI_VALUE,
     "store a value: from stdin, a prompt or a file; prints the new version",
     OPTION("file", "F", "take the value from this file; - is stdin"),
     OPTION("field", "K", "replace one field of the JSON object, keep the others"),
     OPTION("expires", "T", "when reads end: 90d, 12h, 30m, 45s, 2w or an RFC 3339 time [never]"),
     OPTION("meta", "K=V", "metadata, any number of times; K= removes it"),
     OPTION("cas", "N", "only if N is the current version (0: only if there is none yet)"),
     OPTION("force", NULL, "even if a target or PostgreSQL manages it, or if it is a JSON object"))
VERB(generate, "generate", "NAME", 1, 1, 0, "a new secret with a made-up value; prints its version",
     OPTION("length", "N", "characters of the value, 16 to 1024 [32]"),
     OPTION("alphabet", "CLASS", "alnum, urlsafe, symbols, hex or uuid [alnum]"),
     OPTION("field", "K", "a new field of a JSON object, which may exist already"),
     OPTION("meta", "K=V", "metadata, any number of times"))
VERB(meta, "meta", "NAME [K=V]...", 1, CLI_GIVEN_MAX, 0,
     "show or change metadata alone; the value and its version stay",
     OPTION("unset", "K", "remove this metadata; any number of times"))
VERB(get, "get", "REFERENCE", 1, 1, 0, "write a value, byte for byte; masked on a terminal",
     OPTION("reveal", NULL, "show it on a terminal, or in the JSON object"),
     OPTION("mask", "STYLE", "write its mask instead, everywhere: full, or partial (both ends)"))
VERB(list, "list", "[PATTERN]", 0, 1, 0, "names, versions and states",
     OPTION("usage", NULL, "how often each was read, and the last time and reader"))
VERB(info, "info", "NAME", 1, 1, 0, "metadata of a secret, never its value", NO_OPTIONS)
VERB(versions, "versions", "NAME", 1, 1, 0, "kept versions of a secret, newest first", NO_OPTIONS)
VERB(rotate, "rotate", "[NAME]", 0, 1, CLI_VALUE,
     "a new random value, or one from a file; prints the new version",
     OPTION("generate", NULL, "even if the value was issued by somebody else"),
     OPTION("length", "N", "characters of the random value, 16 to 1024 [32]"),
     OPTION("alphabet", "CLASS", "alnum, urlsafe, symbols, hex or uuid [alnum]"),
     OPTION("file", "F", "take the new value from this file; - is stdin"),
     OPTION("store-only", NULL, "a database password that you change on the server yourself"),
     OPTION("due", NULL, "instead of NAME: all that are due by their metadata `rotation`"),
     OPTION("type", "T", "instead of NAME, or with --due: those of this type"),
     OPTION("all", NULL, "instead of NAME: all of them"),
     OPTION("dry-run", NULL, "only print which would be rotated, which not, and why"))
VERB(rollback, "rollback", "NAME [VERSION]", 1, 2, 0,
     "make the previous or an older version current again", NO_OPTIONS)
VERB(delete, "delete", "NAME", 1, 1, 0, "end reads of a secret, keep its versions", NO_OPTIONS)
VERB(undelete, "undelete", "NAME", 1, 1, 0, "bring a deleted secret back", NO_OPTIONS)
VERB(destroy, "destroy", "NAME VERSION|--all", 1, 2, 0,
     "erase a version, or the whole secret, for good",
     OPTION("all", NULL, "every version, the current one too"), OPTION("yes", NULL, "do not ask"))
VERB(audit_tail, "audit tail", "[STREAM]", 0, 1, 0,
     "the last 20 audit records of all streams, by time",
     LETTERED('n', "lines", "N", "so many instead of 20"),
     OPTION("follow", NULL, "keep printing new records"))
VERB(audit_log, "audit log", "", 0, 0, 0,
     "who had which version of what, and from where",
     OPTION("name", "P", "of secrets with such a name; stars stand for anything"),
     OPTION("version", "N", "that served or made this version"),
     OPTION("subject", "P", "of such a subject or actor"),
     OPTION("action", "A", "read, write, rotate (with its steps) ..."),
     OPTION("stream", "S", "of this stream"),
     OPTION("since", "T", "from T on: 90d, 12h, 30m, 45s or 2w ago, or an RFC 3339 time"),
     OPTION("until", "T", "before T"))
VERB(audit_verify, "audit verify", "[DIR]", 0, 1, 0,
     "prove that the audit logs are complete and unchanged",
     OPTION("audit-key", "FILE", "also prove, with the audit key, who wrote them"),
     OPTION("received", "FILE", "also prove that the logs have each seal that a sink received"),
     OPTION("complete", NULL, "also demand the logs that retention removed"))
VERB(audit_report, "audit report", "[DIR]", 0, 1, 0,
     "who was refused, what failed, who read and changed what",
     OPTION("since", "T", "only from T on: 90d, 12h, 30m, 45s or 2w ago, or an RFC 3339 time"))
VERB(can, "can", "SUBJECT CAPABILITY NAME", 3, 3, 0,
     "would this be allowed: the rule and the key that decide", NO_OPTIONS)
VERB(lockout, "lockout", "[list|clear SOURCE]", 0, 2, 0,
     "sources that were refused too often, or an end to a lock-out", NO_OPTIONS)
VERB(rekey, "rekey", "", 0, 0, 0,
     "move the store to the newest epoch of the key, while it is in use",
     OPTION("status", NULL, "only print the progress, and prove which epochs are unused"),
     OPTION("handed-out", NULL, "assume that key files which cannot be read here have that epoch"))
VERB(backup, "backup", "FILE", 1, 1, 0, "a consistent copy of the store in a new file, encrypted",
     OPTION("recipient", "FILE", "encrypt to this public key; only its private key can read it"))
VERB(restore, "restore", "FILE", 1, 1, 0,
     "replace the store with a backup; the audit log records it",
     OPTION("check", NULL, "only open and verify the whole file; no store is touched"),
     OPTION("going-back", NULL, "even if the store has something newer, or something else"),
     OPTION("recipient-key", "FILE", "the recipient's private key; - is stdin"))
VERB(import, "import", "--fernet STORE --key FILE", 0, 0, 0, "secrets of an older, encrypted file",
     OPTION("fernet", "STORE", "a Fernet token of a JSON object, or a JSON object of tokens"),
     OPTION("key", "FILE", "its Fernet key"),
     OPTION("prefix", "P", "goes in front of each name: api-keys/"),
     OPTION("map", "KEY=NAME", "another name for this key; any number of times"),
     OPTION("replace", NULL, "make a new version of a secret that has another value [refuse]"),
     OPTION("dry-run", NULL, "only print what would be done"))
VERB(verify, "verify", "", 0, 0, 0, "the whole store: seals, indexes, generations against anchors",
     OPTION("received", "FILE", "also against the checkpoints that a sink received; - is stdin"))
VERB(check, "check", "", 0, 0, CLI_REMARKS,
     "configuration, keys, permissions, reachability of each provider",
     OPTION("secrets", NULL, "and all secrets: weak, used twice, never read or very often"))
VERB(hash, "hash", "", 0, 0, CLI_VALUE,
     "an Argon2id hash, which recognises a value without showing it",
     OPTION("file", "F", "take the value from this file; - is stdin"),
     OPTION("check", "H",
            "compare with the hash in this file; prints a stronger hash if it is outdated"))
VERB(run, "run", "COMMAND [ARGUMENT]...", 1, -1, 0,
     "start a command with secrets in its environment",
     OPTION("map", "VAR=REF", "the variable and what goes into it; any number of times"))
VERB(completion, "completion", "[SHELL]", 0, -1, 0, NULL, NO_OPTIONS)
#undef VERB

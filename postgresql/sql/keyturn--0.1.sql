/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn 0.1 */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION keyturn" to load this file. \quit

-- What users call stands in the schema that CREATE EXTENSION chose, what the
-- extension keeps in a schema of its own. Nothing is granted to PUBLIC.

CREATE SCHEMA keyturn;

COMMENT ON SCHEMA keyturn IS 'what the extension keyturn keeps';

CREATE TABLE keyturn.rotation_history
(
	at timestamp with time zone NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	secret text NOT NULL,
	version bigint NOT NULL,
	role name NOT NULL,
	action text NOT NULL,
	by_role name NOT NULL,
	session_role name NOT NULL,
	client text NOT NULL,
	xid xid8 NOT NULL
);

COMMENT ON TABLE keyturn.rotation_history IS
	'rotations that were committed in this database; names only, never a value';

-- no number to identify a row: a restored sequence would hand out old ones
CREATE INDEX rotation_history_secret_at ON keyturn.rotation_history (secret, at);

REVOKE ALL ON TABLE keyturn.rotation_history FROM PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('keyturn.rotation_history', '');

-- Rotation

CREATE FUNCTION rotate_secret(name text)
RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_rotate_secret';

COMMENT ON FUNCTION rotate_secret(text) IS
	'gives the role that a secret names a new password; returns the new version';

REVOKE ALL ON FUNCTION rotate_secret(text) FROM PUBLIC;

CREATE FUNCTION rollback_secret(name text, version text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_rollback_secret';

COMMENT ON FUNCTION rollback_secret(text, text) IS
	'gives the role the password of an earlier version again; returns the new version';

REVOKE ALL ON FUNCTION rollback_secret(text, text) FROM PUBLIC;

-- Reading

CREATE FUNCTION get_secret(name text, field text DEFAULT NULL, version text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_get_secret';

COMMENT ON FUNCTION get_secret(text, text, text) IS
	'the value of a secret, or a field of it; the caller is responsible for where it goes';

REVOKE ALL ON FUNCTION get_secret(text, text, text) FROM PUBLIC;

CREATE FUNCTION list_secrets(pattern text DEFAULT NULL,
	OUT name text, OUT version bigint, OUT state text,
	OUT created timestamp with time zone, OUT updated timestamp with time zone,
	OUT expires timestamp with time zone)
RETURNS SETOF record
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_list_secrets';

COMMENT ON FUNCTION list_secrets(text) IS
	'names and states of secrets that match a pattern, as far as the caller may list them';

REVOKE ALL ON FUNCTION list_secrets(text) FROM PUBLIC;

CREATE FUNCTION secret_info(INOUT name text,
	OUT version bigint, OUT previous bigint, OUT pending bigint, OUT state text,
	OUT provider text, OUT created timestamp with time zone,
	OUT updated timestamp with time zone, OUT expires timestamp with time zone,
	OUT metadata jsonb,
	OUT accessed bigint, OUT last_accessed timestamp with time zone, OUT last_subject text,
	OUT last_stream text)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_secret_info';

COMMENT ON FUNCTION secret_info(text) IS 'what is known of a secret, its value excepted';

REVOKE ALL ON FUNCTION secret_info(text) FROM PUBLIC;

CREATE FUNCTION secret_versions(name text,
	OUT version bigint, OUT state text, OUT created timestamp with time zone,
	OUT expires timestamp with time zone)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_secret_versions';

COMMENT ON FUNCTION secret_versions(text) IS 'the versions of a secret that are kept, newest first';

REVOKE ALL ON FUNCTION secret_versions(text) FROM PUBLIC;

-- State

CREATE FUNCTION keyturn.rotation_states(
	OUT secret text, OUT role name, OUT version bigint, OUT pending bigint, OUT state text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_rotation_states';

COMMENT ON FUNCTION keyturn.rotation_states() IS
	'compares each role that was rotated in this cluster with the secret of its password';

REVOKE ALL ON FUNCTION keyturn.rotation_states() FROM PUBLIC;

CREATE VIEW keyturn.rotations AS
	SELECT secret, role, version, pending, state FROM keyturn.rotation_states();

COMMENT ON VIEW keyturn.rotations IS
	'each role whose password is rotated: in step, pending, promoting or drifted';

REVOKE ALL ON TABLE keyturn.rotations FROM PUBLIC;

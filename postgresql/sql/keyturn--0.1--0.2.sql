/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn 0.1 to 0.2 */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION keyturn UPDATE TO '0.2'" to load this file. \quit

-- CREATE EXTENSION runs keyturn--0.1.sql and then this file, so a server that
-- was upgraded has the same objects as a new one. 0.1 is not changed any more.
-- Nothing is granted to PUBLIC.

-- Whose secret it is

CREATE FUNCTION rotate_secret(name text, adopt boolean)
RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_rotate_secret';

COMMENT ON FUNCTION rotate_secret(text, boolean) IS
	'the same; with adopt the secret may be another cluster''s, whose clients are then locked out';

REVOKE ALL ON FUNCTION rotate_secret(text, boolean) FROM PUBLIC;

CREATE FUNCTION adopt_secret(name text, role regrole)
RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_adopt_secret';

COMMENT ON FUNCTION adopt_secret(text, regrole) IS
	'notes that a role has the current password of a secret; returns the version, and changes neither';

REVOKE ALL ON FUNCTION adopt_secret(text, regrole) FROM PUBLIC;

-- Role and secret agree again

CREATE FUNCTION keyturn.repair(name text, truth text, OUT was text, OUT became text)
RETURNS record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_repair';

COMMENT ON FUNCTION keyturn.repair(text, text) IS
	'makes a role and its secret agree: truth is "database" or "store", whichever is right';

REVOKE ALL ON FUNCTION keyturn.repair(text, text) FROM PUBLIC;

-- State

CREATE FUNCTION keyturn.rotation_states(pattern text DEFAULT '*', verify boolean DEFAULT false,
	OUT secret text, OUT role name, OUT role_oid oid, OUT cluster text,
	OUT version bigint, OUT pending bigint, OUT role_version bigint, OUT state text,
	OUT can_login boolean, OUT rotated_at timestamp with time zone,
	OUT due_at timestamp with time zone, OUT detail text)
RETURNS SETOF record
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_rotation_states_0_2';

COMMENT ON FUNCTION keyturn.rotation_states(text, boolean) IS
	'compares each role with the secret of its password; verify compares the passwords too';

REVOKE ALL ON FUNCTION keyturn.rotation_states(text, boolean) FROM PUBLIC;

-- 0.1's columns stay the first ones, so that views and grants on it outlive the update
CREATE OR REPLACE VIEW keyturn.rotations AS
	SELECT secret, role, version, pending, state, role_oid, cluster, role_version, can_login,
		rotated_at, due_at, detail
	FROM keyturn.rotation_states('*', false);

COMMENT ON VIEW keyturn.rotations IS
	'each role whose password is a secret, and whether the two agree';

-- nothing needs the old one any more
ALTER EXTENSION keyturn DROP FUNCTION keyturn.rotation_states();

DROP FUNCTION keyturn.rotation_states();

-- A view runs its functions as the caller. What a monitoring role may see of it is for the policy.
GRANT USAGE ON SCHEMA keyturn TO pg_monitor;

GRANT EXECUTE ON FUNCTION keyturn.rotation_states(text, boolean) TO pg_monitor;

GRANT SELECT ON TABLE keyturn.rotations TO pg_monitor;

-- Changes of the store alone

CREATE FUNCTION generate_secret(name text, length integer DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_generate_secret';

COMMENT ON FUNCTION generate_secret(text, integer, jsonb) IS
	'makes a new secret of random letters and digits; returns its version, never the value';

REVOKE ALL ON FUNCTION generate_secret(text, integer, jsonb) FROM PUBLIC;

CREATE FUNCTION delete_secret(name text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_delete_secret';

COMMENT ON FUNCTION delete_secret(text) IS
	'ends reads of a secret and keeps its versions; no role is changed';

REVOKE ALL ON FUNCTION delete_secret(text) FROM PUBLIC;

CREATE FUNCTION undelete_secret(name text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_undelete_secret';

COMMENT ON FUNCTION undelete_secret(text) IS 'lets a deleted secret be read again';

REVOKE ALL ON FUNCTION undelete_secret(text) FROM PUBLIC;

-- A procedure that commits may not have SET; this one names all that it uses

CREATE PROCEDURE keyturn.rotate(name text)
LANGUAGE c
AS 'MODULE_PATHNAME', 'keyturn_rotate';

COMMENT ON PROCEDURE keyturn.rotate(text) IS
	'rotate_secret() in several transactions, for providers across a network';

REVOKE ALL ON PROCEDURE keyturn.rotate(text) FROM PUBLIC;

-- Due rotations. A procedure that commits cannot have SET search_path: each transaction sets it.

CREATE PROCEDURE keyturn.rotate_due(pattern text DEFAULT '*',
	INOUT rotated integer DEFAULT 0, INOUT failed integer DEFAULT 0)
LANGUAGE c
AS 'MODULE_PATHNAME', 'keyturn_rotate_due';

COMMENT ON PROCEDURE keyturn.rotate_due(text, integer, integer) IS
	'rotates what is due of the passwords that this cluster manages, each in a transaction of its own';

REVOKE ALL ON PROCEDURE keyturn.rotate_due(text, integer, integer) FROM PUBLIC;

-- What goes with the extension

CREATE FUNCTION keyturn.warn_drop()
RETURNS event_trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'keyturn_warn_drop';

COMMENT ON FUNCTION keyturn.warn_drop() IS 'says that DROP EXTENSION keyturn drops its history';

REVOKE ALL ON FUNCTION keyturn.warn_drop() FROM PUBLIC;

CREATE EVENT TRIGGER keyturn_warn_drop ON ddl_command_start
	WHEN TAG IN ('DROP EXTENSION')
	EXECUTE FUNCTION keyturn.warn_drop();

COMMENT ON EVENT TRIGGER keyturn_warn_drop IS 'says that DROP EXTENSION keyturn drops its history';

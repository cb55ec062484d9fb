-- A role without a password, whose secret names it: "keyturn" is in the PATH, KEYTURN_CONFIG the configuration
CREATE ROLE regress_app LOGIN;
\! printf regress_app | keyturn set database/regress --field user
SELECT rotate_secret('database/regress') AS version;
SELECT rotate_secret('database/regress') AS version;
SELECT rolpassword LIKE 'SCRAM-SHA-256$4096:%' AS scram FROM pg_authid WHERE rolname = 'regress_app';
SELECT get_secret('database/regress', 'user');
SELECT get_secret('database/regress', 'password') ~ '^[A-Za-z0-9]{32}$' AS generated;
SELECT get_secret('database/regress', 'password') <> get_secret('database/regress', 'password', 'previous') AS another;
SELECT rollback_secret('database/regress') AS version;
SELECT rollback_secret('database/regress', 'current') AS version;
SELECT version, state FROM secret_versions('database/regress');
SELECT name, version, state FROM list_secrets('database/regress');
SELECT version, previous, pending, state, metadata FROM secret_info('database/regress');
SELECT secret, role, version, pending, role_version, state, can_login FROM keyturn.rotations WHERE secret = 'database/regress';
SELECT secret, version, role, action FROM keyturn.rotation_history ORDER BY at;
CALL keyturn.rotate('database/regress');
-- what cannot be
\set VERBOSITY sqlstate
SELECT rotate_secret('database/none');
SELECT rotate_secret('no name');
SELECT get_secret('database/regress', 'none');
SELECT get_secret('database/regress', 'password', '99');
SELECT rollback_secret('database/regress', '99');
BEGIN;
SELECT rotate_secret('database/regress');
ROLLBACK;
BEGIN;
CALL keyturn.rotate('database/regress');
ROLLBACK;
BEGIN READ ONLY;
SELECT rotate_secret('database/regress');
ROLLBACK;
ALTER ROLE regress_app NOLOGIN PASSWORD 'by other means';
SELECT rotate_secret('database/regress');
SELECT state FROM keyturn.rotations WHERE secret = 'database/regress';
SET ROLE regress_app;
SELECT rotate_secret('database/regress');
SELECT * FROM keyturn.rotations;
RESET ROLE;
\set VERBOSITY default
SELECT rotate_secret(NULL), rollback_secret(NULL), get_secret(NULL);
DROP ROLE regress_app;
SELECT role, state FROM keyturn.rotations WHERE secret = 'database/regress';

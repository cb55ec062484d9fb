-- Secrets that no role has
SELECT generate_secret('api-keys/regress') AS version;
SELECT get_secret('api-keys/regress') ~ '^[A-Za-z0-9]{32}$' AS generated;
SELECT generate_secret('api-keys/regress-long', 48, '{"rotation": "90d"}') AS version;
SELECT length(get_secret('api-keys/regress-long'));
SELECT version, state, metadata FROM secret_info('api-keys/regress-long');
SELECT delete_secret('api-keys/regress');
SELECT name, state FROM list_secrets('api-keys/regress*') ORDER BY name COLLATE "C";
SELECT undelete_secret('api-keys/regress');
SELECT name, state FROM list_secrets('api-keys/regress*') ORDER BY name COLLATE "C";
SELECT generate_secret(NULL), delete_secret(NULL), undelete_secret(NULL);
\set VERBOSITY terse
SELECT generate_secret('api-keys/regress');
SELECT generate_secret('api-keys/other', 15);
SELECT generate_secret('api-keys/other', 32, '{"a": 1}');
SELECT delete_secret('api-keys/none');
BEGIN;
SELECT generate_secret('api-keys/other');
ROLLBACK;
SELECT count(*) FROM list_secrets() WHERE name = 'api-keys/other';

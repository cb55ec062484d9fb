-- What CREATE EXTENSION makes, and that nothing of it is granted to PUBLIC
\pset format unaligned
\pset footer off
CREATE EXTENSION keyturn;
-- from 17 on, types of rows belong to an extension too
SELECT pg_describe_object(classid, objid, 0) AS object FROM pg_depend
WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'keyturn') AND deptype = 'e' AND classid <> 'pg_type'::regclass
ORDER BY pg_describe_object(classid, objid, 0) COLLATE "C";
SELECT p.oid::regprocedure AS routine, p.prokind AS kind, p.provolatile AS volatile, p.proparallel AS parallel,
	p.proisstrict AS strict, p.proretset AS set, pg_get_function_result(p.oid) AS result
FROM pg_proc p JOIN pg_depend d ON (d.classid, d.objid) = ('pg_proc'::regclass, p.oid)
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'keyturn') AND d.deptype = 'e'
ORDER BY p.oid::regprocedure::text COLLATE "C";
-- none of these rows may be there
SELECT p.oid::regprocedure AS granted
FROM pg_proc p JOIN pg_depend d ON (d.classid, d.objid) = ('pg_proc'::regclass, p.oid)
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'keyturn') AND d.deptype = 'e'
	AND (p.proacl IS NULL OR p.proacl::text LIKE '%{=%' OR p.proacl::text LIKE '%,=%');
SELECT p.oid::regprocedure AS without_comment
FROM pg_proc p JOIN pg_depend d ON (d.classid, d.objid) = ('pg_proc'::regclass, p.oid)
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'keyturn') AND d.deptype = 'e'
	AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT p.oid::regprocedure AS without_search_path
FROM pg_proc p JOIN pg_depend d ON (d.classid, d.objid) = ('pg_proc'::regclass, p.oid)
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'keyturn') AND d.deptype = 'e'
	AND p.prokind = 'f' AND p.proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp'];
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'keyturn.rotations'::regclass AND attnum > 0 ORDER BY attnum;
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
WHERE attrelid = 'keyturn.rotation_history'::regclass AND attnum > 0 ORDER BY attnum;
SELECT name, context, vartype FROM pg_settings WHERE name LIKE 'keyturn.%' AND name <> 'keyturn.debug_stop'
ORDER BY name COLLATE "C";

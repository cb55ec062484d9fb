# SPDX-License-Identifier: BSD-2-Clause
"""ALTER EXTENSION UPDATE: 0.1's SQL goes on with this library, and after the update each object is as in a new database."""
import contextlib
import subprocess

import pytest

from postgresql.conftest import quote

# all that the extension may own, as text that does not depend on OIDs, the order of creation or the search path
OBJECTS = """
SELECT 'function', p.oid::regprocedure::text,
       concat_ws(' ', p.prokind, l.lanname, p.prosrc, p.probin, p.provolatile, p.proparallel, p.proisstrict, p.prosecdef, p.proleakproof,
                 p.proretset, p.procost, p.prorows, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.proconfig),
       p.proacl::text, obj_description(p.oid, 'pg_proc')
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid IN (SELECT objid FROM member WHERE classid = 'pg_proc'::regclass)
UNION ALL
SELECT 'relation', c.oid::regclass::text,
       concat_ws(' ', c.relkind, c.relpersistence, c.reloptions, c.relrowsecurity,
                 (SELECT string_agg(concat_ws(',', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attacl,
                                              pg_get_expr(adbin, adrelid)), ';' ORDER BY attnum)
                    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                   WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
                 CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END,
                 (SELECT string_agg(pg_get_indexdef(indexrelid), ';' ORDER BY indexrelid::regclass::text) FROM pg_index
                   WHERE indrelid = c.oid),
                 (SELECT string_agg(pg_get_constraintdef(o.oid), ';' ORDER BY conname) FROM pg_constraint o WHERE conrelid = c.oid),
                 (SELECT string_agg(pg_get_triggerdef(t.oid), ';' ORDER BY tgname) FROM pg_trigger t WHERE tgrelid = c.oid)),
       c.relacl::text, obj_description(c.oid, 'pg_class')
  FROM pg_class c WHERE c.oid IN (SELECT objid FROM member WHERE classid = 'pg_class'::regclass)
UNION ALL
SELECT 'schema', n.nspname, '', n.nspacl::text, obj_description(n.oid, 'pg_namespace')
  FROM pg_namespace n WHERE n.oid IN (SELECT objid FROM member WHERE classid = 'pg_namespace'::regclass)
UNION ALL
SELECT 'event trigger', e.evtname, concat_ws(' ', e.evtevent, e.evtfoid::regprocedure, e.evtenabled, e.evttags), NULL,
       obj_description(e.oid, 'pg_event_trigger')
  FROM pg_event_trigger e WHERE e.oid IN (SELECT objid FROM member WHERE classid = 'pg_event_trigger'::regclass)
UNION ALL
SELECT 'kept by pg_dump', unnest(extconfig)::regclass::text, unnest(extcondition), NULL, NULL FROM pg_extension WHERE extname = 'keyturn'
UNION ALL
SELECT 'rights at the creation', pg_describe_object(i.classoid, i.objoid, i.objsubid), initprivs::text, NULL, NULL
  FROM pg_init_privs i JOIN member m ON (m.classid, m.objid) = (i.classoid, i.objoid)
UNION ALL
SELECT 'extension', extname, concat_ws(' ', extversion, extrelocatable), NULL, NULL FROM pg_extension WHERE extname = 'keyturn'
ORDER BY 1, 2
"""
MEMBERS = """WITH member AS (SELECT classid, objid FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'keyturn') AND deptype = 'e')
"""


@pytest.fixture
def empty(db, request):
    """empty(): the name of a new database without the extension."""
    made = []

    def make():
        name = f"upgrade_{len(made)}_{request.node.name}"[:60]
        db.pg.sql(f"CREATE DATABASE {quote(name)}")
        made.append(name)
        return name
    yield make
    for name in made:
        db.pg.sql(f"DROP DATABASE {quote(name)} WITH (FORCE)")


def members(db, name):
    """One object a line; what is of no kind that is compared above fails."""
    rows = db.pg.sql(MEMBERS + OBJECTS, dbname=name)
    count = db.pg.value(MEMBERS + "SELECT count(*) FROM member WHERE classid NOT IN ('pg_type'::regclass)", dbname=name)
    assert count == sum(row[0] in ("function", "relation", "schema", "event trigger") for row in rows)
    return rows


def create(db, name, version=None):
    db.pg.sql("CREATE EXTENSION keyturn" + (f" VERSION '{version}'" if version else ""), dbname=name)


def update(db, name):
    db.pg.sql("ALTER EXTENSION keyturn UPDATE", dbname=name)


def test_after_the_update_each_object_is_as_in_a_new_database(db, empty):
    new, old = empty(), empty()
    create(db, new)
    create(db, old, "0.1")
    before = members(db, old)
    update(db, old)
    assert members(db, old) == members(db, new) != before


CHANGES = [
    "COMMENT ON FUNCTION rotate_secret(text) IS 'other'", "GRANT EXECUTE ON FUNCTION delete_secret(text) TO PUBLIC",
    "ALTER FUNCTION adopt_secret(text, regrole) COST 7", "ALTER FUNCTION keyturn.repair(text, text) RESET search_path",
    "ALTER PROCEDURE keyturn.rotate(text) SECURITY DEFINER", "ALTER FUNCTION list_secrets(text) STABLE",
    "REVOKE SELECT ON keyturn.rotations FROM pg_monitor", "GRANT CREATE ON SCHEMA keyturn TO pg_monitor",
    "ALTER TABLE keyturn.rotation_history ADD COLUMN more text", "ALTER TABLE keyturn.rotation_history ALTER COLUMN client SET DEFAULT ''",
    "CREATE INDEX more ON keyturn.rotation_history (role)", "ALTER EXTENSION keyturn DROP FUNCTION undelete_secret(text)",
    "CREATE FUNCTION keyturn.more() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION keyturn ADD FUNCTION keyturn.more()",
    "CREATE OR REPLACE VIEW keyturn.rotations AS SELECT *, 1 AS more FROM (SELECT secret, role, version, pending, state, role_oid, "
    "cluster, role_version, can_login, rotated_at, due_at, detail FROM keyturn.rotation_states('*', true)) r"]


def test_the_comparison_is_not_blind(db, empty):
    """Each of these would be a difference."""
    name = empty()
    create(db, name)
    before = members(db, name)
    for change in CHANGES:
        with contextlib.closing(db.pg.connect(dbname=name, autocommit=False)) as connection, connection.cursor() as cursor:
            cursor.execute(change)
            cursor.execute(MEMBERS + OBJECTS)
            assert cursor.fetchall() != before, change
            connection.rollback()
    assert members(db, name) == before


def test_there_is_a_way_from_each_version(db):
    rows = db.pg.sql("SELECT source, path FROM pg_extension_update_paths('keyturn') WHERE target ="
                     " (SELECT default_version FROM pg_available_extensions WHERE name = 'keyturn') AND source <> target")
    assert rows and all(path for _, path in rows)


def test_an_old_database_goes_on_with_the_new_library(db, empty, account):
    """After the packages and before ALTER EXTENSION UPDATE, in one server beside new databases."""
    name = empty()
    create(db, name, "0.1")
    first = account.password()
    assert account.rotate(dbname=name) == 2 and account.agree()
    assert db.pg.value("SELECT rollback_secret(%s)", [account.name], dbname=name) == 3 and db.pg.can_login(account.role, first)
    assert db.pg.value("SELECT get_secret(%s, 'user')", [account.name], dbname=name) == account.role
    assert db.pg.value("SELECT version FROM list_secrets(%s)", [account.name], dbname=name) == 3
    assert db.pg.value("SELECT metadata->>'origin' FROM secret_info(%s)", [account.name], dbname=name) == "generated"
    assert db.pg.value("SELECT count(*) FROM secret_versions(%s)", [account.name], dbname=name) == 3
    assert db.pg.sql("SELECT secret, role, version, state FROM keyturn.rotations WHERE secret = %s", [account.name], dbname=name) == \
        [(account.name, account.role, 3, "in step")]
    assert [row[0] for row in db.pg.sql("SELECT action FROM keyturn.rotation_history ORDER BY at", dbname=name)] == \
        ["rotated", "rolled back"]


def test_history_grants_and_views_of_the_user_outlive_the_update(db, empty, account):
    name = empty()
    create(db, name, "0.1")
    account.rotate(dbname=name)
    db.pg.sql("""CREATE ROLE upgrade_reader;
        GRANT USAGE ON SCHEMA keyturn TO upgrade_reader;
        GRANT SELECT ON keyturn.rotations, keyturn.rotation_history TO upgrade_reader;
        GRANT EXECUTE ON FUNCTION rotate_secret(text) TO upgrade_reader;
        CREATE VIEW mine AS SELECT secret, state FROM keyturn.rotations;
        CREATE VIEW whole AS SELECT * FROM keyturn.rotations;
        CREATE VIEW past AS SELECT * FROM keyturn.rotation_history;
        CREATE FUNCTION turn(name text) RETURNS bigint LANGUAGE sql AS 'SELECT rotate_secret(name)'""", dbname=name)
    before = db.pg.sql("SELECT * FROM past", dbname=name)
    update(db, name)
    assert db.pg.sql("SELECT * FROM past", dbname=name) == before != []
    assert db.pg.sql("SELECT state FROM mine WHERE secret = %s", [account.name], dbname=name) == [("in step",)]
    assert len(db.pg.sql("SELECT * FROM whole WHERE secret = %s", [account.name], dbname=name)[0]) == 5
    assert db.pg.value("SELECT turn(%s)", [account.name], dbname=name) == 3 and account.agree()
    for relation in ("keyturn.rotations", "keyturn.rotation_history"):
        assert db.pg.value("SELECT has_table_privilege('upgrade_reader', %s, 'SELECT')", [relation], dbname=name)
    assert db.pg.value("SELECT has_function_privilege('upgrade_reader', 'rotate_secret(text)', 'EXECUTE')", dbname=name)
    db.pg.sql("DROP OWNED BY upgrade_reader", dbname=name)
    db.pg.sql("DROP ROLE upgrade_reader")


def test_a_session_that_was_open_takes_the_update(db, empty, account):
    name = empty()
    create(db, name, "0.1")
    with contextlib.closing(db.pg.connect(dbname=name)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        cursor.execute("SELECT count(*) FROM keyturn.rotations")
        update(db, name)
        cursor.execute("SELECT count(*) FROM keyturn.rotations WHERE can_login")
        cursor.execute("SELECT rotate_secret(%s, adopt => false)", [account.name])
        assert cursor.fetchone() == (3,)


def test_a_dump_of_an_old_database_is_restored_as_a_new_one(kt, db, empty, account):
    """pg_dump has the history, and names no version: what restores it creates the default one."""
    old, restored = empty(), empty()
    create(db, old, "0.1")
    account.rotate(dbname=old)
    dump = subprocess.run([kt.pg_bin / "pg_dump", "-h", db.pg.sockets, "-p", str(db.pg.port), "-U", "postgres", old], env=db.pg.env,
                          capture_output=True, text=True, check=True, timeout=60).stdout
    result = db.pg.psql(dump, "-v", "ON_ERROR_STOP=1", dbname=restored)
    assert result.returncode == 0, result.stderr
    history = "SELECT * FROM keyturn.rotation_history"
    assert db.pg.sql(history, dbname=restored) == db.pg.sql(history, dbname=old) != []
    update(db, old)
    assert members(db, restored) == members(db, old)

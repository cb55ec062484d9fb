# SPDX-License-Identifier: BSD-2-Clause
"""rotate_secret() and rollback_secret(): what they do and what they refuse."""
import contextlib
import json
import re

import psycopg2
import psycopg2.extensions
import pytest

from lib.postgres import initdb
from lib.tools import wait_for


def sqlstate(db, query, *parameters, **connect):
    """The SQLSTATE and message that a query fails with."""
    with pytest.raises(psycopg2.Error) as caught:
        db.pg.sql(query, list(parameters) or None, **connect)
    return caught.value.pgcode, str(caught.value)


@pytest.fixture
def user(db, request):
    """A role with a password of its own that may call everything; rights are what the tests are about."""
    name = "caller_" + re.sub(r"\W", "_", request.node.name)
    db.pg.sql(f'CREATE ROLE "{name}" LOGIN')
    db.set_password(name, "caller")
    db.pg.sql(f'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO "{name}"')
    return {"user": name, "password": "caller", "tcp": True}


def test_role_and_store_get_one_new_password(db, account):
    first = account.password()
    assert account.rotate() == 2
    assert account.password() != first
    assert account.agree()
    assert not db.pg.can_login(account.role, first)
    assert account.password("previous") == first
    assert not account.pending()


def test_password_fits_everywhere_and_verifier_is_scram(db, account):
    account.rotate()
    assert re.fullmatch(r"[A-Za-z0-9]{32}", account.password())
    assert account.verifier().startswith("SCRAM-SHA-256$4096:")


def test_other_fields_stay_and_the_time_is_written(db, account):
    before = json.loads(db.home.get(account.name))
    account.rotate()
    after = json.loads(db.home.get(account.name))
    assert after.pop("rotated_at").endswith("Z")
    assert {**before, "password": None} == {**after, "password": None}


def test_many_times(db, account):
    assert [account.rotate() for _ in range(5)] == [2, 3, 4, 5, 6]
    assert account.agree()


def test_settings_of_the_caller_weaken_nothing(db, account):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET password_encryption = md5")
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
    assert account.verifier().startswith("SCRAM-SHA-256$4096:")
    assert account.agree()


def test_history_and_state(db, account):
    account.rotate()
    assert db.pg.sql("SELECT version, role, action, by_role, session_role, client FROM keyturn.rotation_history"
                     " WHERE secret = %s", [account.name]) == \
        [(2, account.role, "rotated", "postgres", "postgres", "local")]
    assert db.pg.sql("SELECT role, version, pending, state FROM keyturn.rotations WHERE secret = %s",
                     [account.name]) == [(account.role, 2, None, "in step")]


def test_audit_names_the_role_and_its_address(db, account, user):
    db.home.grant(f"postgresql:role:{user['user']}", ["rotate"], [account.name])
    db.let_alter(user["user"], account)
    account.rotate(**user)
    lines = [line for line in db.home.records("postgresql") if account.name in str(line.get("reference"))]
    assert lines
    assert {line["subject"] for line in lines} == {f"postgresql:role:{user['user']}"}
    assert {line["peer"] for line in lines} == {"127.0.0.1"}


def test_a_role_without_password_is_given_one(db):
    account = db.account(None)
    account.rotate()
    assert account.agree()


def test_a_role_that_was_changed_is_left_alone(db, account):
    account.rotate()
    db.set_password(account.role, "changed-by-hand")
    code, text = sqlstate(db, "SELECT rotate_secret(%s)", account.name)
    assert code == "55000" and "is not the current one" in text
    assert db.pg.can_login(account.role, "changed-by-hand")
    assert not account.pending()
    assert db.pg.value("SELECT state FROM keyturn.rotations WHERE secret = %s", [account.name]) == "role changed"


def test_a_resalted_password_is_still_the_same(db, account):
    account.rotate()
    db.set_password(account.role, account.password())
    account.rotate()
    assert account.agree()


def test_an_md5_role_is_taken_over(db, canary):
    account = db.account(canary("pg-md5"))
    with contextlib.closing(db.pg.connect()) as connection:
        md5 = psycopg2.extensions.encrypt_password(account.password(), account.role, connection, "md5")
    db.pg.sql(f'ALTER ROLE "{account.role}" PASSWORD %s', [md5])
    account.rotate()
    assert account.agree()


def test_a_password_outside_ascii_is_taken_over_and_rolled_back_to(db, canary):
    account = db.account(canary("pg-utf8") + "-\u00fc\u2168")
    first = account.password()
    account.rotate()
    db.pg.value("SELECT rollback_secret(%s)", [account.name])
    assert account.password() == first
    assert account.agree()


def test_role_names_with_anything_in_them(db, canary):
    account = db.account(canary("pg-name"), role='we"ird; Role\'', name="database/weird")
    account.rotate()
    assert account.agree()
    assert 'ALTER ROLE' not in db.pg.log().split("rotate_secret('database/weird')")[1]


# rolling back


def test_rollback_restores_the_very_verifier(db, account):
    account.rotate()
    verifier, password = account.verifier(), account.password()
    account.rotate()
    assert db.pg.value("SELECT rollback_secret(%s)", [account.name]) == 4
    assert account.verifier() == verifier
    assert account.password() == password
    assert account.agree()


def test_rollback_to_a_number(db, account):
    first = account.password()
    account.rotate()
    account.rotate()
    db.pg.value("SELECT rollback_secret(%s, '1')", [account.name])
    assert account.password() == first
    assert account.agree()


@pytest.mark.parametrize("version", ["current", "3"])
def test_rollback_to_the_current_version_changes_nothing(db, account, version):
    """Another salt of the same password would lock out what a pooler has passed through (test_pgbouncer.py)."""
    account.rotate()
    account.rotate()
    before = account.verifier(), db.home.versions(account.name), db.home.get(account.name)
    assert db.pg.value("SELECT rollback_secret(%s, %s)", [account.name, version]) == 3
    assert (account.verifier(), db.home.versions(account.name), db.home.get(account.name)) == before
    assert db.pg.value("SELECT count(*) FROM keyturn.rotation_history WHERE secret = %s", [account.name]) == 2


def test_rollback_without_anything_to_go_back_to(db, account):
    assert sqlstate(db, "SELECT rollback_secret(%s)", account.name)[0] == "42704"
    assert sqlstate(db, "SELECT rollback_secret(%s, '77')", account.name)[0] == "42704"
    assert sqlstate(db, "SELECT rollback_secret(%s, 'x y')", account.name)[0] == "22023"
    assert account.agree()


# which roles may rotate


def test_nothing_is_granted_to_public(db):
    rows = db.pg.sql("""
        SELECT p.proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'keyturn'
        WHERE p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0)""")
    assert rows == []
    assert db.pg.sql("""
        SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'keyturn'::regnamespace AND a.grantee = 0""") == []


def test_a_role_without_execute(db, account, user):
    db.pg.sql(f'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM "{user["user"]}"')
    assert sqlstate(db, "SELECT rotate_secret(%s)", account.name, **user)[0] == "42501"


def test_a_role_that_the_policy_does_not_know(db, account, user):
    db.let_alter(user["user"], account)
    code, text = sqlstate(db, "SELECT rotate_secret(%s)", account.name, **user)
    assert code == "42501" and "denied" in text
    assert account.agree() and not account.pending()
    assert "denied" in [line["status"] for line in db.home.records("postgresql")
                        if line["subject"] == f"postgresql:role:{user['user']}"]


def test_a_role_that_postgresql_does_not_let(db, account, user):
    db.home.grant(f"postgresql:role:{user['user']}", ["rotate"], [account.name])
    version = db.home.info(account.name)["version"]
    code, text = sqlstate(db, "SELECT rotate_secret(%s)", account.name, **user)
    assert code == "42501" and "could not be rotated" not in text
    assert account.agree() and not account.pending()
    assert db.home.info(account.name)["version"] == version


def test_a_role_rotates_its_own_password(db, account, user):
    own = db.account(None, name="database/own", role="own_password")
    db.set_password("own_password", "none")
    db.pg.sql("GRANT EXECUTE ON FUNCTION rotate_secret(text) TO own_password")
    db.home.grant("postgresql:role:own_password", ["rotate"], ["database/own"])
    own.rotate(user="own_password", password="none", tcp=True)
    assert own.agree()


def test_superusers_are_out_of_reach(db, user, canary):
    account = db.account(canary("pg-super"), options="LOGIN SUPERUSER")
    db.let_alter(user["user"], account)
    db.home.grant(f"postgresql:role:{user['user']}", ["rotate"], [account.name])
    assert sqlstate(db, "SELECT rotate_secret(%s)", account.name, **user)[0] == "42501"
    assert account.agree()
    account.rotate()
    assert account.agree()


def test_the_bootstrap_superuser_is_not_rotated(db):
    db.home.set("database/bootstrap", {"user": "postgres", "password": "none", "host": "h", "port": 1, "name": "n"})
    code, text = sqlstate(db, "SELECT rotate_secret('database/bootstrap')")
    assert code == "42501" and "keyturn.allow_bootstrap is off" in text
    assert db.pg.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'") is None


def test_a_security_definer_function_acts_as_its_owner(db, account, user):
    db.pg.sql(f"""CREATE FUNCTION rotate_app() RETURNS bigint LANGUAGE sql SECURITY DEFINER
                  SET search_path = public, pg_temp AS $$SELECT rotate_secret('{account.name}')$$""")
    db.pg.sql(f'GRANT EXECUTE ON FUNCTION rotate_app TO "{user["user"]}"')
    assert db.pg.value("SELECT rotate_app()", **user) == 2
    assert account.agree()
    assert db.pg.sql("SELECT by_role, session_role, client FROM keyturn.rotation_history WHERE secret = %s",
                     [account.name]) == [("postgres", user["user"], "127.0.0.1")]


def test_rotating_does_not_require_reading(db, account, user):
    """And not to list: the right to rotate is enough, also to take a role over and after a crash."""
    db.home.grant(f"postgresql:role:{user['user']}", ["rotate"], [account.name])
    db.let_alter(user["user"], account)
    account.rotate(**user)
    account.rotate(**user)
    assert account.agree()
    assert sqlstate(db, "SELECT get_secret(%s)", account.name, **user)[0] == "42501"
    assert {line["action"] for line in db.home.records("postgresql") if line["status"] != "denied"
            if line["subject"] == f"postgresql:role:{user['user']}"} == {"rotate.create", "rotate.finish"}


# where and what


@pytest.mark.parametrize("statements, code", [
    (["BEGIN", "SELECT rotate_secret('{}')"], "0A000"),
    (["BEGIN", "SAVEPOINT s", "SELECT rotate_secret('{}')"], "0A000"),
    (["SELECT 1; SELECT rotate_secret('{}')"], "0A000"),
    (["DO $$BEGIN PERFORM rotate_secret('{}'); EXCEPTION WHEN division_by_zero THEN NULL; END$$"], "0A000"),
    (["BEGIN READ ONLY", "SELECT rotate_secret('{}')"], "25006"),
    (["SET default_transaction_read_only = on", "SELECT rotate_secret('{}')"], "25006"),
    (["SELECT rotate_secret(n) FROM (VALUES ('{0}'), ('{0}')) v(n)"], "55006"),
])
def test_moments_that_are_refused(db, account, statements, code):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            for statement in statements:
                cursor.execute(statement.format(account.name))
    assert caught.value.pgcode == code
    assert account.agree() and not account.pending()


def test_inside_a_function_of_the_user(db, account):
    db.pg.sql(f"DO $$BEGIN PERFORM rotate_secret('{account.name}'); END$$")
    assert account.agree() and not account.pending()


def test_a_statement_that_fails_later_changes_nothing(db, account):
    before = account.verifier()
    code, _ = sqlstate(db, "SELECT 1 / (rotate_secret(%s) - 2)", account.name)
    assert code == "22012"
    assert account.verifier() == before
    assert account.agree() and not account.pending()
    assert db.pg.value("SELECT count(*) FROM keyturn.rotation_history WHERE secret = %s", [account.name]) == 0


def test_several_secrets_in_one_statement(db, canary):
    accounts = [db.account(canary("pg-several")) for _ in range(3)]
    db.pg.sql("SELECT rotate_secret(n) FROM unnest(%s) n", [[account.name for account in accounts]])
    assert all(account.agree() and not account.pending() for account in accounts)


def test_two_secrets_of_one_role_do_not_overwrite_each_other(db, account):
    db.home.set("database/twin", db.home.get(account.name))
    account.rotate()
    assert sqlstate(db, "SELECT rotate_secret('database/twin')")[0] == "55000"
    assert account.agree()


@pytest.mark.parametrize("name, code", [
    ("database/absent", "42704"), ("../etc", "22023"), ("a" * 300, "22023"), ("database/\u00e4", "22023"), ("", "22023"),
    ("database/primary#password", "22023"),
])
def test_malformed_names(db, name, code):
    assert sqlstate(db, "SELECT rotate_secret(%s)", name)[0] == code


def test_null_is_null(db):
    assert db.pg.sql("SELECT rotate_secret(NULL), rollback_secret(NULL), get_secret(NULL)") == [(None, None, None)]


def test_values_that_are_not_accounts(db, canary):
    db.home.set("general/opaque", canary("pg-opaque"))
    code, text = sqlstate(db, "SELECT rotate_secret('general/opaque')")
    assert code == "42809" and "names no role" in text
    assert not db.home.info("general/opaque").get("pending")
    db.home.set("database/norole", {"user": "nobody_here", "password": "x", "host": "h", "port": 1, "name": "n"})
    code, text = sqlstate(db, "SELECT rotate_secret('database/norole')")
    assert code == "42704" and "nobody_here" in text


def test_a_deleted_secret(db, account):
    db.home.delete(account.name)
    assert sqlstate(db, "SELECT rotate_secret(%s)", account.name)[0] == "55000"
    db.home.undelete(account.name)
    assert account.agree()


def test_a_role_that_was_dropped(db, account):
    db.pg.sql(f'DROP ROLE "{account.role}"')
    assert sqlstate(db, "SELECT rotate_secret(%s)", account.name)[0] == "42704"
    assert not account.pending()


def test_a_rotation_that_is_pending_in_another_cluster_is_not_touched(kt, make_db, make_postgres, canary):
    """Two clusters with one store: only the one that began a rotation can say how it ended."""
    db = make_db(restart_after_crash="on")
    account = db.account(canary("pg-elsewhere"))
    other = make_postgres(db.home)
    other.remove()
    initdb(kt, other.data, other.env)
    other.start()
    other.sql("CREATE EXTENSION keyturn")
    other.sql(f"CREATE ROLE {account.role} LOGIN")
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'after_pending:kill'")
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    with pytest.raises(psycopg2.Error) as caught:
        other.sql("SELECT rotate_secret(%s)", [account.name])
    assert caught.value.pgcode == "55006" and "somewhere else" in str(caught.value)
    assert account.pending()
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 30)
    account.rotate()
    assert account.agree() and not account.pending()

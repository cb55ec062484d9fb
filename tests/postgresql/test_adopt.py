# SPDX-License-Identifier: BSD-2-Clause
"""adopt_secret(): a role and its password are managed from now on, and neither changes."""
import contextlib

import psycopg2
import pytest

from lib.postgres import initdb
from lib.tools import wait_for
from postgresql.test_rotate import sqlstate, user  # noqa: F401

ADOPT = "SELECT adopt_secret(%s, %s)"


def adopt(account, pg=None):
    return (pg or account.db.pg).value(ADOPT, [account.name, account.role])


def identifier(db):
    return db.pg.value("SELECT system_identifier FROM pg_control_system()")


def states(db, account):
    return db.pg.sql("SELECT role, version, pending, state FROM keyturn.rotations WHERE secret = %s", [account.name])


def test_nothing_changes_but_the_notes(db, account):
    verifier, value, versions = account.verifier(), db.home.get(account.name), db.home.versions(account.name)
    assert [state for *_, state in states(db, account)] == ["unmanaged"]
    assert adopt(account) == 1
    assert account.verifier() == verifier and db.home.get(account.name) == value
    assert db.home.versions(account.name) == [{**versions[0], "target": f"postgresql:{identifier(db)}"}]
    assert states(db, account) == [(account.role, 1, None, "in step")]
    assert db.pg.sql("SELECT version, role, action FROM keyturn.rotation_history WHERE secret = %s", [account.name]) == \
        [(1, account.role, "adopted")]
    lines = [line for line in db.home.records("postgresql") if line.get("reference") == account.name and line["action"] != "info"]
    assert [(line["action"], line["status"]) for line in lines] == [("rotate.adopt", "intent"), ("rotate.adopt", "success")]
    assert adopt(account) == 1
    # and is managed from now on
    assert db.home.run("set", account.name, "--field", "password", input=b"x", check=False).returncode == 73
    assert account.rotate() == 2
    assert account.agree()
    assert db.pg.value("SELECT rollback_secret(%s)", [account.name]) == 3
    assert account.verifier() == verifier


def test_the_role_must_have_the_password(db, account, canary):
    db.set_password(account.role, "changed-by-hand")
    code, text = sqlstate(db, ADOPT, account.name, account.role)
    assert code == "55000" and "does not have the password" in text
    db.pg.sql(f'ALTER ROLE "{account.role}" PASSWORD NULL')
    assert "It has no password." in sqlstate(db, ADOPT, account.name, account.role)[1]
    db.pg.sql(f'ALTER ROLE "{account.role}" PASSWORD %s', ["SCRAM-SHA-256$200000:" + "A" * 24 + "$" + "A" * 43 + "=:" + "A" * 43 + "="])
    assert "iterations" in sqlstate(db, ADOPT, account.name, account.role)[1]
    assert [state for *_, state in states(db, account)] == ["unmanaged"]
    other = db.account(canary("pg-other"))
    code, text = sqlstate(db, ADOPT, other.name, account.role)
    assert code == "55000" and "is not of role" in text


def test_a_password_without_a_user(db, canary):
    """The role that was adopted is the secret's: there is nothing else that says so, not even after a rename."""
    secret = canary("pg-bare")
    db.pg.sql("CREATE ROLE bare LOGIN")
    db.set_password("bare", secret)
    db.home.set("database/bare", secret)
    assert sqlstate(db, "SELECT rotate_secret('database/bare')")[0] == "42809"
    assert db.pg.value("SELECT adopt_secret('database/bare', 'bare')") == 1
    db.pg.sql("ALTER ROLE bare RENAME TO bare2")
    assert db.pg.value("SELECT rotate_secret('database/bare')") > 1
    password = db.home.get("database/bare").decode()
    assert len(password) == 32 and db.pg.can_login("bare2", password)
    db.pg.sql("SELECT rotate_secret('database/bare')")
    assert db.pg.can_login("bare2", db.home.get("database/bare").decode())


def test_a_cluster_that_moved(kt, make_db, make_postgres, canary):
    """pg_dumpall takes roles with their verifiers to another cluster, which then adopts their secrets."""
    db = make_db()
    account = db.account(canary("pg-moved"))
    account.rotate()
    other = make_postgres(db.home)
    other.remove()
    initdb(kt, other.data, other.env)
    other.start()
    other.sql("CREATE EXTENSION keyturn")
    other.sql(f"CREATE ROLE {account.role} LOGIN PASSWORD '{account.verifier()}'")
    assert adopt(account, other) == 2
    assert other.value("SELECT state FROM keyturn.rotations") == "in step"
    assert other.value("SELECT rotate_secret(%s)", [account.name]) == 3
    assert other.can_login(account.role, account.password())


def test_who_may(db, account, user):  # noqa: F811
    def refused():
        return sqlstate(db, ADOPT, account.name, account.role, **user)
    code, text = refused()
    assert code == "42501" and "permission denied to alter" in text
    db.let_alter(user["user"], account)
    code, text = refused()
    assert code == "42501" and "denied" in text
    db.home.grant(f"postgresql:role:{user['user']}", ["rotate"], [account.name])
    assert db.pg.value(ADOPT, [account.name, account.role], **user) == 1
    db.pg.sql(f'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM "{user["user"]}"')
    assert refused()[0] == "42501"


def test_in_the_statement_that_rotates(db, account):
    code, text = sqlstate(db, "SELECT rotate_secret(%s), adopt_secret(%s, %s)", account.name, account.name, account.role)
    assert code == "55006" and "by this statement already" in text
    assert account.agree() and not account.pending()


def test_moments_and_names(db, account):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(ADOPT, [account.name, account.role])
    assert caught.value.pgcode == "0A000"
    assert sqlstate(db, ADOPT, "../x", account.role)[0] == "22023"
    assert sqlstate(db, ADOPT, "database/absent", account.role)[0] == "42704"
    assert sqlstate(db, "SELECT adopt_secret(%s, 999999)", account.name)[0] == "42704"
    db.home.delete(account.name)
    assert sqlstate(db, ADOPT, account.name, account.role)[0] == "55000"


@pytest.mark.parametrize("point, adopted", [("before_adopt", False), ("after_adopt", True)])
def test_killed(make_db, canary, point, adopted):
    db = make_db(restart_after_crash="on")
    account = db.account(canary("pg-killed"))
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = %s", [point + ":kill"])
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute(ADOPT, [account.name, account.role])
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 30, what="the server after a crash")
    assert [state for *_, state in states(db, account)] == ["in step" if adopted else "unmanaged"]
    assert adopt(account) == 1
    account.rotate()
    assert account.agree()

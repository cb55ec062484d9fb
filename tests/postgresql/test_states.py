# SPDX-License-Identifier: BSD-2-Clause
"""keyturn.rotation_states() and keyturn.rotations: every state, who may see it, what a reading costs; NOTIFY at the commit."""
import contextlib
import datetime
import json
import select
import socket
import time

import psycopg2
import pytest

from lib.tools import wait_for

COLUMNS = ["secret", "role", "role_oid", "cluster", "version", "pending", "role_version", "state", "can_login", "rotated_at",
           "due_at", "detail"]
QUARTER = datetime.timedelta(days=90)


def states(db, pattern="*", verify=False, **connect):
    rows = db.pg.sql("SELECT * FROM keyturn.rotation_states(%s, %s)", [pattern, verify], **connect)
    return [dict(zip(COLUMNS, row)) for row in rows]


def state(db, account, verify=False):
    [row] = states(db, account.name, verify)
    return row


def is_state(db, account, wanted, verify=False, **more):
    row = state(db, account, verify)
    assert {"state": wanted, **more} == {key: row[key] for key in ["state", *more]}, row
    return row


def identifier(db):
    return str(db.pg.value("SELECT system_identifier FROM pg_control_system()"))


def lines(db, action):
    return [line for line in db.home.records("postgresql") if line["action"] == action]


# ---- each state ----

def test_in_step(db, account):
    version = account.rotate()
    row = is_state(db, account, "in step", role=account.role, version=version, pending=None, role_version=version,
                   cluster=identifier(db), can_login=True, detail=None)
    assert row["role_oid"] == db.pg.value("SELECT oid FROM pg_authid WHERE rolname = %s", [account.role])
    assert row["due_at"] - row["rotated_at"] == QUARTER
    db.home.run("meta", account.name, "rotation=daily")
    row = state(db, account)
    assert row["due_at"] - row["rotated_at"] == datetime.timedelta(days=1)


def test_a_secret_that_was_never_rotated(db, account):
    """F9: it had no row."""
    row = is_state(db, account, "unmanaged", role=None, version=1, role_version=None, can_login=None)
    assert row["due_at"] is not None
    db.home.set("database/text", "not an account")
    assert states(db, "database/text") == []


def test_a_change_in_the_store(db, account):
    """F9: its row disappeared."""
    first = account.rotate()
    db.home.run("set", account.name, "--field", "password", "--force", input=b"other")
    is_state(db, account, "store changed", version=first + 1, role_version=first, role=account.role)
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM keyturn.rotations WHERE state <> 'in step'")
        assert account.name in {row[0] for row in cursor.fetchall()}


def test_a_deleted_secret(db, account):
    account.rotate()
    db.home.run("delete", account.name)
    is_state(db, account, "store changed", detail="the secret is deleted", due_at=None)


def test_a_change_of_the_role(db, account, canary):
    account.rotate()
    version = account.rotate()
    verifier = account.verifier()
    db.set_password(account.role, canary("pg-drift"))
    is_state(db, account, "role changed", version=version, role_version=None)
    is_state(db, account, "role changed", verify=True, role_version=None)
    db.pg.sql(f"ALTER ROLE {account.role} PASSWORD NULL")
    is_state(db, account, "role changed", detail="the role has no password")
    db.pg.sql(f"ALTER ROLE {account.role} PASSWORD %s", [verifier])
    is_state(db, account, "in step")


def test_a_role_that_is_back_at_an_earlier_version(db, account):
    """As after a restore or a fail-over."""
    first = account.rotate()
    verifier = account.verifier()
    account.rotate()
    db.pg.sql(f"ALTER ROLE {account.role} PASSWORD %s", [verifier])
    is_state(db, account, "role changed", role_version=first, detail=f"the role has the password of version {first}")


def test_the_same_password_with_another_salt(db, account):
    """F9: `drifted`, although it works."""
    version = account.rotate()
    db.set_password(account.role, account.password())
    is_state(db, account, "role changed", role_version=None)
    is_state(db, account, "in step", verify=True, role_version=version)
    account.rotate()
    db.set_password(account.role, account.password(version))
    is_state(db, account, "role changed", verify=True, role_version=version)


def test_a_verifier_that_costs_too_much(db, account):
    account.rotate()
    db.pg.sql(f"ALTER ROLE {account.role} PASSWORD %s", [account.verifier().replace("$4096:", "$200000:")])
    is_state(db, account, "role changed", verify=True, detail="the role's verifier could not be compared")


def test_a_role_that_was_dropped_or_renamed(db, account):
    """F9: `drifted`."""
    version = account.rotate()
    db.pg.sql(f"ALTER ROLE {account.role} RENAME TO renamed")
    is_state(db, account, "in step", role="renamed", role_version=version)
    db.pg.sql("DROP ROLE renamed")
    is_state(db, account, "role missing", role=account.role, role_oid=None, role_version=None, can_login=None)


def test_a_role_that_cannot_log_in(db, account):
    account.rotate()
    db.pg.sql(f"ALTER ROLE {account.role} NOLOGIN")
    is_state(db, account, "in step", can_login=False)


def test_a_secret_of_another_cluster(db, make_postgres, account):
    """F9: no row."""
    account.rotate()
    ours = identifier(db)
    other = make_postgres(db.home)
    other.remove()
    from lib.postgres import initdb
    initdb(other.stage, other.data, other.env)
    other.write_settings()
    other.start()
    other.sql("CREATE EXTENSION keyturn")
    try:
        row = next(row for row in other.sql("SELECT secret, state, cluster, role, role_version FROM keyturn.rotations")
                   if row[0] == account.name)
        assert row == (account.name, "foreign", ours, account.role, None)
    finally:
        other.stop()


def test_pending_and_promoting(db, stop_at, canary):
    one = db.account(canary("pg-one"))
    first = one.rotate()
    stopped = stop_at(db, one, "after_pending")
    is_state(db, one, "pending", version=first, pending=first + 1, role_version=first)
    stopped.go_on()
    is_state(db, one, "in step", version=first + 1)
    stopped = stop_at(db, one, "before_promote")
    is_state(db, one, "promoting", version=first + 1, pending=first + 2, role_version=first + 2)
    assert not one.agree() and db.pg.can_login(one.role, one.password("pending"))
    stopped.go_on()
    is_state(db, one, "in step", version=first + 2)


def test_a_rotation_that_was_killed(db, stop_at, canary):
    account = db.account(canary("pg-early"))
    stopped = stop_at(db, account, "after_pending")
    is_state(db, account, "pending", pending=2)
    stopped.die()
    wait_for(lambda: db.pg.log().count("database system is ready to accept connections") > 1 and db.pg._ready(), 30, what="recovery")
    assert state(db, account)["state"] == "pending"


# ---- who ----

def test_monitoring(db, account):
    """F9: 42501, and with EXECUTE no row and no error."""
    account.rotate()
    db.home.set("app/other", {"user": "x", "password": "y"})
    db.pg.sql("CREATE ROLE monitor LOGIN IN ROLE pg_monitor")
    db.set_password("monitor", "monitor")
    as_monitor = {"user": "monitor", "password": "monitor", "tcp": True}
    with contextlib.closing(db.pg.connect(**as_monitor)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT state FROM keyturn.rotations WHERE secret = %s", [account.name])
        assert cursor.fetchall() == [("in step",)]
        assert any("1 secret is hidden" in notice for notice in connection.notices)
    assert states(db, account.name, True, **as_monitor)[0]["state"] == "in step"
    for query in ("SELECT get_secret(%s)", "SELECT * FROM list_secrets(%s)", "SELECT rotate_secret(%s)"):
        with pytest.raises(psycopg2.Error) as caught:
            db.pg.sql(query, [account.name], **as_monitor)
        assert caught.value.pgcode == "42501"


def test_the_capability_is_needed(db, account):
    db.pg.sql("CREATE ROLE watcher LOGIN")
    db.set_password("watcher", "watcher")
    db.pg.sql("GRANT USAGE ON SCHEMA keyturn TO watcher; GRANT SELECT ON keyturn.rotations TO watcher;"
              "GRANT EXECUTE ON FUNCTION keyturn.rotation_states TO watcher")
    db.home.grant("postgresql:role:watcher", ["list", "read"], ["database/*"])
    with pytest.raises(psycopg2.Error) as caught:
        db.pg.sql("SELECT * FROM keyturn.rotations", user="watcher", password="watcher", tcp=True)
    assert caught.value.pgcode == "42501"


# ---- the update from 0.1 ----

def test_before_and_after_the_update(db, account):
    """The old function answers with its five columns; a view on the view and its grants outlive the update."""
    version = account.rotate()
    db.pg.sql("CREATE DATABASE old")
    old = {"dbname": "old"}
    db.pg.sql("CREATE EXTENSION keyturn VERSION '0.1'", **old)
    db.pg.sql("CREATE ROLE reader; GRANT SELECT ON keyturn.rotations TO reader; CREATE VIEW mine AS SELECT secret, state FROM keyturn.rotations", **old)
    row = "SELECT * FROM keyturn.rotations WHERE secret = %s"
    assert db.pg.sql(row, [account.name], **old) == [(account.name, account.role, version, None, "in step")]
    db.pg.sql("ALTER EXTENSION keyturn UPDATE TO '0.2'", **old)
    assert db.pg.sql(row, [account.name], **old)[0][:5] == (account.name, account.role, version, None, "in step")
    assert db.pg.sql("SELECT state FROM mine WHERE secret = %s", [account.name], **old) == [("in step",)]
    assert db.pg.value("SELECT has_table_privilege('reader', 'keyturn.rotations', 'SELECT')", **old)
    assert db.pg.value("SELECT count(*) FROM pg_proc WHERE proname = 'rotation_states'", **old) == 1


# ---- what it costs ----

def test_a_reading_is_one_line(db, canary):
    """F9: 331 lines for 329 secrets."""
    for _ in range(3):
        db.account(canary("pg-cost")).rotate()
    before = {action: len(lines(db, action)) for action in ("state", "list", "info", "read")}
    rows = states(db, verify=True)
    after = {action: len(lines(db, action)) for action in before}
    assert after == {**before, "state": before["state"] + 1}
    assert lines(db, "state")[-1]["reference"] == "*" and lines(db, "state")[-1]["count"] == len(rows)
    assert lines(db, "state")[-1]["purpose"] == "verify"


@pytest.fixture
def silent():
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def with_redis(make_db):
    def make(port):
        db = make_db()
        db.home.add("providers", f'redis: {{address: "127.0.0.1:{port}", timeout: 20s}}')
        db.home.add("switch", '"far/*": redis')
        return db
    return make


def test_a_provider_that_is_down_costs_one_row(with_redis, canary):
    """F9: the whole view failed with 58000."""
    db = with_redis(1)
    account = db.account(canary("pg-down"))
    account.rotate()
    rows = states(db)
    assert [row["state"] for row in rows] == ["in step", "unknown"]
    assert rows[1]["secret"] is None and rows[1]["detail"].startswith('provider "redis" does not answer: unavail')
    assert lines(db, "state")[-1]["status"] == "unavail" and lines(db, "state")[-1]["provider"] == "redis"


def test_a_provider_that_is_silent_can_be_interrupted(with_redis, silent, canary):
    db = with_redis(silent)
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '500ms'")
        started = time.monotonic()
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute("SELECT * FROM keyturn.rotations")
        assert caught.value.pgcode == "57014" and time.monotonic() - started < 1.5


# ---- by notification ----

def notifications(connection, seconds=5):
    if select.select([connection], [], [], seconds)[0]:
        connection.poll()
    return [(notice.channel, json.loads(notice.payload)) for notice in connection.notifies]


def test_listeners_are_told_at_the_commit(db, stop_at, canary):
    account = db.account(canary("pg-notify"), role='odd "role"\\')
    with contextlib.closing(db.pg.connect()) as listener, listener.cursor() as cursor:
        cursor.execute("LISTEN keyturn")
        with pytest.raises(psycopg2.Error):
            db.pg.sql("SELECT rotate_secret(%s), 1 / 0", [account.name])
        assert notifications(listener, 0.3) == []
        stopped = stop_at(db, account, "after_alter")
        assert notifications(listener, 0.3) == []
        stopped.go_on()
        assert notifications(listener) == [
            ("keyturn", {"secret": account.name, "version": db.home.info(account.name)["version"], "role": account.role})]

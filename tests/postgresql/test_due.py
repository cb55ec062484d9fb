# SPDX-License-Identifier: BSD-2-Clause
"""CALL keyturn.rotate_due(), by a person, by the worker, by pg_cron: what is due, each secret in a transaction of its own."""
import contextlib
import re
import threading
import time

import psycopg2
import pytest

from lib.stage import TOP
from lib.tools import wait_for

def make_due(db, *accounts):
    """Rotated here once, and due a second later."""
    for account in accounts:
        account.rotate()
        db.home.run("meta", account.name, "rotation=1s")
    time.sleep(1.2)


def not_due(db, *accounts):
    for account in accounts:
        db.home.run("meta", account.name, "rotation=quarterly")


def call(db, statement="CALL keyturn.rotate_due()", **connect):
    """(rotated, failed), and the warnings."""
    with contextlib.closing(db.pg.connect(**connect)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone(), [notice for notice in connection.notices if notice.startswith("WARNING")]


def test_what_is_due_is_rotated(db, canary):
    due, later, unmanaged, other = (db.account(canary(f"pg-{n}")) for n in range(4))
    make_due(db, due)
    later.rotate()
    db.home.run("meta", unmanaged.name, "rotation=1s")
    db.home.run("generate", "api-keys/due", "--meta", "rotation=1s")
    other.rotate()
    db.home.run("delete", other.name)
    time.sleep(1.1)
    assert call(db) == ((1, 0), [])
    versions = [db.home.info(account.name)["version"] for account in (due, later, unmanaged)]
    assert versions == [3, 2, 1] and db.home.info("api-keys/due")["version"] == 1
    assert due.agree() and later.agree()
    not_due(db, due)
    assert call(db) == ((0, 0), [])


def test_one_that_fails_is_a_warning_and_the_next_goes_on(db, canary):
    accounts = [db.account(canary(f"pg-fail{n}")) for n in range(3)]
    make_due(db, *accounts)
    db.set_password(accounts[1].role, canary("pg-changed"))
    result, warnings = call(db)
    assert result == (2, 1)
    [warning] = warnings
    assert f'secret "{accounts[1].name}" was not rotated: the password of role' in warning and "HINT" in warning
    assert accounts[0].agree() and accounts[2].agree()
    assert not accounts[1].pending() and db.home.info(accounts[1].name)["version"] == 2
    not_due(db, *accounts)


def test_each_has_its_own_transaction(db, canary):
    """The first is current and in the history while the second is still being made."""
    one, two = db.account(canary("pg-t1"), name="database/tx1"), db.account(canary("pg-t2"), name="database/tx2")
    make_due(db, one, two)
    with contextlib.closing(db.pg.connect()) as blocker, blocker.cursor() as cursor:
        cursor.execute(f'BEGIN; ALTER ROLE "{two.role}" CONNECTION LIMIT 5')
        done = []
        thread = threading.Thread(target=lambda: done.append(call(db, "CALL keyturn.rotate_due('database/tx*')")))
        thread.start()
        wait_for(lambda: db.home.info(one.name)["version"] == 3, 10, what="the first")
        wait_for(lambda: two.pending(), 10, what="the second")
        assert db.pg.value("SELECT count(*) FROM keyturn.rotation_history WHERE secret = %s", [one.name]) == 2
        assert one.agree() and not done
        cursor.execute("ROLLBACK")
        thread.join(20)
    assert done == [((2, 0), [])]
    xids = db.pg.sql("SELECT DISTINCT xid FROM keyturn.rotation_history WHERE version = 3 AND secret LIKE 'database/tx%'")
    assert len(xids) == 2
    not_due(db, one, two)


def test_two_at_once_rotate_once(db, canary):
    accounts = [db.account(canary(f"pg-twice{n}"), name=f"database/twice{n}") for n in range(3)]
    for account in accounts:
        account.rotate()
        db.home.run("meta", account.name, "rotation=3s")
    time.sleep(3.1)
    results = []
    threads = [threading.Thread(target=lambda: results.append(call(db, "CALL keyturn.rotate_due('database/twice*')")[0]))
               for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(rotated for rotated, failed in results) == 3 and sum(failed for rotated, failed in results) == 0
    not_due(db, *accounts)


@pytest.mark.parametrize("statement", ["BEGIN; CALL keyturn.rotate_due()", "SELECT 1; CALL keyturn.rotate_due()"])
def test_not_in_a_transaction_block(db, statement):
    with pytest.raises(psycopg2.Error) as caught:
        db.pg.sql(statement)
    assert caught.value.pgcode == "0A000" and "autocommit" in caught.value.diag.message_hint


def test_from_a_procedural_language(db, account):
    make_due(db, account)
    db.pg.sql("DO $$ DECLARE r int; f int; BEGIN CALL keyturn.rotate_due('*', r, f);"
              " IF r <> 1 OR f <> 0 THEN RAISE '% %', r, f; END IF; END $$")
    assert account.agree() and db.home.info(account.name)["version"] == 3
    not_due(db, account)


def test_a_cancel_ends_it(db, canary):
    one = db.account(canary("pg-cancel"), name="database/cancel1")
    make_due(db, one)
    with contextlib.closing(db.pg.connect()) as blocker, blocker.cursor() as cursor:
        cursor.execute(f'BEGIN; ALTER ROLE "{one.role}" CONNECTION LIMIT 5')
        with pytest.raises(psycopg2.Error) as caught:
            call(db, "CALL keyturn.rotate_due('database/cancel*')", options="-c statement_timeout=1s")
        assert caught.value.pgcode == "57014"
        cursor.execute("ROLLBACK")
    assert not one.pending() and one.agree()
    not_due(db, one)


def test_the_callers_rights_count(db, account):
    """The policy's, by the capability `rotate`, and PostgreSQL's."""
    make_due(db, account)
    db.pg.sql("CREATE ROLE due_caller LOGIN")
    db.set_password("due_caller", "due")
    as_caller = {"user": "due_caller", "password": "due", "tcp": True}
    with pytest.raises(psycopg2.Error) as caught:
        call(db, **as_caller)
    assert caught.value.pgcode == "42501"
    db.pg.sql("GRANT USAGE ON SCHEMA keyturn TO due_caller; GRANT EXECUTE ON PROCEDURE keyturn.rotate_due TO due_caller")
    with pytest.raises(psycopg2.Error) as caught:
        call(db, **as_caller)
    assert caught.value.pgcode == "42501"
    db.home.grant("postgresql:role:due_caller", ["rotate"], ["database/*"])
    result, warnings = call(db, **as_caller)
    assert result == (0, 1) and "permission denied" in warnings[0]
    db.let_alter("due_caller", account)
    assert call(db, **as_caller) == ((1, 0), [])
    not_due(db, account)


# ---- by the worker ----

def worker_of(make_db, **settings):
    return make_db(shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s", **settings)


def test_the_worker_calls_it(make_db, canary):
    db = worker_of(make_db, keyturn__rotate_due="on")
    account = db.account(canary("pg-worker"))
    account.rotate()
    with contextlib.closing(db.pg.connect()) as listener, listener.cursor() as cursor:
        cursor.execute("LISTEN keyturn")
        db.home.run("meta", account.name, "rotation=3s")
        wait_for(lambda: db.home.info(account.name)["version"] == 3, 15, what="the worker")
        not_due(db, account)
        wait_for(lambda: listener.poll() or listener.notifies, 5, what="its notification, of a process that has no client")
    assert listener.notifies[0].payload == f'{{"secret":"{account.name}","version":3,"role":"{account.role}"}}'
    assert account.agree() and "1 due rotations were made, 0 failed" in db.pg.log()
    [by] = db.pg.sql("SELECT DISTINCT by_role FROM keyturn.rotation_history WHERE version = 3")
    assert by == ("postgres",)
    line = [line for line in db.home.records("postgresql") if line["action"].startswith("rotate")][-1]
    assert line["subject"] == "postgresql:worker"
    assert "keyturn rotations" not in {row[0] for row in db.pg.sql("SELECT backend_type FROM pg_stat_activity")}


def test_the_worker_does_not_without_its_setting(make_db, canary):
    db = worker_of(make_db)
    account = db.account(canary("pg-off"))
    make_due(db, account)
    time.sleep(2.5)
    assert db.home.info(account.name)["version"] == 2


def test_a_wrong_database_is_one_message(make_db, canary):
    db = worker_of(make_db, keyturn__rotate_due="on", keyturn__database="nowhere")
    account = db.account(canary("pg-wrong"))
    make_due(db, account)
    said = 'there is no database "nowhere" that takes connections'
    wait_for(lambda: said in db.pg.log(), 10, what="its warning")
    time.sleep(3)
    assert db.pg.log().count(said) == 1 and "FATAL:  database" not in db.pg.log()
    db.pg.write_settings(keyturn__database="postgres")
    db.pg.reload()
    wait_for(lambda: db.home.info(account.name)["version"] >= 3, 15, what="the worker")


def test_a_database_without_the_extension(make_db, canary):
    db = worker_of(make_db, keyturn__rotate_due="on", keyturn__database="template1")
    make_due(db, db.account(canary("pg-without")))
    wait_for(lambda: 'database "template1" does not have the extension' in db.pg.log(), 10, what="its warning")
    time.sleep(3)
    assert db.pg.log().count("does not have the extension") == 1


# ---- by pg_cron ----

def test_by_pg_cron(make_db, canary, kt):
    """As the manual page has it, but each minute."""
    if not list(kt.pg_bin.parents[3].rglob("pg_cron.so")):
        pytest.skip("counterpart: pg_cron for this server")
    [statement] = re.findall(r"^SELECT cron.schedule.*;$", (TOP / "postgresql/keyturn-postgresql.7").read_text(), re.M)
    db = make_db(shared_preload_libraries="keyturn,pg_cron", cron__use_background_workers="on", cron__database_name="postgres")
    db.pg.sql("CREATE EXTENSION pg_cron")
    account = db.account(canary("pg-cron"))
    make_due(db, account)
    db.pg.sql(statement.replace("*/5", "*"))
    wait_for(lambda: db.home.info(account.name)["version"] >= 3, 90, what="the minute")
    db.pg.sql("SELECT cron.unschedule('keyturn')")
    not_due(db, account)
    assert account.agree()

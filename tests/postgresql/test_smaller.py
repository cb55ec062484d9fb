# SPDX-License-Identifier: BSD-2-Clause
"""F12 of the trial: what each of its smaller lines became, as far as no other file has it."""
import contextlib
import shutil
import signal
import subprocess
import time

import psycopg2
import pytest

from lib.tools import wait_for
from postgresql.test_bounded import EXPENSIVE, asks, give, silent  # noqa: F401
from postgresql.test_rotate import sqlstate


def test_drop_database_elsewhere_does_not_wait_for_a_silent_provider(db, silent):  # noqa: F811
    """DROP DATABASE waits until each backend has closed the files of that database."""
    db.pg.sql("CREATE DATABASE dropped")
    thread, pid, ended = asks(db, silent)
    started = time.monotonic()
    db.pg.sql("DROP DATABASE dropped")
    assert time.monotonic() - started < 2 and not ended
    db.pg.value("SELECT pg_cancel_backend(%s)", [pid])
    thread.join(20)
    assert ended["code"] == "57014"


def test_a_comparison_is_cancelled_between_two_slices(db, canary, stop_at):
    """F11, F12: PBKDF2 of 100000 iterations takes a while, and was one call."""
    account = db.account(canary("pg-slice"))
    give(db, account, EXPENSIVE % 100000)
    stopped = stop_at(db, account, "in_pbkdf2")
    stopped.send(signal.SIGINT)
    stopped.go_on()
    assert stopped.error.pgcode == "57014"
    assert not account.pending()


def test_another_case_of_the_name_is_hinted(db, account):
    db.pg.sql("CREATE ROLE lower_case LOGIN")
    db.home.set("database/case", {"user": "Lower_Case", "password": "none"})
    with pytest.raises(psycopg2.Error) as caught:
        db.pg.sql("SELECT rotate_secret('database/case')")
    assert caught.value.pgcode == "42704" and 'There is a role "lower_case"' in caught.value.diag.message_hint
    db.home.run("set", "database/case", "--field", "user", "--force", input="lower_case")
    assert db.pg.value("SELECT rotate_secret('database/case')") and sqlstate(db, "SELECT rotate_secret('database/none')")[0] == "42704"


def test_history_has_who_logged_in(db, account):
    db.pg.sql("CREATE ROLE posed SUPERUSER")
    db.home.grant("postgresql:role:posed", ["rotate"], ["*"])
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION AUTHORIZATION posed")
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
    assert db.pg.sql("SELECT by_role, session_role FROM keyturn.rotation_history WHERE secret = %s", [account.name]) == \
        [("posed", "postgres")]


def test_drop_extension_says_that_the_history_goes(db, account):
    db.pg.sql("CREATE DATABASE extension_dropped")
    connect = {"dbname": "extension_dropped"}
    db.pg.sql("CREATE EXTENSION keyturn", **connect)
    with contextlib.closing(db.pg.connect(**connect)) as connection, connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION keyturn")
        cursor.execute("CREATE EXTENSION keyturn")
        assert connection.notices == []     # nothing is lost
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        cursor.execute("BEGIN; DROP EXTENSION IF EXISTS keyturn CASCADE")
        [warning] = connection.notices
        assert warning.startswith("WARNING:  the history of 2 rotations is dropped with the extension")
        assert "CREATE TABLE rotation_history AS TABLE keyturn.rotation_history" in warning
        cursor.execute("ROLLBACK; CREATE TABLE rotation_history AS TABLE keyturn.rotation_history")
        cursor.execute("DROP EXTENSION keyturn; SELECT count(*) FROM rotation_history")
        assert cursor.fetchone() == (2,) and len(connection.notices) == 2
    db.pg.sql("DROP DATABASE extension_dropped")


def test_the_trigger_is_not_called_by_hand(db):
    assert sqlstate(db, "SELECT keyturn.warn_drop()")[0] == "39P03"


def test_an_audit_folder_moved_to_another_disk(make_db, canary):
    """cp -a gives the files other numbers: everything was 58030 until an operator removed the state."""
    db = make_db()
    account = db.account(canary("pg-moved"))
    account.rotate()
    db.pg.stop()
    moved = db.home.dir / "moved"
    subprocess.run(["cp", "-a", db.home.audit, moved], check=True)
    shutil.rmtree(db.home.audit)
    moved.rename(db.home.audit)
    db.pg.start()
    assert account.rotate() == 3 and account.agree()
    assert db.pg.value("SELECT get_secret(%s, 'user')", [account.name]) == account.role
    db.home.run("audit", "verify")


def test_a_moved_audit_folder_under_a_running_server(db, canary):
    account = db.account(canary("pg-moved-live"))
    account.rotate()
    moved = db.home.dir / "moved"
    subprocess.run(["cp", "-a", db.home.audit, moved], check=True)
    shutil.rmtree(db.home.audit)
    moved.rename(db.home.audit)
    assert account.rotate() == 3 and account.agree()
    wait_for(lambda: db.home.run("audit", "verify", check=False).returncode == 0, 10)

# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 at each step of a rotation: afterwards store and database agree."""
import contextlib
import signal
import threading

import psycopg2
import pytest

from lib.tools import wait_for

POINTS = ["after_pending", "after_alter", "before_promote", "after_promote"]
COMMITTED = ["before_promote", "after_promote"]


def rotate_into(db, account, point):
    """The statement with which the backend ends; it tells the client nothing."""
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = %s", [point])
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])


def until_up(db):
    wait_for(db.pg._ready, 30, what="the server after a crash")


def killed(db, account, point):
    rotate_into(db, account, point + ":kill")
    until_up(db)


@pytest.mark.parametrize("point", POINTS)
def test_backend_killed_and_the_worker_reconciles(make_db, canary, point):
    db = make_db(shared_preload_libraries="keyturn", restart_after_crash="on")
    account = db.account(canary("pg-crash"))
    first = account.password()
    killed(db, account, point)
    wait_for(lambda: not account.pending(), 15, what="the worker")
    assert account.agree()
    assert (account.password() != first) == (point in COMMITTED)
    account.rotate()
    assert account.agree()


@pytest.mark.parametrize("point", POINTS)
def test_backend_killed_and_the_next_call_reconciles(make_db, canary, point):
    db = make_db(restart_after_crash="on")
    account = db.account(canary("pg-crash-next"))
    first = account.password()
    killed(db, account, point)
    # nobody is locked out before that: the role has the current password or the pending one
    assert db.pg.can_login(account.role, account.password()) or \
        db.pg.can_login(account.role, account.password("pending"))
    account.rotate()
    assert account.agree() and not account.pending()
    versions = {version["version"]: version["state"] for version in db.home.versions(account.name)}
    assert list(versions.values()).count("current") == 1
    if point in COMMITTED:
        assert account.password("previous") != first
    else:
        assert account.password("previous") == first


@pytest.mark.parametrize("point", POINTS)
def test_whole_server_killed_while_the_backend_stands_still(make_db, canary, point):
    db = make_db(shared_preload_libraries="keyturn")
    account = db.account(canary("pg-crash-server"))
    stood = threading.Thread(target=rotate_into, args=(db, account, point))
    stood.start()
    wait_for(lambda: db.pg.sql("SELECT FROM pg_stat_activity WHERE query LIKE '%%rotate_secret%%' AND pid <> pg_backend_pid()")
             and account_is_at(db, account, point), 15, what=point)
    db.pg.stop(signal.SIGKILL)
    stood.join(20)
    db.pg.start()
    wait_for(lambda: not account.pending(), 15, what="the worker")
    assert account.agree()
    account.rotate()
    assert account.agree()


def account_is_at(db, account, point):
    """Has the stopped backend come to its point? As seen in /proc: a process of the server in state T."""
    pids = db.pg.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE '%%rotate_secret%%' AND pid <> pg_backend_pid()")
    for (pid,) in pids:
        with open(f"/proc/{pid}/stat") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] == "T":
                return True
    return False


def test_immediate_shutdown_midway(make_db, canary):
    db = make_db(shared_preload_libraries="keyturn")
    account = db.account(canary("pg-crash-immediate"))
    killed_at = threading.Thread(target=rotate_into, args=(db, account, "after_alter"))
    killed_at.start()
    wait_for(lambda: account_is_at(db, account, "after_alter"), 15, what="after_alter")
    db.pg.restart(signal.SIGQUIT)
    killed_at.join(20)
    wait_for(lambda: not account.pending(), 15, what="the worker")
    assert account.agree()


def test_an_acknowledged_rotation_survives_synchronous_commit_off(make_db, canary):
    db = make_db(synchronous_commit="off", wal_writer_delay="10s")
    account = db.account(canary("pg-crash-async"))
    account.rotate()
    db.pg.stop(signal.SIGKILL)
    db.pg.start()
    assert account.agree()


def test_terminated_midway(make_db, canary):
    """pg_terminate_backend is no crash: the transaction is rolled back and the pending version dropped."""
    db = make_db()
    account = db.account(canary("pg-terminate"))
    first = account.password()
    stood = threading.Thread(target=rotate_into, args=(db, account, "after_pending"))
    stood.start()
    wait_for(lambda: account_is_at(db, account, "after_pending"), 15, what="after_pending")
    pid = db.pg.value("SELECT pid FROM pg_stat_activity WHERE query LIKE '%%rotate_secret%%' AND pid <> pg_backend_pid()")
    db.pg.sql("SELECT pg_terminate_backend(%s)", [pid])
    import os
    os.kill(pid, signal.SIGCONT)
    stood.join(20)
    wait_for(lambda: not account.pending(), 10, what="the abort")
    assert account.password() == first and account.agree()

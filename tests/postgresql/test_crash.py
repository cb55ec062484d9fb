# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 at each step of a rotation: afterwards store and database agree."""
import contextlib
import os
import random
import signal
import threading
import time

import psycopg2
import pytest

from lib.tools import traced, wait_for

POINTS = ["after_pending", "after_alter", "before_prepare", "after_prepare", "before_promote", "after_promote"]
COMMITTED = ["before_promote", "after_promote"]


def rotate_into(db, account, point):
    """The statement with which the backend ends; it tells the client nothing."""
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = %s", [point])
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])


def killed(db, account, point):
    """Returns when the server has recovered, and not before it has noticed."""
    rotate_into(db, account, point + ":kill")
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 30, what="the server after a crash")


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
    # no login is locked out before that: the role has the current password or the pending one
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


def rotate_until_killed(db, account, connection):
    with contextlib.suppress(psycopg2.OperationalError), connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT rotate_secret(%s)", [account.name])


@pytest.mark.parametrize("preloaded", [True, False])
def test_killed_at_random_times(make_db, canary, preloaded):
    """Not at the points that we thought of."""
    db = make_db(restart_after_crash="on", shared_preload_libraries="keyturn" if preloaded else None)
    account = db.account(canary("pg-crash-random"))
    random_times = random.Random(os.environ["KEYTURN_CANARY"])
    for crash in range(2, 10):
        connection = db.pg.connect()
        pid = connection.get_backend_pid()
        rotating = threading.Thread(target=rotate_until_killed, args=(db, account, connection), daemon=True)
        rotating.start()
        time.sleep(random_times.uniform(0.01, 0.1))
        os.kill(pid, signal.SIGKILL)
        rotating.join(20)
        connection.close()
        wait_for(lambda: db.pg.log().count("ready to accept connections") == crash, 30, what="the server after a crash")
        if preloaded:
            wait_for(lambda: not account.pending(), 15, what="the worker")
        else:
            account.rotate()
        assert not account.pending()
        assert account.agree()


@pytest.mark.parametrize("point", POINTS)
def test_whole_server_killed_while_the_backend_stands_still(make_db, stop_at, canary, point):
    db = make_db(shared_preload_libraries="keyturn")
    account = db.account(canary("pg-crash-server"))
    stopped = stop_at(db, account, point)
    db.pg.stop(signal.SIGKILL)
    stopped.die()
    db.pg.start()
    wait_for(lambda: not account.pending(), 15, what="the worker")
    assert account.agree()
    account.rotate()
    assert account.agree()


KILLED = "inject=fdatasync,fsync:error=EIO:signal=KILL:when=1"


@pytest.mark.parametrize("left", ["all", "half", "nothing"])
def test_the_power_goes_before_the_publication_is_synced(make_db, stop_at, canary, tmp_path, left):
    """PostgreSQL has committed, others have seen the publication, and of its frames the power cut leaves so much. What is lost is
    that the version is current: the worker proves it again. No alarm is raised."""
    db = make_db(shared_preload_libraries="keyturn")
    account = db.account(canary("pg-power"))
    account.rotate()
    first, wal = account.password(), db.home.store.with_name(db.home.store.name + "-wal")
    stopped = stop_at(db, account, "before_promote")
    before = wal.read_bytes()
    assert account.password() == first and not db.pg.can_login(account.role, first)
    with traced(stopped.pid, "fdatasync,fsync", tmp_path / "trace", "-e", KILLED):
        stopped.go_on()
    assert isinstance(stopped.error, psycopg2.OperationalError) and "-wal>" in (tmp_path / "trace").read_text()
    db.pg.stop(signal.SIGKILL)
    after = wal.read_bytes()
    changed = [at for at in range(0, len(after), 512) if after[at:at + 512] != before[at:at + 512]]
    assert changed
    keep = {"all": len(after), "half": (changed[0] + changed[-1]) // 2, "nothing": changed[0]}[left]
    wal.write_bytes(after[:keep] + before[keep:].ljust(len(after) - keep, b"\0"))
    db.home.store.with_name(db.home.store.name + "-shm").unlink()
    assert (account.password() == first) == (left != "all")
    db.pg.start()
    wait_for(lambda: not account.pending() and account.agree(), 10, what="the worker")
    assert db.home.run("verify").returncode == 0 and db.home.run("audit", "verify").returncode == 0
    account.rotate()
    assert account.agree()


def test_immediate_shutdown_midway(make_db, stop_at, canary):
    db = make_db(shared_preload_libraries="keyturn")
    account = db.account(canary("pg-crash-immediate"))
    stopped = stop_at(db, account, "after_alter")
    db.pg.restart(signal.SIGQUIT)
    stopped.die()
    wait_for(lambda: not account.pending(), 15, what="the worker")
    assert account.agree()


def test_an_acknowledged_rotation_survives_synchronous_commit_off(make_db, canary):
    db = make_db(synchronous_commit="off", wal_writer_delay="10s")
    account = db.account(canary("pg-crash-async"))
    account.rotate()
    db.pg.stop(signal.SIGKILL)
    db.pg.start()
    assert account.agree()


def test_terminated_midway(make_db, stop_at, canary):
    """pg_terminate_backend is not a crash: the transaction is rolled back and the pending version dropped."""
    db = make_db()
    account = db.account(canary("pg-terminate"))
    first = account.password()
    stopped = stop_at(db, account, "after_pending")
    db.pg.sql("SELECT pg_terminate_backend(%s)", [stopped.pid])
    stopped.go_on()
    wait_for(lambda: not account.pending(), 10, what="the abort")
    assert account.password() == first and account.agree()


def test_cancelled_midway(make_db, stop_at, canary):
    db = make_db()
    account = db.account(canary("pg-cancel"))
    first = account.password()
    stopped = stop_at(db, account, "after_pending")
    db.pg.sql("SELECT pg_cancel_backend(%s)", [stopped.pid])
    stopped.go_on()
    assert stopped.error.pgcode == "57014"
    assert not account.pending()
    assert account.password() == first and account.agree()
    assert [version["state"] for version in db.home.versions(account.name)] == ["current"], "dropped, and not set aside"


def test_cancelled_while_it_commits(make_db, stop_at, canary):
    """Too late: the rotation is whole, and so is the answer."""
    db = make_db()
    account = db.account(canary("pg-cancel-late"))
    stopped = stop_at(db, account, "before_promote")
    db.pg.sql("SELECT pg_cancel_backend(%s)", [stopped.pid])
    stopped.go_on()
    assert not account.pending()
    assert account.agree()


def test_an_error_inside_the_commit_is_caught(make_db, canary):
    """It would take the whole cluster down: PANIC, cannot abort a transaction that was committed."""
    db = make_db()
    account = db.account(canary("pg-commit-error"))
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'before_promote:error'")
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        cursor.execute("SET keyturn.debug_stop = ''")
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
    assert "PANIC" not in db.pg.log()
    assert account.agree() and not account.pending()

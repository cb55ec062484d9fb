# SPDX-License-Identifier: BSD-2-Clause
"""A rotation is ready before the commit of PostgreSQL: what can fail fails before it, and one sync of the store is left after it."""
import contextlib
import os
import re
import resource
import statistics
import threading
import time

import psycopg2
import pytest

from lib.tools import traced, wait_for


def test_five_syncs(db, canary, tmp_path):
    """Of the intent, the pending version, the intent to publish it, PostgreSQL's commit and the publication."""
    account = db.account(canary("pg-syncs"))
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
        rotations = []
        for number in range(7):
            with traced(connection.get_backend_pid(), "fsync,fdatasync", tmp_path / str(number)):
                cursor.execute("SELECT rotate_secret(%s)", [account.name])
            rotations.append([name.rsplit("/", 1)[-1] for name in re.findall(r"sync\(\d+<([^>]*)>", (tmp_path / str(number)).read_text())])
    # now and then -wal is written back to the store, or a log is full
    assert statistics.median(len(files) for files in rotations) <= 5, rotations
    usual, wal = min(rotations, key=len), db.home.store.name + "-wal"
    assert [re.sub("^[0-9A-F]{24}$", "pg_wal", name) for name in usual] == ["log", wal, "log", "pg_wal", wal]
    assert account.agree()


def secrets(db, folder, count):
    names = [f"database/{folder}/{number}" for number in range(count)]
    for number, name in enumerate(names):
        db.account(None, role=f"{folder}{number}", name=name)
    return names


MANY = 300


@pytest.fixture(scope="module")
def many(db):
    return secrets(db, "many", MANY)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.contextmanager
def watched(pid):
    """The most descriptors that a process has."""
    seen, ending = [], threading.Event()

    def look():
        while not ending.wait(0.01):
            seen.append(descriptors(pid))
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ending.set()
        thread.join()


def versions(db):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version, count(*) FROM list_secrets('database/many/*') GROUP BY version")
        return dict(cursor.fetchall())


def test_one_statement_over_many_secrets(db, many):
    """With as few files as a session may open: each of them took five before."""
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        pid = connection.get_backend_pid()
        cursor.execute("SELECT rotate_secret(%s) FROM list_secrets('database/many/*') LIMIT 1", [many[0]])
        limit = descriptors(pid) + 24
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        with watched(pid) as seen:
            cursor.execute("SELECT count(rotate_secret(name)) FROM list_secrets('database/many/*')")
        assert cursor.fetchone() == (MANY,) and not connection.notices
        assert len(seen) > 50 and max(seen) <= seen[0] + 8
    assert versions(db) == {2: MANY - 1, 3: 1}
    for number in range(0, MANY, 37):
        assert db.pg.can_login(f"many{number}", db.home.get(f"{many[number]}#password").decode())


FAILURES = {
    "an error": ("SELECT count(rotate_secret(name)) / (count(*) - %d) FROM list_secrets('database/many/*')" % MANY, "22012"),
    "a cancel": ("SELECT count(rotate_secret(name)), pg_cancel_backend(pg_backend_pid()), count(pg_sleep(0)) "
                 "FROM list_secrets('database/many/*')", "57014"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_all_or_none_of_them(db, many, how):
    before, (statement, code) = versions(db), FAILURES[how]
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(statement)
        assert caught.value.pgcode == code and not connection.notices
    assert versions(db) == before
    assert not any(db.home.info(name).get("pending") for name in many[::23])
    assert db.pg.can_login("many5", db.home.get(f"{many[5]}#password").decode())


@pytest.mark.parametrize("point, code", [("before_prepare", "57014"), ("before_prepare:error", "XX000"), ("after_prepare:error", "XX000")])
def test_it_can_fail_until_the_commit(db, canary, stop_at, point, code):
    account = db.account(canary("pg-late"))
    first = account.password()
    if code == "57014":
        stopped = stop_at(db, account, point)
        db.pg.value("SELECT pg_cancel_backend(%s)", [stopped.pid])
        stopped.go_on()
        error, notices = stopped.error, stopped.notices
    else:
        with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET keyturn.debug_stop = %s", [point])
            with pytest.raises(psycopg2.Error) as caught:
                cursor.execute("SELECT rotate_secret(%s)", [account.name])
            error, notices = caught.value, connection.notices
    assert error.pgcode == code and not notices
    assert account.password() == first and account.agree() and not account.pending()
    account.rotate()
    assert account.agree()


def test_waiting_for_the_store_at_the_commit_is_cancelled(db, canary, stop_at):
    """Another process writes to the store; the queue of the backends is in pg_locks."""
    holder, account = db.account(canary("pg-holder")), db.account(canary("pg-waits"))
    waits = db.account(canary("pg-queue"))
    stopped = stop_at(db, holder, "after_prepare")
    errors = []

    def rotate(name):
        with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
            try:
                cursor.execute("SET statement_timeout = '1500ms'")
                cursor.execute("SELECT rotate_secret(%s)", [name])
            except psycopg2.Error as error:
                errors.append(error.pgcode)
    threads = [threading.Thread(target=rotate, args=[name]) for name in (account.name, waits.name)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    wait_for(lambda: db.pg.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 2, 5, what="a queue")
    for thread in threads:
        thread.join(20)
    assert errors == ["57014", "57014"] and time.monotonic() - started < 4
    stopped.go_on()
    assert not stopped.error and holder.agree()
    for one in (account, waits):
        assert not one.pending() and one.agree()


def test_a_commit_that_waits_for_a_standby_leaves_the_store_to_others(make_db, canary):
    db = make_db(max_wal_senders="2", wal_level="replica")
    account, other = db.account(canary("pg-sync")), db.account(canary("pg-other"))
    db.pg.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    db.pg.reload()
    wait_for(lambda: db.pg.value("SHOW synchronous_standby_names") == "nobody", 10, what="the setting")
    connection = db.pg.connect()
    pid = connection.get_backend_pid()

    def rotate():
        with connection.cursor() as cursor:
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    thread = threading.Thread(target=rotate)
    thread.start()
    wait_for(lambda: db.pg.value("SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s", [pid]), 15, what="the wait")
    db.home.set("api-keys/x", "written meanwhile")
    db.pg.value("SELECT pg_cancel_backend(%s)", [pid])
    thread.join(20)
    assert any("synchronous replication" in notice for notice in connection.notices)
    connection.close()
    assert account.agree() and not account.pending() and not other.pending()


SLOW = "inject=fdatasync,fsync:delay_enter=20000"  # microseconds


@pytest.mark.parametrize("slow, logins, least, most", [(False, 1000, 100, 1), (True, 400, 20, 4)], ids=["disk", "slow-disk"])
def test_a_reader_is_hardly_ever_refused(db, canary, tmp_path, slow, logins, least, most):
    """It reads and logs in all the time while the secret rotates. That it read before a rotation and logs in after it is its own
    doing: what counts is a value that is refused and still current. The publication is seen before it is synced, so that how
    long a sync takes makes no difference: with each 20 ms it was 44 of 400. There strace stops the process between the commit
    and the publication, so a few more are allowed than the one of 1,000."""
    account = db.account(canary("pg-reader"))
    account.rotate()
    ending, rotations = threading.Event(), []

    def rotate():
        with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor, \
                (traced(connection.get_backend_pid(), "fdatasync,fsync", tmp_path / "trace", "-e", SLOW) if slow
                 else contextlib.nullcontext()):
            while not ending.is_set():
                cursor.execute("SELECT rotate_secret(%s)", [account.name])
                rotations.append(cursor.fetchone()[0])
                assert not connection.notices
    thread = threading.Thread(target=rotate)
    thread.start()
    refused, again = 0, 0
    try:
        with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
            def read():
                cursor.execute("SELECT get_secret(%s, 'password')", [account.name])
                return cursor.fetchone()[0]
            for _ in range(logins):
                password = read()
                if db.pg.can_login(account.role, password):
                    continue
                refused += 1
                again += read() == password
    finally:
        ending.set()
        thread.join(20)
    print(f"{len(rotations)} rotations, {logins} logins, {refused} of a value that was replaced meanwhile, {again} of the current one")
    assert len(rotations) > least and again <= most


def test_the_retry_that_the_manual_gives(db, canary, stop_at):
    """Between the commit of PostgreSQL and the publication: pending, then current, once."""
    account = db.account(canary("pg-retry"))
    account.rotate()
    stopped = stop_at(db, account, "before_promote")
    current = account.password()
    assert not db.pg.can_login(account.role, current)
    assert db.pg.can_login(account.role, account.password("pending"))
    stopped.go_on()
    assert db.home.run("get", f"{account.name}#password@pending", check=False).returncode == 66
    assert db.pg.can_login(account.role, account.password())


def test_the_verifier_is_made_by_another_thread(db, canary, tmp_path):
    """While the secret and the role are looked at. It takes no signals, and none is left, whatever happens."""
    account = db.account(canary("pg-thread"))
    db.home.set("database/nobody", {"user": "no such role", "password": "none"})
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        pid = connection.get_backend_pid()
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        with traced(pid, "clone,clone3,rt_sigprocmask", tmp_path / "trace"):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
        trace = (tmp_path / "trace").read_text()
        assert len(re.findall(r" clone3?\(", trace)) == 1
        assert "rt_sigprocmask(SIG_SETMASK, ~[" in trace.split(" clone")[0]
        for _ in range(20):
            with pytest.raises(psycopg2.Error) as caught:
                cursor.execute("SELECT rotate_secret('database/nobody')")
            assert caught.value.pgcode == "42704"
            assert len(os.listdir(f"/proc/{pid}/task")) == 1
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        assert len(os.listdir(f"/proc/{pid}/task")) == 1
    assert account.agree()


def test_an_aborted_statement_frees_no_password_that_a_thread_reads(db, account):
    """The thread waits until it is joined, and ends the process if the password is wiped or unmapped before."""
    db.home.set("database/nobody", {"user": "no such role", "password": "none"})
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'verifier:watch'")
        for _ in range(3):
            with pytest.raises(psycopg2.errors.UndefinedObject):
                cursor.execute("SELECT rotate_secret('database/nobody')")
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
    assert account.agree() and "was terminated by signal" not in db.pg.log()

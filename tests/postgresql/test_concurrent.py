# SPDX-License-Identifier: BSD-2-Clause
"""Several sessions that rotate at once, and a store that another process has locked."""
import concurrent.futures
import contextlib
import sqlite3
import threading
import time

import psycopg2
import pytest

CLEAN = {"55P03", "40001", "55006"}


def attempt(db, name, dbname):
    try:
        return db.pg.value("SELECT rotate_secret(%s)", [name], dbname=dbname), None
    except psycopg2.Error as error:
        return None, error.pgcode


def test_one_role_from_two_databases(db, account):
    db.pg.sql("CREATE DATABASE other")
    db.pg.sql("CREATE EXTENSION keyturn", dbname="other")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: attempt(db, account.name, ("postgres", "other")[i % 2]), range(100)))
    versions = [version for version, _ in answers if version]
    codes = {code for _, code in answers if code}
    assert codes <= CLEAN
    assert len(versions) == len(set(versions)) >= 50
    assert db.home.info(account.name)["version"] == max(versions)
    assert account.agree() and not account.pending()
    rows = db.pg.value("SELECT count(*) FROM keyturn.rotation_history WHERE secret = %s", [account.name]) + \
        db.pg.value("SELECT count(*) FROM keyturn.rotation_history WHERE secret = %s", [account.name], dbname="other")
    assert rows == len(versions)


def test_many_roles_at_once(db, canary):
    accounts = [db.account(canary("pg-many")) for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda account: [account.rotate() for _ in range(4)], accounts))
    assert all(account.agree() for account in accounts)
    assert {db.home.info(account.name)["version"] for account in accounts} == {5}


def test_an_alter_role_of_another_session_at_the_same_time(db, account):
    """ALTER ROLE takes no lock that we could wait for: a clean error, or in step."""
    def alter(_):
        with contextlib.suppress(psycopg2.Error):
            db.pg.sql(f"ALTER ROLE {account.role} CONNECTION LIMIT -1")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        others = [pool.submit(alter, i) for i in range(60)]
        answers = [attempt(db, account.name, "postgres") for _ in range(20)]
        concurrent.futures.wait(others)
    assert {code for _, code in answers if code} <= CLEAN
    assert any(version for version, _ in answers)
    assert account.agree() and not account.pending()


@contextlib.contextmanager
def locked(db):
    """Another process writes to the store and does not come to an end."""
    with contextlib.closing(sqlite3.connect(db.home.store, isolation_level=None, timeout=5)) as store:
        store.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            store.execute("ROLLBACK")


def test_cancel_while_the_store_is_locked(db, account):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        cursor.execute("SET statement_timeout = '300ms'")
        with locked(db):
            started = time.monotonic()
            with pytest.raises(psycopg2.Error) as caught:
                cursor.execute("SELECT rotate_secret(%s)", [account.name])
            took = time.monotonic() - started
    assert caught.value.pgcode == "57014"
    assert took < 1.3
    assert account.agree()


def test_lock_timeout_holds_for_the_store_too(db, account):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '400ms'")
        with locked(db):
            started = time.monotonic()
            with pytest.raises(psycopg2.Error) as caught:
                cursor.execute("SELECT rotate_secret(%s)", [account.name])
            took = time.monotonic() - started
    assert caught.value.pgcode == "55P03"
    assert took < 2
    assert account.agree()


def test_a_short_lock_is_waited_for(db, account):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with locked(db):
            rotation = pool.submit(attempt, db, account.name, "postgres")
            time.sleep(0.5)
            assert not rotation.done()
        assert rotation.result(20)[0] == 2
    assert account.agree()


def test_a_hundred_secrets_at_once(make_db, canary):
    """As a nightly rotation of everything does it: all versions are current, without a warning."""
    db = make_db(max_connections="120")
    names = [f"database/many/r{number}" for number in range(100)]
    for number, name in enumerate(names):
        db.account(None, role=f"r{number}", name=name)

    def rotate(name):
        with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
            barrier.wait(60)
            cursor.execute("SELECT rotate_secret(%s)", [name])
            return cursor.fetchone()[0], connection.notices

    barrier = threading.Barrier(len(names))
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(rotate, names))
    assert [version for version, _ in answers] == [2] * len(names)
    assert not any(notices for _, notices in answers)
    passwords = {name: db.home.get(f"{name}#password").decode() for name in names}
    db.values.update(passwords.values())
    assert all(db.pg.can_login(name.rsplit("/", 1)[1], password) for name, password in passwords.items())
    assert not any(db.home.info(name).get("pending") for name in names)

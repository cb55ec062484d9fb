# SPDX-License-Identifier: BSD-2-Clause
"""An interrupted rotation ends only by proof: copies of a cluster, roles that changed their name, values that cannot be read."""
import calendar
import contextlib
import sqlite3
import time

import psycopg2
import pytest

from lib.tools import wait_for

WEEK = 7 * 86400


def states(account):
    return {version["version"]: version["state"] for version in account.db.home.versions(account.name)}


def lines(db, action):
    return len([line for line in db.home.records("postgresql") if line["action"] == action])


def rotate_fails(pg, name):
    with pytest.raises(psycopg2.Error) as caught:
        pg.sql("SELECT rotate_secret(%s)", [name])
    return caught.value


@pytest.fixture
def original(make_db):
    db = make_db(wal_level="replica", max_wal_senders="4", hot_standby="on")
    with open(db.pg.data / "pg_hba.conf", "a") as hba:
        hba.write("local replication postgres trust\n")
    db.pg.reload()
    return db


def looks(db, count=2):
    """The worker of a copy has looked at the secret, whatever it made of it."""
    before = lines(db, "state")
    wait_for(lambda: lines(db, "state") >= before + count, 20, what="the worker's look")


@pytest.mark.parametrize("writes", [None, "COMMIT", "ROLLBACK"])
def test_a_clone_leaves_the_rotation_of_its_original(original, clone, stop_at, canary, writes):
    """The rotation stands between its commit and the publication; the clone does not have its WAL, or has other transactions of
    the same numbers."""
    db, account = original, original.account(canary("pg-clone"))
    account.rotate()
    copy = clone(db)
    stopped = stop_at(db, account, "before_promote")
    version = account.pending()
    copy.start(shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s")
    looks(db)
    if writes:
        with contextlib.closing(copy.connect()) as connection, connection.cursor() as cursor:
            for _ in range(20):
                cursor.execute("BEGIN")
                cursor.execute("CREATE TABLE t (i int)")
                cursor.execute("DROP TABLE t")
                cursor.execute(writes)
        looks(db)
    if writes == "ROLLBACK":
        # it passes for the aborted transaction of the copy itself, but the original has the store's lock until it has published
        looks(db)
        assert account.pending() == version
    else:
        error = rotate_fails(copy, account.name)
        assert error.pgcode == "55006" and f"what became of version {version}" in error.diag.message_detail
        assert account.pending() == version
    stopped.go_on()
    assert not stopped.error and not [notice for notice in stopped.notices if "not current" in notice]
    assert states(account)[version] == "current" and account.agree()


def test_a_standby_that_is_promoted_beside_a_live_primary(original, clone, stop_at, canary):
    db, account = original, original.account(canary("pg-split"))
    account.rotate()
    copy = clone(db, "-R")
    copy.start(shared_preload_libraries="keyturn", hot_standby="on", keyturn__reconcile_interval="1s")
    stopped = stop_at(db, account, "after_alter")
    version = account.pending()
    flushed = db.pg.value("SELECT pg_current_wal_flush_lsn()")
    wait_for(lambda: copy.value("SELECT pg_last_wal_replay_lsn() >= %s", [flushed]), 15, what="replication")
    copy.value("SELECT pg_promote()")
    wait_for(lambda: states(account)[version] == "abandoned", 20, what="the verdict of the promoted standby")
    stopped.go_on()
    assert not stopped.error and not [notice for notice in stopped.notices if "not current" in notice]
    assert states(account)[version] == "current" and account.agree()


def killed(db, account, point):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = %s", [point + ":kill"])
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 30, what="the server after a crash")


@pytest.fixture
def crashed(make_db, canary):
    """A rotation that was committed and not published."""
    db = make_db(restart_after_crash="on")
    account = db.account(canary("pg-proof"))
    account.rotate()
    killed(db, account, "before_promote")
    account.last = account.pending()
    assert account.last
    return account


def test_a_role_that_was_renamed(crashed):
    account, pg = crashed, crashed.db.pg
    pg.sql(f"ALTER ROLE {account.role} RENAME TO renamed")
    error = rotate_fails(pg, account.name)
    assert error.pgcode == "42704" and 'called "renamed" now' in error.diag.message_hint
    assert states(account)[account.last] == "current"
    assert pg.can_login("renamed", account.password())
    account.db.home.run("set", account.name, "--field", "user", "--force", input=b"renamed")
    account.role = "renamed"
    account.rotate()
    assert account.agree()


def test_a_role_that_was_dropped(crashed):
    account, pg = crashed, crashed.db.pg
    password = account.password("pending")
    pg.sql(f"DROP ROLE {account.role}")
    assert rotate_fails(pg, account.name).pgcode == "42704"
    assert states(account)[account.last] == "abandoned"
    assert account.password(account.last) == password


def test_a_role_of_the_same_name_is_another_one(crashed, canary):
    account, pg = crashed, crashed.db.pg
    pg.sql(f"DROP ROLE {account.role}")
    pg.sql(f"CREATE ROLE {account.role} LOGIN")
    account.rotate()
    assert account.agree() and states(account)[account.last] == "abandoned"


def test_a_value_that_cannot_be_read(crashed):
    account, pg = crashed, crashed.db.pg

    def flip():
        with contextlib.closing(sqlite3.connect(account.db.home.store, isolation_level=None, timeout=5)) as store:
            [(record,)] = store.execute("SELECT record FROM value WHERE version = ?", [account.last]).fetchall()
            store.execute("UPDATE value SET record = ? WHERE version = ?", [record[:-1] + bytes([record[-1] ^ 1]), account.last])
    flip()
    error = rotate_fails(pg, account.name)
    assert error.pgcode == "XX001"
    assert account.pending() == account.last
    flip()
    account.rotate()
    assert states(account)[account.last] == "previous" and account.agree()


@pytest.mark.parametrize("point", ["after_pending", "after_alter"])
def test_what_is_given_up_is_kept(make_db, canary, point):
    db = make_db(restart_after_crash="on")
    account = db.account(canary("pg-kept"))
    first = account.password()
    killed(db, account, point)
    version, password = account.pending(), account.password("pending")
    account.rotate()
    assert states(account)[version] == "abandoned" and account.password(version) == password
    assert account.agree() and account.password("previous") == first
    expires = {entry["version"]: entry["expires"] for entry in db.home.versions(account.name)}[version]
    until = time.strptime(expires, "%Y-%m-%dT%H:%M:%SZ")
    assert abs(calendar.timegm(until) - time.time() - WEEK) < 300
    with pytest.raises(psycopg2.Error) as caught:
        db.pg.sql("SELECT rollback_secret(%s, %s)", [account.name, str(version)])
    assert caught.value.pgcode == "55000" and "never in force" in str(caught.value)


def test_its_time(make_db, canary):
    db = make_db(restart_after_crash="on", keyturn__keep_abandoned="1s")
    account = db.account(canary("pg-time"))
    killed(db, account, "after_pending")
    version = account.pending()
    account.rotate()
    time.sleep(1.1)
    account.rotate()
    assert version not in states(account)

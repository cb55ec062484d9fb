# SPDX-License-Identifier: BSD-2-Clause
"""Whose secret it is: other clusters and copies with the same store, and the addresses by which clients come."""
import contextlib
import re
import socket
import threading

import psycopg2
import pytest

from lib.advice import follow
from lib.postgres import initdb
from lib.tools import wait_for
from postgresql.test_rotate import sqlstate


def fails(pg, query, *parameters):
    with pytest.raises(psycopg2.Error) as caught:
        pg.sql(query, list(parameters))
    return caught.value


def notices(pg, query, *parameters):
    with contextlib.closing(pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(query, list(parameters))
        return "".join(connection.notices)


def row(pg, account):
    return pg.sql("SELECT role, version, pending, state FROM keyturn.rotations WHERE secret = %s", [account.name])


@pytest.fixture
def second(kt, make_postgres):
    """second(db): another cluster, with the same configuration of keyturn."""
    def make(db):
        other = make_postgres(db.home)
        other.remove()
        initdb(kt, other.data, other.env)
        other.start()
        other.sql("CREATE EXTENSION keyturn")
        return other
    return make


@pytest.fixture
def two(make_db, second, canary):
    """A managed secret, and another cluster in which its role has no password."""
    db = make_db()
    account = db.account(canary("pg-owner"))
    account.rotate()
    other = second(db)
    other.sql(f"CREATE ROLE {account.role} LOGIN")
    return account, other


def untouched(account, version=2):
    """In step at this version. A rotation that was refused has taken a number, too."""
    assert account.agree() and not account.pending()
    assert row(account.db.pg, account) == [(account.role, version, None, "in step")]


def test_another_cluster_does_not_take_a_secret_over(two):
    account, other = two
    error = fails(other, "SELECT rotate_secret(%s)", account.name)
    assert error.pgcode == "55000" and "belongs to another cluster" in str(error)
    assert "rotate_secret('database/app1', adopt => true)" in error.diag.message_hint
    for query in ("SELECT rotate_secret(%s, adopt => false)", "SELECT rollback_secret(%s, '1')"):
        assert fails(other, query, account.name).pgcode == "55000"
    assert other.value("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [account.role]) is None
    assert other.value("SELECT count(*) FROM keyturn.rotation_history") == 0
    untouched(account)
    untouched(account, account.rotate())


def test_nor_after_a_person_has_stored_the_password(two):
    """The version that is current says nothing of its owner then; the one before does."""
    account, other = two
    account.db.home.run("set", account.name, "--field", "password", "--force", input=account.password().encode())
    assert fails(other, "SELECT rotate_secret(%s)", account.name).pgcode == "55000"
    assert account.agree()
    untouched(account, account.rotate())


def test_adopted_and_adopted_back(two):
    account, other = two
    pg = account.db.pg
    assert other.value("SELECT rotate_secret(%s, adopt => true)", [account.name]) == 3
    assert other.can_login(account.role, account.password())
    assert row(other, account) == [(account.role, 3, None, "in step")]
    assert not account.agree() and [state for *_, state in row(pg, account)] == ["foreign"]
    error = fails(pg, "SELECT rotate_secret(%s)", account.name)
    assert error.pgcode == "55000" and "belongs to another cluster" in str(error)
    untouched(account, pg.value("SELECT rotate_secret(%s, adopt => true)", [account.name]))
    assert [state for *_, state in row(other, account)] == ["foreign"]
    assert fails(other, "SELECT rotate_secret(%s)", account.name).pgcode == "55000"
    untouched(account, account.rotate())


def test_adopting_ones_own_secret_is_a_rotation(db, account):
    account.rotate()
    db.pg.sql("SELECT rotate_secret(%s, adopt => true)", [account.name])
    untouched(account, 3)
    db.set_password(account.role, "changed-by-hand")
    assert sqlstate(db, "SELECT rotate_secret(%s, adopt => true)", account.name)[0] == "55000"
    assert db.pg.can_login(account.role, "changed-by-hand")


def test_what_another_cluster_left_pending_is_set_aside(make_db, second, canary):
    db = make_db(restart_after_crash="off")
    account = db.account(canary("pg-vanished"))
    account.rotate()
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'after_pending:kill'")
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    value = account.password("pending")
    other = second(db)
    other.sql(f"CREATE ROLE {account.role} LOGIN")
    assert fails(other, "SELECT rotate_secret(%s)", account.name).pgcode == "55006"
    assert other.value("SELECT rotate_secret(%s, adopt => true)", [account.name]) == 4
    assert other.can_login(account.role, account.password())
    assert db.home.versions(account.name)[1]["state"] == "abandoned" and account.password(3) == value


def test_a_secret_that_is_taken_over_while_the_commit_waits(make_db, second, canary):
    """The warning does not promise that the worker makes the version current (F12): it is another cluster's secret now."""
    db = make_db(max_wal_senders="2", wal_level="replica")
    account = db.account(canary("pg-taken"))
    account.rotate()
    other = second(db)
    other.sql(f"CREATE ROLE {account.role} LOGIN")
    db.pg.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    db.pg.reload()
    wait_for(lambda: db.pg.value("SHOW synchronous_standby_names") == "nobody", 10, what="the setting")
    with contextlib.closing(db.pg.connect()) as connection:
        pid, ended = connection.get_backend_pid(), []

        def rotate():
            with connection.cursor() as cursor:
                cursor.execute("SELECT rotate_secret(%s)", [account.name])
                ended.append(cursor.fetchone()[0])
        thread = threading.Thread(target=rotate)
        thread.start()
        wait_for(lambda: db.pg.value("SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s", [pid]), 15, what="the wait")
        taken = other.value("SELECT rotate_secret(%s, adopt => true)", [account.name])
        db.pg.value("SELECT pg_cancel_backend(%s)", [pid])
        thread.join(20)
        [warning] = [notice for notice in connection.notices if "is not current yet" in notice]
    assert ended == [3] and "is not current yet: conflict" in warning
    assert "another copy of this one, has rotated the secret since" in warning and "worker" not in warning
    assert db.home.info(account.name)["version"] == taken == 4 and other.can_login(account.role, account.password())


@pytest.fixture
def original(make_db):
    db = make_db(wal_level="replica", max_wal_senders="4", hot_standby="on")
    with open(db.pg.data / "pg_hba.conf", "a") as hba:
        hba.write("local replication postgres trust\n")
    db.pg.reload()
    return db


@pytest.mark.parametrize("password", ["the same", "none"])
def test_a_clone_does_not_take_a_secret_over(original, clone, canary, password):
    account = original.account(canary("pg-twin"))
    account.rotate()
    copy = clone(original).start()
    if password == "none":
        copy.sql(f"ALTER ROLE {account.role} PASSWORD NULL")
    error = fails(copy, "SELECT rotate_secret(%s)", account.name)
    assert error.pgcode == "55000" and "another copy of this cluster" in str(error)
    untouched(account)
    untouched(account, account.rotate())
    original.pg.restart()
    untouched(account, account.rotate())


def test_a_clone_from_before_the_last_rotation(original, clone, canary):
    """Its error does not advise to make the old password current, which would lock the original's clients out."""
    account = original.account(canary("pg-older"))
    account.rotate()
    copy = clone(original)
    account.rotate()
    copy.start()
    error = fails(copy, "SELECT rotate_secret(%s)", account.name)
    assert error.pgcode == "55000" and "another copy of this cluster" in str(error)
    assert "'store'" in error.diag.message_hint and "'database'" not in error.diag.message_hint
    untouched(account, 3)
    original.home.grant("postgresql:role:postgres", ["admin"], ["database/*"])
    copy.sql("SELECT keyturn.repair(%s, 'store')", [account.name])
    assert copy.can_login(account.role, account.password())
    untouched(account, 3)
    copy.sql("SELECT rotate_secret(%s)", [account.name])
    assert copy.can_login(account.role, account.password())


def test_a_clone_that_replaces_its_original(original, clone, canary):
    account = original.account(canary("pg-successor"))
    account.rotate()
    copy = clone(original).start()
    copy.sql("SELECT rotate_secret(%s, adopt => true)", [account.name])
    assert copy.can_login(account.role, account.password())
    copy.sql("SELECT rotate_secret(%s)", [account.name])
    assert copy.can_login(account.role, account.password())


def test_a_promoted_standby_goes_on(original, clone, canary):
    account = original.account(canary("pg-heir"))
    account.rotate()
    standby = clone(original, "-R").start(hot_standby="on")
    flushed = original.pg.value("SELECT pg_current_wal_flush_lsn()")
    wait_for(lambda: standby.value("SELECT pg_last_wal_replay_lsn() >= %s", [flushed]), 15, what="replication")
    original.pg.stop()
    standby.value("SELECT pg_promote()")
    assert standby.value("SELECT rotate_secret(%s)", [account.name]) == 3
    assert standby.can_login(account.role, account.password())


# addresses


def warns(db, name):
    text = notices(db.pg, "SELECT rotate_secret(%s)", name)
    assert ("WARNING" in text) == ("connect to another address" in text)
    return "WARNING" in text


def test_another_address_is_a_warning(db, account):
    db.home.run("set", account.name, "--field", "host", input=b"db7.other.example")
    db.home.run("set", account.name, "--field", "port", input=b"6543")
    text = notices(db.pg, "SELECT rotate_secret(%s)", account.name)
    assert text.startswith("WARNING") and "connect to another address" in text and "keyturn.addresses" in text
    assert "other.example" not in text and "6543" not in text
    assert follow(db.home, text[text.index("HINT:"):]).strip() == "db7.other.example"
    assert account.agree()
    db.pg.write_settings(keyturn__addresses="db1.example:5432, DB7.other.example:6543")
    db.pg.reload()
    wait_for(lambda: db.pg.value("SHOW keyturn.addresses").startswith("db1"), 10)
    assert not warns(db, account.name)
    db.home.run("set", account.name, "--field", "port", input=b"5432")
    assert warns(db, account.name)
    db.pg.write_settings(keyturn__addresses=None)
    db.pg.reload()
    wait_for(lambda: db.pg.value("SHOW keyturn.addresses") == "", 10)


@pytest.mark.parametrize("host, port, known", [
    ("localhost", None, True), ("LOCALHOST", None, True), ("::1", None, True), ("{hostname}", None, True), ("{sockets}", None, True),
    ("127.0.0.1", "", True), ("127.0.0.1", "1", False), ("192.0.2.1", None, False),
    ("a.example,localhost", None, True), ("a.example,b.example", None, False), ("a.example,localhost", "1,{port}", True)])
def test_the_addresses_of_the_server_itself(db, account, host, port, known):
    host = host.format(hostname=socket.gethostname(), sockets=db.pg.sockets)
    value = {"host": host, "port": db.pg.port if port is None else port.format(port=db.pg.port), "name": "postgres",
             "user": account.role, "password": account.password()}
    if port == "":
        del value["port"]
    db.home.set(account.name, value)
    assert warns(db, account.name) == (not known)
    assert account.agree()


@pytest.mark.parametrize("where, known", [("127.0.0.1:{port}", True), ("[::1]:{port}", True), ("db7.other.example:{port}", False),
                                          ("127.0.0.1:1", False)])
def test_the_address_in_a_connection_uri(db, account, where, known):
    uri = f"postgres://{account.role}:{account.password()}@{where.format(port=db.pg.port)}/postgres"
    db.home.run("set", account.name, "--force", input=uri.encode())
    assert warns(db, account.name) == (not known)
    assert account.agree()


def test_a_server_that_listens_everywhere(make_db, canary):
    db = make_db(listen_addresses="*")
    account = db.account(canary("pg-everywhere"))
    assert not warns(db, account.name)
    db.home.run("set", account.name, "--field", "host", input=b"192.0.2.1")
    assert warns(db, account.name)


@pytest.mark.parametrize("text", ["db:0", "db:x", "db:70000", "[::1", "[::1]x", ":5432", "db:5432,,"])
def test_malformed_addresses(db, text):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("LOAD 'keyturn'")
        with pytest.raises(psycopg2.errors.InvalidParameterValue):
            cursor.execute("ALTER SYSTEM SET keyturn.addresses = %s", [text])


@pytest.mark.parametrize("text", ["db:5432", "[2001:db8::1]:5432, db", "2001:db8::1", "", " db:1 , db2:2 "])
def test_addresses(db, text):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("LOAD 'keyturn'")
        cursor.execute("ALTER SYSTEM SET keyturn.addresses = %s", [text])
    db.pg.sql("ALTER SYSTEM RESET keyturn.addresses")


# the bootstrap superuser


def test_the_bootstrap_superuser(make_db, canary):
    db = make_db()
    db.set_password("postgres", "bootstrap")
    db.home.set("database/bootstrap", {"user": "postgres", "password": "bootstrap", "host": "127.0.0.1", "port": db.pg.port,
                                       "name": "postgres"})
    code, text = sqlstate(db, "SELECT rotate_secret('database/bootstrap')")
    assert code == "42501" and "keyturn.allow_bootstrap" in text
    assert sqlstate(db, "SELECT adopt_secret('database/bootstrap', 'postgres')")[0] == "42501"
    db.pg.sql("CREATE ROLE other LOGIN")
    db.set_password("other", "other")
    db.pg.sql("GRANT EXECUTE ON FUNCTION rotate_secret(text) TO other")
    db.home.grant("postgresql:role:other", ["rotate"], ["database/*"])
    with contextlib.closing(db.pg.connect(user="other", password="other", tcp=True)) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.allow_bootstrap = on")  # the library is not loaded yet, so it is of no effect
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("SELECT rotate_secret('database/bootstrap')")
        for query in ("SET keyturn.allow_bootstrap = on", "SHOW keyturn.allow_bootstrap", "SHOW keyturn.addresses"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(query)
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.allow_bootstrap = on")
        cursor.execute("SELECT rotate_secret('database/bootstrap')")
    password = db.home.get("database/bootstrap#password").decode()
    assert password != "bootstrap" and db.pg.can_login("postgres", password)


# in a statement of its own, and on the record


def test_what_is_recorded(two):
    account, other = two
    other.sql("SELECT rotate_secret(%s, adopt => true)", [account.name])
    assert other.sql("SELECT version, action FROM keyturn.rotation_history") == [(3, "rotated")]
    assert re.fullmatch("postgresql:[0-9]+", fails(account.db.pg, "SELECT rotate_secret(%s)", account.name)
                        .diag.message_detail.split('"')[1])

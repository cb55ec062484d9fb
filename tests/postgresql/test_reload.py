# SPDX-License-Identifier: BSD-2-Clause
"""Policy and configuration are live: open sessions and the worker take a changed file, and keep the old one if the new one is bad."""
import contextlib

import psycopg2
import pytest

from lib.tools import wait_for


@pytest.fixture
def session(make_db, canary):
    """An open session of a role that may read one secret by the policy; it has read it."""
    db = make_db()
    db.home.set("api-keys/live", canary("pg-live"))
    db.home.grant("postgresql:role:reader", ["read"], ["api-keys/*"])
    db.pg.sql("CREATE ROLE reader LOGIN")
    db.set_password("reader", "reader-password")
    db.pg.sql("GRANT EXECUTE ON FUNCTION get_secret(text, text, text) TO reader")
    with contextlib.closing(db.pg.connect(user="reader", password="reader-password", tcp=True)) as connection:
        reader = Session(db, connection)
        assert reader.reads() is True
        yield reader


class Session:
    def __init__(self, db, connection):
        self.db, self.connection = db, connection

    def reads(self):
        """True, or the SQLSTATE."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT get_secret('api-keys/live')")
            return True
        except psycopg2.Error as error:
            return error.pgcode


def test_the_next_statement_of_an_open_session_is_refused(session):
    before = session.db.home.read_config()
    session.db.home.deny("postgresql:role:reader", ["read"], ["api-keys/*"])
    assert session.reads() == "42501"
    session.db.home.write_config(before)
    assert session.reads() is True


def test_within_a_transaction(session):
    session.connection.autocommit = False
    assert session.reads() is True
    session.db.home.deny("postgresql:role:reader", ["read"], ["api-keys/*"])
    assert session.reads() == "42501"
    session.connection.rollback()


def test_another_file(session):
    home = session.db.home
    other = home.config.with_name("other.yaml")
    other.write_text(home.read_config())
    home.deny("postgresql:role:reader", ["read"], ["api-keys/*"])
    assert session.reads() == "42501"
    session.db.pg.write_settings(keyturn__config=str(other))
    session.db.pg.reload()
    wait_for(lambda: session.reads() is True, 10, what="the new setting")


@pytest.mark.parametrize("bad", ["policy: [", None])
def test_a_bad_file_keeps_the_old_one(session, bad):
    home, good = session.db.home, session.db.home.read_config()
    if bad:
        home.write_config(bad)
    else:
        home.config.unlink()
    for _ in range(3):
        assert session.reads() is True
    assert session.db.pg.log().count("goes on with the old configuration") == 1
    assert "the new one is not good: config" in session.db.pg.log()
    assert any("old configuration" in notice for notice in session.connection.notices)
    assert not any(str(home.config) in notice for notice in session.connection.notices), "only superusers see paths"
    home.write_config(good)
    home.deny("postgresql:role:reader", ["read"], ["api-keys/*"])
    assert session.reads() == "42501"


def test_a_reload_reads_the_keys_again(session):
    """The configuration is the same, but not what it names."""
    home = session.db.home
    key = next(home.config.parent.glob("*.key"))
    content = key.read_bytes()
    key.write_bytes(b"not a key")
    assert session.reads() is True
    session.db.pg.reload()
    wait_for(lambda: session.reads() is True and "goes on with the old configuration" in session.db.pg.log(), 10, what="the reload")
    key.write_bytes(content)


def test_a_rotation_in_a_transaction_of_many_statements(make_db, stop_at, canary):
    """The context stays as long as a rotation uses it."""
    db = make_db()
    account = db.account(canary("pg-live-rotation"))
    stopped = stop_at(db, account, "after_alter")
    db.home.deny("postgresql:role:nobody", ["read"], ["api-keys/*"])
    stopped.go_on()
    assert not stopped.error and account.agree()


def test_the_worker_gets_its_rule(make_db, stop_at, canary):
    db = make_db(worker=(), shared_preload_libraries="keyturn", restart_after_crash="on", keyturn__reconcile_interval="1s")
    account = db.account(canary("pg-live-worker"))
    stopped = stop_at(db, account, "before_promote")
    stopped.die()
    wait_for(lambda: "the policy does not let the worker" in db.pg.log(), 20, what="its complaint")
    assert account.pending()
    db.home.grant("postgresql:worker", ["rotate", "list"], ["database/*"])
    wait_for(lambda: not account.pending(), 15, what="the worker")
    assert account.agree()

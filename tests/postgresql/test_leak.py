# SPDX-License-Identifier: BSD-2-Clause
"""A new password is nowhere in PostgreSQL: with every recorder on, on success and on failure."""
import contextlib
import re
import threading

import psycopg2
import pytest

from lib.tools import memory_of

RECORDERS = {
    "shared_preload_libraries": "pg_stat_statements,auto_explain,keyturn",
    "log_statement": "all", "log_min_duration_statement": "0", "log_min_messages": "debug1", "log_error_verbosity": "verbose",
    "log_parameter_max_length": "-1", "log_parameter_max_length_on_error": "-1", "log_connections": "on",
    "pg_stat_statements__track": "all", "pg_stat_statements__track_utility": "on",
    "auto_explain__log_min_duration": "0", "auto_explain__log_nested_statements": "on", "auto_explain__log_analyze": "on",
    "debug_print_parse": "on", "debug_print_plan": "on", "track_activity_query_size": "16384",
}


@pytest.fixture
def recorded(make_db):
    db = make_db(**RECORDERS)
    db.pg.sql("CREATE EXTENSION pg_stat_statements")
    return db


class Poller(threading.Thread):
    """Keeps whatever pg_stat_activity and pg_locks show."""

    def __init__(self, pg):
        super().__init__()
        self.pg, self.seen, self.ended = pg, set(), threading.Event()

    def run(self):
        with contextlib.closing(self.pg.connect()) as connection, connection.cursor() as cursor:
            while not self.ended.is_set():
                cursor.execute("SELECT a::text FROM pg_stat_activity a")
                self.seen.update(row[0] for row in cursor.fetchall())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def text(self):
        return "\n".join(self.seen)


def assert_nowhere(db, *passwords):
    db.pg.sql("CHECKPOINT")
    assert all(len(password) >= 20 for password in passwords)
    assert db.files_with(*passwords) == []
    statements = str(db.pg.sql("SELECT * FROM pg_stat_statements"))
    assert not any(password in statements for password in passwords)


def verifiers_nowhere_but_in_the_catalog(db, *verifiers):
    """The verifier is in pg_authid and its WAL, and in no log and no statistics."""
    log = db.pg.log()
    statements = str(db.pg.sql("SELECT * FROM pg_stat_statements"))
    for verifier in verifiers:
        assert verifier not in log
        assert verifier not in statements


def test_success(recorded, canary):
    db = recorded
    account = db.account(canary("pg-leak"))
    verifiers, passwords = [], []
    with Poller(db.pg) as poller:
        for _ in range(3):
            account.rotate()
            verifiers.append(account.verifier())
            passwords.append(account.password())
        db.pg.sql("SELECT rollback_secret(%s)", [account.name])
        account.rotate()
        passwords.append(account.password())
    assert account.agree()
    assert not any(text in poller.text() for text in verifiers + passwords)
    # what the tests themselves sent (set_password) is the first verifier; it is not looked for
    verifiers_nowhere_but_in_the_catalog(db, *verifiers)
    assert_nowhere(db, *passwords)


def test_the_statement_itself_is_redacted(recorded, canary):
    """The oracle is not blind: what is allowed to be seen, is seen."""
    db = recorded
    account = db.account(canary("pg-leak-seen"))
    account.rotate()
    assert f"SELECT rotate_secret('{account.name}')" in db.pg.log()
    assert "rotate_secret" in str(db.pg.sql("SELECT query FROM pg_stat_statements"))
    assert db.files_with(f"SELECT rotate_secret('{account.name}')")


def refused(db, query, *parameters, **connect):
    with pytest.raises(psycopg2.Error) as caught:
        db.pg.sql(query, list(parameters), **connect)
    error = caught.value
    return "\n".join(str(part) for part in [
        error, error.pgerror, error.diag.message_detail, error.diag.message_hint, error.diag.context,
        error.diag.internal_query])


def passwords_in(text):
    """What looks like a generated password: what a failed rotation had generated is not known from outside, but it is 32
    letters and digits. Verifiers that the tests themselves sent are taken out first."""
    text = re.sub(r"SCRAM-SHA-256\$[^']*", "", text)
    return {word for word in re.findall(r"(?<![A-Za-z0-9_])[A-Za-z0-9]{32}(?![A-Za-z0-9_])", text)
            if any(c.isupper() for c in word) and any(c.islower() for c in word)}


def test_failure_for_want_of_rights(recorded, canary):
    db = recorded
    account = db.account(canary("pg-leak-rights"))
    db.pg.sql("CREATE ROLE intruder LOGIN")
    db.set_password("intruder", "intruder")
    db.pg.sql("GRANT EXECUTE ON FUNCTION rotate_secret(text) TO intruder")
    db.home.grant("postgresql:role:intruder", ["rotate"], ["*"])
    told = refused(db, "SELECT rotate_secret(%s)", account.name, user="intruder", password="intruder", tcp=True)
    assert "SCRAM" not in told and not passwords_in(told)
    assert "permission denied" in db.pg.log()
    assert not passwords_in(db.pg.log())
    assert account.agree()


@pytest.mark.parametrize("hook", ["after_pending", "after_alter"])
def test_failure_midway(recorded, canary, hook):
    db = recorded
    account = db.account(canary("pg-leak-midway"))
    told = refused(db, f"SET keyturn.debug_stop = '{hook}:error'; SELECT rotate_secret(%s)", account.name)
    # two statements in one string are a transaction block of their own kind
    assert "transaction block" in told
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = %s", [f"{hook}:error"])
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    assert "debug_stop" in str(caught.value)
    assert not passwords_in(str(caught.value.pgerror)) and not passwords_in(db.pg.log())
    assert account.agree() and not account.pending()


def test_refusal_by_a_password_hook(make_db, canary):
    """passwordcheck sees a verifier and lets it pass, through the hook that ALTER ROLE calls."""
    db = make_db(shared_preload_libraries="passwordcheck,keyturn")
    account = db.account(canary("pg-leak-hook"))
    account.rotate()
    assert account.agree()
    assert not db.files_with(account.password())


def test_memory_of_the_backend(make_db, canary):
    db = make_db()
    account = db.account(canary("pg-leak-memory"))
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        try:
            pages = list(memory_of(pid))
        except PermissionError:
            pytest.skip("needs the right to read /proc/PID/mem of an own process")
        assert any(account.name.encode() in page for page in pages)
        password = account.password().encode()
        assert sum(page.count(password) for page in pages) == 0


def test_get_secret_is_the_one_that_returns_a_value(recorded, canary):
    db = recorded
    value = canary("pg-leak-get")
    db.home.set("api-keys/one", value)
    assert db.pg.value("SELECT get_secret('api-keys/one')") == value
    assert_nowhere(db, value)

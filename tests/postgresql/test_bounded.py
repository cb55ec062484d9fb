# SPDX-License-Identifier: BSD-2-Clause
"""What a rotation costs is bounded, and a role that cannot log in, a pipeline, or another shape of the value is noticed."""
import contextlib
import re
import socket
import struct
import threading
import time

import psycopg2
import pytest

# of nobody's password; the keys are as long as they have to be
EXPENSIVE = "SCRAM-SHA-256$%d:AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=:" + "B" * 43 + "="


def give(db, account, verifier):
    """Not by ALTER ROLE, which runs all iterations itself, to refuse an empty password."""
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET allow_system_table_mods = on")
        cursor.execute("UPDATE pg_authid SET rolpassword = %s WHERE rolname = %s", [verifier, account.role])


@pytest.mark.parametrize("iterations", [100001, 20_000_000, 2**31 - 1])
def test_an_expensive_verifier_is_refused_before_any_work(db, canary, iterations):
    """The role chose it itself, and the administrator's session would pay."""
    account = db.account(canary("pg-bomb"))
    give(db, account, EXPENSIVE % iterations)
    started = time.monotonic()
    with pytest.raises(psycopg2.Error) as caught:
        account.rotate()
    assert time.monotonic() - started < 3
    assert caught.value.pgcode == "55000" and "100000 iterations" in caught.value.diag.message_detail
    assert not account.pending()


def test_a_verifier_of_many_iterations_is_compared(db, canary):
    """Up to the limit it is somebody's choice; the comparison itself is that of a real one (test_rotate)."""
    account = db.account(canary("pg-many"))
    give(db, account, EXPENSIVE % 100000)
    with pytest.raises(psycopg2.Error) as caught:
        account.rotate()
    assert caught.value.pgcode == "55000" and "not the current one" in str(caught.value)


def test_file_descriptors_are_constant_in_a_statement(db, canary):
    for number in range(40):
        db.account(canary("pg-fd"), role=f"fd{number}", name=f"database/fd/app{number}")
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION pg_temp.fds() RETURNS bigint LANGUAGE plpgsql AS "
                       "$$BEGIN RETURN (SELECT count(*) FROM pg_ls_dir('/proc/self/fd')); END$$")
        cursor.execute("SELECT rotate_secret(name), pg_temp.fds() FROM list_secrets('database/fd/*')")
        fds = [row[1] for row in cursor.fetchall()]
    # PostgreSQL itself opens a few files of relations and of its log along the way
    assert len(fds) == 40 and max(fds) <= fds[5] + 10, f"five for each secret before: {fds}"
    for number in range(0, 40, 7):
        assert db.pg.can_login(f"fd{number}", db.home.get(f"database/fd/app{number}#password").decode())


@pytest.mark.parametrize("options", ["NOLOGIN", "LOGIN VALID UNTIL '2020-01-01'"])
def test_a_role_that_cannot_log_in_is_noticed(db, canary, options):
    account = db.account(canary("pg-nologin"), options=options)
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rotate_secret(%s)", [account.name])
        assert any("cannot log in" in notice for notice in connection.notices)


def test_a_user_name_of_other_tools(db, canary):
    """AWS, RDS and Vault write `username`."""
    db.pg.sql("CREATE ROLE vaulted LOGIN")
    db.home.set("database/vaulted", {"username": "vaulted", "password": "none", "engine": "postgres"})
    db.pg.value("SELECT rotate_secret('database/vaulted')")
    assert db.pg.can_login("vaulted", db.home.get("database/vaulted#password").decode())


def test_autocommit_is_named(db, canary):
    """Drivers open a transaction by themselves."""
    account = db.account(canary("pg-autocommit"))
    with contextlib.closing(db.pg.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    assert caught.value.pgcode == "0A000" and "autocommit" in caught.value.diag.message_hint


def pipeline(db, *queries):
    """psql's \\bind pipelines come with 16, so the extended protocol is spoken here: all messages, then one Sync."""

    def message(kind, body):
        return kind + struct.pack(">i", len(body) + 4) + body
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(20)
        server.connect(f"{db.pg.sockets}/.s.PGSQL.{db.pg.port}")
        start = struct.pack(">i", 196608) + b"user\0postgres\0database\0postgres\0\0"
        server.sendall(struct.pack(">i", len(start) + 4) + start)
        answers = server.makefile("rb")

        def read():
            kind = answers.read(1)
            return kind, answers.read(struct.unpack(">i", answers.read(4))[0] - 4)
        while read()[0] != b"Z":
            pass
        out = b""
        for query in queries:
            out += message(b"P", b"\0" + query.encode() + b"\0" + struct.pack(">h", 0))
            out += message(b"B", b"\0\0" + struct.pack(">hhh", 0, 0, 0))
            out += message(b"E", b"\0" + struct.pack(">i", 0))
        server.sendall(out + message(b"S", b""))
        rows, errors = [], []
        while True:
            kind, body = read()
            if kind == b"D":
                rows.append(body[6:].decode())
            elif kind == b"E":
                errors.append(re.search(rb"C(\w{5})\0", body).group(1).decode())
            elif kind == b"Z":
                return rows, errors


def test_a_pipeline(db, canary):
    """The version that was answered stands, even if a later statement of the pipeline fails."""
    account = db.account(canary("pg-pipeline"))
    rows, errors = pipeline(db, f"SELECT rotate_secret('{account.name}')", "SELECT 1/0")
    assert errors == ["22012"]
    assert rows == [str(db.home.info(account.name)["version"])]
    assert account.agree() and rows == ["2"]
    rows, errors = pipeline(db, "SELECT 1", f"SELECT rotate_secret('{account.name}')")
    assert rows == ["1"] and errors == ["0A000"]
    assert account.agree() and not account.pending()


def test_a_store_that_cannot_be_written_is_an_error_of_io(make_db, canary):
    """Drivers take the SQLSTATEs of class 28 for a failed login of their own."""
    db = make_db()
    account = db.account(canary("pg-readonly"))
    account.rotate()
    for path in db.home.store.parent.glob(db.home.store.name + "*"):
        if path.is_file():
            path.chmod(0o400)
    with pytest.raises(psycopg2.Error) as caught:
        account.rotate()
    assert caught.value.pgcode == "58030"


class Silent:
    """A server that takes connections and never answers; `asked` is set by the first of them."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked, self.connections = threading.Event(), []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.connections.append(self.socket.accept()[0])
                self.asked.set()


@pytest.fixture(scope="module")
def silent(db):
    """Names below cache/ are with a Redis that is silent for 20 s."""
    server = Silent()
    db.home.add("providers", f'redis: {{address: "127.0.0.1:{server.port}", timeout: 20s}}')
    db.home.add("switch", '"cache/*": redis')
    yield server
    server.socket.close()


def asks(db, silent, setting="SELECT 1"):
    """A session whose get_secret() waits for the server, and what ends it."""
    silent.asked.clear()
    connection = db.pg.connect()
    ended = {}

    def ask():
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(setting)
            started = time.monotonic()
            try:
                cursor.execute("SELECT get_secret('cache/x')")
            except psycopg2.Error as error:
                ended["code"] = error.pgcode
            ended["after"] = time.monotonic() - started
            ended["at"] = time.monotonic()
    thread = threading.Thread(target=ask, daemon=True)
    pid = connection.get_backend_pid()
    thread.start()
    assert silent.asked.wait(10)
    return thread, pid, ended


def test_a_silent_provider_and_a_timeout(db, silent):
    thread, _, ended = asks(db, silent, "SET statement_timeout = '500ms'")
    thread.join(20)
    assert ended["code"] == "57014" and ended["after"] < 0.5 + 0.7


# psycopg2 has no code for a connection that is gone
@pytest.mark.parametrize("function, codes", [("pg_cancel_backend", ["57014"]), ("pg_terminate_backend", ["57P01", None])])
def test_a_silent_provider_and_a_signal(db, silent, function, codes):
    thread, pid, ended = asks(db, silent)
    sent = time.monotonic()
    db.pg.value(f"SELECT {function}(%s)", [pid])
    thread.join(20)
    assert ended["code"] in codes and ended["at"] - sent < 0.7

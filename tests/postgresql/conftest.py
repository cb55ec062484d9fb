# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the PostgreSQL suite.

    db        a running server with the extension, one for a file of tests; db.account() gives a role and its secret
    make_db   make_db(home, **settings): another one, for tests that kill or stop it
    stop_at   stop_at(db, account, point): a rotation that stands still there

A new password is random, so it cannot carry the canary: db.values collects each, and what must not hold it is searched for it.
"""
import contextlib
import itertools
import os
import pathlib
import signal
import subprocess
import threading

import psycopg2
import psycopg2.extensions
import pytest

from lib.home import Home
from lib.postgres import Postgres
from lib.tools import short_dir, wait_for

def quote(role):
    """A role's name as SQL."""
    return '"' + role.replace('"', '""') + '"'


EVERYTHING = ["read", "write", "rotate", "list", "delete"]


class Stopped:
    """A session in the middle of rotate_secret() or another statement, its backend stopped (SIGSTOP) at a point of keyturn.debug_stop.

    go_on() lets it go on and waits; die() kills it. `error` is what the client got, `notices` the warnings.
    """

    def __init__(self, db, account, point, statement="SELECT rotate_secret(%s)"):
        self.error, self.notices, self.statement = None, [], statement
        self.connection = db.pg.connect()
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            self.pid = cursor.fetchone()[0]
            cursor.execute("SET keyturn.debug_stop = %s", [point])
        self.thread = threading.Thread(target=self.run, args=[account.name], daemon=True)
        self.thread.start()
        wait_for(self.stands_still, 15, what=point)

    def run(self, name):
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(self.statement, [name])
        except psycopg2.Error as error:
            self.error = error
        self.notices = list(self.connection.notices)

    def stands_still(self):
        return pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"

    def send(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self):
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.connection.close()

    def go_on(self):
        self.send(signal.SIGCONT)
        self.end()

    def die(self):
        self.send(signal.SIGKILL)
        self.end()


class Account:
    """A role whose password the secret `name` holds."""

    def __init__(self, db, role, name, password):
        self.db, self.role, self.name = db, role, name
        db.values.add(password)

    def rotate(self, **connect):
        version = self.db.pg.value("SELECT rotate_secret(%s)", [self.name], **connect)
        self.password()
        return version

    def password(self, version=None):
        """As the store has it."""
        value = self.db.home.get(f"{self.name}#password" + (f"@{version}" if version else "")).decode()
        self.db.values.add(value)
        return value

    def agree(self):
        """Does the role log in with what the store says?"""
        return self.db.pg.can_login(self.role, self.password())

    def verifier(self):
        return self.db.pg.value("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [self.role])

    def pending(self):
        return self.db.home.info(self.name).get("pending")


class Database:
    def __init__(self, home, pg):
        self.home, self.pg = home, pg
        self.values = set()
        self.numbers = itertools.count(1)

    def set_password(self, role, password):
        """As a client library does it: the server gets a verifier, so its log never has the password."""
        with contextlib.closing(self.pg.connect()) as connection:
            verifier = psycopg2.extensions.encrypt_password(password, role, connection, "scram-sha-256")
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER ROLE {quote(role)} PASSWORD %s", [verifier])

    def account(self, password, role=None, name=None, options="LOGIN"):
        number = next(self.numbers)
        role = role or f"app{number}"
        name = name or f"database/app{number}"
        self.pg.sql(f"CREATE ROLE {quote(role)} {options}")
        if password:
            self.set_password(role, password)
        self.home.set(name, {"host": "127.0.0.1", "port": self.pg.port, "name": "postgres", "user": role,
                             "password": password or "none"})
        return Account(self, role, name, password or "none")

    def let_alter(self, user, account):
        """What PostgreSQL requires of a role that changes another role's password: from 16 on the ADMIN OPTION too."""
        self.pg.sql(f"ALTER ROLE {quote(user)} CREATEROLE")
        self.pg.sql(f"GRANT {quote(account.role)} TO {quote(user)} WITH ADMIN OPTION")

    def files_with(self, *values):
        """Files of the server (cluster, WAL, log) that hold one of the values."""
        needles = [value.encode() for value in values]
        found = []
        for path in [self.pg.log_path, *pathlib.Path(self.pg.data).rglob("*")]:
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and any(needle in path.read_bytes() for needle in needles):
                    found.append(path)
        return found


def prepare(home, pg, worker=("rotate", "list"), **settings):
    """With the lines for the worker and for monitoring that init prepares, and tests/system tries as they stand; `worker` are
    other rights."""
    home.grant("postgresql:role:postgres", EVERYTHING, ["*"])
    if worker:
        home.grant("postgresql:worker", list(worker), ["database/*"])
    home.grant("postgresql:member:pg_monitor", ["state"], ["database/*"])
    pg.start(**settings)
    pg.sql("CREATE EXTENSION keyturn")
    return Database(home, pg)


@pytest.fixture(scope="module")
def db(kt, cluster, tmp_path_factory, request):
    folder = tmp_path_factory.mktemp(pathlib.Path(request.node.name).stem)
    with short_dir() as sockets:
        pg = Postgres(kt, folder / "postgres", sockets, cluster, Home.create(kt, folder / "home"))
        try:
            yield prepare(pg.home, pg)
        finally:
            pg.stop()


@pytest.fixture
def make_db(make_home, make_postgres):
    def make(home=None, **settings):
        home = home or make_home(name="home")
        return prepare(home, make_postgres(home), **settings)
    return make


@pytest.fixture
def clone(kt, make_postgres):
    """clone(db, *options): a copy by pg_basebackup, with the same configuration of keyturn; not started."""
    def make(db, *options):
        copy = make_postgres(db.home)
        copy.remove()
        base = kt.pg_bin / "pg_basebackup"
        command = [base if base.exists() else "/usr/lib/postgresql/15/bin/pg_basebackup", "-D", copy.data, "-h", db.pg.sockets,
                   "-p", str(db.pg.port), "-U", "postgres", "-X", "stream", "-c", "fast", *options]
        wait_for(lambda: subprocess.run(command, env=db.pg.env, capture_output=True).returncode == 0, 20, what="pg_basebackup")
        return copy
    return make


@pytest.fixture
def stop_at():
    """stop_at(db, account, point): a Stopped. A backend that a test leaves stopped is killed after it."""
    stopped = []

    def make(*args, **more):
        stopped.append(Stopped(*args, **more))
        return stopped[-1]
    yield make
    for one in stopped:
        one.send(signal.SIGKILL)


@pytest.fixture
def account(db, canary):
    return db.account(canary("pg-first"))

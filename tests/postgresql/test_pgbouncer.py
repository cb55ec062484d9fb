# SPDX-License-Identifier: BSD-2-Clause
"""A pooler in front of the server, the pgbouncer of Debian: it logs its clients in with keys that it passes through.

pgbouncer asks the server for the verifier (auth_query) and learns a client's key from its login. With that key it logs in to the
server, now and whenever it opens a connection, as long as the verifier is the same. A client that is connected does not log in again.
"""
import contextlib
import subprocess

import psycopg2
import pytest

from lib.tools import Process, free_port, wait_for

CONFIG = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/userlist.txt
auth_user = pooler
admin_users = pooler
pool_mode = transaction
query_wait_timeout = 8
server_login_retry = 1
"""


class Pgbouncer:
    def __init__(self, kt, folder, pg):
        self.kt, self.pg, self.port = kt, pg, free_port()
        folder.mkdir()
        (folder / "userlist.txt").write_text('"pooler" "pooler-password"\n')
        (folder / "pgbouncer.ini").write_text(CONFIG.format(server=pg.port, port=self.port, folder=folder))
        self.process = Process(["/usr/sbin/pgbouncer", folder / "pgbouncer.ini"], pg.env, folder / "log", folder)
        self.process.wait_ready(lambda: self.admin("SHOW VERSION").returncode == 0, 15, "pgbouncer")

    def admin(self, command):
        return subprocess.run([self.kt.pg_bin / "psql", "-X", "-h", "127.0.0.1", "-p", str(self.port), "-U", "pooler", "-d", "pgbouncer",
                               "-c", command], env={**self.pg.env, "PGPASSWORD": "pooler-password"}, capture_output=True, timeout=20)

    def connect(self, account):
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=account.role, password=account.password(),
                                      dbname="postgres", connect_timeout=10)
        connection.autocommit = True
        return connection

    def reconnect(self):
        """All of its connections to the server are opened anew."""
        assert self.admin("RECONNECT").returncode == 0


def answers(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, pg_backend_pid()")
        return cursor.fetchone()


@pytest.fixture
def pooler(kt, make_db, tmp_path):
    db = make_db()
    db.pg.sql("CREATE ROLE pooler LOGIN SUPERUSER")
    db.set_password("pooler", "pooler-password")
    pooler = Pgbouncer(kt, tmp_path / "pgbouncer", db.pg)
    pooler.db = db
    yield pooler
    pooler.process.stop()


def test_open_clients_go_on_after_a_rollback(pooler, canary):
    db = pooler.db
    account = db.account(canary("pg-pooler"))
    account.rotate()
    with contextlib.closing(pooler.connect(account)) as client:
        role, first = answers(client)
        assert role == account.role

        db.pg.value("SELECT rollback_secret(%s, 'current')", [account.name])
        pooler.reconnect()
        role, second = answers(client)
        assert role == account.role and second != first

        account.rotate()
        db.pg.value("SELECT rollback_secret(%s)", [account.name])
        pooler.reconnect()
        role, third = answers(client)
        assert role == account.role and third != second
        with contextlib.closing(pooler.connect(account)) as another:
            assert answers(another)[0] == account.role


def test_open_clients_go_on_after_a_repair(pooler, canary):
    """The role gets the very verifier that was noted with the current version."""
    db = pooler.db
    db.home.grant("postgresql:role:postgres", ["admin"], ["database/*"])
    account = db.account(canary("pg-pooler"))
    account.rotate()
    with contextlib.closing(pooler.connect(account)) as client:
        first = answers(client)[1]
        db.set_password(account.role, "changed-by-hand")
        db.pg.sql("SELECT keyturn.repair(%s, 'store')", [account.name])
        pooler.reconnect()
        assert answers(client)[1] != first


def test_a_rotation_is_noticed_by_clients_that_log_in_again(pooler, canary):
    """What the manual says: an open client of a pooler has the old key, until it reads the secret and logs in."""
    db = pooler.db
    account = db.account(canary("pg-pooler"))
    account.rotate()
    with contextlib.closing(pooler.connect(account)) as client:
        answers(client)
        account.rotate()
        assert answers(client)  # by the connection that the pooler has
        pooler.reconnect()
        with pytest.raises(psycopg2.Error):
            answers(client)
    wait_for(lambda: db.pg.can_login(account.role, account.password()), 10)
    with contextlib.closing(pooler.connect(account)) as client:
        assert answers(client)[0] == account.role

# SPDX-License-Identifier: BSD-2-Clause
"""PostgreSQL: a rotation, which is durable in the server, the store and the trail, beside a change of a role's password."""
import contextlib
import os
import shutil
import subprocess
import time

from bench import Group, Row, at_most
from lib.home import Home
from lib.postgres import Postgres
from lib.tools import short_dir

NAME = "database/bench"
AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


def give(folder):
    """PostgreSQL refuses root: what it needs is its user's."""
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "postgres:", folder], check=True)


def prefix():
    return AS_POSTGRES if os.geteuid() == 0 else []


class Server(Postgres):
    prefix = prefix()


def new_cluster(bench):
    folder = bench.folder / "template"
    folder.mkdir()
    give(folder)
    bench.call(*prefix(), "env", f"LD_LIBRARY_PATH={bench.stage.libdir}", bench.stage.pg_bin / "initdb", "-D", folder, "-U", "postgres",
               "-A", "trust", "-N", "-E", "UTF8", "--wal-segsize=1", "--locale=C.UTF-8")
    return folder


def timed(cursor, statement):
    """Milliseconds until the statement, which commits, is answered."""
    started = time.perf_counter()
    cursor.execute(statement)
    return (time.perf_counter() - started) * 1000


def measure(bench, server):
    samples = {"rotate": [], "alter": []}
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        for n in range(bench.few(61, 3)):
            samples["alter"].append(timed(cursor, f"ALTER ROLE other PASSWORD 'not a secret {n}'"))
            samples["rotate"].append(timed(cursor, f"SELECT rotate_secret('{NAME}')"))
    return samples


def rotations(bench):
    home = Home.create(bench.stage, bench.folder / "home")
    home.grant("postgresql:role:postgres", ["read", "write", "rotate"], ["*"])
    home.set(NAME, {"user": "bench", "password": "none yet"})
    give(home.dir)
    with short_dir() as sockets:
        give(sockets)
        server = Server(bench.stage, bench.folder / "postgresql", sockets, new_cluster(bench), home)
        give(server.dir)
        try:
            server.start(log_statement="none", synchronous_commit="on")
            server.sql("CREATE EXTENSION keyturn")
            server.sql("CREATE ROLE bench LOGIN")
            server.sql("CREATE ROLE other LOGIN")
            return measure(bench, server)
        finally:
            if server.process:
                server.stop()
            shutil.rmtree(server.dir, ignore_errors=True)


def groups(bench):
    return [Group(rotations, [
        Row("rotate_secret, by the wall clock", "rotate", "ms", ("alter", "ALTER ROLE ... PASSWORD"), at_most(1.5)),
    ])]

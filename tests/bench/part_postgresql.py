# SPDX-License-Identifier: BSD-2-Clause
"""PostgreSQL: a rotation, which is durable in the server, the store and the trail, beside a change of a role's password; and a value
read by get_secret(), which is recorded, beside the same from a table."""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import time

from bench import Group, Row, at_least, at_most
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


def new_cluster(bench, name):
    folder = bench.folder / name
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


@contextlib.contextmanager
def started(bench, name, **settings):
    """A server as README sets it up, with its home and the secret NAME."""
    home = Home.create(bench.stage, bench.folder / f"{name}-home")
    home.grant("postgresql:role:postgres", ["read", "write", "rotate"], ["*"])
    home.set(NAME, {"user": "bench", "password": "none yet"})
    give(home.dir)
    with short_dir() as sockets:
        give(sockets)
        server = Server(bench.stage, bench.folder / name, sockets, new_cluster(bench, f"{name}-template"), home)
        give(server.dir)
        try:
            server.start(log_statement="none", synchronous_commit="on", **settings)
            server.sql("CREATE EXTENSION keyturn")
            yield server
        finally:
            if server.process:
                server.stop()
            shutil.rmtree(server.dir, ignore_errors=True)


def rotations(bench):
    with started(bench, "rotations") as server:
        server.sql("CREATE ROLE bench LOGIN")
        server.sql("CREATE ROLE other LOGIN")
        return measure(bench, server)


# ---- get_secret ----

STATEMENTS = {"get": f"SELECT get_secret('{NAME}', 'password')", "table": f"SELECT value FROM plain WHERE name = '{NAME}'"}
SESSIONS = [1, 8]


def statements_a_second(bench, server, script, sessions):
    found = bench.call(pgbench(bench), "-n", "-M", "prepared", "-c", sessions, "-j", min(sessions, 2), "-T", bench.few(3, 1), "-f", script,
                       "-h", server.sockets, "-p", server.port, "-U", "postgres", "postgres")
    return float(re.search(r"tps = ([0-9.]+)", found).group(1))


def pgbench(bench):
    program = bench.stage.pg_bin / "pgbench"
    return program if program.exists() else pathlib.Path(bench.call("pg_config", "--bindir").strip()) / "pgbench"


def reads(bench):
    """As many as the server answers; each of get_secret is in the audit log. By the table, the value is that of a row found by its key."""
    samples, scripts = {}, {}
    for case, statement in STATEMENTS.items():
        scripts[case] = bench.folder / f"{case}.sql"
        scripts[case].write_text(statement + ";\n")
    with started(bench, "reads", shared_preload_libraries="keyturn") as server:
        server.sql("CREATE TABLE plain (name text PRIMARY KEY, value text)")
        server.sql("INSERT INTO plain VALUES (%s, %s)", [NAME, "none yet"])
        server.sql("VACUUM ANALYZE plain")
        for _ in range(bench.few(7, 1)):
            for sessions in SESSIONS:
                for case, script in scripts.items():
                    samples.setdefault(f"{case}.{sessions}", []).append(statements_a_second(bench, server, script, sessions))
    return samples


def groups(bench):
    return [Group(rotations, [
        Row("rotate_secret, by the wall clock", "rotate", "ms", ("alter", "ALTER ROLE ... PASSWORD"), at_most(2.0)),
    ]), Group(reads, [
        Row("get_secret, audited, one session", "get.1", "/s", ("table.1", "a plain table"), at_least(0.5)),
        Row("get_secret, audited, 8 sessions", "get.8", "/s", ("table.8", "a plain table"), at_least(0.5)),
    ])]

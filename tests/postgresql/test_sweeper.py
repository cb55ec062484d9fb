# SPDX-License-Identifier: BSD-2-Clause
"""Reads that are recorded in memory, and the process that writes them down."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import psycopg2
import pytest

from lib.tools import children, wait_for

SYNC = re.compile(r"\b(fsync|fdatasync|msync|sync_file_range)\(")
NAME = "api-keys/read"
PATIENCE = 1.5  # s: a second at most until a record is a line, and what a sync takes here


@pytest.fixture
def make(make_home, make_db, canary):
    """make(reads=None, **settings): the configuration is whole before the server reads it."""
    def make_one(reads=None, **settings):
        home = make_home(name="home")
        home.set(NAME, canary("pg-read"))
        if reads:
            home.replace("audit:\n", f"audit:\n  reads: {reads}\n")
        return make_db(home, **settings)
    return make_one


@pytest.fixture
def swept(make):
    """A server as README sets it up."""
    db = make(shared_preload_libraries="keyturn")
    wait_for(lambda: sweeper(db), 10, what="the sweeper")
    return db


def sweeper(db):
    for pid in children(db.pg.process.pid):
        with contextlib.suppress(FileNotFoundError):
            if "keyturn sweeper" in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
                return pid
    return None


def lines(db, reference=NAME):
    """Those that are in the log at this moment."""
    log = db.home.audit / "postgresql/log"
    found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in found if line.get("action") == "read" and line.get("reference") == reference]


def reads(db):
    return sum(line.get("count", 1) for line in lines(db))


def written_in_time(db, count):
    """Seconds until so many reads are in the log."""
    started = time.monotonic()
    wait_for(lambda: reads(db) == count, 10, what=f"{count} reads in the log")
    assert time.monotonic() - started < PATIENCE
    db.home.run("audit", "verify")


@contextlib.contextmanager
def session(db):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("PREPARE g AS SELECT get_secret($1)")
        yield cursor


def read(cursor):
    cursor.execute("EXECUTE g(%s)", [NAME])
    return cursor.fetchone()[0]


@contextlib.contextmanager
def traced(folder, *pids):
    """The files' syncs of these processes: a list that is full after the block."""
    file, found = folder / "trace", []
    argv = ["strace", "-f", "-o", str(file), "-e", "trace=fsync,fdatasync,msync,sync_file_range"]
    for pid in pids:
        argv += ["-p", str(pid)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE)
    for _ in pids:
        assert b"attached" in process.stderr.readline()
    try:
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        found += [line for line in file.read_text().splitlines() if SYNC.search(line)]


def test_a_thousand_statements_share_syncs(make, tmp_path):
    """None in the backend, and of the sweeper those of its blocks: two or three a second."""
    db = make(reads="1s", shared_preload_libraries="keyturn", log_statement="none")
    pid = wait_for(lambda: sweeper(db), 10, what="the sweeper")
    with session(db) as cursor:
        read(cursor)
        written_in_time(db, 1)
        with traced(tmp_path, cursor.connection.get_backend_pid(), pid) as syncs:
            started = time.monotonic()
            for _ in range(1000):
                read(cursor)
            took = time.monotonic() - started
            written_in_time(db, 1001)
        own = [line for line in syncs if line.split()[0] == str(cursor.connection.get_backend_pid())]
        assert own == []
        assert len(syncs) <= 3 * (took + 2), syncs
    assert len(lines(db)) <= 2 * (took + 2) + 1, "reads of one secret are counted in one line"


def test_a_read_is_a_line_within_a_second(swept):
    """Of a session that does nothing more."""
    with session(swept) as cursor:
        read(cursor)
        written_in_time(swept, 1)
        read(cursor)
        written_in_time(swept, 2)


def test_a_read_of_a_killed_backend_is_a_line(swept):
    """kill -9: the server starts again, and so does the sweeper, which finds the ring."""
    with session(swept) as cursor:
        for _ in range(100):
            read(cursor)
        os.kill(cursor.connection.get_backend_pid(), signal.SIGKILL)
    wait_for(lambda: reads(swept) == 100, 10, what="its reads")
    swept.home.run("audit", "verify")


def test_a_read_of_a_session_that_ends_is_a_line(swept):
    with session(swept) as cursor:
        read(cursor)
    written_in_time(swept, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_read_before_the_server_stops_is_a_line(swept, number):
    """Fast: with the stop. Immediate and killed: with the next start, by nobody's request."""
    with session(swept) as cursor:
        read(cursor)
        swept.pg.stop(number)
    if number != signal.SIGINT:
        swept.pg.start()
        wait_for(lambda: reads(swept) == 1, 10, what="the read before")
    assert reads(swept) == 1
    swept.home.run("audit", "verify")


def test_without_the_sweeper_a_backend_writes_itself(make):
    """It is not preloaded: nothing else would write the last read of a session that does nothing more."""
    db = make()
    with session(db) as cursor:
        for count in 1, 2, 3:
            read(cursor)
            assert reads(db) == count


def test_a_sweeper_that_hangs_is_not_relied_on(swept):
    """Stopped, it serves nobody: after its time is over, each statement writes its own."""
    with session(swept) as cursor:
        read(cursor)
        written_in_time(swept, 1)
        pid = sweeper(swept)
        os.kill(pid, signal.SIGSTOP)
        try:
            read(cursor)
            time.sleep(2.6)  # KTPG_TASK_PATIENCE
            read(cursor)
            assert reads(swept) == 3
        finally:
            os.kill(pid, signal.SIGCONT)
        written_in_time(swept, 3)
        read(cursor)
        assert reads(swept) == 3, "it is relied on again"
        written_in_time(swept, 4)


def refused(cursor):
    try:
        read(cursor)
    except psycopg2.Error as error:
        if error.pgcode != "58030":
            raise
        return True
    return False


def test_reads_are_refused_while_none_can_be_written(swept):
    """When the sweeper notices, not before; and until it can. What was answered meanwhile is a line afterwards."""
    log, aside = swept.home.audit / "postgresql/log", swept.home.audit / "aside"
    with session(swept) as cursor:
        read(cursor)
        written_in_time(swept, 1)
        log.rename(aside)
        log.parent.chmod(0o500)
        started = time.monotonic()
        wait_for(lambda: refused(cursor), 10, interval=0.1, what="a refusal")
        assert time.monotonic() - started < PATIENCE + 0.5
        wait_for(lambda: "Requests that cannot be recorded are refused" in swept.pg.log(), 5, what="the sweeper's complaint")
        with session(swept) as other:
            assert refused(other)
        log.parent.chmod(0o700)
        aside.rename(log)
        wait_for(lambda: not refused(cursor), 10, interval=0.1, what="an answer")
        wait_for(lambda: "the audit log can be written again" in swept.pg.log(), 5, what="the sweeper")
    swept.home.records("postgresql")
    swept.home.run("audit", "verify")


def test_a_ring_that_is_removed_refuses(swept):
    """What was in it is written by the backend itself, which still has it."""
    with session(swept) as cursor:
        read(cursor)
        written_in_time(swept, 1)
        for ring in (swept.home.audit / "postgresql/rings").iterdir():
            ring.unlink()
        read(cursor)
        wait_for(lambda: refused(cursor), 10, interval=0.1, what="a refusal")
        assert lines(swept)


def test_an_aborted_transaction_has_read(swept):
    with contextlib.closing(swept.pg.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT get_secret(%s)", [NAME])
        connection.rollback()
        written_in_time(swept, 1)
        cursor.execute("SELECT get_secret(%s)", [NAME])
        written_in_time(swept, 2)  # while the transaction is open
        connection.commit()


def test_a_refusal_is_a_line(swept):
    swept.home.deny("postgresql:*", ["read"], ["tls/*"])
    with session(swept) as cursor, pytest.raises(psycopg2.Error) as caught:
        cursor.execute("EXECUTE g('tls/none')")
    assert caught.value.pgcode == "42501"
    wait_for(lambda: [line["status"] for line in lines(swept, "tls/none")] == ["denied"], 5, what="the refusal")

# SPDX-License-Identifier: BSD-2-Clause
"""A store that is shared, damaged, foreign, or on a full disk."""
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from lib.home import Home


def race(home, commands):
    """All at once; their statuses and outputs."""
    processes = [home.popen(*args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for args, _ in commands]
    results = []
    for process, (_, data) in zip(processes, commands):
        process.stdin.write(data)
        process.stdin.close()
    for process in processes:
        out, err = process.stdout.read(), process.stderr.read()
        results.append((process.wait(60), out, err))
        process.stdout.close()
        process.stderr.close()
    return results


@pytest.mark.parametrize("writers", [2, 10])
def test_writers_at_once(home, writers):
    home.set("a", b"start")
    results = race(home, [(["set", "a"], b"value %d" % i) for i in range(writers)])
    assert [status for status, _, _ in results] == [0] * writers, results
    versions = {int(out): b"value %d" % i for i, (_, out, _) in enumerate(results)}
    assert sorted(versions) == list(range(2, writers + 2))
    for version, value in versions.items():
        if version > writers + 1 - 9:
            assert home.get(f"a@{version}") == value
    assert home.get("a") == versions[writers + 1]
    sequences = [line["seq"] for line in home.records()]
    assert len(set(sequences)) == len(sequences)


def test_compare_and_set_lets_one_through(home):
    home.set("a", b"start")
    results = race(home, [(["set", "a", "--cas", "1"], b"value %d" % i) for i in range(10)])
    assert sorted(status for status, _, _ in results) == [0] + [73] * 9, results
    assert home.versions("a")[0]["version"] == 2


def test_readers_and_a_writer(home):
    home.set("a", b"x" * 1000)
    commands = [(["rotate", "a", "--generate", "--length", "1000"], b"")] * 5 + [(["get", "a"], b"")] * 20
    results = race(home, commands)
    assert all(status == 0 for status, _, _ in results), results
    assert all(len(out) == 1000 and len(set(out)) >= 1 for _, out, _ in results[5:])


def test_a_killed_writer_harms_nobody(home):
    home.set("a", b"0")
    for i in range(20):
        process = home.popen("set", "a", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdin.write(b"%d" % (i + 1))
        process.stdin.close()
        time.sleep(0.0005 * i)
        process.send_signal(signal.SIGKILL)
        acknowledged = process.stdout.read()
        process.stdout.close()
        process.wait()
        current = home.get("a")
        if acknowledged:
            assert current == b"%d" % (i + 1)
        assert home.set("a", current) > 0


def damage(home, offset, data):
    with open(home.store, "r+b") as store:
        store.seek(offset)
        store.write(data)


def settle(home):
    """All of the WAL into the file, and the WAL away, as a backup by copying would have it."""
    with sqlite3.connect(home.store) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def refused(result):
    return result.returncode in (65, 69, 74, 77, 78) and result.stdout == b"" and result.stderr.startswith(b"keyturn: ")


@pytest.mark.parametrize("keep", [0, 1, 100, 512, 4096, 5000])
def test_truncated(home, keep):
    for i in range(20):
        home.set(f"a{i}", b"v" * 500)
    settle(home)
    os.truncate(home.store, keep)
    result = home.run("get", "a1", check=False)
    assert refused(result), result
    assert home.run("set", "a1", input=b"w", check=False).returncode != 0


def test_missing_store(home):
    home.set("a", b"v")
    for path in home.dir.glob("development.db*"):
        path.unlink()
    result = home.run("get", "a", check=False)
    assert refused(result), result
    assert not home.store.exists()  # a reader does not make an empty one that knows of nothing


def test_not_a_database(home):
    for path in home.dir.glob("development.db*"):
        path.unlink()
    home.store.write_bytes(b"not a database at all" * 400)
    for verb in (["get", "a"], ["set", "a"], ["list"]):
        assert refused(home.run(*verb, input=b"v", check=False)), verb


def test_somebody_elses_database(home):
    for path in home.dir.glob("development.db*"):
        path.unlink()
    with sqlite3.connect(home.store) as connection:
        connection.execute("CREATE TABLE precious (x)")
    connection.close()
    for verb in (["get", "a"], ["set", "a"], ["list"]):
        assert refused(home.run(*verb, input=b"v", check=False)), verb
    with sqlite3.connect(home.store) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]
    connection.close()


def test_bytes_flipped(home):
    home.set("a", b"v" * 3000)
    settle(home)
    size = home.store.stat().st_size
    whole = home.store.read_bytes()
    for offset in range(0, size, max(1, size // 40)):
        home.store.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x55]) + whole[offset + 1:])
        result = home.run("get", "a", check=False)
        assert result.returncode in (0, 65, 66, 69, 74, 77, 78), (offset, result)
        assert result.stdout in (b"", b"v" * 3000), offset
        if result.returncode != 0:
            assert result.stdout == b""


def test_a_store_that_cannot_be_written(home):
    home.set("a", b"v")
    for path in home.dir.glob("development.db*"):
        path.chmod(0o400)
    assert home.get("a") == b"v"
    result = home.run("set", "a", input=b"w", check=False)
    assert result.returncode in (74, 77), result
    assert home.get("a") == b"v"


LOCKER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.lockf(fd, fcntl.LOCK_SH, 1, int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locker(home):
    """A process that holds a lock for reading on that byte of -shm, as SQLite numbers them."""
    children = []

    def start(byte):
        shm = home.store.with_name(home.store.name + "-shm")
        child = subprocess.Popen([sys.executable, "-c", LOCKER, shm, str(byte)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout.readline() == b"held\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def test_who_keeps_writers_out_is_named(home, locker):
    home.set("a", b"v")
    hostile = locker(120)
    home.replace("keep_versions: 10", "keep_versions: 10, timeout: 300ms")
    result = home.run("set", "a", input=b"w", check=False)
    assert result.returncode == 75 and result.stderr.count(b"\n") == 1
    assert b"process %d (" % hostile.pid in result.stderr and b"uid %d" % os.getuid() in result.stderr
    assert [line for line in home.records() if line["action"] == "write" and line["status"] == "tryagain"]


def test_who_keeps_the_wal_from_being_emptied_is_named(home, locker):
    home.set("a", b"v")
    assert home.run("check").stderr == b""
    os.truncate(home.store.with_name(home.store.name + "-wal"), 20_000_000)  # zeros are not frames
    pinning = locker(124)
    result = home.run("check")
    assert b"has grown" in result.stderr and b"process %d (" % pinning.pid in result.stderr, result
    assert home.run("--quiet", "check").stderr == b"" and home.get("a") == b"v"


# a full disk

@pytest.fixture
def small_disk():
    folder = os.environ.get("KEYTURN_TEST_TMPFS")
    if not folder:
        pytest.skip("counterpart: a small file system that root mounts (KEYTURN_TEST_TMPFS)")
    folder = pathlib.Path(folder) / "disk"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as filler:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                pass


def test_disk_full(kt, small_disk):
    home = Home.create(kt, small_disk / "home")
    home.set("a", b"before")
    fill(small_disk)
    stored = b"before"
    for _ in range(40):  # some fit into the space that is kept ahead
        value = os.urandom(60000)
        result = home.run("set", "a", input=value, check=False)
        if result.returncode != 0:
            break
        stored = value
    assert result.returncode == 74 and result.stdout == b"", result
    (small_disk / "filler").unlink()
    assert home.get("a") == stored
    assert home.set("a", b"after") > 1
    assert home.get("a") == b"after"


def test_disk_full_at_init(kt, small_disk):
    fill(small_disk)
    home = Home(kt, small_disk / "home")
    assert home.keyturn("init", home.dir, check=False).returncode == 74
    (small_disk / "filler").unlink()
    assert not home.dir.exists()

# SPDX-License-Identifier: BSD-2-Clause
"""The provider `local`: the conformance suite, and what only it has: files, modes, damage, crashes, other tools."""
import os
import pathlib
import pwd
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import time

import pytest

from lib.tools import integrity

APPLICATION_ID = 0x4b545331


def files(store):
    return [store.path, store.beside("-wal"), store.beside("-shm")]


def read_only(store):
    """As for a consumer under another uid: no file and no folder may be written."""
    for path in files(store):
        if path.exists():
            path.chmod(0o444)
    store.path.parent.chmod(0o555)


def writable(store):
    store.path.parent.chmod(0o755)
    for path in files(store):
        if path.exists():
            path.chmod(0o644)


def assert_refused(store, status, *words, writing=False):
    done = store.call("--check-writing" if writing else "--check")
    assert done.status == status, done.stderr
    for word in words:
        assert word in done.text
    assert done.text.count("\n") == 0
    return done.text


# ---- the suite ----

def test_conformance(local):
    out = local.suite()
    assert "# 34 passed, 0 failed, 0 not for this provider" in out


def test_conformance_again_on_the_same_store(local):
    local.suite()
    local.suite()
    assert integrity(local.path) == "ok"


# ---- create ----

def test_a_new_store_is_its_owners_alone_and_complete(local):
    assert {path.name for path in local.path.parent.iterdir()} == {"development.db", "development.db-wal", "development.db-shm"}
    for path in files(local):
        assert path.stat().st_mode & 0o7777 == 0o600
    assert local.path.read_bytes()[68:72] == struct.pack(">I", APPLICATION_ID)
    assert integrity(local.path) == "ok"


def test_a_store_in_a_folder_of_writers_is_for_the_group(driver, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2775)
    store = driver("local", path=folder / "production.db")
    old = os.umask(0o077)
    try:
        store.answer("--create")
        store.bump()
    finally:
        os.umask(old)
    for path in files(store):
        assert path.stat().st_mode & 0o7777 == 0o664, path


def test_create_never_replaces(local, tmp_path):
    before = local.path.read_bytes()
    assert local.call("--create").status == "conflict"
    assert local.path.read_bytes() == before
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "nowhere.db")
    assert local.call("--create", path=link).status == "conflict"
    assert not (tmp_path / "nowhere.db").exists()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_create_refuses_the_remains_of_another_store(driver, tmp_path, suffix):
    store = driver("local", path=tmp_path / "new.db")
    store.beside(suffix).write_bytes(b"old")
    done = store.call("--create")
    assert done.status == "conflict" and str(store.beside(suffix)) in done.text
    assert not store.path.exists()


def test_create_in_folders_that_do_not_take_it(driver, tmp_path):
    store = driver("local", path=tmp_path / "missing" / "new.db")
    done = store.call("--create")
    assert done.status == "unavail" and str(tmp_path / "missing") in done.text
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = store.call("--create", path=closed / "new.db")
    assert done.status == "forbidden" and str(closed) in done.text
    assert list(closed.iterdir()) == []


def test_ten_create_at_once_and_one_does(driver, tmp_path):
    store = driver("local", path=tmp_path / "new.db")
    children = [store.start("--create") for _ in range(10)]
    assert sorted(child.wait() for child in children) == [0] + [1] * 9
    assert {path.name for path in tmp_path.iterdir()} == {"new.db", "new.db-wal", "new.db-shm"}
    assert store.bump() == 1


# ---- what is not a store ----

def test_a_missing_store(driver, tmp_path):
    store = driver("local", path=tmp_path / "none.db")
    for writing in (False, True):
        assert_refused(store, "unavail", str(tmp_path / "none.db"), "keyturn restore BACKUP", writing=writing)
    assert list(tmp_path.iterdir()) == []


def foreign_files():
    def other_program(path):
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE users(name)")

    def newer(path):
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA user_version = 2")

    def ours_without_tables(path):
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA user_version = 1")

    return {
        "another program's": (other_program, "not a keyturn store"),
        "newer": (newer, "newer keyturn"),
        "without tables": (ours_without_tables, "not as keyturn made it"),
        "text": (lambda path: path.write_text("environment: production\n" * 100), "not a keyturn store"),
        "empty": (lambda path: path.write_bytes(b""), "perhaps empty"),
        "noise": (lambda path: path.write_bytes(os.urandom(20000)), "not a keyturn store"),
    }


@pytest.mark.parametrize("kind", foreign_files())
@pytest.mark.parametrize("writing", [False, True])
def test_a_foreign_file(driver, tmp_path, kind, writing):
    make, word = foreign_files()[kind]
    store = driver("local", path=tmp_path / "foreign.db")
    make(store.path)
    before = store.path.read_bytes()
    assert_refused(store, "malformed", str(store.path), word, writing=writing)
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("sql", [
    "CREATE TRIGGER t AFTER INSERT ON head BEGIN DELETE FROM head; END",
    "CREATE VIEW v AS SELECT * FROM head",
    "CREATE TABLE more(x)",
    "DROP TABLE node",
    "ALTER TABLE head ADD COLUMN more",
])
def test_a_store_that_was_changed_is_refused(local, sql):
    local.bump()
    with sqlite3.connect(local.path) as db:
        db.execute(sql)
    assert_refused(local, "malformed", "not as keyturn made it")
    assert_refused(local, "malformed", "not as keyturn made it", writing=True)


def test_statistics_of_an_operator_do_no_harm(local):
    local.bump()
    with sqlite3.connect(local.path) as db:
        db.execute("ANALYZE")
    assert local.bump() == 2


def test_not_a_regular_file(driver, local, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(local.path)
    store = driver("local", path=link)
    assert_refused(store, "forbidden", "symbolic link")
    assert_refused(driver("local", path=tmp_path), "malformed", "not a regular file")
    os.mkfifo(tmp_path / "fifo")
    for writing in (False, True):
        assert_refused(driver("local", path=tmp_path / "fifo"), "malformed", "not a regular file", writing=writing)


def test_a_folder_may_be_reached_through_a_link(driver, local, tmp_path):
    (tmp_path / "link").symlink_to(local.path.parent)
    assert driver("local", path=tmp_path / "link" / "development.db").bump() == 1
    assert local.read() == 1


# ---- damage ----

@pytest.fixture
def bare_copy(local, driver, tmp_path):
    """A copy of a store with 40 secrets, all in the one file, and a function that puts other bytes in its place."""
    for number in range(40):
        local.bump(number)
    folder = tmp_path / "copy"
    folder.mkdir()
    with sqlite3.connect(local.path) as source, sqlite3.connect(folder / "copy.db") as target:
        source.backup(target)
    target.close()
    store = driver("local", path=folder / "copy.db")
    whole = store.path.read_bytes()
    assert store.read(39) == 1

    def put(data):
        for path in files(store):
            path.unlink(missing_ok=True)
        store.path.write_bytes(data)
    return store, whole, put


def test_truncated_at_many_lengths(bare_copy):
    store, whole, put = bare_copy
    lengths = {0, 1, 15, 16, 17, 68, 72, 99, 100, 101, len(whole) - 1}
    for page in range(0, len(whole), 4096):
        lengths |= {page, page + 1}
    for length in sorted(length for length in lengths if length < len(whole)):
        for action in ("--read", "--try"):
            put(whole[:length])
            done = store.call(action, "39")
            assert done.status == "malformed", (length, action, done.stdout, done.stderr)
            assert str(store.path) in done.text


def test_flipped_bytes_never_crash_it(bare_copy):
    store, whole, put = bare_copy
    places = list(range(100)) + random.Random(7).sample(range(100, len(whole)), 150)
    answers = {}
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0xff
        put(damaged)
        done = store.call("--read", "39")  # a crash fails in call()
        answers[done.status] = answers.get(done.status, 0) + 1
        assert done.status in ("success", "malformed", "forbidden", "unavail", "nospace"), (place, done.stderr)
        assert done.status != "success" or done.stdout.strip() in ("0", "1")
    assert answers["malformed"] > 20


@pytest.mark.parametrize("what", ["zeros", "noise", "cut"])
def test_a_damaged_index_is_made_again(local, what):
    assert local.bump() == 1
    shm = local.beside("-shm")
    shm.write_bytes({"zeros": bytes(32768), "noise": os.urandom(32768), "cut": b"xyz"}[what])
    read_only(local)
    assert local.read() == 1
    writable(local)
    assert local.read() == 1
    assert local.bump() == 2


def test_a_cut_wal_loses_only_its_end(local):
    holder = local.start("--hold-reading", "1")  # a process stays connected, so -wal is not emptied
    holder.stdout.readline()
    for _ in range(5):
        local.bump()
    wal = local.beside("-wal").read_bytes()
    local.kill(holder)
    assert len(wal) > 5 * 4096
    local.beside("-wal").write_bytes(wal[:-100])
    assert local.read() == 4
    assert local.bump() == 5


def test_a_missing_index_is_said_and_made_again(local):
    holder = local.start("--hold-reading", "1")
    holder.stdout.readline()
    assert local.bump() == 1
    local.kill(holder)
    local.beside("-shm").unlink()
    read_only(local)
    done = local.call("--read", "1")
    assert done.status == "unavail" and str(local.beside("-shm")) in done.text
    writable(local)
    assert local.read() == 1
    read_only(local)
    assert local.read() == 1


# ---- permissions ----

def test_no_permission_to_read(local):
    for path in files(local):
        path.chmod(0)
        uid = os.getuid()
        assert_refused(local, "forbidden", str(path), "mode 0000", f"uid {uid}")
        path.chmod(0o600)
    local.path.parent.chmod(0)
    assert_refused(local, "forbidden", str(local.path))


def test_a_reader_needs_no_write_permission(local):
    assert local.bump() == 1
    read_only(local)
    assert local.answer("--check") == "ok"
    assert local.read() == 1
    assert_refused(local, "forbidden", "mode 0444", writing=True)
    assert local.call("--try", "1").status == "forbidden"
    assert {path.name for path in local.path.parent.iterdir()} == {path.name for path in files(local)}


def test_a_writer_needs_the_folder_too(local):
    sqlite3.connect(local.path).execute("SELECT count(*) FROM head")  # closes, and takes -wal and -shm with it
    for path in files(local)[1:]:
        path.unlink(missing_ok=True)
    local.path.parent.chmod(0o555)
    assert_refused(local, "forbidden", writing=True)
    assert local.answer("--check") == "ok"


def next_line(child, timeout=30):
    """The next line of a child, and how long it took."""
    start = time.monotonic()
    limit = threading.Timer(timeout, child.kill)  # a line that never comes must not hold up the whole run
    limit.start()
    line = child.stdout.readline()
    limit.cancel()
    took = time.monotonic() - start
    assert took < timeout, "no line came"
    return line.strip(), took


def test_a_reader_without_permission_sees_each_commit_at_once(local):
    """No other process is connected, so SQLite maps nothing for it: the command next to nginx."""
    local.bump()
    read_only(local)
    watcher = local.start("--watch", "1")
    assert next_line(watcher)[0] == "1"
    writable(local)
    for counter in range(2, 12):
        assert local.bump() == counter
        done = time.monotonic()
        seen = None
        while seen != str(counter):  # the writer's recovery of the index shows as a change too
            seen = next_line(watcher)[0]
        assert time.monotonic() - done < 0.5
    watcher.stdin.close()
    assert watcher.wait() == 0


def test_readers_do_not_keep_a_writer_waiting(local):
    local.bump()
    readers = [local.start("--hold-reading", "1") for _ in range(5)]
    assert [next_line(reader)[0] for reader in readers] == ["1"] * 5
    for counter in range(2, 30):
        assert local.bump() == counter
    for reader in readers:
        reader.stdin.close()
        assert next_line(reader)[0] == "1"
        assert reader.wait() == 0


# ---- crashes ----

def test_kill_9_of_a_writer_in_a_transaction(local):
    local.bump()
    holder = local.start("--hold", "1")
    assert next_line(holder)[0] == "held"
    local.kill(holder)
    read_only(local)
    assert local.read() == 1
    writable(local)
    assert local.read() == 1
    assert local.bump() == 2


def test_kill_9_at_random_times_loses_nothing_acknowledged(local):
    rand = random.Random(11)
    acknowledged = 0
    for _ in range(25):
        writer = local.start("--bumps", "1")
        os.set_blocking(writer.stdout.fileno(), True)
        writer.stdin.write("\n" * 1000)
        try:
            writer.stdin.flush()
        except BrokenPipeError:
            pass
        time.sleep(rand.uniform(0.002, 0.06))
        local.kill(writer)
        lines = writer.stdout.read().split("\n")[:-1]
        if lines:
            acknowledged = int(lines[-1])
        counter = local.read()
        assert acknowledged <= counter <= acknowledged + 1
        acknowledged = counter
        assert {path.name for path in local.path.parent.iterdir()} == {path.name for path in files(local)}
    assert acknowledged > 25
    assert integrity(local.path) == "ok"


# ---- locks ----

def test_the_lock_names_its_holder(local):
    local.bump()
    holder = local.start("--hold", "1")
    assert next_line(holder)[0] == "held"
    start = time.monotonic()
    done = local.call("--try", "1")
    assert 0.25 < time.monotonic() - start < 1
    assert done.status == "tryagain" and f"process {holder.pid} " in done.text
    assert local.read() == 1
    holder.stdin.close()
    holder.wait()
    assert local.bump() == 2


# fd of FILE with R or W, the byte, F_RDLCK or F_WRLCK; "ofd": a lock that belongs to no process
LOCKER = """
import fcntl, os, struct, sys
path, kind, byte = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(path, os.O_RDWR if kind == "write" else os.O_RDONLY)
lock = struct.pack("hhqqi", fcntl.F_WRLCK if kind == "write" else fcntl.F_RDLCK, 0, byte, 1, 0)
fcntl.fcntl(fd, 37 if kind == "ofd" else fcntl.F_SETLK, lock)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locker():
    """locker(path, "read" | "write" | "ofd", byte): a process that holds that lock, until locker.end(it)."""
    children = []

    def start(path, kind, byte):
        child = subprocess.Popen([sys.executable, "-c", LOCKER, path, kind, str(byte)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdout.readline() == "held\n"
        return child

    def end(child):
        child.kill()
        child.communicate()
        children.remove(child)

    start.end = end
    yield start
    for child in list(children):
        end(child)


def named(child):
    """How an error names that process."""
    name = (pathlib.Path("/proc") / str(child.pid) / "comm").read_text().strip()
    return f"process {child.pid} ({name} of {pwd.getpwuid(os.getuid()).pw_name}, uid {os.getuid()})"


WRITE, CHECKPOINT, RECOVER, ALIVE = 120, 121, 122, 128  # SQLite's bytes of -shm; 123 to 127 are the readers'
PENDING = 0x40000000                                     # and of the database


@pytest.mark.parametrize("kind", ["read", "ofd"])
@pytest.mark.parametrize("byte", range(WRITE, ALIVE + 1))
def test_no_lock_of_a_reader_delays_a_writer_past_its_deadline(local, locker, byte, kind):
    """Whatever a read-only process locks in -shm. It alone is connected, so a writer must rebuild the index, for which SQLite
    itself waits 10 s."""
    local.bump()
    hostile = locker(local.beside("-shm"), kind, byte)
    start = time.monotonic()
    done = local.call("--try", "1")
    assert time.monotonic() - start < 3
    if byte in (WRITE, CHECKPOINT, RECOVER):
        assert done.status == "tryagain" and named(hostile) in done.text and str(local.beside("-shm")) in done.text
        assert "keeps writers out" in done.text
    else:
        assert done.status == "success"
    locker.end(hostile)
    assert local.bump() == (2 if done.status == "tryagain" else 3)


@pytest.mark.parametrize("byte", [WRITE, CHECKPOINT, RECOVER])
def test_nor_while_others_are_connected(local, locker, byte):
    local.bump()
    reader = local.start("--hold-reading", "1")
    assert next_line(reader)[0] == "1"
    hostile = locker(local.beside("-shm"), "read", byte)
    done = local.call("--try", "1")
    assert done.status == ("tryagain" if byte == WRITE else "success")
    assert byte != WRITE or named(hostile) in done.text


@pytest.mark.parametrize("byte", [PENDING, PENDING + 1, PENDING + 2, PENDING + 511])
def test_locks_of_a_reader_on_the_database_block_no_process(local, locker, byte):
    local.bump()
    locker(local.path, "read", byte)
    locker(local.beside("-wal"), "read", 0)
    assert local.bump() == 2
    assert local.read() == 2


def test_a_lock_for_writing_on_the_database_is_named(local, locker):
    """That takes permission to write it."""
    local.bump()
    hostile = locker(local.path, "write", PENDING)
    start = time.monotonic()
    done = local.call("--try", "1")
    assert time.monotonic() - start < 3
    assert done.status == "tryagain" and named(hostile) in done.text
    done = local.call("--read", "1", timeout="100ms")
    assert done.status == "tryagain" and named(hostile) in done.text
    locker.end(hostile)
    assert local.bump() == 2


@pytest.mark.parametrize("byte", range(WRITE, ALIVE + 1))
def test_a_hostile_reader_does_not_delay_readers(local, locker, byte):
    local.bump()
    for permission in (read_only, writable):
        permission(local)
        watcher = local.start("--watch", "1")  # connected before
        assert next_line(watcher)[0] == "1"
        hostile = locker(local.beside("-shm"), "read", byte)
        start = time.monotonic()
        assert local.read() == 1
        assert time.monotonic() - start < 3
        locker.end(hostile)
        watcher.stdin.close()
        assert watcher.wait() == 0


@pytest.mark.parametrize("byte", range(WRITE, ALIVE + 1))
def test_nor_a_read_only_one_when_no_process_is_connected(local, locker, byte):
    local.bump()
    locker(local.beside("-shm"), "read", byte)
    read_only(local)
    start = time.monotonic()
    assert local.read() == 1
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("byte", [WRITE, CHECKPOINT, RECOVER])
def test_a_hostile_reader_alone_delays_a_repairing_reader_little(local, locker, byte):
    """No process is connected, and the reader may write: SQLite would rebuild the index, and wait 10 s for that."""
    local.bump()
    hostile = locker(local.beside("-shm"), "read", byte)
    start = time.monotonic()
    done = local.call("--read", "1", timeout="100ms")
    assert time.monotonic() - start < 3
    assert done.status == "tryagain" and named(hostile) in done.text
    locker.end(hostile)
    assert local.read() == 1


def test_an_index_left_half_written_does_not_stop_readers(local):
    """A writer that dies inside the 96 bytes of its header, while a reader without permission is connected to it."""
    local.bump()
    writer = local.start("--bumps", "1")
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert next_line(writer)[0] == "2"
    read_only(local)
    watcher = local.start("--watch", "1")
    assert next_line(watcher)[0] == "2"
    local.kill(writer)
    writable(local)
    with open(local.beside("-shm"), "r+b") as shm:
        shm.write(bytes(20))
    read_only(local)
    assert local.call("--read", "1").status in ("success", "tryagain")
    time.sleep(0.1)
    seen = [next_line(watcher)[0]]
    while seen[-1] != "2":
        seen.append(next_line(watcher)[0])
    assert set(seen) <= {"2", "status 5"}
    writable(local)
    assert local.bump() == 3
    while next_line(watcher)[0] != "3":
        continue


@pytest.mark.parametrize("writers", [2, 10])
def test_writers_at_once(local, writers):
    children = [local.start("--race", "1") for _ in range(writers)]
    for child in children:
        assert child.wait() == 0, child.stderr.read()
    assert local.read() == 100 * writers
    assert integrity(local.path) == "ok"


def test_the_option_timeout_is_the_longest_wait(local):
    holder = local.start("--hold", "1")
    assert next_line(holder)[0] == "held"
    start = time.monotonic()
    assert local.call("--try", "1", timeout="50ms").status == "tryagain"
    assert time.monotonic() - start < 0.25


def test_the_wal_shrinks_again(local):
    """An old snapshot lets it grow; the next write after the snapshot ends takes it back to its limit."""
    reader = local.start("--hold-reading", "1")
    next_line(reader)
    for number in range(100, 140):
        holder = local.call("--bump", str(number))
        assert holder.status == "success"
    large = local.start("--bumps", "2")
    for _ in range(1500):
        large.stdin.write("\n")
    large.stdin.close()
    assert large.wait() == 0
    grown = local.beside("-wal").stat().st_size
    assert grown > 5 * 1024 * 1024
    local.kill(reader)
    for _ in range(3):
        local.bump()
    assert local.beside("-wal").stat().st_size <= 4 * 1024 * 1024


# ---- other tools, replaced files ----

def close_like_the_shell(path):
    """The sqlite3 shell checkpoints, and deletes -wal and -shm, when it is the last to close."""
    db = sqlite3.connect(path)
    db.execute("SELECT count(*) FROM head").fetchone()
    db.close()


def test_a_reader_makes_no_file(local):
    local.bump()
    close_like_the_shell(local.path)
    assert local.read() == 1
    assert local.answer("--check") == "ok"
    assert [path.name for path in local.path.parent.iterdir()] == ["development.db"]
    assert local.bump() == 2


def test_after_the_shell_readers_read_and_writers_repair(local):
    local.bump()
    close_like_the_shell(local.path)
    assert not local.beside("-wal").exists() and not local.beside("-shm").exists()
    read_only(local)
    assert local.read() == 1
    assert local.answer("--check") == "ok"
    assert not local.beside("-wal").exists()
    writable(local)
    assert local.bump() == 2
    assert local.beside("-wal").exists() and local.beside("-shm").exists()
    read_only(local)
    assert local.read() == 2


def test_a_watcher_of_a_bare_database_notices_the_next_writer(local):
    local.bump()
    close_like_the_shell(local.path)
    read_only(local)
    watcher = local.start("--watch", "1")
    assert next_line(watcher)[0] == "1"
    writable(local)
    for counter in (2, 3, 4):
        assert local.bump() == counter
        start = time.monotonic()
        while next_line(watcher)[0] != str(counter):
            continue
        assert time.monotonic() - start < 10
    watcher.stdin.close()
    assert watcher.wait() == 0


def test_the_shell_takes_nothing_from_connected_processes(local):
    local.bump()
    watcher = local.start("--watch", "1")
    assert next_line(watcher)[0] == "1"
    close_like_the_shell(local.path)
    assert local.beside("-wal").exists() and local.beside("-shm").exists()
    assert local.bump() == 2
    while next_line(watcher)[0] != "2":
        continue


def test_a_writer_leaves_a_deleted_index(local):
    """Its reading connection is still open on the old -shm, which SQLite would share with the new writing one."""
    writer = local.start("--bumps", "1")
    for wanted in ("1", "2"):
        if wanted == "2":
            assert local.read() == 1
            with sqlite3.connect(local.path) as db:
                db.execute("PRAGMA wal_checkpoint(FULL)")
            db.close()
            for path in files(local)[1:]:
                path.unlink()
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert next_line(writer)[0] == wanted
    assert local.beside("-shm").exists()
    assert local.read() == 2 and local.bump() == 3
    writer.stdin.close()
    assert writer.wait() == 0, writer.stderr.read()
    assert local.read() == 3


@pytest.mark.parametrize("how", ["-wal and -shm deleted", "another store moved there"])
def test_replaced_files_are_noticed(local, driver, tmp_path, how):
    other = driver("local", path=tmp_path / "other.db")
    other.answer("--create")
    for _ in range(7):
        other.bump()
    close_like_the_shell(other.path)
    local.bump()
    watcher, writer = local.start("--watch", "1"), local.start("--bumps", "1")
    assert next_line(watcher)[0] == "1"
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert next_line(writer)[0] == "2"
    if how.startswith("another"):
        for path in files(local)[1:]:
            path.unlink()
        other.path.rename(local.path)
        wanted = 8
    else:
        with sqlite3.connect(local.path) as db:  # all of -wal into the database first
            db.execute("PRAGMA wal_checkpoint(FULL)")
        db.close()
        for path in files(local)[1:]:
            path.unlink()
        wanted = 3
    # the writer that was connected before writes to what is there now
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert next_line(writer)[0] == str(wanted)
    start = time.monotonic()
    while next_line(watcher)[0] != str(wanted):
        continue
    assert time.monotonic() - start < 10
    assert local.read() == wanted
    for child in (watcher, writer):
        child.stdin.close()
        assert child.wait() == 0, child.stderr.read()
    assert local.read() == wanted
    assert integrity(local.path) == "ok"


def test_replaced_files_leave_no_descriptors(local):
    """-shm is never closed while it may matter; those that are gone for good are, in the end."""
    writer = local.start("--bumps", "1")
    counts = []
    for _ in range(150):
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert next_line(writer)[0].isdigit()
        counts.append(len(os.listdir(f"/proc/{writer.pid}/fd")))
        with sqlite3.connect(local.path) as db:
            db.execute("PRAGMA wal_checkpoint(FULL)")
        db.close()
        for path in files(local)[1:]:
            path.unlink()
    assert max(counts) < 90 and counts[-1] - counts[80] < 5, counts
    writer.stdin.close()
    assert writer.wait() == 0
    assert local.read() == 150


def test_a_backup_by_sqlite_is_a_store(local, driver, tmp_path):
    for number in range(20):
        local.bump(number)
    reader = local.start("--hold-reading", "1")
    next_line(reader)
    local.bump(3)
    with sqlite3.connect(local.path) as source, sqlite3.connect(tmp_path / "backup.db") as target:
        source.backup(target)
    backup = driver("local", path=tmp_path / "backup.db")
    assert [backup.read(number) for number in (2, 3, 4)] == [1, 2, 1]
    assert backup.bump(3) == 3


def test_the_backup_of_the_manual_is_a_store(local, driver, tmp_path):
    """VACUUM INTO through a read-only connection, as `sqlite3 -readonly` does it: nothing beside the store goes."""
    for number in range(20):
        local.bump(number)
    local.bump(3)
    folder = tmp_path / "backup"
    folder.mkdir()
    read_only(local)
    with sqlite3.connect(f"file:{local.path}?mode=ro", uri=True) as db:
        db.execute("VACUUM INTO ?", (str(folder / "backup.db"),))
    db.close()
    assert all(path.exists() for path in files(local))
    backup = driver("local", path=folder / "backup.db")
    read_only(backup)
    assert [backup.read(number) for number in (2, 3, 4)] == [1, 2, 1]
    watcher = backup.start("--watch", "3")
    assert next_line(watcher)[0] == "2"
    writable(backup)
    assert backup.bump(3) == 3
    while next_line(watcher)[0] != "3":
        continue
    folder.chmod(0o700)
    assert all(path.exists() for path in files(backup))


# ---- disk full ----

def test_a_full_disk(driver):
    """KEYTURN_TEST_TMPFS is a folder on a file system of a few megabytes, which auto/check mounts if it may."""
    folder = os.environ.get("KEYTURN_TEST_TMPFS")
    if not folder:
        pytest.skip("counterpart: a small file system that root mounts (KEYTURN_TEST_TMPFS)")
    space = os.path.join(folder, "local-full")
    shutil.rmtree(space, ignore_errors=True)
    os.mkdir(space)
    try:
        fill_disk(driver("local", path=os.path.join(space, "full.db")), os.path.join(space, "ballast"))
    finally:
        shutil.rmtree(space)


def fill_disk(store, ballast):
    with open(ballast, "wb") as file:
        file.write(bytes(256 * 1024))
    store.answer("--create")
    store.bump(1)
    done = store.call("--grow", "100")
    assert done.status == "nospace" and str(store.path) in done.text
    written = int(done.stdout)
    assert written >= 1
    assert [store.read(100 + i) for i in range(written)] == [1] * written
    assert store.read(100 + written) == 0
    assert integrity(store.path) == "ok"
    rest = store.path.with_name("rest")
    with open(rest, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    assert store.call("--create", path=store.path.with_name("more.db")).status == "nospace"
    assert not [path for path in store.path.parent.iterdir() if path.name.startswith("more")]
    rest.unlink()
    os.unlink(ballast)
    assert store.bump(1) == 2

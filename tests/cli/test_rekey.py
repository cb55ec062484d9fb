# SPDX-License-Identifier: BSD-2-Clause
"""keyturn rekey: a store goes to the next epoch of its key, refused until the consumers have it, killed at each of its steps."""
import json
import os
import pty
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from lib import epochs
from lib import read_format as rf
from lib.epochs import drop_epoch
from lib.epochs import kill_rekey as kill
from lib.home import Home

MANY = 70  # of one type: more than a batch


def next_epoch(home):
    """The home's key gets one more epoch; what it was stays beside it."""
    old = home.dir / "old.key"
    shutil.copy(home.key, old)
    epochs.next_epoch(home)
    return old


class Old:
    """The same home with a key file that lacks the newest epoch: a consumer who was not given it."""

    def __init__(self, home, key):
        self.home, self.config = home, home.dir / "old.yaml"
        lines = home.read_config().splitlines(keepends=True)
        self.config.write_text("".join(f"key: file:{key}\n" if line.startswith("key:") else line for line in lines))

    def run(self, *args, **more):
        return self.home.keyturn("-c", self.config, *args, check=False, **more)


@pytest.fixture(scope="module")
def template(kt, tmp_path_factory):
    """Some of everything, as a backup and its key."""
    home = Home.create(kt, tmp_path_factory.mktemp("template") / "home")
    for i in range(MANY):
        home.set(f"api-keys/n{i}", f"value {i}")
    home.set("database/primary", {"user": "app", "password": "one"})
    home.set("database/primary", {"user": "app", "password": "two"}, "--meta", "owner=dba")
    home.set("tls/a", b"\0binary\n", "--expires", "90d")
    home.set("SINGLE", b"x" * 65536)
    home.set("tls/gone", b"deleted")
    home.delete("tls/gone")
    for text in (b"1", b"2", b"3"):
        home.set("tls/b", text)
    home.destroy("tls/b", 2)
    home.rollback("tls/b", 1)
    home.run("backup", home.dir / "backup")
    return home


@pytest.fixture
def filled(home, template):
    shutil.copy(template.key, home.key)
    for path in home.dir.glob(home.store.name + "*"):
        path.unlink()
    home.run("restore", template.dir / "backup")
    home.old = next_epoch(home)
    return home


def check_some(home):
    """One of each kind, a name that is not there, and the store as a whole."""
    assert home.get("api-keys/n1") == b"value 1" and home.get("tls/b@previous") == b"3"
    assert home.get("database/primary#password@previous") == b"one"
    assert home.run("get", "api-keys/none", check=False).returncode == 66
    home.run("verify")


def check_all(home):
    """Every secret, current and kept, with what is known of it."""
    check_some(home)
    assert len([name for name in home.list() if not re.search("between|later", name)]) == MANY + 5
    assert [home.get(f"api-keys/n{i}") for i in (0, MANY - 1)] == [b"value 0", b"value %d" % (MANY - 1)]
    assert home.get("database/primary#password") == b"two" and home.info("database/primary")["metadata"] == {"owner": "dba", "origin": "issued"}
    assert home.get("tls/a") == b"\0binary\n" and home.get("SINGLE") == b"x" * 65536
    assert [home.get(f"tls/b@{v}") for v in ("current", 1, 3)] == [b"1", b"1", b"3"]
    assert home.run("get", "tls/b@2", check=False).returncode == 66 and home.run("get", "tls/gone", check=False).returncode == 66


def known(home):
    """What `info` and `versions` say of every secret, but for how often it was sealed and read."""
    names = [name for name in home.list() if not re.match("api-keys/n[1-9]", name)]
    more = {"counter", "accessed", "last_accessed", "last_subject", "last_stream"}
    return {name: ({k: v for k, v in home.info(name).items() if k not in more}, home.versions(name)) for name in names}


def status(home):
    return home.json("rekey", "--status")


def test_everything_moves_and_the_old_epoch_goes(filled):
    before = known(filled)
    assert status(filled)["complete"] is False
    assert [(t["type"], t["epoch"], t["moved"], t["left"]) for t in status(filled)["types"]] == [
        ("api-keys", 1, 0, MANY), ("database", 1, 0, 1), ("general", 1, 0, 1), ("tls", 1, 0, 3)]
    result = filled.run("rekey")
    assert result.stdout.decode().splitlines() == [f"{MANY + 5} secrets moved to epoch 2", "complete: no row is under epoch 1"]
    lines = result.stderr.decode().splitlines()
    assert lines[0] == f"keyturn: api-keys: 0 of {MANY} secrets moved to epoch 2" and len(lines) == 8
    assert "complete: no row is under epoch 1" in filled.run("rekey", "--status").stdout.decode()
    assert [(t["epoch"], t["left"]) for t in status(filled)["types"]] == [(2, 0)] * 4
    assert known(filled) == before
    check_all(filled)
    drop_epoch(filled, 1)
    assert known(filled) == before
    check_all(filled)
    assert filled.undelete("tls/gone") is None and filled.get("tls/gone") == b"deleted"
    assert filled.set("tls/new", b"n") == 1 and filled.set("other/new", b"n") == 1 and filled.rotate("SINGLE") == 2
    filled.run("verify")
    assert filled.json("rekey")["moved"] == 0
    filled.run("audit", "verify")
    lines = [(r["reference"], r["status"]) for r in filled.records() if r["action"] == "rekey"]
    assert lines == [(f"{t}/*", s) for t in ("api-keys", "database", "general", "tls") for s in ("intent", "success")]


def test_nothing_of_the_old_epoch_stays_in_the_file(filled):
    """SQLite overwrites what is removed, but for what it had moved within its pages before: VACUUM takes that."""
    db = sqlite3.connect(filled.store)
    old = [row[0][-48:] for row in db.execute("SELECT record FROM head UNION ALL SELECT value FROM head WHERE value IS NOT NULL UNION "
                                              "ALL SELECT record FROM value UNION ALL SELECT record FROM node")]
    labels = [row[0] for row in db.execute("SELECT id FROM meta")]
    db.close()
    assert len(old) > 2 * MANY and all(record in filled.store.read_bytes() for record in old[:MANY])
    filled.run("rekey")
    db = sqlite3.connect(filled.store)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert sum(record in filled.store.read_bytes() for record in old) < len(old) / 10
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = [row[0] for row in db.execute("SELECT id FROM meta") if row[0] in labels]
    db.close()
    assert sum(record in filled.store.read_bytes() for record in old) == 0
    assert sorted(set(key[:1] for key in kept)) == [b"c", b"r"], "the old key's holder learns no name of a type"
    check_some(filled)
    assert filled.set("tls/a", b"x") == 2


def test_the_page_is_enough_to_read_it(filled):
    """docs/format.md: before, in the middle, afterwards; with each key, and with both."""
    name = b"api-keys/n1"

    def read(*epochs):
        environment, keys = rf.read_key_file(filled.key)
        return rf.Store(filled.store, environment, {e: keys[e] for e in epochs}).value(name)

    assert read(1) == read(2, 1) == b"value 1"
    kill(filled, "rekey.moved")
    environment, keys = rf.read_key_file(filled.key)
    both = rf.Store(filled.store, environment, keys)
    assert len(list(both.heads())) == MANY + 5
    values = {n: both.value(b"api-keys/n%d" % n) for n in range(MANY)}
    assert values == {n: b"value %d" % n for n in range(MANY)}
    found = {}
    for epoch in keys:
        alone = rf.Store(filled.store, environment, {epoch: keys[epoch]})
        for n in range(MANY):
            try:
                found[n] = found.get(n, 0) + (alone.value(b"api-keys/n%d" % n) == b"value %d" % n)
            except rf.Elsewhere:
                pass
    assert found == {n: 1 for n in range(MANY)}, "each is under one of them, and the other one does not say that there is none"
    filled.run("rekey")
    assert read(2) == read(2, 1) == b"value 1"
    with pytest.raises(rf.Elsewhere):
        read(1)


# refusals

def types_key(home, config, name, types, **more):
    """A key file of some types, made from the key that `config` names."""
    path = home.dir / f"{name}.key"
    path.unlink(missing_ok=True)
    home.keyturn("-c", config, "keygen", "--types", types, path, **more)
    return path


def test_refused_until_every_key_file_has_it(filled):
    old = Old(filled, filled.old)
    nginx = types_key(filled, old.config, "nginx", "api-keys,tls")
    epochs.use_keys(filled, f"{{cli: 'file:{filled.key}', nginx: 'file:{nginx}', redis: 'file:{filled.old}', "
                            "postgresql: 'exec:/bin/cat /nowhere'}")
    result = filled.run("rekey", check=False)
    text = result.stderr.decode()
    assert result.returncode == 73
    assert f"{nginx}: it lacks epoch 2 of api-keys,tls: put a new one in its place (`keyturn keygen --types api-keys,tls NEWFILE`)" in text
    assert f"{filled.old}: it lacks epoch 2" in text
    assert "the key of postgresql: it cannot be seen from here (what a command prints)" in text and "--handed-out" in text
    assert "3 of 4 entries of `key:` cannot open epoch 2 yet: nothing was moved" in text
    answer = json.loads(filled.run("--json", "rekey", check=False).stdout)
    assert answer["status"] == "conflict" and [r["key"] for r in answer["refused"]] == [str(nginx), str(filled.old),
                                                                                         "the key of postgresql"]
    assert filled.run("rekey", "--handed-out", check=False).returncode == 73, "what can be seen is not taken on trust"
    types_key(filled, filled.config, "nginx", "api-keys,tls")
    shutil.copy(filled.key, filled.old)
    result = filled.run("rekey", check=False)
    assert result.returncode == 73 and b"1 of 4" in result.stderr
    nginx.chmod(0)
    assert b"2 of 4" in filled.run("rekey", check=False).stderr, "nor is a file that cannot be read"
    nginx.chmod(0o644)
    assert b"too open" in filled.run("rekey", check=False).stderr
    nginx.chmod(0o600)
    assert status(filled)["types"][0]["epoch"] == 1, "nothing was moved"
    records = [r for r in filled.records() if r["action"] == "rekey"]
    assert {r["status"] for r in records} == {"conflict"} and len(records) == 6
    assert filled.json("rekey", "--handed-out")["complete"] is True
    check_all(filled)


def test_a_number_alone_is_no_key(filled):
    """Two machines each made their own epoch 2."""
    other = filled.dir / "other.key"
    filled.keyturn("-c", Old(filled, filled.old).config, "keygen", "--epoch", other)
    epochs.use_keys(filled, f"{{cli: 'file:{filled.key}', nginx: 'file:{other}'}}")
    result = filled.run("rekey", check=False)
    assert result.returncode == 73 and f"{other}: it lacks epoch 2" in result.stderr.decode()


def test_who_may(filled):
    assert filled.run("rekey", "--status", "--handed-out", check=False).returncode == 64
    assert filled.run("rekey", "x", check=False).returncode == 64
    types = types_key(filled, filled.config, "types", "api-keys")
    assert Old(filled, types).run("rekey").returncode == 77
    rule = next(line for line in filled.read_config().splitlines() if "admin" in line and not line.lstrip().startswith("#"))
    filled.replace(rule, rule.replace(", admin", ""))
    assert filled.run("rekey", check=False).returncode == 77 and filled.run("rekey", "--status", check=False).returncode == 77


# crashes

def check_old(old):
    """Without the new epoch, the answer is the value or an error that says why, but never that there is no secret."""
    answers = set()
    for i in (0, 1, MANY - 1):
        result = old.run("get", f"api-keys/n{i}")
        answers.add(result.returncode)
        assert result.returncode == 77 and b"an epoch that the key held does not list" in result.stderr or (
            result.returncode == 0 and result.stdout == b"value %d" % i), result
    return answers


@pytest.fixture
def small(home):
    """Two types, and in each of their tables a row."""
    for name in "api-keys/a", "api-keys/b", "tls/a":
        home.set(name, b"one")
    home.set("tls/a", b"two")
    home.old = next_epoch(home)
    return home


def each_row(home):
    """(table, WHERE of its key, key, whole row) of all that is stored."""
    db = sqlite3.connect(home.store)
    for table in "meta", "head", "value", "node":
        for row in db.execute(f"SELECT * FROM {table}").fetchall():
            yield table, "id = ? AND version = ?" if table == "value" else "id = ?", row[:2] if table == "value" else row[:1], row
    db.close()


def change(home, sql, values):
    db = sqlite3.connect(home.store)
    db.execute(sql, values)
    db.commit()
    db.close()


@pytest.mark.parametrize("point", ["rekey.marked", "rekey.begun", "rekey.moved", "rekey.finished"])
def test_no_row_is_removed_or_bent_before_the_anchors_are_written(small, point):
    """Killed between a commit and its anchors, of each type: what was committed is sound, and every edit of it is noticed."""
    file, states = next((small.dir / "anchors").glob("cli-*/generations")), 0
    while kill(small, point):
        states += 1
        anchors = file.read_bytes()
        for table, where, key, row in each_row(small):
            for sql in f"DELETE FROM {table} WHERE {where}", f"UPDATE {table} SET record = substr(record, 1, length(record) - 1) || x'00' WHERE {where}":
                change(small, sql, key)
                result = small.run("verify", check=False)
                assert result.returncode == 65, (point, states, sql, row[0], result)
                change(small, f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row)
                file.write_bytes(anchors)
        assert b"3 secrets" in small.run("verify").stdout
    assert states == (1 if point == "rekey.marked" else 2)
    assert small.json("rekey")["complete"] is True and small.get("tls/a@previous") == b"one"
    assert [line for line in small.records() if line["action"] == "settle"], "what had no anchor was recorded"


@pytest.mark.parametrize("point", epochs.POINTS)
def test_killed(filled, point):
    old, times = Old(filled, filled.old), 0
    while kill(filled, point):
        times += 1
        assert times < 20
        if times in (1, 4):
            check_old(old)
            check_some(filled)
            name = f"between/{times}"
            assert filled.set(name, b"written in between") == 1 and filled.get(name) == b"written in between"
            assert filled.set("api-keys/n5", b"value 5") > 1 and filled.get("api-keys/n5@previous") == b"value 5"
            filled.destroy(name)
            assert filled.run("get", name, check=False).returncode == 66
        if point in ("rekey.mark", "rekey.begin", "rekey.batch", "rekey.finish"):
            break  # before the commit: it would be killed there for ever
    assert times > 0
    filled.run("rekey")
    assert status(filled)["complete"] is True
    drop_epoch(filled, 1)
    assert check_old(old) == {77}
    filled.run("verify")
    filled.run("audit", "verify")


def test_killed_at_random_times_while_it_is_used(filled):
    stop, wrong, done = threading.Event(), [], {"reads": 0, "writes": 0}

    def read():
        while not stop.is_set():
            i = random.randrange(MANY)
            result = filled.run("get", f"api-keys/n{i}", check=False)
            if result.returncode != 0 or result.stdout != b"value %d" % i:
                wrong.append(result)
            done["reads"] += 1

    def write():
        while not stop.is_set():
            n = done["writes"] = done["writes"] + 1
            result = filled.run("--quiet", "set", "tls/a", input=b"%d" % n, check=False)
            if result.returncode != 0:
                wrong.append(result)
                return

    threads = [threading.Thread(target=read), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    kills = 0
    try:
        while True:
            process = filled.popen("--quiet", "rekey", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                process.communicate(timeout=random.uniform(0.003, 0.02 + kills / 50))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                continue
            assert process.returncode == 0
            break
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == [] and kills > 0 and done["reads"] > 0 and done["writes"] > 0
    assert status(filled)["complete"] is True and filled.get("tls/a") == b"%d" % done["writes"]
    drop_epoch(filled, 1)
    filled.run("verify")
    filled.run("audit", "verify")


# an older file, another store

def copy_store(home, folder):
    folder.mkdir()
    for path in home.dir.glob(home.store.name + "*"):
        shutil.copy(path, folder)


def put_back(home, folder):
    for path in home.dir.glob(home.store.name + "*"):
        path.unlink()
    for path in folder.iterdir():
        shutil.copy(path, home.dir)


def test_an_older_file_is_noticed_under_both_epochs(filled, tmp_path):
    old = Old(filled, filled.old)
    copy_store(filled, tmp_path / "before")
    assert kill(filled, "rekey.anchored") and kill(filled, "rekey.anchored")  # begun, a batch
    copy_store(filled, tmp_path / "half")
    put_back(filled, tmp_path / "before")
    for run in (filled.run, old.run):
        result = run("get", "api-keys/n1", **({} if run == old.run else {"check": False}))
        assert result.returncode == 65 and b"older store was put in place" in result.stderr, result
    put_back(filled, tmp_path / "half")
    assert filled.get("api-keys/n1") == b"value 1"
    filled.run("rekey")
    for folder in "before", "half":
        copy_store(filled, tmp_path / f"after-{folder}")
        put_back(filled, tmp_path / folder)
        assert filled.run("get", "api-keys/n1", check=False).returncode == 65
        assert old.run("get", "api-keys/n1").returncode == 65
        assert filled.run("rekey", check=False).returncode == 65
        put_back(filled, tmp_path / f"after-{folder}")
    check_all(filled)


def test_each_row_matters_in_the_midst(filled):
    """Rows of either epoch, removed or put back as they were a step before: verify finds each."""
    def rows(table):
        db = sqlite3.connect(filled.store)
        found = {row[:2] if table == "value" else row[:1]: row for row in db.execute(f"SELECT * FROM {table}")}
        db.close()
        return found

    def change(table, key, row):
        where = "id=? AND version=?" if table == "value" else "id=?"
        db = sqlite3.connect(filled.store)
        db.execute(f"DELETE FROM {table} WHERE {where}", key)
        if row:
            db.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
        db.commit()
        db.close()

    tables = "meta", "node", "head", "value"
    assert kill(filled, "rekey.anchored")
    before = {table: rows(table) for table in tables}
    assert kill(filled, "rekey.anchored")
    filled.run("verify")
    missed, tried = [], 0
    for table in tables:
        now = rows(table)
        changed = [key for key in {**before[table], **now} if before[table].get(key) != now.get(key)]
        chosen = changed if table in ("meta", "node") else changed[:6] + changed[-6:]
        for key in chosen + list(now)[:3]:
            if (table == "meta" and key[0][:1] != b"r") or (table == "node" and key not in now):
                continue  # a node that no other one names is in nobody's way
            for row in {before[table].get(key), None} - {now.get(key)}:
                change(table, key, row)
                tried += 1
                if filled.run("verify", check=False).returncode != 65:
                    missed.append((table, key, row and "put back"))
                change(table, key, now.get(key))
    assert missed == [] and tried > 20
    filled.run("verify")
    filled.run("rekey")
    check_some(filled)


def test_backups_of_before_the_midst_and_after(filled, tmp_path):
    filled.run("backup", tmp_path / "before")
    assert kill(filled, "rekey.anchored") and kill(filled, "rekey.anchored")
    filled.run("backup", tmp_path / "midst")
    half = status(filled)["types"][0]
    assert 0 < half["left"] < MANY
    filled.run("rekey")
    filled.run("backup", tmp_path / "after")
    old = Old(filled, filled.old)
    for name in "midst", "before", "after", "midst":
        filled.run("restore", "--going-back", tmp_path / name)
        check_some(filled)
        check_old(old)
        left = {t["type"]: t["left"] for t in status(filled)["types"]}
        assert left["api-keys"] == {"before": MANY, "midst": half["left"], "after": 0}[name]
        if name == "before":
            assert old.run("get", "api-keys/n1").stdout == b"value 1"
        if name == "after":
            assert check_old(old) == {77}
        assert filled.set("api-keys/later", b"x") == 1 and filled.get("api-keys/later") == b"x"
        if name != "midst":
            filled.run("rekey")
            assert status(filled)["complete"] is True
            assert filled.get("api-keys/later") == b"x"
            filled.run("verify")
    filled.run("rekey")
    drop_epoch(filled, 1)
    filled.run("restore", "--going-back", tmp_path / "after")
    check_all(filled)
    assert check_old(old) == {77}, "what says that it has moved was restored, too"


@pytest.mark.parametrize("when", ["before", "midst", "after"])
def test_a_lost_store_comes_back(filled, tmp_path, when):
    if when == "midst":
        assert kill(filled, "rekey.moved")
    if when == "after":
        filled.run("rekey")
    filled.run("backup", tmp_path / "backup")
    for path in filled.dir.glob(filled.store.name + "*"):
        path.unlink()
    filled.run("restore", tmp_path / "backup")
    check_some(filled)
    assert check_old(Old(filled, filled.old)) in {"before": [{0}], "midst": [{0}, {77}, {0, 77}], "after": [{77}]}[when]
    filled.run("rekey")
    drop_epoch(filled, 1)
    check_all(filled)


# what is shown

def test_progress_on_a_terminal_is_one_line_a_type(filled):
    master, slave = pty.openpty()
    process = subprocess.Popen([filled.stage.keyturn, "-c", filled.config, "rekey"], env=filled.env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    out, _ = process.communicate(timeout=30)
    os.close(master)
    assert process.returncode == 0 and out.endswith(b"complete: no row is under epoch 1\n")
    lines = shown.decode().split("\r\n")
    assert len(lines) == 5 and lines[4] == ""
    assert lines[0].split("\r")[-1] == f"keyturn: api-keys: {MANY} of {MANY} secrets moved to epoch 2"
    assert lines[0].count("\r") >= 4


def test_quiet_and_json(filled):
    copy = filled.run("--quiet", "rekey")
    assert copy.stderr == b"" and copy.stdout == b"complete: no row is under epoch 1\n"
    answer = filled.json("rekey")
    assert answer == {"status": "success", "epoch": 2, "moved": 0, "complete": True, "older": [{"epoch": 1, "rows": 0}], "types": [],
                      "unknown": 0}


def test_a_key_of_one_epoch_has_nowhere_to_go(home):
    home.set("a", b"x")
    assert home.run("rekey").stdout.decode().splitlines() == ["0 secrets moved to epoch 1", "complete: the key lists epoch 1 only"]


def test_writers_wait_for_a_batch_and_no_longer(filled):
    """A rekey that is stopped in the middle of a transaction holds the lock; one that goes on lets others in between."""
    process = subprocess.Popen([filled.stage.keyturn, "-c", filled.config, "rekey"],
                               env={**filled.env, "KEYTURN_DEBUG_STOP": "rekey.batch"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while "T" != open(f"/proc/{process.pid}/stat").read().rsplit(") ")[1][0]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert filled.get("api-keys/n1") == b"value 1", "readers do not wait"
        result = filled.run("set", "tls/a", input=b"new", check=False)
        assert result.returncode == 75 and str(process.pid) in result.stderr.decode()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            os.kill(process.pid, signal.SIGCONT)  # each batch stops again
            time.sleep(0.1)
        assert process.poll() == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    assert filled.set("tls/a", b"new") == 2
    assert status(filled)["complete"] is True

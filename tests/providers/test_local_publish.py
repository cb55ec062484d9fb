# SPDX-License-Identifier: BSD-2-Clause
"""A publication of `local`: others see it before its sync, and a power cut in between leaves the state before it, whole."""
import random
import re
import subprocess

import pytest

from lib.power_cut import Disk
from lib.tools import integrity, wait_for

SLOW = "inject=fdatasync,fsync:delay_enter=2000000"  # microseconds
KILLED = "inject=fdatasync,fsync:error=EIO:signal=KILL:when=1"


@pytest.fixture
def store(local):
    """Its -wal is there, as beside every process that goes on, and has a commit."""
    local.bump()
    local.bump()
    return local


def traced(store, path, inject, *args):
    return subprocess.Popen(["strace", "-f", "-y", "-e", "trace=fdatasync,fsync,pwrite64,fcntl", "-e", inject, "-o", path,
                             *store.command(*args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=store.env)


def in_sync(path):
    return path.exists() and re.search(r"\bf(data)?sync\([^)]*$", path.read_text()) is not None


def test_it_is_seen_while_it_is_synced(store, tmp_path):
    """And no other process writes until it is."""
    before = store.read()
    publishing = traced(store, tmp_path / "trace", SLOW, "--publish", "1")
    wait_for(lambda: store.read() == before + 1, 20, what="the publication")
    assert store.call("--try", "1").status == "tryagain"
    assert publishing.poll() is None and (tmp_path / "trace").read_text().count("sync(") == 1
    assert publishing.wait(20) == 0
    assert store.bump() == before + 2


def test_a_commit_is_not(store, tmp_path):
    before = store.read()
    committing = traced(store, tmp_path / "trace", SLOW, "--try", "1")
    wait_for(lambda: in_sync(tmp_path / "trace"), 20, what="its sync")
    assert store.read() == before and committing.poll() is None
    assert committing.wait(20) == 0 and store.read() == before + 1


def test_it_is_synced_once(store, tmp_path):
    publishing = traced(store, tmp_path / "trace", "inject=fdatasync:delay_enter=1", "--publish", "1")
    assert publishing.wait(20) == 0
    lines = [line for line in (tmp_path / "trace").read_text().splitlines() if "sync(" in line]
    assert len(lines) == 1 and "-wal>" in lines[0], lines


def killed(disk, store):
    """The publisher, when it was to sync."""
    disk.record(store.command("--publish", "1"), options=["-e", KILLED], status=-9, env=store.env)


def chooser(choice, cut):
    return lambda event, block: random.Random(f"{choice} {cut} {event} {block}").random() < (choice % 4 + 1) / 5


@pytest.mark.parametrize("verb", ["--check-writing", "--bump", "--publish", "--read"])
def test_a_power_cut_after_its_publisher_was_killed(store, verb, tmp_path):
    """What the next process does must not build on frames that are not on the disk: it writes them back to the database, or
    goes on after them."""
    folder, before = store.path.parent, store.read()
    disk = Disk(folder)
    killed(disk, store)
    assert store.read() == before + 1
    for _ in range(2):
        disk.record(store.command(verb, *([] if verb == "--check-writing" else ["1"])), env=store.env)
    after = store.read()
    assert after == before + 1 + (2 if verb in ("--bump", "--publish") else 0)
    seen = set()
    for choice in range(12):
        for cut in disk.cuts():
            disk.leave(cut, chooser(choice, cut))
            seen.add(store.read())
            assert before <= store.read() <= after and integrity(store.path) == "ok", (choice, cut)
    assert before in seen
    disk.leave(disk.done[-1], lambda event, block: False)
    assert store.read() == (before if verb == "--read" else after)


def test_the_last_to_close_syncs_it_first(store, tmp_path):
    """It writes -wal back to the database without syncs only if -wal ends with its own commit."""
    subprocess.run(["strace", "-f", "-e", "trace=fdatasync,fsync", "-e", KILLED, "-o", tmp_path / "killed",
                    *store.command("--publish", "1")], check=False)
    trace = tmp_path / "trace"
    assert traced(store, trace, "inject=fdatasync:delay_enter=1", "--check-writing").wait(20) == 0
    calls = [line for line in trace.read_text().splitlines() if "sync(" in line or "pwrite64(" in line]
    to_database = [number for number, line in enumerate(calls) if re.search(rf"pwrite64\(\d+<{store.path}>", line)]
    syncs = [number for number, line in enumerate(calls) if "sync(" in line and "-wal>" in line]
    assert to_database and syncs and syncs[0] < to_database[0], calls

# SPDX-License-Identifier: BSD-2-Clause
"""A large store: what walks over all of it takes no memory for it, and what asks for one secret does not notice.

20,000 secrets; KT_SECRETS=1000000 for as many as that, with a table of times (pytest -s).
"""
import json
import os
import pathlib
import pty
import subprocess
import time

import pytest

from lib.home import Home

TOP = pathlib.Path(__file__).resolve().parents[2]
COUNT = int(os.environ.get("KT_SECRETS", 20000))
TIMEOUT = 60 + COUNT // 1000
LIMIT = 26  # MB; the command alone has 12, and an array of anything would be 14 more


def fill(home, count):
    """Another store in place of the home's: api-keys/k0000000 ...; the names that the program tells."""
    for path in [*home.dir.glob("development.db*"), *home.dir.glob("anchors/*/generations")]:
        path.unlink()
    folders = [pathlib.Path(folder) for folder in (os.environ.get("KT_TEST_BIN"), TOP / "build/tests") if folder]
    program = [folder / "bench/fill" for folder in folders if (folder / "bench/fill").exists()]
    assert program, "not built: tests/bench/fill"
    out = subprocess.run([program[0], home.config, str(count)], env=home.env, check=True, capture_output=True, timeout=TIMEOUT)
    return [line.split()[0].decode() for line in out.stdout.splitlines()]


def peak(pid):
    """Megabytes so far; 0 when it has ended. (What wait4() tells is of the process that forked, too.)"""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(text.split("VmHWM:")[1].split()[0]) / 1024 if "VmHWM:" in text else 0


def measured(home, *args, status=0):
    """Runs the command; its output, with seconds and megabytes in the table."""
    begun, most = time.monotonic(), 0
    with open(home.dir / "out", "w+b") as out:
        child = home.popen(*args, stdout=out, stdin=subprocess.DEVNULL)
        while child.poll() is None:
            most = max(most, peak(child.pid))
            time.sleep(0.002)
        assert child.returncode == status, args
        out.seek(0)
        output = out.read()
    home.table.append((" ".join(str(arg) for arg in args[:2]), time.monotonic() - begun, most))
    return output


@pytest.fixture(scope="module")
def large(kt, tmp_path_factory):
    home = Home.create(kt, tmp_path_factory.mktemp("large") / "home")
    home.table = []
    home.names = fill(home, COUNT)
    return home


@pytest.fixture
def bounded(large):
    """What the test ran took no more than it takes for one secret."""
    before = len(large.table)
    yield large
    for verb, seconds, megabytes in large.table[before:]:
        print(f"{verb:32.32} {seconds:8.2f} s {megabytes:8.1f} MB")
        if "LD_PRELOAD" not in large.env:  # a sanitizer keeps what was freed
            assert megabytes < LIMIT, verb


def test_one_of_many(bounded):
    for name in bounded.names[:2] + bounded.names[-2:]:
        assert measured(bounded, "get", name) == b"%040d" % 7
    measured(bounded, "get", "api-keys/none", status=66)
    measured(bounded, "set", "api-keys/more", "--file", bounded.key)
    assert measured(bounded, "get", "api-keys/more") == bounded.key.read_bytes()
    measured(bounded, "destroy", "api-keys/more", "--all", "--yes")  # its head stays


def test_list(bounded):
    listed = measured(bounded, "--quiet", "list", "api-keys/k*").split()
    assert len(listed) == len(set(listed)) == COUNT
    assert len(measured(bounded, "--quiet", "list", "api-keys/k00000*").split()) == min(COUNT, 100)
    table = measured(bounded, "list", "api-keys/k*").splitlines()
    assert len(table) == COUNT + 1 and table[0].startswith(b"NAME              ") and len({len(line) for line in table[1:]}) == 1


def test_list_as_json(bounded):
    whole = json.loads(measured(bounded, "--json", "list", "api-keys/k*"))
    assert whole["status"] == "success" and whole["hidden"] == 0
    assert len({secret["name"] for secret in whole["secrets"]}) == COUNT
    assert set(whole["secrets"][-1]) == {"name", "version", "state", "origin", "created", "updated", "expires", "due"}


def test_verify(bounded):
    assert b"%d secrets" % (COUNT + 1) in measured(bounded, "verify")


def test_backup_and_restore(bounded):
    file = bounded.dir / "backup"
    measured(bounded, "backup", file)
    before = sorted(bounded.run("--quiet", "list", timeout=TIMEOUT).stdout.split())
    bounded.set("api-keys/later", b"x")
    measured(bounded, "restore", "--going-back", file)
    assert sorted(bounded.run("--quiet", "list", timeout=TIMEOUT).stdout.split()) == before
    assert b"%d secrets" % (COUNT + 1) in measured(bounded, "verify")
    file.unlink()


def read_terminal(fd):
    text = b""
    while True:
        try:
            more = os.read(fd, 4096)
        except OSError:
            return text
        if not more:
            return text
        text += more


@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_progress_is_shown_on_a_terminal(large, options):
    master, slave = pty.openpty()
    child = large.popen(*options, "verify", stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    text = read_terminal(master)
    os.close(master)
    assert child.wait(TIMEOUT) == 0
    if options:
        assert text == b""
    else:
        assert b"verify: " in text and b"of %d (" % (COUNT + 1) in text and text.endswith(b"\r\x1b[K")


def test_and_nowhere_else(large):
    assert large.run("verify", timeout=TIMEOUT).stderr == b""


# The last test, because it leaves the store damaged.
def test_a_list_that_fails_late_says_so(large):
    import sqlite3
    db = sqlite3.connect(large.store)
    db.execute("UPDATE head SET record = zeroblob(length(record)) WHERE id = (SELECT max(id) FROM head)")
    db.commit()
    db.close()
    result = large.run("list", check=False, timeout=TIMEOUT)
    assert result.returncode == 65 and b"sealed record" in result.stderr and result.stdout == b"", "not half a list"
    answer = large.json("list", check=False, timeout=TIMEOUT)
    assert answer["status"] == "malformed" and "sealed record" in answer["error"] and "secrets" not in answer
    found = large.run("verify", check=False, timeout=TIMEOUT)
    assert found.returncode == 65 and found.stdout.count(b"\n") == 2

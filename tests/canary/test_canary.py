# SPDX-License-Identifier: BSD-2-Clause
"""Searches every byte that the suites left for the values they planted.

Each planted value holds $KEYTURN_CANARY, a random string of this run. It is searched as it is, in hex and in base64, in all
files under $KT_ARTIFACTS: stores, logs, audit streams, RDB, AOF, WAL, data files. A hit is a leak, unless tests/canary-exceptions
names the file and says why a value may be there.
"""
import base64
import fnmatch
import os
import pathlib
import subprocess

import pytest

ARTIFACTS = pathlib.Path(os.environ["KT_ARTIFACTS"])
CANARY = os.environ["KEYTURN_CANARY"].encode()
EXCEPTIONS = pathlib.Path(__file__).resolve().parents[1] / "canary-exceptions"


def shapes(value):
    """The strings that a file holds if it holds the value: plain, hex, and base64 at each of the three offsets."""
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for offset in range(3):
        text = base64.b64encode(b"x" * offset + value)
        # characters that depend on what stands before or after the value are left off
        yield text[(offset * 8 + 5) // 6:len(text) - 4]


def exceptions():
    """[(pattern, reason)]: lines of PATTERN, blanks, reason; # starts a comment."""
    rows = []
    for line in EXCEPTIONS.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, reason = line.split(None, 1)
            rows.append((pattern, reason))
    return rows


def search(folder, tmp_path):
    """The files below folder that hold the canary in some shape. What a test made unreadable is made readable first."""
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    patterns = tmp_path / "patterns"
    patterns.write_bytes(b"\n".join(shapes(CANARY)) + b"\n")
    result = subprocess.run(["grep", "-rlaF", "--null", "--devices=skip", "-f", patterns, "."], cwd=folder, capture_output=True,
                            env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
    patterns.unlink()
    # 2 is an error, as a file that could not be read: then nothing is proved
    assert result.returncode in (0, 1), result.stderr.decode(errors="replace")
    return [os.path.normpath(os.fsdecode(name)) for name in result.stdout.split(b"\0") if name]


def excused(path):
    return any(fnmatch.fnmatch(path, pattern) for pattern, _ in exceptions())


def folders():
    return sorted(path.name for path in ARTIFACTS.iterdir() if path.name != "canary")


@pytest.mark.parametrize("shape", range(6))
def test_search_finds_a_planted_value(shape, tmp_path):
    """The search itself works: for each shape, in the middle of other bytes."""
    folder = tmp_path / "control"
    folder.mkdir()
    planted = [b"ab" + CANARY + b"yz", b"0a" + CANARY.hex().encode(), b"0A" + CANARY.hex().upper().encode(),
               *(base64.b64encode(b"u:p"[:n] + CANARY + b"tail") for n in range(3))][shape]
    (folder / "file").write_bytes(b"\0\xff\n" + planted + b"\n\0")
    (folder / "clean").write_bytes(b"\0" + CANARY[:-1])
    assert search(folder, tmp_path) == ["file"]


def test_exceptions_have_reasons():
    assert all(len(reason) > 10 for _, reason in exceptions())


def test_there_is_something_to_search():
    assert folders(), "no suite ran before: auto/check without a part runs all"


@pytest.mark.parametrize("part", folders())
def test_no_value_in(part, tmp_path):
    target = ARTIFACTS / part
    if target.is_file():
        found = [part] if CANARY in target.read_bytes() else []
    else:
        found = [f"{part}/{path}" for path in search(target, tmp_path)]
    leaks = [path for path in found if not excused(path)]
    assert not leaks, f"{len(leaks)} files hold a planted value:\n  " + "\n  ".join(leaks[:30])

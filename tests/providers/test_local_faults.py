# SPDX-License-Identifier: BSD-2-Clause
"""The provider `local` when writing fails: each call that changes a file fails in turn, once or for good."""
import errno
import os
import pathlib
import shutil
import subprocess

import pytest

from lib.tools import integrity

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    library = tmp_path_factory.mktemp("shim") / "io.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, TOP / "tests/providers/fault/io.c", "-ldl"], check=True)
    return library


@pytest.fixture
def faulty(local, shim, tmp_path):
    """faulty(at, number, once, action...) runs an action with this fault: what came back, and how many calls there were."""
    count = tmp_path / "count"
    env = dict(local.env)

    def run(at, number, once, *args, **options):
        local.env = dict(env, LD_PRELOAD=" ".join(filter(None, (env.get("LD_PRELOAD"), str(shim)))), FAULT_AT=str(at),
                         FAULT_ERRNO=str(number), FAULT_COUNT=str(count), **({"FAULT_ONCE": "1"} if once else {}))
        count.unlink(missing_ok=True)
        try:
            done = local.call(*args, **options)
        finally:
            local.env = env
        return done, int(count.read_text()) if count.exists() else 0
    return run


@pytest.mark.parametrize("action", ["--try", "--publish"])
@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_write_that_fails_anywhere(local, faulty, number, once, action):
    _, calls = faulty(10 ** 9, number, once, "--bump", "1")
    assert calls >= 5
    statuses = set()
    for at in range(1, calls + 3):
        before = local.read()
        done, _ = faulty(at, number, once, action, "1")
        statuses.add(done.status)
        after = local.read()
        assert done.status in ("success", "nospace"), (at, done.stderr)
        if done.status == "success":
            assert after == before + 1  # acknowledged is kept
        else:
            assert after in (before, before + 1), at
            assert str(local.path) in done.text
    assert statuses == {"success", "nospace"}
    assert integrity(local.path) == "ok"


def test_a_store_is_made_whole_or_not_at_all(local, faulty):
    folder = local.path.parent / "new"
    refused = 0
    for at in range(1, 200):
        folder.mkdir()
        done, calls = faulty(at, errno.ENOSPC, False, "--create", path=folder / "new.db")
        names = {path.name for path in folder.iterdir()}
        if calls < at:
            assert done.status == "success"
            break
        refused += done.status != "success"
        assert done.status in ("success", "nospace"), (at, done.stderr)
        assert names <= {"new.db", "new.db-wal", "new.db-shm"}, (at, names)
        if "new.db" in names:
            assert integrity(folder / "new.db") == "ok"
            local.answer("--check-writing", path=folder / "new.db")
        shutil.rmtree(folder)
    assert refused > 5
    assert os.path.exists(folder / "new.db")

# SPDX-License-Identifier: BSD-2-Clause
"""What a write waits for is counted, not timed: syncs, and writes to the store's -wal."""
import re
import subprocess

SYNC = re.compile(r"\b(fsync|fdatasync|msync|sync_file_range)\(")


def trace(home, folder, *args, value):
    """The system calls of one command, a line each."""
    file = folder / "trace"
    argv = ["strace", "-f", "-o", str(file), str(home.stage.keyturn), "-c", str(home.config), *args]
    result = subprocess.run(argv, input=value, capture_output=True, env=home.env, timeout=120)
    assert result.returncode == 0, result.stderr
    return file.read_text().splitlines()


def set_again(home, folder):
    home.set("api-keys/a", b"the first value of it")
    home.set("api-keys/a", b"the second value of it")
    return trace(home, folder, "set", "api-keys/a", value=b"the third value of it")


def test_a_set_waits_for_few_syncs(home, tmp_path):
    """Intent, commit, anchor, outcome. A command is also the first and the last user of the store, so that SQLite begins -wal (its
    header and its folder) and writes it back at the end (both files)."""
    syncs = [line for line in set_again(home, tmp_path) if SYNC.search(line)]
    assert 4 <= len(syncs) <= 8, "\n".join(syncs)


def test_space_is_reserved_without_writing(home, tmp_path):
    """The next commit's space in -wal is allocated, and not filled page by page, as -shm is by SQLite (8 pages)."""
    writes = [line for line in set_again(home, tmp_path) if "pwrite64(" in line]
    assert len([line for line in writes if ", 1, " in line]) <= 8, "\n".join(writes)
    assert len(writes) < 40, "\n".join(writes)

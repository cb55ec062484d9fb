# SPDX-License-Identifier: BSD-2-Clause
"""What a write waits for is counted, not timed: syncs, and writes to the store's -wal."""
import os
import pathlib
import re
import subprocess

FRAME = 24 + 4096  # bytes of -wal for each page of a commit
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


def test_a_set_waits_for_three_syncs(home, tmp_path):
    """Intent, commit, anchor: also for a command, which is the first and the last user of the store. The outcome follows with the
    next block of the audit log, and -wal stays until it has grown."""
    syncs = [line for line in set_again(home, tmp_path) if SYNC.search(line)]
    assert len(syncs) == 3, "\n".join(syncs)


def syncs_of(home, folder, case, times):
    """Of the whole process, whichever thread makes them."""
    home.set("api-keys/other", b"a value")
    home.destroy("api-keys/other")  # so that -wal is empty
    calls_of(home, folder, case, times)
    return len(SYNC.findall((folder / "trace").read_text()))


def test_a_process_that_goes_on_waits_for_three_syncs(home, tmp_path):
    """What 20 of them need more than 10."""
    home.set("api-keys/k0000000", b"a value")
    few, many = syncs_of(home, tmp_path, "set", 10), syncs_of(home, tmp_path, "set", 20)
    assert many - few == 30, (few, many)


def test_a_process_with_a_thread_waits_for_two(home, tmp_path):
    """Its thread syncs the anchors, once a second and at the end; until then a byte of the lock says that they are not synced."""
    home.set("api-keys/k0000000", b"a value")
    few, many = syncs_of(home, tmp_path, "served", 10), syncs_of(home, tmp_path, "served", 40)
    lines = (tmp_path / "trace").read_text().splitlines()
    assert 60 <= many - few <= 66, (few, many)
    assert any(re.search(r"ftruncate\(\d+, 1\)", line) for line in lines)
    assert len({line.split()[0] for line in lines if SYNC.search(line)}) == 2, "one of the two threads syncs nothing"
    locks = list(home.dir.glob("**/anchors/*/.lock"))
    assert locks and all(lock.stat().st_size == 0 for lock in locks)
    assert home.run("verify").returncode == 0


def test_what_is_destroyed_leaves_both_files(home):
    """-wal keeps older contents of the store's pages, and is emptied after something was erased."""
    wal = home.store.with_name(home.store.name + "-wal")
    home.set("api-keys/a", b"a value that was put first")
    home.set("api-keys/a", b"a value that came after it")
    assert wal.stat().st_size > 0
    home.destroy("api-keys/a", 1)
    assert wal.stat().st_size == 0
    home.set("api-keys/a", b"a value that came after it")
    home.destroy("api-keys/a")
    assert wal.stat().st_size == 0


def test_the_database_is_whole_without_wal(home):
    """A copy of the one file has all that was written, and so has a store whose -wal was deleted."""
    for value in b"one", b"two", b"three":
        home.set("api-keys/a", value)
    for end in "-wal", "-shm":
        home.store.with_name(home.store.name + end).unlink()
    assert home.get("api-keys/a") == b"three"
    home.set("api-keys/a", b"four")
    assert home.get("api-keys/a") == b"four"


def test_wal_does_not_grow_without_end(home):
    """Each command adds some pages to it; at 1 MiB it is emptied."""
    wal, sizes = home.store.with_name(home.store.name + "-wal"), []
    for number in range(45):
        home.set("api-keys/a", b"x" * 20000 + str(number).encode())
        sizes.append(wal.stat().st_size)
    assert max(sizes) <= 1048576 + 200000
    assert 0 in sizes
    assert home.get("api-keys/a").endswith(b"44")


def test_space_is_reserved_without_writing(home, tmp_path):
    """The next commit's space in -wal is allocated, and not filled page by page, as -shm is by SQLite (8 pages)."""
    writes = [line for line in set_again(home, tmp_path) if "pwrite64(" in line]
    assert len([line for line in writes if ", 1, " in line]) <= 8, "\n".join(writes)
    assert len(writes) < 40, "\n".join(writes)


def test_a_process_that_goes_on_reserves_ahead(home, tmp_path):
    """Space for the next commit is asked for at some commits, not at each: that costs as much as a write of all its pages."""
    home.set("api-keys/k0000000", b"a value")
    program = [str(pathlib.Path(os.environ["KT_TEST_BIN"]) / "bench/inside_counts"), "set", "40"]
    subprocess.run(["strace", "-f", "-o", str(tmp_path / "trace"), *program, str(home.dir)], check=True, capture_output=True,
                   env=home.env, timeout=120)
    asked = (tmp_path / "trace").read_text().count("fallocate(")
    assert 0 < asked <= 15, asked


def calls_of(home, folder, case, times):
    """The system calls of a process that does something so often, but for those of its dynamic linker and allocator."""
    program = str(pathlib.Path(os.environ["KT_TEST_BIN"]) / "bench/inside_counts")
    subprocess.run(["strace", "-f", "-o", str(folder / "trace"), program, case, str(times), str(home.dir)], check=True,
                   capture_output=True, env=home.env, timeout=120)
    names = re.findall(r"^\d+ +(\w+)\(", (folder / "trace").read_text(), re.M)
    return [name for name in names if name not in ("brk", "mmap", "munmap", "madvise", "futex")]


def test_a_process_that_goes_on_makes_few_calls_for_a_set(home, tmp_path):
    """What is looked at twice, or opened for each change, costs as much as a sync in the end: it was 96 calls."""
    home.set("api-keys/k0000000", b"a value")
    calls_of(home, tmp_path, "set", 20)
    few, many = calls_of(home, tmp_path, "set", 20), calls_of(home, tmp_path, "set", 60)
    assert len(many) - len(few) <= 40 * 50, {name: (many.count(name) - few.count(name)) / 40 for name in set(many)}
    assert many.count("openat") - few.count("openat") <= 12


def test_a_process_that_reads_on_makes_two_calls_for_a_read(home, tmp_path):
    """SQLite's lock and its end. Whether any anchor changed is asked when something was committed, and some times a second."""
    home.set("api-keys/k0000000", b"a value")
    home.config.write_text(home.config.read_text() + "\ncache: {ttl: 0s, negative: 0s, stale: 0s}\n")
    (home.dir / "names").write_text(f"api-keys/k0000000 {'0' * 64}\n")
    few, many = calls_of(home, tmp_path, "read", 200), calls_of(home, tmp_path, "read", 1200)
    counts = {name: (many.count(name) - few.count(name)) / 1000 for name in set(many)}
    assert sum(counts.values()) <= 2.2, counts


def test_few_commits_make_wal_longer(home, tmp_path):
    """A sync of a file that became longer writes the file system's journal too, and takes half as long again."""
    home.set("api-keys/k0000000", b"a value")
    calls_of(home, tmp_path, "set", 60)
    lines = (tmp_path / "trace").read_text().splitlines()
    writes = re.findall(r"pwrite64\((\d+), .*, (\d+), \d+\) =", "\n".join(lines))
    wal = next(file for file, size in writes if int(size) % FRAME == 0)  # nothing else is written in such pieces
    end = longest = commits = grown = 0
    for line in lines:
        write = re.search(rf"pwrite64\({wal}, .*, (\d+), (\d+)\) =", line)
        end = max(end, int(write[1]) + int(write[2])) if write else end
        if re.search(rf"fdatasync\({wal}\)", line):
            commits, grown, longest = commits + 1, grown + (end > longest), end
    assert commits >= 60 and 0 < grown <= commits / 3, (grown, commits)

# SPDX-License-Identifier: BSD-2-Clause
"""How many instructions the hot paths take, counted by callgrind: a machine with other work to do counts the same.

Only the thread that works is counted, and only in the function counted() of tests/bench/inside_counts.c. valgrind shows programs
a CPU with AVX2 at most, if the machine has that; libsodium and the C library choose their code by it. So a limit is a ratio to
what libsodium does by itself wherever there is such a thing, and a number of instructions has a little room. The goals are those of
`auto/bench core`; a limit that is above its goal is what the code takes now, so that it gets no worse.
"""
import os
import pathlib
import re
import resource
import subprocess
import sys

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])

sys.path.insert(0, str(TOP / "tests/bench"))
import bench  # noqa: E402


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return bench.Bench(quick=True, folder=tmp_path_factory.mktemp("counts"))


@pytest.fixture(scope="module")
def count(work):
    """count(case, times): the instructions of one of them. Each case is counted once."""
    stores, counts = {"read": work.store(100, cached=False), "lines": work.store(50, cached=True)}, {}
    stores |= {"row": stores["read"], "first": stores["read"]}
    others = work.store(100, cached=True)

    def run(case, times):
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={work.folder / case}", "--toggle-collect=counted",
                   work.programs / "inside_counts", case, times, stores.get(case, others)]
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        return int(re.search(r"Collected : (\d+)", result.stderr)[1]) / times

    def remember(case):
        if case not in counts:
            counts[case] = run(case, TIMES.get(case, 200))
        return counts[case]
    return remember


# a line has a share of its block, so several blocks are counted; the ring takes 200 records without a drain; `lines` reads all lines
# of a log that no other case writes
TIMES = {"line": 2000, "lines": 2000, "read": 1000, "first": 99, "row": 1000}
# the case, its limit in instructions, the counterpart, its limit against that
LIMITS = [
    ("cached", 1300, "open", 0.33),
    ("turns", 1380, "open", 0.35),
    ("ring", 785, "hash", 0.30),
    ("line", 4100, "hash", 1.55),
    ("lines", 750, "hash", 0.30),
    ("read", 22000, "row", 3.1),
    ("first", 48000, "row", 6.5),
    ("set", 320000, "hash", 130),
]


@pytest.mark.parametrize("case, most, against, ratio", LIMITS, ids=[limit[0] for limit in LIMITS])
def test_instructions(count, case, most, against, ratio):
    spent, theirs = count(case), count(against)
    assert spent <= most
    assert spent / theirs <= ratio, f"{spent:.0f} against {theirs:.0f}"


def test_unknown_and_wrong_are_the_same_work(count):
    """A client that tries names cannot tell from the time whether one exists: 2 % are a few hundred nanoseconds of some microseconds."""
    wrong, unknown = count("wrong"), count("unknown")
    assert abs(wrong / unknown - 1) <= 0.02, f"{wrong:.0f} against {unknown:.0f}"


def test_pages_of_a_store_are_read_once(work, tmp_path):
    """10,000 secrets in no order, each read twice. They were 38,300 reads."""
    store, program = work.store(10000, cached=False), work.programs / "inside_counts"
    subprocess.run(["strace", "-f", "-e", "trace=pread64", "-o", str(tmp_path / "trace"), str(program), "read", "10000", str(store)],
                   check=True, timeout=120)
    reads, pages = (tmp_path / "trace").read_text().count("pread64("), (store / "test.db").stat().st_size // 4096
    assert pages < 2000 and reads <= pages + 300, f"{reads} reads of {pages} pages"


def test_what_is_remembered_lies_in_few_pages(work):
    """20,000 reads of any of 10,000 secrets touched 20,900 pages of memory for the first time, and touch half of that."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    work.measure("measure_read", 10, 1000, work.store(10000, cached=False))
    faults = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before
    assert faults <= 13000, faults

# SPDX-License-Identifier: BSD-2-Clause
"""The fuzz targets build, and run briefly from their corpora under ASan and UBSan. If you change a parser, fuzz it for minutes."""
import os
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
TARGETS = sorted(path.stem for path in (TOP / "tests/fuzz").glob("fuzz_*.c"))
RUNS = 1000


def run(*argv, **more):
    return subprocess.run([str(arg) for arg in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "b"
    for argv in ([TOP / "configure", f"--builddir={folder}", "--without-nginx", "--without-redis", "--without-postgresql"],
                 ["make", "-s", "-j2", f"BUILD={folder}", "fuzzers"]):
        done = run(*argv, cwd=TOP)
        assert done.returncode == 0, done.stdout
    return folder / "tests/fuzz"


def without_randomisation():
    """clang 14's AddressSanitizer does not find its place where a kernel puts things too far apart (vm.mmap_rnd_bits above 28)."""
    prefix = ["setarch", "-R"]
    return prefix if run(*prefix, "true").returncode == 0 else []


@pytest.mark.parametrize("target", TARGETS)
def test_fuzzer(built, tmp_path, target):
    """Inputs that it finds go to a folder of the test's own."""
    corpus = TOP / "tests/fuzz/corpus" / target.removeprefix("fuzz_")
    done = run(*without_randomisation(), built / target, f"-runs={RUNS}", "-seed=1", "-max_len=4096", f"-artifact_prefix={tmp_path}/",
               tmp_path, corpus, timeout=120)
    assert done.returncode == 0, done.stdout
    assert f"Done {RUNS} runs" in done.stdout


def test_each_parser_has_kept_inputs():
    """Which are replayed by the unit tests, by a row of their table."""
    text = (TOP / "tests/unit/test_fuzz.c").read_text()
    assert len(TARGETS) > 8
    for target in TARGETS:
        name = target.removeprefix("fuzz_")
        assert f'{{"{name}", {target}}}' in text
        assert len(list((TOP / "tests/fuzz/corpus" / name).iterdir())) >= 5

# SPDX-License-Identifier: BSD-2-Clause
"""auto/mutate: which changes it makes, and that it leaves the tree as it was."""
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import subprocess

TOP = pathlib.Path(os.environ["KT_TOP"])
SOURCE = '''/* a == b */
static int limit = 0;

int f(int a)
{
    /* a < b */
    if (a < 10 && a != 0)
        g("a == b", a);
    return a + 2;
}
'''
CHANGES = {
    (7, "< becomes <=", "    if (a <= 10 && a != 0)"),
    (7, "&& becomes ||", "    if (a < 10 || a != 0)"),
    (7, "!= becomes ==", "    if (a < 10 && a == 0)"),
    (7, "0 becomes 1", "    if (a < 10 && a != 1)"),
    (7, "negated", "    if (!(a < 10 && a != 0))"),
    (8, "left out", "        ;"),
    (9, "+ becomes -", "    return a - 2;"),
    (9, "returns 0", "    return 0;"),
}


def module():
    loader = importlib.machinery.SourceFileLoader("mutate", str(TOP / "auto/mutate"))
    loaded = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutate", loader))
    loader.exec_module(loaded)
    return loaded


def test_code_is_changed_and_nothing_else():
    mutants = module().mutants_of(pathlib.Path("f.c"), SOURCE)
    assert {(mutant.line, mutant.what, mutant.new[0]) for mutant in mutants} == CHANGES
    assert all(mutant.text != SOURCE for mutant in mutants)


def state():
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (TOP / "core").rglob("*") if path.is_file()}


def test_mutants_are_tried_and_the_tree_stays_as_it_was(tmp_path):
    before = state()
    result = subprocess.run([TOP / "auto/mutate", "core/value", "--file", "shape.c", "--limit", "2", "--near"], capture_output=True,
                            text=True, timeout=400, env=os.environ | {"TMPDIR": str(tmp_path)})
    counts = re.fullmatch(r"2 mutants: (\d) killed, (\d) survived, (\d) do not compile", result.stdout.splitlines()[-1])
    assert counts and sum(map(int, counts.groups())) == 2, result.stdout + result.stderr
    assert int(counts[1]) > 0 and result.returncode == (counts[2] != "0")
    assert state() == before and not list(tmp_path.iterdir())
    assert "fails without a mutant" not in result.stdout


def test_what_it_does_not_know():
    for arguments in (["core"], ["cli"], ["core/value", "--file", "none.c"]):
        assert subprocess.run([TOP / "auto/mutate", *arguments], capture_output=True, timeout=60).returncode == 2

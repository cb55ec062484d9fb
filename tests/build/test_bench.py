# SPDX-License-Identifier: BSD-2-Clause
"""auto/bench: what it prints and writes is as it says. No timing is judged here."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
PROGRAMS = pathlib.Path(os.environ["KT_TEST_BIN"])
KEYS = {"row", "value", "unit", "against", "ratio", "spread", "goal", "met"}

sys.path.insert(0, str(TOP / "tests/bench"))
import bench  # noqa: E402


def run(*args, top=TOP, **env):
    return subprocess.run([sys.executable, str(top / "tests/bench/bench.py"), *map(str, args)], capture_output=True, text=True, timeout=240,
                          env=os.environ | env)


@pytest.fixture(scope="module", params=["core", "nginx", "postgresql", "redis"])
def measured(request, tmp_path_factory):
    """A quick run of a part: the result, and what it wrote."""
    file = tmp_path_factory.mktemp("bench") / "rows.json"
    result = run(request.param, "--quick", "--json", file)
    return result, json.loads(file.read_text())


def test_every_row_is_measured(measured):
    result, written = measured
    assert result.returncode == 0, result.stdout + result.stderr
    assert list(written) == ["rows"] and written["rows"]
    for row in written["rows"]:
        assert set(row) == KEYS
        assert isinstance(row["value"], (int, float)) and row["unit"]
        assert (row["against"] is None) == (row["ratio"] is None)
        assert (row["goal"] is None) == (row["met"] is None)
        assert len(row["spread"]) == 2 and row["spread"][0] <= row["spread"][1]


def test_one_line_a_row(measured):
    result, written = measured
    lines = result.stdout.splitlines()
    assert len(lines) == len(written["rows"])
    for line, row in zip(lines, written["rows"]):
        assert line.startswith(row["row"]) and row["unit"] in line


def test_a_goal_that_is_missed_is_not_a_failure():
    row = bench.Row("r", "a", "ns", goal=bench.at_most(10))
    assert bench.evaluate(row, {"a": [9, 11, 12]})["met"] is False
    assert bench.evaluate(row, {"a": [9, 10, 12]})["met"] is True
    least = bench.Row("r", "a", "ns", ("b", "b"), bench.at_least(0.95))
    assert bench.evaluate(least, {"a": [9.4], "b": [10]})["met"] is False
    assert bench.evaluate(least, {"a": [9.5], "b": [10]})["met"] is True


def test_ratios_are_of_neighbours():
    """A machine that is ten times slower for a while changes no ratio; medians of each side would."""
    samples = {"a": [20, 200, 2000, 22, 21], "b": [10, 100, 1000, 10, 10]}
    result = bench.evaluate(bench.Row("r", "a", "ns", ("b", "other"), bench.at_most(2)), samples)
    assert result["ratio"] == 2 and result["spread"] == [2, 2.1] and result["met"] is True
    assert result["value"] == 22 and result["against"] == "other: 10 ns"


@pytest.mark.parametrize("number, text", [(0, "0"), (0.01234, "0.0123"), (2.345, "2.35"), (999.4, "999"), (1234, "1,230"), (3214567, "3,210,000")])
def test_numbers_are_short(number, text):
    assert bench.number_text(number) == text


def test_what_could_not_run_is_said(tmp_path):
    """All programs but one: its rows say why, the others are measured, and the run has failed."""
    (tmp_path / "bench").mkdir()
    for program in (PROGRAMS / "bench").iterdir():
        if program.name != "inside_seal":
            (tmp_path / "bench" / program.name).symlink_to(program)
    result = run("core", "--quick", "--json", tmp_path / "rows.json", KT_TEST_BIN=str(tmp_path))
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert result.returncode == 1
    assert "did not run: " in result.stdout
    failed = [row for row in rows if row["value"] is None]
    assert failed and all("seal" in row["row"] or "open" in row["row"] for row in failed)
    assert all("inside_seal" in row["error"] and row["met"] is None for row in failed)
    assert len(failed) < len(rows)


PART = '''
from bench import Group, Row, at_most

def groups(bench):
    return [Group(lambda bench: {"a": [1, 2, 3]}, [Row("a row", "a", "ns", goal=at_most(2)), Row("another", "a", "ns")])]

def plot(bench, samples, results):
    import svg
    picture = svg.Svg(800, 200)
    svg.lines(picture, 0, 0, 800, 120, "<title>", "x", [("a", [(1, 1), (10, 5)])])
    svg.goals(picture, 0, 120, 800, results)
    return str(picture)
'''


@pytest.fixture
def tree(tmp_path):
    """A tree with one more part."""
    for folder in ("tests/bench", "tests/lib"):
        shutil.copytree(TOP / folder, tmp_path / folder)
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests/bench/part_toy.py").write_text(PART)
    (tmp_path / "docs/benchmarks.md").write_text("before\n<!-- bench toy -->\nold\n<!-- end of bench toy -->\nafter\n")
    return tmp_path


def test_a_part_is_one_file(tree):
    result = run("toy", top=tree)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_figures_are_published(tree):
    assert run("toy", "--publish", top=tree).returncode == 0
    page = (tree / "docs/benchmarks.md").read_text()
    assert page.startswith("before\n<!-- bench toy -->\n| what ") and page.endswith("<!-- end of bench toy -->\nafter\n")
    assert "old" not in page and "| a row | 2 ns" in page and "another" in page and " core" in page and "](bench/toy.svg)" in page
    xml.etree.ElementTree.parse(tree / "docs/bench/toy.svg")


def test_figures_without_a_place_are_an_error(tree):
    (tree / "docs/benchmarks.md").write_text("no place\n")
    result = run("toy", "--publish", top=tree)
    assert result.returncode == 1 and "benchmarks.md has no place" in result.stderr


def test_no_such_part(tree):
    result = run("toi", top=tree)
    assert result.returncode == 2 and "did you mean toy" in result.stderr


def test_the_documents_have_the_committed_plot():
    xml.etree.ElementTree.parse(TOP / "docs/bench/core.svg")
    assert "bench core" not in (TOP / "README.md").read_text()
    assert "(bench/core.svg)" in (TOP / "docs/benchmarks.md").read_text()

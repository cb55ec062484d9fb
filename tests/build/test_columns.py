# SPDX-License-Identifier: BSD-2-Clause
"""No line of C is wider than 100 columns. A column is a character: a figure's arrow counts once, not three bytes."""
import os
import pathlib

TOP = pathlib.Path(os.environ["KT_TOP"])
COLUMNS = 100
FROZEN = "tests/abi/1.0"  # the published ABI, kept as it was released


def sources():
    """Every C source and header of the tree; generated ones are in build folders, which are left out."""
    made = {path.parent for path in TOP.glob("*/config.mk")} | {path.parent for path in TOP.glob("*/*/config.mk")}
    for path in sorted(TOP.rglob("*.[ch]")):
        folders = set(path.parents)
        if TOP / FROZEN in folders or folders & made or any(part.startswith(".") for part in path.relative_to(TOP).parts):
            continue
        yield path


def too_wide(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return [f"{path}:{number}: {len(line)}"
            for number, line in enumerate(lines, 1) if len(line) > COLUMNS]


def test_a_wide_line_is_found(tmp_path):
    path = tmp_path / "wide.c"
    path.write_text("/* " + "─" * (COLUMNS - 6) + " */\n/* " + "x" * (COLUMNS - 5) + " */\n", encoding="utf-8")
    assert too_wide(path) == [f"{path}:2: {COLUMNS + 1}"]


def test_no_line_of_c_is_over_100_columns():
    found = list(sources())
    assert len(found) > 200
    assert [line for path in found for line in too_wide(path)] == []

# SPDX-License-Identifier: BSD-2-Clause
"""Files and functions of C stay small enough to read: at most 600 lines a file, and 60 lines a function."""
import os
import pathlib

import pytest

TOP = pathlib.Path(os.environ.get("KT_TOP") or pathlib.Path(__file__).resolve().parents[2])
FOLDERS = ["core", "cli", "modules", "nginx", "redis-module", "postgresql"]
FILE, FUNCTION = 600, 60


def functions(text):
    """(first line, lines between the braces) of each body: only a body's braces stand alone in the first column, in every style here."""
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            yield start, number - start - 1
            start = None


def too_long(path, text):
    """What is too long in this file."""
    lines = text.count("\n")
    found = [f"{path}: {lines} lines"] if lines > FILE else []
    return found + [f"{path}:{line}: a function of {size} lines" for line, size in functions(text) if size > FUNCTION]


def test_files_and_functions_are_short():
    paths = [path for folder in FOLDERS for path in sorted((TOP / folder).rglob("*.c"))]
    bodies = {path: len(list(functions(path.read_text()))) for path in paths}
    assert len(paths) > 150 and sum(bodies.values()) > 10 * len(paths)
    assert [found for path in paths for found in too_long(path.relative_to(TOP), path.read_text())] == []


@pytest.mark.parametrize("lines, found", [(FUNCTION, 0), (FUNCTION + 1, 1)])
def test_a_long_function_is_found(lines, found):
    text = "static int\nwork(void)\n{\n" + "    {\n    }\n" * (lines // 2) + "    ;\n" * (lines % 2) + "}\n"
    assert len(too_long("a.c", text)) == found


@pytest.mark.parametrize("lines, found", [(FILE, 0), (FILE + 1, 1)])
def test_a_long_file_is_found(lines, found):
    assert len(too_long("a.c", "int x;\n" * lines)) == found

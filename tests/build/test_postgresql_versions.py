# SPDX-License-Identifier: BSD-2-Clause
"""The extension compiles against each PostgreSQL from 13 to 18 without a warning. auto/root gets the headers from Debian's packages."""
import os
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
HEADERS = pathlib.Path(os.environ.get("KT_PG_HEADERS", TOP.parent / "headers"))    # auto/check copies them there

# what PostgreSQL itself is compiled with, -Wall apart
WARNINGS = ["-Wall", "-Wmissing-prototypes", "-Wpointer-arith", "-Wdeclaration-after-statement", "-Wvla", "-Wendif-labels",
            "-Wmissing-format-attribute", "-Wimplicit-fallthrough=3", "-Wcast-function-type", "-Wshadow=compatible-local",
            "-Wformat-security", "-Werror"]


def headers(number):
    own = pathlib.Path(subprocess.run(["pg_config", "--includedir-server"], capture_output=True, text=True,
                                      check=True).stdout.strip())
    for folder in (HEADERS / str(number), own):
        if (folder / "postgres.h").is_file() and f"PG_MAJORVERSION_NUM {number}\n" in "".join(
                path.read_text() for path in folder.glob("pg_config*.h")):
            return folder
    pytest.skip(f"counterpart: no headers of PostgreSQL {number} here: Debian has packages of 13, 15, 17 and 18 (auto/root --headers)")


@pytest.fixture
def compiled(tmp_path):
    """compiled(folder): the errors of all files. Debian 12's C library lacks two functions that the headers of later releases expect."""
    later = tmp_path / "later.h"
    later.write_text("#include <stddef.h>\nsize_t strlcpy(char *, const char *, size_t);\nsize_t strlcat(char *, const char *, size_t);\n")
    return lambda folder, *more: compile_all(folder, "-include", str(later), *more)


def compile_all(folder, *more):
    errors = []
    for path in sorted((TOP / "postgresql/src").glob("*.c")):
        result = subprocess.run(["gcc", "-fsyntax-only", "-std=gnu99", "-O2", *WARNINGS, *more, f"-I{TOP / 'core/include'}",
                                 f"-I{folder}", "-D_GNU_SOURCE", "-DKT_DEBUG_HOOKS", str(path)],
                                capture_output=True, text=True, timeout=60)
        if result.returncode != 0:
            errors.append(result.stderr)
    return "".join(errors)


@pytest.mark.parametrize("number", range(13, 19))
def test_no_warning(compiled, number):
    assert compiled(headers(number)) == ""


def test_a_warning_is_found(compiled):
    assert compiled(headers(15), "-DKTPG_VERIFIER_SIZE=1") != ""

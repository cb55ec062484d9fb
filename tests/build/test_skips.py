# SPDX-License-Identifier: BSD-2-Clause
"""A test that did not run does not count as passed: auto/check says so, and no unit test returns before it asserts."""
import os
import pathlib
import re
import subprocess
import types

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
TEST = re.compile(r"START_TEST\((\w+)\)\n\{\n(.*?)\n\}\nEND_TEST", re.S)


def silent_returns(text):
    """Tests that return before the first assertion: Check counts them as passed."""
    return [name for name, body in TEST.findall(text) if "assert" not in body.split("return;")[0] and "return;" in body]


def test_a_silent_return_is_found():
    text = "START_TEST(a)\n{\n    %s\n    if (x)\n        return;\n    ck_assert(y);\n}\nEND_TEST\n"
    assert silent_returns(text % "int x;") == ["a"]
    assert silent_returns(text % "assert_ok(x);") == []


def test_no_unit_test_returns_before_it_asserts():
    files = list((TOP / "tests/unit").rglob("*.c"))
    assert sum(len(TEST.findall(path.read_text())) for path in files) > 400
    assert {path.name: names for path in files if (names := silent_returns(path.read_text()))} == {}


@pytest.fixture
def check(tmp_path):
    """auto/check over a staged folder in which everything passes; the tests add what does not."""
    for folder in ("src/tests/abi", "bin/unit", "bin/tsan", "home", "tmp", "artifacts", "reports"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "env.sh").write_text("")

    def program(name, *lines):
        path = tmp_path / "bin" / name
        path.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        path.chmod(0o755)

    def run(part):
        result = subprocess.run([TOP / "auto/check", "--inside", tmp_path, part], capture_output=True, text=True, timeout=120)
        return result.returncode, result.stdout

    program("tsan/race", "WARNING: ThreadSanitizer: data race")
    program("tsan/test_a", "100%: Checks: 1, Failures: 0, Errors: 0")
    return types.SimpleNamespace(program=program, run=run, folder=tmp_path)


@pytest.mark.parametrize("lines, status, counts", [
    (["100%: Checks: 3, Failures: 0, Errors: 0"], 0, "5 passed, 0 failed, 0 skipped"),
    (["SKIPPED a_test_fn: needs hooks", "100%: Checks: 3, Failures: 0, Errors: 0"], 1, "4 passed, 1 failed, 0 skipped"),
])
def test_a_skip_of_a_unit_program_is_a_failure(check, lines, status, counts):
    check.program("unit/test_b", *lines)
    code, output = check.run("unit")
    assert f"unit: {counts}" in output and code == status, output


@pytest.mark.parametrize("reason, status, counts", [
    ("needs groff", 1, "1 passed, 1 failed, 0 skipped"),
    ("counterpart: no such server here", 0, "1 passed, 0 failed, 1 skipped"),
])
def test_a_skip_of_pytest_is_a_failure_unless_it_names_a_counterpart(check, reason, status, counts):
    (check.folder / "src/tests/abi/test_a.py").write_text(
        f"import pytest\n\n\ndef test_a():\n    pytest.skip('{reason}')\n\n\ndef test_b():\n    pass\n")
    code, output = check.run("abi")
    assert f"abi: {counts}" in output and code == status, output


@pytest.mark.parametrize("report, code, counts", [
    ("", 0, "2 passed, 0 failed, 0 skipped"),
    ("ERROR: AddressSanitizer: heap-use-after-free", 1, "2 passed, 1 failed, 0 skipped"),
])
def test_a_report_of_a_sanitizer_is_a_failure(check, report, code, counts):
    """Also of a process that nginx replaces, so that no test fails by it."""
    for folder in ("asan/unit", "src/tests/nginx"):
        (check.folder / folder).mkdir(parents=True)
    (check.folder / "asan/env.sh").write_text("export KT_NGINX='/usr/sbin/nginx'\n")
    check.program("../asan/unit/test_b", "100%: Checks: 1, Failures: 0, Errors: 0")
    (check.folder / "src/tests/nginx/test_a.py").write_text(
        "import os\n\n\ndef test_a():\n    path = os.environ['KT_ASAN_OPTIONS'].split('log_path=')[1]\n"
        f"    assert os.environ['KT_NGINX'] and 'libasan' in os.environ['KT_PRELOAD']\n    text = '{report}'\n"
        "    if text:\n        open(f'{path}.17', 'w').write(text)\n")
    status, output = check.run("asan")
    assert f"asan: {counts}" in output and status == code, output
    assert report in output

# SPDX-License-Identifier: BSD-2-Clause
"""A number and its noun agree, in what is printed: a count is never 1 by luck only."""
import re

import pytest

from build.test_words import TOP, of_c, printed

FOLDERS = ["core", "cli", "modules", "nginx", "redis-module", "postgresql"]
NUMBER = r"%[-0-9*.]*(?:ll|l|z|j|X)?[udi]\b"
# a limit, which is a constant greater than one; units, verbs, and `times`, which stands where there are several
LIMIT = re.compile(r"(?:more than|at most|at least|less than|over|up to|to|must be|has|under|smaller than|larger than|only) $")
UNITS = {"s", "ms", "bytes", "is", "was", "has", "goes", "says", "needs", "follows", "passes", "matches", "allows", "times"}


def disagreements(text):
    """Counts of this C source before a noun that is always plural: `%u secrets`."""
    text = re.sub(r'" ?PRI([a-zA-Z0-9]+) ?"', "u", text)
    text = re.sub(r"errmsg_plural\((?:[^()]|\([^()]*\))*\)", lambda match: "\n" * match[0].count("\n"), text)
    for line, literal in of_c(text):
        for match in re.finditer(rf"{NUMBER} (?:(?:more|older|other|type|audit|received) )?([a-z]+s)\b", literal):
            if match[1] not in UNITS and not LIMIT.search(literal[:match.start()]):
                yield f"{line}: {match[0]}"


def test_no_count_stands_before_a_fixed_plural():
    paths = [path for folder in FOLDERS for path in sorted((TOP / folder).rglob("*.[ch]"))]
    assert len(paths) > 200
    assert [f"{path.relative_to(TOP)}:{found}" for path in paths for found in disagreements(path.read_text())] == []


@pytest.mark.parametrize("text", ['"%u secrets moved"', '"%" PRIu64 " rows are"', '"%llu more secrets"', '"%zu of %zu entries"', '"found %d type keys"'])
def test_a_fixed_plural_is_found(text):
    assert len(list(disagreements(f"f({text}, n);\n"))) == 1


@pytest.mark.parametrize("text", ['"more than %u secrets"', '"a key has %u bytes"', '"%u %s moved"', '"for %u s"', 'errmsg_plural("%u secret", "%u secrets", n, n)'])
def test_what_agrees_is_left_alone(text):
    assert list(disagreements(f"f({text}, n);\n")) == []


ONE = re.compile(r"(?<![\d.@:-])1 (?:more |older |other |type |audit |received )?(?!s\b|is\b|was\b|has\b|bytes\b|days\b)[a-z]+s\b")


def test_what_the_command_prints_of_one(kt, home, tmp_path):
    """A store of one secret with one version, one file of anything, one warning."""
    said = []
    home.run("set", "api-keys/one", input=b"short", check=False)
    home.run("backup", tmp_path / "backup")
    for words in (["list"], ["restore", "--check", tmp_path / "backup"], ["rekey", "--status"], ["check", "--secrets"], ["audit", "verify"],
                  ["audit", "report"], ["verify"]):
        done = home.run(*words, check=False)
        said.append((str(words[0]), (done.stdout + done.stderr).decode()))
    said += printed(kt, home)
    assert [(command, found[0]) for command, text in said for found in ONE.finditer(text)] == []
    assert any("1 " in text for _, text in said)

# SPDX-License-Identifier: BSD-2-Clause
"""keyturn-audit(5) describes each field, action, status and mark that the sources have, and its commands work."""
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
PAGE = (TOP / "cli/keyturn-audit.5").read_text()

# Each place where an action is named: the text up to the end of the statement, and of its strings those that are actions.
CALLS = re.compile(r"\b(?:kt_decide|kt_write_begin|kt_write_finish|kt_admin_begin|record_failure|record_notice|authorize|kt_authorize)\("
                   r"([^;{]*);")
PLACES = (re.compile(r'\.action = "([a-z.]+)"'), re.compile(r'\\"action\\":\\"([a-z.]+)\\"'),
          re.compile(r'\b(?:kt_write_op_t|last_step_t) \w+ = \{"([a-z.]+)"'))
CAPABILITIES = {"read", "write", "rotate", "list", "delete", "admin", "state"}


def sources():
    for folder in ("core", "redis-module", "postgresql", "nginx"):
        yield from sorted((TOP / folder).rglob("*.c"))


def actions():
    found = set()
    for path in sources():
        text = path.read_text()
        for place in PLACES:
            found.update(place.findall(text))
        for call in CALLS.findall(text):
            words = re.findall(r'"([a-z]+(?:\.[a-z]+)*)"', call)
            # a capability stands before the action that needs it
            found.update(words[1:] if "authorize" in text and len(words) == 2 and words[0] in CAPABILITIES else words)
    return found


def section(title):
    return PAGE.split(f".Sh {title}\n")[1].split("\n.Sh ")[0]


def items(text):
    """The words of the lists in a part of the page, each with a text of its own after it."""
    found = set()
    for words, after in re.findall(r"^\.It (Cm .*)\n(.*)", text, re.M):
        assert after and not after.startswith((".It", ".El")), words
        found.update(re.findall(r"Cm ([\w.-]+)", words))
    return found


def test_fields():
    rows = re.findall(r'^    (?:TEXT|NUMBER|FLAG|LINE)\(\w+, "(\w+)"', (TOP / "core/audit/fields.h").read_text(), re.M)
    decision = section("LINES").split(".Ss A decision\n")[1].split(".Ss ")[0]
    assert len(rows) >= 18
    told = re.findall(r"^\.It Cm (\w+)", decision, re.M)
    assert told == ["time", "boot", "stream", "seq", *rows], "in the order of a line"


def test_other_keys_of_lines():
    """Also what line.c and seal.c put into a line."""
    text = (TOP / "core/audit/line.c").read_text() + (TOP / "core/audit/seal.c").read_text()
    keys = set(re.findall(r'put_(?:number|hex|word|some|text)\(lines, "(\w+)"', text)) | set(re.findall(r'\\"(\w+)\\":', text))
    assert len(keys) >= 15
    missing = {key for key in keys if not re.search(rf"\b{key}\b", PAGE)}
    assert not missing


def test_actions():
    assert len(actions()) >= 28
    assert items(section("ACTIONS")) == actions()


def test_statuses():
    rows = re.findall(r'^    \[KT_\w+\] = \{"(\w+)",', (TOP / "core/base/status.c").read_text(), re.M)
    assert len(rows) >= 20
    assert items(section("STATUSES")) == {*rows, "intent"}


def test_marks():
    rows = re.findall(r'^    \{KT_LINE_\w+, "([a-z-]+)"\}', (TOP / "cli/lib/trail.c").read_text(), re.M)
    assert len(rows) >= 4
    assert items(section("MARKS")) == set(rows)


def test_files(home):
    """What a stream's folder has after a write and a read is in the page."""
    home.set("api-keys/stripe", "Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c")
    home.get("api-keys/stripe")
    told = set(re.findall(r"^\.It Pa (\w+)$", section("FILES"), re.M))
    folder = next(home.audit.glob("cli-*"))
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} <= told


def test_examples(kt, home):
    home.set("api-keys/stripe", "Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c")
    home.get("api-keys/stripe")
    blocks = re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed$", section("EXAMPLES"), re.M | re.S)
    commands = [block for block in blocks if not block.startswith("{")]
    assert len(commands) >= 3
    script = "".join(commands).replace("\\e", "\\").replace("/var/log/keyturn", str(home.audit))
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, cwd=home.dir,
                            env={**kt.environment(KEYTURN_CONFIG=home.config), "PATH": f"{kt.keyturn.parent}:{os.environ['PATH']}"})
    assert result.returncode == 0, result.stderr
    assert '"action":"write"' in result.stdout and " read " in result.stdout and "ok " in result.stdout


@pytest.mark.parametrize("page", ["keyturn.1", "keyturn.yaml.5"])
def test_other_pages_refer_to_it(page):
    assert ".Xr keyturn-audit 5\n" in (TOP / "cli" / page).read_text()

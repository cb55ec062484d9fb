# SPDX-License-Identifier: BSD-2-Clause
"""The pages of docs/ say what the command does: statuses, recipes of the policy, JSON answers."""
import json
import pathlib
import re

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
RECIPES = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", (TOP / "docs/policy.md").read_text(), re.M | re.S)


def statuses():
    return re.findall(r'^    \[KT_\w+\] = \{"(\w+)", (\d+),', (TOP / "core/base/status.c").read_text(), re.M)


def test_every_status_has_its_section():
    """Each word of an error or of the audit log, with the exit status that it has."""
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", (TOP / "docs/troubleshooting.md").read_text(), re.M | re.S))
    assert len(statuses()) >= 20
    assert set(sections) == {name for name, _ in statuses()}
    for name, number in statuses():
        assert number == "0" or f"Exit status {number}." in sections[name], name


@pytest.mark.parametrize("title, text", RECIPES, ids=[title for title, _ in RECIPES])
def test_recipe(home, title, text):
    rules = re.search(r"^```yaml\npolicy:\n(.*?)^```", text, re.M | re.S)[1]
    rows = re.findall(r"^\| (\S+) \| (\w+) \| (\S+) \| (yes|no) \|$", text, re.M)
    assert len(rows) >= 2
    config = home.config.read_text()
    home.write_config(re.sub(r"^policy:\n(?:[ #].*\n)*", "policy:\n" + rules, config, flags=re.M))
    for subject, capability, name, may in rows:
        result = home.run("can", subject, capability, name, check=False)
        assert result.returncode == (0 if may == "yes" else 77), (subject, capability, name, result)


def examples():
    text = (TOP / "docs/json.md").read_text()
    return {title: json.loads(block) for title, block in
            re.findall(r"^## (.*?)\n(?:(?!^## ).)*?^```json\n(.*?)^```", text, re.M | re.S)}


def test_json_answers_have_the_members_that_the_page_says(home):
    home.set("api-keys/stripe", "Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c")
    page = examples()
    assert set(page) == {"secrets", "versions", "checks"}
    assert set(home.json("list")["secrets"][0]) == set(page["secrets"])
    assert set(home.json("versions", "api-keys/stripe")["versions"][0]) == set(page["versions"])
    assert set(page["checks"]) <= set(home.json("check")["checks"][0])
    error = home.json("get", "api-keys/none", check=False)
    assert set(error) - {"warnings"} == {"status", "error"} and error["status"] == "notfound"


def test_json_answers_of_verbs(home):
    """The table of the page, for verbs that can be run in a home."""
    table = dict(re.findall(r"^\| (`[^|]*) \| ([^|]*) \|$", (TOP / "docs/json.md").read_text(), re.M))
    value = ["--file", home.dir / "value"]
    (home.dir / "value").write_text("Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c")
    for verb, args in (("set", ["a", *value]), ("generate", ["b"]), ("get", ["a"]), ("list", []), ("info", ["a"]), ("versions", ["a"]),
                       ("delete", ["b"]), ("undelete", ["b"]), ("verify", []), ("check", [])):
        [members] = [row for verbs, row in table.items() if re.search(rf"`{verb}[ `]", verbs)]
        answer = home.json(verb, *args, check=False)
        assert answer["status"] in ("success", "config"), answer
        first = re.findall(r"`(\w+)`", members.split(";")[0].split(" with ")[0])
        if verb == "info":
            first = list(examples()["secrets"])
        assert set(first) <= set(answer), (verb, answer)
        assert set(answer) <= {"status", "warnings"} | set(first) or verb == "info", (verb, answer)


@pytest.mark.parametrize("page", ["cli/keyturn.yaml.5", "docs/threat-model.md", "README.md"])
def test_what_a_key_file_means_is_said(page):
    """F10: that every read is on record was claimed, and does not hold against a user with a key file."""
    text = " ".join((TOP / page).read_text().split())
    assert "Types are walls; rules inside a type are advice to the holder of that type's key file." in text
    assert "gets no key file" in text or page == "README.md"

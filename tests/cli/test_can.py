# SPDX-License-Identifier: BSD-2-Clause
"""No right to list is an error wherever a list is made or worked off, a rule for subjects that no host has is refused, and `can` says
what decides."""
import json
import re

import pytest


@pytest.fixture
def reader(home):
    """A home whose user may read and rotate everything, and list nothing."""
    home.set("api-keys/stripe", b"v")
    home.run("set", "database/primary", "--meta", "rotation=daily", input=b"v")
    home.replace('allow: [read, write, rotate, list, delete, admin], names: ["*"]', 'allow: [read, write, rotate], names: ["*"]')
    return home


@pytest.mark.parametrize("args", [["list"], ["list", "api-keys/*"], ["list", "--usage"], ["rotate", "--due"], ["rotate", "--all"],
                                  ["rotate", "--type", "api-keys"], ["rotate", "--all", "--dry-run"], ["check", "--secrets"]])
def test_no_right_to_list(reader, args):
    result = reader.run(*args, check=False)
    assert result.returncode == 77 and result.stdout == b"" and re.search(rb"uid:\S+ may not list .*: no rule in .* allows it", result.stderr)
    assert reader.json(*args, check=False)["status"] == "denied"
    assert {line["status"] for line in reader.records() if line["action"] == "list"} == {"denied"}
    assert reader.get("api-keys/stripe") == b"v"


def test_a_right_to_list_some(reader):
    who = next(line["subject"] for line in reader.records())
    reader.grant(who, ["list"], ["api-keys/*"])
    assert reader.list() == ["api-keys/stripe"] and reader.list("api-keys/*") == ["api-keys/stripe"] and reader.list("*/stripe")
    assert reader.list("api-keys/x*") == []  # there is none, and one could be listed
    assert reader.run("list", "database/*", check=False).returncode == 77
    reader.deny(who, ["list"], ["api-keys/*"])
    result = reader.run("list", check=False)
    assert result.returncode == 77 and re.search(rb"uid:\S+ may not list \*: denied by .*keyturn.yaml:\d+", result.stderr)


def test_what_is_hidden_fails_loudly(home):
    home.set("api-keys/stripe", b"v")
    home.set("database/primary", b"v")
    home.run("keygen", "--types", "api-keys", home.dir / "types.key")
    home.replace(f'\nkey: "file:{home.key}"', "\nkey: file:types.key")
    result = home.run("rotate", "--all", "--dry-run", check=False)
    assert result.returncode == 77 and b"incomplete" in result.stderr
    assert home.json("rotate", "--due", check=False)["status"] == "nokey"
    result = home.run("rotate", "--type", "api-keys", "--dry-run")
    assert b"incomplete" not in result.stderr  # of this type nothing is hidden
    assert home.json("list", "api-keys/*")["hidden"] == 0 and home.json("list")["hidden"] == 1


def test_what_the_policy_hides_fails_loudly_too(home):
    home.set("api-keys/stripe", b"v")
    home.set("database/primary", b"v")
    home.deny("*", ["list"], ["database/*"])
    assert home.json("list")["hidden"] == 1 and b"incomplete: 1 more" in home.run("list").stderr
    result = home.run("rotate", "--all", "--dry-run", check=False)
    assert result.returncode == 77 and b"incomplete: 1 more" in result.stderr
    assert home.run("rotate", "--due", check=False).returncode == 77
    assert b"incomplete" not in home.run("rotate", "--type", "api-keys", "--dry-run").stderr


@pytest.mark.parametrize("who, wanted", [("user:root", "did you mean uid:root?"), ("ngnix:*", "did you mean nginx:*?"), ("postgres:app", "did you mean postgresql:app?"),
                                         ("root", "they begin with nginx:"), ("postgresql:rolle:x", "postgresql:role:"), ("", "who")])
def test_a_subject_that_no_host_has(home, who, wanted):
    home.grant(who, ["read"], ["*"])
    line = next(n for n, text in enumerate(home.read_config().splitlines(), 1) if f'who: "{who}"' in text)
    result = home.run("list", check=False)
    assert result.returncode == 78 and wanted in result.stderr.decode() and f"keyturn.yaml:{line}:" in result.stderr.decode()


@pytest.mark.parametrize("who", ["*", "nginx*", "*:shop", "uid:*", "postgresql:*", "postgresql:worker", "postgresql:member:dba", "api:ci", "n*"])
def test_subjects_that_hosts_have(home, who):
    home.grant(who, ["read"], ["none/*"])
    assert home.list() == []


def test_can(home):
    home.grant("nginx:shop", ["read"], ["api-keys/*"])
    home.deny("nginx:*", ["read"], ["api-keys/secret"])
    lines = home.read_config().splitlines()
    allow, deny = (next(n for n, text in enumerate(lines, 1) if word in text) for word in ('who: "nginx:shop"', "deny:"))
    result = home.run("can", "nginx:shop", "read", "api-keys/stripe")
    assert result.stdout.decode() == f"yes: allowed by {home.config}:{allow}; the key of the type is in file:{home.key}\n"
    for args, wanted in ((["nginx:shop", "read", "api-keys/secret"], f"nginx:shop may not read api-keys/secret: denied by {home.config}:{deny}"),
                         (["nginx:shop", "write", "api-keys/stripe"], "nginx:shop may not write api-keys/stripe: no rule"),
                         (["nginx:blog", "read", "api-keys/stripe"], "no rule in")):
        result = home.run("can", *args, check=False)
        assert result.returncode == 77 and result.stdout == b"" and wanted in result.stderr.decode()
    answer = home.json("can", "nginx:shop", "read", "api-keys/stripe")
    assert answer == {"status": "success", "allowed": True, "subject": "nginx:shop", "capability": "read", "name": "api-keys/stripe", "error": "",
                      "rule": {"file": str(home.config), "line": allow}, "key": {"stream": "nginx", "source": f"file:{home.key}", "held": True}}
    answer = home.json("can", "nginx:shop", "read", "api-keys/secret", check=False)
    assert (answer["status"], answer["allowed"], answer["rule"]["line"]) == ("denied", False, deny)
    assert home.json("can", "nginx:blog", "read", "a/b", check=False)["rule"] is None
    assert home.records() == []  # a question is not an attempt


def test_can_knows_the_key(home):
    home.run("keygen", "--types", "api-keys", home.dir / "nginx.key")
    home.replace(f'\nkey: "file:{home.key}"', f'\nkey: {{cli: "file:{home.key}", nginx: file:nginx.key}}')
    home.grant("nginx:*", ["read"], ["*"])
    home.grant("redis:*", ["read"], ["*"])
    assert home.run("can", "nginx:shop", "read", "api-keys/a").returncode == 0
    result = home.run("can", "nginx:shop", "read", "database/a", check=False)
    assert result.returncode == 77 and b"file:nginx.key does not have the key of its type" in result.stderr
    answer = home.json("can", "nginx:shop", "read", "database/a", check=False)
    assert (answer["status"], answer["key"]["held"]) == ("nokey", False)
    assert b"no key for redis" in home.run("can", "redis:default", "read", "a/b", check=False).stderr
    (home.dir / "nginx.key").unlink()
    answer = home.json("can", "nginx:shop", "read", "database/a")
    assert answer["allowed"] and answer["key"]["held"] is None


def test_can_list_a_pattern(home):
    home.grant("uid:cron", ["list"], ["api-keys/*"])
    assert home.run("can", "uid:cron", "list", "*").returncode == 0
    assert home.run("can", "uid:cron", "list", "api-*").returncode == 0
    assert home.run("can", "uid:cron", "list", "database/*", check=False).returncode == 77


@pytest.mark.parametrize("args", [["nginx:a", "raed", "a/b"], ["nginx:a", "read", "../x"], ["nginx:a", "read"], ["nginx:a", "read", ""],
                                  ["nginx:a", "read", "a/*"], ["shop", "read", "a/b"], ["user:shop", "read", "a/b"]])
def test_usage(home, args):
    result = home.run("can", *args, check=False)
    assert result.returncode == 64 and result.stdout == b""
    assert json.loads(home.run("--json", "can", *args, check=False).stdout)["status"] == "usage"

# SPDX-License-Identifier: BSD-2-Clause
"""Refused more than ten times within an hour: an alert, and what is refused is only counted, for a while. What the policy allows is
never refused."""
import json
import stat

import pytest

from lib import refusals


@pytest.fixture
def reader(home):
    """A home whose user may read api-keys/ only."""
    home.set("api-keys/stripe", b"v")
    home.set("database/primary", b"v")
    home.replace('names: ["*"]}', 'names: ["api-keys/*"]}')
    home.stream = next(home.audit.glob("cli-*"))
    return home


def test_each_process_counts(reader):
    for _ in range(10):
        assert reader.run("get", "database/primary", check=False).returncode == 77
    assert reader.run("get", "api-keys/stripe").stdout == b"v" and not refusals.lockouts(reader.stream)
    result = reader.run("get", "database/primary", check=False)
    assert result.returncode == 77 and b"locked out for 60 s" in result.stderr and b"may not" in result.stderr
    assert reader.run("get", "api-keys/stripe").stdout == b"v"
    assert reader.run("set", "api-keys/stripe", input=b"w").stdout == b"2\n"
    for _ in range(5):
        result = reader.run("get", "database/primary", check=False)
        assert result.returncode == 77 and b"locked out for another" in result.stderr and result.stdout == b""
    assert len([line for line in reader.records() if line["status"] == "denied" and line["action"] == "read"]) == 11
    alerts = [line for line in reader.records() if line["action"] == "alert"]
    assert len(alerts) == 1 and alerts[0]["severity"] == "critical" and alerts[0]["seconds"] == 60
    assert reader.json("audit", "verify")["status"] == "success"


def test_it_ends_by_itself(reader):
    for _ in range(14):
        reader.run("get", "database/primary", check=False)
    assert refusals.end(reader.stream) == 1
    assert reader.run("get", "database/primary", check=False).returncode == 77
    lines = [line for line in reader.records() if line["action"] == "lockout"]
    assert [(line["count"], line["seconds"]) for line in lines] == [(3, 60)]
    for _ in range(11):
        reader.run("get", "database/primary", check=False)
    assert refusals.lockouts(reader.stream) == [60]  # the one before ended in 1970
    assert stat.S_IMODE((reader.stream / "refusals").stat().st_mode) == 0o600


def test_what_is_not_there_is_no_refusal(reader):
    for _ in range(15):
        assert reader.run("get", "api-keys/none", check=False).returncode == 66
    assert reader.run("get", "api-keys/stripe").stdout == b"v"


def test_the_verb(reader):
    assert reader.json("lockout") == {"lockouts": [], "hidden": 0, "status": "success"}
    assert reader.run("lockout", "list").stdout == b""
    for _ in range(13):
        reader.run("get", "database/primary", check=False)
    who = next(line["subject"] for line in reader.records() if line["action"] == "alert")
    listed = reader.json("lockout", "list")["lockouts"]
    assert len(listed) == 1 and listed[0]["source"] == who and listed[0]["stream"] == reader.stream.name
    assert 0 < listed[0]["seconds"] <= 60 and listed[0]["refusals"] == 11 and listed[0]["unrecorded"] == 2
    head, line = reader.run("lockout").stdout.decode().splitlines()
    assert head.split()[:2] == ["SOURCE", "STREAM"] and line.split()[:2] == [who, reader.stream.name]
    assert reader.run("--quiet", "lockout").stdout.decode() == who + "\n"
    result = reader.run("lockout", "clear", who, check=False)
    assert result.returncode == 77 and b"admin" in result.stderr  # of a user who may do everything on api-keys/ only
    reader.grant(who, ["admin"], ["*"])
    result = reader.run("lockout", "clear", who + "x", check=False)
    assert result.returncode == 66 and b"keyturn lockout list" in result.stderr
    assert reader.run("lockout", "clear", who).stdout == b""
    assert reader.json("lockout")["lockouts"] == []
    assert [line["reference"] for line in reader.records() if line["action"] == "lockout.clear" and line["status"] == "success"][-1] == who
    assert json.loads(reader.run("--json", "lockout", "clear", who, check=False).stdout)["status"] == "notfound"


@pytest.mark.parametrize("args", [["clear"], ["clear", "a", "b"], ["list", "a"], ["nope"]])
def test_usage(home, args):
    assert home.run("lockout", *args, check=False).returncode == 64

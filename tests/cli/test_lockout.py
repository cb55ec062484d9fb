# SPDX-License-Identifier: BSD-2-Clause
"""Refused more than ten times within an hour: an alert, and refused altogether, for a while."""
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
    assert result.returncode == 77 and b"locked out for 60 s" in result.stderr and b"not allowed" in result.stderr
    result = reader.run("get", "api-keys/stripe", check=False)
    assert result.returncode == 77 and b"more than 10 times" in result.stderr and result.stdout == b""
    assert reader.run("set", "api-keys/stripe", input=b"w", check=False).returncode == 77
    alerts = [line for line in reader.records() if line["action"] == "alert"]
    assert len(alerts) == 1 and alerts[0]["severity"] == "critical" and alerts[0]["seconds"] == 60
    assert reader.json("audit", "verify")["status"] == "success"


def test_it_ends_by_itself(reader):
    for _ in range(11):
        reader.run("get", "database/primary", check=False)
    assert reader.run("get", "api-keys/stripe", check=False).returncode == 77
    assert refusals.end(reader.stream) == 1
    assert reader.run("get", "api-keys/stripe").stdout == b"v"
    for _ in range(11):
        reader.run("get", "database/primary", check=False)
    assert refusals.lockouts(reader.stream) == [60]  # the one before ended in 1970
    assert stat.S_IMODE((reader.stream / "refusals").stat().st_mode) == 0o600


def test_what_is_not_there_is_no_refusal(reader):
    for _ in range(15):
        assert reader.run("get", "api-keys/none", check=False).returncode == 66
    assert reader.run("get", "api-keys/stripe").stdout == b"v"

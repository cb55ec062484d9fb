# SPDX-License-Identifier: BSD-2-Clause
"""Rotation knows a database and an API key (requirements 106 and 107), and everything else whole."""
import datetime
import json
import re

import pytest

DATABASE = {"host": "db.example", "port": "5432", "name": "app", "user": "app", "password": "first"}


def test_a_database_without_target_is_refused(home):
    home.set("database/primary", DATABASE)
    result = home.run("rotate", "database/primary", check=False)
    assert result.returncode == 73 and b"store-only" in result.stderr
    assert home.get("database/primary#password") == b"first"
    assert len(home.versions("database/primary")) == 1


@pytest.mark.parametrize("port", ["5432", 5432])
def test_database(home, port):
    home.set("database/primary", {**DATABASE, "port": port})
    assert home.rotate("database/primary", "--store-only", "--length", "40") == 2
    new = json.loads(home.get("database/primary"))
    assert {**new, "password": 0, "rotated_at": 0} == {**DATABASE, "port": port, "password": 0, "rotated_at": 0}
    assert re.fullmatch(r"[A-Za-z0-9]{40}", new["password"])
    assert recent(new["rotated_at"])
    assert home.get("database/primary#password@previous") == b"first"


def test_api_key(home):
    home.set("api-keys/resend", {"api_key": "re_1"})
    home.rotate("api-keys/resend")
    first = json.loads(home.get("api-keys/resend"))
    assert set(first) == {"api_key", "previous_key", "rotated_at"}
    assert first["previous_key"] == "re_1" and recent(first["rotated_at"])
    home.run("rotate", "api-keys/resend", "--file", "-", input=b"re_3")
    second = json.loads(home.get("api-keys/resend"))
    assert second["api_key"] == "re_3" and second["previous_key"] == first["api_key"]
    assert home.get("api-keys/resend#previous_key") == first["api_key"].encode()


def test_other_keys_are_kept(home):
    home.set("api-keys/x", {"api_key": "1", "note": "keep", "deep": {"er": [1, 2]}})
    home.rotate("api-keys/x")
    assert json.loads(home.get("api-keys/x"))["deep"] == {"er": [1, 2]}


@pytest.mark.parametrize("value", [b'"text"', b"[1]", b"{not json", b"17"])
def test_everything_else_is_rotated_whole(home, value):
    home.set("x", value)
    home.rotate("x")
    assert re.fullmatch(rb"[A-Za-z0-9]{32}", home.get("x"))


def test_a_rotation_keeps_expiry_and_metadata(home):
    home.set("x", b"v", "--expires", "2099-01-01T00:00:00Z", "--meta", "owner=me")
    home.rotate("x")
    assert home.info("x")["expires"] == "2099-01-01T00:00:00Z" and home.info("x")["metadata"] == {"owner": "me", "origin": "generated"}


def recent(text):
    then = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return text.endswith("Z") and abs((datetime.datetime.now(datetime.timezone.utc) - then).total_seconds()) < 60

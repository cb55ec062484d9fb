# SPDX-License-Identifier: BSD-2-Clause
"""Every verb doing what it is for: as text, and the shapes of --json."""
import json
import re

import pytest

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_set_prints_the_version_alone_on_its_line(home):
    assert home.run("set", "api-keys/stripe", input=b"one").stdout == b"1\n"
    assert home.run("set", "api-keys/stripe", input=b"two").stdout == b"2\n"


def test_get_gives_what_was_set(home):
    home.set("api-keys/stripe", b"one")
    home.set("api-keys/stripe", b"two")
    assert home.get("api-keys/stripe") == b"two"
    assert home.get("api-keys/stripe@current") == b"two"
    assert home.get("api-keys/stripe@previous") == b"one"
    assert home.get("api-keys/stripe@1") == b"one"


@pytest.mark.parametrize("name", ["storage-account-key", "OPENAI_API_KEY", "database/primary", "a/b/c/d",
                                  "x" * 255, "api-keys/.hidden", "..a/b.."])
def test_names(home, name):
    home.set(name, b"v")
    assert home.get(name) == b"v"
    assert home.list() == [name]


def test_plain_value_shape(home):
    home.set("plain", {"value": "v"})
    assert home.get("plain#value") == b"v"


def test_list(home):
    assert home.run("list").stdout == b""
    for name in ("database/primary", "api-keys/stripe", "api-keys/a/b", "OPENAI_API_KEY"):
        home.set(name, b"v")
    assert home.list() == ["OPENAI_API_KEY", "api-keys/a/b", "api-keys/stripe", "database/primary"], "in their order"
    assert home.list("api-keys/*") == ["api-keys/a/b", "api-keys/stripe"]
    assert home.list("nothing/*") == []
    assert home.run("--quiet", "list", "api-keys/*").stdout.split() == [b"api-keys/a/b", b"api-keys/stripe"]
    heading, row = home.run("list", "database/*").stdout.decode().splitlines()
    assert heading.split() == ["NAME", "VERSION", "STATE", "UPDATED", "EXPIRES"]
    assert row.split()[:3] == ["database/primary", "1", "live"]


def test_list_json(home):
    home.set("database/primary", b"v", "--expires", "1h")
    answer = home.json("list")
    assert answer["status"] == "success" and answer["hidden"] == 0
    [secret] = answer["secrets"]
    assert secret["name"] == "database/primary" and secret["version"] == 1 and secret["state"] == "live"
    assert TIME.fullmatch(secret["created"]) and TIME.fullmatch(secret["expires"])


def test_info(home):
    home.set("api-keys/stripe", b"one", "--meta", "tier=critical", "--meta", "owner=a=b")
    home.set("api-keys/stripe", b"two", "--meta", "tier=high", "--meta", "owner=")
    answer = home.info("api-keys/stripe")
    assert answer["status"] == "success" and answer["name"] == "api-keys/stripe"
    assert (answer["version"], answer["previous"], answer["pending"]) == (2, 1, None)
    assert answer["metadata"] == {"tier": "high", "origin": "issued"}
    assert answer["provider"] == "local" and answer["state"] == "live" and answer["expires"] is None
    text = home.run("info", "api-keys/stripe").stdout.decode()
    assert "version   2" in text and "meta      tier=high" in text


def test_metadata_value_with_an_equals_sign(home):
    home.set("a", b"v", "--meta", "url=x?y=z")
    assert home.info("a")["metadata"] == {"url": "x?y=z", "origin": "issued"}


def test_versions(home):
    for value in (b"1", b"2", b"3"):
        home.set("a/b", value)
    assert [(v["version"], v["state"]) for v in home.versions("a/b")] == [(3, "current"), (2, "previous"), (1, "kept")]
    lines = home.run("versions", "a/b").stdout.decode().splitlines()
    assert lines[0].split() == ["VERSION", "STATE", "CREATED", "EXPIRES"]
    assert lines[1].split()[:2] == ["3", "current"] and TIME.fullmatch(lines[1].split()[2])


def test_kept_versions_are_limited(home):
    for i in range(13):
        home.set("a/b", b"%d" % i)
    kept = [v["version"] for v in home.versions("a/b")]
    assert kept[0] == 13 and len(kept) == 10
    assert home.get("a/b@previous") == b"11"
    assert home.run("get", "a/b@1", check=False).returncode == 66


def test_rotate_generates(home):
    home.set("api", b"old")
    assert home.run("rotate", "api", "--generate").stdout == b"2\n"
    new = home.get("api")
    assert re.fullmatch(rb"[A-Za-z0-9]{32}", new)
    assert home.get("api@previous") == b"old"
    assert home.rotate("api") == 3 and home.get("api") != new


@pytest.mark.parametrize("options, pattern", [
    (["--length", "64"], rb"[A-Za-z0-9]{64}"),
    (["--length", "16"], rb"[A-Za-z0-9]{16}"),
    (["--length", "1024"], rb"[A-Za-z0-9]{1024}"),
    (["--alphabet", "hex"], rb"[0-9a-f]{32}"),
    (["--alphabet", "urlsafe", "--length", "200"], rb"[A-Za-z0-9_-]{200}"),
    (["--alphabet", "symbols", "--length", "200"], rb"[A-Za-z0-9!@#$%^&*]{200}"),
    (["--alphabet", "uuid"], rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
])
def test_rotate_alphabets(home, options, pattern):
    home.set("api", b"old")
    home.rotate("api", *options)
    assert re.fullmatch(pattern, home.get("api"))


def test_rotate_to_a_given_value(home, tmp_path):
    home.set("api", b"old")
    (tmp_path / "new").write_bytes(b"brand new")
    assert home.rotate("api", "--file", tmp_path / "new") == 2
    assert home.get("api") == b"brand new"
    assert home.run("rotate", "api", "--file", "-", input=b"piped").stdout == b"3\n"
    assert home.get("api") == b"piped"


def test_rollback(home):
    for value in (b"1", b"2", b"3"):
        home.set("a", value)
    home.rollback("a")
    assert home.get("a") == b"2" and home.get("a@previous") == b"3"
    home.rollback("a", 1)
    assert home.get("a") == b"1"
    assert home.set("a", b"4") == 4  # numbers are not used again


def test_delete_and_undelete(home):
    home.set("a", b"v")
    assert home.run("delete", "a").stdout == b""
    assert home.run("get", "a", check=False).returncode == 66
    assert home.info("a")["state"] == "deleted"
    home.undelete("a")
    assert home.get("a") == b"v"


def test_set_brings_a_deleted_secret_back(home):
    home.set("a", b"1")
    home.delete("a")
    assert home.set("a", b"2") == 2
    assert home.get("a") == b"2"


def test_destroy(home):
    home.set("a", b"1")
    home.set("a", b"2")
    home.set("a", b"3")
    home.destroy("a", 1)
    assert home.run("get", "a@1", check=False).returncode == 66
    assert home.get("a") == b"3" and home.get("a@2") == b"2"
    home.destroy("a")
    assert home.run("get", "a", check=False).returncode == 66
    assert home.run("undelete", "a", check=False).returncode != 0


def test_answers_with_a_name(home):
    home.set("a", b"1")
    assert home.json("delete", "a") == {"status": "success", "name": "a"}
    assert home.json("undelete", "a") == {"status": "success", "name": "a"}
    assert home.json("set", "a", input=b"2") == {"status": "success", "name": "a", "version": 2}
    assert home.json("rotate", "a", "--generate") == {"status": "success", "name": "a", "version": 3}
    assert home.json("rollback", "a", "1")["status"] == "success"
    assert home.json("destroy", "a", "--all", "--yes") == {"status": "success", "name": "a"}


def test_expires(home, wait_for):
    home.set("a", b"v", "--expires", "1s")
    assert home.get("a") == b"v"
    wait_for(lambda: home.run("get", "a", check=False).returncode == 66, 5)
    assert home.info("a")["state"] == "expired"
    home.set("a", b"w")
    assert home.get("a") == b"w" and home.info("a")["expires"] is None


@pytest.mark.parametrize("given, shown", [("2099-12-31T23:59:59Z", "2099-12-31T23:59:59Z"),
                                          ("2099-12-31T23:59:59.5+02:00", "2099-12-31T21:59:59Z")])
def test_expires_at_a_time(home, given, shown):
    home.set("a", b"v", "--expires", given)
    assert home.info("a")["expires"] == shown


@pytest.mark.parametrize("text", ["", "5", "d", "-1d", "1y", "1.5h", "0s", "99999999999d", "2001-01-01T00:00:00Z",
                                  "2099-02-30T00:00:00Z", "2099-12-31", "2099-12-31T23:59:59", "tomorrow"])
def test_expires_refuses(home, text):
    assert home.run("set", "a", "--expires", text, input=b"v", check=False).returncode == 64
    assert home.list() == []


def test_cas(home):
    assert home.set("a", b"1", "--cas", "0") == 1
    assert home.run("set", "a", "--cas", "0", input=b"x", check=False).returncode == 73
    assert home.set("a", b"2", "--cas", "1") == 2
    assert home.run("set", "a", "--cas", "1", input=b"x", check=False).returncode == 73
    assert home.get("a") == b"2"


def test_field(home):
    home.set("database/primary", {"host": "db1", "port": 5432, "password": "p"})
    home.set("database/primary", b"db2", "--field", "host")
    assert json.loads(home.get("database/primary")) == {"host": "db2", "port": 5432, "password": "p"}
    assert home.get("database/primary#host") == b"db2" and home.get("database/primary#port") == b"5432"
    assert home.get("database/primary#password@1") == b"p"
    assert home.run("get", "database/primary#nope", check=False).returncode == 66


def test_audit_tail(home):
    home.set("api-keys/stripe", b"v")
    home.get("api-keys/stripe")
    home.run("get", "api-keys/nothing", check=False)
    text = home.run("audit", "tail").stdout.decode()
    assert "api-keys/stripe" in text and "notfound" in text and " read " in text
    lines = home.json("audit", "tail")["lines"]
    assert [line["reference"] for line in lines][-1] == "api-keys/nothing"
    assert {line["subject"] for line in lines} == {f"uid:{user()}"}
    mine = home.json("audit", "tail", f"cli-{user()}")["lines"]
    assert mine and home.json("audit", "tail", "nginx", check=False).get("lines", []) == []


def test_audit_tail_is_twenty_lines(home):
    for i in range(30):
        home.set(f"a{i}", b"v")
    lines = home.json("audit", "tail")["lines"]
    assert len(lines) == 20 and lines[-1]["reference"] == "a29"


def test_audit_follow(home, wait_for, tmp_path):
    home.set("before", b"v")
    with open(tmp_path / "out", "wb") as out:
        process = home.popen("audit", "tail", "--follow", stdout=out)
    try:
        wait_for(lambda: "before" in (tmp_path / "out").read_text())
        home.set("after", b"v")
        wait_for(lambda: "after" in (tmp_path / "out").read_text())
        lines = (tmp_path / "out").read_text().splitlines()
        assert len(set(lines)) == len(lines)  # none twice
    finally:
        process.terminate()
        process.wait(10)


def test_check(home):
    text = home.run("check").stdout.decode()
    assert text.startswith("ok ") and "local" in text
    answer = home.json("check")
    assert answer["status"] == "success"
    assert all(set(row) == {"status", "what", "detail"} for row in answer["checks"])


def test_every_access_is_in_the_trail(home):
    home.set("a", b"1")
    home.rotate("a")
    home.rollback("a")
    home.get("a")
    home.delete("a")
    home.undelete("a")
    home.info("a")
    home.list()
    actions = {line["action"] for line in home.records()}
    assert {"read", "rotate", "rollback", "delete", "undelete"} <= actions, actions
    for line in home.records():
        assert line["subject"] == f"uid:{user()}" and line["status"] and line["time"]


def user():
    import os
    import pwd
    return pwd.getpwuid(os.geteuid()).pw_name

# SPDX-License-Identifier: BSD-2-Clause
"""Issued, generated, derived: where a value comes from, and what may therefore happen to it."""
import json
import re

import pytest

STRIPE = b"sk-live-51H-Readme-1"
DATABASE = {"host": "db.example", "user": "app", "password": "Old-Password-1234567"}


def refused(home, status, *args, text=b"", input=b"never"):
    result = home.run(*args, input=input, check=False)
    assert result.returncode == status and text in result.stderr, result
    return result.stderr.decode()


def origin(home, name):
    info = home.info(name)
    listed = {row["name"]: row["origin"] for row in home.json("list")["secrets"]}
    assert info["metadata"]["origin"] == info["origin"] == listed[name]
    return info["origin"]


# ---- the origin ----

def test_each_way_to_a_value(home):
    home.set("a", STRIPE)
    assert origin(home, "a") == "issued"
    assert home.run("generate", "b").stdout == b"1\n"
    assert origin(home, "b") == "generated"
    assert home.rotate("a") == 2 and origin(home, "a") == "generated"
    home.run("rotate", "a", "--file", "-", input=b"given")
    assert origin(home, "a") == "issued"
    home.set("b", STRIPE)
    assert origin(home, "b") == "issued"
    home.set("c", b"postgresql://app:p@db/shop", "--meta", "origin=derived")
    assert origin(home, "c") == "derived"
    assert b"\norigin    derived\n" in home.run("info", "c").stdout
    refused(home, 64, "set", "d", "--meta", "origin=borrowed", text=b"issued, generated or derived")
    assert set(home.list()) == {"a", "b", "c"}


def test_it_belongs_to_the_version(home):
    """Going back to the vendor's key brings its origin back too: the next rotation must not replace it."""
    home.set("a", STRIPE)
    home.rotate("a")
    home.rollback("a")
    assert home.get("a") == STRIPE and origin(home, "a") == "issued"
    refused(home, 73, "rotate", "a")
    home.rollback("a", 2)
    assert origin(home, "a") == "generated" and home.run("rotate", "a").stdout == b"3\n"


def test_it_survives_backup_and_delete(home, tmp_path):
    home.run("generate", "a")
    home.delete("a")
    home.undelete("a")
    home.run("backup", tmp_path / "backup")
    home.set("a", STRIPE)
    home.run("restore", "--going-back", tmp_path / "backup")
    assert origin(home, "a") == "generated"


def test_another_field_changes_neither_origin_nor_schedule(home):
    home.run("generate", "api-keys/x", "--field", "api_key", "--meta", "rotation=30d")
    home.run("rotate", "api-keys/x")
    before = home.info("api-keys/x")
    home.set("api-keys/x", b"shop", "--field", "account")
    after = home.info("api-keys/x")
    assert after["version"] == 3 and after["origin"] == "generated"
    assert (after["rotated"], after["due"]) == (before["rotated"], before["due"])
    home.set("api-keys/x", b"key-of-the-vendor", "--field", "api_key")
    assert origin(home, "api-keys/x") == "issued"


# ---- rotate ----

def test_an_issued_value_is_not_replaced_by_a_made_up_one(home):
    home.set("api-keys/stripe", STRIPE, "--meta", "rotate_url=https://dashboard.example/keys")
    for options in [], ["--length", "40"], ["--alphabet", "hex"], ["--dry-run"], ["--store-only"]:
        said = refused(home, 73, "rotate", "api-keys/stripe", *options)
        assert "https://dashboard.example/keys" in said and "`keyturn set api-keys/stripe`" in said
    answer = json.loads(home.run("--json", "rotate", "api-keys/stripe", check=False).stdout)
    assert answer["status"] == "conflict" and "https://dashboard.example/keys" in answer["error"]
    assert home.get("api-keys/stripe") == STRIPE and home.info("api-keys/stripe")["version"] == 1
    assert [r["status"] for r in home.records() if r.get("action") == "rotate"].count("conflict") == 5
    assert home.run("rotate", "api-keys/stripe", "--generate", "--dry-run").stdout == b"api-keys/stripe  would be rotated\n"
    assert home.run("rotate", "api-keys/stripe", "--generate").stdout == b"2\n"
    refused(home, 64, "rotate", "api-keys/stripe", "--generate", "--file", "-")
    refused(home, 64, "rotate", "--all", "--generate", text=b"--generate needs a NAME")


def test_a_derived_value_is_not_replaced_either(home):
    home.set("app/DATABASE_URL", b"postgresql://app:p@db/shop", "--meta", "origin=derived")
    refused(home, 73, "rotate", "app/DATABASE_URL", text=b"derived from others")


@pytest.fixture
def env(home):
    """What a migrated .env leaves behind, and two values of our own."""
    for name in "DATABASE_URL", "DEBUG", "DB_PORT", "AWS_ACCESS_KEY_ID", "SENTRY_DSN":
        home.set(f"app/{name}", f"value of {name}".encode(), "--meta", "rotation=1s")
    for name in "app/SECRET_KEY", "other/SALT":
        home.set(name, b"made here", "--meta", "rotation=1s", "--meta", "origin=generated")


ISSUED = {f"app/{name}" for name in ("DATABASE_URL", "DEBUG", "DB_PORT", "AWS_ACCESS_KEY_ID", "SENTRY_DSN")}


@pytest.mark.parametrize("selection", [["--all"], ["--type", "app"], ["--due"], ["--all", "--dry-run"], ["--due", "--dry-run"]])
def test_in_bulk_none_is_touched_and_all_are_named(home, env, wait_for, selection):
    wait_for(lambda: len(home.json("rotate", "--due", "--dry-run")["secrets"]) == 7, 10)
    before = {name: home.get(name) for name in ISSUED}
    result = home.run("rotate", *selection)  # exit status 0
    assert {line.split(":")[2].strip() for line in result.stderr.decode().splitlines()} == ISSUED
    assert all(line.startswith("keyturn: to be renewed by hand: ") for line in result.stderr.decode().splitlines())
    assert ISSUED.isdisjoint(line.split()[0] for line in result.stdout.decode().splitlines())
    answer = home.json("rotate", *selection)
    assert answer["status"] == "success" and answer["failed"] == 0 and set(answer["by_hand"]) == ISSUED
    assert {row["name"] for row in answer["secrets"] if row["result"] == "by hand"} == ISSUED
    assert {name: home.get(name) for name in ISSUED} == before


def test_a_failure_among_many_is_73(home, env, tmp_path):
    command = tmp_path / "target"
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o700)
    home.write_config(home.read_config() + f'targets:\n  "database/*": {{exec: "{command}"}}\n')
    home.set("database/shop", DATABASE)
    result = home.run("rotate", "--all", check=False)
    assert result.returncode == 73 and b"keyturn: database/shop: " in result.stderr and b"app/SECRET_KEY  2\n" in result.stdout


# ---- generate ----

@pytest.mark.parametrize("options, pattern", [
    ([], rb"[A-Za-z0-9]{32}"),
    (["--length", "50"], rb"[A-Za-z0-9]{50}"),
    (["--alphabet", "hex", "--length", "64"], rb"[0-9a-f]{64}"),
    (["--alphabet", "uuid"], rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
])
def test_generate(home, options, pattern):
    result = home.run("generate", "app/SECRET_KEY", "--meta", "owner=me", *options)
    assert result.stdout == b"1\n" and result.stderr == b""
    assert re.fullmatch(pattern, home.get("app/SECRET_KEY"))
    assert home.info("app/SECRET_KEY")["metadata"] == {"owner": "me", "origin": "generated"}


def test_generate_only_what_is_new(home):
    home.run("generate", "a")
    value = home.get("a")
    refused(home, 73, "generate", "a", text=b"a exists already, in version 1")
    assert home.get("a") == value
    home.delete("a")
    assert home.run("generate", "a").stdout == b"2\n"
    refused(home, 64, "generate", "b", "--length", "15")
    refused(home, 64, "generate", "b", "secret-of-mine")
    refused(home, 64, "generate", "b", "--meta", "x")
    assert home.json("generate", "b") == {"status": "success", "name": "b", "version": 1}


def test_generate_a_field(home):
    home.set("database/shop", b"app", "--field", "user")
    assert home.run("generate", "database/shop", "--field", "password").stdout == b"2\n"
    value = json.loads(home.get("database/shop"))
    assert value["user"] == "app" and re.fullmatch("[A-Za-z0-9]{32}", value["password"])
    refused(home, 73, "generate", "database/shop", "--field", "password", text=b"a field `password` already")
    assert json.loads(home.get("database/shop")) == value
    home.set("plain", b"text")
    refused(home, 73, "generate", "plain", "--field", "password", text=b"plain is not a JSON object, so it has no field `password`")


# ---- meta ----

def test_meta_asks_for_no_value_and_makes_no_version(home):
    home.set("database/primary", DATABASE, "--meta", "owner=dba", "--expires", "2099-01-01T00:00:00Z")
    result = home.run("meta", "database/primary", "rotation=quarterly", "tier=critical", "--unset", "owner", input=b"")
    assert result.stdout == result.stderr == b""
    info = home.info("database/primary")
    assert info["metadata"] == {"rotation": "quarterly", "tier": "critical", "origin": "issued"}
    assert info["version"] == 1 and len(home.versions("database/primary")) == 1 and info["due"] > info["created"]
    assert info["expires"] == "2099-01-01T00:00:00Z"
    assert set(home.run("meta", "database/primary").stdout.splitlines()) == {b"rotation=quarterly", b"tier=critical", b"origin=issued"}
    assert home.json("meta", "database/primary") == {"status": "success", "name": "database/primary", "metadata": info["metadata"]}
    home.run("meta", "database/primary", "tier=")
    assert "tier" not in home.info("database/primary")["metadata"]
    assert {"meta"} == {r["action"] for r in home.records() if r.get("status") == "intent"} - {"write"}


def test_meta_sets_the_origin(home):
    home.set("a", STRIPE)
    home.run("meta", "a", "origin=generated")
    assert origin(home, "a") == "generated" and home.run("rotate", "a").stdout == b"2\n"
    home.run("meta", "a", "origin=issued")
    refused(home, 73, "rotate", "a")
    home.run("meta", "a", "origin=derived")
    home.run("meta", "a", "--unset", "origin")
    assert origin(home, "a") == "issued"


def test_meta_refused(home):
    home.set("a", b"v", "--meta", "k=v")
    refused(home, 64, "meta", "a", "rotation=sometimes", "k=w", text=b"`rotation`")
    refused(home, 64, "meta", "a", "origin=mine", text=b"`origin`")
    refused(home, 64, "meta", "a", "novalue", text=b"needs K=V")
    refused(home, 64, "meta", "a", "--unset", "x=y")
    refused(home, 66, "meta", "none", "k=v")
    refused(home, 66, "meta", "none")
    home.deny("uid:*", ["write"], ["a"])
    refused(home, 77, "meta", "a", "k=w", text=b"write")
    assert home.info("a")["metadata"] == {"k": "v", "origin": "issued"}


# ---- set ----

def test_an_object_is_not_replaced_by_a_string(home):
    home.set("database/primary", DATABASE)
    said = refused(home, 73, "set", "database/primary", input=b"new-password")
    assert "`keyturn set database/primary --field password`" in said and "--force" in said
    assert home.get("database/primary#user") == b"app" and home.info("database/primary")["version"] == 1
    home.set("settings", {"limit": 3})
    assert "--field" in refused(home, 73, "set", "settings", input=b"[1]")
    home.set("settings", {"limit": 4})
    assert home.set("database/primary", b"new-password", "--field", "password") == 2
    assert home.set("database/primary", b"new-password", "--force") == 3
    assert home.get("database/primary") == b"new-password"


def test_a_value_that_a_target_knows_is_not_replaced(home, tmp_path):
    server = tmp_path / "server"
    command = tmp_path / "target"
    command.write_text(f"#!/bin/sh\ncat > {server}\n")
    command.chmod(0o700)
    home.set("database/shop", DATABASE)  # before it is anybody's target
    home.write_config(home.read_config() + f'targets:\n  "database/*": {{exec: "{command}"}}\n')
    said = refused(home, 73, "set", "database/shop", input=json.dumps(DATABASE).encode())
    assert "`keyturn rotate database/shop --file -`" in said and "--force" in said
    refused(home, 73, "set", "database/shop", "--field", "password", input=b"x")
    assert home.set("database/shop", b"other.example", "--field", "host") == 2
    assert home.set("database/shop", b"x", "--field", "password", "--force") == 3
    assert home.set("database/new", DATABASE) == 1  # there is no value yet that the target could know


def test_it_is_refused_before_a_value_is_asked_for(home, tmp_path):
    """Standard input is never read: the command would wait for its end."""
    home.set("database/shop", DATABASE)
    home.write_config(home.read_config() + 'targets:\n  "database/*": {exec: "/bin/true"}\n')
    process = home.popen("set", "database/shop", stdin=-1, stderr=-1)
    try:
        assert process.wait(10) == 73
        assert b"/bin/true would not learn" in process.stderr.read()
    finally:
        process.kill()
        process.stdin.close()
        process.stderr.close()
    home.set("a", b"v")
    process = home.popen("set", "a", "--cas", "7", stdin=-1, stderr=-3)
    try:
        assert process.wait(10) == 73
    finally:
        process.kill()
        process.stdin.close()


def test_the_newline_is_mentioned_once_it_is_stored(home):
    assert b"newline" in home.run("set", "a", input=b"v\n").stderr
    said = refused(home, 73, "set", "a", "--cas", "9", input=b"v\n")
    assert "newline" not in said
    home.set("b", {"x": 1})
    assert "newline" not in refused(home, 73, "set", "b", input=b"v\n")
    assert "newline" not in refused(home, 64, "set", "c", "--meta", "rotation=never", input=b"v\n")


# ---- destroy ----

def test_the_current_version_is_not_destroyed(home):
    for text in b"one", b"two", b"three", b"four":
        home.set("api-keys/stripe", text)
    said = refused(home, 73, "destroy", "api-keys/stripe", "4")
    assert "version 4 is the current one" in said and "make another one current first" in said
    refused(home, 73, "destroy", "api-keys/stripe", "4", "--yes")
    assert home.get("api-keys/stripe") == b"four"
    assert [v["state"] for v in home.versions("api-keys/stripe")] == ["current", "previous", "kept", "kept"]
    home.run("destroy", "api-keys/stripe", "2")
    refused(home, 64, "destroy", "api-keys/stripe", "--all", text=b"--yes")
    assert home.get("api-keys/stripe") == b"four"
    home.run("destroy", "api-keys/stripe", "--all", "--yes")
    refused(home, 66, "get", "api-keys/stripe")


def test_a_lifetime_outlasts_a_rotation_and_versions_shows_it(home):
    home.run("generate", "a", "--meta", "owner=me")
    home.set("b", b"v", "--expires", "2099-01-01T00:00:00Z")
    home.rotate("b")
    assert home.info("b")["expires"] == "2099-01-01T00:00:00Z"
    assert [v["expires"] for v in home.versions("b")] == ["2099-01-01T00:00:00Z"] * 2

# SPDX-License-Identifier: BSD-2-Clause
"""Each command: what it answers, and what it answers when that cannot be."""
import json
import os
import re
import time

import pytest


@pytest.fixture
def db(open_redis):
    return open_redis().client()


def pairs(flat):
    """A RESP2 map."""
    return {key.decode(): value for key, value in zip(flat[::2], flat[1::2])}


def call(db, command, *args):
    return db.execute_command(f"SECRET.{command}", *args)


# SET and GET

def test_set_counts_versions(db, name, canary):
    key = name()
    for version in (1, 2, 3):
        value = canary(f"v{version}")
        assert call(db, "SET", key, value) == version
        assert call(db, "GET", key) == value.encode()
    assert db.type(key) == b"keyturn-1"


@pytest.mark.parametrize("value", [b"", b"\0", b"\r\n+OK\r\n", bytes(range(256)), b"x" * 65536], ids=[
    "empty", "nul", "protocol", "binary", "64KiB"])
def test_values_are_bytes(db, name, value):
    key = name()
    call(db, "SET", key, value)
    assert call(db, "GET", key) == value


def test_too_long(db, name, refused):
    key = name()
    assert "65536" in refused("ERR", db, "SECRET.SET", key, b"x" * 65537)
    assert call(db, "GET", key) is None
    assert db.exists(key) == 0


def test_absent(db, name, refused):
    key = name()
    assert call(db, "GET", key) is None
    assert call(db, "GETSEALED", key) is None
    assert call(db, "INFO", key) is None
    assert call(db, "VERSIONS", key) is None
    assert call(db, "DEL", key) == 0
    for command in (["ROTATE"], ["ROLLBACK"], ["UNDELETE"], ["DESTROY", "VERSION", 1]):
        refused("ERR", db, f"SECRET.{command[0]}", key, *command[1:])
    assert db.exists(key) == 0


@pytest.mark.parametrize("key", ["", "a b", "../x", "a//b", "a/./b", "/a", "a/", "a@1", "a#f", "a\0b", "\xe4", "x" * 256])
def test_names(db, refused, key):
    for command in (["SET", "v"], ["GET"], ["GETSEALED"], ["INFO"], ["DEL"], ["ROTATE"], ["SETSEALED", "x"]):
        assert "not the name of a secret" in refused("ERR", db, f"SECRET.{command[0]}", key, *command[1:])


def test_longest_name(db):
    key = "t/" + "x" * 253
    assert call(db, "SET", key, "v") == 1
    assert call(db, "GET", key, "VERSION", 1) == b"v"
    assert call(db, "LIST") == [b"0", [key.encode()]]


def test_versions_of_get(db, name, refused):
    key = name()
    for value in ("one", "two", "three"):
        call(db, "SET", key, value)
    assert call(db, "GET", key, "VERSION", 1) == b"one"
    assert call(db, "GET", key, "VERSION", "previous") == b"two"
    assert call(db, "GET", key, "version", "current") == b"three"
    refused("SECRETVERSION", db, "SECRET.GET", key, "VERSION", 4)
    refused("SECRETVERSION", db, "SECRET.GET", key, "VERSION", "pending")
    for version in ("", "x", "-1", "1#a", "current@1"):
        refused("ERR", db, "SECRET.GET", key, "VERSION", version)


def test_fields(db, name, refused):
    key = name()
    call(db, "SET", key, json.dumps({"user": "app", "port": 5432}))
    call(db, "SET", key, json.dumps({"user": "app2", "port": 5433}))
    assert call(db, "GET", key, "FIELD", "user") == b"app2"
    assert call(db, "GET", key, "FIELD", "port") == b"5433"
    assert call(db, "GET", key, "FIELD", "user", "VERSION", 1) == b"app"
    assert call(db, "GET", key, "FIELD", "nothing") is None
    refused("ERR", db, "SECRET.GET", key, "FIELD", "")
    refused("ERR", db, "SECRET.GET", key, "FIELD", "user@1")
    call(db, "SET", key, "no object")
    assert "so it has no field `user`" in refused("SECRETFIELD", db, "SECRET.GET", key, "FIELD", "user")
    refused("SECRETFIELD", db, "SECRET.GET", key, "FIELD", "user", "VERSION", 3)
    refused("ERR", db, "SECRET.GET", key, "FIELD", "user", "VERSION", "x")
    call(db, "SET", key, '{"user": {"deep": 1.50}, "none": null}')
    assert call(db, "GET", key, "FIELD", "user") == b'{"deep": 1.50}'
    refused("SECRETFIELD", db, "SECRET.GET", key, "FIELD", "none")


def test_cas(db, name, refused):
    key = name()
    refused("SECRETVERSION", db, "SECRET.SET", key, "v", "CAS", 1)
    assert call(db, "SET", key, "v1", "CAS", 0) == 1
    refused("SECRETVERSION", db, "SECRET.SET", key, "v", "CAS", 0)
    assert call(db, "SET", key, "v2", "CAS", 1) == 2
    refused("SECRETVERSION", db, "SECRET.SET", key, "v", "CAS", 1)
    assert call(db, "GET", key) == b"v2"


def test_meta_of_set(db, name, refused):
    key = name()
    call(db, "SET", key, "v", "META", "team", "payments", "owner", "\xe4")
    call(db, "SET", key, "v", "META", "team", "billing")
    meta = pairs(pairs(call(db, "INFO", key))["meta"])
    assert meta == {"team": b"billing", "owner": "\xe4".encode(), "origin": b"issued"}
    refused("ERR", db, "SECRET.SET", key, "v", "META")
    refused("ERR", db, "SECRET.SET", key, "v", "META", "a")
    refused("ERR", db, "SECRET.SET", key, "v", "META", "a", "b\0c")
    refused("ERR", db, "SECRET.SET", key, "v", "META", *[f"k{i}" for i in range(130)])
    refused("ERR", db, "SECRET.SET", key, "v", "META", "k" * 129, "v")
    refused("ERR", db, "SECRET.SET", key, "v", "META", "k", "v" * 513)
    assert pairs(call(db, "INFO", key))["version"] == 2


def test_as_much_meta_as_there_may_be(db, name, refused):
    """Exactly at the limits, and nothing is written one byte beyond."""
    key = name()
    keys, value = [f"k{i:02}".ljust(128, "x") for i in range(64)], "v" * 512
    pair_list = [word for k in keys for word in (k, value)]
    assert call(db, "SET", key, "v", "META", *pair_list) == 1
    assert pairs(pairs(call(db, "INFO", key))["meta"]) == {**{k: value.encode() for k in keys}, "origin": b"issued"}
    refused("ERR", db, "SECRET.SET", key, "w", "META", "more", "v")
    refused("ERR", db, "SECRET.SET", key, "w", "META", keys[0], value + "v")
    assert call(db, "GET", key) == b"v"
    assert pairs(pairs(call(db, "INFO", key))["meta"]) == {**{k: value.encode() for k in keys}, "origin": b"issued"}


def test_expiry(db, name, refused):
    now = int(time.time() * 1000)
    for options, left in ((["EX", 100], 100000), (["PX", 90000], 90000), (["EXAT", now // 1000 + 80], 80000),
                          (["PXAT", now + 70000], 70000)):
        key = name()
        call(db, "SET", key, "v", *options)
        assert left - 5000 < db.pttl(key) <= left
        assert abs(pairs(call(db, "INFO", key))["expires"] - now - left) < 5000
    call(db, "ROTATE", key, "GENERATE")
    assert 0 < db.pttl(key) <= 70000, "a rotation leaves the expiry"
    call(db, "SET", key, "v")
    assert db.pttl(key) == -1, "as after SET"
    assert pairs(call(db, "INFO", key))["expires"] == 0
    for bad in (["EX", 0], ["EX", -1], ["EX", "x"], ["PXAT", 1], ["EXAT", now // 1000 - 10], ["EX", 2 ** 62], ["EX"]):
        refused("ERR", db, "SECRET.SET", key, "v", *bad)


def test_expires(db, name, wait_for):
    key = name()
    call(db, "SET", key, "v", "PX", 300)
    assert call(db, "GET", key) == b"v"
    wait_for(lambda: call(db, "GET", key) is None, timeout=3)
    wait_for(lambda: db.exists(key) == 0, timeout=3)  # the server lets a key live through the millisecond in which ours has ended


def test_persist_does_not_outlive_the_head(db, name, wait_for):
    """The sealed head knows when the secret ends, whatever becomes of the key's own expiry."""
    key = name()
    call(db, "SET", key, "v", "PX", 300)
    db.persist(key)
    wait_for(lambda: call(db, "GET", key) is None, timeout=3)
    assert db.exists(key) == 1


@pytest.mark.parametrize("words", [["SECRET.SET", "k", "v", "EX", "10", "PX", "5000"], ["SECRET.SET", "k", "v", "EX", "10", "EX", "10"],
                                   ["SECRET.SET", "k", "v", "CAS", "0", "CAS", "0"],
                                   ["SECRET.SET", "k", "v", "NX", "1"], ["SECRET.SET", "k", "v", "w"], ["SECRET.GET", "k", "x", "1"],
                                   ["SECRET.GET", "k", "VERSION", "1", "VERSION", "2"], ["SECRET.GET", "k", "VERSION"],
                                   ["SECRET.ROTATE", "k", "v"], ["SECRET.ROTATE", "k", "LENGTH", "2"], ["SECRET.ROTATE", "k", "LENGTH", "x"],
                                   ["SECRET.ROTATE", "k", "LENGTH", "32", "VALUE", "v"], ["SECRET.ROLLBACK", "k", "VERSION", "0"],
                                   ["SECRET.ROLLBACK", "k", "VERSION"], ["SECRET.DESTROY", "k", "VERSION", "x"],
                                   ["SECRET.LIST", "x"], ["SECRET.LIST", "0", "COUNT", "0"], ["SECRET.LIST", "-1"], ["SECRET.LIST", "0", "MATCH"],
                                   ["SECRET.RESTORE", "k", "b", "PXAT", "x"], ["SECRET.SETSEALED", "k", "b", "PXAT"]],
                         ids=lambda words: " ".join(words))
def test_syntax(db, refused, words):
    refused("ERR", db, *words)


@pytest.mark.parametrize("words", [["SECRET.SET", "k"], ["SECRET.GET"], ["SECRET.INFO", "k", "x"], ["SECRET.DEL"], ["SECRET.DEL", "a", "b"],
                                   ["SECRET.DESTROY", "k"], ["SECRET.GETSEALED"], ["SECRET.SETSEALED", "k"], ["SECRET.HELP", "x"]],
                         ids=lambda words: " ".join(words))
def test_arity(db, refused, words):
    assert "wrong number of arguments" in refused("ERR", db, *words)


def test_wrong_type(db, refused):
    db.set("plain", "v")
    for command in (["GET"], ["SET", "v"], ["GETSEALED"], ["SETSEALED", "x"], ["INFO"], ["DEL"], ["ROTATE"], ["RESTORE", "x"]):
        refused("WRONGTYPE", db, f"SECRET.{command[0]}", "plain", *command[1:])
    assert db.get("plain") == b"v"


# ROTATE, ROLLBACK

def test_rotate(db, name):
    key = name()
    call(db, "SET", key, "old")
    assert call(db, "ROTATE", key, "GENERATE") == 2
    assert len(call(db, "GET", key)) == 32
    assert call(db, "GET", key, "VERSION", "previous") == b"old"
    assert call(db, "ROTATE", key, "LENGTH", 64) == 3
    assert len(call(db, "GET", key)) == 64
    assert call(db, "ROTATE", key, "VALUE", "given") == 4
    assert call(db, "GET", key) == b"given"


def origin(db, key):
    return dict_of(call(db, "META", key))["origin"]


def dict_of(answer):
    return {k.decode(): v.decode() for k, v in zip(answer[::2], answer[1::2])}


def test_an_issued_value_is_not_replaced_by_a_made_up_one(db, name, refused):
    key = name()
    call(db, "SET", key, "sk-live-51H")
    assert "GENERATE" in refused("SECRETISSUED", db, "SECRET.ROTATE", key)
    assert call(db, "GET", key) == b"sk-live-51H" and origin(db, key) == "issued"
    for options, pattern in ((["GENERATE"], r"[A-Za-z0-9]{32}"), (["LENGTH", 64], r"[A-Za-z0-9]{64}"),
                             (["ALPHABET", "hex"], r"[0-9a-f]{32}"),
                             (["generate", "length", 20, "alphabet", "urlsafe"], r"[A-Za-z0-9_-]{20}")):
        call(db, "SET", key, "sk-live-52J")
        call(db, "ROTATE", key, *options)
        assert re.fullmatch(pattern, call(db, "GET", key).decode()) and origin(db, key) == "generated"
    version = call(db, "ROTATE", key)
    assert version == 10, "what was made here may be made again"
    call(db, "ROLLBACK", key, "VERSION", 6)
    refused("SECRETISSUED", db, "SECRET.ROTATE", key)
    call(db, "ROTATE", key, "VALUE", "sk-live-53K")
    assert origin(db, key) == "issued"


def test_meta(db, name, refused):
    key = name()
    assert call(db, "META", key) is None
    refused("ERR", db, "SECRET.META", key, "SET", "a", "b")
    call(db, "SET", key, "v", "META", "team", "pay")
    assert call(db, "META", key, "SET", "tier", "high", "rotation", "30d", "DEL", "team", "none") == b"OK"
    assert dict_of(call(db, "META", key)) == {"tier": "high", "rotation": "30d", "origin": "issued"}
    info = pairs(call(db, "INFO", key))
    assert info["version"] == 1 and dict_of(info["meta"]) == dict_of(call(db, "META", key))
    assert call(db, "META", key, "SET", "origin", "generated") == b"OK"
    assert call(db, "ROTATE", key) == 2
    assert call(db, "META", key, "DEL", "tier", "rotation") == b"OK"
    assert dict_of(call(db, "META", key)) == {"origin": "generated"}
    for wrong in (["SET"], ["SET", "a"], ["SET", "a", "b", "c"], ["DEL"], ["x"], ["SET", "DEL", "a"], ["SET", "origin", "mine"],
                  ["SET", "rotation", "sometimes"], ["DEL", *map(str, range(65))]):
        refused("ERR", db, "SECRET.META", key, *wrong)
    assert dict_of(call(db, "META", key)) == {"origin": "generated"} and call(db, "GET", key)


def test_rotate_api_key(db, name):
    key = name()
    call(db, "SET", key, json.dumps({"api_key": "old", "previous_key": "", "rotated_at": ""}))
    call(db, "ROTATE", key, "VALUE", "new")
    value = json.loads(call(db, "GET", key))
    assert (value["api_key"], value["previous_key"]) == ("new", "old")
    assert value["rotated_at"]


def test_rotate_database_is_refused(db, refused):
    """Redis cannot tell the database its new password."""
    value = json.dumps({"host": "db", "port": 5432, "name": "app", "user": "app", "password": "old"})
    call(db, "SET", "database/primary", value)
    refused("ERR", db, "SECRET.ROTATE", "database/primary")
    assert json.loads(call(db, "GET", "database/primary"))["password"] == "old"
    assert pairs(call(db, "INFO", "database/primary"))["pending"] == 0


def test_rollback(db, name, refused):
    key = name()
    call(db, "SET", key, "one")
    refused("SECRETVERSION", db, "SECRET.ROLLBACK", key)
    call(db, "SET", key, "two")
    call(db, "SET", key, "three")
    assert call(db, "ROLLBACK", key) == 2
    assert call(db, "GET", key) == b"two"
    assert call(db, "ROLLBACK", key) == 3
    assert call(db, "ROLLBACK", key, "VERSION", 1) == 1
    assert call(db, "GET", key) == b"one"
    refused("SECRETVERSION", db, "SECRET.ROLLBACK", key, "VERSION", 9)
    assert call(db, "SET", key, "four") == 4, "numbers are not used again"


# INFO, VERSIONS, LIST

def test_info(db, name):
    key = name()
    before = int(time.time() * 1000) - 1
    call(db, "SET", key, "one")
    call(db, "SET", key, "two")
    info = pairs(call(db, "INFO", key))
    assert info["name"] == key.encode() and info["state"] == b"live"
    assert (info["version"], info["previous"], info["pending"], info["versions"], info["counter"]) == (2, 1, 0, 2, 2)
    assert before <= info["created"] <= info["updated"] <= int(time.time() * 1000) + 1
    versions = [pairs(version) for version in call(db, "VERSIONS", key)]
    assert [(v["version"], v["state"]) for v in versions] == [(2, b"current"), (1, b"previous")]


def test_info_shows_no_value(db, name, canary):
    key, value = name(), canary("info").encode()
    call(db, "SET", key, value)
    for command in ("INFO", "VERSIONS", "GETSEALED"):
        assert value not in repr(call(db, command, key)).encode()
    assert value not in db.dump(key)


def list_all(db, *options):
    cursor, names = b"0", []
    while True:
        cursor, some = call(db, "LIST", cursor, *options)
        names += some
        if cursor == b"0":
            return sorted(names)


def test_list(db):
    names = sorted(f"{kind}/n{i}".encode() for kind in ("database", "tls") for i in range(50))
    for key in names:
        call(db, "SET", key, "v")
    for i in range(200):
        db.set(f"other:{i}", "x")
    assert sorted(set(list_all(db))) == names
    assert sorted(set(list_all(db, "COUNT", 1000))) == names
    assert set(list_all(db, "MATCH", "tls/*")) == {key for key in names if key.startswith(b"tls/")}
    assert list_all(db, "MATCH", "nothing*") == []
    assert call(db, "LIST")[0] != b"0", "one step is not all"


# DEL, UNDELETE, DESTROY

def test_delete(db, name):
    key = name()
    call(db, "SET", key, "v1")
    assert call(db, "DEL", key) == 1
    assert call(db, "DEL", key) == 0
    assert call(db, "GET", key) is None
    assert pairs(call(db, "INFO", key))["state"] == b"deleted"
    assert db.exists(key) == 1
    assert call(db, "UNDELETE", key) == b"OK"
    assert call(db, "GET", key) == b"v1"
    assert call(db, "UNDELETE", key) == b"OK"
    assert call(db, "DEL", key) == 1
    assert call(db, "SET", key, "v2") == 2, "a new version brings it back"
    assert call(db, "GET", key) == b"v2"


def test_native_delete_forgets(db, name):
    key = name()
    call(db, "SET", key, "v1")
    call(db, "SET", key, "v2")
    assert db.delete(key) == 1
    assert call(db, "SET", key, "v") == 1


def test_destroy(db, name, refused):
    key = name()
    for value in ("one", "two", "three"):
        call(db, "SET", key, value)
    assert call(db, "DESTROY", key, "VERSION", 1) == b"OK"
    assert call(db, "GET", key, "VERSION", 1) is None
    assert call(db, "GET", key) == b"three"
    states = {pairs(v)["version"]: pairs(v)["state"] for v in call(db, "VERSIONS", key)}
    assert states[1] == b"destroyed"
    refused("SECRETVERSION", db, "SECRET.DESTROY", key, "VERSION", 9)


def test_the_current_version_is_not_destroyed(db, name, refused):
    key = name()
    for value in ("one", "two"):
        call(db, "SET", key, value)
    assert "version 2 is the current one" in refused("SECRETVERSION", db, "SECRET.DESTROY", key, "VERSION", 2)
    assert call(db, "GET", key) == b"two"
    call(db, "ROLLBACK", key)
    assert call(db, "DESTROY", key, "VERSION", 2) == b"OK"
    assert call(db, "GET", key) == b"one"
    assert call(db, "DESTROY", key, "ALL") == b"OK"
    assert call(db, "GET", key) is None
    refused("ERR", db, "SECRET.UNDELETE", key)


# the type among the server's own commands

def test_copy_is_refused_and_rename_is_noticed(db, refused):
    call(db, "SET", "api-keys/a", "v")
    refused("ERR", db, "COPY", "api-keys/a", "api-keys/b")
    db.rename("api-keys/a", "api-keys/b")
    for command in (["GET"], ["GETSEALED"], ["SET", "w"], ["INFO"], ["ROTATE"], ["DEL"], ["SETSEALED", "x"]):
        refused("SECRETMOVED", db, f"SECRET.{command[0]}", "api-keys/b", *command[1:])
    db.rename("api-keys/b", "tls/b")  # of another type, so under another key
    refused("SECRETMOVED", db, "SECRET.GET", "tls/b")
    db.rename("tls/b", "api-keys/a")
    assert call(db, "GET", "api-keys/a") == b"v"


def test_other_database(open_redis, name):
    server, key = open_redis(), name()
    one, two = server.client(db=1), server.client(db=2)
    call(one, "SET", key, "one")
    call(two, "SET", key, "two")
    assert (call(one, "GET", key), call(two, "GET", key)) == (b"one", b"two")
    assert call(one, "LIST") == [b"0", [key.encode()]]
    assert server.client().move(key, 3) == 0


def test_memory_usage(db, name):
    key = name()
    call(db, "SET", key, "v")
    small = db.memory_usage(key)
    call(db, "SET", key, os.urandom(40000))
    assert db.memory_usage(key) > small + 40000


def test_watch_is_not_broken_by_a_refusal(db, name, refused):
    key = name()
    call(db, "SET", key, "v")
    pipe = db.pipeline()
    pipe.watch(key)
    refused("SECRETVERSION", db, "SECRET.SET", key, "w", "CAS", 9)
    pipe.multi()
    pipe.execute_command("SECRET.GET", key)
    assert pipe.execute() == [b"v"]


def test_watch_sees_a_write(db, name):
    import redis
    key = name()
    call(db, "SET", key, "v")
    pipe = db.pipeline()
    pipe.watch(key)
    call(db, "SET", key, "w")
    pipe.multi()
    pipe.execute_command("SECRET.GET", key)
    with pytest.raises(redis.exceptions.WatchError):
        pipe.execute()


def test_notifications(db, name, wait_for):
    db.config_set("notify-keyspace-events", "Kd")
    listener, key = db.pubsub(), name()
    listener.psubscribe("__keyspace@0__:*")
    wait_for(lambda: listener.get_message(timeout=1))
    for words in (["SET", key, "v"], ["SET", key, "w"], ["ROTATE", key, "GENERATE"], ["ROLLBACK", key], ["DEL", key],
                  ["UNDELETE", key], ["META", key, "SET", "a", "b"], ["DESTROY", key, "VERSION", 1]):
        call(db, *words)
        message = wait_for(lambda: listener.get_message(timeout=1))
        assert message["data"].decode() == "secret." + words[0].lower()


def test_help_tells_every_command(open_redis):
    db = open_redis().client()
    lines = [line.decode() for line in call(db, "HELP")]
    told = {line.split()[0].lower() for line in lines if line.startswith("SECRET.")}
    listing = db.eval("return redis.call('COMMAND', 'LIST', 'FILTERBY', 'MODULE', 'keyturn')", 0)
    commands = {command.decode().lower() for command in listing}
    assert told == commands


def test_errors_are_counted(db, name, refused):
    refused("SECRETVERSION", db, "SECRET.SET", name(), "v", "CAS", 5)
    assert "errorstat_SECRETVERSION" in db.info("errorstats")


def test_info_section(open_redis, sealed_redis):
    assert open_redis().client().info("keyturn")["keyturn_mode"] == "open"
    assert sealed_redis().client().info("keyturn")["keyturn_mode"] == "sealed"


def test_transaction(db, name):
    key = name()
    pipe = db.pipeline()
    pipe.execute_command("SECRET.SET", key, "one")
    pipe.execute_command("SECRET.SET", key, "two")
    pipe.execute_command("SECRET.GET", key)
    assert pipe.execute() == [1, 2, b"two"]


def test_script(db, name):
    key = name()
    assert db.eval("return redis.call('SECRET.SET', KEYS[1], ARGV[1])", 1, key, "from-lua") == 1
    assert db.eval("return redis.call('SECRET.GET', KEYS[1])", 1, key) == b"from-lua"

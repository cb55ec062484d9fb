# SPDX-License-Identifier: BSD-2-Clause
"""What is written survives a restart in every form that the server keeps it in, and is ciphertext in all of them."""
import os
import signal

import pytest

NAME = "api-keys/stripe"
AOF_ALWAYS = ["appendonly yes", "appendfsync always"]
AOF = ["appendonly yes", "appendfsync everysec"]
RDB = ["appendonly no", "save 3600 1"]


def fill(db, canary):
    """A secret with history, one that is deleted, one that expires; what they look like from outside."""
    values = [canary(f"v{i}") for i in range(4)]
    for value in values:
        db.execute_command("SECRET.SET", NAME, value, "META", "team", "pay")
    db.execute_command("SECRET.ROLLBACK", NAME)
    db.execute_command("SECRET.SET", "api-keys/gone", canary("gone"))
    db.execute_command("SECRET.DEL", "api-keys/gone")
    db.execute_command("SECRET.SET", "tls/soon", canary("soon"), "EX", 5000)
    db.execute_command("SECRET.ROTATE", "tls/soon", "VALUE", canary("soon2"))
    return look(db)


def info(db, name):
    """All but the accesses, which change when a test looks at the secret."""
    pairs = db.execute_command("SECRET.INFO", name)
    told = dict(zip(pairs[::2], pairs[1::2]))
    return {key: value for key, value in told.items() if not key.startswith((b"accessed", b"last-"))}


def look(db):
    names = [NAME, "api-keys/gone", "tls/soon"]
    seen = {name: [db.execute_command(f"SECRET.{command}", name) for command in ("GET", "VERSIONS", "GETSEALED")] + [info(db, name)]
            for name in names}
    seen["old"] = [db.execute_command("SECRET.GET", NAME, "VERSION", n) for n in (1, 2, 3, 4)]
    seen["digest"] = db.execute_command("DEBUG", "DIGEST-VALUE", *names)
    seen["expires"] = [db.execute_command("PEXPIRETIME", name) for name in names]
    return seen


def files(server):
    return b"".join(path.read_bytes() for path in sorted(server.dir.rglob("*")) if path.is_file())


def assert_sealed(server):
    text = files(server)
    assert b"KTRN" in text, "there are sealed records"
    assert os.environ["KEYTURN_CANARY"].encode() not in text


@pytest.mark.parametrize("lines", [AOF, AOF_ALWAYS, AOF + ["aof-use-rdb-preamble no"], RDB,
                                   RDB + ["rdbcompression no"]], ids=["aof", "aof-always", "aof-plain", "rdb", "rdb-raw"])
def test_restart(open_redis, canary, lines):
    server = open_redis(*lines)
    before = fill(server.client(), canary)
    server.restart()
    assert look(server.client()) == before
    assert_sealed(server)


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_aof_rewrite(open_redis, canary, wait_for, preamble):
    server = open_redis("appendonly yes", f"aof-use-rdb-preamble {preamble}")
    db = server.client()
    before = fill(db, canary)
    db.bgrewriteaof()
    wait_for(lambda: db.info("persistence")["aof_rewrite_in_progress"] == 0 and db.info("persistence")["aof_rewrite_scheduled"] == 0)
    assert db.info("persistence")["aof_last_bgrewrite_status"] == "ok"
    if preamble == "no":
        base = next(server.dir.glob("appendonlydir/*.base.aof")).read_bytes()
        assert b"SECRET.RESTORE" in base
    server.restart(signal.SIGKILL)
    assert look(server.client()) == before
    assert_sealed(server)


def test_aof_rewrite_of_a_renamed_key(open_redis, wait_for, refused):
    """The rewrite must not make a moved secret look as if it belonged there."""
    server = open_redis("appendonly yes", "aof-use-rdb-preamble no")
    db = server.client()
    db.execute_command("SECRET.SET", NAME, "v")
    db.rename(NAME, "no name of ours")
    db.bgrewriteaof()
    wait_for(lambda: db.info("persistence")["aof_rewrite_in_progress"] == 0 and db.info("persistence")["aof_rewrite_scheduled"] == 0)
    server.restart(signal.SIGKILL)
    db = server.client()
    db.rename("no name of ours", "api-keys/other")
    refused("SECRETMOVED", db, "SECRET.GET", "api-keys/other")
    db.rename("api-keys/other", NAME)
    assert db.execute_command("SECRET.GET", NAME) == b"v"


def test_bgsave_in_a_child_without_keys(open_redis, canary, wait_for):
    server = open_redis("appendonly no")
    db = server.client()
    before = fill(db, canary)
    db.bgsave()
    wait_for(lambda: db.info("persistence")["rdb_bgsave_in_progress"] == 0)
    assert db.info("persistence")["rdb_last_bgsave_status"] == "ok"
    assert look(db) == before, "the parent goes on with its keys"
    server.restart(signal.SIGKILL)
    assert look(server.client()) == before
    assert_sealed(server)


def test_debug_reload(open_redis, canary):
    db = open_redis().client()
    before = fill(db, canary)
    db.execute_command("DEBUG", "RELOAD")
    assert look(db) == before


def test_dump_and_restore(open_redis, canary, refused):
    db = open_redis().client()
    value = canary("dump").encode()
    db.execute_command("SECRET.SET", NAME, value)
    payload = db.dump(NAME)
    assert value not in payload
    db.delete(NAME)
    db.restore(NAME, 0, payload)
    assert db.execute_command("SECRET.GET", NAME) == value
    db.restore("api-keys/other", 0, payload)
    refused("SECRETMOVED", db, "SECRET.GET", "api-keys/other")


def test_dump_opens_on_another_server_with_the_key_only(open_redis, sealed_redis, make_home, make_redis, canary, refused):
    one = open_redis().client()
    value = canary("elsewhere").encode()
    one.execute_command("SECRET.SET", NAME, value)
    payload = one.dump(NAME)
    sealed = sealed_redis().client()
    sealed.restore(NAME, 0, payload)
    refused("SECRETSEALED", sealed, "SECRET.GET", NAME)
    assert sealed.execute_command("SECRET.GETSEALED", NAME) == one.execute_command("SECRET.GETSEALED", NAME)
    foreign = make_home("staging")
    foreign.grant("redis:*", ["read", "write"], ["*"])
    other = make_redis(foreign).start("appendonly no").client()
    other.restore(NAME, 0, payload)
    refused("SECRETSEALED", other, "SECRET.GET", NAME)
    refused("SECRETSEALED", other, "SECRET.SET", NAME, "mine")


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_kill_keeps_what_was_acknowledged(open_redis, canary, policy):
    server = open_redis("appendonly yes", f"appendfsync {policy}")
    db = server.client()
    values = {f"api-keys/k{i}": canary(f"kill{i}").encode() for i in range(100)}
    for name, value in values.items():
        db.execute_command("SECRET.SET", name, value)
    server.restart(signal.SIGKILL)
    db = server.client()
    assert {name: db.execute_command("SECRET.GET", name) for name in values} == values


def test_kill_between_rotations(open_redis, canary):
    """Whatever was acknowledged is there, with its history."""
    server = open_redis("appendonly yes", "appendfsync always")
    for turn in range(3):
        db = server.client()
        for _ in range(10):
            value = canary(f"turn{turn}").encode()
            version = db.execute_command("SECRET.SET", NAME, value)
        server.restart(signal.SIGKILL)
        db = server.client()
        assert db.execute_command("SECRET.GET", NAME) == value
        assert db.execute_command("SECRET.GET", NAME, "VERSION", version) == value


def test_truncated_aof_loses_the_tail_only(open_redis, canary):
    server = open_redis("appendonly yes", "appendfsync always", "aof-load-truncated yes")
    db = server.client()
    first = canary("first").encode()
    db.execute_command("SECRET.SET", NAME, first)
    size = sum(path.stat().st_size for path in server.dir.glob("appendonlydir/*.incr.aof"))
    db.execute_command("SECRET.SET", NAME, canary("second"))
    server.stop(signal.SIGKILL)
    with open(next(server.dir.glob("appendonlydir/*.incr.aof")), "r+b") as aof:
        aof.truncate(size + 50)
    server.start()
    assert server.client().execute_command("SECRET.GET", NAME) == first


def test_each_database_has_its_own(open_redis):
    server = open_redis("appendonly yes")
    for number in (0, 3, 7):
        server.client(db=number).execute_command("SECRET.SET", NAME, f"in-{number}")
    server.restart(signal.SIGKILL)
    for number in (0, 3, 7):
        assert server.client(db=number).execute_command("SECRET.GET", NAME) == f"in-{number}".encode()


def test_warnings(open_redis, make_redis):
    server = open_redis("appendonly no")
    assert "secrets do not survive a restart" in server.log()
    debian = make_redis().start("appendonly no", "save 3600 1 300 100 60 10000")
    assert "a secret that was set since the last save is lost" in debian.log(), "F20: an hour of answered writes"
    quiet = make_redis().start("appendonly yes")
    assert "do not survive" not in quiet.log() and "is lost" not in quiet.log() and "evict" not in quiet.log()
    db = quiet.client()
    db.config_set("maxmemory", "100mb")
    db.config_set("maxmemory-policy", "allkeys-lru")
    assert "evicts keys, secrets among them" in quiet.log()

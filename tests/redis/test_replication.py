# SPDX-License-Identifier: BSD-2-Clause
"""What goes to a replica is sealed, whole, and needs no key there."""
import os
import socket

import pytest

NAME = "api-keys/stripe"


def follow(wait_for, master, replica):
    """Waits until the replica has all of what the master has written."""
    def caught_up():
        offset = master.info("replication")["master_repl_offset"]
        there = replica.info("replication")
        return there["master_link_status"] == "up" and there["slave_repl_offset"] == offset
    wait_for(caught_up)


@pytest.fixture
def pair(open_redis, make_redis, wait_for):
    """A master with a key and a replica without."""
    master = open_redis("appendonly no", "repl-diskless-sync-delay 0")
    replica = make_redis(None).start(f"replicaof 127.0.0.1 {master.port}", "appendonly no", "repl-diskless-sync-delay 0")
    wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up")
    return master, replica


def test_replica_without_key(pair, wait_for, canary, refused):
    master, replica = pair[0].client(), pair[1].client()
    value = canary("replica")
    master.execute_command("SECRET.SET", NAME, value, "META", "a", "b")
    master.execute_command("SECRET.SET", NAME, canary("replica2"))
    master.execute_command("SECRET.ROTATE", NAME, "GENERATE")
    master.execute_command("SECRET.ROLLBACK", NAME, "VERSION", 1)
    master.execute_command("SECRET.DESTROY", NAME, "VERSION", 2)
    follow(wait_for, master, replica)
    assert replica.execute_command("SECRET.GETSEALED", NAME) == master.execute_command("SECRET.GETSEALED", NAME)
    assert replica.execute_command("SECRET.LIST") == [b"0", [NAME.encode()]]
    refused("SECRETSEALED", replica, "SECRET.GET", NAME)
    refused("SECRETSEALED", replica, "SECRET.INFO", NAME)
    import redis
    with pytest.raises(redis.exceptions.ReadOnlyError):
        replica.execute_command("SECRET.SETSEALED", NAME, "x")


def test_replica_restarts_and_is_promoted(pair, wait_for, canary, home, make_redis):
    """Its AOF alone is enough; with the key it is a full server."""
    master, replica = pair
    value = canary("promote").encode()
    replica.client().config_set("appendonly", "yes")
    wait_for(lambda: not replica.client().info("persistence")["aof_rewrite_in_progress"])
    master.client().execute_command("SECRET.SET", NAME, value, "EX", 5000)
    follow(wait_for, master.client(), replica.client())
    master.stop()
    replica.stop()
    replica.start("appendonly yes")
    db = replica.client()
    db.replicaof("NO", "ONE")
    bundle = db.execute_command("SECRET.GETSEALED", NAME)
    assert bundle and os.environ["KEYTURN_CANARY"].encode() not in bundle
    replica.home = home
    replica.restart()
    assert replica.client().execute_command("SECRET.GET", NAME) == value
    assert 0 < replica.client().ttl(NAME) <= 5000


def test_full_and_partial_sync(pair, wait_for, canary):
    master, replica = pair[0].client(), pair[1].client()
    for i in range(20):
        master.execute_command("SECRET.SET", f"api-keys/n{i}", canary(f"sync{i}"))
    follow(wait_for, master, replica)
    replica.replicaof("NO", "ONE")
    master.execute_command("SECRET.SET", "api-keys/n0", canary("later"))
    replica.replicaof("127.0.0.1", pair[0].port)
    follow(wait_for, master, replica)
    for i in range(20):
        name = f"api-keys/n{i}"
        assert replica.execute_command("SECRET.GETSEALED", name) == master.execute_command("SECRET.GETSEALED", name)
    names = [f"api-keys/n{i}" for i in range(20)]
    assert replica.execute_command("DEBUG", "DIGEST-VALUE", *names) == master.execute_command("DEBUG", "DIGEST-VALUE", *names)


def test_expiry_is_absolute(pair, wait_for):
    master, replica = pair[0].client(), pair[1].client()
    master.execute_command("SECRET.SET", NAME, "v", "EX", 500)
    follow(wait_for, master, replica)
    assert replica.execute_command("PEXPIRETIME", NAME) == master.execute_command("PEXPIRETIME", NAME) > 0
    master.execute_command("SECRET.SET", NAME, "w")
    follow(wait_for, master, replica)
    assert replica.ttl(NAME) == -1


def test_the_stream_itself(open_redis, canary, tmp_path):
    """As a replica sees it: SECRET.RESTORE with sealed bytes, in MULTI and from a script too, and nothing else."""
    server = open_redis("appendonly no", "repl-diskless-sync-delay 0")
    db = server.client()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as stream:
        stream.sendall(b"SYNC\r\n")
        text = b""
        while b"\xff" not in text or len(text) < 100:  # an RDB of nothing, and its end
            text += stream.recv(65536)
        db.execute_command("SECRET.SET", NAME, canary("stream"), "META", "k", "v")
        db.execute_command("SECRET.ROTATE", NAME, "VALUE", canary("stream2"))
        pipe = db.pipeline()
        pipe.execute_command("SECRET.SET", NAME, canary("multi"), "EX", 100)
        pipe.execute_command("SECRET.DEL", NAME)
        pipe.execute()
        # the script's own argument is not a canary: the server logs it, as the manual says
        db.eval("return redis.call('SECRET.SET', KEYS[1], ARGV[1])", 1, NAME, "plaintext-for-lua")
        db.execute_command("SECRET.GET", NAME)
        db.set("end", "of-it")
        text = b""
        while b"of-it" not in text:
            text += stream.recv(65536)
    (tmp_path / "stream").write_bytes(text)
    assert text.count(b"SECRET.RESTORE") == 5, "each command is one change"
    assert text.count(b"MULTI") == 1
    for word in (b"SECRET.SET", b"SECRET.ROTATE", b"SECRET.DEL", b"SECRET.GET", b"plaintext-for-lua"):
        assert word not in text, word
    assert os.environ["KEYTURN_CANARY"].encode() not in text


def test_reads_on_a_replica_with_a_key(open_redis, make_redis, home, wait_for, canary):
    """They are decided and recorded there; what arrives from the master is not."""
    master = open_redis("appendonly no", "repl-diskless-sync-delay 0")
    replica = make_redis(home).start(f"replicaof 127.0.0.1 {master.port}", "appendonly no")
    wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up")
    value = canary("read").encode()
    master.client().execute_command("SECRET.SET", NAME, value)
    follow(wait_for, master.client(), replica.client())
    before = len(home.records("redis"))
    assert replica.client().execute_command("SECRET.GET", NAME) == value
    assert [record["action"] for record in home.records("redis")[before:]] == ["read"]


def test_replica_of_a_replica(pair, make_redis, wait_for, canary):
    master, middle = pair
    last = make_redis(None).start(f"replicaof 127.0.0.1 {middle.port}", "appendonly no")
    wait_for(lambda: last.client().info("replication")["master_link_status"] == "up")
    master.client().execute_command("SECRET.SET", NAME, canary("chain"))
    wait_for(lambda: last.client().execute_command("SECRET.GETSEALED", NAME))
    sealed = master.client().execute_command("SECRET.GETSEALED", NAME)
    assert last.client().execute_command("SECRET.GETSEALED", NAME) == sealed

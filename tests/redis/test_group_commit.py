# SPDX-License-Identifier: BSD-2-Clause
"""A change waits until its record is on the disk, and the server does not. A busy disk is the lock of the audit stream, held by the test."""
import contextlib
import fcntl
import signal
import socket
import threading
import time

import pytest
import redis as client_library

from lib.tools import wait_for

CLIENTS = 50


@contextlib.contextmanager
def busy_disk(home):
    with open(home.audit / "redis/state", "rb") as state:
        fcntl.flock(state, fcntl.LOCK_EX)
        yield


class Call(threading.Thread):
    """A command on a connection of its own; `answer` is what it got, an error as its text."""

    def __init__(self, server, *words):
        super().__init__()
        self.client, self.words, self.answer = server.client(), words, None
        self.start()

    def run(self):
        try:
            self.answer = self.client.execute_command(*self.words)
        except client_library.exceptions.ResponseError as error:
            self.answer = str(error)

    def get(self):
        self.join(30)
        assert not self.is_alive()
        return self.answer


def blocked(server):
    return server.client().info("clients")["blocked_clients"]


def seals(home):
    return (home.audit / "redis/log").read_text().count('{"seal":')


@pytest.fixture
def server(open_redis, name):
    server = open_redis("appendonly yes", "appendfsync always")
    server.client().execute_command("SECRET.SET", name(), "so that there is a ring")
    return server


def test_many_writes_are_one_commit_and_stop_nobody(server, home, name):
    names = [name() for _ in range(CLIENTS)]
    db = server.client()
    db.set("plain", "x")
    before = seals(home)
    with busy_disk(home):
        calls = [Call(server, "SECRET.SET", one, "value") for one in names]
        wait_for(lambda: blocked(server) == CLIENTS, what="the writers to wait")
        began = time.monotonic()
        for one in names:
            assert db.get("plain") == b"x"
            assert db.exists(one) == 0
        assert time.monotonic() - began < 2
        assert not any(call.answer for call in calls)
    assert [call.get() for call in calls] == CLIENTS * [1]
    assert [db.execute_command("SECRET.GET", one) for one in names] == CLIENTS * [b"value"]
    records = [line for line in home.records("redis") if line.get("reference") in names and line["action"] == "write"]
    assert sorted(line["status"] for line in records) == CLIENTS * ["intent"] + CLIENTS * ["success"]
    assert seals(home) - before <= 8


def test_changes_of_one_key_follow_each_other(server, name):
    one = name()
    numbers, values = [], {}

    def write(n):
        client = server.client()
        for k in range(10):
            version = client.execute_command("SECRET.SET", one, f"{n}-{k}")
            numbers.append(version)
            values[version] = f"{n}-{k}".encode()
    writers = [threading.Thread(target=write, args=(n,)) for n in range(20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert sorted(numbers) == list(range(1, 201))
    db = server.client()
    assert db.execute_command("SECRET.GET", one) == values[200]
    for version in range(192, 200):
        assert db.execute_command("SECRET.GET", one, "VERSION", version) == values[version]
    before = db.execute_command("SECRET.GETSEALED", one)
    server.restart(signal.SIGKILL)
    assert server.client().execute_command("SECRET.GETSEALED", one) == before


@pytest.mark.parametrize("exists", [False, True])
def test_without_its_record_nothing_is_changed(server, home, name, exists):
    one = name()
    db = server.client()
    if exists:
        db.execute_command("SECRET.SET", one, "first")
    before, offset = db.dump(one), db.info("replication")["master_repl_offset"]
    with busy_disk(home):
        assert Call(server, "SECRET.SET", one, "second").get().startswith("SECRETAUDIT")     # after 5 s
        assert db.dump(one) == before and db.info("replication")["master_repl_offset"] == offset

    def works():
        with contextlib.suppress(client_library.exceptions.ResponseError):
            return db.execute_command("SECRET.SET", one, "third")
    assert wait_for(works, 10) == (2 if exists else 1)


def test_a_client_that_goes_away(server, home, name):
    one = name()
    with busy_disk(home):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(server.socket))
        client.sendall(f"SECRET.SET {one} value\r\n".encode())
        wait_for(lambda: blocked(server) == 1, what="the writer to wait")
        client.close()
        wait_for(lambda: blocked(server) == 0, what="the writer to go")
    db = server.client()
    assert wait_for(lambda: db.execute_command("SECRET.GET", one)) == b"value"
    server.restart(signal.SIGKILL)
    assert server.client().execute_command("SECRET.GET", one) == b"value"


def test_another_command_changes_the_key_meanwhile(server, home, name):
    one = name()
    db = server.client()
    db.execute_command("SECRET.SET", one, "first")
    with busy_disk(home):
        calls = [Call(server, "SECRET.SET", one, "second")]
        wait_for(lambda: blocked(server) == 1)
        calls.append(Call(server, "SECRET.ROLLBACK", one))
        wait_for(lambda: blocked(server) == 2)
        db.delete(one)
    assert all(call.get().startswith("SECRETVERSION") for call in calls)
    assert db.exists(one) == 0
    outcomes = [line["status"] for line in home.records("redis") if line.get("reference") == one]
    assert outcomes.count("intent") == 3 and outcomes.count("conflict") == 2


def test_a_sealed_change_is_recorded_as_what_became_of_it(server, home, name):
    """An intent while it waits; a change that another command overtook has failed."""
    one, other = name(), name()
    db = server.client()
    db.execute_command("SECRET.SET", one, "first")
    old = db.execute_command("SECRET.GETSEALED", one)
    db.execute_command("SECRET.SET", one, "second")
    new = db.execute_command("SECRET.GETSEALED", one)
    db.execute_command("SECRET.RESTORE", one, old)
    with busy_disk(home):
        call = Call(server, "SECRET.SETSEALED", one, new)
        wait_for(lambda: blocked(server) == 1)
        db.delete(one)
    assert call.get().startswith("SECRETVERSION") and db.exists(one) == 0

    def statuses():
        return [line["status"] for line in home.records("redis") if line["action"] == "write.sealed"]
    wait_for(lambda: len(statuses()) == 2)
    assert statuses() == ["intent", "conflict"]
    db.execute_command("SECRET.RESTORE", one, old)
    assert db.execute_command("SECRET.SETSEALED", one, new) == 2
    wait_for(lambda: len(statuses()) == 4)
    assert statuses() == ["intent", "conflict", "intent", "success"]


def test_transactions_scripts_and_watch(server, home, name):
    one, other = name(), name()
    db = server.client()
    with db.pipeline() as pipe:
        pipe.execute_command("SECRET.SET", one, "a")
        pipe.execute_command("SECRET.SET", one, "b")
        pipe.execute_command("SECRET.GET", one)
        assert pipe.execute() == [1, 2, b"b"]
    assert db.eval("return redis.call('SECRET.SET', KEYS[1], ARGV[1])", 1, one, "c") == 3
    with db.pipeline() as pipe:
        pipe.watch(one)
        with busy_disk(home):
            call = Call(server, "SECRET.SET", one, "d")
            wait_for(lambda: blocked(server) == 1)
        assert call.get() == 4
        pipe.multi()
        pipe.set("plain", "x")
        with pytest.raises(client_library.exceptions.WatchError):
            pipe.execute()
    assert db.execute_command("SECRET.SET", other, "v", "EX", 100) == 1 and 90 < db.ttl(other) <= 100
    assert db.execute_command("SECRET.DEL", other) == 1 and db.execute_command("SECRET.DEL", other) == 0
    assert db.execute_command("SECRET.UNDELETE", other) == b"OK" and 90 < db.ttl(other) <= 100


def test_kill_at_any_time_loses_nothing_acknowledged(server, name):
    names, known, lock = [name() for _ in range(8)], {}, threading.Lock()

    def write(client, one, stop):
        with contextlib.suppress(client_library.exceptions.RedisError, OSError):
            while not stop.is_set():
                version = client.execute_command("SECRET.SET", one, f"{one} {time.monotonic()}")
                with lock:
                    known[one] = max(version, known.get(one, 0))
    for round_ in range(30):
        stop = threading.Event()
        writers = [threading.Thread(target=write, args=(server.client(), one, stop)) for one in 2 * names]
        for writer in writers:
            writer.start()
        seen = sum(known.values())
        wait_for(lambda seen=seen: sum(known.values()) >= seen + 20)
        server.stop(signal.SIGKILL)
        stop.set()
        for writer in writers:
            writer.join(30)
        server.start()
        db = server.client()
        for one, version in known.items():
            kept = [entry[entry.index(b"version") + 1] if isinstance(entry, list) else entry[b"version"]
                    for entry in db.execute_command("SECRET.VERSIONS", one)]
            assert max(kept) >= version, (round_, one, kept, version)


def test_what_could_be_lost_is_in_info(open_redis):
    db = open_redis("appendonly no").client()

    def told():
        info = db.info("keyturn")
        return [next(value for key, value in info.items() if key.endswith(word)) for word in ("unpersisted", "evictable")]
    assert told() == [1, 0]
    db.config_set("appendonly", "yes")
    assert told() == [0, 0]
    db.config_set("maxmemory-policy", "allkeys-lru")
    db.config_set("maxmemory", "100mb")
    assert told() == [0, 1]

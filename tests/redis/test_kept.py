# SPDX-License-Identifier: BSD-2-Clause
"""What held when the module was first tried hard, and has to hold on: a reshard under load, thousands of senseless calls, a load beside
which the old data are served."""
import random
import signal
import threading
import time

import pytest
import redis as client_library

from lib.redis_cluster import deal, join

NAMES = [f"api-keys/of-{number}" for number in range(12)]
CALLS = 6000


# ---- a cluster of open servers ----

class Router:
    """As a client of clusters does it: MOVED and ASK are followed, and nothing else is forgiven."""

    def __init__(self, nodes):
        self.clients = {node.server.port: node.server.client() for node in nodes}

    def call(self, *command):
        port, asking = next(iter(self.clients)), False
        end = time.monotonic() + 20
        while time.monotonic() < end:
            client = self.clients[port]
            try:
                if asking:
                    with client.pipeline(transaction=False) as pipe:
                        pipe.execute_command("ASKING")
                        pipe.execute_command(*command)
                        return pipe.execute()[1]
                return client.execute_command(*command)
            except client_library.exceptions.ResponseError as error:
                word, *place = str(error).split()
                if word not in ("ASK", "MOVED", "TRYAGAIN"):
                    raise
                asking = word == "ASK"
                if word == "TRYAGAIN":
                    time.sleep(0.01)  # as clients do
                else:
                    port = int(place[1].rsplit(":")[-1])
        raise AssertionError(f"{command[:2]}: sent around")


def test_a_reshard_under_load(open_redis):
    nodes = join(open_redis, 3)
    deal(nodes)
    acknowledged, stop, failed = dict.fromkeys(NAMES, 0), threading.Event(), []
    first = Router(nodes)
    for name in NAMES:
        first.call("SECRET.SET", name, "0")

    def work(names):
        router, number = Router(nodes), 0
        try:
            while not stop.is_set():
                number += 1
                for name in names:
                    router.call("SECRET.SET", name, str(number))
                    acknowledged[name] = number
                    assert int(router.call("SECRET.GET", name)) == number, name
        except Exception as error:  # noqa: BLE001 - of a thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(NAMES[part::2],)) for part in range(2)]
    for thread in threads:
        thread.start()
    for name in NAMES:
        slot = nodes[0].ask("CLUSTER", "KEYSLOT", name)
        source = next(node for node in nodes if name in node.keys())
        target = nodes[(nodes.index(source) + 1) % 3]
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        source.ask("MIGRATE", "127.0.0.1", target.server.port, "", 0, 10000, "KEYS", *source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10))
        for node in (target, source, *nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        assert name in target.keys() and name not in source.keys()
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not failed and min(acknowledged.values()) > 1, (failed, acknowledged)
    last = Router(nodes)
    assert {name: int(last.call("SECRET.GET", name)) for name in NAMES} == acknowledged


def test_a_write_to_a_slot_on_its_way(open_redis):
    """After ASKING the node that takes a slot over stores at once, a new secret and one that has moved already."""
    nodes = join(open_redis, 2)
    deal(nodes)
    source = nodes[nodes[0].ask("CLUSTER", "KEYSLOT", NAMES[0]) // 8192]
    target = nodes[1 - nodes.index(source)]
    slot = source.ask("CLUSTER", "KEYSLOT", NAMES[0])
    other = next(name for name in (f"api-keys/{number}" for number in range(10**6)) if source.ask("CLUSTER", "KEYSLOT", name) == slot)
    source.ask("SECRET.SET", NAMES[0], "old")
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    source.ask("MIGRATE", "127.0.0.1", target.server.port, NAMES[0], 0, 10000)
    for name, version in ((NAMES[0], 2), (other, 1)):
        with target.server.client().pipeline(transaction=False) as pipe:
            pipe.execute_command("ASKING")
            pipe.execute_command("SECRET.SET", name, "new")
            pipe.execute_command("ASKING")
            pipe.execute_command("SECRET.GET", name)
            assert pipe.execute()[1::2] == [version, b"new"]


# ---- calls that mean nothing ----

def senseless(dice, commands):
    """A command of the module with arguments from a bag of words, numbers at their limits and bytes."""
    bag = [b"", b"a", b"api-keys/x", b"api-keys/y", b"nothing/at/all", b"*", b"0", b"1", b"-1", b"9223372036854775807", b"9223372036854775808",
           b"18446744073709551616", b"1e9", b"\0", b"\xff\xfe", b"\r\n", b"x" * 70000, b"{", b"GET", b"VERSION", b"EX", b"PX", b"PXAT", b"NX", b"XX", b"CAS",
           b"META", b"k=v", b"COUNT", b"MATCH", b"LENGTH", b"FIELD", b"GRACE", b"#field", b"KTB\1" + bytes(40), dice.randbytes(dice.randrange(200))]
    return [dice.choice(commands), *(dice.choice(bag) for _ in range(dice.randrange(9)))]


def test_thousands_of_senseless_calls(open_redis):
    server = open_redis()
    client = server.client()
    connection = client.connection_pool.get_connection("_")
    connection.send_command("COMMAND", "LIST", "FILTERBY", "MODULE", "keyturn")  # past the client library, which takes it for COMMAND
    commands = sorted(connection.read_response())
    client.connection_pool.release(connection)
    commands = [name for name in commands if b"|" not in name and name.lower() not in (b"secret.reload",)]
    assert len(commands) > 12
    client.execute_command("SECRET.SET", "api-keys/kept", "kept")
    dice = random.Random(1)
    for _ in range(CALLS // 100):
        with client.pipeline(transaction=False) as pipe:
            for _ in range(100):
                pipe.execute_command(*senseless(dice, commands))
            answers = pipe.execute(raise_on_error=False)
        assert len(answers) == 100
        for answer in answers:
            assert not isinstance(answer, (ConnectionError, TimeoutError)), answer
    assert server.process.running()
    assert client.execute_command("SECRET.GET", "api-keys/kept") == b"kept"
    assert "=== REDIS BUG REPORT" not in server.log() and "=== VALKEY BUG REPORT" not in server.log()
    client.execute_command("FLUSHALL")
    assert client.dbsize() == 0


# ---- loading beside the old data ----

def test_a_replica_serves_its_old_data_while_it_loads(open_redis, make_redis, home, wait_for):
    """`repl-diskless-load swapdb`: the module loads into a second data set, and answers from the first one."""
    master = open_redis("appendonly no", "repl-diskless-sync yes", "repl-diskless-sync-delay 0", "repl-backlog-size 16384")
    for number in range(300):
        master.client().execute_command("SECRET.SET", f"api-keys/n{number}", f"old {number}")
    replica = make_redis(home).start(f"replicaof 127.0.0.1 {master.port}", "appendonly no", "repl-diskless-load swapdb", "key-load-delay 0")
    client = replica.client()
    wait_for(lambda: client.info("replication")["master_link_status"] == "up", what="the first load")
    client.execute_command("CONFIG", "SET", "key-load-delay", "10000", "loading-process-events-interval-bytes", "1024")
    # a replica that comes back too late for the backlog of the same master
    replica.process.send(signal.SIGSTOP)
    master.client().execute_command("CLIENT", "KILL", "TYPE", "replica")
    for number in range(300):
        master.client().execute_command("SECRET.SET", f"api-keys/n{number}", f"new {number}")
    replica.process.send(signal.SIGCONT)
    wait_for(lambda: client.info("persistence").get("async_loading") == 1, timeout=20, interval=0.001, what="a load beside the old data")
    served = []
    while client.info("persistence").get("async_loading") == 1:
        served.append(client.execute_command("SECRET.GET", "api-keys/n7"))
    served.pop()  # the load may have ended between the question and the answer
    assert len(served) > 2 and set(served) == {b"old 7"}, served[-3:]
    client.execute_command("CONFIG", "SET", "key-load-delay", "0")
    wait_for(lambda: client.info("replication")["master_link_status"] == "up", what="the second load")
    assert client.execute_command("SECRET.GET", "api-keys/n7") == b"new 7"
    assert client.dbsize() == 300

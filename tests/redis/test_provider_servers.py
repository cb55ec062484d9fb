# SPDX-License-Identifier: BSD-2-Clause
"""Several servers: the master among the addresses, and the one that Sentinels name."""
import json
import subprocess

import pytest

from lib.tools import Process, free_port

NAME = "api-keys/stripe"


def configure(home, **options):
    home.add("providers", "redis: {%s}" % ", ".join(f"{key}: {json.dumps(value)}" for key, value in options.items()))
    for kind in ("api-keys", "tls"):
        home.add("switch", f'"{kind}/*": redis')


@pytest.fixture
def pair(sealed_redis, make_redis, wait_for):
    """(master, replica)"""
    master = sealed_redis("appendonly no", "repl-diskless-sync-delay 0")
    replica = make_redis(None).start(f"replicaof 127.0.0.1 {master.port}", "appendonly no", "repl-diskless-sync-delay 0")
    wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up")
    return master, replica


def address(server):
    return f"127.0.0.1:{server.port}"


def test_the_master_among_several(home, pair):
    master, replica = pair
    configure(home, address=[f"127.0.0.1:{free_port()}", address(replica), address(master)])
    home.set(NAME, "v")
    assert master.client().exists(NAME)
    assert home.run("check").returncode == 0


def test_a_replica_serves_while_there_is_no_master(home, pair, wait_for):
    master, replica = pair
    configure(home, address=[address(master), address(replica)])
    home.set(NAME, "v")
    wait_for(lambda: replica.client().exists(NAME))
    master.stop()
    assert home.get(NAME) == b"v"
    result = home.run("set", NAME, input=b"w", check=False)
    assert result.returncode == 69 and b"replica" in result.stderr
    replica.client().execute_command("REPLICAOF", "NO", "ONE")
    home.set(NAME, "w")
    assert home.get(NAME) == b"w"


def test_a_master_that_becomes_a_replica(driver_of, pair, wait_for):
    """The connection stays; the write that it refuses is made at the new master."""
    master, replica = pair
    store = driver_of(address=f"{address(master)}\n{address(replica)}")
    holder = store.start("--race", "1")  # a hundred writes on one connection
    wait_for(lambda: master.client().dbsize())
    replica.client().execute_command("REPLICAOF", "NO", "ONE")
    master.client().execute_command("REPLICAOF", "127.0.0.1", str(replica.port))
    holder.wait(60)
    assert store.read(1) > 0
    store.bump(1)
    assert replica.client().dbsize()


def test_no_address_and_two_ways(home):
    configure(home, timeout="1s")
    result = home.run("list", check=False)
    assert b"`sentinel`, which finds it" in result.stderr


@pytest.mark.parametrize("options, text", [
    ({"address": "h:1", "db": ["1", "2"]}, b"`db` is one value, not a list"),
    ({"address": "h:1", "tls": {"cat": "x"}}, b'no option "tls.cat", did you mean "tls.ca"?'),
    ({"address": "h:1", "sentinel": "m"}, b'no option "sentinel"'),
    ({"address": ["h:1", "nowhere"]}, b"not HOST:PORT"),
    ({"address": "h:1", "sentinel": {"master": "m"}}, b"come together"),
])
def test_options_that_are_wrong(home, options, text):
    configure(home, **options)
    result = home.run("list", check=False)
    assert result.returncode != 0 and text in result.stderr, result.stderr


class Sentinel:
    def __init__(self, stage, folder, master, *lines):
        self.port, self.dir = free_port(), folder
        folder.mkdir()
        conf = folder / "sentinel.conf"
        conf.write_text("\n".join([f"port {self.port}", "bind 127.0.0.1", f"dir {folder}", f"sentinel monitor app 127.0.0.1 {master.port} 1",
                                   "sentinel down-after-milliseconds app 500", "sentinel failover-timeout app 2000", *lines]) + "\n")
        self.process = Process([stage.redis, conf, "--sentinel"], stage.environment(), folder / "log", folder)

    def ask(self, *words):
        words = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *words]
        return subprocess.run(words, capture_output=True, text=True, timeout=10).stdout.split()


@pytest.fixture
def sentinel(kt, tmp_path, pair, wait_for):
    master, replica = pair
    started = []

    def start(*lines):
        one = Sentinel(kt, tmp_path / f"sentinel-{len(started)}", master, *lines)
        started.append(one)
        wait_for(lambda: one.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "app")[-1:] == [str(master.port)] or "NOAUTH" in one.ask("PING"))
        return one
    yield start
    for one in started:
        one.process.stop()


def test_fail_over(home, pair, sentinel, wait_for):
    master, replica = pair
    one = sentinel()
    wait_for(lambda: str(replica.port) in " ".join(one.ask("SENTINEL", "REPLICAS", "app")), timeout=20)
    addresses = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{one.port}"]
    configure(home, sentinel={"master": "app", "addresses": addresses})
    home.set(NAME, "before")
    wait_for(lambda: replica.client().exists(NAME))
    master.stop(9)
    wait_for(lambda: one.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "app")[-1:] == [str(replica.port)], timeout=30)
    wait_for(lambda: home.run("set", NAME, input=b"after", check=False).returncode == 0, timeout=20)
    assert home.get(NAME) == b"after"
    assert replica.client().exists(NAME)


def test_a_sentinel_with_a_password_and_one_that_does_not_know(home, pair, sentinel):
    one = sentinel("requirepass guide")
    password = home.dir / "guide"
    password.write_text("guide\n")
    password.chmod(0o600)
    configure(home, sentinel={"master": "app", "addresses": [f"127.0.0.1:{one.port}"], "password": f"file:{password}"})
    home.set(NAME, "v")
    home.replace('"app"', '"shop"')
    result = home.run("get", NAME, check=False)
    assert result.returncode == 69 and b'no master of the name "shop"' in result.stderr
    home.replace('"shop"', '"app"')
    password.write_text("wrong")
    result = home.run("get", NAME, check=False)
    assert result.returncode == 69 and b"Sentinel: the server does not accept our user and password" in result.stderr

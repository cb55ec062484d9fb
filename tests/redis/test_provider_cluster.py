# SPDX-License-Identifier: BSD-2-Clause
"""A cluster: each secret at the node that has its slot, also while slots move and after a fail-over."""
import json

import pytest

from lib.redis_cluster import deal, join

NAMES = [f"api-keys/of-{number}" for number in range(24)]


def address(server):
    return f"127.0.0.1:{server.port}"


def configure(home, *servers, **options):
    options = {"address": [address(server) for server in servers], **options}
    home.add("providers", "redis: {%s}" % ", ".join(f"{key}: {json.dumps(value)}" for key, value in options.items()))
    home.add("switch", '"api-keys/*": redis')


@pytest.fixture
def three(sealed_redis):
    nodes = join(sealed_redis, 3)
    deal(nodes)
    return nodes


def test_one_address_finds_all(home, three):
    configure(home, three[0].server)
    for name in NAMES:
        home.set(name, "v of " + name)
    parts = [node.keys() for node in three]
    assert all(parts) and sorted(set.union(*parts)) == sorted(NAMES)
    for name in NAMES:
        assert home.get(name).decode() == "v of " + name
        home.set(name, "next of " + name)
        assert home.get(name).decode() == "next of " + name
    listed = [entry["name"] for entry in json.loads(home.run("list", "--json").stdout)["secrets"]]
    assert sorted(listed) == sorted(NAMES)
    assert home.run("check").returncode == 0


def test_a_part_is_not_the_whole(home, sealed_redis, wait_for):
    nodes = join(sealed_redis, 2)
    deal(nodes, slots=5000)
    for node in nodes:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    wait_for(lambda: all(node.state()["cluster_state"] == "ok" for node in nodes), timeout=20, what="a part of the cluster is up")
    configure(home, nodes[0].server)
    for words in (["list"], ["check"]):
        result = home.run(*words, check=False)
        assert result.returncode == 69 and b"of all 16384 slots the cluster serves 5000" in result.stderr + result.stdout, (words, result.stderr)
    lost = next(name for name in NAMES if int(nodes[0].ask("CLUSTER", "KEYSLOT", name)) >= 5000)
    result = home.run("get", lost, check=False)
    assert result.returncode == 69 and b"the cluster is down" in result.stderr


def test_a_slot_moves(home, three, driver_of):
    """Also while its keys are on their way, for a process that knew where they were and for one that did not."""
    configure(home, three[1].server)
    for name in NAMES:
        home.set(name, "v")
    source, target = three[0], three[2]
    name = sorted(source.keys())[0]
    slot = source.ask("CLUSTER", "KEYSLOT", name)
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    home.set(name, "before it moved")
    source.ask("MIGRATE", "127.0.0.1", target.server.port, name, 0, 5000)
    assert name not in source.keys() and name in target.keys()
    assert home.get(name) == b"before it moved"
    home.set(name, "asked")
    assert home.get(name) == b"asked"
    assert len(json.loads(home.run("list", "--json").stdout)["secrets"]) == len(NAMES)
    for node in (target, source, three[1]):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)
    assert home.get(name) == b"asked"
    home.set(name, "moved")
    assert home.get(name) == b"moved"
    assert name in target.keys()


def test_a_process_that_goes_on(three, driver_of, wait_for):
    """It knows where its secret was, and hears of changes at other nodes."""
    stores = [driver_of(address=address(node.server)) for node in three]
    assert stores[0].bump() == 1
    source = next(node for node in three if node.keys())
    others = [node for node in three if node is not source]
    name = source.keys().pop()
    slot = source.ask("CLUSTER", "KEYSLOT", name)
    child = stores[three.index(others[0])].start("--watch", "1")
    assert child.stdout.readline() == "1\n"

    def next_is(number):
        while (line := child.stdout.readline().strip()) != str(number):
            assert line == str(number - 1), line

    assert stores[three.index(source)].bump() == 2
    next_is(2)
    others[1].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", others[1].id)
    source.ask("MIGRATE", "127.0.0.1", others[1].server.port, name, 0, 5000)
    assert stores[0].bump() == 3
    next_is(3)
    for node in (others[1], source, others[0]):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", others[1].id)
    assert stores[0].bump() == 4
    next_is(4)


def test_fail_over(home, sealed_redis, wait_for):
    """A replica takes the slots of a node that is gone; no address of it is in the configuration."""
    nodes = join(sealed_redis, 4)
    replica = nodes.pop()
    deal(nodes)
    lost = nodes[2]
    replica.ask("CLUSTER", "REPLICATE", lost.id)
    wait_for(lambda: replica.server.client().info("replication")["master_link_status"] == "up", timeout=20)
    configure(home, lost.server, nodes[0].server)
    for name in NAMES:
        home.set(name, "v")
    theirs = lost.keys()
    wait_for(lambda: replica.keys() == theirs)
    lost.server.stop(9)
    wait_for(lambda: replica.server.client().info("replication")["role"] == "master", timeout=30, what="the replica takes over")
    wait_for(lambda: nodes[0].state()["cluster_state"] == "ok", timeout=30, what="the cluster is up again")
    name = sorted(theirs)[0]
    assert home.get(name) == b"v"
    home.set(name, "w")
    assert home.get(name) == b"w"
    assert len(json.loads(home.run("list", "--json").stdout)["secrets"]) == len(NAMES)


def test_nodes_that_do_not_agree(home, three):
    """A slot is on its way to a node that does not expect it: the one says ASK, the other one MOVED. That ends."""
    configure(home, three[1].server)
    home.set(NAMES[0], "v")
    source = next(node for node in three if node.keys())
    target = next(node for node in three if node is not source)
    source.ask("CLUSTER", "SETSLOT", source.ask("CLUSTER", "KEYSLOT", NAMES[0]), "MIGRATING", target.id)
    source.server.client().delete(NAMES[0])
    target.ask("CLUSTER", "SETSLOT", source.ask("CLUSTER", "KEYSLOT", NAMES[0]), "STABLE")
    result = home.run("get", NAMES[0], check=False)
    assert result.returncode == 69 and b"do not agree who has this secret" in result.stderr, result.stderr


def test_the_rights_that_the_manual_lists(home, three):
    """An ACL user of each node; without a right, the answer says which one."""
    rights = ["~*", "&__keyturn__:changed", "+secret.getsealed", "+secret.setsealed", "+secret.list", "+subscribe", "+cluster|slots", "+asking"]
    for node in three:
        node.ask("ACL", "SETUSER", "keyturn", "on", ">hush", *rights)
    password = home.dir / "redis-password"
    password.write_text("hush")
    password.chmod(0o600)
    configure(home, three[0].server, username="keyturn", password=f"file:{password}")
    for name in NAMES[:6]:
        home.set(name, "v")
        assert home.get(name) == b"v"
    assert home.run("check").returncode == 0
    three[0].ask("ACL", "SETUSER", "keyturn", "-cluster|slots")
    for words in (["list"], ["check"]):
        result = home.run(*words, check=False)
        assert result.returncode == 77 and b"+cluster|slots" in result.stderr + result.stdout, (words, result.stderr)

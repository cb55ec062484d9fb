# SPDX-License-Identifier: BSD-2-Clause
"""Nodes of a Redis cluster on free ports, without redis-cli."""
from lib.tools import free_port, wait_for

SLOTS = 16384


class Node:
    """A server and its client, which does not follow redirections."""

    def __init__(self, server, bus):
        self.server, self.bus = server, bus
        self.ask = server.client(decode_responses=True).execute_command
        self.id = self.ask("CLUSTER", "MYID")

    def state(self):
        return dict(line.split(":", 1) for line in self.ask("CLUSTER", "INFO").splitlines())

    def keys(self):
        return set(self.server.client(decode_responses=True).keys("*"))


def join(start, count):
    """start("a line of redis.conf", ...) starts a server: so many nodes that know each other, without slots."""
    nodes = []
    for _ in range(count):
        bus = free_port()
        server = start("appendonly no", "cluster-enabled yes", f"cluster-port {bus}", "cluster-node-timeout 1000", "repl-diskless-sync-delay 0")
        nodes.append(Node(server, bus))
    for node in nodes[1:]:
        nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.server.port, node.bus)
    wait_for(lambda: all(node.state()["cluster_known_nodes"] == str(count) for node in nodes), timeout=20, what="all nodes know each other")
    return nodes


def deal(nodes, slots=SLOTS):
    """Each of them has its share of the first `slots`."""
    edges = [slots * number // len(nodes) for number in range(len(nodes) + 1)]
    for number, node in enumerate(nodes):
        node.ask("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
    wait_for(lambda: all(node.state()["cluster_slots_assigned"] == str(slots) for node in nodes), timeout=20, what="all nodes know all slots")
    if slots == SLOTS:
        wait_for(lambda: all(node.state()["cluster_state"] == "ok" for node in nodes), timeout=20, what="the cluster is up")

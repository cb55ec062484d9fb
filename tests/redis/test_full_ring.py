# SPDX-License-Identifier: BSD-2-Clause
"""More reads than the trail's thread writes down in time: the disk is busy, and the ring in memory fills up."""
import fcntl
import socket
import threading
import time

CLIENTS, AT_ONCE = 50, 16
RECORDS = 30000     # of at least 256 bytes: a ring of 4 MB has no room for them


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


def read_many(server, name, refusals, counts):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(server.socket))
    answers = client.makefile("rb")
    for _ in range(RECORDS // CLIENTS // AT_ONCE):
        client.sendall(command("SECRET.GETSEALED", name) * AT_ONCE)
        for _ in range(AT_ONCE):
            head = answers.readline()
            if head[:1] == b"$":
                answers.read(int(head[1:]) + 2)
                counts.append(1)
            else:
                refusals.append(head)
    client.close()


def test_a_full_ring_is_drained_on_the_spot(open_redis, home, name):
    server, one = open_redis(), name()
    server.client().execute_command("SECRET.SET", one, "value")
    refusals, counts = [], []
    clients = [threading.Thread(target=read_many, args=(server, one, refusals, counts)) for _ in range(CLIENTS)]
    with open(home.audit / "redis/state", "rb") as state:
        fcntl.flock(state, fcntl.LOCK_EX)       # what a disk that is busy does to the thread: it waits
        began = time.monotonic()
        for client in clients:
            client.start()
        while time.monotonic() - began < 3 and sum(client.is_alive() for client in clients) > 0:
            time.sleep(0.05)
        assert not refusals, refusals[0]
        assert counts and any(client.is_alive() for client in clients), "the ring was never full"
    for client in clients:
        client.join(60)
    assert not refusals, (len(refusals), refusals[0])
    total = len(counts)
    assert total == RECORDS // CLIENTS // AT_ONCE * AT_ONCE * CLIENTS
    recorded = sum(line.get("count", 1) for line in home.records("redis") if line["action"] == "read.sealed")
    assert recorded == total

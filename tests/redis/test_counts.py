# SPDX-License-Identifier: BSD-2-Clause
"""What a read costs the server, in instructions of all its threads, the trail's among them, beside GET: counted by callgrind over one
unix connection, 16 commands at once."""
import pathlib
import re
import socket
import subprocess

import pytest

from lib.tools import Process

AT_ONCE, ROUNDS = 16, 200
VALUE = b"sk-live-" + 56 * b"x"


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


class Counted:
    """A server under callgrind, and one connection to it."""

    def __init__(self, server):
        self.server = server
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(str(server.socket))
        self.answers = self.socket.makefile("rb")

    def control(self, word):
        subprocess.run(["callgrind_control", word, str(self.server.process.pid)], env=self.server.stage.environment(), check=True,
                       capture_output=True, timeout=60)

    def run(self, sent, rounds):
        for _ in range(rounds):
            self.socket.sendall(sent)
            for _ in range(AT_ONCE):
                head = self.answers.readline()
                assert head[:1] == b"$" and int(head[1:]) >= len(VALUE), head
                self.answers.read(int(head[1:]) + 2)

    def count(self, *words):
        """Instructions of one such command, after some that are not counted."""
        sent = command(*words) * AT_ONCE
        self.run(sent, 10)
        self.server.home.records("redis")
        self.control("--zero")
        self.run(sent, ROUNDS)
        self.server.home.records("redis")   # what the trail's thread does for them is done
        before = set(self.server.dir.glob("counted.*"))
        self.control("--dump")
        made = set(self.server.dir.glob("counted.*")) - before
        totals = [int(re.search(r"^(?:summary|totals): (\d+)", path.read_text(errors="replace"), re.M)[1]) for path in made]
        return sum(totals) / (ROUNDS * AT_ONCE)


@pytest.fixture
def counted(open_redis, kt):
    if pathlib.Path(kt.redis).read_bytes()[:4] != b"\x7fELF":     # another loader than the system's, which callgrind does not follow
        pytest.skip("counterpart: test_a_read_is_counted with Debian 12's server")
    server = open_redis("appendonly no", "hz 1", "dynamic-hz no")
    server.stop()
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={server.dir}/counted"]
    server.process = Process([*valgrind, kt.redis, server.dir / "redis.conf"], kt.environment(), server.log_path, server.dir)
    server.process.wait_ready(server._ready, 120, "redis-server")
    return Counted(server)


def test_a_read_is_counted(counted, name):
    one = name()
    client = counted.server.client()
    client.set("plain", VALUE)
    client.execute_command("SECRET.SET", one, VALUE)
    plain = counted.count("GET", "plain")
    read, sealed = counted.count("SECRET.GET", one), counted.count("SECRET.GETSEALED", one)
    print(f"GET {plain:.0f}, SECRET.GET {read:.0f}, SECRET.GETSEALED {sealed:.0f}")
    assert plain > 1000
    assert read <= 21000 and sealed <= 10000, (plain, read, sealed)

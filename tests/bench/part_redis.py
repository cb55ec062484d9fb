# SPDX-License-Identifier: BSD-2-Clause
"""Redis: the server's CPU for a secret, beside what it takes for a plain value of the same size."""
import socket
import statistics
import subprocess
import time

from bench import Group, Row, at_least, at_most, cpu_clock
from lib.home import Home
from lib.redis import Redis
from lib.tools import short_dir

NAME, VALUE = "api-keys/bench", b"sk-live-" + 40 * b"x"
COMMANDS = {"plain": ["GET", "plain"], "secret": ["SECRET.GET", NAME], "sealed": ["SECRET.GETSEALED", NAME]}


def command(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


class Client:
    """Sends the same command again and again, `depth` at once."""

    def __init__(self, server):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(server.socket))
        self.clock = cpu_clock(server.process.pid)

    def answer(self, size):
        while size > 0:
            size -= len(self.socket.recv(min(size, 1 << 20)))

    def learn(self, words):
        """How long the answer is: "$N", a line's end, N bytes, a line's end."""
        self.socket.sendall(command(words))
        head = b""
        while not head.endswith(b"\r\n"):
            head += self.socket.recv(1)
        if head[:1] != b"$":
            raise RuntimeError(head.decode())
        rest = int(head[1:]) + 2
        self.answer(rest)
        return len(head) + rest

    def run(self, words, depth, count):
        """Microseconds of the server's CPU for one."""
        size, sent = self.learn(words), command(words) * depth
        before = time.clock_gettime(self.clock)
        for _ in range(count // depth):
            self.socket.sendall(sent)
            self.answer(size * depth)
        return (time.clock_gettime(self.clock) - before) / (count // depth * depth) * 1e6


def reads(bench):
    home = Home.create(bench.stage, bench.folder / "home")
    home.grant("redis:*", ["read", "write"], ["*"])
    samples = {}
    with short_dir() as sockets:
        server = Redis(bench.stage, bench.folder / "redis", sockets, home).start("appendonly no")
        try:
            server.client().set("plain", VALUE)
            server.client().execute_command("SECRET.SET", NAME, VALUE)
            client = Client(server)
            for _ in range(bench.few(31, 2)):
                for depth, count in ((16, bench.few(4000, 64)), (1, bench.few(2000, 32))):
                    for case, words in COMMANDS.items():
                        samples.setdefault(f"{case}.{depth}", []).append(client.run(words, depth, count))
        finally:
            server.stop()
    return samples


WRITERS = 50
WRITES = {"plain": ["SET", "plain:__rand_int__"], "secret": ["SECRET.SET", "api-keys/__rand_int__"]}


def write(server, client, words, count):
    """Writes per second of 50 clients, and the 99th percentile of the microseconds of another client's GET meanwhile."""
    writers = subprocess.Popen(["redis-benchmark", "-s", str(server.socket), "-c", str(WRITERS), "-n", str(count), "-r", "1000", "--csv", *words,
                                VALUE.decode()], stdout=subprocess.PIPE, text=True)
    size, sent, taken, began = client.learn(["GET", "plain"]), command(["GET", "plain"]), [], time.monotonic()
    while writers.poll() is None:
        at = time.monotonic()
        client.socket.sendall(sent)
        client.answer(size)
        taken.append((time.monotonic() - at) * 1e6)
        time.sleep(0.0005)
    if writers.returncode != 0:
        raise RuntimeError(writers.stdout.read())
    return count / (time.monotonic() - began), statistics.quantiles(taken, n=100)[98]


def writes(bench):
    home = Home.create(bench.stage, bench.folder / "home-writes")
    home.grant("redis:*", ["read", "write"], ["*"])
    samples = {}
    with short_dir() as sockets:
        server = Redis(bench.stage, bench.folder / "redis-writes", sockets, home).start("appendonly yes", "appendfsync always")
        try:
            server.client().set("plain", VALUE)
            client = Client(server)
            for _ in range(bench.few(15, 2)):
                for case, words in WRITES.items():
                    rate, late = write(server, client, words, bench.few(4000, 300))
                    samples.setdefault(f"{case}.writes", []).append(rate)
                    samples.setdefault(f"{case}.beside", []).append(late)
        finally:
            server.stop()
    return samples


def groups(bench):
    return [Group(writes, [
        Row("SECRET.SET of 50 clients, appendfsync always", "secret.writes", "/s", ("plain.writes", "SET"), at_least(0.5)),
        Row("GET beside 50 clients that SECRET.SET: 99th percentile", "secret.beside", "us", ("plain.beside", "beside SET"), at_most(1.2)),
    ]), Group(reads, [
        Row("SECRET.GET, audited, pipeline 16: CPU of the server", "secret.16", "us", ("plain.16", "GET"), at_most(2.5)),
        Row("SECRET.GET, audited, pipeline 1: CPU of the server", "secret.1", "us", ("plain.1", "GET"), at_most(1.2)),
        Row("SECRET.GETSEALED, pipeline 16: CPU of the server", "sealed.16", "us", ("plain.16", "GET"), at_most(1.6)),
        Row("SECRET.GETSEALED, pipeline 1: CPU of the server", "sealed.1", "us", ("plain.1", "GET")),
    ])]

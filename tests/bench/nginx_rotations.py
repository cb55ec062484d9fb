# SPDX-License-Identifier: BSD-2-Clause
"""nginx: a new value by `keyturn set`, and by a template with `nginx -s reload`, for a site of one server and for a large one.

Values have numbers. An answer tells which one the upstream was sent, so that a client knows an old one from a new one.
"""
import contextlib
import dataclasses
import http.client
import multiprocessing
import os
import selectors
import socket
import subprocess
import time

from bench import Failed, cpu_clock
from lib.handshake import Issuer
from lib.home import Home
from lib.nginx import Nginx
from lib.tools import wait_for
from nginx_peers import owner, plain

NAME = "api-keys/bench"
CONNECTIONS = 100
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
BACK = """server { listen 127.0.0.1:@PORT@; listen unix:@DIR@/socket; access_log off; keepalive_requests 1000000;
    location / { return 200 $http_authorization; } }"""
SITE = """
upstream application { server unix:@DIR@/../back-of-rotations/socket; keepalive 64; }
server {
    listen 127.0.0.1:@PORT@; access_log off; keepalive_requests 1000000;
    proxy_http_version 1.1;
    location / { %s proxy_set_header Connection ""; proxy_pass http://application; }
}
"""
TLS = """server { listen unix:@DIR@/tls ssl; server_name host%d.example; ssl_certificate @DIR@/%d.pem; ssl_certificate_key @DIR@/%d.pem;
    location / { return 204; } location /a { return 204; } location /b { return 204; } location /c { return 204; } location /d { return 204; } }
"""


def rotations(bench):
    return bench.few(1000, 5)


def servers(bench):
    return bench.few(200, 5)


def value_of(number):
    return f"sk-live-{number:040}"


class Command:
    """A process of ours, by its result and the CPU that it took."""

    def __init__(self, argv, env, given=b""):
        self.process = subprocess.Popen([str(word) for word in argv], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.process.stdin.write(given)
        self.process.stdin.close()

    def wait(self):
        """Seconds of CPU, of its children too."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            raise Failed(f"{self.process.args[0]} ended with {self.process.returncode}")
        return usage.ru_utime + usage.ru_stime


class ByKeyturn:
    """A secret that nginx reads from the store."""

    def __init__(self, bench):
        self.home = Home.create(bench.stage, bench.folder / "home-of-rotations")
        self.home.grant("nginx:*", ["read"], ["*"])
        self.home.set(NAME, value_of(0))
        self.server = Nginx(bench.stage, bench.folder / "rotations", self.home)
        self.server.configure(SITE % f"secret_get $key {NAME}; proxy_set_header Authorization $key;", main=owner())

    def begin(self, number):
        """The command that makes the value the current one."""
        return Command([self.home.stage.keyturn, "-c", self.home.config, "set", NAME], self.home.env, value_of(number).encode())

    def end(self):
        """Waits until nothing of a rotation is left to be done."""


class ByReload:
    """A file that a template became, and nginx reads it again."""

    def __init__(self, bench, name, more=0):
        self.server = Nginx(plain(bench.stage), bench.folder / name)
        self.write(0)
        pem = Issuer().issue("host.example").pem
        for n in range(more):
            (self.server.dir / f"{n}.pem").write_text(pem)
        self.server.configure(SITE % "include @DIR@/key.conf;" + "".join(TLS % (n, n, n) for n in range(more)), main=owner())
        self.before = set()

    def write(self, number):
        new = self.server.dir / "key.new"
        new.write_text(f'proxy_set_header Authorization "{value_of(number)}";\n')
        new.rename(self.server.dir / "key.conf")

    def begin(self, number):
        self.before = set(self.server.worker_pids())
        self.write(number)
        return Command(self.server.command("-s", "reload"), self.server.env)

    def end(self):
        wait_for(lambda: (now := set(self.server.worker_pids())) and not now & self.before, 60, what="the end of the old worker")


# ---- one rotation, of an idle server ----

class Asking:
    """Asks again and again, on a new connection when the server has closed the last one."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)

    def answer(self):
        for _ in range(100):
            try:
                self.connection.request("GET", "/")
                return self.connection.getresponse().read()
            except (http.client.HTTPException, OSError):
                self.connection.close()
        raise Failed("the server does not answer")

    def until(self, number):
        value, end = value_of(number).encode(), time.monotonic() + 60
        while self.answer() != value:
            if time.monotonic() > end:
                raise Failed(f"the value {number} is not there after 60 s")


def time_of(way, number):
    """Milliseconds from the beginning until an answer has the new value."""
    asking = Asking(way.server)
    asking.answer()
    started = time.monotonic()
    command = way.begin(number)
    asking.until(number)
    taken = time.monotonic() - started
    command.wait()
    way.end()
    return taken * 1000


def cpu_of(way, number):
    """Milliseconds of CPU: of the command, the master and its workers, until one answer has the new value."""
    before = {pid: time.clock_gettime(cpu_clock(pid)) for pid in [way.server.master_pid, *way.server.worker_pids()]}
    taken = way.begin(number).wait()
    way.end()
    Asking(way.server).until(number)
    for pid in [way.server.master_pid, *way.server.worker_pids()]:
        taken += time.clock_gettime(cpu_clock(pid)) - before.get(pid, 0)
    return taken * 1000


def in_turn(ways, rounds, numbers):
    samples = {}
    for _ in range(rounds):
        for case, way in ways.items():
            samples.setdefault(f"time.{case}", []).append(time_of(way, next(numbers)))
            samples.setdefault(f"cpu.{case}", []).append(cpu_of(way, next(numbers)))
    return samples


# ---- many rotations, of a server that answers others meanwhile ----

@dataclasses.dataclass
class Count:
    requests: int = 0
    late: int = 0       # sent after a command had returned, answered with an older value
    lost: int = 0       # sent, and the connection was closed, or the status was another than 200


class Connection:
    def __init__(self, port, count, returned, selector):
        self.port, self.count, self.returned, self.selector = port, count, returned, selector
        self.open()
        self.send()

    def open(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.selector.register(self.socket, selectors.EVENT_READ, self)

    def send(self):
        while self.is_closed():
            self.selector.unregister(self.socket)
            self.socket.close()
            self.open()
        self.answer, self.least = b"", self.returned.value
        with contextlib.suppress(OSError):      # read() finds it closed
            self.socket.sendall(REQUEST)

    def is_closed(self):
        """Before a request is sent: nothing is lost then."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def read(self):
        try:
            part = self.socket.recv(4096)
        except OSError:
            part = b""
        self.answer += part
        head, _, body = self.answer.partition(b"\r\n\r\n")
        if not part:
            self.count.lost += 1
            self.send()
        elif len(body) == len(value_of(0)):
            self.judge(head, body)
            self.send()

    def judge(self, head, body):
        self.count.requests += 1
        if not head.startswith(b"HTTP/1.1 200 "):
            self.count.lost += 1
        elif int(body.removeprefix(b"sk-live-")) < self.least:
            self.count.late += 1


def clients(port, returned, stopped, pipe):
    """In a process of its own: a request after the other on each connection, until `stopped`."""
    count, selector = Count(), selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        Connection(port, count, returned, selector)
    pipe.send("ready")
    while not stopped.value:
        for key, _ in selector.select(0.1):
            key.data.read()
    pipe.send(count)


def under_load(way, times, numbers):
    """What the clients of the server counted while it got `times` new values."""
    fork = multiprocessing.get_context("fork")
    returned, stopped = fork.RawValue("q", 0), fork.RawValue("b", 0)
    ours, theirs = fork.Pipe()
    process = fork.Process(target=clients, args=(way.server.port, returned, stopped, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
        for _ in range(times):
            number = next(numbers)
            way.begin(number).wait()
            returned.value = number
            way.end()
        stopped.value = 1
        count = ours.recv()
    finally:
        process.kill()
        process.join()
    if count.requests < times:
        raise Failed(f"only {count.requests} requests in {times} rotations")
    return count


def load_samples(bench, ways, numbers):
    times, reloads = rotations(bench), bench.few(30, 2)
    mine, theirs = under_load(ways["keyturn"], times, numbers), under_load(ways["small"], reloads, numbers)
    return {"late": [mine.late], "lost": [mine.lost], "reload.late": [theirs.late / reloads], "reload.lost": [theirs.lost / reloads]}


def changes(bench):
    back = Nginx(plain(bench.stage), bench.folder / "back-of-rotations")
    back.configure(BACK)
    numbers = iter(range(1, 10**9))
    with contextlib.ExitStack() as stack:
        ways = {"keyturn": ByKeyturn(bench), "small": ByReload(bench, "small"), "large": ByReload(bench, "large", servers(bench))}
        for server in [back, *(way.server for way in ways.values())]:
            stack.callback(server.stop)
            server.start()
        for case, way in ways.items():
            Asking(way.server).until(0)
        return in_turn(ways, bench.few(15, 1), numbers) | load_samples(bench, ways, numbers)

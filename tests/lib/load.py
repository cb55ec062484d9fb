# SPDX-License-Identifier: BSD-2-Clause
"""Clients that keep connections busy while a secret rotates, and what every answer must fulfil.

    Rotator    rotations by a process of its own, with the time of each
    Keep       HTTP/1.1, one request after the other on one connection
    Once       HTTP/1.1, a connection for each request
    Streams    HTTP/2, several requests at a time on one connection
    Answers    says when the clients have had some more
    check      judges all that the clients have seen
    ECHO       for the upstream: it answers the headers that it was sent

Times are CLOCK_MONOTONIC in ns, which all processes of a machine share.
"""
import bisect
import dataclasses
import http.client
import os
import pathlib
import socket
import subprocess
import threading
import time

import h2.config
import h2.connection
import h2.events

from lib.tools import wait_for

PROGRAM = pathlib.Path(os.environ.get("KT_TEST_BIN", pathlib.Path(__file__).resolve().parents[2] / "build/tests")) / "nginx/rotator"
ECHO = 'return 200 "$http_x_user $http_x_password $http_x_pid";'
HEADERS = "proxy_set_header X-User $user; proxy_set_header X-Password $password; proxy_set_header X-Pid $pid;"


@dataclasses.dataclass
class Seen:
    sent: int
    received: int
    status: int
    body: str
    connection: tuple       # requests with the same one went over one connection


class Rotator:
    """Makes version 1 of `name` with the command, and later ones with the program tests/nginx/rotator; user is "USER-N", password
    "PASSWORD-N"."""

    def __init__(self, home, name, user, password):
        self.home, self.name, self.user, self.password = home, name, user, password
        self.begun, self.done = {}, {}      # version: ns
        self.set(1)

    def set(self, version):
        self.begun[version] = time.monotonic_ns()
        assert self.home.set(self.name, {"user": f"{self.user}-{version}", "password": f"{self.password}-{version}"}) == version
        self.done[version] = time.monotonic_ns()

    def run(self, last, ready, timeout=60):
        """Rotates up to version `last`, each time that ready() has answered something true."""
        argv = [PROGRAM, self.home.config, self.name, max(self.done) + 1, self.user]
        with subprocess.Popen([str(word) for word in argv], env=self.home.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True, bufsize=1) as process:
            process.stdin.write(self.password + "\n")
            for _ in range(max(self.done), last):
                wait_for(ready, timeout, interval=0.0005)
                process.stdin.write("\n")
                self.take(process.stdout.readline())
                self.take(process.stdout.readline())
            process.stdin.close()
            assert process.wait(10) == 0

    def take(self, line):
        what, version, when = line.split()
        {"begin": self.begun, "done": self.done}[what][int(version)] = int(when)


class Client(threading.Thread):
    """seen: what it got; error: why it gave up. stop() ends it after its present request."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.seen, self.error, self.ended = port, [], None, threading.Event()

    def run(self):
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - check() reports it
            self.error = f"{type(self).__name__}, after {len(self.seen)} answers: {error!r}"

    def stop(self):
        self.ended.set()

    def note(self, sent, status, body, number):
        self.seen.append(Seen(sent, time.monotonic_ns(), status, body.decode(), (id(self), number)))


class Keep(Client):
    once = False

    def work(self):
        connection, number = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20), 0
        while not self.ended.is_set():
            sent = time.monotonic_ns()
            connection.request("GET", "/", headers={"Connection": "close"} if self.once else {})
            answer = connection.getresponse()
            self.note(sent, answer.status, answer.read(), number)
            if self.once:
                connection.close()
                number += 1
        connection.close()


class Once(Keep):
    once = True


class Streams(Client):
    together = 6

    def work(self):
        self.sent, self.bodies = {}, {}
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as self.socket:
            self.h2.initiate_connection()
            while not self.ended.is_set() or self.sent:
                while not self.ended.is_set() and len(self.sent) < self.together:
                    self.ask()
                self.socket.sendall(self.h2.data_to_send())
                data = self.socket.recv(65536)
                if not data:
                    raise EOFError("the server closed the connection")
                for event in self.h2.receive_data(data):
                    self.on(event)

    def ask(self):
        stream = self.h2.get_next_available_stream_id()
        self.sent[stream], self.bodies[stream] = time.monotonic_ns(), [0, b""]
        self.h2.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":authority", "load"), (":path", "/")], end_stream=True)

    def on(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            self.bodies[event.stream_id][0] = int(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id][1] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.note(self.sent.pop(event.stream_id), *self.bodies.pop(event.stream_id), 0)
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            raise EOFError(f"{event!r}")


class Answers:
    """are_enough() is true if the clients have had `each` more answers than at its last "true", or one of them has ended."""

    def __init__(self, clients, each):
        self.clients, self.each, self.had = clients, each, 0

    def are_enough(self):
        number = sum(len(client.seen) for client in self.clients)
        if number < self.had + self.each and not any(client.error for client in self.clients):
            return False
        self.had = number
        return True


class Published:
    """Which version may a request have been answered with?"""

    def __init__(self, rotator):
        self.rotator, self.times = rotator, sorted((when, version) for version, when in rotator.done.items())

    def newest(self, when):
        """The newest version whose rotation had returned by then."""
        at = bisect.bisect_left(self.times, (when, 0))
        return self.times[at - 1][1] if at else 0

    def version(self, seen):
        """That of an answer, which must be a version as it was published, and not an older one than was there when it was sent."""
        assert seen.status == 200, seen
        user, password, _ = seen.body.split(" ")
        version = int(user.rsplit("-", 1)[1])
        assert (user, password) == (f"{self.rotator.user}-{version}", f"{self.rotator.password}-{version}"), "two versions in one request"
        assert version in self.rotator.begun and self.rotator.begun[version] <= seen.received, f"version {version} was not published"
        assert version >= self.newest(seen.sent), f"version {version} after the rotation to {self.newest(seen.sent)} had returned"
        return version


def check(clients, rotator):
    """No client has failed, and each answer carries one version, published, no older than what was there, and never going back on a
    connection: not older than any answer that the client had before it asked. Returns the versions that were seen."""
    assert [client.error for client in clients if client.error] == []
    published, connections, versions = Published(rotator), {}, set()
    for client in clients:
        for seen in client.seen:
            connections.setdefault(seen.connection, []).append((seen, published.version(seen)))
    for answers in connections.values():
        received = sorted((seen.received, version) for seen, version in answers)
        newest, at = 0, 0
        for seen, version in sorted(answers, key=lambda pair: pair[0].sent):
            while at < len(received) and received[at][0] < seen.sent:
                newest = max(newest, received[at][1])
                at += 1
            assert version >= newest, f"went back from version {newest} to {version} on one connection"
            versions.add(version)
    return versions

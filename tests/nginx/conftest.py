# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the nginx suites, on top of those of tests/conftest.py.

    site       Site: home, nginx and upstream together, with the grant that nginx may read everything
    capture    a raw TCP server that takes one message and answers nothing: for fastcgi, uwsgi, scgi, grpc

After each test the logs of every nginx in tmp_path are searched for the canary: no value may show there.
"""
import os
import pathlib
import re
import socket
import threading

import pytest


class Site:
    """serve(location): starts nginx with one server and one location / that passes to the upstream."""

    def __init__(self, home, nginx, upstream):
        self.home, self.nginx, self.upstream = home, nginx, upstream
        self.home.grant("nginx:*", ["read"], ["*"])

    @property
    def proxy(self):
        return f"proxy_pass http://127.0.0.1:{self.upstream.port};"

    def configure(self, body, outside="", name="app.example", **more):
        """`body` goes into server {}, `outside` into http {}; @PROXY@ in both passes to the upstream."""
        server = f"server {{ listen 127.0.0.1:@PORT@; server_name {name};\n{body}\n}}"
        self.nginx.configure(f"{outside}\n{server}".replace("@PROXY@", self.proxy), **more)

    def location(self, text, **more):
        self.configure(f"location / {{ {text} @PROXY@ }}", **more)

    def serve(self, text, **more):
        self.location(text, **more)
        self.nginx.start()
        return self

    def get(self, path="/", **more):
        return self.nginx.get(path, **more)

    def header(self, name, path="/"):
        """What the upstream was sent in this header, for a new request that must succeed."""
        assert self.get(path).status == 200, self.nginx.error_log()
        return self.upstream.last.headers[name]

    def line_of(self, text):
        """FILE:LINE of the first line of nginx.conf with this text, as nginx writes it."""
        for number, line in enumerate(self.nginx.conf.read_text().splitlines(), 1):
            if text in line:
                return f"{self.nginx.conf}:{number}"
        raise AssertionError(text)

    def records(self, **fields):
        return [line for line in self.home.records("nginx") if all(line.get(k) == v for k, v in fields.items())]


@pytest.fixture
def site(home, nginx, upstream):
    return Site(home, nginx, upstream)


@pytest.fixture
def capture(servers):
    """capture.port, and capture.read() for the bytes of the first connection."""
    class Capture:
        def __init__(self):
            self.data, self.ready = b"", threading.Event()
            self.socket = socket.create_server(("127.0.0.1", 0))
            self.port = self.socket.getsockname()[1]
            threading.Thread(target=self._run, daemon=True).start()

        def _run(self):
            peer, _ = self.socket.accept()
            with peer:
                peer.settimeout(0.5)
                try:
                    while chunk := peer.recv(65536):
                        self.data += chunk
                except TimeoutError:
                    pass
            self.ready.set()

        def read(self):
            assert self.ready.wait(10)
            return self.data

    server = Capture()
    servers.callback(server.socket.close)
    return server


def pytest_configure(config):
    config.addinivalue_line("markers", "plain(reason): not under sanitizers (auto/check asan)")


def pytest_collection_modifyitems(config, items):
    """auto/check asan takes all tests but those that are marked as plain."""
    plain = [item for item in items if item.get_closest_marker("plain")]
    if os.environ.get("KT_PRELOAD") and plain:
        items[:] = [item for item in items if item not in plain]
        config.hook.pytest_deselected(items=plain)


@pytest.fixture(autouse=True)
def no_value_in_logs(request, tmp_path):
    yield
    found = []
    for log in [*pathlib.Path(tmp_path).rglob("*.log"), *pathlib.Path(tmp_path).glob("home*/audit/*/log")]:
        data = log.read_bytes()
        if os.environ["KEYTURN_CANARY"].encode() in data:
            found.append(str(log))
        assert not re.search(rb"ERROR: AddressSanitizer|runtime error:", data), log
    if not request.node.get_closest_marker("shows_values"):
        assert not found

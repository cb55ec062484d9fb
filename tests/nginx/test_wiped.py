# SPDX-License-Identifier: BSD-2-Clause
"""After a request no copy of a secret is in the heap of the worker, searched as /proc shows it. What keyturn locks is elsewhere."""
import http.client
import pathlib
import socket
import ssl
import subprocess
import threading

import pytest

from lib import memory
from lib.tools import wait_for
from lib.upstream import Upstream

LOCATIONS = {
    "header": "proxy_set_header A $key; @PROXY@",
    "two": "proxy_set_header A $key; proxy_set_header B $key; @PROXY@",
    "map": "proxy_set_header A $mapped; @PROXY@",
    "lower": "proxy_set_header A $captured; @PROXY@",
    "body": 'proxy_set_body "{$key}"; @PROXY@',
    "large": 'proxy_set_header A "$key@DOTS@$key"; proxy_set_header B "@DOTS@"; proxy_set_header C "@DOTS@$key"; @PROXY@',
    "set": 'set $copy "Bearer $key"; proxy_set_header A $copy; @PROXY@',
    "if": 'if ($key ~ "^(?<taken>.+)$") { set $copy "$taken$1"; } proxy_set_header A $copy; @PROXY@',
    "uri": "proxy_pass http://127.0.0.1:@UPSTREAM@/?k=$key;",
    "return": 'return 200 "$key";',
    "next": "proxy_set_header A $key; proxy_pass http://both;",
    "redirected": "proxy_set_header A $key; error_page 502 = @other; proxy_pass http://127.0.0.1:1;",
    "grpc": "grpc_set_header a $key; grpc_pass grpc://127.0.0.1:@SINK@;",
    "fastcgi": "fastcgi_param A $key; fastcgi_pass 127.0.0.1:@SINK@;",
    "uwsgi": "uwsgi_param A $key; uwsgi_pass 127.0.0.1:@SINK@;",
    "scgi": "scgi_param A $key; scgi_pass 127.0.0.1:@SINK@;",
    "tls": "proxy_set_header A $key; proxy_pass https://kept; proxy_http_version 1.1; proxy_set_header Connection '';",
}
REQUEST = ("set", "if", "uri", "return")


class Sink:
    """Takes what it is sent, and hangs up."""

    def __init__(self):
        self.socket, self.taken = socket.create_server(("127.0.0.1", 0)), []
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with peer:
                self.taken.append(peer.recv(65536))

    def close(self):
        self.socket.close()


@pytest.fixture
def values(site, canary):
    found = {name: canary(f"wiped-{name}") for name in LOCATIONS}
    for name, value in found.items():
        site.home.set(f"api-keys/{name}", value)
    return found


@pytest.fixture
def sink(servers):
    server = Sink()
    servers.callback(server.close)
    return server


@pytest.fixture
def tls(authority, servers):
    upstream = Upstream()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)
    upstream._server.socket = context.wrap_socket(upstream._server.socket, server_side=True)
    servers.callback(upstream.close)
    return upstream


@pytest.fixture
def authority(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=up",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def served(site, values, sink, tls):
    lines = []
    for name, text in LOCATIONS.items():
        scope = "scope=request" if name in REQUEST else ""
        lines.append(f"location = /{name} {{ secret_get $key api-keys/{name} {scope}; {text} }}")
    body = "\n".join([*lines, "location @other { proxy_set_header A $key; @PROXY@ }"])
    for mark, text in (("@UPSTREAM@", site.upstream.port), ("@SINK@", sink.port), ("@DOTS@", "." * 2000)):
        body = body.replace(mark, str(text))
    site.configure(body, outside=f"""
        uninitialized_variable_warn off;
        log_format all '$uri $key $mapped $captured $taken $copy'; access_log @DIR@/all.log all buffer=64k flush=1s;
        map $key $mapped {{ default "Token $key"; }}
        map $key $captured {{ "~*^CANARY(?<rest>.+)$" "R $rest"; }}
        upstream both {{ server 127.0.0.1:1; server 127.0.0.1:{site.upstream.port}; }}
        upstream kept {{ server 127.0.0.1:{tls.port}; keepalive 4; }}""")
    site.nginx.start()
    return site


def ask(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", f"/{name}")
        connection.getresponse().read()
    finally:
        connection.close()


def has_copy(pid, locked, value):
    """In the heap: the value, or what is left of it where it was put into lower case."""
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if line.endswith("[heap]") and start not in locked:
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as heap:
                heap.seek(start)
                data = heap.read(end - start)
            if value.encode() in data or value.lower().encode() in data:
                return True
    return False


def test_no_copy_is_left(served, values, sink, tls):
    """Looked for after each location, since the next request would write over what a former one left."""
    worker, = served.nginx.worker_pids()
    for name in values:
        ask(served.nginx.port, name)
    locked = {area.start for area in memory.mappings(worker) if "dd" in area.flags}  # its cache has each value now
    left = []
    for name, value in values.items():
        for _ in range(3):
            ask(served.nginx.port, name)
        try:
            wait_for(lambda: not has_copy(worker, locked, value), timeout=1)
        except TimeoutError as error:
            left.append((name, str(error)))
    assert left == []
    sent = b"".join(sink.taken) + b"".join(f"{request.path}\n{request.headers}\n".encode() + request.body
                                           for server in (served.upstream, tls) for request in server.requests)
    for name, value in values.items():
        assert name in ("return", "redirected", "grpc", "lower") or value.encode() in sent, name  # else this proves nothing

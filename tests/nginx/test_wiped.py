# SPDX-License-Identifier: BSD-2-Clause
"""After a request no copy of a secret is in the memory of the worker, except where keyturn locks it: searched as /proc shows it."""
import http.client
import socket
import ssl
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
    import subprocess
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=up",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def served(site, values, sink, tls):
    """Each location was asked three times."""
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
    for name in LOCATIONS:
        for _ in range(3):
            ask(site.nginx.port, name)
    return site


def ask(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", f"/{name}")
        connection.getresponse().read()
    finally:
        connection.close()


def copies(pid, value):
    """Of the value or, where it was put into lower case, of what is left of it."""
    return memory.elsewhere(pid, value.encode()) + memory.elsewhere(pid, value.lower().encode())


def test_no_copy_is_left(served, values, sink, tls):
    sent = b"".join(sink.taken) + b"".join(str(request.headers).encode() + request.body + request.path.encode() for server in (served.upstream, tls) for request in server.requests)
    for name, value in values.items():
        assert name in ("return", "redirected", "grpc", "lower") or value.encode() in sent, name  # else this proves nothing
    worker, = served.nginx.worker_pids()
    wait_for(lambda: not {name for name, value in values.items() if copies(worker, value)}, timeout=3,
             what="the end of " + str({name: copies(worker, value) for name, value in values.items() if copies(worker, value)}))

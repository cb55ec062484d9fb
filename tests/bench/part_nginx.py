# SPDX-License-Identifier: BSD-2-Clause
"""nginx: what a secret costs a proxied request, beside the same request with a literal header."""
import os
import socket
import time

from bench import Group, Row, at_most, cpu_clock
from handshakes import handshakes
from lib.home import Home
from lib.nginx import Nginx

VALUE = "sk-live-" + 40 * "x"
MORE = 10           # secrets in one request
CONNECTIONS = 32
SLICES = 4000       # subrequests of one request
SLICE = 2048        # bytes
FRONT = """
upstream application {{ server unix:@DIR@/../back/socket; keepalive 64; }}
{secrets}
server {{
    listen 127.0.0.1:@PORT@; listen unix:@DIR@/socket; access_log off; keepalive_requests 1000000;
    proxy_http_version 1.1; proxy_set_header Connection "";
    location = /literal {{ proxy_set_header Authorization "{value}"; proxy_pass http://application; }}
    location = /secret {{ proxy_set_header Authorization $secret0; proxy_pass http://application; }}
    location = /literals {{ {literals} proxy_pass http://application; }}
    location = /secrets {{ {headers} proxy_pass http://application; }}
    location = /slices/literal {{ {slices} proxy_set_header Authorization "{value}"; proxy_pass http://application/file; }}
    location = /slices/secret {{ {slices} proxy_set_header Authorization $secret0; proxy_pass http://application/file; }}
}}"""
FILE = ("tls.file", "a key in a file")
BACK = """server { listen 127.0.0.1:@PORT@; listen unix:@DIR@/socket; access_log off; keepalive_requests 1000000;
    location / { return 200 ok; } location = /file { root @DIR@; } }"""


class Client:
    """One request after the other on each of some connections."""

    def __init__(self, server):
        self.sockets = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS)]
        for connection in self.sockets:
            connection.connect(str(server.dir / "socket"))
        self.clock = cpu_clock(server.worker_pids()[0])

    def round(self, request):
        for connection in self.sockets:
            connection.sendall(request)
        for connection in self.sockets:
            answer = b""
            while not answer.endswith(b"\r\n\r\nok"):
                answer += connection.recv(4096)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(answer.split(b"\r\n")[0].decode())

    def download(self, path):
        """Nanoseconds of the worker's CPU for the file in slices."""
        request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        before = time.clock_gettime_ns(self.clock)
        self.sockets[0].sendall(request)
        answer = self.sockets[0].makefile("rb")
        length, line = 0, b"HTTP"
        while line.strip():
            line = answer.readline()
            if line.lower().startswith(b"content-length:"):
                length = int(line.split()[1])
        if length != SLICES * SLICE or len(answer.read(length)) != length:
            raise RuntimeError(f"{path}: {length} bytes")
        return time.clock_gettime_ns(self.clock) - before

    def run(self, path, count):
        """Nanoseconds of the worker's CPU for one request."""
        request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        rounds = count // CONNECTIONS
        self.round(request)
        before = time.clock_gettime_ns(self.clock)
        for _ in range(rounds):
            self.round(request)
        return (time.clock_gettime_ns(self.clock) - before) / (rounds * CONNECTIONS)


def front():
    numbers = range(MORE)
    return FRONT.format(value=VALUE, secrets="".join(f"secret_get $secret{n} api-keys/bench{n};\n" for n in numbers),
                        literals=" ".join(f'proxy_set_header X-Key-{n} "{VALUE}";' for n in numbers),
                        slices=f"slice {SLICE}; proxy_set_header Range $slice_range;",
                        headers=" ".join(f"proxy_set_header X-Key-{n} $secret{n};" for n in numbers))


def measure(bench, client):
    samples = {}
    for _ in range(bench.few(241, 2)):
        for path in ("literal", "secret", "literals", "secrets"):
            samples.setdefault(path, []).append(client.run(f"/{path}", bench.few(384, 64)))
    for _ in range(bench.few(9, 1)):
        for path in ("literal", "secret"):
            samples.setdefault(f"slices {path}", []).append(client.download(f"/slices/{path}"))
    samples["extra"] = [secret - literal for secret, literal in zip(samples["secret"], samples["literal"])]
    samples["each"] = [(secrets - literals) / MORE for secrets, literals in zip(samples["secrets"], samples["literals"])]
    return samples


def requests(bench):
    home = Home.create(bench.stage, bench.folder / "home")
    home.grant("nginx:*", ["read"], ["*"])
    for n in range(MORE):
        home.set(f"api-keys/bench{n}", VALUE)
    servers = []
    try:
        back = Nginx(bench.stage, bench.folder / "back")
        back.configure(BACK)
        (back.dir / "file").write_bytes(SLICES * SLICE * b"s")
        servers.append(back.start())
        server = Nginx(bench.stage, bench.folder / "front", home)
        server.configure(front(), main="user root;" if os.geteuid() == 0 else "")
        servers.append(server.start())
        return measure(bench, Client(server))
    finally:
        for server in servers:
            server.stop()


def groups(bench):
    return [Group(requests, [
        Row("secret_get, audited: CPU a request over a literal header's", "extra", "ns", goal=at_most(500)),
        Row("proxied request with secret_get: CPU of the worker", "secret", "us", ("literal", "a literal header"), scale=0.001),
        Row(f"one request of {SLICES:,} slices: CPU of the worker", "slices secret", "ms", ("slices literal", "a literal header"),
            at_most(1.3), scale=0.000001),
        Row("each of ten secrets in a request: CPU over a literal's", "each", "ns"),
    ]), Group(handshakes, [
        Row("TLS handshake, secret_ssl_certificate: CPU of the worker", "tls.secret", "us", FILE, at_most(1.1), scale=0.001),
        Row("TLS handshake, its name from the client: CPU of the worker", "tls.name", "us", FILE, at_most(1.1), scale=0.001),
        Row("TLS handshake, nginx's data:$variable: CPU of the worker", "tls.data", "us", FILE, scale=0.001),
    ])]

# SPDX-License-Identifier: BSD-2-Clause
"""nginx: the worker's CPU for a proxied request whose credential comes from keyturn, or from what is used in its place.

Two servers of one worker each are asked in turn: one with keyturn, and one that has Lua and njs and knows nothing of keyturn. Both pass
requests on to a third, which answers 200 only if it was sent the value.
"""
import contextlib
import copy
import os
import socket
import subprocess
import time

from bench import cpu_clock
from lib.home import Home
from lib.nginx import Nginx
from lib.redis import Redis
from lib.tools import short_dir

VALUE = "sk-live-" + 40 * "x"
MORE = 10           # secrets in one request
CONNECTIONS = 32
SLICES = 4000       # subrequests of one request
SLICE = 2048        # bytes
NUMBERS = range(MORE)

SERVER = """
upstream application { server unix:@DIR@/../back/socket; keepalive 64; }
upstream agent { server unix:@DIR@/../back/agent; keepalive 64; }
@OUTSIDE@
server {
    listen 127.0.0.1:@PORT@; listen unix:@DIR@/socket; access_log off; keepalive_requests 1000000;
    proxy_http_version 1.1;
    location = /literal { proxy_set_header Authorization "@VALUE@"; @PASS@ }
    location = /literals { @LITERALS@ @PASS@ }
@LOCATIONS@
}"""
BACK = """
map_hash_bucket_size 128;
map "$http_authorization$http_x_key_9" $known { "@VALUE@" 1; }
server { listen 127.0.0.1:@PORT@; listen unix:@DIR@/socket; access_log off; keepalive_requests 1000000;
    location / { if ($known) { return 200 ok; } return 403; } location = /file { root @DIR@; } }
server { listen unix:@DIR@/agent; access_log off; keepalive_requests 1000000;
    location / { add_header X-Key "@VALUE@"; return 204; } }"""

KEYTURN = """
    location = /secret { @GET@ proxy_set_header Authorization $secret0; @PASS@ }
    location = /secrets { @GETS@ @HEADERS@ @PASS@ }
    location = /slices/literal { @SLICES@ proxy_set_header Authorization "@VALUE@"; @PASS_FILE@ }
    location = /slices/secret { @GET@ @SLICES@ proxy_set_header Authorization $secret0; @PASS_FILE@ }"""

PEERS_OUTSIDE = """
lua_package_path "/usr/share/lua/5.1/?.lua;;";
lua_shared_dict keys 1m;
init_by_lua_block { for n = 0, 9 do ngx.shared.keys:set("bench" .. n, "@VALUE@") end }
js_import bench from @DIR@/bench.js;
js_set $constant bench.constant;
js_set $file bench.file;
"""
PEERS = """
    location = /dict { set_by_lua_block $key { return ngx.shared.keys:get("bench0") }
        proxy_set_header Authorization $key; @PASS@ }
    location = /dicts { @DICTS@ @HEADERS@ @PASS@ }
    location = /block { @EMPTY@
        access_by_lua_block {
            local keys = ngx.shared.keys
            for n = 0, 9 do ngx.var["secret" .. n] = keys:get("bench" .. n) end
        }
        @HEADERS@ @PASS@ }
    location = /redis { set $key "";
        access_by_lua_block {
            local connection = require("nginx.redis"):new()
            connection:set_timeout(1000)
            if not connection:connect("unix:@REDIS@") then return ngx.exit(503) end
            local value = connection:get("bench0")
            if not value or value == ngx.null then return ngx.exit(503) end
            connection:set_keepalive(10000, 64)
            ngx.var.key = value
        }
        proxy_set_header Authorization $key; @PASS@ }
    location = /agent { auth_request /ask; auth_request_set $given $upstream_http_x_key;
        proxy_set_header Authorization $given; @PASS@ }
    location = /ask { internal; proxy_pass_request_body off; proxy_set_header Content-Length "";
        proxy_set_header Connection ""; proxy_pass http://agent; }
    location = /njs { proxy_set_header Authorization $constant; @PASS@ }
    location = /njs-file { proxy_set_header Authorization $file; @PASS@ }"""
SCRIPT = """
import fs from 'fs';
function constant(r) { return '@VALUE@'; }
function file(r) { return fs.readFileSync('@DIR@/key', 'utf8'); }
export default {constant, file};
"""
MODULES = ["ndk_http_module", "ngx_http_lua_module", "ngx_http_js_module"]
# of one server and of the other, in the order in which they are asked
CASES = {"front": ["literal", "secret", "literals", "secrets"],
         "peers": ["literals", "dicts", "block", "dict", "redis", "agent", "njs", "njs-file"]}


def fill(text, **marks):
    marks |= {"VALUE": VALUE, "HEADERS": " ".join(f"proxy_set_header X-Key-{n} $secret{n};" for n in NUMBERS),
              "LITERALS": " ".join(f'proxy_set_header X-Key-{n} "{VALUE}";' for n in NUMBERS),
              "EMPTY": " ".join(f'set $secret{n} "";' for n in NUMBERS),
              "GET": "secret_get $secret0 api-keys/bench0;",
              "GETS": " ".join(f"secret_get $secret{n} api-keys/bench{n};" for n in NUMBERS),
              # a location with a proxy_set_header inherits none
              "PASS": 'proxy_set_header Connection ""; proxy_pass http://application;',
              "PASS_FILE": 'proxy_set_header Connection ""; proxy_pass http://application/file;',
              "SLICES": f"slice {SLICE}; proxy_set_header Range $slice_range;",
              "DICTS": " ".join(f'set_by_lua_block $secret{n} {{ return ngx.shared.keys:get("bench{n}") }}' for n in NUMBERS)}
    for mark, words in marks.items():
        text = text.replace(f"@{mark}@", str(words))
    return text


class Client:
    """One request after the other on each of some connections."""

    def __init__(self, server):
        self.sockets = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS)]
        for connection in self.sockets:
            connection.connect(str(server.dir / "socket"))
        self.worker = server.worker_pids()[0]
        self.clock = cpu_clock(self.worker)

    def cpu(self):
        """Nanoseconds of the worker: of all its threads, and of the one that answers."""
        with open(f"/proc/{self.worker}/task/{self.worker}/schedstat") as file:
            return time.clock_gettime_ns(self.clock), int(file.read().split()[0])

    def round(self, request):
        for connection in self.sockets:
            connection.sendall(request)
        for connection in self.sockets:
            answer = b""
            while not answer.endswith(b"\r\n\r\nok"):
                part = connection.recv(4096)
                answer += part
                if not part or not answer.startswith(b"HTTP/1.1 200 "):
                    raise RuntimeError(f"{request.split()[1].decode()}: {answer.splitlines()[0].decode() if answer else 'closed'}")

    def run(self, path, count):
        """Nanoseconds for one request: of the worker, and of its thread that answers."""
        request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        rounds = count // CONNECTIONS
        self.round(request)
        before = self.cpu()
        for _ in range(rounds):
            self.round(request)
        return [(now - then) / (rounds * CONNECTIONS) for now, then in zip(self.cpu(), before)]

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


def owner():
    """The user of the worker processes, if that has to be said."""
    return "user root;" if os.geteuid() == 0 else ""


def plain(stage):
    """nginx as Debian has it, without keyturn."""
    stage = copy.copy(stage)
    stage.nginx_module = None
    return stage


def loads(stage):
    """Lines for the modules of the peers."""
    built = subprocess.run([str(stage.nginx), "-V"], env=stage.environment(), capture_output=True, text=True).stderr
    folder = built.partition("--modules-path=")[2].split()[0]
    return "".join(f"load_module {folder}/{name}.so;\n" for name in MODULES)


@contextlib.contextmanager
def started(bench):
    """(server with keyturn, server of the peers), with what they need."""
    home = Home.create(bench.stage, bench.folder / "home")
    home.grant("nginx:*", ["read"], ["*"])
    for n in NUMBERS:
        home.set(f"api-keys/bench{n}", VALUE)
    with contextlib.ExitStack() as stack:
        redis = Redis(bench.stage, bench.folder / "redis", stack.enter_context(short_dir()))
        stack.callback(redis.stop)
        redis.start("appendonly no", module=False).client().set("bench0", VALUE)

        back = Nginx(plain(bench.stage), bench.folder / "back")
        back.configure(fill(BACK))
        (back.dir / "file").write_bytes(SLICES * SLICE * b"s")
        front = Nginx(bench.stage, bench.folder / "front", home)
        front.configure(fill(SERVER, LOCATIONS=fill(KEYTURN), OUTSIDE=""), main=owner())
        peers = Nginx(plain(bench.stage), bench.folder / "peers")
        (peers.dir / "bench.js").write_text(fill(SCRIPT, DIR=peers.dir))
        (peers.dir / "key").write_text(VALUE)
        peers.configure(fill(SERVER, LOCATIONS=fill(PEERS, REDIS=redis.socket), OUTSIDE=fill(PEERS_OUTSIDE)),
                        main=loads(bench.stage) + owner())
        for server in (back, front, peers):
            stack.callback(server.stop)
            server.start()
        yield front, peers


def requests(bench):
    """{case: nanoseconds of the worker's CPU for one request}, and of its thread that answers: "loop CASE"."""
    samples = {}
    with started(bench) as servers:
        clients = dict(zip(CASES, map(Client, servers)))
        for _ in range(bench.few(161, 2)):
            for place, cases in CASES.items():
                for case in cases:
                    name = case if place == "front" or case != "literals" else "peers' literals"
                    worker, loop = clients[place].run(f"/{case}", bench.few(384, 64))
                    samples.setdefault(name, []).append(worker)
                    samples.setdefault(f"loop {name}", []).append(loop)
        for _ in range(bench.few(9, 1)):
            for case in ("literal", "secret"):
                samples.setdefault(f"slices {case}", []).append(clients["front"].download(f"/slices/{case}"))
    return samples | each(samples) | rates(samples)


def each(samples):
    """Of one of ten values: what a request with ten takes more than one with ten literals, of the same server."""
    bases = {"secrets": "literals", "dicts": "peers' literals", "block": "peers' literals"}
    return {f"{loop}each {case}": [(ten - literals) / MORE for ten, literals in zip(samples[loop + case], samples[loop + base])]
            for loop in ("", "loop ") for case, base in bases.items()}


def rates(samples):
    """Requests for a second of CPU."""
    return {f"{loop}rate {case}": [1e9 / cpu for cpu in samples[loop + case]] for loop in ("", "loop ")
            for case in ("literal", "secret", "dict", "redis", "agent", "njs", "njs-file")}

# SPDX-License-Identifier: BSD-2-Clause
"""A required secret is in the request to the upstream, or that is not sent: with each module that has upstreams, and however
the body of a request comes. An address is evaluated before the upstream, and gets no secret of the scope "upstream"."""
import socket
import subprocess
import threading

import pytest

from lib.tools import wait_for

BODY = b"b" * 5000
UNBUFFERED = "".join(f"{name}_request_buffering off; " for name in ("proxy", "fastcgi", "uwsgi", "scgi"))


class Recorder:
    """Listens on a port and on a socket of a path; `seen` is what each connection has sent, in the order of their ends."""

    def __init__(self, path):
        self.path, self.seen, self.open = path, [], 0
        self.lock = threading.Lock()
        local = socket.socket(socket.AF_UNIX)
        local.bind(str(path))
        local.listen(64)
        self.sockets = [socket.create_server(("127.0.0.1", 0), backlog=64), local]
        self.port = self.sockets[0].getsockname()[1]
        for server in self.sockets:
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def _accept(self, server):
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with self.lock:
                self.open += 1
            threading.Thread(target=self._read, args=(peer,), daemon=True).start()

    def _read(self, peer):
        data = b""
        with peer:
            peer.settimeout(0.3)
            try:
                while chunk := peer.recv(65536):
                    data += chunk
                peer.close()
            except OSError:
                pass
        with self.lock:
            self.open -= 1
            self.seen.append(data)

    def take(self):
        """What all connections have sent since the last call, once they have ended."""
        wait_for(lambda: self.open == 0, what="the end of connections")
        with self.lock:
            seen, self.seen = b"".join(self.seen), []
        return seen

    def close(self):
        for server in self.sockets:
            server.close()


@pytest.fixture
def recorder(servers, tmp_path):
    recorder = Recorder(tmp_path / "recorder.sock")
    servers.callback(recorder.close)
    return recorder


def ask(port, path, body):
    """The status, or 0 if a stream of HTTP/2 was closed while curl still sent its body."""
    how = {"none": [], "length": ["--data-binary", "@-"], "chunked": ["-T", "-", "-X", "POST", "-H", "Transfer-Encoding: chunked"],
           "http2": ["--http2-prior-knowledge", "-T", "-", "-X", "POST"]}[body]
    done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", "-H", "Expect:", *how,
                           f"http://127.0.0.1:{port}{path}"], input=None if body == "none" else BODY, capture_output=True)
    return int(done.stdout)


BODIES = ("none", "length", "chunked", "http2")
PASSES = {
    "/uri": "proxy_pass http://127.0.0.1:{port}/x$made;",
    "/socket": "proxy_pass http://unix:{path}:/x$made;",
    "/port": "proxy_pass http://127.0.0.1:$port_of;",
    "/grpc": "grpc_pass grpc://127.0.0.1:$port_of;",
    "/grpc-socket": "grpc_pass grpc://unix:$path_of;",
    "/fastcgi": "fastcgi_pass 127.0.0.1:$port_of;",
    "/fastcgi-socket": "fastcgi_pass unix:$path_of;",
    "/uwsgi": "uwsgi_pass uwsgi://127.0.0.1:$port_of;",
    "/scgi": "scgi_pass unix:$path_of;",
}
SETS = {"fastcgi": "fastcgi_param HTTP_A $key;", "grpc": "grpc_set_header A $key;", "uwsgi": "uwsgi_param A $key;",
        "scgi": "scgi_param A $key;"}


def configure(site, recorder, locations, listen=""):
    site.nginx.configure(f"""
        map $key $made {{ default "k$key"; }}
        map $key $port_of {{ default {recorder.port}; }}
        map $key $path_of {{ default {recorder.path}; }}
        server {{ listen 127.0.0.1:@PORT@; server_name app.example; proxy_http_version 1.1; proxy_request_buffering off;
            fastcgi_request_buffering off; uwsgi_request_buffering off; scgi_request_buffering off;
            secret_get $key api-keys/stripe;
            {locations} }}
        server {{ listen 127.0.0.1:{site.other} http2; server_name app.example; proxy_http_version 1.1; {UNBUFFERED}
            secret_get $key api-keys/stripe;
            {locations} }}""")
    site.nginx.start()


@pytest.fixture
def both(site, free_port):
    """The site, with a port for HTTP/2 beside that for HTTP/1.1."""
    site.value = "~{^|}~" * 3     # HPACK leaves it plain, as Huffman would be longer
    site.home.set("api-keys/stripe", site.value)
    site.other = free_port()
    return site


def statuses(site, recorder, paths):
    """{(path, body): (status, what was sent)}"""
    found = {}
    for path in paths:
        for body in BODIES:
            status = ask(site.other if body == "http2" else site.nginx.port, path, body)
            found[path, body] = status, recorder.take()
    return found


def test_an_address_that_lacks_it(both, recorder):
    configure(both, recorder, "\n".join(f"location = {path} {{ {text.format(port=recorder.port, path=recorder.path)} }}"
                                        for path, text in PASSES.items()))
    found = statuses(both, recorder, PASSES)
    wrong = {case: what for case, what in found.items() if what[0] not in (500, 0 if case[1] == "http2" else 500) or what[1]}
    assert wrong == {}
    assert both.nginx.error_log().count("lacks the required secret") == len(found)
    assert "[crit]" not in both.nginx.error_log() and both.nginx.worker_pids()


def test_what_is_sent_has_it(both, recorder):
    """Each body reaches the upstream, with the secret before it."""
    locations = ""
    for path, text in PASSES.items():
        text = text.format(port=recorder.port, path=recorder.path).replace("$port_of", str(recorder.port))
        name = path[1:].split("-")[0]
        locations += f"location = {path} {{ {SETS.get(name, 'proxy_set_header A $key;')} {text.replace('$path_of', str(recorder.path)).replace('$made', '')} }}\n"
    configure(both, recorder, locations)
    for (path, body), (_, sent) in statuses(both, recorder, PASSES).items():
        assert both.value.encode() in sent, (path, body)
        assert (body == "none" or BODY[:1000] in sent), (path, body)


def test_an_error_page_after_it(both, recorder):
    """The next location is passed on with its secret, a file is sent, and an address that is not one is an error as ever."""
    (both.nginx.dir / "page").write_text("page")
    up = f"http://127.0.0.1:{recorder.port}"
    configure(both, recorder, f"""
        location = /next {{ error_page 500 = @next; proxy_pass {up}/x$made; }}
        location @next {{ proxy_set_header A $key; proxy_pass {up}; }}
        location = /file {{ error_page 500 =200 /page; proxy_pass {up}/x$made; }}
        location = /page {{ aio threads; sendfile on; root {both.nginx.dir}; }}
        location = /wrong {{ error_page 500 = @next; proxy_pass $made; }}
        location = /mirror {{ mirror /mirrored; proxy_pass {up}/x$made; }}
        location = /mirrored {{ internal; proxy_set_header A $key; proxy_pass {up}; }}""")
    for path, sends in (("/next", 1), ("/file", 0), ("/wrong", 1), ("/mirror", 1)):
        for body in BODIES:
            status = ask(both.other if body == "http2" else both.nginx.port, path, body)
            sent = []
            # a mirror is a request of its own, after the answer
            wait_for(lambda: sent.append(recorder.take()) or b"".join(sent).count(both.value.encode()) >= sends, what=f"{path} {body}")
            sent = b"".join(sent)
            assert sent.count(both.value.encode()) == sends and b"/xk" not in sent, (path, body, status)
            assert body == "http2" or status == {"/file": 200, "/mirror": 500}.get(path, status), (path, body)

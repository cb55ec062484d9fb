# SPDX-License-Identifier: BSD-2-Clause
"""A secret is needed where something will use it, and nowhere else; what cannot be had costs no more than that."""
import signal
import socket
import time

import pytest

from nginx.test_remote import held, remote, started, working  # noqa: F401

HEADER = "proxy_set_header X-Key $key;"
CACHE = "proxy_cache zone; proxy_cache_valid 200 1s; proxy_cache_key $uri;"


def zone(tmp_path):
    return f"proxy_cache_path {tmp_path}/cache keys_zone=zone:1m;"


@pytest.fixture
def value(site, canary):
    value = canary("gate")
    site.home.set("api-keys/stripe", value)
    return value


def age(site):
    """Past the second that a cached answer is valid for; nginx counts whole ones."""
    time.sleep(2.1)


def test_monitoring_survives_the_outage(site, value, tmp_path):
    (tmp_path / "www").mkdir()
    for name in ("file", "film.mp4"):
        (tmp_path / "www" / name).write_bytes(b"static")
    site.configure(f"""
        secret_get $key api-keys/stripe; {HEADER} root {tmp_path}/www;
        location /status {{ stub_status; }}
        location /gif {{ empty_gif; }}
        location /film.mp4 {{ mp4; }}
        location /file {{ }}
        location /return {{ return 200 constant; }}
        location /plain {{ proxy_set_header X-Other x; @PROXY@ }}
        location / {{ {HEADER} @PROXY@ }}""")
    site.nginx.start()
    site.home.delete("api-keys/stripe")
    for path in ("/status", "/gif", "/film.mp4", "/file", "/return", "/plain"):
        assert site.get(path).status == 200, path
    assert site.records(action="read") == []
    assert site.get("/").status == 503
    assert [request.path for request in site.upstream.requests] == ["/plain"]


def test_a_cached_answer_needs_no_secret(site, value, tmp_path):
    site.configure(f"""
        secret_get $key api-keys/stripe; {HEADER} {CACHE}
        location / {{ proxy_cache_use_stale error; @PROXY@ }}
        location /strict {{ @PROXY@ }}
        location /updating {{ proxy_cache_use_stale updating; proxy_cache_background_update on; @PROXY@ }}
        location /long {{ proxy_cache_valid 200 1h; @PROXY@ }}
        """, outside=zone(tmp_path) + "add_header X-Cache $upstream_cache_status;")
    site.nginx.start()
    paths = ("/", "/strict", "/updating", "/long")
    for path in paths:
        assert site.header("X-Key", path) == value
    read = len(site.records(action="read"))
    site.home.delete("api-keys/stripe")
    answer = site.get("/long")
    assert (answer.status, answer.headers["X-Cache"]) == (200, "HIT")
    assert len(site.records(action="read")) == read
    age(site)
    for path in ("/", "/updating"):
        answer = site.get(path)
        assert (answer.status, answer.body, answer.headers["X-Cache"]) == (200, b"ok", "STALE")
    answer = site.get("/strict")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert len(site.upstream.requests) == len(paths)
    site.home.undelete("api-keys/stripe")
    for path in paths:
        assert site.get(path).status == 200     # a refusal is not an answer of the upstream, and was not kept
    assert "[alert]" not in site.nginx.error_log()


def test_an_outage_of_the_store_is_none_of_what_is_cached(remote, tmp_path, canary):  # noqa: F811
    site = remote
    value = canary("cold")
    site.home.set("api-keys/stripe", value)
    site.configure(f"""
        secret_get $key api-keys/stripe; {HEADER} {CACHE}
        location / {{ proxy_cache_use_stale error; @PROXY@ }}
        location /new {{ @PROXY@ }}
        location /big {{ proxy_cache_methods POST; @PROXY@ }}""", outside=zone(tmp_path) + "add_header X-Cache $upstream_cache_status;")
    site.nginx.start()
    assert site.header("X-Key") == value    # a first fetch, with a cache
    assert site.get("/big", method="POST", body=b"b" * 100000).status == 200
    assert len(site.upstream.last.body) == 100000 and site.upstream.last.headers["X-Key"] == value
    site.nginx.stop()
    site.redis.stop()
    site.nginx.start()                      # the worker has never had the value
    age(site)
    asked = time.monotonic()
    answer = site.get("/")
    assert (answer.status, answer.headers["X-Cache"]) == (200, "STALE")
    assert time.monotonic() - asked < 3
    answer = site.get("/new")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    site.redis.start()
    site.home.set("api-keys/stripe", value)
    end = time.monotonic() + 10
    while site.get("/new").status != 200 and time.monotonic() < end:
        time.sleep(0.1)
    assert site.header("X-Key", "/new?") == value or site.get("/new").headers["X-Cache"] == "HIT"
    assert "[alert]" not in site.nginx.error_log()


def test_scope_request_in_a_server_block_waits(remote, canary):  # noqa: F811
    """F7: `set` of a server block runs before any location is known."""
    site = remote
    value = canary("server")
    site.home.set("api-keys/stripe", value)
    site.configure("""
        secret_get $key api-keys/stripe scope=request; set $x "v=$key";
        location / { proxy_set_header X-Key $x; @PROXY@ }
        location /return { return 200 "$x"; }""")
    site.nginx.start()
    assert site.header("X-Key") == f"v={value}"
    assert site.get("/return").body.decode() == f"v={value}"
    site.nginx.stop()
    site.redis.process.send(signal.SIGSTOP)
    site.nginx.start()
    assert site.get("/return").status == 503
    site.redis.process.send(signal.SIGCONT)
    end = time.monotonic() + 10
    while site.get("/").status != 200:      # what failed was not kept
        assert time.monotonic() < end
        time.sleep(0.1)
    assert site.upstream.last.headers["X-Key"] == f"v={value}"


def test_scope_request_in_a_server_block_and_missing(site, value):
    """F5 d: `return` of a server block."""
    site.configure("""
        secret_get $key api-keys/stripe scope=request; return 200 "<$key>";""")
    site.nginx.start()
    assert site.get().body.decode() == f"<{value}>"
    site.home.delete("api-keys/stripe")
    answer = site.get()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")


@pytest.mark.parametrize("word, absent, denied", [("optional", 200, 503), ("optional=any", 200, 200), ("default=d", 200, 503)])
def test_optional_means_absent(site, canary, word, absent, denied):
    """F12: a refusal or an outage is not an absence."""
    site.home.set("api-keys/deleted", canary("deleted"))
    site.home.delete("api-keys/deleted")
    site.home.set("database/denied", canary("denied"))
    site.home.deny("nginx:app.example", ["read"], ["database/*"])
    site.home.set("api-keys/old", canary("first"))
    names = {"none": "api-keys/none", "deleted": "api-keys/deleted", "denied": "database/denied", "empty": "api-keys/empty"}
    site.home.set("api-keys/empty", {"api_key": ""})
    site.configure("".join(f"location /{path} {{ secret_get $key {name} {word} {'field=api_key' if path == 'empty' else ''}; {HEADER} @PROXY@ }}"
                           for path, name in names.items()))
    site.nginx.start()
    statuses = {path: site.get(f"/{path}").status for path in names}
    assert statuses == {"none": absent, "deleted": absent, "denied": denied, "empty": denied}
    fallback = "d" if word == "default=d" else None
    sent = {request.path.strip("/"): request.headers["X-Key"] for request in site.upstream.requests}
    assert sent["none"] == fallback and sent["deleted"] == fallback
    assert sent.get("denied") is None


@pytest.mark.parametrize("word, status", [("optional", 503), ("optional=any", 200)])
def test_optional_and_unreachable(remote, word, status):  # noqa: F811
    site = remote
    site.redis.stop()
    site.configure(f"location / {{ secret_get $key api-keys/none {word}; {HEADER} @PROXY@ }}")
    site.nginx.start()
    assert site.get().status == status
    assert len(site.upstream.requests) == (status == 200)


def test_a_client_that_goes_while_an_upstream_is_held(remote, canary, wait_for):  # noqa: F811
    """Many requests wait for one fetch, over HTTP/1.1 with bodies; some hang up; the worker goes on."""
    site = remote
    value = canary("held")
    site.home.set("api-keys/stripe", value)
    site.configure(f"""
        secret_get $key api-keys/stripe; {HEADER}
        location / {{ @PROXY@ }}
        location /working {{ stub_status; }}
        location /sub {{ auth_request /auth; @PROXY@ }}
        location /auth {{ internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; {HEADER} @PROXY@ }}
        location /unbuffered {{ proxy_request_buffering off; @PROXY@ }}""")
    site.nginx.start()
    answers = {}

    def one(path, size):
        answers[path] = site.get(path, method="POST", body=b"x" * size).status

    def all_but_three_stay():
        threads = started([lambda path=path, size=size: one(path, size)
                           for path, size in (("/a", 10), ("/b", 1000000), ("/sub", 50000), ("/unbuffered", 10))])
        gone = [begin(site, text) for text in ("GET /gone", "POST /gone", "POST /unbuffered/gone")]
        wait_for(lambda: working(site) == len(threads) + len(gone))
        for client in gone:
            client.close()
        wait_for(lambda: site.nginx.error_log().count("prematurely closed connection") == len(gone))
        return threads

    for thread in held(site, all_but_three_stay):
        thread.join()
    assert answers == {"/a": 200, "/b": 200, "/sub": 200, "/unbuffered": 200}
    assert {(request.path, len(request.body)) for request in site.upstream.requests} == {
        ("/a", 10), ("/b", 1000000), ("/auth", 0), ("/sub", 50000), ("/unbuffered", 10)}
    assert {request.headers["X-Key"] for request in site.upstream.requests} == {value}
    log = site.nginx.error_log()
    assert "[alert]" not in log and "signal" not in log.replace("signal process", "")


def begin(site, text):
    """A client that has sent its header, and of a POST the first half of ten bytes."""
    client = socket.create_connection(("127.0.0.1", site.nginx.port), timeout=10)
    body = "Content-Length: 10\r\n\r\nfirst" if text.startswith("POST") else "\r\n"
    client.sendall(f"{text} HTTP/1.1\r\nHost: x\r\n{body}".encode())
    return client


@pytest.mark.parametrize("size", [0, 5, 100000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_is_read_while_it_is_sent(remote, canary, wait_for, framing, size):  # noqa: F811
    """Without buffering the body comes after the wait for the secret, of which a part was there before."""
    site = remote
    values = [canary("one"), canary("two")]
    for name, value in zip(("one", "two"), values):
        site.home.set(f"api-keys/{name}", value)
    site.configure("""
        location / { secret_get $one api-keys/one; secret_get $two api-keys/two; proxy_set_header X-One $one; proxy_set_header X-Two $two;
                     proxy_http_version 1.1; proxy_request_buffering off; @PROXY@ }
        location /working { stub_status; }""")
    site.nginx.start()
    parts = [size * b"a", 200000 * b"b"]
    header = f"Content-Length: {len(b''.join(parts))}" if framing == "length" else "Transfer-Encoding: chunked"
    framed = parts if framing == "length" else [b"%x\r\n%s\r\n" % (len(part), part) if part else b"" for part in parts] + [b"0\r\n\r\n"]
    with socket.create_connection(("127.0.0.1", site.nginx.port), timeout=10) as client:
        def first():
            client.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode() + framed[0])
            wait_for(lambda: working(site) == 1)
        held(site, first)
        client.sendall(b"".join(framed[1:]))
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    sent = site.upstream.last
    assert [sent.headers["X-One"], sent.headers["X-Two"]] == values and sent.body == b"".join(parts)
    assert "[alert]" not in site.nginx.error_log()


def test_every_kind_of_upstream_is_refused_and_waits(remote, canary, tmp_path):  # noqa: F811
    """fastcgi, uwsgi, scgi, grpc, and an address that is known per request only: nothing is sent before the value is there."""
    site = remote
    value = canary("kinds")
    site.home.set("api-keys/stripe", value)
    site.home.set("api-keys/gone", "x")
    port = site.upstream.port
    kinds = {"fastcgi": f"fastcgi_param X $key; fastcgi_pass 127.0.0.1:{port};", "uwsgi": f"uwsgi_param X $key; uwsgi_pass 127.0.0.1:{port};",
             "scgi": f"scgi_param X $key; scgi_pass 127.0.0.1:{port};", "grpc": f"grpc_set_header x $key; grpc_pass 127.0.0.1:{port};",
             "variable": f"{HEADER} set $to 127.0.0.1:{port}; proxy_pass http://$to;", "map": f"proxy_set_header X-Key $made; {site.proxy}",
             "body": f"proxy_set_body $key; {site.proxy}", "cached": f"{HEADER} {CACHE} {site.proxy}", "https": f"{HEADER} proxy_pass https://127.0.0.1:1;"}
    site.configure("".join(f"location /missing/{kind} {{ secret_get $key api-keys/gone; {text} }}" for kind, text in kinds.items())
                   + "".join(f"location /cold/{kind} {{ secret_get $key api-keys/stripe; {text} }}" for kind, text in kinds.items()),
                   outside=zone(tmp_path) + 'map $key $made { volatile; default "made $key"; }')
    site.nginx.start()
    site.home.delete("api-keys/gone")
    for kind in kinds:
        answer = site.get(f"/missing/{kind}", method="POST", body=b"b" * 100)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), kind
    assert site.upstream.requests == []
    for kind in ("variable", "map", "body", "cached"):
        site.nginx.stop()
        site.nginx.start()      # a worker that has not fetched it
        assert site.get(f"/cold/{kind}").status == 200, kind
        sent = site.upstream.last
        assert value in (sent.headers["X-Key"] or sent.body.decode()), kind
    assert "[alert]" not in site.nginx.error_log()


def http2(port, streams):
    """A connection with this many requests for / under way."""
    def frame(kind, flags, stream, payload=b""):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    request = b"\x82\x86\x84\x41\x01a"   # GET http / a, of the static table
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
                       + b"".join(frame(1, 5, 2 * number + 1, request) for number in range(streams)))
    return connection


def statuses(connection, streams):
    """The first byte of each answer's header, as HPACK has it: 0x88 is 200."""
    found, file = [], connection.makefile("rb")
    while len(found) < streams:
        head = file.read(9)
        payload = file.read(int.from_bytes(head[:3], "big"))
        if head[3] == 1:
            found.append(payload.lstrip(b"\x20\x3f\xe1\x1f")[0])
    return found


def test_streams_of_http2_wait_and_hang_up(remote, canary, free_port):  # noqa: F811
    site = remote
    value, port = canary("http2"), free_port()
    site.home.set("api-keys/stripe", value)
    site.configure(f"listen 127.0.0.1:{port} http2; secret_get $key api-keys/stripe; location / {{ {HEADER} @PROXY@ }}")
    site.nginx.start()
    site.redis.process.send(signal.SIGSTOP)
    with http2(port, 20) as stays:
        http2(port, 20).close()
        assert site.get("/", timeout=10).status == 503    # the worker has had all of them in its hands
        assert statuses(stays, 20) == [0x48] * 20
    site.redis.process.send(signal.SIGCONT)
    end = time.monotonic() + 10
    while site.get().status != 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    with http2(port, 20) as again:
        assert statuses(again, 20) == [0x88] * 20
    assert {request.headers["X-Key"] for request in site.upstream.requests} == {value}
    assert "[alert]" not in site.nginx.error_log()

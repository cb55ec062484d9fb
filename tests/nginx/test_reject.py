# SPDX-License-Identifier: BSD-2-Clause
"""secret_reject_on: an upstream's answer that marks the version it was sent suspect."""
import socket
import threading
import time

import pytest

KEY = "api-keys/stripe"
HEADER = "proxy_set_header X-Key $key;"


def fetches(redis):
    stats = redis.client().info("commandstats")
    return sum(row["calls"] for name, row in stats.items() if "getsealed" in name.lower())


class Silent:
    """Passes on what Redis and its clients say, but not that something has changed."""

    def __init__(self, path):
        self.path, self.listener = str(path), socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.path)
            except OSError:  # the server is down, or the test has ended
                if self.listener.fileno() == -1:
                    return
                client.close()
                continue
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    @staticmethod
    def _pass(source, sink):
        try:
            while chunk := source.recv(65536):
                if not (b"message" in chunk and b"__keyturn__:changed" in chunk):
                    sink.sendall(chunk)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def behind(site, make_redis, canary, servers):
    """A Redis whose changes nginx does not hear of. The upstream answers 401 to all but site.good."""
    site.redis = make_redis()
    site.redis.start()
    proxy = Silent(site.redis.socket)
    servers.callback(proxy.listener.close)
    site.home.add("providers", f'redis: {{address: "127.0.0.1:{proxy.port}"}}')
    site.home.add("switch", '"api-keys/*": redis')
    site.values = [canary("old"), canary("new")]
    site.home.set(KEY, site.values[0])
    site.good = site.values[0]
    site.answer = 401
    site.upstream.respond = lambda request: (200 if request.headers["X-Key"] == site.good else site.answer, {}, b"")
    return site


def serve(site, text="secret_reject_on 401 403;"):
    site.configure(f"location / {{ secret_get $key {KEY}; {HEADER} {text} @PROXY@ }}"
                   f"location /other {{ secret_reject_on off; secret_get $key {KEY}; {HEADER} @PROXY@ }}"
                   f"location /none {{ @PROXY@ }}"
                   f"location /copied {{ secret_get $q {KEY} scope=request; set $copy $q; proxy_set_header X-Key $copy; {text} @PROXY@ }}"
                   f"location /tested {{ secret_get $q {KEY} scope=request; if ($q) {{ set $yes yes; }} proxy_set_header X-Key $yes; {text} @PROXY@ }}"
                   f"location /replaced {{ secret_get $key {KEY}; {HEADER} {text} proxy_intercept_errors on; error_page 401 = /none; @PROXY@ }}")
    site.nginx.start()
    assert site.get("/").status == 200
    time.sleep(0.11)  # before its second read the provider does not know what it may have missed
    assert site.get("/").status == 200
    site.home.set(KEY, site.values[1])
    site.good = site.values[1]


@pytest.mark.parametrize("path", ["/", "/replaced", "/copied"])
def test_rotated_behind_the_cache(behind, path):
    serve(behind)
    assert behind.get("/other").status == 401, "the cache does not know yet"
    time.sleep(1.01)  # what was fetched within the last second is not suspect
    assert behind.get("/other").status == 401 and behind.get("/other").status == 401
    before = fetches(behind.redis)
    assert behind.get(path).status == 401  # /replaced gets the 401 of /none, which is sent no key
    assert behind.get("/").status == 200
    assert behind.upstream.last.headers["X-Key"] == behind.values[1]
    assert fetches(behind.redis) - before == 1
    assert f'an upstream refused version 1 of secret "{KEY}"' in behind.nginx.error_log()


def test_one_fetch_a_second_and_no_more(behind):
    """Whatever an upstream answers to a client, it costs the store one fetch a second."""
    serve(behind)
    behind.good = "nothing"
    before, began = fetches(behind.redis), time.monotonic()
    while time.monotonic() - began < 2.2:
        assert behind.get("/").status == 401
    assert 1 <= fetches(behind.redis) - before <= 3


def test_a_client_turns_nothing_off(behind):
    """A 401 while the store is down: the value stays in use."""
    serve(behind)
    behind.good = behind.values[0]
    behind.redis.stop()
    time.sleep(1.01)
    behind.upstream.respond = lambda request: (401, {}, b"")
    for _ in range(5):
        assert behind.get("/").status == 401
        assert behind.upstream.last.headers["X-Key"] == behind.values[0]


def test_other_statuses_and_other_upstreams(behind):
    """Only what was given to the upstream that refuses, and only with a status of the list."""
    serve(behind)
    behind.answer = 404
    time.sleep(1.01)
    before = fetches(behind.redis)
    for path in ("/", "/none", "/other", "/"):
        assert behind.get(path).status == 404
    behind.answer = 403
    assert behind.get("/none").status == 403 and behind.get("/tested").status == 403
    assert fetches(behind.redis) == before and behind.nginx.error_log().count("an upstream refused") == 0
    assert behind.get("/").status == 403
    assert behind.get("/").status == 200


def test_a_local_store(site, canary):
    value = canary("local")
    site.home.set(KEY, value)
    site.upstream.respond = lambda request: (401, {}, b"")
    site.serve(f"secret_get $key {KEY}; {HEADER} secret_reject_on 401;")
    for _ in range(3):
        assert site.get().status == 401
        assert site.upstream.last.headers["X-Key"] == value
    site.home.set(KEY, "next")
    assert site.get().status == 401 and site.upstream.last.headers["X-Key"] == "next"
    assert "[alert]" not in site.nginx.error_log()


def test_configuration(site):
    for text, message in (("secret_reject_on 200;", '"200" is not a status from 300 to 599'),
                          ("secret_reject_on four;", '"four" is not a status'),
                          ("secret_reject_on 401; secret_reject_on 403;", '"secret_reject_on" directive is duplicate')):
        site.location(text)
        assert message in site.nginx.test().stderr

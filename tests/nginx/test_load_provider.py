# SPDX-License-Identifier: BSD-2-Clause
"""A provider that gives trouble in each way that a network can: each has its status, and the rest of the server does not notice."""
import re
import threading
import time

import pytest

from lib.trouble import Trouble

NAME = "api-keys/stripe"
PLACES = f"""
    location / {{ secret_get $key {NAME}; proxy_set_header X-Key $key; @PROXY@ }}
    location /body {{ secret_get $key {NAME}; proxy_set_body $key; @PROXY@ }}
    location /metrics {{ keyturn_metrics; }}
    location /quick {{ return 200 quick; }}"""
LIMIT = 65536   # bytes of a value
SLOWEST = 2.5   # seconds that a request may wait for an answer of a provider: here 0.5, and at most 2, on a busy machine


class Quick(threading.Thread):
    """Asks for what needs no secret, all the time: `slowest` is in seconds."""

    def __init__(self, nginx):
        super().__init__(daemon=True)
        self.nginx, self.slowest, self.wrong, self.ended, self.count = nginx, 0, [], threading.Event(), 0

    def run(self):
        while not self.ended.is_set():
            began = time.monotonic()
            try:
                body = self.nginx.get("/quick").body
            except OSError as error:
                body = repr(error)
            if body != b"quick":
                self.wrong.append(body)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.count += 1
            self.ended.wait(0.02)

    def end(self):
        self.ended.set()
        self.join(20)
        assert self.wrong == [] and self.count > 0


@pytest.fixture
def remote(site, make_redis, servers):
    """site.trouble is between nginx and Redis; site.set() writes past it."""
    redis = make_redis().start()
    site.trouble = Trouble(redis.socket)
    servers.callback(site.trouble.close)
    site.home.add("providers", f'redis: {{address: "127.0.0.1:{site.trouble.port}", timeout: 500ms}}')
    site.home.add("switch", '"api-keys/*": redis')
    site.redis = redis
    straight = site.home.dir / "straight.yaml"

    def put(value):
        straight.write_text(site.home.read_config().replace(f"127.0.0.1:{site.trouble.port}", f"unix:{redis.socket}"))
        site.home.keyturn("-c", straight, "set", NAME, input=value)

    def serve(cache="{ttl: 100ms, negative: 100ms, stale: 0s}"):
        site.home.write_config(site.home.read_config() + f"\ncache: {cache}\n")
        site.configure(PLACES)
        site.nginx.start()
        site.quick = Quick(site.nginx)
        site.quick.start()

    site.set, site.serve = put, serve
    yield site


def timed_until_refused(site):
    """What was answered, up to the first 503, and after how many seconds."""
    answers, end = [], time.monotonic() + 5
    while not answers or answers[-1][0].status != 503:
        began = time.monotonic()
        assert began < end
        answers.append((site.get(), time.monotonic() - began))
    return answers


def recovers(site, value, wait_for, within=5):
    """Without a reload; a failed fetch is not repeated within a second."""
    site.trouble.set("pass")
    site.trouble.cut()
    wait_for(lambda: site.get().status == 200, within, what="the provider is back")
    assert site.header("X-Key") == value
    site.quick.end()
    log = site.nginx.error_log()
    assert "[alert]" not in log and "exited on signal" not in log


@pytest.mark.parametrize("mode, delay, word", [
    ("refuse", 0, "unavail"),
    ("drop", 0, "unavail"),
    ("hang", 0, "unavail"),
    ("slow", 1, "unavail"),
    ("drip", 0.05, "unavail"),
    ("truncate", 0, "unavail"),
    ("damage", 0, "malformed"),
    ("huge", 0, "malformed"),
    ("garbage", 0, "malformed"),
])
@pytest.mark.parametrize("when", ["at start", "later"])
def test_a_provider_that_gives_trouble(remote, canary, wait_for, when, mode, delay, word):
    """503 with Retry-After, in time, and nothing is sent upstream; later, too, because nothing may be stale here."""
    value = canary("trouble")
    remote.set(value)
    if when == "later":
        remote.serve()
        assert remote.header("X-Key") == value
    remote.trouble.set(mode, delay)
    remote.trouble.cut()
    if when == "at start":
        remote.serve()
    answers = timed_until_refused(remote)
    assert when == "later" or len(answers) == 1
    assert max(seconds for _, seconds in answers) < SLOWEST
    remote.upstream.clear()
    for answer in [answers[-1][0], remote.get(), remote.get()]:
        assert answer.status == 503 and "Retry-After" in answer.headers
    assert remote.upstream.requests == []
    assert set(re.findall(r"cannot be read by .* \((\w+)\)", remote.nginx.error_log())) == {word}
    recovers(remote, value, wait_for)


def test_a_slow_provider(remote, canary, wait_for):
    """Slower than a request would like, and in time all the same."""
    value = canary("slow")
    remote.set(value)
    remote.trouble.set("slow", 0.1)
    remote.serve()
    began = time.monotonic()
    assert remote.header("X-Key") == value
    assert 0.1 < time.monotonic() - began < SLOWEST
    recovers(remote, value, wait_for)


def test_a_huge_value(remote, canary, wait_for):
    """One of the greatest size is served whole. A greater one is never stored, and what was there stays."""
    value = canary("huge") + LIMIT * "h"
    remote.set(value[:LIMIT])
    remote.serve()
    assert remote.get("/body").status == 200
    assert remote.upstream.last.body.decode() == value[:LIMIT]
    with pytest.raises(Exception, match="65536|64 KiB|too large"):
        remote.set(value[:LIMIT + 1])
    assert remote.get("/body").status == 200
    assert remote.upstream.last.body.decode() == value[:LIMIT]
    remote.quick.end()


def test_a_flapping_provider(remote, canary, wait_for):
    """Up and down, with values that change: each answer is one of them or 503, none waits longer than it may, and it ends well."""
    published = [canary("flap")]
    remote.set(published[0])
    remote.serve()
    seen, ended = [], threading.Event()

    def ask():
        while not ended.is_set():
            began = time.monotonic()
            status = remote.get(timeout=20).status
            seen.append((status, time.monotonic() - began))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(6):
        remote.trouble.set(("refuse", "drop", "truncate")[number % 3])
        wait_for(lambda: seen and seen[-1][0] == 503, 5, what="an answer while it is down")
        remote.trouble.set("pass")
        published.append(canary("flap"))
        remote.set(published[-1])
        wait_for(lambda: seen[-1][0] == 200, 5, what="an answer while it is up")
    ended.set()
    for thread in threads:
        thread.join(20)
    assert {status for status, _ in seen} == {200, 503}
    assert max(seconds for _, seconds in seen) < SLOWEST
    assert {request.headers["X-Key"] for request in remote.upstream.requests} <= set(published)
    recovers(remote, published[-1], wait_for)


def test_the_stale_window(remote, canary, wait_for):
    """ttl and stale together, from the fetch on: every answer inside of it is 200, every one after it 503."""
    value = canary("stale")
    window = 3.0
    remote.set(value)
    remote.serve("{ttl: 1s, negative: 1s, stale: 2s}")
    earliest = time.monotonic()
    assert remote.header("X-Key") == value
    latest = time.monotonic()
    remote.trouble.set("refuse")
    seen = []
    while time.monotonic() < latest + window + 1:
        began = time.monotonic()
        status = remote.get().status
        seen.append((began, time.monotonic(), status))
    inside = {status for _, ended, status in seen if ended < earliest + window}
    outside = {status for began, _, status in seen if began >= latest + window}
    assert (inside, outside) == ({200}, {503})
    served = [began for began, _, status in seen if status == 200]
    stale = len(remote.records(action="read", stale=True))
    assert len([began for began in served if began > latest + 1]) <= stale <= len(served)
    assert f"keyturn_stale_total {stale}\n" in remote.get("/metrics").body.decode()
    recovers(remote, value, wait_for)

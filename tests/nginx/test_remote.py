# SPDX-License-Identifier: BSD-2-Clause
"""Secrets in a store across a network: the first fetch suspends the request, never the worker process."""
import contextlib
import http.client
import os
import re
import signal
import socket
import threading
import time

import pytest

HEADER = "proxy_set_header X-Key $key;"


@pytest.fixture
def remote(site, make_redis):
    """site.redis runs and keeps "api-keys/*"; nginx and the command ask it through the provider "redis"."""
    site.redis = make_redis()
    site.redis.start()
    site.home.add("providers", f'redis: {{address: "unix:{site.redis.socket}"}}')
    site.home.add("switch", '"api-keys/*": redis')
    yield site
    if site.redis.process:
        site.redis.process.send(signal.SIGCONT)


def serve(site, text=f"secret_get $key api-keys/stripe; {HEADER}", **more):
    site.configure(f"location / {{ {text} @PROXY@ }} location /quick {{ return 200 quick; }}", **more)
    site.nginx.start()


def started(calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def together(site, count, path="/"):
    answers = []
    for thread in started([lambda: answers.append(site.get(path))] * count):
        thread.join()
    return answers


def working(site):
    """Requests whose header the worker has read and which it has not answered, by its location /working."""
    return int(re.search(rb"Writing: (\d+)", site.get("/working").body)[1]) - 1


def held(site, call):
    """What the call answers, which Redis waits for; requests wait for Redis, for two seconds at most."""
    site.redis.process.send(signal.SIGSTOP)
    try:
        return call()
    finally:
        site.redis.process.send(signal.SIGCONT)


def test_the_first_request_waits_for_the_value(remote, canary):
    value = canary("remote")
    remote.home.set("api-keys/stripe", value)
    serve(remote)
    assert remote.header("X-Key") == value
    assert remote.header("X-Key") == value
    assert [line["provider"] for line in remote.records(action="read")] == ["redis", "redis"]
    assert "[alert]" not in remote.nginx.error_log()


def test_many_first_requests(remote, canary):
    value = canary("many")
    remote.home.set("api-keys/stripe", value)
    serve(remote)
    assert {answer.status for answer in together(remote, 40)} == {200}
    assert {request.headers["X-Key"] for request in remote.upstream.requests} == {value}


def test_several_secrets_of_one_request(remote, canary):
    values = {name: canary(name) for name in ("one", "two", "three")}
    for name, value in values.items():
        remote.home.set(f"api-keys/{name}", value)
    serve(remote, "".join(f"secret_get ${name} api-keys/{name}; proxy_set_header X-{name} ${name};" for name in values))
    assert remote.get().status == 200
    assert {name: remote.upstream.last.headers[f"X-{name}"] for name in values} == values


def test_with_a_body_and_in_a_subrequest(remote, canary):
    value = canary("sub")
    remote.home.set("api-keys/stripe", value)
    remote.configure(f"""
        secret_get $key api-keys/stripe; {HEADER}
        location / {{ auth_request /auth; @PROXY@ }}
        location /auth {{ internal; proxy_pass_request_body off; {HEADER} proxy_set_header Content-Length ""; @PROXY@ }}""")
    remote.nginx.start()
    assert remote.get(method="POST", body=b"x" * 100000).status == 200
    assert [(r.path, r.headers["X-Key"], len(r.body)) for r in remote.upstream.requests] == [
        ("/auth", value, 0), ("/", value, 100000)]


def test_scope_request(remote, canary):
    value = canary("request")
    remote.home.set("api-keys/stripe", value)
    remote.configure("""
        location / { secret_get $key api-keys/stripe scope=request; set $copy $key; return 200 "$copy"; }
        location /none { secret_get $key api-keys/none scope=request; return 200 "$key"; }""")
    remote.nginx.start()
    assert remote.get("/").body.decode() == value
    assert remote.get("/none").status == 503


def test_optional_and_missing(remote):
    serve(remote, f"secret_get $key api-keys/none optional; {HEADER}")
    assert remote.header("X-Key") is None


def test_required_and_missing(remote):
    serve(remote)      # a start does not wait for a network
    answer = remote.get()
    assert answer.status == 503 and "Retry-After" in answer.headers
    assert remote.upstream.requests == []
    assert "(notfound)" in remote.nginx.error_log()


def test_a_rotation_is_seen_within_a_second(remote, wait_for):
    remote.home.set("api-keys/stripe", "first")
    serve(remote)
    assert remote.header("X-Key") == "first"
    remote.home.set("api-keys/stripe", "second")
    wait_for(lambda: remote.header("X-Key") == "second", timeout=1)


def test_a_store_that_is_down(remote, canary):
    value = canary("down")
    remote.home.set("api-keys/stripe", value)
    remote.redis.stop()
    serve(remote)
    began = time.monotonic()
    assert remote.get().status == 503
    assert time.monotonic() - began < 3
    assert remote.get("/quick").body == b"quick"
    assert remote.upstream.requests == []


def test_a_store_that_does_not_answer(remote, canary):
    value = canary("stopped")
    remote.home.set("api-keys/stripe", value)
    serve(remote)
    remote.redis.process.send(signal.SIGSTOP)
    waiting = threading.Thread(target=lambda: setattr(remote, "answer", remote.get()))
    began = time.monotonic()
    waiting.start()
    for _ in range(20):
        asked = time.monotonic()
        assert remote.get("/quick").body == b"quick"
        assert time.monotonic() - asked < 0.5
        time.sleep(0.02)
    waiting.join()
    assert remote.answer.status == 503 and "Retry-After" in remote.answer.headers
    assert time.monotonic() - began < 4
    remote.redis.process.send(signal.SIGCONT)
    end = time.monotonic() + 10
    while remote.get().status != 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert remote.upstream.last.headers["X-Key"] == value


def test_a_client_that_goes_while_it_waits(remote, canary):
    remote.home.set("api-keys/stripe", canary("client"))
    serve(remote)
    remote.redis.process.send(signal.SIGSTOP)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", remote.nginx.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.05)
    time.sleep(0.2)
    remote.redis.process.send(signal.SIGCONT)
    time.sleep(0.5)
    assert remote.get("/quick").status == 200
    log = remote.nginx.error_log()
    assert "[alert]" not in log and "signal 11" not in log
    assert remote.upstream.requests == []


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM])
def test_a_worker_that_ends_while_its_thread_waits(remote, number, canary):
    remote.home.set("api-keys/stripe", canary("end"))
    serve(remote)
    remote.redis.process.send(signal.SIGSTOP)

    def forgiving():
        with contextlib.suppress(OSError, http.client.HTTPException):
            remote.get()

    waiting = threading.Thread(target=forgiving)
    waiting.start()
    time.sleep(0.3)
    began = time.monotonic()
    try:
        os.kill(remote.nginx.master_pid, number)
        remote.nginx.process.wait(timeout=10)
    finally:
        waiting.join()
    assert time.monotonic() - began < 8
    log = remote.nginx.error_log()
    assert "exited on signal" not in log and "open socket" not in log


def test_reloads_while_requests_wait(remote, canary):
    value = canary("reload")
    remote.home.set("api-keys/stripe", value)
    serve(remote)
    for _ in range(5):
        remote.nginx.reload()
        assert {answer.status for answer in together(remote, 5)} == {200}
    assert "[alert]" not in remote.nginx.error_log()


def fetches(redis):
    """How often the provider has asked for a secret."""
    stats = redis.client().info("commandstats")
    return sum(row["calls"] for name, row in stats.items() if "getsealed" in name.lower())


def test_servers_share_a_fetch(remote, canary, wait_for):
    """Two servers of one worker, each a subject of its own, want the same secret at once: it is fetched once."""
    value = canary("shared")
    for name in ("stripe", "other"):
        remote.home.set(f"api-keys/{name}", value)
    proxy = f"location / {{ secret_get $key api-keys/$arg_name; {HEADER} @PROXY@ }} location /working {{ stub_status; }}"
    remote.configure(proxy, outside=f"server {{ listen 127.0.0.1:@PORT@; server_name other.example; {proxy} }}")
    remote.nginx.start()

    def knows_of_changes():
        """A provider that has just connected cannot say whether what it fetched before is still right."""
        before = fetches(remote.redis)
        time.sleep(0.11)
        return remote.get("/?name=other").status == 200 and fetches(remote.redis) == before

    wait_for(knows_of_changes)
    before = fetches(remote.redis)
    answers = []

    def ask():
        threads = started([lambda host=host: answers.append(remote.get("/?name=stripe", headers={"Host": host}).status)
                           for host in ("app.example", "other.example") * 5])
        wait_for(lambda: working(remote) == len(threads))
        return threads

    for thread in held(remote, ask):
        thread.join()
    assert answers == [200] * 10
    assert fetches(remote.redis) - before == 1
    reads = remote.records(action="read", reference="api-keys/stripe")
    assert {line["subject"] for line in reads} == {"nginx:app.example", "nginx:other.example"}


def test_nothing_is_fetched_for_clients_that_have_gone(remote, canary, wait_for):
    """Names that clients make up wait in a queue of their own making; when they hang up, it is empty."""
    value = canary("gone")
    remote.home.set("api-keys/good", value)
    serve(remote, f"secret_get $key api-keys/$arg_name optional; {HEADER}")
    assert remote.header("X-Key", "/?name=good") == value
    before = fetches(remote.redis)
    remote.redis.process.send(signal.SIGSTOP)
    sockets = []
    for number in range(60):
        sockets.append(socket.create_connection(("127.0.0.1", remote.nginx.port)))
        sockets[-1].sendall(f"GET /?name=made-up-{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert remote.get("/quick").status == 200
    assert remote.get("/quick").status == 200  # the worker has had all of the others in its hands
    for sock in sockets:
        sock.close()
    wait_for(lambda: remote.nginx.error_log().count("prematurely closed connection") >= 60)
    remote.redis.process.send(signal.SIGCONT)
    assert remote.get("/?name=absent").status == 200
    assert 1 <= fetches(remote.redis) - before < 10


def test_a_queue_has_an_end(remote, canary):
    """More names at once than could ever be fetched in time are refused at once."""
    remote.home.set("api-keys/good", canary("end"))
    serve(remote, f"secret_get $key api-keys/$arg_name required; {HEADER}")
    assert remote.get("/?name=good").status == 200
    remote.redis.process.send(signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        for number in range(300):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", remote.nginx.port)))
            sock.sendall(f"GET /?name=made-up-{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        began = time.monotonic()
        answer = remote.get("/?name=made-up-last")
        assert answer.status == 503 and time.monotonic() - began < 4
        assert "it cannot be fetched in the background" in remote.nginx.error_log()
        assert remote.get("/quick").status == 200

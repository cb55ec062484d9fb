# SPDX-License-Identifier: BSD-2-Clause
"""A rotated secret is in the next request; no request fails, none goes back."""
import http.client
import threading
import time

import pytest

HEADER = "proxy_set_header X-Key $key;"
CLIENTS, EACH = 4, 500


class Client(threading.Thread):
    """Keeps one connection busy; the upstream answers with the header that it was sent."""

    def __init__(self, nginx, count=None, reconnect=False):
        super().__init__(daemon=True)
        self.nginx, self.count, self.reconnect = nginx, count, reconnect
        self.seen = []       # (when the request began, status, body)
        self.error = None
        self.stop = threading.Event()

    def run(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.nginx.port, timeout=20)
            while not self.stop.is_set() and (self.count is None or len(self.seen) < self.count):
                began = time.monotonic()
                connection.request("GET", "/")
                answer = connection.getresponse()
                self.seen.append((began, answer.status, answer.read().decode()))
                if self.reconnect or answer.will_close:
                    connection.close()
        except Exception as error:  # noqa: BLE001 - the test reports it
            self.error = error


def start(site, name="rotating", **more):
    site.home.set(f"api-keys/{name}", f"{name}-1")
    site.upstream.respond = lambda request: (200, {}, (request.headers["X-Key"] or "").encode())
    site.serve(f"secret_get $key api-keys/{name}; {HEADER} proxy_http_version 1.1; proxy_set_header Connection '';", **more)


def check(clients, committed):
    """committed: [(when the command had returned, version)]"""
    for client in clients:
        assert client.error is None, client.error
        versions = []
        for began, status, body in client.seen:
            assert status == 200, (status, body)
            name, version = body.rsplit("-", 1)
            assert name == "rotating"
            versions.append(int(version))
            published = max((v for when, v in committed if when <= began), default=0)
            assert versions[-1] >= published, f"version {versions[-1]} after {published} had been committed"
        assert versions == sorted(versions), "went back on one connection"


@pytest.mark.parametrize("workers", [1, 2])
def test_2000_requests_while_it_rotates(site, workers):
    start(site, workers=workers)
    clients = [Client(site.nginx, EACH) for _ in range(CLIENTS)]
    committed = [(time.monotonic(), 1)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        version = site.home.set("api-keys/rotating", f"rotating-{committed[-1][1] + 1}")
        committed.append((time.monotonic(), version))
    for client in clients:
        client.join()
    check(clients, committed)
    assert sum(len(client.seen) for client in clients) == CLIENTS * EACH
    assert len(committed) > 10
    assert site.header("X-Key") == f"rotating-{committed[-1][1]}"


def test_the_first_request_after_the_command(site):
    start(site)
    for n in range(2, 30):
        site.home.set("api-keys/rotating", f"rotating-{n}")
        assert site.header("X-Key") == f"rotating-{n}"
    site.home.rollback("api-keys/rotating")
    assert site.header("X-Key") == "rotating-28"


def test_rotate_and_rollback(site, home):
    start(site)
    home.rotate("api-keys/rotating", "--length", "40")
    first = site.header("X-Key")
    assert len(first) == 40
    home.rotate("api-keys/rotating")
    assert site.header("X-Key") not in (first, "rotating-1")
    home.rollback("api-keys/rotating")
    assert site.header("X-Key") == first


def test_20_reloads_under_load(site):
    start(site, workers=2)
    clients = [Client(site.nginx, reconnect=bool(n % 2)) for n in range(CLIENTS)]
    committed = [(time.monotonic(), 1)]
    for client in clients:
        client.reconnect = True     # a worker that goes may close an idle connection under us: nginx' own way
        client.start()
    for _ in range(20):
        site.nginx.reload(timeout=30)
        version = site.home.set("api-keys/rotating", f"rotating-{committed[-1][1] + 1}")
        committed.append((time.monotonic(), version))
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join()
    for client in clients:
        assert client.error is None, client.error
        assert all(status == 200 for _, status, _ in client.seen)
    assert len(site.nginx.worker_pids()) == 2
    log = site.nginx.error_log()
    assert "[alert]" not in log and "[emerg]" not in log and "exited on signal" not in log


# one request, one version

def respond_and_rotate(site, path, headers):
    def respond(request):
        if request.path.startswith(path):
            site.home.set("api-keys/rotating", "rotating-2")
            return 200, headers, b"inner"
        return 200, {}, b"outer"
    return respond


def test_a_subrequest_and_its_request_get_one_version(site):
    site.home.set("api-keys/rotating", "rotating-1")
    site.configure(f"""
        secret_get $key api-keys/rotating; {HEADER}
        location / {{ auth_request /auth; @PROXY@ }}
        location /auth {{ internal; proxy_pass_request_body off; @PROXY@ }}""")
    site.nginx.start()
    site.upstream.respond = respond_and_rotate(site, "/auth", {})
    assert site.get("/").status == 200
    assert [(r.path, r.headers["X-Key"]) for r in site.upstream.requests] == [("/auth", "rotating-1"), ("/", "rotating-1")]
    site.upstream.respond = lambda request: (200, {}, b"")
    assert site.header("X-Key") == "rotating-2"


def test_an_internal_redirect_keeps_the_version(site):
    site.home.set("api-keys/rotating", "rotating-1")
    site.configure(f"""
        secret_get $key api-keys/rotating; {HEADER}
        location / {{ @PROXY@ }}
        location /inner {{ internal; @PROXY@ }}
        location /own {{ internal; secret_get $other api-keys/rotating prefix=x; proxy_set_header X-Key $other; @PROXY@ }}""")
    site.nginx.start()
    for target, prefix in (("/inner", ""), ("/own", "x")):
        site.upstream.clear()
        before = site.header("X-Key", "/quiet")
        site.upstream.clear()

        def respond(request):
            if request.path == "/":
                site.home.set("api-keys/rotating", f"after-{target[1:]}")
                return 200, {"X-Accel-Redirect": target}, b""
            return 200, {}, b"ok"

        site.upstream.respond = respond
        assert site.get("/").status == 200
        sent = [(r.path, r.headers["X-Key"]) for r in site.upstream.requests]
        assert sent == [("/", before), (target, prefix + before)]
        assert site.header("X-Key", "/quiet") == f"after-{target[1:]}"


def test_a_name_that_a_redirect_changes(site):
    site.home.set("api-keys/one", "one")
    site.home.set("api-keys/two", "two")
    site.configure(f"""
        secret_get $key api-keys/$arg_n; {HEADER}
        location / {{ @PROXY@ }}
        location /inner {{ internal; @PROXY@ }}""")
    site.nginx.start()
    site.upstream.respond = lambda request: (200, {"X-Accel-Redirect": "/inner?n=two"} if request.path == "/?n=one" else {}, b"")
    assert site.get("/?n=one").status == 200
    assert [r.headers["X-Key"] for r in site.upstream.requests] == ["one", "two"]


def test_two_fields_of_one_request_are_one_read(site):
    """So a version that is not kept any more, when the second variable is asked for, fails no request."""
    site.home.set("api-keys/rotating", {"user": "u", "password": "p"})
    site.serve("""secret_get $user api-keys/rotating field=user; secret_get $password api-keys/rotating field=password;
                  proxy_set_header X-User $user; proxy_set_header X-Password $password;""")
    assert site.get().status == 200
    assert [site.upstream.last.headers[f"X-{name}"] for name in ("User", "Password")] == ["u", "p"]
    assert len(site.records(action="read")) == 1


ACROSS = {
    "inherited": ("secret_get $user api-keys/pair field=user;", "", "secret_get $password api-keys/pair field=password;"),
    "each its own": ("", "secret_get $user api-keys/pair field=user;", "secret_get $user api-keys/pair field=user; secret_get $password api-keys/pair field=password;"),
    "dynamic": ("", "secret_get $user api-keys/$arg_n field=user;", "secret_get $user api-keys/$arg_n field=user; secret_get $password api-keys/pair field=password;"),
}


@pytest.mark.parametrize("where", ACROSS)
def test_more_rotations_than_the_store_keeps_in_one_request(site, where):
    """The second location gets the version that the first one got, though the store has it no longer."""
    def rotate(number):
        site.home.set("api-keys/pair", {"user": f"user-{number}", "password": f"password-{number}"})

    def respond(request):
        if request.path.startswith("/first"):
            for number in range(2, 15):
                rotate(number)
            return 500, {}, b""
        return 200, {}, b"ok"

    rotate(1)
    server, first, second = ACROSS[where]
    headers = "proxy_set_header X-User $user; proxy_set_header X-Password $password;"
    site.configure(f"""{server}
        location /first {{ {first} proxy_set_header X-User $user; proxy_intercept_errors on; error_page 500 = /second?n=pair; {site.proxy} }}
        location /second {{ {second} {headers} {site.proxy} }}""")
    site.nginx.start()
    site.upstream.respond = respond
    assert site.get("/first?n=pair").status == 200
    sent = site.upstream.last.headers
    assert (site.upstream.last.path.split("?")[0], sent["X-User"], sent["X-Password"]) == ("/second", "user-1", "password-1")
    assert [line["version"] for line in site.records(action="read")] == [1]
    assert site.get("/second?n=pair").status == 200
    assert (site.upstream.last.headers["X-User"], site.upstream.last.headers["X-Password"]) == ("user-14", "password-14")

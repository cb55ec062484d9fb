# SPDX-License-Identifier: BSD-2-Clause
"""An address that is refused too often, over all workers."""
import socket

from lib import refusals

HEADER = "proxy_set_header X-Key $key;"


def get_from(address, port, path):
    """The status of a request that comes from this address of loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0)) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_counted_over_two_workers(site, canary, wait_for):
    site.home.set("api-keys/stripe", canary("lockout"))
    site.home.set("database/primary", "x")
    site.home.deny("nginx:app.example", ["read"], ["database/*"])
    site.serve(f"secret_get $key $arg_n; {HEADER}", workers=2)
    stream = site.home.audit / "nginx"
    seen = set()

    def refuse():  # any worker may accept a request; all are counted in one place
        assert get_from("127.0.0.2", site.nginx.port, "/?n=database/primary") == 503
        seen.add(len(refusals.lockouts(stream)))
        return len(site.records(status="denied", action="read"))

    while refuse() < 11:
        assert get_from("127.0.0.2", site.nginx.port, "/?n=api-keys/stripe") == (503 if 1 in seen else 200)
    wait_for(lambda: site.records(action="alert"), what="the alert's line")
    asked = len(site.upstream.requests)
    for _ in range(6):
        assert get_from("127.0.0.2", site.nginx.port, "/?n=api-keys/stripe") == 503
        assert get_from("127.0.0.3", site.nginx.port, "/?n=api-keys/stripe") == 200
    assert len(site.upstream.requests) == asked + 6
    assert [line["peer"] for line in site.records(action="alert")] == ["127.0.0.2"]
    assert "[crit]" in site.nginx.error_log() and "locked out for 60 s" in site.nginx.error_log()
    refusals.end(stream)
    assert get_from("127.0.0.2", site.nginx.port, "/?n=api-keys/stripe") == 200

# SPDX-License-Identifier: BSD-2-Clause
"""Abuse of the lock-out: a client that floods the server with what is refused turns off nothing that is allowed."""
import re
import socket

from lib import refusals

HEADER = "proxy_set_header X-Key $key;"
# api-keys/stripe is allowed and required; whatever is named in t is optional, and mostly refused
SHOP = """
location / { secret_get $key api-keys/stripe; proxy_set_header X-Key $key; @PROXY@ }
location /any { secret_get $key api-keys/stripe; secret_get $t api-keys/$arg_t optional=any;
                proxy_set_header X-Key $key; proxy_set_header X-T $t; @PROXY@ }
"""


def get_from(address, port, path, headers=""):
    """The status of a request that comes from this address of loopback, or through this unix socket."""
    family = socket.AF_UNIX if "/" in address else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(10)
        if family == socket.AF_INET:
            connection.bind((address, 0))
        connection.connect(address if family == socket.AF_UNIX else ("127.0.0.1", port))
        connection.sendall(f"GET {path} HTTP/1.0\r\n{headers}\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def only_stripe(site, canary):
    site.home.replace('- {who: "nginx:*", allow: ["read"], names: ["*"]}', '- {who: "nginx:*", allow: ["read"], names: ["api-keys/stripe"]}')
    site.home.set("api-keys/stripe", canary("lockout"))
    site.home.set("api-keys/other", "x")


def test_counted_over_two_workers(site, canary, wait_for):
    only_stripe(site, canary)
    site.configure(SHOP, workers=2)
    site.nginx.start()
    stream = site.home.audit / "nginx"
    for _ in range(25):  # any worker may accept a request; all are counted in one place
        assert get_from("127.0.0.2", site.nginx.port, "/any?t=other") == 200
        assert get_from("127.0.0.2", site.nginx.port, "/") == 200
    wait_for(lambda: site.records(action="alert"), what="the alert's line")
    assert refusals.lockouts(stream) == [60]
    assert len(site.records(status="denied", action="read")) == 11
    assert [(line["peer"], line["seconds"], line["severity"]) for line in site.records(action="alert")] == [("127.0.0.2", 60, "critical")]
    assert site.nginx.error_log().count("locked out for 60 s") == 1 and "[crit]" in site.nginx.error_log()
    listed = site.home.json("lockout")["lockouts"]
    assert [(row["source"], row["stream"], row["unrecorded"]) for row in listed] == [("nginx:app.example@127.0.0.2", "nginx", 14)]
    site.home.run("lockout", "clear", "nginx:app.example@127.0.0.2")
    assert get_from("127.0.0.2", site.nginx.port, "/any?t=other") == 200
    assert len(site.records(status="denied", action="read")) == 12


def warnings_of_check(home):
    return [row["detail"] for row in home.json("check", check=False)["checks"] if row["what"] == "policy"]


def test_an_optional_secret_that_is_refused(site, canary):
    """A4 (a), F5: a mistake of the administrator does not count as an attempt of the client."""
    only_stripe(site, canary)
    site.configure("location / { secret_get $key api-keys/stripe; secret_get $o api-keys/other optional=any;"
                   " proxy_set_header X-Key $key; proxy_set_header X-O $o; @PROXY@ }"
                   "location /two { secret_get $key api-keys/stripe; proxy_set_header X-Key $key; @PROXY@ }")
    result = site.nginx.test()
    assert result.returncode == 0
    assert re.search(r'\[warn\] .*optional secret "api-keys/other" of "\$o" cannot be read by "nginx:app.example": .*may not read.* \(denied\) in '
                     + re.escape(site.line_of("secret_get $o")), result.stderr)
    site.nginx.start()
    for _ in range(40):
        assert site.get("/").status == 200 and site.get("/two").status == 200
    assert refusals.lockouts(site.home.audit / "nginx") == [] if (site.home.audit / "nginx/refusals").exists() else True
    assert site.records(action="alert") == [] and site.home.json("lockout")["lockouts"] == []
    denied = site.records(status="denied")
    assert len(denied) == 40 and all(line["configured"] is True for line in denied)
    assert any("nginx:app.example is refused api-keys/other" in detail for detail in warnings_of_check(site.home))
    site.home.grant("nginx:app.example", ["read"], ["api-keys/other"])
    assert warnings_of_check(site.home) == [], "the policy is another one by now"


def test_a_shared_address_and_a_name_of_the_clients(site, canary):
    """A4 (b): behind a proxy all clients have one address; one of them asks for what it may not have."""
    only_stripe(site, canary)
    site.configure(SHOP)
    site.nginx.start()
    for attempt in range(60):
        assert get_from("127.0.0.2", site.nginx.port, f"/any?t=other{attempt % 3 or ''}") == 200
        assert get_from("127.0.0.2", site.nginx.port, "/") == 200
    assert len(site.records(action="alert")) == 1
    assert refusals.end(site.home.audit / "nginx") == 1
    for _ in range(30):
        get_from("127.0.0.2", site.nginx.port, "/any?t=other")
        assert get_from("127.0.0.2", site.nginx.port, "/") == 200
    alerts = site.records(action="alert")
    assert [line["seconds"] for line in alerts] == [60, 60]  # the one before ended in 1970
    assert [line["count"] for line in site.records(action="lockout")] == [49]


def test_a_unix_socket_is_one_source(site, canary, sockets):
    only_stripe(site, canary)
    site.configure(f"listen unix:{sockets}/nginx.sock;" + SHOP)
    site.nginx.start()
    for _ in range(30):
        assert get_from(f"{sockets}/nginx.sock", 0, "/any?t=other") == 200
        assert get_from(f"{sockets}/nginx.sock", 0, "/") == 200
    assert [line["peer"] for line in site.records(action="alert")] == ["unix:"]


def test_required_names_of_clients_are_refused_alone(site, canary):
    only_stripe(site, canary)
    site.configure(f"location / {{ secret_get $key api-keys/$arg_n; {HEADER} @PROXY@ }}")
    site.nginx.start()
    for _ in range(30):
        assert site.get("/?n=other").status == 403 and site.get("/?n=stripe").status == 200
    assert len(site.records(status="denied", action="read")) == 11

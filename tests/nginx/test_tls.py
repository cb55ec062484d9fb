# SPDX-License-Identifier: BSD-2-Clause
"""A client certificate and its key for a TLS upstream: encode=pem and "data:$variable"."""
import shutil
import ssl
import subprocess
import threading

import pytest

from lib.tools import wait_for

DIRECTIVES = """
    proxy_ssl_certificate data:$cert; proxy_ssl_certificate_key data:$pkey; proxy_ssl_session_reuse off;
    proxy_pass https://127.0.0.1:@UPSTREAM@;"""


def openssl(*args):
    assert shutil.which("openssl"), "needs the package openssl"
    return subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True).stdout


class Authority:
    """Self-signed client certificates, which are at once what the upstream trusts."""

    def __init__(self, folder):
        self.folder, self.bundle = folder, folder / "trusted.pem"
        self.pairs = {}
        for name in ("server", "first", "second"):
            key, cert = folder / f"{name}.key", folder / f"{name}.crt"
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 9,
                    "-subj", f"/CN={name}", "-keyout", key, "-out", cert)
            self.pairs[name] = (cert.read_text(), key.read_text())
        self.bundle.write_text(self.pairs["first"][0] + self.pairs["second"][0])

    def pem(self, name):
        return "".join(self.pairs[name])

    def json(self, name):
        cert, key = self.pairs[name]
        return {"certificate": cert, "private_key": key}

    def secret_lines(self):
        return [line for _, key in self.pairs.values() for line in key.splitlines()[1:-1]]


@pytest.fixture
def authority(tmp_path):
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def tls(site, authority, make_upstream):
    """site.seen: the common names of the client certificates that the upstream has got, None for none."""
    upstream = make_upstream()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "server.crt", authority.folder / "server.key")
    context.load_verify_locations(authority.bundle)
    context.verify_mode = ssl.CERT_OPTIONAL
    server, site.seen, lock = upstream._server, [], threading.Lock()
    accept = server.get_request

    def get_request():
        peer, address = accept()
        peer = context.wrap_socket(peer, server_side=True)
        cert = peer.getpeercert()
        with lock:
            site.seen.append(dict(field[0] for field in cert["subject"])["commonName"] if cert else None)
        return peer, address

    server.get_request = get_request
    site.tls_port = upstream.port
    site.tls_upstream = upstream
    yield site
    log = site.nginx.error_log()
    assert not [line for line in authority.secret_lines() if line in log]
    assert "BEGIN" not in log


def serve(site, secrets, more=""):
    site.configure(f"location / {{ {secrets} {more} {DIRECTIVES.replace('@UPSTREAM@', str(site.tls_port))} }}")
    site.nginx.start()


ONE = "secret_get $cert tls/$arg_n encode=pem; secret_get $pkey tls/$arg_n encode=pem;"
FIELDS = ("secret_get $cert tls/$arg_n field=certificate encode=pem;"
          "secret_get $pkey tls/$arg_n field=private_key encode=pem;")


@pytest.mark.parametrize("order", [1, -1])
def test_blocks_in_one_value(tls, authority, order):
    tls.home.set("tls/client", "".join(authority.pairs["first"][::order]))
    serve(tls, ONE)
    for _ in range(3):
        assert tls.get("/?n=client").status == 200
    assert tls.seen == ["first"] * 3


def test_fields_of_one_secret_and_a_rotation(tls, authority):
    tls.home.set("tls/client", authority.json("first"))
    serve(tls, FIELDS)
    for name in ("first", "second", "first"):
        tls.home.set("tls/client", authority.json(name))
        assert tls.get("/?n=client").status == 200
        assert tls.seen[-1] == name


@pytest.mark.parametrize("value", [
    lambda a: a.pem("first").replace("MIG", "MIX"),
    lambda a: a.pem("first")[:-200],
    lambda a: a.pairs["first"][0] + a.pairs["second"][1],
    lambda a: a.pairs["first"][1],
    lambda a: a.pem("first") + "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    lambda a: "no PEM",
    lambda a: "-----BEGIN PRIVATE KEY-----\n",
    lambda a: a.pairs["first"][0].replace("\n", "\0", 2),
    lambda a: openssl("ec", "-in", a.folder / "first.key", "-aes128", "-passout", "pass:x").decode() + a.pairs["first"][0],
])
def test_what_nginx_could_not_use_never_gets_there(tls, authority, value):
    tls.home.set("tls/client", value(authority))
    serve(tls, ONE)
    assert tls.get("/?n=client").status == 503
    assert tls.tls_upstream.requests == []
    assert "(malformed)" in tls.nginx.error_log()


@pytest.mark.parametrize("mark", ["$pkey", "${pkey}", "$pkey$empty"])
def test_a_variable_of_a_longer_name_is_another(tls, authority, mark):
    """TLS uses $pkey here, and neither $p nor $pke, which cannot be had; $pkey is one that it has to wait for."""
    for name in ("client", "gone"):
        tls.home.set(f"tls/{name}", authority.pem("first"))
    tls.configure(f"""location / {{ secret_get $cert tls/client encode=pem; secret_get $pkey tls/client encode=pem;
        secret_get $p tls/gone; secret_get $pke tls/gone encode=pem; proxy_ssl_session_reuse off;
        proxy_ssl_certificate data:$cert; proxy_ssl_certificate_key "data:{mark}"; proxy_pass https://127.0.0.1:{tls.tls_port}; }}""",
                  outside='map $host $empty { default ""; }')
    tls.nginx.start()
    tls.home.delete("tls/gone")
    assert tls.get().status == 200 and tls.seen == ["first"]
    tls.home.delete("tls/client")
    assert tls.get().status == 503 and tls.seen == ["first"]


def test_a_pair_that_does_not_match(tls, authority):
    tls.home.set("tls/client", {**authority.json("first"), "private_key": authority.pairs["second"][1]})
    serve(tls, FIELDS)
    assert tls.get("/?n=client").status == 503
    assert "its private key does not belong to its certificate" in tls.nginx.error_log()


def test_it_is_not_for_a_header(tls, authority):
    tls.home.set("tls/client", authority.pem("first"))
    serve(tls, ONE, 'proxy_set_header X-Key $pkey; add_header X-Key "$pkey";')
    answer = tls.get("/?n=client")
    assert answer.status == 500 and not answer.headers["X-Key"]
    assert not tls.tls_upstream.requests
    wait_for(lambda: '"$pkey" is empty here' in tls.nginx.error_log())


@pytest.mark.parametrize("directive", ["prefix=x", "default=x", "scope=request"])
def test_parameters_that_make_no_sense(tls, directive):
    tls.location(f"secret_get $cert tls/client encode=pem {directive};")
    result = tls.nginx.test()
    assert result.returncode != 0 and "encode=pem" in result.stderr


CACHE = "proxy_cache zone; proxy_cache_valid 200 1h; proxy_cache_key $uri;"
CLIENT = "secret_get $cert tls/client encode=pem; secret_get $pkey tls/client encode=pem;"


def serve_cached(tls, tmp_path, more="", directives=DIRECTIVES):
    tls.configure(f"location / {{ {CLIENT} {CACHE} {more} {directives.replace('@UPSTREAM@', str(tls.tls_port))} }}",
                  outside=f"proxy_cache_path {tmp_path}/cache keys_zone=zone:1m; add_header X-Cache $upstream_cache_status;")
    tls.nginx.start()


def test_a_cached_answer_needs_no_certificate(tls, authority, tmp_path):
    """What is in the cache outlives an outage; what is not is refused before the upstream is contacted."""
    tls.home.set("tls/client", authority.pem("first"))
    serve_cached(tls, tmp_path)
    assert tls.get("/a").status == 200 and tls.seen == ["first"]
    reads = len(tls.records(action="read"))
    tls.home.delete("tls/client")
    answer = tls.get("/a")
    assert (answer.status, answer.headers["X-Cache"], answer.body) == (200, "HIT", b"ok")
    assert len(tls.records(action="read")) == reads
    for method, body in (("GET", None), ("POST", b"x" * 100000)):
        answer = tls.get("/b", method=method, body=body)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert tls.seen == ["first"]
    tls.home.undelete("tls/client")
    assert tls.get("/b").status == 200 and tls.seen == ["first", "first"]


def test_a_cold_certificate_is_waited_for_after_the_cache(tls, authority, tmp_path, make_redis):
    redis = make_redis()
    redis.start()
    tls.home.add("providers", f'redis: {{address: "unix:{redis.socket}"}}')
    tls.home.add("switch", '"tls/*": redis')
    tls.home.set("tls/client", authority.pem("first"))
    serve_cached(tls, tmp_path)
    assert tls.get("/a", method="POST", body=b"x" * 100000).status == 200
    assert tls.get("/a").status == 200
    assert tls.get("/a").headers["X-Cache"] == "HIT"
    assert tls.seen == ["first", "first"] and "[alert]" not in tls.nginx.error_log()


@pytest.mark.parametrize("directive", ["proxy_ssl_certificate data:$made; proxy_ssl_certificate_key data:$made;",
                                       "proxy_ssl_server_name on; proxy_ssl_name $sni;"])
def test_a_connection_that_lacks_it_carries_no_request(tls, authority, directive):
    """By way of a map, which only the connection evaluates."""
    tls.home.set("tls/client", authority.pem("first"))
    tls.home.set("api-keys/name", "upstream.example")
    tls.configure(f"""location / {{ {CLIENT} secret_get $name api-keys/name; {directive} proxy_ssl_session_reuse off;
                      proxy_pass https://127.0.0.1:{tls.tls_port}; }}""",
                  outside="map $cert $made { default $cert; } map $name $sni { default $name; }")
    tls.nginx.start()
    assert tls.get().status == 200
    tls.home.delete("tls/client")
    tls.home.delete("api-keys/name")
    assert tls.get().status in (500, 502)
    assert len(tls.tls_upstream.requests) == 1
    assert "lacks the required secret" in tls.nginx.error_log()


@pytest.mark.parametrize("scheme, more, alerts", [("https", "", 1), ("https", "proxy_ssl_verify on;", 0), ("http", "", 0)])
def test_an_address_that_turns_out_to_be_https(tls, authority, canary, scheme, more, alerts):
    """What a start could not know, one line says in each worker and place."""
    tls.home.set("api-keys/stripe", canary("https"))
    tls.configure(f"""proxy_ssl_trusted_certificate {authority.folder}/server.crt; proxy_ssl_name server;
        location / {{ set $backend {scheme}://127.0.0.1:{tls.tls_port if scheme == "https" else tls.upstream.port};
            secret_get $key api-keys/stripe; proxy_set_header X-Key $key; {more} proxy_pass $backend; }}""")
    assert "not verified" not in tls.nginx.test().stderr
    tls.nginx.start()
    for _ in range(3):
        assert tls.get().status == 200
    lines = [line for line in tls.nginx.error_log().splitlines() if "not verified" in line]
    assert len(lines) == alerts
    if alerts:
        assert '[alert]' in lines[0] and '"$key" is sent to an upstream' in lines[0] and tls.line_of("secret_get") in lines[0]

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

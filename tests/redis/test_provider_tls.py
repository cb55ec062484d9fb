# SPDX-License-Identifier: BSD-2-Clause
"""The provider `redis` over TLS, against the server's own: what is not proven is not spoken to."""
import json

import pytest

from lib.handshake import Files
from lib.tools import free_port

NAME = "api-keys/stripe"


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture
def secure(sealed_redis, files):
    """secure(certificate, key, *lines): a server that speaks TLS; with .tls_port."""
    def start(certificate, key, *lines):
        port = free_port()
        server = sealed_redis("appendonly no", f"tls-port {port}", f"tls-cert-file {certificate}", f"tls-key-file {key}",
                              f"tls-ca-cert-file {files.ca}", *(lines or ["tls-auth-clients no"]))
        server.tls_port = port
        return server
    return start


def configure(home, address, **tls):
    more = "".join(f", {key}: {json.dumps(str(value))}" for key, value in tls.items())
    home.add("providers", 'redis: {address: "%s", tls: {%s}}' % (address, more.lstrip(", ")))
    for kind in ("api-keys", "tls"):
        home.add("switch", f'"{kind}/*": redis')


def test_values(home, files, secure):
    server = secure(*files.pair("redis.test"))
    configure(home, f"rediss://127.0.0.1:{server.tls_port}", ca=files.ca, name="redis.test")
    home.set(NAME, "over TLS")
    assert home.get(NAME) == b"over TLS"
    home.set("tls/big", b"x" * 65536)
    assert home.get("tls/big") == b"x" * 65536
    assert server.client().type(NAME) == b"keyturn-1"
    assert home.run("check").returncode == 0


def test_localhost_without_a_name(home, files, secure):
    """The certificate is for the host of the address."""
    server = secure(*files.pair("localhost"))
    configure(home, f"rediss://localhost:{server.tls_port}", ca=files.ca)
    home.set(NAME, "v")


@pytest.mark.parametrize("name, issuer, days, word", [
    ("elsewhere.test", "issuer", 9, b"ostname mismatch"),
    ("redis.test", "issuer", -1, b"expired"),
    ("redis.test", "other", 9, b"issuer certificate"),
])
def test_a_server_that_is_not_proven(home, files, secure, name, issuer, days, word):
    server = secure(*files.pair(name, getattr(files, issuer), days))
    configure(home, f"rediss://127.0.0.1:{server.tls_port}", ca=files.ca, name="redis.test")
    result = home.run("set", NAME, input=b"v", check=False)
    assert result.returncode == 69 and word in result.stderr and b"certificate is not accepted" in result.stderr
    assert server.client().dbsize() == 0


def test_the_address_is_not_in_the_certificate(home, files, secure):
    server = secure(*files.pair("redis.test"))
    configure(home, f"rediss://127.0.0.1:{server.tls_port}", ca=files.ca)
    result = home.run("list", check=False)
    assert result.returncode == 69 and b"IP address mismatch" in result.stderr


def test_the_systems_authorities_do_not_know_it(home, files, secure):
    server = secure(*files.pair("localhost"))
    configure(home, f"rediss://localhost:{server.tls_port}", name="localhost")
    assert home.run("list", check=False).returncode == 69


def test_a_certificate_of_ours(home, files, secure):
    server = secure(*files.pair("redis.test"), "tls-auth-clients yes")
    certificate, key = files.pair("client")
    address = f"rediss://127.0.0.1:{server.tls_port}"
    configure(home, address, ca=files.ca, name="redis.test")
    result = home.run("set", NAME, input=b"v", check=False)
    assert result.returncode == 69 and b"a certificate of ours" in result.stderr
    home.replace(f'name: "redis.test"', f'name: "redis.test", cert: "{certificate}", key: "{key}"')
    home.set(NAME, "v")
    assert home.get(NAME) == b"v"
    key.chmod(0o644)
    result = home.run("get", NAME, check=False)
    assert result.returncode == 69 and b"chmod o-rwx" in result.stderr


def test_the_wrong_port(home, files, secure):
    """TLS to a port that speaks none, and the other way round."""
    server = secure(*files.pair("redis.test"))
    configure(home, f"rediss://127.0.0.1:{server.port}", ca=files.ca, name="redis.test")
    result = home.run("list", check=False)
    assert result.returncode == 69 and b"TLS" in result.stderr
    home.replace(f"rediss://127.0.0.1:{server.port}", f"rediss://127.0.0.1:{server.tls_port}")
    home.run("list")


def test_old_versions_are_refused(home, files, secure):
    server = secure(*files.pair("redis.test"), "tls-auth-clients no", 'tls-protocols "TLSv1.1"', "tls-ciphers DEFAULT@SECLEVEL=0")
    configure(home, f"rediss://127.0.0.1:{server.tls_port}", ca=files.ca, name="redis.test")
    assert home.run("list", check=False).returncode == 69
    server.client().config_set("tls-protocols", "TLSv1.2")
    home.run("list")


def test_a_certificate_without_its_key(home, files, secure):
    configure(home, "rediss://127.0.0.1:1", cert=files.ca)
    result = home.run("list", check=False)
    assert result.returncode == 78 or b"come together" in result.stderr


def test_changes_are_followed(driver_of, files, secure):
    """The token on a connection that speaks TLS: tickets of TLS 1.3 are neither a change nor an end."""
    server = secure(*files.pair("redis.test"))
    plain = driver_of(address=f"unix:{server.socket}")
    store = driver_of(address=f"rediss://127.0.0.1:{server.tls_port}", **{"tls.ca": files.ca, "tls.name": "redis.test"})
    child = store.start("--watch", "1")
    assert child.stdout.readline() == "0\n"
    for counter in range(1, 6):
        assert plain.bump() == counter
        while (line := child.stdout.readline().strip()) != str(counter):
            assert line == str(counter - 1), line

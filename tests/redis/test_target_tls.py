# SPDX-License-Identifier: BSD-2-Clause
"""The target `redis` over TLS: servers that listen to nothing else, with their own name and a certificate of ours."""
import json

import pytest

from lib.handshake import Files
from lib.redis_node import ADMIN, ADMINS, NAME, OLD, Node, digest
from lib.tools import free_port


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture
def secure(kt, tmp_path, sockets, servers, files):
    """secure(certificate, key): .address is that of its TLS port; the other one is shut."""
    def start(certificate, key, *lines):
        port = free_port()
        node = Node(kt, tmp_path / f"node{port}", sockets)
        servers.callback(node.stop)
        node.begin("port 0", f"tls-port {port}", f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {files.ca}",
                   *(lines or ["tls-auth-clients no"]))
        node.address = f"rediss://127.0.0.1:{port}"
        return node
    return start


@pytest.fixture
def target(home):
    base = home.read_config()

    def write(nodes, **tls):
        redis = {"user": "app", "servers": [one.address for one in nodes], "admin": {"username": "rotator", "password": ADMIN}, "overlap": "1h",
                 "tls": {key: str(value) for key, value in tls.items()}}
        home.write_config(base + "targets:\n  " + json.dumps({NAME: {"redis": redis}})[1:-1] + "\n")
    home.set(NAME, OLD)
    home.set(ADMIN, ADMINS)
    return write


def pending(home):
    return home.info(NAME)["pending"]


def test_both_servers(home, files, secure, target):
    nodes = [secure(*files.pair("redis.test")), secure(*files.pair("redis.test"), "tls-auth-clients yes")]
    certificate, key = files.pair("client")
    target(nodes, ca=files.ca, name="redis.test", cert=certificate, key=key)
    assert home.rotate(NAME) == 2
    new = home.get(NAME).decode()
    assert all(one.hashes() == {digest(new), digest(OLD)} for one in nodes)
    assert home.run("check").returncode == 0


@pytest.mark.parametrize("name, issuer, days, word", [
    ("elsewhere.test", "issuer", 9, b"ostname mismatch"),
    ("redis.test", "issuer", -1, b"expired"),
    ("redis.test", "other", 9, b"issuer certificate"),
])
def test_a_server_that_is_not_proven(home, files, secure, target, name, issuer, days, word):
    """It is shown neither password, and no other server is changed."""
    proven, other = secure(*files.pair("redis.test")), secure(*files.pair(name, getattr(files, issuer), days))
    target([proven, other], ca=files.ca, name="redis.test")
    result = home.run("rotate", NAME, check=False)
    assert result.returncode == 69 and word in result.stderr, result.stderr
    assert home.get(NAME).decode() == OLD and not pending(home)
    assert all(one.hashes() == {digest(OLD)} for one in (proven, other))
    assert "rotator" not in str(other.client("app", OLD).execute_command("ACL", "LOG"))

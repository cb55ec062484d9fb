# SPDX-License-Identifier: BSD-2-Clause
"""secret_ssl_session_ticket_key: sessions that end at no reload, rotation or server."""
import base64
import os
import re
import ssl
import subprocess

import pytest

from lib import handshake as tls
from lib.handshake import handshake
from lib.tools import free_port, wait_for

ASK = b"GET / HTTP/1.0\r\n\r\n"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Pool:
    """Two nginx servers with one store, as two machines have it."""

    def __init__(self, home, make_nginx, kind="secret_ssl_session_ticket_key tls/tickets;"):
        self.home, self.servers = home, [make_nginx(home), make_nginx(home)]
        for server in self.servers:
            server.tls_port = free_port()
            server.configure(f"""ssl_protocols TLSv1.2 TLSv1.3;
                server {{ listen 127.0.0.1:{server.tls_port} ssl; listen 127.0.0.1:@PORT@; server_name app.example;
                          secret_ssl_certificate tls/app; {kind} return 200 ok; }}""", workers=2)

    def start(self):
        for server in self.servers:
            server.start()
        return self

    def log(self):
        return "".join(server.error_log() for server in self.servers)

    def key_name(self, number):
        """Of the key that the server encrypts with: the first sixteen bytes of a ticket."""
        shown = subprocess.run(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{self.servers[number].tls_port}"], input=b"",
                               capture_output=True, timeout=20).stdout
        return re.search(rb"^ *0000 - ((?:[0-9a-f]{2}[ -]){16})", shown, re.M)[1]

    def connect(self, number, using, session=None):
        return handshake(self.servers[number].tls_port, None, session, using, ASK)


@pytest.fixture
def pool(home, make_nginx):
    home.grant("nginx:*", ["read"], ["*"])
    home.set("tls/app", tls.Issuer().issue("app").pem)
    made = Pool(home, make_nginx)
    return made


def every_form():
    return {"80 bytes": os.urandom(80), "48 bytes": os.urandom(48), "base64": base64.b64encode(os.urandom(80)),
            "short base64 and a line feed": base64.b64encode(os.urandom(48)) + b"\n",
            "hexadecimal": os.urandom(80).hex(), "short hexadecimal": os.urandom(48).hex().upper()}


def test_a_session_goes_on_at_another_server_and_after_a_rotation(pool):
    pool.home.run("generate", "tls/tickets", "--length", "160", "--alphabet", "hex")
    pool.start()
    for version in VERSIONS:
        using = tls.context(version=version)
        first = pool.connect(0, using)
        assert not first.reused and pool.connect(1, using, first.session).reused
        pool.home.rotate("tls/tickets", "--length", "160", "--alphabet", "hex")
        second = pool.connect(1, using, first.session)
        assert second.reused                                # by the previous key, and with a ticket of the current one
        pool.servers[0].reload()
        pool.home.rotate("tls/tickets", "--length", "160", "--alphabet", "hex")
        assert pool.connect(0, using, second.session).reused
        assert not pool.connect(0, using, first.session).reused
        assert not pool.connect(1, using, first.session).reused
    assert "[alert]" not in pool.log() and "[error]" not in pool.log()


def test_each_form_of_a_key(pool):
    for number, (form, value) in enumerate(every_form().items()):
        pool.home.set("tls/tickets", value)
        if number == 0:
            pool.start()
        for version in VERSIONS:
            using = tls.context(version=version)
            assert pool.connect(1, using, pool.connect(0, using).session).reused, form
    assert "[alert]" not in pool.log()


def test_what_is_not_a_key(pool):
    """Handshakes go on; no session is resumed by it, and the log has it once a version and process."""
    pool.home.set("tls/tickets", os.urandom(80))
    pool.start()
    for value in (os.urandom(79), 108 * "A", 64 * "!", 96 * "g", "x"):
        pool.home.set("tls/tickets", value)
        for version in VERSIONS:
            using = tls.context(version=version)
            first = pool.connect(0, using)
            assert first.name == "app" and not pool.connect(0, using, first.session).reused
    alerts = [line for line in pool.log().splitlines() if "[alert]" in line]
    assert alerts and all("cannot be used: it is neither 80 nor 48 bytes" in line for line in alerts)
    assert len({(line.split("]")[1].split("#")[0], line.split("version ")[1][0]) for line in alerts}) == len(alerts)
    pool.home.delete("tls/tickets")
    assert pool.connect(0, tls.context()).name == "app"
    assert "(gone)" in pool.log()


def test_without_the_directive_no_session_goes_to_another_server(home, make_nginx):
    """The tests above would pass for nothing if it did."""
    home.grant("nginx:*", ["read"], ["*"])
    home.set("tls/app", tls.Issuer().issue("app").pem)
    pool = Pool(home, make_nginx, "").start()
    using = tls.context()
    assert not pool.connect(1, using, pool.connect(0, using).session).reused


def test_beside_nginx_own_keys(pool, tmp_path):
    (tmp_path / "ticket").write_bytes(os.urandom(80))
    pool.home.set("tls/tickets", os.urandom(80))
    server = pool.servers[0]
    server.conf.write_text(server.conf.read_text().replace("return 200", f"ssl_session_ticket_key {tmp_path}/ticket; return 200"))
    result = server.test()
    assert result.returncode != 0 and 'beside "ssl_session_ticket_key"' in result.stderr


def test_the_key_is_across_a_network(pool, make_redis):
    """As on machines that share nothing else; while a server fetches the new key, sessions go on by the one it has."""
    redis = make_redis()
    redis.start()
    pool.home.add("providers", f'redis: {{address: "unix:{redis.socket}"}}')
    pool.home.add("switch", '"tls/tickets": redis')
    pool.home.set("tls/tickets", os.urandom(80))
    pool.home.set("tls/tickets", os.urandom(80))
    for server in pool.servers:
        server.conf.write_text(server.conf.read_text().replace("worker_processes 2", "worker_processes 1"))
    pool.start()
    using = tls.context()
    sessions, before = [pool.connect(number, using).session for number in (0, 1)], None
    for _ in range(6):
        for number in (0, 1, 0, 1):
            seen = pool.connect(number, using, sessions[number])
            assert seen.reused
            sessions[number] = seen.session
        # a rotation before each server has fetched the last one would be one too many for what it encrypted
        wait_for(lambda: before not in (pool.key_name(0), pool.key_name(1)))
        before = pool.key_name(0)
        sessions = [pool.connect(number, using, sessions[number]).session for number in (0, 1)]
        assert pool.connect(1, using, sessions[0]).reused and pool.connect(0, using, sessions[1]).reused
        pool.home.set("tls/tickets", os.urandom(80))
    assert "[alert]" not in pool.log() and "[error]" not in pool.log()

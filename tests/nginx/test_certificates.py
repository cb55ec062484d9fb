# SPDX-License-Identifier: BSD-2-Clause
"""secret_ssl_certificate: nginx' own certificates, from the store, without a reload."""
import base64
import ssl
import subprocess
import threading
import time
import urllib.request

import pytest

from lib import handshake as tls
from lib import memory
from lib.handshake import handshake, refused
from lib.tools import free_port, wait_for

TLS12 = ssl.TLSVersion.TLSv1_2
PROTOCOLS = "ssl_protocols TLSv1.2 TLSv1.3;\n"     # nginx 1.22 does not speak the latter by itself


@pytest.fixture(scope="module")
def root():
    return tls.Issuer()


@pytest.fixture
def secure(site):
    """site.secure(directives): a server that listens for TLS on site.tls_port; site.also: more in http {}."""
    site.tls_port, site.also, site.pairs = free_port(), "", []

    def start(directives, **more):
        site.configure(f"listen 127.0.0.1:{site.tls_port} ssl default_server; {directives} return 200 ok;", PROTOCOLS + site.also, **more)
        site.nginx.start()

    def publish(name, pair, form="pem"):
        site.pairs.append(pair)
        return site.home.set(name, getattr(pair, form))

    site.secure, site.publish = start, publish
    yield site
    log = site.nginx.error_log()
    assert not [line for pair in site.pairs for line in pair.secret_lines() if line in log]
    assert "PRIVATE KEY" not in log


def alerts(site):
    return [line for line in site.nginx.error_log().splitlines() if "[alert]" in line]


@pytest.mark.parametrize("form", ["pem", "json"])
def test_a_rotation_shows_in_the_next_handshake(secure, root, form):
    secure.publish("tls/app", root.issue("first"), form)
    secure.secure("secret_ssl_certificate tls/app;")
    assert handshake(secure.tls_port).name == "first"
    for name in ("second", "third"):
        secure.publish("tls/app", root.issue(name), form)
        assert handshake(secure.tls_port).name == name
    secure.home.rollback("tls/app")
    assert handshake(secure.tls_port).name == "second"
    assert alerts(secure) == []


def test_each_handshake_is_in_the_audit_log(secure, root):
    secure.publish("tls/app", root.issue("app"))
    secure.secure("secret_ssl_certificate tls/app;")
    for _ in range(5):
        handshake(secure.tls_port)
    lines = wait_for(lambda: [line for line in secure.records(action="read") if line["reference"] == "tls/app"])
    assert sum(line.get("count", 1) for line in lines) == 5
    assert {(line["subject"], line["peer"]) for line in lines} == {("nginx:app.example", "127.0.0.1")}


def test_rsa_and_ecdsa(secure, root):
    secure.publish("tls/rsa", root.issue("rsa", "rsa"))
    secure.publish("tls/ec", root.issue("ec"))
    secure.secure("secret_ssl_certificate tls/rsa; secret_ssl_certificate tls/ec;")
    for kind, ciphers in (("rsa", "ECDHE-RSA-AES128-GCM-SHA256"), ("ec", "ECDHE-ECDSA-AES128-GCM-SHA256")):
        assert handshake(secure.tls_port, using=tls.context(ciphers=ciphers, version=TLS12)).name == kind
    secure.publish("tls/ec", root.issue("other"))
    assert handshake(secure.tls_port, using=tls.context(ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", version=TLS12)).name == "other"


def test_the_chain_is_sent(secure, root):
    pair = root.issuer("between").issue("app")
    for value in (pair.pem, pair.key + pair.certificate, pair.json):
        secure.home.set("tls/app", value)
        if not secure.nginx.process:
            secure.secure("secret_ssl_certificate tls/app;")
        assert handshake(secure.tls_port, using=tls.context(ca=root.pem())).name == "app"


def bad_values(root):
    good, other = root.issue("good"), root.issue("other")
    return {
        "damaged key": good.certificate + good.key.replace("MIG", "MIX"),
        "cut off": good.pem[:-200],
        "another key": good.certificate + other.key,
        "no certificate": good.key,
        "no key": good.certificate,
        "damaged chain": good.certificate + "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" + good.key,
        "not PEM": "nothing",
        "empty block": good.certificate + "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        "begin of a block": good.certificate + "-----BEGIN PRIVATE KEY-----",
        "an object without key": '{"certificate": "x"}',
        "expired": root.issue("expired", days=-1).pem,
    }


def test_a_bad_pair_keeps_the_one_before(secure, root):
    secure.publish("tls/app", root.issue("good"))
    port = free_port()
    secure.also = f"server {{ listen 127.0.0.1:{port}; location / {{ keyturn_metrics; }} }}"
    secure.secure("secret_ssl_certificate tls/app;")
    assert handshake(secure.tls_port).name == "good"
    for number, (what, value) in enumerate(bad_values(root).items(), 1):
        version = secure.home.set("tls/app", value, "--force")
        for _ in range(3):
            assert handshake(secure.tls_port).name == "good", what
        lines = alerts(secure)
        assert len(lines) == number, (what, lines)
        assert f'"tls/app" of version {version} cannot be used' in lines[-1] and "stays in use" in lines[-1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as counts:
            assert f"\nkeyturn_bad_certificates_total {number}\n" in counts.read().decode()
    secure.home.set("tls/app", root.issue("new").pem, "--force")
    assert handshake(secure.tls_port).name == "new"


def test_a_bad_pair_at_start_and_a_deleted_one(secure, root):
    secure.home.set("tls/app", "nothing")
    secure.secure("secret_ssl_certificate tls/app;")
    assert refused(secure.tls_port) and refused(secure.tls_port)
    assert len(alerts(secure)) == 1 and "handshakes fail" in alerts(secure)[0]
    secure.publish("tls/app", root.issue("good"))
    assert handshake(secure.tls_port).name == "good"
    secure.home.delete("tls/app")
    assert refused(secure.tls_port)
    assert "(gone)" in secure.nginx.error_log()
    secure.home.undelete("tls/app")
    assert handshake(secure.tls_port).name == "good"


def test_names_of_clients(secure, root):
    for name in ("one.example", "two.example", "else"):
        secure.publish(f"tls/{name}", root.issue(name))
    secure.also = f"""map $ssl_server_name $pair {{ default else; one.example one.example; }}
        server {{ listen 127.0.0.1:{secure.tls_port} ssl; server_name two.example; secret_ssl_certificate tls/$pair; return 200 two; }}"""
    secure.secure("secret_ssl_certificate tls/$ssl_server_name;")
    port = secure.tls_port
    assert [handshake(port, name).name for name in ("one.example", "else", "one.example")] == ["one.example", "else", "one.example"]
    assert handshake(port, "two.example").name == "else"     # by the map
    assert refused(port, "three.example") and refused(port)
    secure.publish("tls/x/one.example", root.issue("x"))
    assert refused(port, "x/one.example")                    # it would be in another folder
    secure.publish("tls/three.example", root.issue("three.example"))
    assert handshake(port, "three.example").name == "three.example"
    log = secure.nginx.error_log()
    assert "[alert]" not in log and "[error]" not in log


def test_the_policy_is_asked(secure, root):
    secure.publish("tls/app", root.issue("app"))
    secure.publish("private/app", root.issue("private"))
    secure.home.deny("nginx:app.example", ["read"], ["private/*"])
    secure.secure("secret_ssl_certificate $ssl_server_name/app;")
    assert handshake(secure.tls_port, "tls").name == "app"
    assert refused(secure.tls_port, "private")
    assert "(denied)" in secure.nginx.error_log()


def test_beside_a_static_one(secure, root, tmp_path):
    static = root.issue("static", "rsa")
    (tmp_path / "static.pem").write_text(static.pem)
    secure.publish("tls/ec", root.issue("ec"))
    lines = [f"ssl_certificate {tmp_path}/static.pem; ssl_certificate_key {tmp_path}/static.pem;", "secret_ssl_certificate tls/ec;"]
    for number, order in enumerate((1, -1)):
        secure.configure(f"listen 127.0.0.1:{secure.tls_port} ssl; {' '.join(lines[::order])} return 200 ok;")
        secure.nginx.reload() if number else secure.nginx.start()
        for name, kind in (("static", "RSA"), ("ec", "ECDSA")):
            assert handshake(secure.tls_port, using=tls.context(ciphers=f"ECDHE-{kind}-AES128-GCM-SHA256", version=TLS12)).name == name


def test_a_session_stays_with_its_certificate(secure, root):
    """Servers that share the cache or the keys of sessions do not take those of each other; nginx compares certificates."""
    other = free_port()
    secure.publish("tls/app", root.issue("app"))
    secure.publish("tls/other", root.issue("other"))
    secure.home.set("tls/ticket", 80 * "k")
    secure.also = f"""ssl_session_cache shared:all:1m;
        server {{ listen 127.0.0.1:{other} ssl; secret_ssl_certificate tls/other; secret_ssl_session_ticket_key tls/ticket; return 200 other; }}"""
    secure.secure("secret_ssl_certificate tls/app; secret_ssl_session_ticket_key tls/ticket;")
    for version in (TLS12, ssl.TLSVersion.TLSv1_3):
        using = tls.context(version=version)
        ask = b"GET / HTTP/1.0\r\n\r\n"
        first = handshake(secure.tls_port, using=using, request=ask)
        assert handshake(secure.tls_port, None, first.session, using, ask).reused
        assert not handshake(other, None, first.session, using, ask).reused


@pytest.mark.parametrize("directives, text", [
    ("secret_ssl_certificate tls/none;", 'required secret "tls/none" of "secret_ssl_certificate" cannot be read by "nginx:app.example"'),
    ("secret_ssl_certificate tls//none;", "invalid name of a secret"),
    ("ssl_certificate data:$arg_x; ssl_certificate_key data:$arg_x; secret_ssl_certificate $arg_n;", 'beside "ssl_certificate" with variables'),
    ("secret_ssl_session_ticket_key $arg_n; secret_ssl_certificate $arg_n;", "takes no variables"),
    ("secret_ssl_session_ticket_key tls/one; secret_ssl_session_ticket_key tls/two; secret_ssl_certificate $arg_n;", "is duplicate"),
    ("secret_ssl_session_ticket_key tls/none; secret_ssl_certificate $arg_n;", 'required secret "tls/none" of "secret_ssl_session_ticket_key"'),
])
def test_what_nginx_t_says(secure, directives, text):
    secure.configure(f"listen 127.0.0.1:{secure.tls_port} ssl; {directives}")
    result = secure.nginx.test()
    assert result.returncode != 0 and text in result.stderr


def test_it_needs_a_configuration(secure):
    secure.configure(f"listen 127.0.0.1:{secure.tls_port} ssl; secret_ssl_certificate tls/app;", keyturn="")
    assert '"secret_ssl_certificate" needs "keyturn_config"' in secure.nginx.test().stderr


@pytest.mark.plain("OpenSSL frees copies of the DER without clearing them, and AddressSanitizer keeps what was freed for its reports")
def test_the_text_of_a_key_is_in_locked_memory_only(secure, root):
    """OpenSSL keeps the key itself, as a number; the PEM and its DER are wiped, and what OpenSSL 3.0 left of the DER has been used again."""
    pair = root.issue("app", "rsa")
    secure.publish("tls/app", pair)
    secure.secure("secret_ssl_certificate tls/app;")
    for _ in range(3):
        assert handshake(secure.tls_port).name == "app"
    pid = secure.nginx.worker_pids()[0]
    der = base64.b64decode("".join(pair.secret_lines()))
    parts = [der[at:at + 24] for at in range(330, len(der) - 24, 24)]      # after the part that the certificate has too
    assert memory.elsewhere(pid, *[line.encode() for line in pair.secret_lines()[6:]], *parts) == []


class Clients:
    """Handshakes in a loop; each saw (when it began, the version in the certificate's name)."""

    def __init__(self, port, count):
        self.port, self.seen, self.errors, self.stop = port, [[] for _ in range(count)], [], threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(seen,), daemon=True) for seen in self.seen]
        for thread in self.threads:
            thread.start()

    def _run(self, seen):
        using = tls.context()
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                seen.append((began, int(handshake(self.port, using=using).name.removeprefix("v"))))
            except Exception as error:  # noqa: BLE001 - the test reports it
                self.errors.append(error)
                return

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert self.errors == []
        return [one for seen in self.seen for one in seen]


def test_rotations_and_reloads_under_load(secure, root):
    secure.publish("tls/app", root.issue("v1"))
    secure.secure("secret_ssl_certificate tls/app;", workers=4)
    committed = [(time.monotonic(), 1)]
    clients = Clients(secure.tls_port, 4)
    for number in range(2, 32):
        secure.publish("tls/app", root.issue(f"v{number}"))
        committed.append((time.monotonic(), number))
        if number % 10 == 0:
            secure.nginx.reload()
    seen = clients.end()
    assert len(seen) > 100
    for began, version in seen:
        assert version >= max(v for when, v in committed if when <= began)
    assert len({version for _, version in seen}) > 10
    assert alerts(secure) == []


# a store across a network

@pytest.fixture
def remote(secure, make_redis):
    secure.redis = make_redis()
    secure.redis.start()
    secure.home.add("providers", f'redis: {{address: "unix:{secure.redis.socket}"}}')
    secure.home.add("switch", '"tls/*": redis')
    return secure


def test_a_certificate_across_a_network(remote, root):
    """A worker process fetches what the configuration names before it serves; a name of a client comes second."""
    remote.publish("tls/app", root.issue("app"))
    remote.publish("tls/client", root.issue("client"))
    remote.also = f"server {{ listen 127.0.0.1:{remote.tls_port} ssl; server_name client; secret_ssl_certificate tls/$ssl_server_name; }}"
    remote.secure("secret_ssl_certificate tls/app;")
    assert handshake(remote.tls_port).name == "app"
    assert refused(remote.tls_port, "client")
    wait_for(lambda: not refused(remote.tls_port, "client"))
    assert handshake(remote.tls_port, "client").name == "client"
    for number in range(2, 6):
        remote.publish("tls/app", root.issue(f"app{number}"))
        wait_for(lambda: handshake(remote.tls_port).name == f"app{number}")
    assert alerts(remote) == []


def test_no_handshake_fails_while_it_is_fetched_again(remote, root):
    remote.home.write_config(remote.home.read_config() + "\ncache: {ttl: 50ms, negative: 50ms, stale: 1h}\n")
    remote.publish("tls/app", root.issue("v1"))
    remote.secure("secret_ssl_certificate tls/app;", workers=2)
    clients = Clients(remote.tls_port, 2)
    wait_for(lambda: sum(map(len, clients.seen)) > 300 or clients.errors)
    remote.nginx.reload()
    remote.publish("tls/app", root.issue("v2"))
    wait_for(lambda: all(seen and seen[-1][1] == 2 for seen in clients.seen) or clients.errors)
    remote.redis.stop()
    more = sum(map(len, clients.seen)) + 100
    wait_for(lambda: sum(map(len, clients.seen)) > more or clients.errors)
    clients.end()


@pytest.mark.parametrize("scope", ["", "scope=request"])
def test_a_handshake_has_no_secret_of_a_request(secure, canary, scope):
    """Named by way of a map. nginx writes what is not a certificate into its error log."""
    secure.home.set("api-keys/stripe", canary("handshake"))
    secure.also = "map $key $made { default data:$key; }"
    secure.secure(f"secret_get $key api-keys/stripe {scope}; ssl_certificate $made; ssl_certificate_key $made;")
    for _ in range(2):
        assert refused(secure.tls_port)
    assert [line for line in alerts(secure) if "not for handshakes" in line and '"secret_ssl_certificate"' in line]
    assert secure.records(action="read") == []


def test_stapling_does_nothing(secure, root, tmp_path):
    """nginx asks responders for the certificates that it has read itself."""
    (tmp_path / "ca.pem").write_text(root.pem())
    secure.publish("tls/app", root.issue("app"))
    secure.secure(f"secret_ssl_certificate tls/app; ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate {tmp_path}/ca.pem;")
    said = subprocess.run(["openssl", "s_client", "-status", "-connect", f"127.0.0.1:{secure.tls_port}"], input=b"", capture_output=True)
    assert b"OCSP response: no response sent" in said.stdout and b"CN = app" in said.stdout
    assert handshake(secure.tls_port).name == "app" and alerts(secure) == []

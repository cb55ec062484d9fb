# SPDX-License-Identifier: BSD-2-Clause
"""The stream module: certificates for clients and for upstreams, and who gets a secret."""
import socket
import ssl
import threading
import time

import pytest

from lib import handshake as tls
from lib import memory
from lib.handshake import handshake, refused
from lib.tools import free_port, wait_for

CLIENT = """secret_get $cert tls/client field=certificate encode=pem; secret_get $pkey tls/client field=private_key encode=pem;
    proxy_ssl on; proxy_ssl_certificate data:$cert; proxy_ssl_certificate_key data:$pkey; proxy_ssl_session_reuse off;"""


@pytest.fixture(scope="module")
def root():
    return tls.Issuer()


class TlsUpstream:
    """Says "hello", and remembers the names of the client certificates; None for none."""

    def __init__(self, root, folder):
        self.seen, self.socket = [], socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        (folder / "upstream.pem").write_text(root.issue("upstream").pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "upstream.pem")
        self.context.load_verify_locations(cadata=root.pem())
        self.context.verify_mode = ssl.CERT_OPTIONAL
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(peer, server_side=True) as peer:
                    shown = peer.getpeercert()
                    self.seen.append(dict(field[0] for field in shown["subject"])["commonName"] if shown else None)
                    peer.sendall(b"hello")
            except OSError:
                pass


@pytest.fixture
def stream(site, root, tmp_path, servers):
    """stream.serve(text): one stream server with this in it; stream.talk(): what a client gets."""
    upstream = TlsUpstream(root, tmp_path)
    servers.callback(upstream.socket.close)
    site.tls_upstream, site.stream_port, site.pairs = upstream, free_port(), []

    def configure(text, outside="", listen="", **more):
        text = f"{outside}\nserver {{ listen 127.0.0.1:{site.stream_port} {listen}; {text} }}"
        site.nginx.configure("server { listen 127.0.0.1:@PORT@; location / { return 204; } location = /metrics { keyturn_metrics; } }",
                             keyturn=site.nginx.stream(text.replace("@UPSTREAM@", f"127.0.0.1:{upstream.port}")), **more)

    def serve(*args, **more):
        configure(*args, **more)
        site.nginx.start()

    def talk(timeout=10):
        with socket.create_connection(("127.0.0.1", site.stream_port), timeout=timeout) as peer:
            got = b""
            while chunk := peer.recv(65536):
                got += chunk
            return got

    def publish(name, pair, form="json"):
        site.pairs.append(pair)
        return site.home.set(name, getattr(pair, form))

    site.serve_stream, site.configure_stream, site.talk, site.publish = serve, configure, talk, publish
    yield site
    written = "".join(path.read_text() for path in site.nginx.dir.glob("*.log"))
    assert not [line for pair in site.pairs for line in pair.secret_lines() if line in written]
    assert "exited on signal" not in written


def test_a_client_certificate_and_its_rotation(stream, root):
    stream.publish("tls/client", root.issue("first"))
    stream.serve_stream(CLIENT + "proxy_pass @UPSTREAM@;", workers=2)
    for name in ("first", "second", "third"):
        stream.publish("tls/client", root.issue(name))
        assert stream.talk() == b"hello"
        assert stream.tls_upstream.seen[-1] == name
    lines = wait_for(lambda: [line for line in stream.records(action="read") if line["reference"] == "tls/client"])
    assert {(line["subject"], line["peer"], line["purpose"]) for line in lines} == {("nginx:_", "127.0.0.1", "proxy")}
    assert "[alert]" not in stream.nginx.error_log()


def test_without_the_secret_no_upstream_is_contacted(stream, root):
    stream.publish("tls/client", root.issue("client"))
    stream.serve_stream(CLIENT + "proxy_pass @UPSTREAM@;")
    stream.home.delete("tls/client")
    assert stream.talk() == b"" and stream.tls_upstream.seen == []
    assert 'required secret "tls/client" of "$' in stream.nginx.error_log() and "(gone)" in stream.nginx.error_log()
    assert b"\nkeyturn_unavailable_total 1\n" in stream.get("/metrics").body
    stream.home.undelete("tls/client")
    assert stream.talk() == b"hello"
    stream.home.set("tls/client", '{"certificate": "x", "private_key": "y"}')
    assert stream.talk() == b"" and stream.tls_upstream.seen == ["client"]


@pytest.mark.parametrize("word, text", [("optional", b""), ("optional=any", b"<>")])
def test_optional_means_absent(stream, word, text):
    stream.home.set("database/denied", "x")
    stream.home.deny("nginx:*", ["read"], ["database/*"])
    stream.serve_stream(f'secret_get $a api-keys/none {word} scope=request; secret_get $b database/denied {word} scope=request; return "<$a$b>";')
    assert stream.talk() == text


def test_who_gets_a_value(stream, canary):
    """Not "return", not a log, and no map of it: not even a part of it."""
    value = canary("stream")
    stream.home.set("api-keys/stripe", value)
    dirs = f"""log_format all "[$key] [$copy] [$part] [$wide]"; access_log {stream.nginx.dir}/stream-access.log all;
        map $key $copy {{ volatile; default "<$key>"; "~^.{{4}}(?<rest>.*)" "$rest"; }}
        map $wide $part {{ "~^(.{{5}})" $1; default none; }}"""
    stream.serve_stream("""secret_get $key api-keys/stripe; secret_get $wide api-keys/stripe scope=request; return "[$key][$wide][$part]";""", dirs)
    assert stream.talk().decode() == f"[][{value}][{value[:5]}]"
    text = wait_for(lambda: (stream.nginx.dir / "stream-access.log").read_text())
    assert value[:5] not in text and value[5:12] not in text and text.startswith("[[masked]] [ked]]")
    assert '"$key" is empty here' in stream.nginx.error_log()


def test_parts_of_a_client_key_are_in_no_log(stream, root):
    pair = root.issue("client")
    stream.publish("tls/client", pair)
    dirs = f"""log_format all "[$pkey] [$copy] [$part]"; access_log {stream.nginx.dir}/stream-access.log all;
        map $pkey $copy {{ default $pkey; }}
        map $copy $part {{ "~KEY-----\\n(.+)" $1; default none; }}"""
    used = CLIENT.replace("data:$pkey", "data:$copy") + " proxy_ssl_name $part; proxy_ssl_server_name on; proxy_pass @UPSTREAM@;"
    stream.serve_stream(used, dirs)
    stream.talk()
    text = wait_for(lambda: (stream.nginx.dir / "stream-access.log").read_text())
    assert "[masked]" in text
    assert not any(line[at:at + 8] in text for line in pair.secret_lines() for at in range(len(line) - 8))


def test_copies_are_wiped_when_the_session_ends(stream, root):
    pair = root.issue("client", "rsa")
    stream.publish("tls/client", pair)
    stream.serve_stream(CLIENT + "proxy_pass @UPSTREAM@;")
    for _ in range(3):
        assert stream.talk() == b"hello"
    pid = stream.nginx.worker_pids()[0]
    block = pair.key.encode()[60:200]
    wait_for(lambda: not memory.elsewhere(pid, block))


def test_certificates_for_clients(stream, root):
    stream.publish("tls/app", root.issue("v1"), "pem")
    stream.publish("tls/rsa", root.issue("rsa", "rsa"), "pem")
    stream.home.set("tls/ticket", 80 * "k")
    stream.serve_stream("secret_ssl_certificate tls/app; secret_ssl_certificate tls/rsa; secret_ssl_session_ticket_key tls/ticket; return ok;",
                        "ssl_protocols TLSv1.2 TLSv1.3;", "ssl", workers=2)
    port, ask = stream.stream_port, b"x"
    for number in range(2, 6):
        stream.publish("tls/app", root.issue(f"v{number}"), "pem")
        assert handshake(port).name == f"v{number}"
        if number == 3:
            stream.nginx.reload()
    using = tls.context(ciphers="ECDHE-RSA-AES128-GCM-SHA256", version=ssl.TLSVersion.TLSv1_2)
    assert handshake(port, using=using).name == "rsa"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        using = tls.context(version=version)
        first = handshake(port, using=using, request=ask)
        assert handshake(port, None, first.session, using, ask).reused
    stream.home.set("tls/app", "nothing")
    assert handshake(port).name == "v5"
    log = stream.nginx.error_log()
    assert 1 <= log.count("[alert]") == log.count("cannot be used") <= 2
    stream.home.delete("tls/app")
    assert refused(port)


def test_names_of_clients(stream, root):
    for name in ("one", "two", "x/one"):
        stream.publish(f"tls/{name}", root.issue(name), "pem")
    stream.serve_stream("secret_ssl_certificate tls/$ssl_server_name; return ok;", listen="ssl")
    assert [handshake(stream.stream_port, name).name for name in ("one", "two", "one")] == ["one", "two", "one"]
    assert refused(stream.stream_port, "three") and refused(stream.stream_port) and refused(stream.stream_port, "x/one")


@pytest.mark.parametrize("text, said", [
    ("secret_get $key api-keys/none; return x;", 'required secret "api-keys/none" of "$key" cannot be read by "nginx:_"'),
    ("secret_get $key api-keys/none optional; secret_get $key api-keys/none optional; return x;", 'duplicate "secret_get" of "$key"'),
    ("secret_get on; return x;", 'or "off"'),
    ("secret_get $key api-keys/none fields=x; return x;", 'did you mean "field="'),
])
def test_what_nginx_t_says(stream, text, said):
    stream.configure_stream(text)
    result = stream.nginx.test()
    assert result.returncode != 0 and said in result.stderr


def test_it_needs_the_http_module(stream):
    """Which has the code that both share."""
    stream.configure_stream("return x;")
    text = stream.nginx.conf.read_text()
    line = f"load_module {stream.nginx.stage.nginx_module};\n"
    if stream.nginx.stage.nginx_module is None:
        pytest.skip("counterpart: no module is loaded (static)")
    stream.nginx.conf.write_text(text.replace(line, ""))
    assert "undefined symbol: ngx_keyturn_" in stream.nginx.test().stderr


# a store across a network

@pytest.fixture
def remote(stream, make_redis):
    stream.redis = make_redis()
    stream.redis.start()
    stream.home.add("providers", f'redis: {{address: "unix:{stream.redis.socket}"}}')
    stream.home.add("switch", '"tls/*": redis')
    stream.home.add("switch", '"api-keys/*": redis')
    return stream


def test_the_first_session_waits(remote, root, canary):
    value = canary("wait")
    remote.publish("tls/client", root.issue("client"))
    remote.home.set("api-keys/stripe", value)
    remote.serve_stream(CLIENT + """secret_get $key api-keys/stripe scope=request; secret_get $none api-keys/none optional;
        proxy_pass @UPSTREAM@;""")
    assert remote.talk() == b"hello" and remote.tls_upstream.seen == ["client"]
    assert remote.talk() == b"hello"


def test_a_provider_that_is_gone(remote, root):
    remote.publish("tls/client", root.issue("client"))
    remote.redis.stop()
    remote.serve_stream(CLIENT + "proxy_pass @UPSTREAM@;")
    began = time.monotonic()
    assert remote.talk() == b"" and remote.tls_upstream.seen == []
    assert time.monotonic() - began < 5
    assert "(unavail)" in remote.nginx.error_log()


def test_a_handshake_has_no_secret_of_a_session(stream, canary):
    stream.home.set("api-keys/stripe", canary("handshake"))
    stream.serve_stream("secret_get $key api-keys/stripe scope=request; ssl_certificate $made; ssl_certificate_key $made; return x;",
                        "map $key $made { default data:$key; }", listen="ssl")
    assert refused(stream.stream_port)
    assert '"$key" is empty here' in stream.nginx.error_log()


@pytest.mark.parametrize("more, warned", [
    ("proxy_ssl on;", True), ("proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate @CA@;", False), ("", False),
])
def test_an_upstream_that_is_not_verified_is_warned_of(stream, root, tmp_path, more, warned):
    (tmp_path / "ca.pem").write_text(root.pem())
    stream.home.set("api-keys/stripe", "x")
    stream.configure_stream(f"secret_get $key api-keys/stripe; {more.replace('@CA@', str(tmp_path / 'ca.pem'))} proxy_ssl_name $key; proxy_pass @UPSTREAM@;")
    result = stream.nginx.test()
    assert result.returncode == 0, result.stderr
    text = f'"$key" may be used for an upstream whose certificate is not verified ("proxy_ssl_verify on" verifies it) in {stream.line_of("secret_get")}'
    assert (text in result.stderr) == warned

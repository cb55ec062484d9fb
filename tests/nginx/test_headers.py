# SPDX-License-Identifier: BSD-2-Clause
"""What arrives at the upstream: secret_get and each of its parameters."""
import base64
import http.client
import urllib.parse

import pytest

DATABASE = {"host": "db", "port": "5432", "name": "app", "user": "app", "rotated_at": "2026-01-01T00:00:00Z"}


def test_header_arrives_with_its_prefix(site, canary):
    value = canary("header")
    site.home.set("api-keys/stripe", value)
    site.serve('secret_get $key api-keys/stripe "prefix=Bearer "; proxy_set_header Authorization $key;')
    assert site.header("Authorization") == f"Bearer {value}"


def test_what_the_client_sends_is_replaced(site, canary):
    value = canary("replace")
    site.home.set("api-keys/stripe", value)
    site.serve("secret_get $key api-keys/stripe; proxy_set_header Authorization $key;")
    assert site.get(headers={"Authorization": "forged"}).status == 200
    assert site.upstream.last.headers.get_all("Authorization") == [value]


def test_fields_of_one_secret(site, canary):
    password = canary("field")
    site.home.set("database/primary", {**DATABASE, "password": password})
    site.serve("""
        secret_get $user database/primary field=user; secret_get $password database/primary field=password;
        proxy_set_header X-User $user; proxy_set_header X-Password $password;""")
    assert site.header("X-User") == "app"
    assert site.upstream.last.headers["X-Password"] == password
    assert len(site.records(action="read", reference="database/primary", status="success")) == 1


def test_a_field_that_is_a_number(site):
    site.home.set("database/primary", {**DATABASE, "port": 5433, "password": "x"})
    site.serve("secret_get $port database/primary field=port; proxy_set_header X-Port $port;")
    assert site.header("X-Port") == "5433"


@pytest.mark.parametrize("encode, expected", [
    ("base64", lambda value: base64.b64encode(value).decode()),
    ("base64url", lambda value: base64.urlsafe_b64encode(value).decode().rstrip("=")),
    ("hex", lambda value: value.hex()),
    ("uri", lambda value: urllib.parse.quote(value, safe="-._~")),
])
def test_encode_makes_any_bytes_fit_for_a_header(site, encode, expected):
    value = bytes(range(256)) + b"\r\nInjected: yes\r\n"
    site.home.set("api-keys/binary", value)
    site.serve(f"secret_get $key api-keys/binary encode={encode}; proxy_set_header X-Key $key;")
    sent = site.header("X-Key")
    assert sent.lower() == expected(value).lower() if encode in ("hex", "uri") else sent == expected(value)
    assert "Injected" not in site.upstream.last.headers


def test_encode_basic_takes_both_from_one_version(site, canary):
    password = canary("basic")
    site.home.set("database/primary", {**DATABASE, "password": password})
    site.serve('secret_get $auth database/primary encode=basic "prefix=Basic "; proxy_set_header Authorization $auth;')
    assert site.header("Authorization") == "Basic " + base64.b64encode(f"app:{password}".encode()).decode()


def test_encode_of_a_field(site):
    site.home.set("database/primary", {**DATABASE, "password": "p\u00e4ss"})
    site.serve("secret_get $p database/primary field=password encode=hex; proxy_set_header X-P $p;")
    assert bytes.fromhex(site.header("X-P")).decode() == "p\u00e4ss"


def test_versions(site, canary):
    values = [canary(f"version-{n}") for n in (1, 2, 3)]
    for value in values:
        site.home.set("api-keys/stripe", value)
    site.serve("""
        secret_get $one api-keys/stripe version=1; secret_get $before api-keys/stripe version=previous;
        secret_get $now api-keys/stripe version=current;
        proxy_set_header X-1 $one; proxy_set_header X-Previous $before; proxy_set_header X-Current $now;""")
    site.header("X-1")
    headers = site.upstream.last.headers
    assert [headers["X-1"], headers["X-Previous"], headers["X-Current"]] == values


def test_a_name_with_variables(site, canary):
    value = canary("tenant")
    site.home.set("api-keys/tenant-1", value)
    site.serve("secret_get $key api-keys/$arg_tenant; proxy_set_header X-Key $key;")
    assert site.header("X-Key", "/?tenant=tenant-1") == value
    for tenant in ("tenant-2", "", "..", "a//b", "%0d%0aX:y", "x" * 300, "tenant-1@1", "tenant-1%23field"):
        site.upstream.clear()
        assert site.get(f"/?tenant={tenant}").status == 404, tenant
        assert site.upstream.requests == []


def test_optional_and_missing_drops_the_header(site):
    site.serve("""
        secret_get $none api-keys/none optional; secret_get $other api-keys/none default=anonymous;
        proxy_set_header X-None $none; proxy_set_header X-Other $other;""")
    assert site.header("X-Other") == "anonymous"
    assert "X-None" not in site.upstream.last.headers


def test_default_is_not_for_a_refusal(site):
    site.home.set("database/primary", "x")
    site.home.deny("nginx:*", ["read"], ["database/*"])
    site.serve("secret_get $key database/primary default=anonymous; proxy_set_header X-Key $key;")
    assert site.get().status == 503 and site.upstream.requests == []


def test_optional_that_is_there(site, canary):
    value = canary("optional")
    site.home.set("api-keys/stripe", value)
    site.serve("secret_get $key api-keys/stripe optional; proxy_set_header X-Key $key;")
    assert site.header("X-Key") == value


@pytest.mark.parametrize("bad", [b"a\r\nInjected: yes", b"a\nb", b"a\rb", b"a\0b", b"a\x1bb", b"a\x7fb", b"ab\n"])
def test_control_characters_are_refused(site, bad):
    site.home.set("api-keys/bad", bad)
    site.configure("""
        location /required { secret_get $key api-keys/bad; proxy_set_header X-Key $key; @PROXY@ }
        location /optional { secret_get $key api-keys/bad optional; proxy_set_header X-Key $key; @PROXY@ }
        location /default { secret_get $key api-keys/bad default=x; proxy_set_header X-Key $key; @PROXY@ }
        location /any { secret_get $key api-keys/bad optional=any; proxy_set_header X-Key $key; @PROXY@ }""")
    site.nginx.start()
    for path in ("/required", "/optional", "/default"):
        assert site.get(path).status == 503
    assert site.upstream.requests == []
    assert site.header("X-Key", "/any") is None
    assert "Injected" not in site.upstream.last.headers
    log = site.nginx.error_log()
    assert '"api-keys/bad" of "$key"' in log and "control characters" in log
    assert "Injected" not in log


def test_a_control_character_at_any_place(site):
    """Values are looked through eight bytes at a time: two words here and three bytes."""
    fields = {f"c{code}at{n}": (n * "~") + chr(code) + (18 - n) * "\u20ac" for code in (0x0a, 0x1f, 0x7f) for n in range(19)}
    site.home.set("api-keys/bad", fields | {"good": " ~\u00a0\u0080 ~\u00ff~ !" + 9 * "\u20ac"})
    site.configure("".join(f"location /{name}. {{ secret_get $key api-keys/bad field={name}; proxy_set_header X-Key $key; @PROXY@ }}\n"
                           for name in [*fields, "good"]))
    site.nginx.start()
    assert [name for name in fields if site.get(f"/{name}.").status != 503] == []
    assert site.upstream.requests == []
    assert len(site.header("X-Key", "/good.")) > 30


def test_an_empty_value_is_not_a_value(site):
    site.home.set("api-keys/empty", {"api_key": ""})
    site.serve("secret_get $key api-keys/empty field=api_key; proxy_set_header X-Key $key;")
    assert site.get().status == 503
    assert "its value is empty" in site.nginx.error_log()


@pytest.mark.parametrize("value", [b"no json", b'["list"]', b'{"other": "x"}', b'{"password": null}'])
def test_a_field_that_is_not_there(site, value):
    site.home.set("database/primary", value)
    site.serve("secret_get $p database/primary field=password; proxy_set_header X-P $p;")
    assert site.get().status == 503
    assert site.upstream.requests == []


def test_the_largest_value(site, monkeypatch):
    monkeypatch.setattr(http.client, "_MAXLINE", 1 << 20)
    site.home.set("api-keys/large", b"L" * 65536)
    site.serve("secret_get $key api-keys/large prefix=x; proxy_set_header X-Key $key;")
    assert site.header("X-Key") == "x" + "L" * 65536
    assert site.get().status == 200


def test_bytes_above_ascii_are_left_alone(site):
    site.home.set("api-keys/utf8", "schl\u00fcssel")
    site.serve("secret_get $key api-keys/utf8; proxy_set_header X-Key $key;")
    assert site.header("X-Key").encode("latin-1").decode() == "schl\u00fcssel"


@pytest.mark.parametrize("passed", [
    "fastcgi_param KEY $key; fastcgi_pass", "uwsgi_param KEY $key; uwsgi_pass", "scgi_param KEY $key; scgi_pass"])
def test_other_protocols(site, capture, canary, passed):
    value = canary("param")
    site.home.set("api-keys/stripe", value)
    site.configure(f"location / {{ secret_get $key api-keys/stripe; {passed} 127.0.0.1:{capture.port}; }}")
    site.nginx.start()
    site.get()
    data = capture.read()
    assert b"KEY" in data and value.encode() in data


def test_grpc(site, capture):
    value = "~{^|}~" * 3     # HPACK leaves it plain, as Huffman would be longer
    site.home.set("api-keys/stripe", value)
    site.configure(f"location / {{ secret_get $key api-keys/stripe; grpc_set_header X-Key $key;"
                   f" grpc_pass grpc://127.0.0.1:{capture.port}; }}")
    site.nginx.start()
    site.get()
    assert value.encode() in capture.read()


def test_proxy_set_body_and_method(site, canary):
    value = canary("body")
    site.home.set("api-keys/stripe", value)
    site.serve("secret_get $key api-keys/stripe; proxy_method POST; proxy_set_body $key;")
    assert site.get().status == 200
    assert site.upstream.last.body.decode() == value


def test_with_a_request_body(site, canary):
    value = canary("post")
    site.home.set("api-keys/stripe", value)
    site.serve("secret_get $key api-keys/stripe; proxy_set_header X-Key $key;")
    assert site.get(method="POST", body=b"b" * 200000).status == 200
    assert site.upstream.last.headers["X-Key"] == value and len(site.upstream.last.body) == 200000


@pytest.mark.parametrize("value, field, text", [
    ('{"rate": 1.50, "x": 1}', "rate", "1.50"),
    ('{"on": true}', "on", "true"),
    ('{"deep": {"a": [1, 2.0]}}', "deep", '{"a": [1, 2.0]}'),
    ('{"num": 12345678901234567890, "ok": "x"}', "ok", "x"),
    ('{"twice": 1, "twice": 2, "ok": "x"}', "ok", "x"),
    (r'{"zero": "\u0000", "ok": "x"}', "ok", "x"),
])
def test_a_field_whatever_the_others_hold(site, value, field, text):
    site.home.set("database/primary", value)
    assert site.serve(f"secret_get $key database/primary field={field}; proxy_set_header X-Key $key;").header("X-Key") == text

# SPDX-License-Identifier: BSD-2-Clause
"""Who gets the value: what is sent upstream, and nothing else unless scope=request says so."""
import os
import time

import pytest

from lib.tools import wait_for

HEADER = "proxy_set_header X-Key $key;"


@pytest.fixture
def value(site, canary):
    value = canary("scope")
    site.home.set("api-keys/stripe", value)
    return value


def leaks(answer):
    text = answer.body + "".join(f"{k}: {v}\n" for k, v in answer.headers.items()).encode()
    return os.environ["KEYTURN_CANARY"].encode() in text


@pytest.mark.parametrize("location", [
    'add_header X-Leak "<$key>" always; @PROXY@',
    'return 200 "<$key>";',
    'return 302 "http://x/?<$key>";',
    'set $copy $key; return 200 "<$copy>";',
    'if ($key) { return 200 yes; } return 200 "<no>";',
    'rewrite ^ /elsewhere/$key redirect;',
    'add_header X-Leak "<$mapped>" always; proxy_set_header X-Mapped $mapped; @PROXY@',
    'add_header X-Leak "<$key>" always; proxy_pass http://127.0.0.1:1;',
    'error_page 502 @error; proxy_pass http://127.0.0.1:1;',
    'error_page 502 =200 /error; proxy_pass http://127.0.0.1:1;',
    'error_page 404 @error; proxy_intercept_errors on; proxy_pass http://127.0.0.1:@UPSTREAM@/404;',
    'error_page 502 "http://x/?<$key>"; proxy_pass http://127.0.0.1:1;',
    'proxy_cache zone; proxy_cache_valid any 1m; add_header X-Leak "<$key>" always; @PROXY@',
    'sub_filter_types *; sub_filter ok "<$key>"; @PROXY@',
    'ssi on; ssi_types *; proxy_pass http://127.0.0.1:@UPSTREAM@/ssi;',
    'client_max_body_size 1; error_page 413 @error; @PROXY@',
])
def test_not_into_a_response(site, value, tmp_path, location):
    answers = {"/404": (404, {}, b"none"), "/ssi": (200, {}, b'<!--#echo var="key" --><!--#echo var="copy" -->')}
    site.upstream.respond = lambda request: answers.get(request.path, (200, {}, b"ok"))
    location = location.replace("@UPSTREAM@", str(site.upstream.port))
    site.configure(f"""
        secret_get $key api-keys/stripe;
        location / {{ {HEADER} {location} }}
        location @error {{ return 200 "<$key>"; }}
        location /error {{ add_header X-Leak "<$key>" always; return 200 "<$key>"; }}""", outside=f"""
        proxy_cache_path {tmp_path}/cache keys_zone=zone:1m;
        map $key $mapped {{ default "made of $key"; }}""")
    site.nginx.start()
    for method, body in (("GET", None), ("POST", b"x" * 10), ("GET", None)):
        assert not leaks(site.get("/", method=method, body=body)), location
    for request in site.upstream.requests:
        assert request.headers["X-Key"] == value


def test_one_alert_names_the_variable(site, value):
    site.serve(f'secret_get $key api-keys/stripe; {HEADER} add_header A "$key"; add_header B "$key";')
    assert site.header("X-Key") == value
    alerts = [line for line in site.nginx.error_log().splitlines() if "[alert]" in line]
    assert len(alerts) == 1 and '"$key" is empty here' in alerts[0] and site.line_of("secret_get") in alerts[0]


def test_no_alert_without_cause(site, value):
    site.serve(f"secret_get $key api-keys/stripe; {HEADER}")
    assert site.header("X-Key") == value
    assert "[alert]" not in site.nginx.error_log()


def test_scope_request_is_explicit(site, value):
    site.configure("""
        secret_get $key api-keys/stripe scope=request;
        location /return { return 200 "$key"; }
        location /set { set $copy $key; return 200 "$copy"; }
        location /header { add_header X-Key "$key"; return 200 x; }""")
    site.nginx.start()
    assert site.get("/return").body.decode() == value
    assert site.get("/set").body.decode() == value
    assert site.get("/header").headers["X-Key"] == value


def test_scope_request_and_missing(site):
    site.configure("""
        location / { secret_get $key api-keys/$arg_n scope=request; set $copy $key; return 200 "<$copy>"; }
        location /optional { secret_get $key api-keys/none optional scope=request; return 200 "<$key>"; }""")
    site.nginx.start()
    assert site.get("/?n=none").status == 404
    assert site.get("/optional").body == b"<>"


def test_logs_are_masked(site, value, tmp_path):
    site.configure(f"""
        access_log {tmp_path}/masked.log masked;
        access_log {tmp_path}/conditional.log masked if=$key;
        access_log {tmp_path}/path-$key.log masked;
        location / {{ secret_get $key api-keys/stripe; {HEADER} proxy_set_header X-Mapped $mapped; @PROXY@ }}
        location /request {{ secret_get $key api-keys/stripe scope=request; set $copy $key; return 200 "$copy"; }}
        location /none {{ secret_get $key api-keys/none optional; {HEADER} @PROXY@ }}""", outside="""
        map $key $mapped { default "made of $key"; }
        log_format masked '$request_uri key=$key mapped=$mapped copy=$copy';""")
    site.nginx.start()
    assert site.header("X-Key", "/a") == value
    assert site.upstream.last.headers["X-Mapped"] == f"made of {value}"
    assert leaks(site.get("/request"))
    assert site.header("X-Key", "/none") is None
    site.nginx.stop()
    lines = (tmp_path / "masked.log").read_text().splitlines()
    assert lines == ["/a key=[masked] mapped=made of [masked] copy=", "/request key=[masked] mapped=made of [masked] copy=[masked]",
                     "/none key=- mapped=made of  copy="]
    assert not [path for path in tmp_path.rglob("*") if os.environ["KEYTURN_CANARY"] in path.name]


def test_a_cache_key_is_not_made_of_it(site, value, tmp_path):
    site.serve(f'secret_get $key api-keys/stripe; {HEADER} proxy_cache zone; proxy_cache_valid 1m; proxy_cache_key "k$key$uri";',
               outside=f"proxy_cache_path {tmp_path}/cache keys_zone=zone:1m;")
    assert site.header("X-Key") == value
    site.nginx.stop()
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files and all(value.encode() not in path.read_bytes() for path in files)


def test_a_cached_answer_that_must_be_fetched_again(site, value, tmp_path):
    site.serve(f"secret_get $key api-keys/stripe; {HEADER} proxy_cache zone; proxy_cache_valid 1s;",
               outside=f"proxy_cache_path {tmp_path}/cache keys_zone=zone:1m;")
    for _ in range(3):
        assert site.header("X-Key") == value
    assert len(site.upstream.requests) == 1
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.write_bytes(data.replace(b"\r\nServer:", b"\r\nSer\0er:"))
    assert site.header("X-Key") == value
    assert len(site.upstream.requests) == 2


def test_next_upstream_gets_it_too(site, value):
    site.configure(f"location / {{ secret_get $key api-keys/stripe; {HEADER} proxy_pass http://both; }}", outside=f"""
        upstream both {{ server 127.0.0.1:1; server 127.0.0.1:{site.upstream.port}; }}""")
    site.nginx.start()
    for _ in range(4):
        assert site.header("X-Key") == value


def test_requests_that_nginx_makes_itself(site, value, tmp_path):
    """slice and the background update clone a request that is past the handler which reads secrets."""
    def respond(request):
        if request.headers["Range"]:
            first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
            return 206, {"Content-Range": f"bytes {first}-{min(last, 99)}/100"}, b"s" * (min(last, 99) - first + 1)
        return 200, {"Cache-Control": "max-age=1"}, b"x"

    site.upstream.respond = respond
    site.configure(f"""
        secret_get $key api-keys/stripe; {HEADER}
        location /slice {{ slice 30; {HEADER} proxy_set_header Range $slice_range; @PROXY@ }}
        location /stale {{ proxy_cache zone; proxy_cache_use_stale updating; proxy_cache_background_update on; @PROXY@ }}
        location /mirrored {{ mirror /copy; @PROXY@ }}
        location /copy {{ internal; @PROXY@ }}""", outside=f"proxy_cache_path {tmp_path}/cache keys_zone=zone:1m;")
    site.nginx.start()
    assert site.get("/slice").body == b"s" * 100
    site.get("/stale")
    time.sleep(2.1)     # nginx counts the age in whole seconds
    site.get("/stale")
    site.get("/mirrored")
    wait_for(lambda: len(site.upstream.requests) == 4 + 2 + 2)
    assert [request.headers["X-Key"] for request in site.upstream.requests] == [value] * 8
    assert len({request.path for request in site.upstream.requests}) == 4
    assert "[alert]" not in site.nginx.error_log()


def test_debug_log_is_warned_of(site, value):
    site.location(f"secret_get $key api-keys/stripe; {HEADER}", level="debug")
    result = site.nginx.test()
    assert result.returncode == 0 and "[warn]" in result.stderr and "shows secrets" in result.stderr
    site.location(f"error_log {site.nginx.dir}/x.log debug; secret_get $key api-keys/stripe; {HEADER}")
    assert "shows secrets" in site.nginx.test().stderr
    site.location(f"secret_get $key api-keys/stripe; {HEADER}")
    assert "shows secrets" not in site.nginx.test().stderr

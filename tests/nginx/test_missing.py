# SPDX-License-Identifier: BSD-2-Clause
"""A secret that cannot be had: 503 by a running nginx, an error of `nginx -t`."""
import os
import re
import signal
import socket

import pytest

from lib.tools import wait_for

HEADER = "proxy_set_header X-Key $key;"


def dynamic(name="api-keys/$arg_n"):
    """Not checked at start, as its name is known per request only."""
    return f"secret_get $key {name}; {HEADER}"


def test_required_and_missing(site, canary):
    site.home.set("api-keys/none", canary("missing"))
    site.serve(f"secret_get $key api-keys/none; {HEADER}")
    site.home.delete("api-keys/none")
    answer = site.get()
    assert answer.status == 503
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    assert site.upstream.requests == []
    assert re.search(r'\[error\].* required secret "api-keys/none" of "\$key" cannot be read by "nginx:app.example"', site.nginx.error_log())


def test_a_name_that_a_client_made_up(site, canary):
    """404, which says that to try again is useless, or 403; and clients do not fill the error log."""
    site.home.set("api-keys/real", canary("real"))
    site.home.set("database/primary", "x")
    site.home.deny("nginx:app.example", ["read"], ["database/*"])
    site.serve(dynamic("$arg_n"))
    assert site.header("X-Key", "/?n=api-keys/real")
    for name, status in (("api-keys/none", 404), ("", 404), ("../etc", 404), ("a%20b", 404), ("database/primary", 403)):
        answer = site.get(f"/?n={name}")
        assert (answer.status, answer.headers["Retry-After"]) == (status, None), name
    assert len(site.upstream.requests) == 1
    log = site.nginx.error_log()
    assert "[error]" not in log and 'required secret "api-keys/none" of "$key" cannot be read' in log


def test_it_works_as_soon_as_it_is_set_and_until_it_is_deleted(site, canary):
    site.serve(dynamic())
    assert site.get("/?n=late").status == 404
    site.home.set("api-keys/late", canary("late"))
    assert site.get("/?n=late").status == 200
    site.home.delete("api-keys/late")
    assert site.get("/?n=late").status == 404
    site.home.undelete("api-keys/late")
    assert site.get("/?n=late").status == 200


def test_a_location_that_passes_nothing_on_is_not_affected(site, tmp_path, canary):
    (tmp_path / "www").mkdir()
    (tmp_path / "www/file").write_text("static")
    site.home.set("api-keys/stripe", canary("static"))
    site.configure(f"""
        secret_get $key api-keys/stripe;
        location /file {{ root {tmp_path}/www; }}
        location /return {{ return 200 constant; }}
        location / {{ {HEADER} @PROXY@ }}""")
    site.nginx.start()
    site.home.delete("api-keys/stripe")
    assert site.get("/file").body == b"static"
    assert site.get("/return").body == b"constant"
    assert site.records(action="read") == []
    assert site.get("/").status == 503


def test_error_page_and_body_of_the_client(site, canary):
    site.home.set("api-keys/none", canary("error-page"))
    site.configure(f"""
        secret_get $key api-keys/none;
        location @sorry {{ return 503 sorry; }}
        location @fallback {{ return 200 fallback; }}
        location /page {{ return 200 page; }}
        location / {{ error_page 503 @sorry; {HEADER} @PROXY@ }}
        location /a {{ error_page 503 = @fallback; {HEADER} @PROXY@ }}
        location /b {{ error_page 503 =200 /page; {HEADER} @PROXY@ }}
        location /c {{ error_page 503 =503 /page; {HEADER} @PROXY@ }}""")
    site.nginx.start()
    site.home.delete("api-keys/none")
    for path, wanted in (("/", (503, b"sorry", "2")), ("/a", (200, b"fallback", None)), ("/b", (200, b"page", None)),
                         ("/c", (503, b"page", "2"))):
        answer = site.get(path, method="POST", body=b"x" * 100000)
        assert (answer.status, answer.body, answer.headers["Retry-After"]) == wanted, path


def test_a_refused_client_causes_no_read(site, canary):
    site.home.set("api-keys/stripe", canary("access"))
    site.serve(f"deny all; secret_get $key api-keys/stripe; {HEADER}")
    assert site.get().status == 403
    assert site.records(action="read") == []


def test_denied_by_policy(site):
    site.home.set("database/primary", "x")
    site.home.deny("nginx:app.example", ["read"], ["database/*"])
    site.serve(dynamic("database/$arg_n"))
    assert site.get("/?n=primary").status == 403
    assert site.upstream.requests == []
    denied = site.records(status="denied")
    assert [line["reference"] for line in denied] == ["database/primary"]
    assert denied[0]["subject"] == "nginx:app.example" and denied[0]["peer"] == "127.0.0.1"


def test_subjects_are_server_blocks_not_what_a_client_says(site, canary):
    site.home.set("api-keys/stripe", canary("subject"))
    site.home.deny("nginx:b.example", ["read"], ["*"])
    location = f"location / {{ {dynamic()} @PROXY@ }}"
    site.configure(f"{location}", name="a.example alias.example", outside=f"""
        server {{ listen 127.0.0.1:@PORT@; server_name b.example; {location} }}""")
    site.nginx.start()
    assert site.get("/?n=stripe", headers={"Host": "a.example"}).status == 200
    assert site.get("/?n=stripe", headers={"Host": "alias.example"}).status == 200
    assert site.get("/?n=stripe", headers={"Host": "b.example"}).status == 403
    # the first block is the default one, which is b.example here, for any other name
    assert site.get("/?n=stripe", headers={"Host": "nginx:a.example"}).status == 403
    assert {line["subject"] for line in site.records(action="read")} == {"nginx:a.example", "nginx:b.example"}


def test_a_server_without_name(site, canary):
    site.home.set("api-keys/stripe", canary("unnamed"))
    site.nginx.configure(f"""
        server {{ listen 127.0.0.1:@PORT@; location / {{ secret_get $key api-keys/stripe; {HEADER} {site.proxy} }} }}""")
    site.nginx.start()
    assert site.get().status == 200
    assert site.records(action="read")[0]["subject"] == "nginx:_"


# nginx -t

def fails(site, *texts):
    result = site.nginx.test()
    assert result.returncode != 0, result.stderr
    for text in texts:
        assert text in result.stderr
    return result.stderr


def test_t_names_every_missing_one(site):
    site.configure(f"""
        location /a {{ secret_get $key api-keys/none;
                       {HEADER} @PROXY@ }}
        location /b {{ secret_get $other api-keys/neither optional;
                       secret_get $third api-keys/third;
                       {HEADER} @PROXY@ }}""".replace("$other;", "$key;"), outside="secret_get $key api-keys/outer;")
    text = fails(site, 'required secret "api-keys/none" of "$key"', f'in {site.line_of("api-keys/none")}',
                 'required secret "api-keys/third" of "$third"', f'in {site.line_of("api-keys/third")}',
                 'required secret "api-keys/outer" of "$key"', f'in {site.line_of("api-keys/outer")}', "(notfound)")
    assert "api-keys/neither" not in text


def test_t_is_content(site, canary):
    site.home.set("api-keys/stripe", canary("content"))
    site.location(f"secret_get $key api-keys/stripe; {HEADER} secret_get $d api-keys/$arg_n;")
    result = site.nginx.test()
    assert result.returncode == 0, result.stderr
    dump = site.nginx.test("-T")
    assert dump.returncode == 0 and os.environ["KEYTURN_CANARY"] not in dump.stdout + dump.stderr


def test_t_names_what_policy_denies(site):
    site.home.set("database/primary", "x")
    site.home.deny("nginx:*", ["read"], ["database/*"])
    site.location(f"secret_get $key database/primary; {HEADER}")
    fails(site, '"database/primary"', "(denied)", f'in {site.line_of("secret_get")}')


def test_t_names_what_was_deleted(site):
    site.home.set("api-keys/stripe", "x")
    site.home.delete("api-keys/stripe")
    site.location(f"secret_get $key api-keys/stripe; {HEADER}")
    fails(site, '"api-keys/stripe"', "(gone)")


def test_t_leaves_no_trace(site, canary):
    site.home.set("api-keys/stripe", canary("trace"))
    site.location(f"secret_get $key api-keys/stripe; {HEADER}")

    def state():
        # a reader takes a lock in the store's -shm, which is shared memory rather than content
        return {str(path): (stat.st_ino, stat.st_size, path.name.endswith("-shm") or (stat.st_mtime_ns, stat.st_ctime_ns))
                for path in sorted(site.home.dir.rglob("*")) for stat in [path.stat()]}

    before = state()
    for _ in range(3):
        assert site.nginx.test().returncode == 0
    after = state()
    assert after == before


@pytest.mark.parametrize("directive, texts", [
    ("secret_get $key a/b prefx=x;", ['unknown parameter "prefx="', 'did you mean "prefix="?']),
    ("secret_get $key a/b optionl;", ['unknown parameter "optionl"', 'did you mean "optional"?']),
    ("secret_get $key a/b value=hunter2;", ['unknown parameter "value="', "there are field="]),
    ("secret_get $key a/b optional=all;", ['"optional=all" is not "optional=any"']),
    ("secret_get $key a/b optional optional=any;", ['"optional=any" is duplicate or contradicts']),
    ("secret_get $key a/b required=1;", ['unknown parameter "required="']),
    ("secret_get $key a/b field=;", ['"field=" has no value']),
    ("secret_get $key a/b field=x field=y;", ['"field=y" is duplicate']),
    ("secret_get $key a/b required default=x;", ['"default=x" is duplicate or contradicts']),
    ("secret_get $key a/b required optional;", ['"optional" is duplicate or contradicts']),
    ("secret_get $key a/b version=pending;", ['"version=pending" is neither']),
    ("secret_get $key a/b version=0;", ['"version=0" is neither']),
    ("secret_get $key a/b version=1x;", ['"version=1x" is neither']),
    ("secret_get $key a/b encode=rot13;", ['"encode=rot13" is not one of']),
    ("secret_get $key a/b scope=all;", ['"scope=all" is neither']),
    ("secret_get $key a/b encode=basic field=user;", ["encode=basic"]),
    ('secret_get $key a/b "prefix=Bearer\\r\\nX: y";', ['control character in parameter "prefix="']),
    ('secret_get $key a/b "default=a\\nb";', ['control character in parameter "default="']),
    ('secret_get $key a/b "prefix=$host ";', ['parameter "prefix=" takes no variables']),
    ("secret_get $key a//b;", ['invalid name of a secret "a//b"']),
    ("secret_get $key ../b;", ['invalid name of a secret "../b"']),
    ("secret_get $key a/b#c;", ["use field="]),
    ("secret_get $key a/b@1;", ["version="]),
    (f"secret_get $key {'x' * 300};", ["invalid name of a secret"]),
    ("secret_get key a/b;", ['invalid variable name "key"']),
    ("secret_get $ a/b;", ['invalid variable name "$"']),
    ("secret_get $key;", ["secret_get"]),
    ("secret_get;", ['invalid number of arguments in "secret_get"']),
    ("secret_get $key a/b; secret_get $key a/c;", ['duplicate "secret_get" of "$key"']),
    ("secret_get $host a/b;", ['"host" variable']),
    ("secret_get $key a/b; set $key x;", ['"key" variable']),
])
def test_t_refuses(site, directive, texts):
    site.location(directive)
    text = fails(site, *texts)
    assert str(site.nginx.conf) in text
    assert "hunter2" not in text


@pytest.mark.parametrize("keyturn, texts", [
    ("", ['"secret_get" needs "keyturn_config"']),
    ("keyturn_config /nonexistent/keyturn.yaml;", ["/nonexistent/keyturn.yaml", "nginx.conf:2"]),
    ("keyturn_config; ", ['invalid number of arguments in "keyturn_config"']),
    ("keyturn_config @HOME@; keyturn_config @HOME@;", ['"keyturn_config" directive is duplicate']),
])
def test_t_refuses_a_main_context(site, keyturn, texts):
    site.home.set("api-keys/stripe", "x")
    site.location("secret_get $key api-keys/stripe;", keyturn=keyturn.replace("@HOME@", str(site.home.config)))
    fails(site, *texts)


def test_t_names_the_line_of_a_bad_keyturn_yaml(site):
    site.home.set("api-keys/stripe", "x")
    site.location("secret_get $key api-keys/stripe;")
    site.home.write_config("enviroment: development\n" + site.home.read_config())
    fails(site, "keyturn.yaml", "enviroment", "nginx.conf:2")


def test_t_refuses_a_key_that_others_may_read(site):
    site.home.set("api-keys/stripe", "x")
    site.location("secret_get $key api-keys/stripe;")
    site.home.key.chmod(0o644)
    fails(site, str(site.home.key), "(permission)")


def test_keyturn_config_may_follow_http(site, canary):
    value = canary("after")
    site.home.set("api-keys/stripe", value)
    site.location(f"secret_get $key api-keys/stripe; {HEADER}", keyturn="")
    with site.nginx.conf.open("a") as conf:
        conf.write(f"keyturn_config {site.home.config};\n")
    site.nginx.start()
    assert site.header("X-Key") == value


def test_without_secret_get_nothing_is_opened(site):
    site.configure("location / { return 200 x; }", keyturn="")
    site.nginx.start()
    assert site.get().status == 200


# scopes of configuration

def test_the_innermost_wins_and_off_undoes(site):
    for name in ("http", "server", "location"):
        site.home.set(f"api-keys/{name}", name)
    site.configure("""
        secret_get $b api-keys/server; secret_get $c api-keys/server;
        proxy_set_header X-A $a; proxy_set_header X-B $b; proxy_set_header X-C $c;
        location / { secret_get $c api-keys/location; @PROXY@ }
        location /inherit { @PROXY@ location /inherit/deeper { secret_get $b api-keys/location; @PROXY@ } }
        location /off { secret_get off; @PROXY@ }
        location /only { secret_get off; secret_get $b api-keys/location; @PROXY@ }""",
                   outside="secret_get $a api-keys/http; secret_get $b api-keys/http; secret_get $c api-keys/http;")
    site.nginx.start()
    expected = {"/": "http server location", "/inherit": "http server server", "/inherit/deeper": "http location server",
                "/off": "None None None", "/only": "None location None"}
    for path, values in expected.items():
        assert site.get(path).status == 200
        headers = site.upstream.last.headers
        assert " ".join(str(headers[f"X-{letter}"]) for letter in "ABC") == values, path


# the context of the worker

def test_a_store_that_goes_away(site, canary):
    value = canary("gone")
    site.home.set("api-keys/stripe", value)
    site.serve(f"secret_get $key api-keys/stripe; {HEADER}")
    assert site.header("X-Key") == value
    (site.home.audit / "nginx").rename(site.home.audit / "elsewhere")
    assert site.get().status in (200, 503)   # what is open stays open
    (site.home.audit / "elsewhere").rename(site.home.audit / "nginx")
    assert site.header("X-Key") == value


def test_a_worker_that_cannot_open_tries_again(site, canary):
    value = canary("again")
    site.home.set("api-keys/stripe", value)
    site.serve(f"secret_get $key api-keys/stripe; {HEADER}")
    assert site.header("X-Key") == value
    trail, before = site.home.audit / "nginx", site.nginx.worker_pids()
    trail.chmod(0)
    try:
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: site.nginx.worker_pids() and site.nginx.worker_pids() != before)
        answer = site.get()
        assert answer.status == 503 and "Retry-After" in answer.headers
        assert "no secret can be served" in site.nginx.error_log()
    finally:
        trail.chmod(0o700)
    wait_for(lambda: site.get().status == 200, timeout=5)
    assert site.header("X-Key") == value


def test_without_a_master(site, canary):
    value = canary("single")
    site.home.set("api-keys/stripe", value)
    site.location(f"secret_get $key api-keys/stripe; {HEADER}", main="master_process off;")
    site.nginx._serves = lambda: socket.create_connection(("127.0.0.1", site.nginx.port)).close() is None
    site.nginx.start()
    assert site.header("X-Key") == value


def test_a_reload_with_a_bad_configuration_changes_nothing(site, canary):
    value = canary("reload")
    site.home.set("api-keys/stripe", value)
    site.serve(f"secret_get $key api-keys/stripe; {HEADER}")
    workers = site.nginx.worker_pids()
    good = site.home.read_config()
    site.home.write_config("nonsense: true\n" + good)
    site.nginx.reload()
    assert site.header("X-Key") == value and site.nginx.worker_pids() == workers
    site.home.write_config(good)
    site.home.delete("api-keys/stripe")
    site.nginx.reload()
    assert '(gone)' in site.nginx.error_log()
    site.home.undelete("api-keys/stripe")
    assert site.header("X-Key") == value and site.nginx.worker_pids() == workers
    site.nginx.reload()
    assert site.header("X-Key") == value and site.nginx.worker_pids() != workers


def test_a_killed_worker_comes_back(site, canary):
    value = canary("killed")
    site.home.set("api-keys/stripe", value)
    site.serve(f"secret_get $key api-keys/stripe; {HEADER}", workers=2)
    assert site.header("X-Key") == value
    for pid in site.nginx.worker_pids():
        os.kill(pid, signal.SIGKILL)
    for _ in range(20):
        assert site.header("X-Key") == value

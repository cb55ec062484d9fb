# SPDX-License-Identifier: BSD-2-Clause
"""What was made of a secret is treated like it: taint by evaluation. One nginx for all cases, alone and among modules that were
loaded before and after it; auto/check nginx --server has builds with keyturn linked in, where the order is another one.

Invariants: a required secret that was read is in the request to the upstream, or that is not sent; what was made of it in one
location is not in the next; neither a response nor a log has it."""
import pathlib
import re

import pytest

from lib.home import Home
from lib.nginx import Nginx
from lib.tools import free_port, wait_for
from lib.upstream import Upstream

MODULES = pathlib.Path("/usr/lib/nginx/modules")
OTHERS = ["ndk_http_module", "ngx_http_lua_module", "ngx_http_js_module", "ngx_http_headers_more_filter_module"]
VALUES = {"a": "CANARY-aaaaaaaa-1", "b": "BSECRET-bbbbbbbb-2", "pin": "73591"}

HTTP = """
    log_format all '$request_uri uri=$uri raw=$raw mtok=$mtok mcut=$mcut auth=$auth x=$x y=$y pin=$pin_copy cap=$cap rw=$rw before=$before user=$user part=$part named=$named lua=$lua mreq=$mreq';
    access_log @DIR@/all.log all;
    proxy_cache_path @DIR@/cache keys_zone=cache:1m;
    limit_req_zone $mtok zone=limit:1m rate=1000r/s;
    map $a $mtok { "~^Bearer (?<raw>.+)$" "Token $raw"; }
    map $a $mcut { "~^Bearer (.{10})" "p=$1"; }
    map $r $auth { default "Bearer $r"; }
    map $q $mreq { default "M $q"; }
    map $uri $part { "~^/(?<named>.+)$" "P $named"; }
    server { listen 127.0.0.1:@PORT@; server_name app.example;
    proxy_set_header Authorization "";
    error_page 418 = @nothing;
@LOCATIONS@
    }
    server { listen 127.0.0.1:@OTHER@; server_name other.example;
        secret_get $q api-keys/gone scope=request; return 200 "c=$q"; }
"""

LOCATIONS = """
    location @nothing { return 200 nothing; }
    location = /capture { secret_get $a api-keys/a "prefix=Bearer "; proxy_set_header Authorization $mtok;
        add_header X-Raw "$raw" always; add_header X-M "$mtok" always; add_header X-1 "$1" always;
        sub_filter_types *; sub_filter ok "$raw$mtok$1"; proxy_cookie_path / "/$raw$1"; @PROXY@ }
    location = /cut { secret_get $a api-keys/a "prefix=Bearer "; proxy_set_header Authorization $mcut;
        add_header X-1 "$1" always; add_header X-M "$mcut" always; @PROXY@ }

    location = /failed { secret_get $r api-keys/a; proxy_set_header Authorization $auth; error_page 500 502 = @b; proxy_intercept_errors on; @FAIL@ }
    location = /refused { secret_get $r api-keys/a; proxy_set_header Authorization $auth; error_page 502 504 = @b; proxy_pass http://127.0.0.1:1; }
    location = /accel { secret_get $r api-keys/a; proxy_set_header Authorization $auth; @PROXY@ }
    location = /accel-b { internal; secret_get $r api-keys/b; proxy_set_header Authorization $auth; @PROXY@ }
    location = /post { secret_get $r api-keys/a; proxy_set_header Authorization $auth; post_action @b; @PROXY@ }
    location = /post-static { post_action @b; return 200 x; }
    location @b { secret_get $r api-keys/b; proxy_set_header Authorization $auth; @PROXY@ }
    location = /off { secret_get $r api-keys/a; proxy_set_header Authorization $auth; error_page 500 = @off; proxy_intercept_errors on; @FAIL@ }
    location @off { proxy_set_header Authorization $auth; @PROXY@ }
    location = /captured { secret_get $a api-keys/a "prefix=Bearer "; proxy_set_header X-M $mtok; proxy_set_header Authorization $raw; error_page 500 = @captured;
        proxy_intercept_errors on; @FAIL@ }
    location @captured { proxy_set_header Authorization "<$raw$1>"; @PROXY@ }
    location = /set { secret_get $q api-keys/a scope=request; set $x "Bearer $q"; proxy_set_header Authorization $x; error_page 500 = @x;
        proxy_intercept_errors on; @FAIL@ }
    location @x { proxy_set_header Authorization "<$x>"; @PROXY@ }
    location = /last { secret_get $q api-keys/a scope=request; set $x "Bearer $q"; rewrite ^ /last-x last; }
    location = /last-x { proxy_set_header Authorization "<$x>"; @PROXY@ }

    location = /sub { secret_get $q api-keys/a scope=request; set $before "b$uri"; set $x "Bearer $q"; set $y "P $q"; auth_request /authz;
        auth_request_set $user $upstream_http_x_user; proxy_set_header Authorization $x; @PROXY@ }
    location = /authz { log_subrequest on; secret_get $q api-keys/b scope=request; proxy_set_header X-Of-Parent "<$y>"; set $x "Sub $q"; proxy_set_header Authorization $x;
        proxy_pass http://127.0.0.1:@UPSTREAM@/authz; }

    location = /if { secret_get $a api-keys/a "prefix=Bearer "; if ($mtok) { set $y yes; } set $before "b$uri"; proxy_set_header Authorization $mtok; @PROXY@ }
    location = /limit { secret_get $a api-keys/a "prefix=Bearer "; limit_req zone=limit; proxy_set_header Authorization $mtok; @PROXY@ }
    location = /key { secret_get $a api-keys/a "prefix=Bearer "; proxy_cache cache; proxy_cache_key "$uri$mtok"; proxy_set_header Authorization $mtok; @PROXY@ }
    location = /between { secret_get $a api-keys/a "prefix=Bearer "; secret_get $r api-keys/b; proxy_set_header Authorization $a; proxy_set_header X-Part $part;
        proxy_set_header X-M $mtok; proxy_set_header X-R $r; add_header X-Raw "$raw$1" always; @PROXY@ }
    location = /hollow { secret_get $r api-keys/a; set $x "Bearer $r"; proxy_set_header Authorization $x; @PROXY@ }
    location = /hollow-map { secret_get $r api-keys/a; set $x "$auth"; proxy_set_header Authorization $x; @PROXY@ }
    location = /uri { secret_get $r api-keys/a; proxy_pass http://127.0.0.1:@UPSTREAM@/?k=$r; }
    location = /host { secret_get $r api-keys/a; proxy_pass http://$r/; }
    location = /bind { secret_get $r api-keys/a; proxy_set_header Authorization $auth; proxy_bind $r; @PROXY@ }
    location = /zone { secret_get $r api-keys/a; proxy_set_header Authorization $auth; proxy_cache $r; @PROXY@ }
    location = /hit { secret_get $r api-keys/a; proxy_cache cache; proxy_cache_key hit; proxy_ignore_headers Set-Cookie; proxy_cache_valid 1m; proxy_set_header Authorization $auth;
        proxy_redirect http://there/ "http://$auth/"; proxy_cookie_path / "/$auth"; add_header X-M "$auth"; sub_filter_types *; sub_filter ok "$auth"; @PROXY@ }

    location = /short { secret_get $q api-keys/pin scope=request; set $pin_copy "$q"; proxy_set_header Authorization $pin_copy; @PROXY@ }
    location = /if-capture { secret_get $q api-keys/pin scope=request; if ($q ~ "^(?<cap>.+)$") { set $y "y$1"; } proxy_set_header Authorization "$cap,$y"; @PROXY@ }
    location = /rewritten { secret_get $q api-keys/pin scope=request; rewrite ^ /to/$q; rewrite "^/to/(?<rw>.+)$" /to break; proxy_set_header Authorization $rw; @PROXY@ }
    location = /constant { secret_get $q api-keys/pin scope=request; set $y no; if ($q = 73591) { set $y yes; } proxy_set_header Authorization $y; @PROXY@ }
"""

LUA = """
    location = /lua-access { secret_get $a api-keys/a "prefix=Bearer "; access_by_lua_block { local x = ngx.var.mtok } proxy_set_header Authorization $mtok; @PROXY@ }
    location = /lua-exec { secret_get $r api-keys/a; content_by_lua_block { ngx.status = 401; ngx.exec("@b") } }
    location = /lua-copy { secret_get $q api-keys/pin scope=request; set $x ""; set_by_lua_block $lua { return "L" .. ngx.var.mreq }
        access_by_lua_block { ngx.var.x = ngx.var.mreq .. "!" } proxy_set_header Authorization "$lua,$x"; @PROXY@ }
    location = /lua-twice { secret_get $q api-keys/pin scope=request;
        set_by_lua_block $lua { local a = ngx.var.mreq; local b = ngx.var.args; return "L" .. ngx.var.mreq } proxy_set_header Authorization "$lua"; @PROXY@ }
    location = /lua-filter { secret_get $a api-keys/a "prefix=Bearer "; proxy_set_header Authorization $mtok;
        header_filter_by_lua_block { ngx.header["X-L"] = (ngx.var.mtok or "") .. (ngx.var.raw or "") }
        body_filter_by_lua_block { ngx.arg[1] = (ngx.var.mtok or "") .. (ngx.var.raw or "") .. (ngx.arg[1] or "") }
        log_by_lua_block { ngx.log(ngx.ERR, "logged ", ngx.var.mtok, ngx.var.raw) } more_set_headers "X-More: $mtok$raw"; @PROXY@ }
    location = /js-filter { secret_get $a api-keys/a "prefix=Bearer "; proxy_set_header Authorization $mtok; js_header_filter keep.header; @PROXY@ }
    location = /capture-lua { secret_get $q api-keys/a scope=request; set $x "Bearer $q"; content_by_lua_block {
        ngx.location.capture("/captured-lua", {copy_all_vars = true}); ngx.exec("/capture-lua-b") } }
    location = /captured-lua { proxy_set_header Authorization "<$x>"; @PROXY@ }
    location = /capture-lua-b { secret_get $q api-keys/b scope=request; proxy_set_header Authorization "<$x>"; @PROXY@ }
"""

JS = 'export default {header: r => { r.headersOut["X-J"] = (r.variables.mtok || "") + (r.variables.raw || ""); }}'


class Lab:
    def __init__(self, nginx, upstream, other):
        self.nginx, self.upstream, self.other = nginx, upstream, other

    def ask(self, path, **more):
        """The answer, which has no value, and what upstreams were sent for it, as "path: Authorization"."""
        self.upstream.clear()
        mark, errors = len(self.log()), len(self.nginx.error_log())
        answer = self.nginx.get(path, **more)
        wait_for(lambda: [line for line in self.log()[mark:].splitlines() if line.startswith(f"{path} ") and "uri=/authz" not in line], what="the log")
        for text in (answer.body.decode() + str(answer.headers), self.log()[mark:], self.nginx.error_log()[errors:]):
            assert not found(text), text
        return answer

    def sent(self, *, of=None):
        with self.upstream.lock:
            return [request.headers["Authorization"] for request in self.upstream.requests if of is None or request.path == of]

    def log(self):
        path = self.nginx.dir / "all.log"
        return path.read_text() if path.exists() else ""

    def line(self, path):
        """The last line of the log about this request: {variable: text}."""
        line = [line for line in self.log().splitlines() if line.startswith(path + " ")][-1]
        return dict(re.findall(r" (\w+)=(.*?)(?= \w+=|$)", line))


def found(text):
    return [value for value in [*VALUES.values(), "CANARY-aaa"] if value in text]


def respond(request):
    headers = {"X-User": "jane", "Set-Cookie": "c=1; path=/", "Location": "http://there/x"}
    if request.path == "/fail":
        return 500, {}, b"failed"
    if request.path == "/accel":
        return 200, {"X-Accel-Redirect": "/accel-b"}, b""
    return 200, headers, b"ok"


@pytest.fixture(scope="module", params=["alone", "others first", "others last"])
def lab(request, kt, tmp_path_factory):
    others = request.param != "alone"
    if others and str(kt.nginx) != "/usr/sbin/nginx":
        pytest.skip("counterpart: Debian's own nginx, which its modules of Lua and njs are for")
    folder = tmp_path_factory.mktemp("taint")
    home = Home.create(kt, folder / "home", "development")
    home.grant("nginx:*", ["read"], ["*"])
    for name, value in VALUES.items():
        home.set(f"api-keys/{name}", value)
    home.set("api-keys/gone", "gone-secret")
    upstream, other = Upstream(respond), free_port()
    nginx = Nginx(kt, folder / "nginx", home)
    text = HTTP.replace("@LOCATIONS@", LOCATIONS + (LUA if others else ""))
    if others:
        (folder / "keep.js").write_text(JS)
        text = f"js_import keep from {folder}/keep.js;\n" + text
    else:
        text = text.replace("lua=$lua ", "")
    for mark, value in (("@PROXY@", f"proxy_pass http://127.0.0.1:{upstream.port};"), ("@OTHER@", str(other)), ("@UPSTREAM@", str(upstream.port)),
                        ("@FAIL@", f"proxy_pass http://127.0.0.1:{upstream.port}/fail;")):
        text = text.replace(mark, value)
    nginx.configure(text)
    if others:
        loads = "".join(f"load_module {MODULES / name}.so;\n" for name in OTHERS)
        conf = nginx.conf.read_text()
        first, rest = conf.split("\n", 1)
        nginx.conf.write_text(loads + conf if request.param == "others first" else f"{first}\n{loads}{rest}")
    nginx.start()
    home.run("delete", "api-keys/gone")
    yield Lab(nginx, upstream, other)
    nginx.stop()
    upstream.close()


@pytest.mark.parametrize("path, sent", [
    ("/capture", f"Token {VALUES['a']}"),
    ("/cut", "p=CANARY-aaa"),
])
def test_captures(lab, path, sent):
    lab.ask(path)
    assert lab.sent() == [sent]


@pytest.mark.parametrize("path, sent", [
    ("/failed", [f"Bearer {VALUES['a']}", f"Bearer {VALUES['b']}"]),
    ("/refused", [f"Bearer {VALUES['b']}"]),
    ("/accel", [f"Bearer {VALUES['a']}", f"Bearer {VALUES['b']}"]),
    ("/post", [f"Bearer {VALUES['a']}", f"Bearer {VALUES['b']}"]),
    ("/post-static", [f"Bearer {VALUES['b']}"]),
    ("/off", [f"Bearer {VALUES['a']}", "Bearer"]),
    ("/captured", [VALUES["a"], "<>"]),
    ("/set", [f"Bearer {VALUES['a']}", "<>"]),
    ("/last", ["<>"]),
])
def test_nothing_outlives_its_location(lab, path, sent):
    lab.ask(path)
    wait_for(lambda: len(lab.sent()) == len(sent))
    assert [value and value.strip() for value in lab.sent()] == sent


def test_a_subrequest_takes_nothing_from_its_parent(lab):
    """Nor does it change what the parent has, when it sets or logs the same variables."""
    assert lab.ask("/sub").status == 200
    assert lab.sent(of="/authz") == [f"Sub {VALUES['b']}"] and lab.sent(of="/sub") == [f"Bearer {VALUES['a']}"]
    assert [request.headers["X-Of-Parent"] for request in lab.upstream.requests if request.path == "/authz"] == ["<>"]
    line = lab.line("/sub")
    assert (line["x"], line["before"], line["user"]) == ("[masked]", "b/sub", "jane")


@pytest.mark.parametrize("path", ["/if", "/limit", "/key", "/zone", "/bind", "/hit"])
def test_evaluated_before_it_is_sent(lab, path):
    """An earlier use, which gets nothing, leaves nothing for the header."""
    assert lab.ask(path).status == 200
    assert lab.sent() == [f"Token {VALUES['a']}" if path in ("/if", "/limit", "/key") else f"Bearer {VALUES['a']}"]


def test_what_is_evaluated_between_secrets_is_not_made_of_them(lab):
    """In one request to an upstream: a variable, its match and the group of that; and what is made of a secret there still is."""
    assert lab.ask("/between").status == 200
    sent = lab.upstream.last.headers
    assert [sent[name] for name in ("Authorization", "X-Part", "X-M", "X-R")] == [f"Bearer {VALUES['a']}", "P between", f"Token {VALUES['a']}", VALUES["b"]]
    line = lab.line("/between")
    assert (line["part"], line["named"]) == ("P between", "between") and line["raw"] in ("", "-") and VALUES["a"] not in line["mtok"]


def test_a_hit_of_the_cache(lab):
    lab.ask("/hit")
    lab.ask("/hit")
    assert lab.sent() == []


@pytest.mark.parametrize("path", ["/hollow", "/hollow-map", "/uri", "/host"])
def test_withheld_is_not_sent(lab, path):
    assert lab.ask(path).status in (500, 502)
    assert lab.sent() == []


def test_a_server_block_has_a_gate(lab):
    """With the secret deleted."""
    port, lab.nginx.port = lab.nginx.port, lab.other
    try:
        answer = lab.nginx.get("/")
    finally:
        lab.nginx.port = port
    assert answer.status == 503 and answer.headers["Retry-After"]


@pytest.mark.parametrize("path, sent, masked", [
    ("/short", VALUES["pin"], ["pin"]),
    ("/if-capture", f"{VALUES['pin']},y{VALUES['pin']}", ["y", "cap"]),
    ("/rewritten", VALUES["pin"], ["rw"]),
    ("/constant", "yes", []),
])
def test_copies_are_masked(lab, path, sent, masked):
    """Of any length, and however they were made. Text of the configuration is not a copy."""
    lab.ask(path)
    assert lab.sent() == [sent]
    line = lab.line(path)
    assert [name for name, text in line.items() if text == "[masked]"] == masked


@pytest.mark.parametrize("path, sent", [
    ("/lua-access", [f"Token {VALUES['a']}"]),
    ("/lua-exec", [f"Bearer {VALUES['b']}"]),
    ("/lua-copy", [f"LM {VALUES['pin']},M {VALUES['pin']}!"]),
    ("/lua-twice", [f"LM {VALUES['pin']}"]),
    ("/lua-filter", [f"Token {VALUES['a']}"]),
    ("/js-filter", [f"Token {VALUES['a']}"]),
    ("/capture-lua", ["<>", "<>"]),
])
def test_other_modules(lab, path, sent):
    if "log_by_lua" not in lab.nginx.conf.read_text():
        pytest.skip("counterpart: Debian's own nginx, which its modules of Lua and njs are for")
    lab.ask(path)
    assert lab.sent() == sent
    if path in ("/lua-copy", "/lua-twice"):
        assert lab.line(path)["lua"] == "[masked]" and lab.line(path)["x"] in ("[masked]", "-", "")

# SPDX-License-Identifier: BSD-2-Clause
"""secret_auth lets in who knows a value, and secret_match tells whether something is one."""
import http.client
import re
import time

import pytest

SITE = """
secret_match $ok $http_x_key clients/shop prefix=Key- grace=1h;
secret_match $one $http_x_key clients/$http_x_client;
secret_match $far $http_x_key remote/shop grace=1h;
location /plain { secret_auth $http_authorization clients/shop "prefix=Bearer "; proxy_pass http://127.0.0.1:@UPSTREAM@; }
location /grace { secret_auth $http_authorization clients/shop "prefix=Bearer " grace=24h realm=shop; proxy_pass http://127.0.0.1:@UPSTREAM@; }
location /short { secret_auth $http_x_key clients/shop grace=@GRACE@; proxy_pass http://127.0.0.1:@UPSTREAM@; }
location /names { secret_auth $http_x_key clients/$http_x_client grace=24h status=403; proxy_pass http://127.0.0.1:@UPSTREAM@;
                  location /names/open { secret_auth off; proxy_pass http://127.0.0.1:@UPSTREAM@; } }
location /hidden { secret_auth $http_x_key clients/$http_x_client status=404; proxy_pass http://127.0.0.1:@UPSTREAM@; }
location /any { satisfy any; allow 127.0.0.2; deny all; secret_auth $http_x_key clients/shop realm=x; proxy_pass http://127.0.0.1:@UPSTREAM@; }
location /all { satisfy all; allow 127.0.0.2; deny all; secret_auth $http_x_key clients/shop; proxy_pass http://127.0.0.1:@UPSTREAM@; }
location /far { secret_auth $http_x_key remote/$http_x_client grace=24h; proxy_pass http://127.0.0.1:@UPSTREAM@; }
location /farany { satisfy any; allow 127.0.0.2; deny all; secret_auth $http_x_key remote/shop; proxy_pass http://127.0.0.1:@UPSTREAM@; }
location /shown { return 200 "$ok $shown $ok"; }
location /one { if ($one) { return 200 yes; } return 200 "[$one]"; }
location /farshown { return 200 "[$far]"; }
"""


@pytest.fixture
def shop(site, canary):
    site.old, site.value = canary("old"), canary("present")
    for name, value in (("clients/shop", site.old), ("clients/shop", site.value), ("clients/other", canary("other")),
                        ("remote/shop", "not far")):
        site.home.set(name, value)
    return site


@pytest.fixture
def far(shop, make_redis, canary):
    """The shop, and names in a Redis."""
    shop.redis = make_redis()
    shop.redis.start()
    shop.home.add("providers", f'redis: {{address: "unix:{shop.redis.socket}"}}')
    shop.home.add("switch", '"remote/*": redis')
    shop.far = canary("far")
    shop.home.set("remote/shop", shop.far)
    return shop


def start(site, grace="24h", **more):
    more.setdefault("outside", "map $ok $shown { 1 yes; 0 no; default unknown; }")
    site.configure(SITE.replace("@GRACE@", grace).replace("@UPSTREAM@", str(site.upstream.port)), **more)
    site.nginx.start()
    return site


def ask(site, path, key=None, client=None, bearer=None, address="127.0.0.1"):
    headers = {"X-Key": key, "X-Client": client, "Authorization": bearer and f"Bearer {bearer}"}
    connection = http.client.HTTPConnection("127.0.0.1", site.nginx.port, timeout=10, source_address=(address, 0))
    connection.request("GET", path, headers={name: value for name, value in headers.items() if value is not None})
    answer = connection.getresponse()
    answer.body = answer.read().decode()
    connection.close()
    return answer


def status(site, *args, **more):
    return ask(site, *args, **more).status


def matches(site):
    return sorted((line["status"], line.get("version", 0), line["purpose"]) for line in site.records(action="match"))


def test_who_knows_the_value_may_enter(shop):
    start(shop)
    for path, given, expected in (("/plain", {"bearer": shop.value}, 200), ("/plain", {"bearer": shop.value + "x"}, 401),
                                  ("/plain", {"bearer": shop.value[:-1]}, 401), ("/plain", {}, 401), ("/plain", {"bearer": ""}, 401),
                                  ("/plain", {"bearer": shop.old}, 401), ("/grace", {"bearer": shop.old}, 200),
                                  ("/names", {"key": shop.value, "client": "shop"}, 200), ("/names", {"key": shop.value, "client": "other"}, 403),
                                  ("/names", {"key": shop.value, "client": "none"}, 403), ("/names", {"key": shop.value}, 403),
                                  ("/names", {"key": shop.value, "client": "shop@2"}, 403), ("/names", {"key": shop.value, "client": "../shop"}, 403),
                                  ("/names", {"key": shop.value, "client": "shop#a"}, 403), ("/names/open", {}, 200),
                                  ("/hidden", {"key": "x", "client": "shop"}, 404), ("/hidden", {"key": shop.value, "client": "shop"}, 200)):
        assert status(shop, path, **given) == expected, (path, given)
    headers = {"Authorization": f"bearer {shop.value}"}
    assert shop.get("/plain", headers=headers).status == 200, "the name of a scheme has no case"
    assert ask(shop, "/grace").headers["WWW-Authenticate"] == 'Bearer realm="shop"'
    assert ask(shop, "/plain").headers["WWW-Authenticate"] is None
    assert "[alert]" not in shop.nginx.error_log()


def test_what_is_recorded(shop):
    start(shop)
    for bearer in (shop.value, "wrong", shop.old):
        status(shop, "/grace", bearer=bearer)
    for client in ("none", "shop", "../shop"):
        status(shop, "/names", key="wrong", client=client)
    lines = shop.records(action="match")  # a success may wait for others like it, a failure does not
    assert sorted((line["status"], line["reference"], line.get("version"), line.get("severity")) for line in lines) == [
        ("denied", "clients/shop", None, "medium"), ("denied", "clients/shop", None, "medium"), ("notfound", "clients/none", None, None),
        ("success", "clients/shop", 1, None), ("success", "clients/shop", 2, None), ("usage", "", None, "medium")]
    assert {(line["subject"], line.get("peer"), line["purpose"]) for line in lines} == {("nginx:app.example", "127.0.0.1", "auth")}
    assert shop.home.run("audit", "verify").returncode == 0
    assert shop.records(action="read") == []


def test_nobody_is_locked_out(shop):
    shop.home.deny("nginx:app.example", ["read"], ["clients/secret"])
    shop.home.set("clients/secret", "hidden")
    start(shop)
    for _ in range(15):
        assert status(shop, "/names", key="wrong", client="shop") == 403
        assert status(shop, "/names", key="hidden", client="secret") == 403, "as if there were no such name"
    assert shop.records(action="alert") == [] and shop.home.json("lockout")["lockouts"] == []
    assert status(shop, "/names", key=shop.value, client="shop") == 200


def test_satisfy(shop):
    start(shop)
    here, there = "127.0.0.2", "127.0.0.3"
    answers = {(path, address, key): ask(shop, path, key=key, address=address)
               for path in ("/any", "/all") for address in (here, there) for key in (shop.value, "wrong")}
    assert {case: answer.status for case, answer in answers.items()} == {
        ("/any", here, shop.value): 200, ("/any", here, "wrong"): 200, ("/any", there, shop.value): 200, ("/any", there, "wrong"): 401,
        ("/all", here, shop.value): 200, ("/all", here, "wrong"): 401, ("/all", there, shop.value): 403, ("/all", there, "wrong"): 401}
    assert [answers["/any", address, "wrong"].headers["WWW-Authenticate"] for address in (here, there)] == [None, 'Bearer realm="x"']


def test_the_end_of_the_grace_time(shop):
    shop.home.set("clients/shop", shop.value + "3")
    rotated = time.monotonic()
    start(shop, grace="3s")
    assert status(shop, "/short", key=shop.value) == 200
    assert time.monotonic() - rotated < 3, "the machine is too slow for this test"
    time.sleep(max(0, rotated + 3.05 - time.monotonic()))
    assert status(shop, "/short", key=shop.value) == 401
    assert status(shop, "/short", key=shop.value + "3") == 200
    shop.home.rollback("clients/shop")
    assert status(shop, "/short", key=shop.value) == 200
    shop.home.delete("clients/shop")
    assert status(shop, "/short", key=shop.value) == 401


def test_across_a_network(far):
    start(far)
    assert status(far, "/far", key="wrong", client="none") == 401
    assert status(far, "/far", key="wrong", client="shop") == 401
    assert status(far, "/far", key=far.far, client="shop") == 200
    assert matches(far) == [("denied", 0, "auth"), ("notfound", 0, "auth"), ("success", 1, "auth")]
    far.home.set("remote/shop", far.far + "2")
    assert status(far, "/far", key=far.far + "2", client="shop") == 200
    assert status(far, "/far", key=far.far, client="shop") == 200, "the previous one"
    assert "[alert]" not in far.nginx.error_log()


def test_what_is_not_known_is_503(far):
    far.redis.stop()
    start(far)
    answer = ask(far, "/far", key=far.far, client="shop")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert status(far, "/farany", key=far.far, address="127.0.0.2") == 200
    assert status(far, "/farany", key=far.far, address="127.0.0.3") in (403, 503)
    assert far.upstream.requests and '"secret_auth" cannot compare with secret "remote/shop"' in far.nginx.error_log()


def test_match(shop):
    start(shop)
    for key, expected in ((f"Key-{shop.value}", "1 yes 1"), (f"Key-{shop.old}", "1 yes 1"), (shop.value, "0 no 0"), ("Key-x", "0 no 0"), (None, "0 no 0")):
        assert ask(shop, "/shown", key=key).body == expected
    assert matches(shop) == [*[("denied", 0, "match")] * 3, ("success", 1, "match"), ("success", 2, "match")], "one record a request"
    for client, expected in (("shop", "yes"), ("other", "[0]"), ("none", "[0]"), ("../shop", "[0]"), (None, "[0]")):
        assert ask(shop, "/one", key=shop.value, client=client).body == expected


def test_match_across_a_network(far, wait_for):
    start(far)
    assert ask(far, "/farshown", key=far.far).body == "[]", "not fetched yet"
    wait_for(lambda: ask(far, "/farshown", key=far.far).body == "[1]", timeout=3)
    wait_for(lambda: ask(far, "/farshown", key="wrong").body == "[0]", timeout=3)


def test_a_name_that_policy_denies_is_not_known(shop):
    shop.home.deny("nginx:app.example", ["read"], ["clients/shop"])
    shop.configure("secret_match $ok $http_x_key clients/shop prefix=Key-; location /shown { return 200 '$ok $shown $ok'; }",
                   outside="map $ok $shown { 1 yes; 0 no; default unknown; }")
    shop.nginx.start()
    assert ask(shop, "/shown", key=f"Key-{shop.value}").body == " unknown "
    assert shop.records(action="match")[0]["configured"] is True


def test_the_debug_log_has_what_nginx_writes(shop):
    """The client's header, as nginx received it, and what the modules of nginx say of it; nothing that we read."""
    given = "given-by-the-client"
    start(shop, level="debug")
    for path in ("/plain", "/grace"):
        assert status(shop, path, bearer=given) == 401
    log = shop.nginx.error_log()
    assert "http header: \"Authorization: Bearer given-by-the-client\"" in log
    assert shop.value not in log and shop.old not in log
    ours = [line for line in log.splitlines() if given in line]
    assert all(re.search(r"http (header|script var|request line)", line) for line in ours), ours
    assert 'level "debug" shows secrets' in log


CONFIGURATIONS = [
    ("secret_auth $http_x_key;", 'needs a value to test and a name, or "off"'),
    ("secret_auth $http_x_key clients/shop grace=soon;", '"grace=soon" is not a time'),
    ("secret_auth $http_x_key clients/shop status=500;", '"status=500" is not a status from 400 to 499'),
    ("secret_auth $http_x_key clients/shop status=403 realm=x;", '"realm=" is for the status 401'),
    ("secret_auth $http_x_key clients/shop colour=red;", "is not one of prefix=, grace=, status=, realm="),
    ("secret_auth $http_x_key clients/shop prefix=a prefix=b;", "is duplicate"),
    ("secret_auth $http_x_key clients/shop; secret_auth $http_x_key clients/shop;", '"secret_auth" directive is duplicate'),
    ("satisfy any; secret_auth $http_x_key clients/shop status=404;", '"satisfy any" needs the status 401 or 403'),
    ("secret_auth $http_x_key clients/none;", 'required secret "clients/none" of "secret_auth" cannot be read'),
    ("secret_auth $http_x_key clients//shop;", "invalid name of a secret"),
]


def test_configuration(site):
    site.home.set("clients/shop", "x")
    for text, message in CONFIGURATIONS:
        site.location(text)
        assert message in site.nginx.test().stderr, text


def test_each_location_of_a_redirect_lets_in_for_itself(shop):
    """Knowing the key of one location opens no other one."""
    shop.upstream.respond = lambda request: (
        (200, {"X-Accel-Redirect": request.headers["X-Go"]}, b"") if request.headers["X-Go"] else (200, {}, request.path.encode()))
    key, other = (f"proxy_set_header X-Go {value}; proxy_pass http://127.0.0.1:{shop.upstream.port};" for value in ("$http_x_go", '""'))
    shop.configure(f"""
        location /open {{ {key} }}
        location /shop {{ secret_auth $http_x_key clients/shop; {key} }}
        location /inside/shop {{ internal; secret_auth $http_x_key clients/shop; {other} }}
        location /inside/other {{ internal; secret_auth $http_x_key clients/other; {other} }}
        location /last {{ rewrite ^ /inside/other last; }}
        location /page {{ secret_auth $http_x_key clients/shop; error_page 401 = /inside/other; {other} }}
        location /inside/open {{ internal; {other} }}""")
    shop.nginx.start()

    def go(path, target, value):
        return shop.get(path, headers={"X-Key": value, "X-Go": target}).status

    assert go("/shop", "/inside/shop", shop.value) == 200
    assert go("/shop", "/inside/open", shop.value) == 200
    for path, target in (("/shop", "/inside/other"), ("/open", "/inside/other"), ("/last", ""), ("/open", "/inside/shop")):
        assert go(path, target, shop.value if target != "/inside/shop" else "wrong") == 401, (path, target)
    assert go("/page", "", "wrong") == 401      # the page has a lock of its own
    assert go("/open", "/inside/shop", shop.value) == 200

# SPDX-License-Identifier: BSD-2-Clause
"""nginx under valgrind, with a secret in each place that can have one: no error in our code, and nothing is lost for good."""
import signal

import pytest

from lib import handshake as tls
from lib.tools import free_port
from lib.valgrind import Report, command

FEW, MANY = 2, 6      # requests of each kind to the worker process before the reload, and to the one after it
CONF = """
    secret_get $key api-keys/one; secret_get $user api-keys/pair field=user; secret_get $password api-keys/pair field=password;
    map $key $mapped { "~^(?<part>.*)$" "Bearer $part"; default ""; }
    secret_match $known $http_x_api_key api-keys/one;
    server {
        listen 127.0.0.1:@PORT@; server_name app.example; secret_reject_on 401;
        location /headers { proxy_set_header X-Key $key; proxy_set_header X-User $user; proxy_set_header X-Password $password; @PROXY@ }
        location /map { proxy_set_header X-Key $mapped; @PROXY@ }
        location /set { secret_get $open api-keys/one scope=request; set $copy "a$open"; proxy_set_header X-Key $copy; @PROXY@ }
        location /uri { secret_get $open api-keys/one scope=request; proxy_pass http://127.0.0.1:@UPSTREAM@/x?$open; }
        location /body { proxy_set_body "key=$key"; @PROXY@ }
        location /none { secret_get $none api-keys/none; proxy_set_header X-Key $none; @PROXY@ }
        location /grpc { grpc_set_header X-Key $key; grpc_pass grpc://127.0.0.1:@GRPC@; }
        location /auth { secret_auth $http_authorization api-keys/one "prefix=Bearer "; @PROXY@ }
        location /sign { secret_sign $sign api-keys/one $request_uri; proxy_set_header X-Sign $sign; @PROXY@ }
        location /match { return 200 "$known"; }
        location /client {
            secret_get $cert tls/client field=certificate encode=pem; secret_get $pkey tls/client field=private_key encode=pem;
            proxy_ssl_certificate data:$cert; proxy_ssl_certificate_key data:$pkey; proxy_pass https://127.0.0.1:@TLS@;
        }
        location /status { keyturn_status required; }
        location /metrics { keyturn_metrics; }
    }
    server { listen 127.0.0.1:@GRPC@ http2; location / { return 200; } }
    server { listen 127.0.0.1:@TLS@ ssl; server_name app.example; secret_ssl_certificate tls/app; location / { return 200 ok; } }"""
STREAM = "server { listen 127.0.0.1:@STREAM@ ssl; secret_ssl_certificate tls/app; return hello; }"
EXPECTED = {"/headers": 200, "/map": 200, "/set": 200, "/uri": 200, "/body": 200, "/none": 503, "/grpc": 200, "/auth": 401, "/sign": 200,
            "/match": 200, "/client": 200, "/status": 503, "/metrics": 200}


@pytest.fixture
def traced(site, canary):
    """Runs under valgrind, with one worker process."""
    root = tls.Issuer()
    site.key = canary("valgrind")
    site.home.set("api-keys/one", site.key)
    site.home.set("api-keys/pair", {"user": "u", "password": canary("valgrind")})
    site.home.set("tls/client", root.issue("client").json)
    site.home.set("tls/app", root.issue("app").json)
    ports = {"UPSTREAM": site.upstream.port, "GRPC": free_port(), "TLS": free_port(), "STREAM": free_port()}
    http_text, stream_text = CONF.replace("@PROXY@", site.proxy), STREAM
    for name, port in ports.items():
        http_text, stream_text = (text.replace(f"@{name}@", str(port)) for text in (http_text, stream_text))
    site.nginx.configure(http_text, main="secret_check warn;", keyturn=site.nginx.stream(stream_text))
    site.nginx.prefix = command(site.nginx.dir)
    site.ports = ports
    site.nginx.start(timeout=60)
    return site


def ask(site, times):
    for _ in range(times):
        for path, status in EXPECTED.items():
            body = b"x" * 9000 if path in ("/body", "/headers") else None
            answer = site.get(path, method="POST" if body else "GET", body=body, headers={"X-Api-Key": site.key}, timeout=60)
            assert answer.status == status, (path, answer.status, site.nginx.error_log()[-2000:])
        assert site.get("/auth", headers={"Authorization": f"Bearer {site.key}"}, timeout=60).status == 200
        for name in ("TLS", "STREAM"):
            tls.handshake(site.ports[name])
        site.home.set("api-keys/one", site.key)     # a version more


@pytest.mark.plain("valgrind and AddressSanitizer exclude each other")
def test_no_error_and_nothing_lost(traced):
    first = set(traced.nginx.worker_pids())
    ask(traced, FEW)
    traced.nginx.reload(timeout=60)
    second = set(traced.nginx.worker_pids())
    ask(traced, MANY)
    master = traced.nginx.master_pid
    traced.nginx.process.stop(signal.SIGQUIT, timeout=60)
    reports = {pid: Report(traced.nginx.dir / f"valgrind.{pid}") for pid in [master, *first, *second]}
    assert [error for path in traced.nginx.dir.glob("valgrind.*") for error in Report(path).errors] == []
    few, many = reports[first.pop()].leaks, reports[second.pop()].leaks
    assert not many - few, many - few

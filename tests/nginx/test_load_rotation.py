# SPDX-License-Identifier: BSD-2-Clause
"""1,000 rotations under load: every answer is checked, over HTTP/1.1 and HTTP/2."""
import types

import pytest

from lib.load import ECHO, HEADERS, Answers, Keep, Once, Rotator, Seen, Streams, check
from lib.tools import wait_for

NAME, ROTATIONS, WORKERS = "api-keys/load", 1000, 4
EACH = 6     # answers between two rotations
SECRETS = f"secret_get $user {NAME} field=user; secret_get $password {NAME} field=password; {HEADERS}"


@pytest.fixture
def echo(make_nginx):
    """An upstream that answers what it was sent: an nginx without keyturn."""
    server = make_nginx()
    server.configure(f"keepalive_requests 1000000; server {{ listen 127.0.0.1:@PORT@; access_log off; location / {{ {ECHO} }} }}", workers=2)
    return server.start()


@pytest.fixture
def loaded(site, echo, free_port, canary):
    """site.rotator, and site.http2 with the port; reuseport spreads the connections over the worker processes."""
    site.rotator = Rotator(site.home, NAME, "load", canary("load"))
    site.http2 = free_port()
    site.nginx.configure(f"""
        upstream echo {{ server 127.0.0.1:{echo.port}; keepalive 16; }}
        keepalive_requests 1000000; access_log off;
        server {{
            listen 127.0.0.1:@PORT@ reuseport; listen 127.0.0.1:{site.http2} http2 reuseport; server_name load.example;
            proxy_http_version 1.1; proxy_set_header Connection "";
            location / {{ {SECRETS} proxy_pass http://echo; }}
        }}""", workers=WORKERS)
    site.nginx.start()
    return site


def test_1000_rotations_under_load(loaded):
    port = loaded.nginx.port
    clients = [Keep(port), Keep(port), Once(port), Once(port), Streams(loaded.http2), Streams(loaded.http2)]
    for client in clients:
        client.start()
    wait_for(lambda: all(client.seen or client.error for client in clients), what="the first answers")
    answers = Answers(clients, EACH)
    loaded.rotator.run(ROTATIONS + 1, answers.are_enough)
    for client in clients:
        client.stop()
    for client in clients:
        client.join(30)
    assert len(check(clients, loaded.rotator)) > ROTATIONS / 2
    seen = [answer for client in clients for answer in client.seen]
    assert len(loaded.rotator.done) == ROTATIONS + 1
    assert {int(answer.body.split(" ")[2]) for answer in seen} == set(loaded.nginx.worker_pids()), "not every worker process was asked"
    assert loaded.get("/").body.decode().startswith(f"load-{ROTATIONS + 1} ")
    loaded.home.run("audit", "verify")


def seen(sent, received, version, password=None, status=200, connection=(0, 0)):
    return Seen(sent, received, status, f"u-{version} p-{password or version} 1", connection)


@pytest.mark.parametrize("answers, wrong", [
    ([seen(10, 11, 1), seen(25, 29, 1), seen(26, 30, 2), seen(32, 33, 2)], None),
    ([seen(10, 11, 1, status=503)], "status=503"),
    ([seen(10, 11, 1, password=2)], "two versions in one request"),
    ([seen(10, 11, 2)], "version 2 was not published"),
    ([seen(31, 32, 1)], "version 1 after the rotation to 2 had returned"),
    ([seen(21, 22, 2), seen(23, 24, 1)], "went back from version 2 to 1"),
    ([seen(21, 24, 2), seen(23, 25, 1)], None),
    ([seen(21, 22, 2), seen(23, 24, 1, connection=(0, 1))], None),
])
def test_the_judge(answers, wrong):
    """Version 1 was there at 5, version 2 was begun at 20 and there at 30."""
    rotator = types.SimpleNamespace(user="u", password="p", begun={1: 0, 2: 20}, done={1: 5, 2: 30})
    client = types.SimpleNamespace(error=None, seen=answers)
    if wrong is None:
        assert check([client], rotator) == {int(answer.body.split()[0][2:]) for answer in answers}
        return
    with pytest.raises(AssertionError, match=wrong):
        check([client], rotator)

# SPDX-License-Identifier: BSD-2-Clause
"""nginx far from the store: it reads through the provider `redis` from a server, or a replica, that holds no key."""
import json
import time

import pytest

NAME = "api-keys/stripe"


@pytest.fixture
def site(home, nginx, upstream):
    """serve(server): nginx over that Redis server; answers what the upstream was sent."""
    home.grant("nginx:*", ["read"], ["*"])

    def serve(server):
        home.add("providers", 'redis: {address: %s, timeout: 1s}' % json.dumps(f"unix:{server.socket}"))
        home.add("switch", '"api-keys/*": redis')
        home.set(NAME, "v-1")
        nginx.configure(f"""
            secret_get $key {NAME};
            server {{ listen 127.0.0.1:@PORT@;
                      location / {{ proxy_set_header X-Key $key;
                                    proxy_pass http://127.0.0.1:{upstream.port}; }} }}""")
        nginx.start()

        def header():
            response = nginx.get("/")
            return upstream.last.headers["X-Key"] if response.status == 200 else response.status
        return header
    return serve


def test_rotations_arrive(sealed_redis, home, site, wait_for):
    """Within a second, by the server's announcement: the cache's TTL is five minutes."""
    header = site(sealed_redis())
    wait_for(lambda: header() == "v-1")
    for version in range(2, 12):
        home.set(NAME, f"v-{version}")
        wait_for(lambda: header() == f"v-{version}", timeout=1.5)


def test_a_server_that_is_gone_and_comes_back(sealed_redis, home, site, wait_for):
    """What was good stays in use; when the server is back, so is the new value."""
    server = sealed_redis("appendonly yes", "appendfsync always")
    header = site(server)
    wait_for(lambda: header() == "v-1")
    server.stop()
    for _ in range(20):
        assert header() == "v-1"
        time.sleep(0.05)
    server.start()
    home.set(NAME, "v-2")
    wait_for(lambda: header() == "v-2", timeout=5)


def test_many_requests_while_it_rotates(sealed_redis, home, site, wait_for):
    """None fails, none goes back."""
    header = site(sealed_redis())
    wait_for(lambda: header() == "v-1")
    seen = []
    for version in range(2, 8):
        home.set(NAME, f"v-{version}")
        seen += [header() for _ in range(60)]
    versions = [int(value.split("-")[1]) for value in seen]
    assert versions == sorted(versions)
    wait_for(lambda: header() == "v-7", timeout=1.5)

# SPDX-License-Identifier: BSD-2-Clause
"""One client request of thousands of subrequests: each costs the same, however many went before."""
import time

import pytest

SLICES = 4000
SIZE = 2048


@pytest.fixture
def slices(site, make_nginx, tmp_path, canary):
    """Locations of `site` that fetch /file in slices from a second nginx, which says what Authorization it got."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/file").write_bytes(b"s" * SLICES * SIZE)
    back = make_nginx()
    back.configure(f"""
        log_format got '$http_authorization';
        server {{ listen 127.0.0.1:@PORT@; root {tmp_path}/www; access_log {tmp_path}/www/got.txt got; keepalive_requests 100000; }}""")
    back.start()
    value = canary("slice")
    site.home.set("api-keys/stripe", value)
    common = f"slice {SIZE}; proxy_set_header Range $slice_range; proxy_http_version 1.1; proxy_set_header Connection ''; "
    site.configure(f"""
        location /literal/ {{ {common} proxy_set_header Authorization "{len(value) * 'x'}"; proxy_pass http://back/; }}
        location /secret/ {{ secret_get $key api-keys/stripe; {common} proxy_set_header Authorization $key; proxy_pass http://back/; }}
        location /dynamic/ {{ secret_get $key api-keys/$arg_n; {common} proxy_set_header Authorization $key; proxy_pass http://back/; }}
        """, outside=f"upstream back {{ server 127.0.0.1:{back.port}; keepalive 4; keepalive_requests 100000; }} access_log off;")
    site.nginx.start()
    site.got = lambda: (tmp_path / "www/got.txt").read_text().split()
    site.value = value
    return site


def cpu(site, path):
    """Seconds of the worker's CPU for one download."""
    clock = ~site.nginx.worker_pids()[0] << 3 | 2  # clock_getcpuclockid(3)
    before = time.clock_gettime(clock)
    answer = site.get(path, timeout=60)
    assert answer.status == 200 and len(answer.body) == SLICES * SIZE
    return time.clock_gettime(clock) - before


ROUNDS = 5


@pytest.mark.plain("it compares CPU, which a sanitizer multiplies")
def test_four_thousand_slices(slices):
    """At most 1.3 times the CPU of a literal header, in the best of the rounds."""
    paths = {"literal": "/literal/file", "secret": "/secret/file", "dynamic": "/dynamic/file?n=stripe"}
    cpu(slices, paths["literal"])
    before = len(slices.got())
    rounds = [{name: cpu(slices, path) for name, path in paths.items()} for _ in range(ROUNDS)]
    best = {name: min(row[name] for row in rounds) for name in paths}
    assert slices.got()[before:].count(slices.value) == 2 * ROUNDS * SLICES
    assert best["secret"] <= 1.3 * best["literal"] and best["dynamic"] <= 1.3 * best["literal"], rounds

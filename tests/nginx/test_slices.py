# SPDX-License-Identifier: BSD-2-Clause
"""One client request of thousands of subrequests: each costs the same, however many went before."""
import re
import subprocess

import pytest

from lib.tools import Process

SLICES = 4000
SIZE = 2048


@pytest.fixture
def slices(site, make_nginx, tmp_path, canary, wait_for):
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
        """, outside=f"upstream back {{ server 127.0.0.1:{back.port}; keepalive 4; keepalive_requests 100000; }} access_log off;", main="master_process off;")
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={site.nginx.dir}/counted"]
    site.nginx.process = Process([*valgrind, *site.nginx.command()], site.nginx.env, site.nginx.dir / "output.log", site.nginx.dir)
    wait_for(lambda: site.get("/ready").status == 404, 60)
    site.got = lambda: (tmp_path / "www/got.txt").read_text().split()
    site.value = value
    return site


def control(site, *words):
    subprocess.run(["callgrind_control", *words, str(site.nginx.process.pid)], env=site.nginx.env, check=True, capture_output=True, timeout=60)


def count(site, path):
    """Instructions of one download, in all functions."""
    control(site, "--zero")
    answer = site.get(path, timeout=240)
    assert answer.status == 200 and len(answer.body) == SLICES * SIZE
    before = set(site.nginx.dir.glob("counted.*"))
    control(site, "--dump")
    made, = set(site.nginx.dir.glob("counted.*")) - before
    return int(re.search(r"^(?:summary|totals): (\d+)", made.read_text(errors="replace"), re.M)[1])


@pytest.mark.plain("callgrind counts the code that a sanitizer adds")
def test_four_thousand_slices(slices):
    """The kernel's share, most of the CPU, is not counted: `auto/bench nginx` has the ratio of CPU, of which 1.3 is allowed."""
    paths = {"literal": "/literal/file", "secret": "/secret/file", "dynamic": "/dynamic/file?n=stripe"}
    counted = {name: count(slices, path) for name, path in paths.items()}
    assert slices.got().count(slices.value) == 2 * SLICES
    assert counted["secret"] <= 1.3 * counted["literal"] and counted["dynamic"] <= 1.9 * counted["literal"], counted

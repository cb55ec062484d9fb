# SPDX-License-Identifier: BSD-2-Clause
"""How many instructions a secret takes in a request, counted by callgrind: from the end of the client's headers until the request to the
upstream has been made. What is wiped at the end of the request is not in it, because valgrind counts a long wipe by bytes."""
import re
import subprocess

import pytest

from lib.tools import Process

TIMES = 50
MORE = 10   # secrets in one request


def control(site, *words):
    subprocess.run(["callgrind_control", *words, str(site.nginx.process.pid)], env=site.nginx.env, check=True, capture_output=True, timeout=60)


def count(site, path):
    """Instructions of one request, after some that are not counted."""
    assert [site.get(path).status for _ in range(5)] == 5 * [200]
    control(site, "--zero")
    assert {site.get(path).status for _ in range(TIMES)} == {200}
    before = set(site.nginx.dir.glob("counted.*"))
    control(site, "--dump")
    made, = set(site.nginx.dir.glob("counted.*")) - before
    return int(re.search(r"^(?:summary|totals): (\d+)", made.read_text(errors="replace"), re.M)[1]) / TIMES


@pytest.mark.plain("callgrind and AddressSanitizer exclude each other")
def test_each_of_ten_secrets(site, canary, wait_for):
    value, numbers = canary("counted"), range(MORE)
    for n in numbers:
        site.home.set(f"api-keys/key{n}", value)
    literals = " ".join(f'proxy_set_header X-Key-{n} "{len(value) * "x"}";' for n in numbers)
    secrets = " ".join(f"secret_get $key{n} api-keys/key{n}; proxy_set_header X-Key-{n} $key{n};" for n in numbers)
    site.configure(f"location = /literals {{ {literals} @PROXY@ }} location = /secrets {{ {secrets} @PROXY@ }}", main="master_process off;")
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={site.nginx.dir}/counted", "--toggle-collect=ngx_http_process_request"]
    site.nginx.process = Process([*valgrind, *site.nginx.command()], site.nginx.env, site.nginx.dir / "output.log", site.nginx.dir)
    wait_for(lambda: site.get("/literals").status == 200, 60)
    each = (count(site, "/secrets") - count(site, "/literals")) / MORE
    assert site.upstream.last.headers["X-Key-9"] == len(value) * "x"
    assert 2000 < each <= 3150, each

# SPDX-License-Identifier: BSD-2-Clause
"""What a worker process records: in a ring, and soon a line of the trail."""
import http.client
import json
import os
import signal

import pytest

from lib.tools import wait_for

SERVED = "secret_get $key api-keys/stripe; proxy_set_header X-Key $key;"


def reads(site):
    return sum(line.get("count", 1) for line in site.records(action="read", status="success"))


def test_a_killed_worker_loses_and_doubles_nothing(site, canary):
    site.home.set("api-keys/stripe", canary("killed"))
    site.serve(SERVED)
    served = 0
    for _ in range(4):
        for _ in range(25):
            assert site.get().status == 200
            served += 1
        before = site.nginx.worker_pids()
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: site.nginx.worker_pids() and site.nginx.worker_pids() != before)
    wait_for(lambda: site.get().status == 200)
    assert reads(site) == served + 1
    site.nginx.stop()
    assert not list((site.home.audit / "nginx/rings").iterdir())
    site.home.run("audit", "verify")


def test_an_idle_worker_seals_its_last_reads(site, canary):
    site.home.set("api-keys/stripe", canary("idle"))
    site.serve(SERVED)
    assert site.get().status == 200
    log = site.home.audit / "nginx/log"
    wait_for(lambda: log.exists() and "seal" in json.loads(log.read_text().splitlines()[-1]), timeout=20)
    assert reads(site) == 1


def test_reads_of_one_window_are_one_line(site, canary):
    site.home.set("api-keys/stripe", canary("window"))
    site.home.write_config(site.home.read_config().replace("audit:\n", "audit:\n  reads: 10m\n"))
    site.serve(SERVED)
    for _ in range(40):
        assert site.get().status == 200
    site.nginx.stop()
    # a read before the worker's thread has started is a line of its own
    *early, line = site.records(action="read", status="success")
    assert len(early) <= 1 and len(early) + line["count"] == 40
    assert "peer" not in line and "request" not in line


def test_a_log_that_cannot_be_written_refuses(site, canary):
    """When the thread notices, not before; and until it can."""
    site.home.set("api-keys/stripe", canary("gone"))
    site.serve(SERVED)
    assert site.get().status == 200
    assert reads(site) == 1
    log, aside = site.home.audit / "nginx/log", site.home.audit / "aside"
    log.rename(aside)
    log.parent.chmod(0o500)
    wait_for(lambda: site.get().status == 503, timeout=20)
    assert "nginx/log: Permission denied" in site.nginx.error_log()
    log.parent.chmod(0o700)
    aside.rename(log)
    wait_for(lambda: site.get().status == 200, timeout=20)
    site.home.records("nginx")
    site.home.run("audit", "verify")


def test_a_log_that_is_removed_is_said_and_stops_nobody(site, canary):
    site.home.set("api-keys/stripe", canary("gone"))
    site.serve(SERVED)
    assert site.get().status == 200
    assert reads(site) == 1
    (site.home.audit / "nginx/log").unlink()
    wait_for(lambda: "nginx/log: the log that was being written is gone" in site.nginx.error_log(), timeout=20)
    assert site.get().status == 200
    site.nginx.stop()
    gap, *_ = site.records(action="gap")
    assert (gap["reason"], gap["severity"], gap["from"]) == ("gone", "critical", 0)
    assert site.home.run("audit", "verify", check=False).returncode == 65


@pytest.mark.parametrize("computed", [True, False])
def test_a_record_can_be_joined_with_the_access_log(site, canary, tmp_path, computed):
    """F12: requests of one connection have ids of their own, and none comes again after a restart."""
    site.home.add("audit", "reads: 0s")
    site.home.set("api-keys/stripe", canary("join"))
    log = "$request_id" if computed else "$connection:$connection_requests:$pid"
    site.configure(f"location / {{ {SERVED} access_log {tmp_path}/ids.txt ids; @PROXY@ }}",
                   outside=f"log_format ids '{log}';")
    for _ in range(2):
        site.nginx.start()
        connection = http.client.HTTPConnection("127.0.0.1", site.nginx.port)
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"ok"
        connection.close()
        site.nginx.stop()
    logged = (tmp_path / "ids.txt").read_text().split()
    recorded = [line["request"] for line in site.records(action="read")]
    assert len(set(recorded)) == len(set(logged)) == 6
    if not computed:  # what follows is the time when the process began to read
        recorded = [identity.rpartition(":")[0] for identity in recorded]
    assert sorted(recorded) == sorted(logged)

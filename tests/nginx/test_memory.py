# SPDX-License-Identifier: BSD-2-Clause
"""Locks are not inherited by fork(2): the master forks itself to become a daemon, and then its workers. Each locks its own memory."""
import base64
import os
import pathlib
import re
import signal
import subprocess

import pytest

from lib import memory
from lib.read_format import read_key_file
from lib.tools import children, wait_for

HEADER = "proxy_set_header X-Key $key;"

pytestmark = pytest.mark.plain("under a sanitizer mlock(2) does nothing")


@pytest.fixture
def daemon(site, canary, servers):
    """nginx as Debian starts it: in the background. The pid of its master."""
    value = canary("memory")
    site.home.set("api-keys/stripe", value)
    site.location(f"secret_get $key api-keys/stripe; {HEADER}", workers=2)
    conf = site.nginx.conf
    conf.write_text(conf.read_text().replace("daemon off;", "daemon on;"))

    def start(limit=None):
        argv = site.nginx.command()
        if limit is not None:
            argv = ["prlimit", f"--memlock={limit}:{limit}", *argv]
        subprocess.run(argv, env=site.nginx.env, check=True, timeout=30, capture_output=True)
        master = wait_for(lambda: int((site.nginx.dir / "nginx.pid").read_text()))
        servers.callback(stop, master)
        wait_for(lambda: len(children(master)) == 2)
        return master
    start.value = value.encode()
    return start


def stop(master):
    os.kill(master, signal.SIGTERM)
    wait_for(lambda: not children(master) and is_gone(master))


def is_gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"  # it has no parent here that waits for it
    except FileNotFoundError:
        return True


def fill_workers(site, master):
    """Each worker has served the secret."""
    served = set()

    def asked():
        assert site.get("/").status == 200
        served.update(pid for pid in children(master) if site.value in memory.secret_bytes(pid))
        return served >= set(children(master))
    wait_for(asked, what="each worker serves")


@pytest.mark.parametrize("setting", ["", "secret_memory: require\n"])
def test_master_and_workers_lock_values_and_keys(site, daemon, setting):
    """What `require` promises holds in the processes that a fork made, too."""
    site.home.write_config(site.home.read_config() + setting)
    site.value = daemon.value
    master = daemon()
    key = read_key_file(site.home.key)[1][1]
    for reload in (False, True):
        if reload:
            before = children(master)
            os.kill(master, signal.SIGHUP)
            wait_for(lambda: len(children(master)) == 2 and not set(children(master)) & set(before))
        fill_workers(site, master)
        memory.assert_locked(master, key)
        for worker in children(master):
            memory.assert_locked(worker, key, daemon.value)
        assert not memory.elsewhere(master, key) and not memory.elsewhere(master, base64.b64encode(key))
    assert "could not be locked" not in site.nginx.error_log()


def test_a_worker_that_cannot_lock_warns_once(site, daemon):
    site.value = daemon.value
    master = daemon(limit=4096)
    for _ in range(5):
        assert site.get("/").status == 200
    warnings = re.findall(r"\[warn\] (\d+)#.*could not be locked.*the limit is 4096 bytes \(raise RLIMIT_MEMLOCK: LimitMEMLOCK=", site.nginx.error_log())
    assert sorted(set(map(int, warnings)) & set(children(master))) == sorted(children(master))
    assert len(warnings) == len(set(warnings))  # one a process; the one that checks the configuration has its own


def test_a_worker_that_must_lock_and_cannot_serves_nothing(site, daemon):
    """The configuration was checked with a limit that suffices; a worker that comes later has another."""
    site.home.write_config(site.home.read_config() + "secret_memory: require\n")
    site.value = daemon.value
    master = daemon()
    fill_workers(site, master)
    subprocess.run(["prlimit", f"--pid={master}", "--memlock=4096:4096"], check=True)
    before = children(master)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: len(children(master)) == 2 and not set(children(master)) & set(before))
    assert site.get("/").status == 503
    assert re.search(r"no secret can be served: .*secret_memory is `require`.*RLIMIT_MEMLOCK.*LimitMEMLOCK=", site.nginx.error_log())


def test_a_limit_that_is_too_small_is_found_by_the_check(site, daemon):
    site.home.write_config(site.home.read_config() + "secret_memory: require\n")
    argv = ["prlimit", "--memlock=4096:4096", *site.nginx.command("-t")]
    result = subprocess.run(argv, env=site.nginx.env, capture_output=True, text=True, timeout=30)
    assert result.returncode == 1 and "secret_memory is `require`" in result.stderr and "LimitMEMLOCK" in result.stderr

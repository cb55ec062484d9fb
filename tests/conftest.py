# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of all suites. Each test gets fresh folders in tmp_path; servers that a test starts are stopped after it, however
it ended, and their logs stay in tmp_path. Everything runs as the tester, who must not be root (PostgreSQL refuses, and
root may read every file, so the tests of permissions would prove nothing).

    kt         the Stage: paths of the programs under test (lib/stage.py)
    home       a fresh keyturn home, environment "development" (lib/home.py); make_home(environment) makes more
    canary     canary(tag): a value that is found again by the search over everything the suites produced
    nginx      an Nginx over `home`, not yet configured and started; make_nginx(home=None) makes others (lib/nginx.py)
    redis      a Redis over `home`, not yet started; make_redis(home=None) makes others, without home without key (lib/redis.py)
    postgres   a Postgres over `home`, not yet started; make_postgres(home=None) (lib/postgres.py)
    later      later(days, *arguments): the command of `home`, run so many days from now; its status is not checked
    upstream   an Upstream that runs (lib/upstream.py); make_upstream(respond=None) makes more
    wait_for   wait_for(condition, timeout=10); free_port() (lib/tools.py; may be imported from there too)
"""
import contextlib
import os
import pathlib
import secrets
import shutil
import subprocess
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from lib import tools  # noqa: E402
from lib.home import Home  # noqa: E402
from lib.nginx import Nginx  # noqa: E402
from lib.stage import Stage  # noqa: E402
from lib.upstream import Upstream  # noqa: E402


def pytest_configure(config):
    if os.geteuid() == 0 and not os.path.exists("/etc/keyturn-test-machine"):  # system/machine has made it
        raise pytest.UsageError("not as root: auto/check runs the tests as the user postgres")
    os.environ.setdefault("KEYTURN_CANARY", "CANARY" + secrets.token_hex(8))


@pytest.fixture(scope="session")
def kt():
    return Stage()


@pytest.fixture(scope="session")
def wait_for():
    return tools.wait_for


@pytest.fixture(scope="session")
def free_port():
    return tools.free_port


@pytest.fixture(scope="session")
def canary():
    """canary("redis-set") is "CANARY...-redis-set-1f...": letters, digits, dashes; each call another."""
    def make(tag="value"):
        return f"{os.environ['KEYTURN_CANARY']}-{tag}-{secrets.token_hex(6)}"
    return make


@pytest.fixture
def sockets():
    """A folder with a short path for unix sockets."""
    with tools.short_dir() as path:
        yield path


@pytest.fixture
def make_home(kt, tmp_path):
    def make(environment="development", name=None):
        return Home.create(kt, tmp_path / (name or f"home-{environment}"), environment)
    return make


@pytest.fixture
def home(make_home):
    return make_home(name="home")


@pytest.fixture
def servers():
    """Stops what was started: an ExitStack."""
    with contextlib.ExitStack() as stack:
        yield stack


def numbered(folder, name):
    """folder/name, and if that is taken folder/name-2 ..."""
    path, n = folder / name, 1
    while path.exists():
        n += 1
        path = folder / f"{name}-{n}"
    return path


@pytest.fixture
def make_upstream(servers):
    def make(respond=None):
        upstream = Upstream(respond)
        servers.callback(upstream.close)
        return upstream
    return make


@pytest.fixture
def upstream(make_upstream):
    return make_upstream()


@pytest.fixture
def make_nginx(kt, tmp_path, servers):
    def make(home=None):
        server = Nginx(kt, numbered(tmp_path, "nginx"), home)
        servers.callback(server.stop)
        return server
    return make


@pytest.fixture
def nginx(make_nginx, home):
    return make_nginx(home)


@pytest.fixture
def make_redis(kt, tmp_path, sockets, servers):
    from lib.redis import Redis

    def make(home=None):
        server = Redis(kt, numbered(tmp_path, "redis"), sockets, home)
        servers.callback(server.stop)
        return server
    return make


@pytest.fixture
def redis(make_redis, home):
    return make_redis(home)


@pytest.fixture(scope="session")
def cluster(kt, tmp_path_factory):
    """The template of all clusters."""
    from lib.postgres import initdb

    folder = tmp_path_factory.mktemp("cluster") / "data"
    yield initdb(kt, folder, kt.environment())
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_postgres(kt, tmp_path, sockets, servers, cluster):
    from lib.postgres import Postgres

    def make(home=None):
        server = Postgres(kt, numbered(tmp_path, "postgres"), sockets, cluster, home)
        servers.callback(server.stop)
        return server
    return make


@pytest.fixture
def postgres(make_postgres, home):
    return make_postgres(home)


CLOCK = """#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, now);
    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += DAYS * 86400L;
    return rc;
}
"""


@pytest.fixture
def later(home, tmp_path):
    """later(days, *arguments): the command, run so many days from now."""
    def run(days, *arguments):
        (tmp_path / "clock.c").write_text(CLOCK)
        subprocess.run(["gcc", "-shared", "-fPIC", f"-DDAYS={days}", "-o", tmp_path / "clock.so", tmp_path / "clock.c"], check=True)
        return home.run(*arguments, env={**home.env, "LD_PRELOAD": str(tmp_path / "clock.so")}, check=False)
    return run

# SPDX-License-Identifier: BSD-2-Clause
"""README's blocks for the servers of a machine, as they stand, each twice, with Debian's own configurations and service scripts.
Nothing else is granted; and in that very set-up servers are killed, logs rotated, policies edited, and the libraries replaced."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import sqlite3
import threading
import time

import pytest

from lib.machine import CONFIG, LOG, STORE, owner
from lib.readme import PG, PG_LOG, README, Setup, prepare, readme_blocks, take_away
from lib.tools import wait_for


@pytest.fixture(scope="module")
def readme(kt, users):
    setup = Setup(kt)
    setup.machine.take_away()
    prepare(kt)
    try:
        for _ in range(2):
            setup.output.append("".join(setup.run(block).stdout for block in readme_blocks()))
        yield setup
    finally:
        take_away(setup.machine)


def test_the_blocks_work_and_work_again(readme):
    assert len(readme_blocks()) == 5 and readme.kt.stage.exists()
    for number, wanted in enumerate((r"^Bearer sk-live-51H", r"^Bearer sk-live-52J", r"^re_123", r"^PONG$", r"rotate_secret", r"^ app$", r"nginx may open")):
        for output in readme.output:
            assert re.search(wanted, output, re.M), (number, wanted, output)
    assert readme.works()
    assert all((LOG / stream / "log").stat().st_size > 0 for stream in ("nginx", "redis", "postgresql"))


def test_check_tells_what_it_read(readme):
    rows, status = readme.machine.check()
    assert status == 0
    assert "read a secret of api-keys,database, nothing is stored of tls" in rows["nginx"][0]["detail"]
    assert "read a secret of database" in rows["postgresql"][0]["detail"]
    assert "stored in Redis: keyturn list, verify and backup do not see them" in rows["redis"][-1]["detail"]
    assert "0 due" in rows["rotations"][0]["detail"]


def test_redis_keeps_what_it_acknowledged(readme):
    readme.run("printf %s kept | redis-cli -x SECRET.SET api-keys/acked; sleep 1.2")  # appendfsync everysec
    [pid] = readme.run("pidof redis-server").stdout.split()
    readme.run(f"kill -9 {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.05; done; service redis-server restart; "
               "timeout 9 sh -c 'until redis-cli -e PING; do sleep 0.1; done'")
    assert readme.run("redis-cli SECRET.GET api-keys/acked").stdout.strip() == "kept"


# killed in the midst of a rotation

STOPPED = "ps -o pid=,stat= -C postgres | awk '$2 ~ /^T/ {print $1}'"


@contextlib.contextmanager
def interrupted_rotation(readme):
    """The pid of a backend that stands between the two commits: the role has the new password, the store gives the old one."""
    rotation = readme.session()
    try:
        print("SET keyturn.debug_stop = 'before_promote'; SELECT rotate_secret('database/primary');", file=rotation.stdin, flush=True)
        wait_for(lambda: readme.run(STOPPED).stdout, 30, what="the rotation between the commits")
        assert not readme.can_login()
        yield int(readme.run(STOPPED).stdout)
    finally:
        rotation.kill()


def test_the_store_is_locked_at_the_commit(readme):
    """F1, F2: the role was locked out until a worker that had no rule; now nothing is committed."""
    with contextlib.closing(sqlite3.connect(STORE, isolation_level=None, timeout=10)) as store:
        gate, rotation = readme.session(), readme.session()
        print("SELECT 'shut' FROM pg_advisory_lock(8);", file=gate.stdin, flush=True)
        assert gate.stdout.readline() == "shut\n"
        print("SET lock_timeout = '5s'; SELECT rotate_secret('database/primary'), pg_advisory_lock(8);", file=rotation.stdin, flush=True)
        wait_for(lambda: readme.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").stdout == "1\n", 15,
                 what="the rotation at the gate")
        store.execute("BEGIN IMMEDIATE")
        gate.communicate("\\q\n", timeout=30)
        output, _ = rotation.communicate(timeout=60)
        assert "could not be published: tryagain" in output and readme.can_login()
    wait_for(lambda: not pending(readme), 10, what="the worker")
    assert readme.works()


def test_the_postmaster_is_killed_in_a_rotation(readme):
    with interrupted_rotation(readme) as backend:
        pid = int(pathlib.Path("/var/lib/postgresql/15/main/postmaster.pid").read_text().split()[0])
        readme.run(f"kill -9 {pid} {backend}; for i in $(seq 100); do pgrep -u postgres postgres >/dev/null || break; sleep 0.1; done")
    readme.run("service postgresql start; timeout 30 sh -c 'until su - postgres -c \"psql -Atc SELECT\" >/dev/null 2>&1; do sleep 0.1; done'")
    wait_for(readme.can_login, 10, what="the worker's repair")
    assert readme.works() and "the policy does not let the worker" not in PG_LOG.read_text()


def pending(readme):
    return "pending" in [version["state"] for version in json.loads(readme.run("keyturn --json versions database/primary").stdout)["versions"]]


@pytest.mark.parametrize("point", ["after_pending", "after_alter", "before_prepare", "after_prepare", "before_promote", "after_promote"])
def test_a_backend_is_killed_in_a_rotation(readme, point):
    """F1: whatever the point, role and secret agree within 10 s, by the worker and its line of init alone."""
    before = PG_LOG.read_text().count("terminated by signal 9")
    readme.psql(f"SET keyturn.debug_stop = '{point}:kill'; SELECT rotate_secret('database/primary')", check=False)
    died = time.monotonic()
    wait_for(lambda: PG_LOG.read_text().count("terminated by signal 9") > before, 5, what="the kill")
    wait_for(lambda: readme.can_login() and not pending(readme), 10, what="the worker's repair")
    assert time.monotonic() - died < 10
    assert readme.psql("SELECT state FROM keyturn.rotations WHERE secret = 'database/primary'").stdout == "in step\n"
    assert "the policy" not in PG_LOG.read_text()


def test_the_worker_is_killed(readme):
    [pid] = readme.psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'keyturn worker'").stdout.split()
    readme.run(f"kill -9 {pid}")
    wait_for(lambda: readme.psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'keyturn worker'", check=False).stdout.strip() not in ("", pid), 10)
    assert readme.works()


def test_monitoring(readme):
    """By a member of pg_monitor and the line of init, and without a word about secrets of other types."""
    readme.psql("CREATE ROLE monitor IN ROLE pg_monitor")
    result = readme.psql("SET ROLE monitor; SELECT secret, state, can_login FROM keyturn.rotations")
    assert result.stdout == "database/primary|in step|t\n" and result.stderr == ""
    assert readme.psql("SET ROLE monitor; SELECT get_secret('database/primary')", check=False).returncode != 0


def test_what_is_due_is_rotated(readme):
    """By the worker, with its setting and nothing more."""
    readme.psql("ALTER SYSTEM SET keyturn.rotate_due = on; ALTER SYSTEM SET keyturn.reconcile_interval = '1s'; SELECT pg_reload_conf()")
    readme.run("keyturn meta database/primary rotation=2s")
    history = "SELECT count(*) FROM keyturn.rotation_history WHERE session_role = 'postgres' AND at > now() - interval '30 s' AND client = 'local'"
    before = int(readme.psql(history).stdout)
    wait_for(lambda: int(readme.psql(history).stdout) > before, 15, what="a due rotation")
    readme.psql("ALTER SYSTEM RESET keyturn.rotate_due; ALTER SYSTEM RESET keyturn.reconcile_interval; SELECT pg_reload_conf()")
    readme.run("keyturn meta database/primary --unset rotation")
    wait_for(lambda: not pending(readme) and readme.works(), 10)


def test_without_the_workers_line_check_fails(readme):
    text = CONFIG.read_text()
    CONFIG.write_text("".join(line for line in text.splitlines(True) if "postgresql:worker" not in line))
    [(what, detail)] = readme.machine.wrong()
    assert what == "postgresql" and "does not let postgresql:worker list and rotate database/*" in detail
    CONFIG.write_text(text)
    assert readme.machine.wrong() == []


@pytest.mark.parametrize("service", ["nginx", "redis-server"])
def test_a_server_is_killed_while_a_secret_is_rotated(readme, service):
    running = True

    def rotate():
        while running:
            readme.run("printf %s sk-live-53K-$RANDOM$RANDOM | keyturn set api-keys/stripe; redis-cli SECRET.INFO api-keys/resend || true", check=False)
    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        # more than once: a worker that the master makes at the same moment would keep the ports
        readme.run(f"sleep 0.3; while pids=$(pidof {service}); do kill -9 $pids; sleep 0.1; done; service {service} restart || "
                   "{ tail -n 5 /var/log/nginx/error.log; pgrep -a nginx; exit 1; }; "
                   "timeout 9 sh -c 'until redis-cli -e PING; do sleep 0.1; done'")
    finally:
        running = False
        thread.join(60)
    wait_for(lambda: readme.nginx()[0] == 200, 15)
    assert readme.nginx()[1] == "Bearer " + readme.run("keyturn get api-keys/stripe").stdout and readme.works()


# what operators do

def test_a_policy_is_edited(readme):
    """Refused, named, and allowed again, with a reload of nginx."""
    text = CONFIG.read_text()
    CONFIG.write_text(text.replace('names: ["api-keys/*", "tls/*", "database/*"]', 'names: ["tls/*"]'))
    assert readme.nginx()[0] == 200  # the running server keeps the policy that it loaded
    result = readme.run("nginx -t", check=False)
    assert result.returncode != 0 and "api-keys/stripe" in result.stderr and "nginx:shop" in result.stderr
    CONFIG.write_text(text)
    readme.run("nginx -t && nginx -s reload")
    assert readme.works()


def test_a_secret_is_set_twice_and_a_name_mistyped(readme):
    readme.run("for i in 1 2; do printf %s sk-live-54L-Same | keyturn set api-keys/stripe; done")
    assert readme.nginx() == (200, "Bearer sk-live-54L-Same")
    assert readme.run("keyturn get api-keys/strip", check=False).returncode == 66
    assert readme.nginx() == (200, "Bearer sk-live-54L-Same")


HABITS = {
    "rename": "mv log log.1", "create": "mv log log.1 && install -m 640 /dev/null log && chown --reference=log.1 log",
    "compress": "mv log log.1 && gzip log.1", "copytruncate": "cp -p log log.1 && : > log"}


@pytest.mark.parametrize("habit", HABITS)
def test_logs_are_rotated_by_other_means(readme, habit):
    """As an ordinary stanza of logrotate does; between two habits the earlier log is put away."""
    for folder in LOG.iterdir():
        if (folder / "log").exists():
            readme.run(f"cd {folder} && rm -f log.1 log.1.gz && {HABITS[habit]}")
    assert readme.works()
    readme.run("printf %s sk-live-54L-Same | keyturn set api-keys/stripe")
    assert readme.psql("SELECT rotate_secret('database/primary')").stdout.strip().isdigit()
    assert readme.works()


def test_the_store_is_backed_up_and_restored_in_place(readme, tmp_path):
    result = readme.run(f"keyturn backup {tmp_path}/backup.kt")
    readme.run(f"printf %s sk-live-55M-Later | keyturn set api-keys/stripe; keyturn restore --going-back {tmp_path}/backup.kt")
    assert readme.nginx() == (200, "Bearer sk-live-54L-Same") and readme.works()
    assert owner(STORE) == ("0664", "root", "keyturn-write") and result.returncode == 0


# an upgrade

def test_installed_over_running_servers(readme, kt):
    """0 requests fail; check names the servers that still have the old library; their restart ends it."""
    answers, running = [], True

    def ask():
        while running:
            answers.append(readme.nginx()[0])
            answers.append(200 if readme.run("redis-cli SECRET.GET api-keys/resend").stdout.strip() else 0)
    thread = threading.Thread(target=ask)
    thread.start()
    libraries = [path for path in kt.stage.glob("usr/**/*.so*") if path.is_file() and not path.is_symlink()]
    for path in [*libraries, *pathlib.Path(f"/usr/lib/{PG}/lib").glob("keyturn*.so")]:
        shutil.copy2(path, f"{path}.install")
        os.replace(f"{path}.install", path)
    time.sleep(1)
    running = False
    thread.join(30)
    assert len(answers) > 5 and set(answers) == {200}
    wrong = dict(readme.machine.wrong())
    assert set(wrong) == {"nginx", "redis", "postgresql"}, wrong
    [pid] = readme.run("pidof redis-server").stdout.split()
    assert f"redis-server (process {pid}) still runs" in wrong["redis"] and wrong["redis"].endswith("`service redis-server restart`")
    readme.run("nginx -s reload; sleep 0.5")
    assert "nginx" in dict(readme.machine.wrong())  # a reload is not enough
    readme.run("service nginx restart; service redis-server restart; service postgresql restart; "
               "timeout 9 sh -c 'until redis-cli -e PING; do sleep 0.1; done'")
    wait_for(readme.can_login, 30)
    assert readme.works()


# and taken away: the last test

def test_uninstalled_by_the_page(readme):
    page = (README.parent / "docs/upgrade.md").read_text()
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", page, re.M | re.S):
        readme.run(block)
    readme.run("timeout 9 sh -c 'until redis-cli -e PING; do sleep 0.1; done'; "
               "timeout 30 sh -c 'until su - postgres -c \"psql -Atc SELECT\" >/dev/null 2>&1; do sleep 0.1; done'")
    assert "unknown command" in readme.run("redis-cli SECRET.LIST").stdout and readme.run("redis-cli DBSIZE").stdout.strip() == "0"
    assert readme.can_login()  # by the password that the store still has
    maps = readme.run("cat /proc/[0-9]*/maps 2>/dev/null | grep -c 'libkeyturn' || true").stdout.strip()
    assert maps == "0" and "nginx" in readme.run("pidof nginx && cat /proc/$(pidof -s nginx)/comm").stdout

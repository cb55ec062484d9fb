# SPDX-License-Identifier: BSD-2-Clause
"""Rotation outside PostgreSQL: commands as targets, what a kill leaves, many at once, schedules, notifications."""
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import random
import signal
import socket
import threading
import time

import pytest

DATABASE = {"host": "db.example", "user": "app", "password": "first"}

# A server of one password: a file. `busy` lets a step last until it is taken away.
SERVER = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$KEYTURN_STEP $KEYTURN_NAME $KEYTURN_VERSION" >> steps
new=$(cat)
while [ -e "busy.$KEYTURN_STEP" ]; do sleep 0.02; done
case $KEYTURN_STEP in
set)  printf %s "$new" > server ;;
test) [ "$new" = "$(cat server)" ] || exit 65 ;;
esac
"""


class Server:
    def __init__(self, folder):
        self.folder, self.command, self.file = folder, folder / "target", folder / "server"
        self.be(SERVER)
        self.file.write_text("first")

    def be(self, script):
        self.command.write_text(script)
        self.command.chmod(0o700)

    @property
    def password(self):
        return self.file.read_bytes()

    @property
    def steps(self):
        path = self.folder / "steps"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def server(home, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir(mode=0o700)
    server = Server(folder)
    home.write_config(home.read_config() + f'targets:\n  "database/*": {{exec: "{server.command}", timeout: 20s}}\n')
    home.set("database/primary", DATABASE)
    return server


def password(home):
    return home.get("database/primary#password")


# ---- commands ----

def test_the_target_and_the_store_agree(home, server):
    assert home.rotate("database/primary") == 2
    assert server.steps == ["set", "test"]
    assert password(home) == server.password != b"first"
    assert home.get("database/primary#password@previous") == b"first"
    made = home.versions("database/primary")
    assert [(v["by"], v["target"]) for v in made] == [("rotation", f"exec:{server.command}"), ("write", None)]


def test_rejected(home, server):
    server.be("#!/bin/sh\nexit 65\n")
    result = home.run("rotate", "database/primary", check=False)
    assert result.returncode == 73 and b"rejected in step set" in result.stderr
    assert password(home) == b"first" and home.info("database/primary")["pending"] is None


def test_nobody_knows_and_the_next_one_finds_out(home, server):
    server.be("#!/bin/sh\nexit 1\n")
    result = home.run("rotate", "database/primary", check=False)
    assert result.returncode == 69 and b"it may have worked" in result.stderr and b"rotate again" in result.stderr
    assert home.info("database/primary")["pending"] == 2
    server.be(SERVER)
    assert home.rotate("database/primary") == 2
    assert server.steps == ["test", "set", "test"] and password(home) == server.password


def test_nothing_of_it_is_shown(home, server):
    server.be("#!/bin/sh\ncat; cat >&2; new=$(cat); echo $new; exit 1\n")
    result = home.run("rotate", "database/primary", check=False)
    pending = home.get("database/primary#password@pending")
    assert pending not in result.stdout + result.stderr
    assert all(pending not in path.read_bytes() for path in home.audit.glob("*/log"))


def test_a_command_that_others_may_write(home, server):
    server.command.chmod(0o722)
    result = home.run("rotate", "database/primary", check=False)
    assert result.returncode == 77 and b"writable by other users" in result.stderr
    assert password(home) == b"first" and home.info("database/primary")["pending"] is None
    result = home.run("check", check=False)
    assert result.returncode == 77 and b"writable by other users" in result.stdout


def test_check_names_the_commands(home, server):
    assert {"status": "success", "what": "target", "detail": str(server.command)} in home.json("check")["checks"]


def test_rolling_back_is_rotating_to_the_old_value(home, server):
    home.rotate("database/primary")
    refused = home.run("rollback", "database/primary", check=False)
    assert refused.returncode == 73 and b"`keyturn get 'database/primary#password@previous' | keyturn rotate database/primary --file -`" in refused.stderr
    home.run("rotate", "database/primary", "--file", "-", input=home.get("database/primary#password@previous"))
    assert password(home) == server.password == b"first"


def test_sigchld_may_be_ignored_by_who_starts_us(home, server):
    result = home.run("rotate", "database/primary", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert result.stdout == b"2\n"


# ---- crashes ----

@pytest.fixture
def stopping(home):
    """stopping(point): `keyturn rotate` that is killed at the point, or skips where the hooks are not compiled in."""
    def run(point):
        result = home.run("rotate", "database/primary", check=False, env={**home.env, "KEYTURN_DEBUG_STOP": f"{point}:kill"})
        if result.returncode == 0:
            pytest.skip("needs --enable-debug-hooks")
        assert result.returncode == -signal.SIGKILL
    return run


POINTS = {
    # what the server has then, what is served, and what the next rotation does
    "after_create": (b"first", b"first", ["test", "set", "test"]),
    "before_set": (b"first", b"first", ["test", "set", "test"]),
    "after_set": (None, b"first", ["set", "test"]),
    "after_test": (None, b"first", ["set", "test", "test"]),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed(home, server, stopping, point):
    has, served, steps = POINTS[point]
    stopping(point)
    pending = home.get("database/primary#password@pending")
    assert server.password == (has or pending) and password(home) == served
    assert home.run("set", "database/primary", input=b"x", check=False).returncode == 73
    assert home.rotate("database/primary") == 2
    assert server.steps == steps
    assert password(home) == server.password == pending
    assert home.rotate("database/primary") == 3 and password(home) == server.password
    assert b"MALFORMED" not in home.run("verify").stdout


def test_killed_after_the_finish(home, server, stopping):
    stopping("after_finish")
    assert password(home) == server.password != b"first"
    assert home.info("database/primary")["version"] == 2 and home.info("database/primary")["pending"] is None


@pytest.mark.parametrize("step", ["set", "test"])
def test_killed_while_the_command_runs(home, server, step, wait_for):
    (server.folder / f"busy.{step}").touch()
    process = home.popen("rotate", "database/primary")
    wait_for(lambda: step in server.steps)
    process.kill()
    process.wait()
    (server.folder / f"busy.{step}").unlink()
    assert password(home) == b"first"
    assert home.rotate("database/primary") == 2
    assert password(home) == server.password == home.get("database/primary#password@2")


def test_killed_at_random_times(home, server):
    """What the server has is the current or the pending value, whenever it ends; the next rotation brings both together."""
    for _ in range(25):
        process = home.popen("rotate", "database/primary", stdout=-3, stderr=-3)
        time.sleep(random.uniform(0, 0.08))
        process.kill()
        process.wait()
        pending = home.info("database/primary")["pending"]
        known = {password(home)} | ({home.get("database/primary#password@pending")} if pending else set())
        assert server.password in known | {b""}  # b"": its command, which goes on, is just writing
        home.rotate("database/primary")
        assert password(home) == server.password and home.info("database/primary")["pending"] is None
    assert home.run("verify").returncode == 0


def test_two_at_once_are_one_winner_and_a_conflict(home, server, wait_for):
    (server.folder / "busy.set").touch()
    first = home.popen("rotate", "database/primary")
    wait_for(lambda: "set" in server.steps)
    second = home.run("rotate", "database/primary", check=False)
    assert second.returncode == 73 and f"process {first.pid} is rotating it right now".encode() in second.stderr
    (server.folder / "busy.set").unlink()
    assert first.wait() == 0
    assert server.steps == ["set", "test"] and password(home) == server.password
    assert home.info("database/primary")["version"] == 2


def test_eight_at_once(home, server):
    """The losers say CONFLICT; the server and the store agree at the end, and no version is pending."""
    processes = [home.popen("rotate", "database/primary", stdout=-3, stderr=-3) for _ in range(8)]
    ends = sorted({process.wait() for process in processes})
    assert ends in ([0], [0, 73]), ends
    assert password(home) == server.password != b"first"
    assert home.info("database/primary")["pending"] is None


# ---- many ----

@pytest.fixture
def many(home):
    home.set("api-keys/a", {"api_key": "old-a"}, "--meta", "origin=generated")
    home.run("generate", "api-keys/b")
    home.set("plain", b"old-plain", "--meta", "origin=generated")
    home.set("tls/www", b"-----BEGIN CERTIFICATE-----\n")
    home.set("db/untold", DATABASE)
    home.set("gone", b"x")
    home.delete("gone")


def results(answer):
    return {row["name"]: row["result"] for row in answer["secrets"]}


def test_all(home, many):
    answer = home.json("rotate", "--all")
    assert answer["status"] == "success" and answer["failed"] == 0 and answer["hidden"] == 0
    assert results(answer) == {"api-keys/a": "rotated", "api-keys/b": "rotated", "plain": "rotated", "tls/www": "skipped",
                               "db/untold": "skipped"}
    why = {row["name"]: row.get("error", "") for row in answer["secrets"]}
    assert "certificate" in why["tls/www"] and "--store-only" in why["db/untold"]
    assert home.get("api-keys/a#previous_key") == b"old-a" and home.get("plain") != b"old-plain"
    assert home.get("db/untold#password") == b"first"


def test_dry_run_changes_nothing(home, many):
    before = len(home.records())
    answer = home.json("rotate", "--all", "--dry-run")
    assert set(results(answer).values()) == {"planned", "skipped"}
    assert not [record for record in home.records()[before:] if str(record.get("action", "")).startswith("rotate")]
    text = home.run("rotate", "--all", "--dry-run")
    assert b"plain  would be rotated\n" in text.stdout and b"skipped: tls/www: " in text.stderr
    assert home.get("plain") == b"old-plain" and home.info("plain")["version"] == 1


def test_dry_run_of_one(home, many):
    assert home.run("rotate", "plain", "--dry-run").stdout == b"plain  would be rotated\n"
    assert home.run("rotate", "db/untold", "--dry-run", check=False).returncode == 73
    assert home.json("rotate", "plain", "--dry-run")["result"] == "planned" and home.info("plain")["version"] == 1


@pytest.mark.parametrize("kind,names", [("api-keys", {"api-keys/a", "api-keys/b"}), ("general", {"plain"}), ("api", set())])
def test_type(home, many, kind, names):
    text = home.run("rotate", "--type", kind, "--length", "20").stdout.decode()
    assert {line.split()[0] for line in text.splitlines()} == names
    if kind == "general":
        assert len(home.get("plain")) == 20


def test_a_failure_ends_nothing(home, many, server):
    server.be("#!/bin/sh\nexit 1\n")
    result = home.run("rotate", "--all", check=False)
    assert result.returncode == 73 and b"keyturn: database/primary: " in result.stderr
    assert b"plain  2\n" in result.stdout and b"api-keys/a  2\n" in result.stdout
    answer = home.json("rotate", "--all", check=False)
    assert answer["status"] == "conflict" and answer["failed"] == 1 and results(answer)["plain"] == "rotated"
    assert [row["status"] for row in answer["secrets"] if row["result"] == "failed"] == ["unavail"]


def test_only_what_one_may(home, many):
    home.deny("uid:*", ["rotate"], ["api-keys/b"])
    assert results(home.json("rotate", "--all"))["api-keys/b"] == "skipped"


@pytest.mark.parametrize("arguments,text", [
    ([], b"a NAME, --due, --type T or --all"),
    (["--all", "x"], b"leave out NAME"),
    (["--all", "--type", "x"], b"--all excludes"),
    (["--all", "--file", "-"], b"--file needs a NAME"),
    (["--all", "--store-only"], b"--store-only needs a NAME"),
    (["plain", "--length", "15"], b"16 to 1024"),
])
def test_refused(home, arguments, text):
    result = home.run("rotate", *arguments, check=False)
    assert result.returncode == 64 and text in result.stderr


# ---- schedules ----

def test_due(home):
    home.run("generate", "api-keys/soon", "--meta", "rotation=1s")
    home.set("api-keys/later", b"v", "--meta", "rotation=critical")
    home.set("api-keys/never", b"v")
    info = home.info("api-keys/later")
    assert info["due"] > info["rotated"] and home.info("api-keys/never")["due"] is None
    assert b"\ndue       20" in home.run("info", "api-keys/later").stdout
    time.sleep(2.1)
    assert results(home.json("rotate", "--due", "--dry-run")) == {"api-keys/soon": "planned"}
    assert results(home.json("rotate", "--due", "--type", "database")) == {}
    assert results(home.json("rotate", "--due")) == {"api-keys/soon": "rotated"}
    assert results(home.json("rotate", "--due")) == {}
    assert home.info("api-keys/soon")["metadata"] == {"rotation": "1s", "origin": "generated"}


def test_what_is_due_and_cannot_be_rotated_is_a_failure(home):
    home.set("database/x", DATABASE, "--meta", "rotation=1s")
    time.sleep(2.1)
    result = home.run("rotate", "--due", check=False)
    assert result.returncode == 73 and b"database/x" in result.stderr


def test_a_database_account_is_due_after_a_quarter(home, later):
    """By its shape, whatever it is called; PostgreSQL rotates it, so here it is not a failure."""
    home.set("general/account", DATABASE)
    home.set("general/key", b"v", "--meta", "origin=generated")
    info = home.info("general/account")
    due, rotated = (datetime.datetime.fromisoformat(info[key].replace("Z", "+00:00")) for key in ("due", "rotated"))
    assert due - rotated == datetime.timedelta(days=90) and home.info("general/key")["due"] is None
    assert home.run("rotate", "--due").stderr == b""
    result = later(91, "rotate", "--due")
    assert result.returncode == 0 and b"skipped: general/account: " in result.stderr and b"general/key" not in result.stderr
    home.run("meta", "general/account", "rotation=quarterly")
    assert later(91, "rotate", "--due").returncode == 73


def test_a_schedule_that_nobody_understands(home):
    result = home.run("set", "x", "--meta", "rotation=sometimes", input=b"v", check=False)
    assert result.returncode == 64 and b"`rotation`" in result.stderr
    assert home.list() == []


# ---- notifications ----

def test_notify(home, tmp_path):
    notified, command = tmp_path / "notified", tmp_path / "tell"
    command.write_text(f"#!/bin/sh\ncat >> {notified}\n")
    command.chmod(0o700)
    home.write_config(home.read_config() + f'targets:\n  "api-keys/*": {{notify: "{command}"}}\n')
    home.set("api-keys/a", b"old")
    home.rotate("api-keys/a")
    assert json.loads(notified.read_text()) == {"event": "rotated", "environment": "development", "name": "api-keys/a", "version": 2}
    command.write_text("#!/bin/sh\nexit 7\n")
    result = home.run("rotate", "api-keys/a", "--generate")
    assert result.stdout == b"3\n" and b"was rotated, but the notification failed" in result.stderr
    assert [r["status"] for r in home.records() if r.get("action") == "rotate.notify"] == ["success", "unavail"]
    os.unlink(command)
    assert home.rotate("api-keys/a") == 4


# ---- webhooks ----

KEY = b"a key of the webhook, thirty-two bytes"


@pytest.fixture
def hooked(home, upstream):
    home.write_config(home.read_config() + f"""targets:
  "api-keys/*": {{webhook: "http://127.0.0.1:{upstream.port}/hook?t=CANARYTOKEN", webhook_key: webhooks/shop, timeout: 2s}}
""")
    home.set("api-keys/a", b"old")
    home.set("webhooks/shop", KEY)
    return upstream


def notices(home):
    return [r["status"] for r in home.records() if r.get("action") == "rotate.webhook"]


def test_webhook_is_signed(home, hooked):
    before = time.time()
    assert home.rotate("api-keys/a") == 2
    [request] = hooked.requests
    assert (request.method, request.path) == ("POST", "/hook?t=CANARYTOKEN")
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {"event": "rotated", "environment": "development", "name": "api-keys/a", "version": 2}
    parts = dict(part.split("=") for part in request.headers["Keyturn-Signature"].split(","))
    assert before - 2 <= int(parts["t"]) <= time.time() + 1
    assert parts["v1"] == hmac.new(KEY, parts["t"].encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert notices(home) == ["success"]
    assert [r["purpose"] for r in home.records() if r.get("action") == "read" and r.get("reference") == "webhooks/shop"] == ["webhook"]


def test_webhook_that_fails_undoes_nothing(home, hooked):
    hooked.respond = lambda request: (500, {}, b"CANARY-body")
    result = home.run("rotate", "api-keys/a", "--generate")
    assert result.stdout == b"2\n" and b"the server answered 500" in result.stderr
    assert b"CANARY" not in result.stderr
    home.delete("webhooks/shop")
    result = home.run("rotate", "api-keys/a", "--generate")
    assert result.stdout == b"3\n" and b"the webhook's key" in result.stderr
    hooked.close()
    home.undelete("webhooks/shop")
    result = home.run("rotate", "api-keys/a", "--generate")
    assert result.stdout == b"4\n" and b"webhook" in result.stderr and b"CANARY" not in result.stderr
    assert notices(home) == ["unavail", "gone", "unavail"]


def test_webhook_without_tls_only_on_this_machine(home, hooked):
    home.write_config(home.read_config().replace("http://127.0.0.1", "http://192.0.2.1"))
    result = home.run("rotate", "api-keys/a", "--generate")
    assert result.stdout == b"2\n" and b"say https:" in result.stderr


class Silent:
    """A server that takes a request and never ends its answer; `drip`: it sends one more byte of it now and then."""

    def __init__(self, drip):
        self.drip, self.connections, self.ended = drip, 0, threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.answer, args=[connection], daemon=True).start()

    def answer(self, connection):
        with connection, contextlib.suppress(OSError):
            if self.drip:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
            while not self.ended.wait(0.2):
                if self.drip:
                    connection.sendall(b"x")

    def close(self):
        self.ended.set()
        self.socket.close()


@pytest.mark.parametrize("drip", [False, True])
def test_webhook_that_does_not_answer_holds_nobody_longer_than_10_seconds(home, servers, drip):
    """A9: the target's 60 s, for each secret in turn."""
    silent = Silent(drip)
    servers.callback(silent.close)
    home.write_config(home.read_config() + f"""targets:
  "api-keys/*": {{webhook: "http://127.0.0.1:{silent.port}/hook", webhook_key: webhooks/shop, timeout: 60s}}
""")
    home.set("webhooks/shop", KEY)
    for name in "abcde":
        home.set(f"api-keys/{name}", b"x", "--meta", "origin=generated")
    begun = time.monotonic()
    result = home.run("rotate", "--type", "api-keys", timeout=55)
    took = time.monotonic() - begun
    assert 9 < took < 15 and silent.connections == 1, (took, silent.connections)
    assert [home.info(f"api-keys/{name}")["version"] for name in "abcde"] == [2] * 5
    assert result.stderr.count(b"was rotated, but the notification failed") == 5
    assert result.stderr.count(b"the server did not answer before, so it was not asked again") == 4
    assert notices(home) == ["unavail"] * 5

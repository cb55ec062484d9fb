# SPDX-License-Identifier: BSD-2-Clause
"""Copies of the trail outside: a syslog, a command; checkpoints; and what they prove."""
import json
import os
import signal
import socket

import pytest

from lib.home import Home
from lib.tools import wait_for


@pytest.fixture
def sunk(kt, tmp_path):
    """sunk(sink, **keys): a home whose trail goes to this sink, too; .key is its audit key."""
    def make(*sinks, **keys):
        kt.need("keyturn")
        home = Home(kt, tmp_path / "home")
        home.key = tmp_path / "audit.key"
        home.keyturn("init", "--audit-key", home.key, home.dir)
        more = "".join(f"\n  {key}: {value}" for key, value in {"sinks": json.dumps(list(sinks)), **keys}.items())
        home.write_config(home.read_config().replace("\naudit:\n", f"\naudit:{more}\n"))
        return home
    return make


@pytest.fixture
def command(tmp_path):
    """command(text): a script whose standard input is lines; .out is what it may write to."""
    path = tmp_path / "ship"
    out = tmp_path / "shipped"

    def write(text=f"cat >> {out}"):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return f"exec:{path}"
    write.out = out
    return write


def test_a_command_gets_alerts_and_their_seals(sunk, command):
    home = sunk(command())
    home.set("a", b"v")
    home.get("a")
    home.deny("uid:*", ["read"], ["b"])
    assert home.run("get", "b", check=False).returncode == 77
    wait_for(lambda: '"b"' in command.out.read_text(), what="the refusal outside")
    lines = [json.loads(line) for line in command.out.read_text().splitlines()]
    assert [line["reference"] for line in lines if "action" in line] == ["b"]
    assert any("seal" in line for line in lines) and not any(line.get("action") == "write" for line in lines)
    assert b"found in the logs" in home.run("audit", "verify", "--audit-key", home.key, "--received", command.out).stdout


def test_what_was_received_tells_of_a_tail_that_is_gone(sunk, command):
    home = sunk(command(), send="all")
    home.set("a", b"v")
    stream = next(home.audit.glob("cli-*"))
    before = {path: path.read_bytes() for path in (stream / "log", stream / "state")}
    home.set("a", b"w")
    wait_for(lambda: command.out.read_text().count('"version":2'), what="the second version outside")
    for path, data in before.items():
        path.write_bytes(data)
    assert home.json("audit", "verify", "--audit-key", home.key)["status"] == "success"
    result = home.run("audit", "verify", "--received", command.out, check=False)
    assert result.returncode == 65 and b"its end was cut off" in result.stdout


def test_a_command_that_fails_or_hangs_refuses_nothing(sunk, command, tmp_path):
    home = sunk(command(f"echo $$ >> {tmp_path}/pids; exec sleep 60"), send="all")
    home.set("a", b"v")
    assert home.get("a") == b"v"
    home.rotate("a")
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 1  # one at a time
    os.kill(int(pids[0]), signal.SIGKILL)
    command("exit 1")
    assert home.get("a")
    assert home.json("audit", "verify", "--audit-key", home.key)["status"] == "success"


def test_a_syslog(sunk, tmp_path, sockets):
    path = sockets / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        log.settimeout(10)
        home = sunk(f"syslog:auth@{path}", send="all")
        home.set("a", b"v")
        first = log.recv(65536).decode()
        assert first.startswith("<38>") and " keyturn[" in first and '"log":"start"' in first
        intent = json.loads("{" + log.recv(65536).decode().split("{", 1)[1])
        assert (intent["action"], intent["status"]) == ("write", "intent")
    home.set("a", b"w")  # and it is gone


def test_check_looks_at_sinks(sunk, command, tmp_path):
    home = sunk(command(), "syslog:auth@/nonexistent/log")
    checks = {row["detail"]: row["status"] for row in home.json("check", check=False)["checks"] if row["what"] == "audit sink"}
    assert checks == {f"exec:{tmp_path}/ship": "success", "/nonexistent/log: No such file or directory": "unavail"}


def test_the_command_writes_a_checkpoint_when_it_is_time(sunk, command):
    home = sunk(command(), checkpoint="1s")
    home.set("api-keys/a", b"v")
    home.set("database/b", b"v")

    def checkpoint():
        home.get("api-keys/a")
        return [line for line in home.records() if line["action"] == "checkpoint"]
    line = wait_for(checkpoint, what="a checkpoint")[0]
    assert len(line["generations"]["local"].pop("#")) == 32
    assert line["generations"] == {"local": {"@": 3, "api-keys": 1, "database": 1}} and line["status"] == "success"
    wait_for(lambda: '"checkpoint"' in command.out.read_text(), what="the checkpoint outside")
    assert home.json("audit", "verify", "--audit-key", home.key, "--received", command.out)["status"] == "success"


def test_a_sink_that_works_does_not_stand_in_for_the_log(sunk, command):
    home = sunk(command(), send="all")
    home.set("a", b"v")
    log = next(home.audit.glob("cli-*/log"))
    log.unlink()
    log.parent.chmod(0o500)
    result = home.run("get", "a", check=False)
    log.parent.chmod(0o700)
    assert result.returncode == 74 and result.stdout == b"" and b"log: Permission denied" in result.stderr

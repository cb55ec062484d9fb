# SPDX-License-Identifier: BSD-2-Clause
"""What leaves a running nginx: alerts at once, checkpoints also when it is idle, and nothing that would hold up a request."""
import json
import os
import signal

import pytest

HEADER = "proxy_set_header X-Key $key;"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "shipped"


def configure(site, tmp_path, text, keys="checkpoint: 1s"):
    path = tmp_path / "ship"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    site.home.write_config(site.home.read_config().replace("\naudit:\n", f'\naudit:\n  {keys}\n  sinks: ["exec:{path}"]\n'))


def shipped(out):
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_alerts_and_checkpoints_of_two_workers(site, tmp_path, out, canary, wait_for):
    configure(site, tmp_path, f"cat >> {out}")
    site.home.set("api-keys/stripe", canary("sink"))
    site.home.deny("nginx:app.example", ["read"], ["database/*"])
    site.serve(f"secret_get $key $arg_n; {HEADER}", workers=2)
    assert site.get("/?n=api-keys/stripe").status == 200
    assert site.get("/?n=database/primary").status == 403
    wait_for(lambda: [line for line in shipped(out) if line.get("status") == "denied"], timeout=30, what="the refusal outside")
    count = wait_for(lambda: [line for line in shipped(out) if line.get("action") == "checkpoint"], timeout=30, what="a checkpoint")
    wait_for(lambda: len([line for line in shipped(out) if line.get("action") == "checkpoint"]) > len(count), timeout=30,
             what="another one, of an idle server")
    times = [line["time"] for line in shipped(out) if line.get("action") == "checkpoint"]
    assert len(set(times)) == len(times)  # one of both workers
    assert all(line["generations"]["local"]["api-keys"] == 1 for line in shipped(out) if line.get("action") == "checkpoint")
    assert not [line for line in shipped(out) if line.get("status") == "success" and line["action"] == "read"]


def test_a_hung_command_holds_up_nothing(site, tmp_path, canary, wait_for):
    configure(site, tmp_path, f"echo $$ >> {tmp_path}/pids; exec sleep 60", keys="send: all")
    site.home.set("api-keys/stripe", canary("hung"))
    site.serve(f"secret_get $key api-keys/stripe; {HEADER}", workers=2)
    for _ in range(20):
        assert site.get().status == 200
    pids = wait_for(lambda: (tmp_path / "pids").read_text().split(), timeout=30, what="the command")
    for _ in range(20):
        assert site.get().status == 200
    site.nginx.stop()
    assert pids == (tmp_path / "pids").read_text().split()  # one, of both workers
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)

# SPDX-License-Identifier: BSD-2-Clause
"""What leaves a running Redis: alerts at once, checkpoints also when it is idle."""
import json


def test_alerts_and_checkpoints(open_redis, home, tmp_path, refused, wait_for):
    out, path = tmp_path / "shipped", tmp_path / "ship"
    path.write_text(f"#!/bin/sh\ncat >> {out}\n")
    path.chmod(0o755)
    home.write_config(home.read_config().replace("\naudit:\n", f'\naudit:\n  checkpoint: 1s\n  sinks: ["exec:{path}"]\n'))
    home.deny("redis:default", ["read"], ["database/*"])
    server = open_redis()
    db = server.client()
    db.execute_command("SECRET.SET", "database/a", "v")
    refused("SECRETDENIED", db, "SECRET.GET", "database/a")

    def shipped(**fields):
        lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        return [line for line in lines if all(line.get(key) == value for key, value in fields.items())]
    wait_for(lambda: shipped(status="denied", reference="database/a"), timeout=30, what="the refusal outside")
    wait_for(lambda: len(shipped(action="checkpoint")) >= 2, timeout=30, what="checkpoints of an idle server")
    server.stop()
    assert "found in the logs" in home.run("audit", "verify", "--received", out).stdout.decode()

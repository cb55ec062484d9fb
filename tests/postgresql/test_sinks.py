# SPDX-License-Identifier: BSD-2-Clause
"""The background worker writes checkpoints and sends to external sinks, also when the server is idle."""
import json

from lib.tools import wait_for


def test_checkpoints_and_rotations_leave_the_machine(home, make_postgres, tmp_path):
    out, path = tmp_path / "shipped", tmp_path / "ship"
    path.write_text(f"#!/bin/sh\ncat >> {out}\n")
    path.chmod(0o755)
    home.set("api-keys/a", b"v")
    home.write_config(home.read_config().replace("\naudit:\n", f'\naudit:\n  checkpoint: 1s\n  sinks: ["exec:{path}"]\n'))
    pg = make_postgres(home)
    pg.start(shared_preload_libraries="keyturn", keyturn__reconcile_interval="1h")

    def shipped(**fields):
        lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        return [line for line in lines if all(line.get(key) == value for key, value in fields.items())]
    wait_for(lambda: len(shipped(action="checkpoint", stream="postgresql")) >= 2, 30, what="checkpoints of an idle server")
    assert shipped(action="checkpoint", stream="postgresql")[0]["generations"]["local"]["api-keys"] == 1
    pg.stop()
    assert "found in the logs" in home.run("audit", "verify", "--received", out).stdout.decode()

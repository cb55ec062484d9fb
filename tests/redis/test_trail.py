# SPDX-License-Identifier: BSD-2-Clause
"""What the server records: in a ring, and soon a line of the trail."""
import signal

NAME = "api-keys/stripe"


def reads(home):
    return len([line for line in home.records("redis") if line["action"] == "read" and line["status"] == "success"])


def test_a_killed_server_loses_and_doubles_nothing(open_redis, home):
    server = open_redis("appendonly yes", "appendfsync always")
    server.client().execute_command("SECRET.SET", NAME, "v1")
    served = 0
    for _ in range(4):
        db = server.client()
        for _ in range(200):
            assert db.execute_command("SECRET.GET", NAME) == b"v1"
            served += 1
        server.restart(signal.SIGKILL)
    assert server.client().execute_command("SECRET.GET", NAME) == b"v1"
    assert reads(home) == served + 1
    server.stop()
    assert not list((home.audit / "redis/rings").iterdir())
    home.run("audit", "verify")

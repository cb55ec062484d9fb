# SPDX-License-Identifier: BSD-2-Clause
"""The policy refuses a user of the server's ACL too often."""
from lib import refusals


def test_a_user_is_locked_out_and_others_are_not(open_redis, home, refused):
    server = open_redis()
    db = server.client()
    db.execute_command("SECRET.SET", "api-keys/a", "v")
    db.execute_command("SECRET.SET", "database/a", "v")
    home.deny("redis:guest", ["read", "write"], ["database/*"])
    server.stop()
    server.start()
    db = server.client()
    for name in ("guest", "other"):
        db.execute_command("ACL", "SETUSER", name, "on", ">pw", "+@all", "~*")
    db.execute_command("SECRET.SET", "api-keys/a", "v")
    db.execute_command("SECRET.SET", "database/a", "v")
    for _ in range(10):  # a connection each: its port is not a part of the source
        guest = server.client(username="guest", password="pw")
        refused("SECRETDENIED", guest, "SECRET.GET", "database/a")
    assert guest.execute_command("SECRET.GET", "api-keys/a") == b"v"
    refused("SECRETDENIED", guest, "SECRET.GET", "database/a")
    refused("SECRETDENIED", guest, "SECRET.GET", "api-keys/a")
    refused("SECRETDENIED", guest, "SECRET.SET", "api-keys/a", "w")
    assert server.client(username="other", password="pw").execute_command("SECRET.GET", "api-keys/a") == b"v"
    alerts = [line for line in home.records("redis") if line["action"] == "alert"]
    assert [line["subject"] for line in alerts] == ["redis:guest"]
    assert "locked out for 60 s" in server.log_path.read_text()
    refusals.end(home.audit / "redis")
    assert server.client(username="guest", password="pw").execute_command("SECRET.GET", "api-keys/a") == b"v"

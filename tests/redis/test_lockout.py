# SPDX-License-Identifier: BSD-2-Clause
"""The policy refuses a user of the server's ACL too often; clients share that user and an address."""
from lib import refusals


def test_a_user_is_locked_out_of_what_is_refused_anyway(open_redis, home, refused):
    """A4 (c): all clients are `default` from 127.0.0.1."""
    server = open_redis()
    db = server.client()
    db.execute_command("SECRET.SET", "api-keys/a", "v")
    db.execute_command("SECRET.SET", "database/a", "v")
    home.deny("redis:default", ["read", "write"], ["database/*"])
    server.restart()
    db = server.client()
    db.execute_command("SECRET.SET", "api-keys/a", "v")
    for _ in range(30):  # a connection each: its port is not a part of the source
        refused("SECRETDENIED", server.client(), "SECRET.GET", "database/a")
        assert server.client().execute_command("SECRET.GET", "api-keys/a") == b"v"
    assert "locked out for another" in refused("SECRETDENIED", db, "SECRET.SET", "database/a", "w")
    assert db.execute_command("SECRET.SET", "api-keys/a", "w") == 2
    alerts = [line for line in home.records("redis") if line["action"] == "alert"]
    assert [(line["subject"], line["seconds"]) for line in alerts] == [("redis:default", 60)]
    assert len([line for line in home.records("redis") if line["status"] == "denied" and line["action"] == "read"]) == 11
    assert server.log_path.read_text().count("locked out for 60 s") == 1
    assert [row["source"] for row in home.json("lockout")["lockouts"]] == ["redis:default@unix"]
    assert refusals.end(home.audit / "redis") == 1
    refused("SECRETDENIED", db, "SECRET.GET", "database/a")
    assert [line["count"] for line in home.records("redis") if line["action"] == "lockout"] == [20]

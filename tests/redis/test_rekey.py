# SPDX-License-Identifier: BSD-2-Clause
"""Redis across a rekey: its own secrets stay under the epoch that they have, and new ones of others are read, with the key read again."""
import time

from lib import epochs


def test_a_server_reads_on(open_redis, home, refused):
    home.set("other/a", "of the store")
    key = epochs.own_key(home, "redis")
    server = open_redis()
    client = server.client()
    client.execute_command("SECRET.SET", "api-keys/old", "first")
    home.add("providers", f'redis: {{address: "unix:{server.socket}"}}')
    home.add("switch", '"api-keys/*": redis')
    epochs.next_epoch(home)
    assert home.set("api-keys/new", "under the new epoch") == 1
    assert home.set("api-keys/old", "second") == 2 and home.get("api-keys/new") == b"under the new epoch"
    assert client.execute_command("SECRET.GET", "api-keys/old") == b"second", "an old name stays under its epoch"
    refused("SECRETSEALED", client, "SECRET.GET", "api-keys/new")
    assert home.run("rekey", check=False).returncode == 73
    epochs.hand_out(home, key)
    deadline = time.monotonic() + 15
    while True:  # once a second at most it looks for the epoch
        try:
            assert client.execute_command("SECRET.GET", "api-keys/new") == b"under the new epoch"
            break
        except Exception:  # noqa: BLE001 - told by the deadline
            assert time.monotonic() < deadline
            time.sleep(0.1)
    epochs.rekey_with_kills(home)
    assert home.get("other/a") == b"of the store"
    for name, value in (("api-keys/old", b"second"), ("api-keys/new", b"under the new epoch")):
        assert client.execute_command("SECRET.GET", name) == value == home.get(name)
    client.execute_command("SECRET.SET", "api-keys/third", "new in the server")
    assert home.get("api-keys/third") == b"new in the server"

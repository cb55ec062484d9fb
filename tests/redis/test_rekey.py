# SPDX-License-Identifier: BSD-2-Clause
"""Redis across a rekey: its own secrets stay under their epoch; it reads the key again and then what others wrote under the new one."""
import threading
import time

from lib import epochs

NAME = "api-keys/kept"


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
        except Exception:  # noqa: BLE001 - the deadline reports it
            assert time.monotonic() < deadline
            time.sleep(0.1)
    epochs.rekey_with_kills(home)
    answer = home.json("rekey", "--status")
    assert [(t["type"], t["moved"], t["left"]) for t in answer["types"]] == [("other", 1, 0), ("redis", 2, 0)] and answer["complete"]
    epochs.drop_epoch(home, 1)
    epochs.hand_out(home, key)
    assert home.get("other/a") == b"of the store" and home.get("api-keys/old@previous") == b"first"
    for name, value in (("api-keys/old", b"second"), ("api-keys/new", b"under the new epoch")):
        assert client.execute_command("SECRET.GET", name) == value == home.get(name)
    client.execute_command("SECRET.SET", "api-keys/third", "new in the server")
    assert home.get("api-keys/third") == b"new in the server"


def test_names_in_a_sealed_server_are_moved(sealed_redis, home):
    """The server has no key: it accepts what the command sealed again, version by version, while others write."""
    server = sealed_redis()
    home.add("providers", f'redis: {{address: "unix:{server.socket}"}}')
    for kind in "api-keys", "tls":
        home.add("switch", f'"{kind}/*": redis')
    for text in "first", "second", "third":
        home.set(NAME, text, "--meta", "owner=dba")
    home.destroy(NAME, 2)
    home.set("tls/gone", "deleted")
    home.delete("tls/gone")
    for n in range(20):
        home.set(f"api-keys/n{n}", f"value-{n}")
    epochs.next_epoch(home)
    home.set("api-keys/new", "under the new epoch")
    stop, wrong = threading.Event(), []

    def write():
        n = 0
        while not stop.is_set():
            n += 1
            result = home.run("--quiet", "set", "api-keys/n7", input=b"%d" % n, check=False)
            if result.returncode not in (0, 73):  # 73: it was moved at that very moment, as if by another writer
                wrong.append(result)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            assert epochs.kill_rekey(home, "rekey.name")
        answer = home.json("rekey")
    finally:
        stop.set()
        thread.join()
    assert wrong == [] and answer["complete"] is True and answer["moved"] == 22
    epochs.drop_epoch(home, 1)
    assert [home.get(f"{NAME}@{v}") for v in ("current", 1, 3)] == [b"third", b"first", b"third"]
    assert home.info(NAME)["metadata"] == {"owner": "dba", "origin": "issued"} and home.run("get", f"{NAME}@2", check=False).returncode == 66
    assert home.get("api-keys/n3") == b"value-3" and home.get("api-keys/new") == b"under the new epoch"
    home.undelete("tls/gone")
    assert home.get("tls/gone") == b"deleted" and home.json("rekey", "--status")["unknown"] == 0
    server.stop()
    result = home.run("rekey", "--status", check=False)
    assert result.returncode == 69 and b"redis" in result.stderr, "what cannot be counted is not proved"

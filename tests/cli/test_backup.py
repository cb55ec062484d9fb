# SPDX-License-Identifier: BSD-2-Clause
"""A store in a file, and back: consistent, encrypted, on the record, and never by accident over something newer."""
import os
import shutil
import stat

import pytest


@pytest.fixture
def store(home, canary):
    home.values = {name: canary(name.replace("/", "-")) for name in ("api-keys/a", "database/b", "plain")}
    for name, value in home.values.items():
        home.set(name, b"first")
        home.set(name, value)
    home.run("delete", "plain")
    return home


@pytest.fixture
def backup(store, tmp_path):
    store.run("backup", tmp_path / "backup")
    return tmp_path / "backup"


def check(store):
    assert store.get("api-keys/a") == store.values["api-keys/a"].encode()
    assert store.get("api-keys/a@1") == b"first"
    assert store.run("get", "plain", check=False).returncode == 66
    assert store.run("verify").returncode == 0


def test_file_is_private_sealed_and_new(store, backup):
    assert stat.S_IMODE(os.stat(backup).st_mode) == 0o600
    data = backup.read_bytes()
    for text in [b"api-keys", b"first", *(value.encode() for value in store.values.values())]:
        assert text not in data
    again = store.run("backup", backup, check=False)
    assert again.returncode == 73 and backup.read_bytes() == data


def test_nothing_newer(store, backup):
    store.run("restore", backup)
    check(store)


def test_something_newer_is_kept(store, backup):
    store.set("api-keys/a", b"later")
    result = store.run("restore", backup, check=False)
    assert result.returncode == 73 and b"--going-back" in result.stderr
    assert store.get("api-keys/a") == b"later"
    store.run("restore", "--going-back", backup)
    check(store)
    actions = [(record["action"], record["status"]) for record in store.records() if record["action"] == "restore"]
    assert actions == [("restore", "conflict"), ("restore", "intent"), ("restore", "success")]


def test_store_that_was_lost(store, backup):
    store.set("api-keys/a", b"later")
    for suffix in "", "-wal", "-shm":
        (store.dir / (store.store.name + suffix)).unlink(missing_ok=True)
    assert store.run("get", "api-keys/a", check=False).returncode == 69
    store.run("restore", backup)
    check(store)
    store.set("api-keys/a", b"goes on")
    assert store.get("api-keys/a") == b"goes on"


def test_readers_go_on(store, backup):
    """One that saw newer generations does not take the restored store for an old file put back."""
    reader = store.popen("run", "--map", "V=api-keys/a", "--", "true")
    store.set("api-keys/a", b"later")
    store.run("restore", "--going-back", backup)
    assert reader.wait(30) == 0
    check(store)


def test_anchors_that_were_lost(store, backup):
    shutil.rmtree(store.dir / "anchors")
    assert store.run("get", "api-keys/a", check=False).returncode == 65
    store.run("restore", "--going-back", backup)
    check(store)


@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "foreign", "empty"])
def test_damaged_file_changes_nothing(store, backup, damage):
    data = backup.read_bytes()
    middle = len(data) // 2
    backup.write_bytes({"cut": data[:-20], "longer": data + b"x", "foreign": b"x" * 5000, "empty": b"",
                        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:]}[damage])
    store.set("api-keys/a", b"later")
    result = store.run("restore", "--going-back", backup, check=False)
    assert result.returncode == 65, result
    assert store.get("api-keys/a") == b"later"
    assert store.run("verify").returncode == 0


def test_of_another_key(store, backup, make_home):
    other = make_home(store.environment, "other")
    other.set("api-keys/a", b"theirs")
    result = other.run("restore", "--going-back", backup, check=False)
    assert result.returncode == 77 and b"another key" in result.stderr
    assert other.get("api-keys/a") == b"theirs"


def test_type_keys_are_not_enough(store, tmp_path):
    store.run("keygen", "--types", "api-keys", tmp_path / "types.key")
    config = store.config.read_text().replace(str(store.key), str(tmp_path / "types.key"))
    (tmp_path / "types.yaml").write_text(config)
    result = store.keyturn("-c", tmp_path / "types.yaml", "backup", tmp_path / "no", check=False)
    assert result.returncode == 77 and not (tmp_path / "no").exists()


def test_wants_admin(store, backup, tmp_path):
    config = store.config.read_text().replace(", admin]", "]")
    store.config.write_text(config)
    for args in ["backup", tmp_path / "no"], ["restore", backup]:
        result = store.run(*args, check=False)
        assert result.returncode == 77 and not (tmp_path / "no").exists()
    assert [r["action"] for r in store.records() if r["status"] == "denied"] == ["backup", "restore"]

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


def test_needs_admin(store, backup, tmp_path):
    config = store.config.read_text().replace(", admin]", "]")
    store.config.write_text(config)
    for args in ["backup", tmp_path / "no"], ["restore", backup]:
        result = store.run(*args, check=False)
        assert result.returncode == 77 and not (tmp_path / "no").exists()
    assert [r["action"] for r in store.records() if r["status"] == "denied"] == ["backup", "restore"]


# for a recipient

@pytest.fixture
def recipient(store, tmp_path):
    """The path of a private key; its public half lies beside it."""
    store.keyturn("keygen", "--recipient", tmp_path / "alice")
    return tmp_path / "alice"


def public(path):
    return path.with_name(path.name + ".pub")


def test_a_pair_of_keys(store, recipient, tmp_path):
    assert stat.S_IMODE(os.stat(recipient).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(public(recipient)).st_mode) == 0o644
    before = recipient.read_bytes(), public(recipient).read_bytes()
    assert before[0].startswith(b"keyturn-recipient-key 1 ") and before[1].startswith(b"keyturn-recipient 1 ")
    assert store.keyturn("keygen", "--recipient", recipient, check=False).returncode == 73
    assert (recipient.read_bytes(), public(recipient).read_bytes()) == before
    recipient.unlink()
    assert store.keyturn("keygen", "--recipient", recipient, check=False).returncode == 73
    assert not recipient.exists() and public(recipient).read_bytes() == before[1], "with one half there, the other is not made"
    for more in ["--epoch"], ["--types", "a"], ["--environment", "production"]:
        assert store.run("keygen", "--recipient", *more, tmp_path / "no", check=False).returncode == 64


def test_for_a_recipient(store, recipient, tmp_path):
    """What made it cannot read it: not with all that is on the machine."""
    store.run("backup", "--recipient", public(recipient), tmp_path / "sealed")
    data = (tmp_path / "sealed").read_bytes()
    assert b"api-keys" not in data and store.values["api-keys/a"].encode() not in data
    store.set("api-keys/a", b"later")
    store.keyturn("keygen", "--recipient", tmp_path / "bob")
    for options, status, text in ([], 77, b"--recipient-key"), (["--recipient-key", tmp_path / "bob"], 77, b"another recipient"), \
            (["--recipient-key", public(recipient)], 77, b"too open"), (["--recipient-key", store.key], 78, b"not a private key"), \
            (["--recipient-key", tmp_path / "none"], 78, b"No such file"):
        result = store.run("restore", "--going-back", *options, tmp_path / "sealed", check=False)
        assert result.returncode == status and text in result.stderr, result
        assert store.get("api-keys/a") == b"later"
    store.run("restore", "--going-back", "--recipient-key", recipient, tmp_path / "sealed")
    check(store)
    store.set("api-keys/a", b"later")
    store.run("restore", "--going-back", "--recipient-key", "-", tmp_path / "sealed", input=recipient.read_bytes())
    check(store)


def test_the_private_key_alone_is_not_enough(store, recipient, make_home, tmp_path):
    store.run("backup", "--recipient", public(recipient), tmp_path / "sealed")
    other = make_home(store.environment, "other")
    result = other.run("restore", "--going-back", "--recipient-key", recipient, tmp_path / "sealed", check=False)
    assert result.returncode == 77 and b"another key" in result.stderr


def test_a_backup_for_nobody_else_takes_no_notice(store, backup, recipient):
    store.run("restore", "--recipient-key", recipient, backup)
    check(store)


@pytest.mark.parametrize("damage", ["id", "box", "header", "cut"])
def test_damaged_for_a_recipient(store, recipient, tmp_path, damage):
    file = tmp_path / "sealed"
    store.run("backup", "--recipient", public(recipient), file)
    data = bytearray(file.read_bytes())
    data[{"id": 30, "box": 100, "header": 130, "cut": 0}[damage]] ^= 0 if damage == "cut" else 1
    file.write_bytes(data[:60] if damage == "cut" else data)
    result = store.run("restore", "--going-back", "--recipient-key", recipient, file, check=False)
    assert result.returncode == (77 if damage == "id" else 65), result
    check(store)


def test_who_may_write_the_public_key(store, recipient, tmp_path):
    """A user who can exchange it could read the backups."""
    public(recipient).chmod(0o664)
    result = store.run("backup", "--recipient", public(recipient), tmp_path / "no", check=False)
    assert result.returncode == 77 and b"writable by other users" in result.stderr
    public(recipient).chmod(0o644)
    public(recipient).write_text("ssh-ed25519 AAAA\n")
    result = store.run("backup", "--recipient", public(recipient), tmp_path / "no", check=False)
    assert result.returncode == 78 and b"not a public key" in result.stderr
    public(recipient).write_text("keyturn-recipient 1 " + "A" * 43 + "=\n")
    result = store.run("backup", "--recipient", public(recipient), tmp_path / "no", check=False)
    assert result.returncode == 78 and b"sealed to" in result.stderr
    assert not (tmp_path / "no").exists()


# killed

def killed(store, point, *args):
    result = store.run(*args, check=False, env={**store.env, "KEYTURN_DEBUG_STOP": f"{point}:kill"})
    if result.returncode == 0:
        pytest.skip("needs --enable-debug-hooks")
    assert result.returncode == -9, result


@pytest.mark.parametrize("point", ["backup.written", "backup.recorded"])
def test_a_killed_backup_leaves_nothing(store, tmp_path, point):
    folder = tmp_path / "backups"
    folder.mkdir()
    killed(store, point, "backup", folder / "b")
    assert list(folder.iterdir()) == []
    store.run("backup", folder / "b")
    assert [path.name for path in folder.iterdir()] == ["b"]
    store.run("restore", folder / "b")
    check(store)


@pytest.mark.parametrize("point", ["restore.made", "restore.begun", "restore.put", "restore.intent", "restore.committed"])
def test_a_killed_restore_is_done_or_not(store, backup, point):
    store.set("api-keys/a", b"later")
    killed(store, point, "restore", "--going-back", backup)
    if point == "restore.committed":
        check(store)
    else:
        assert store.get("api-keys/a") == b"later"
        assert store.run("verify").returncode == 0
    store.run("restore", "--going-back", backup)
    check(store)
    store.set("api-keys/a", b"goes on")


@pytest.mark.parametrize("point", ["restore.made", "restore.begun", "restore.put", "restore.intent", "restore.committed"])
def test_of_a_store_that_was_lost(store, backup, point):
    """The anchors know the id that was lost: whatever the killed run left, the next one makes a store of that id."""
    for path in store.dir.glob("development.db*"):
        path.unlink()
    killed(store, point, "restore", backup)
    if point == "restore.committed":
        check(store)
    store.run("restore", *(["--going-back"] if point == "restore.committed" else []), backup)
    check(store)
    store.set("api-keys/a", b"goes on")
    assert store.run("verify").returncode == 0

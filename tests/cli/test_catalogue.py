# SPDX-License-Identifier: BSD-2-Clause
"""What exists in a store is sealed in one record: no type is hidden, and nothing that is damaged passes for complete."""
import pathlib
import shutil
import sqlite3

import pytest

NAMES = ("a/one", "a/two", "b/one", "b/two", "c/one")


def edit(home, sql, *values):
    db = sqlite3.connect(home.store)
    count = db.execute(sql, values).rowcount
    db.commit()
    db.close()
    return count


def fill(home):
    for name in NAMES:
        home.set(name, name.encode())


def new_epoch(home):
    home.run("keygen", "--epoch", home.dir / "next.key")
    (home.dir / "next.key").replace(home.key)


def drop_epoch(home, epoch):
    lines = [line for line in home.key.read_text().splitlines(True) if not line.startswith(f"key {epoch} ")]
    home.key.write_text("".join(lines))


def meta(home):
    db = sqlite3.connect(home.store)
    rows = db.execute("SELECT id FROM meta").fetchall()
    db.close()
    return [row[0] for row in rows]


def rows(home, first=b""):
    """Those of META whose keys begin so."""
    db = sqlite3.connect(home.store)
    found = db.execute("SELECT id, stamp, record FROM meta ORDER BY id").fetchall()
    db.close()
    return [row for row in found if row[0].startswith(first)]


def leave(home):
    """The store's files go."""
    for more in ("", "-wal", "-shm"):
        pathlib.Path(f"{home.store}{more}").unlink(missing_ok=True)


def put_back(home, saved):
    """Store, anchors and audit logs, as they were."""
    leave(home)
    shutil.copy2(saved / home.store.name, home.store)
    for folder in ("anchors", "audit"):
        shutil.rmtree(home.dir / folder)
        shutil.copytree(saved / folder, home.dir / folder)


def keyturn(home, *args):
    return home.run(*args, check=False)


def test_no_row_of_meta_is_removed_or_bent_unseen(home, tmp_path):
    """The label of a type was enough to leave the type out of verify, list and rekey, and to make every backup unrestorable."""
    fill(home)
    new_epoch(home)
    (tmp_path / "saved").mkdir()
    shutil.copy2(home.store, tmp_path / "saved")
    shutil.copytree(home.dir / "anchors", tmp_path / "saved/anchors")
    shutil.copytree(home.dir / "audit", tmp_path / "saved/audit")
    for n, row in enumerate(meta(home)):
        for sql in ("DELETE FROM meta WHERE id = ?", "UPDATE meta SET stamp = stamp + 1 WHERE id = ?",
                    "UPDATE meta SET record = substr(record, 1, 10) || x'00' || substr(record, 12) WHERE id = ?"):
            assert edit(home, sql, row) == 1
            for verb in ("verify", "check", "list", "rekey"):
                result = keyturn(home, verb)
                assert result.returncode in (65, 77) and b"complete" not in result.stdout, (verb, sql, result)
            backup = tmp_path / f"backup{n}"
            assert keyturn(home, "backup", backup).returncode in (65, 77) and not backup.exists()
            put_back(home, tmp_path / "saved")
    home.run("verify")
    assert home.json("rekey")["complete"] is True
    drop_epoch(home, 1)
    assert all(home.get(name) == name.encode() for name in NAMES)
    home.run("verify")


def test_a_whole_type_is_not_wiped_while_anchors_name_it(home):
    fill(home)
    for table in ("head", "node", "value"):
        edit(home, f"DELETE FROM {table}")
    for row in meta(home):
        if row[:1] in b"rt":
            edit(home, "DELETE FROM meta WHERE id = ?", row)
    for verb in ("verify", "check", "list"):
        assert keyturn(home, verb).returncode == 65, verb
    assert keyturn(home, "get", "c/one").returncode == 65


def test_a_backup_says_what_it_holds_and_whether_it_can_be_restored(home, tmp_path):
    """One count, of secrets and versions, for backup, check and restore."""
    fill(home)
    home.set("a/one", b"again")
    assert home.run("backup", tmp_path / "f").stdout == b"5 secrets with 6 versions saved\n"
    before = home.store.read_bytes()
    assert home.run("restore", "--check", tmp_path / "f").stdout == b"5 secrets with 6 versions can be restored\n"
    assert home.store.read_bytes() == before
    leave(home)
    assert home.json("restore", "--check", tmp_path / "f") == {"status": "success", "secrets": 5, "versions": 6}
    assert not home.store.exists()
    assert keyturn(home, "restore", "--check", "--going-back", tmp_path / "f").returncode == 64
    assert home.run("restore", tmp_path / "f").stdout == b"5 secrets with 6 versions restored\n"
    home.run("verify")
    data = bytearray((tmp_path / "f").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bent").write_bytes(data)
    assert keyturn(home, "restore", "--check", tmp_path / "bent").returncode == 65


def test_a_long_name_of_a_type_is_named_whole(home):
    """rekey read in front of its text, and named the type "..."."""
    long = "t" * 250
    home.run("keygen", "--types", long, home.dir / "long.key")
    home.replace(f'\nkey: "file:{home.key}"', f'\nkey: {{cli: "file:{home.key}", redis: file:long.key}}')
    new_epoch(home)
    result = keyturn(home, "rekey")
    assert result.returncode == 73 and long.encode() in result.stderr, result


@pytest.fixture
def holder(home):
    """A server that has been given the key of `tls` before the store knew that type."""
    home.set("api-keys/a", b"one")
    before = rows(home)
    home.run("keygen", "--types", "tls", home.dir / "tls.key")
    assert rows(home) == before, "it is listed by the first secret, and not by its key"
    config = home.dir / "server.yaml"
    config.write_text(home.read_config().replace(f'\nkey: "file:{home.key}"', f'\nkey: "file:{home.dir}/tls.key"'))

    def run(*args, **more):
        return home.run("-c", config, *args, check=False, **more)
    return run


def test_a_type_that_was_handed_out_is_explained_and_adopted(home, holder, tmp_path):
    """The server begins it. A holder of the environment key explains it at once, and lists it with the next change."""
    assert holder("get", "tls/a").returncode == 66 and holder("get", "api-keys/a").returncode == 77
    home.run("verify")
    catalogue = rows(home, b"c")
    assert holder("set", "tls/a", input=b"certificate").returncode == 0
    assert rows(home, b"c") == catalogue and len(rows(home, b"t")) == 1, "a label says what it is"
    assert holder("get", "tls/a").stdout == b"certificate"
    assert home.get("tls/a") == b"certificate" and b"tls/a" in home.run("list").stdout
    home.run("check")
    assert b"2 secrets" in home.run("verify").stdout
    assert home.run("backup", tmp_path / "f").stdout == b"2 secrets with 2 versions saved\n"
    home.run("restore", "--check", tmp_path / "f")
    assert holder("set", "tls/a", input=b"next").returncode == 0 and len(rows(home, b"t")) == 1
    home.set("api-keys/a", b"two")
    assert rows(home, b"c") != catalogue and rows(home, b"t") == []
    assert b"2 secrets" in home.run("verify").stdout and holder("get", "tls/a").stdout == b"next"
    assert holder("set", "tls/a", input=b"last").returncode == 0 and rows(home, b"t") == []


@pytest.mark.parametrize("adopted, gone", [(False, "label"), (False, "all"), (True, "all")])
def test_what_was_handed_out_is_not_hidden(home, holder, adopted, gone):
    """By an editor without a key who takes away the label, or all that there is of the type."""
    assert holder("set", "tls/a", input=b"certificate").returncode == 0
    if adopted:
        home.set("api-keys/a", b"two")
    if gone == "label":
        assert edit(home, "DELETE FROM meta WHERE substr(id, 1, 1) = x'74'") == 1
    else:
        keep = [row[0] for row in rows(home) if row[0][:1] == b"c"]
        for table in ("head", "node", "value", "meta"):
            edit(home, f"DELETE FROM {table} WHERE id NOT IN ({','.join('?' * len(keep))})", *keep)
    for verb in (["verify"], ["check"], ["list"], ["backup", home.dir / "f"]):
        result = home.run(*verb, check=False)
        assert result.returncode == 65, (verb, result)
    result = home.run("set", "api-keys/a", input=b"x", check=False)
    assert result.returncode == (65 if gone == "all" else 0) and home.run("verify", check=False).returncode == 65, "a write does not hide it"
    assert holder("get", "tls/a").returncode in ((65,) if gone == "all" else (0,))

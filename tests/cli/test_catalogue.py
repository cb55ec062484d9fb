# SPDX-License-Identifier: BSD-2-Clause
"""What exists in a store is sealed in one record: no type is hidden, and nothing that is damaged passes for complete."""
import pathlib
import shutil
import sqlite3

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


def leave(home):
    """The store's files go."""
    for more in ("", "-wal", "-shm"):
        pathlib.Path(f"{home.store}{more}").unlink(missing_ok=True)


def put_back(home, saved):
    """Store and anchors, as they were."""
    leave(home)
    shutil.copy2(saved / home.store.name, home.store)
    shutil.rmtree(home.dir / "anchors")
    shutil.copytree(saved / "anchors", home.dir / "anchors")


def keyturn(home, *args):
    return home.run(*args, check=False)


def test_no_row_of_meta_is_removed_or_bent_unseen(home, tmp_path):
    """The label of a type was enough to leave the type out of verify, list and rekey, and to make every backup unrestorable."""
    fill(home)
    new_epoch(home)
    (tmp_path / "saved").mkdir()
    shutil.copy2(home.store, tmp_path / "saved")
    shutil.copytree(home.dir / "anchors", tmp_path / "saved/anchors")
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

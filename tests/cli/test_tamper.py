# SPDX-License-Identifier: BSD-2-Clause
"""An attacker edits the store file: a row put back, removed, added or exchanged is an error that names it when it is read."""
import shutil
import sqlite3

import pytest

ORDER = {"head": "id", "value": "id, version", "node": "id", "meta": "id"}


def rows(home, table):
    db = sqlite3.connect(home.store)
    try:
        return db.execute(f"SELECT * FROM {table} ORDER BY {ORDER[table]}").fetchall()
    finally:
        db.close()


def edit(home, *statements):
    db = sqlite3.connect(home.store)
    for statement in statements:
        db.execute(*statement)
    db.commit()
    db.close()


def refused(home, name, text, status=65):
    """No value comes, and the error says what is wrong."""
    result = home.run("get", name, check=False)
    assert result.returncode == status and result.stdout == b"", result
    assert text in result.stderr.decode()


def verify(home, status=65):
    result = home.run("verify", check=False)
    assert result.returncode == status, result.stdout
    return result.stdout.decode()


@pytest.fixture
def store(home):
    """Two types, two secrets each, in two versions."""
    for name in "api-keys/a", "api-keys/b", "tls/a", "tls/b":
        home.set(name, f"first of {name}".encode())
        home.set(name, f"second of {name}".encode())
    assert "4 secrets" in verify(home, 0)
    return home


def head_of(home, change):
    """The head row that `change` changes: before and after."""
    before = {row[0]: row for row in rows(home, "head")}
    change()
    after = {row[0]: row for row in rows(home, "head")}
    changed = [key for key in after if before.get(key) != after[key]]
    assert len(changed) == 1
    return before.get(changed[0]), after[changed[0]]


def put_head(home, row, at=None):
    edit(home, ("UPDATE head SET stamp=?, record=?, value=? WHERE id=?", (*row[1:], at or row[0])))


def test_row_put_back(store):
    old, _ = head_of(store, lambda: store.set("api-keys/a", b"third"))
    put_head(store, old)
    refused(store, "api-keys/a", "not the one that was written last")
    assert "api-keys/a" in verify(store)
    assert store.get("api-keys/b") == b"second of api-keys/b", "what was not touched is served"
    result = store.run("set", "api-keys/a", input=b"x", check=False)
    assert result.returncode == 65, "nor does a writer go on from it"


def test_row_removed(store):
    _, new = head_of(store, lambda: store.set("api-keys/a", b"third"))
    edit(store, ("DELETE FROM head WHERE id=?", (new[0],)))
    refused(store, "api-keys/a", "was removed")
    assert "gone from the store" in verify(store)
    assert store.run("list", check=False).returncode == 65, "a short list is not an answer"


def test_deleted_secret_brought_back(store):
    old, _ = head_of(store, lambda: store.run("delete", "tls/a"))
    put_head(store, old)
    refused(store, "tls/a", "not the one that was written last")


def test_row_of_another_secret(store):
    _, a = head_of(store, lambda: store.set("api-keys/a", b"third"))
    _, b = head_of(store, lambda: store.set("api-keys/b", b"third of b"))
    put_head(store, b, at=a[0])
    refused(store, "api-keys/a", "not the one that was written last")
    assert "in the row of another name" in verify(store)


def test_row_added(store):
    _, row = head_of(store, lambda: store.set("api-keys/c", b"new"))
    edit(store, ("INSERT INTO head VALUES (?,?,?,?)", (bytes(32), *row[1:])))
    assert "in the row of another name" in verify(store)
    assert store.run("list", check=False).returncode == 65
    assert store.get("api-keys/c") == b"new"


def test_value_beside_exchanged(store):
    values = rows(store, "value")
    _, a = head_of(store, lambda: store.set("api-keys/a", b"third"))
    old = [row for row in values if row[0] == a[0]]
    edit(store, ("UPDATE head SET value=? WHERE id=?", (old[0][3], a[0])))
    refused(store, "api-keys/a", "not the one that belongs")


def test_older_value_exchanged(store):
    one, other = rows(store, "value")[:2]
    edit(store, ("UPDATE value SET record=? WHERE id=? AND version=?", (other[3], one[0], one[1])))
    assert "not the one that belongs" in verify(store)


def test_destroyed_value_brought_back(store):
    kept = rows(store, "value")
    store.run("destroy", "tls/b", "1")
    left = rows(store, "value")
    gone = [row for row in kept if row not in left]
    assert len(gone) == 1
    edit(store, ("INSERT INTO value VALUES (?,?,?,?)", gone[0]))
    refused(store, "tls/b@1", "destroyed", status=66)
    assert "no head knows" in verify(store)


@pytest.mark.parametrize("damage", ["remove", "flip"])
@pytest.mark.parametrize("table", ["node", "meta"])
def test_every_row_of_the_index_matters(store, table, damage):
    """One row after the other: nothing wrong is ever served, and what depends on the row is refused."""
    for row in rows(store, table):
        if damage == "remove":
            edit(store, (f"DELETE FROM {table} WHERE id=?", (row[0],)))
        else:
            record = row[2][:-1] + bytes([row[2][-1] ^ 1])
            edit(store, (f"UPDATE {table} SET record=? WHERE id=?", (record, row[0])))
        statuses = []
        for name in "api-keys/a", "tls/a":
            result = store.run("get", name, check=False)
            assert result.stdout == (f"second of {name}".encode() if result.returncode == 0 else b"")
            statuses.append(result.returncode)
        if table == "node" or row[0][:1] == b"r":
            assert sorted(statuses) == [0, 65], (damage, row[0])
        edit(store, (f"INSERT OR REPLACE INTO {table} VALUES (?,?,?)", row))
    assert "4 secrets" in verify(store, 0)


def copy_store(home, path):
    source, target = sqlite3.connect(home.store), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path


def put_store(home, copy):
    for suffix in "", "-wal", "-shm":
        (home.store.parent / (home.store.name + suffix)).unlink(missing_ok=True)
    shutil.copy(copy, home.store)


def test_older_file_put_back(store, tmp_path):
    copy = copy_store(store, tmp_path / "copy")
    store.set("api-keys/a", b"third")
    put_store(store, copy)
    refused(store, "api-keys/a", "an older store was put in place")
    refused(store, "api-keys/b", "an older store was put in place")
    assert store.get("tls/a") == b"second of tls/a", "of this type nothing was written since"
    result = store.run("set", "api-keys/a", input=b"x", check=False)
    assert result.returncode == 65, "nor does a writer go on from it"
    assert "an older store" in verify(store)


def test_file_of_another_key(kt, home, tmp_path):
    """Not NOTFOUND, and not its value."""
    home.set("api-keys/a", b"one")
    other = type(home).create(kt, tmp_path / "other", home.environment)
    other.set("api-keys/a", b"two")
    put_store(home, copy_store(other, tmp_path / "copy"))
    refused(home, "api-keys/a", "not this store's key", status=77)


def anchor_file(home):
    return next((home.dir / "anchors").glob("cli-*/generations"))


def test_anchors_removed(store):
    shutil.rmtree(store.dir / "anchors")
    refused(store, "api-keys/a", "the folder of anchors is gone")


def test_anchor_forged(store, tmp_path):
    """By an attacker who may write to the folder but does not have the key: forged lines are ignored, true ones still count."""
    file = anchor_file(store)
    lines = file.read_text().splitlines()
    words = lines[1].split()
    words[2] = str(int(words[2]) + 1000)
    (store.dir / "anchors/nginx/generations").write_text(lines[0] + "\n" + " ".join(words) + "\n")
    assert store.get("api-keys/a") == b"second of api-keys/a"
    copy = copy_store(store, tmp_path / "copy")
    store.set("api-keys/a", b"third")
    put_store(store, copy)
    refused(store, "api-keys/a", "an older store was put in place")


def test_commit_without_anchor_is_settled(store):
    """A crash between commit and anchor: the next writer records the generation that it found, and then writes its anchor."""
    file = anchor_file(store)
    before = file.read_bytes()
    store.set("api-keys/a", b"third")
    file.write_bytes(before)
    store.set("api-keys/b", b"third of b")
    assert store.get("api-keys/a") == b"third", "a newer store is no older one"
    found = [record for record in store.records() if record["action"] == "settle"]
    assert [(record["reference"], record["generation"], record["provider"]) for record in found] == [("api-keys/*", 5, "local")]
    assert file.read_bytes() != before
    assert "4 secrets" in verify(store, 0)


@pytest.mark.parametrize("verb", [["get", "api-keys/a"], ["list"], ["verify"], ["check"]])
def test_a_reader_records_what_has_no_anchor(store, verb):
    """Before it writes the anchor, and once."""
    file = anchor_file(store)
    before = file.read_bytes()
    store.set("api-keys/a", b"third")
    file.write_bytes(before)
    store.run(*verb)
    store.run(*verb)
    found = [(record["reference"], record["generation"]) for record in store.records() if record["action"] == "settle"]
    assert found == [("api-keys/*", 5)]
    assert file.read_bytes() != before


def test_the_catalogue_without_its_anchor_is_recorded(store):
    """Its line has no reference, because it belongs to all types."""
    file = anchor_file(store)
    before = file.read_bytes()
    store.set("database/a", b"the first of its type")
    file.write_bytes(before)
    store.run("verify", check=False)
    found = [record for record in store.records() if record["action"] == "settle"]
    assert [record for record in found if "reference" not in record], found


def test_what_cannot_be_recorded_gets_no_anchor(store):
    """The anchor would hide that there was none."""
    file = anchor_file(store)
    before = file.read_bytes()
    store.set("api-keys/a", b"third")
    file.write_bytes(before)
    log = next(store.audit.glob("cli-*/log"))
    for path, mode in (log, 0o400), (log.parent, 0o500):
        path.chmod(mode)
    try:
        result = store.run("get", "api-keys/a", check=False)
    finally:
        for path, mode in (log.parent, 0o700), (log, 0o600):
            path.chmod(mode)
    assert result.returncode == 74 and file.read_bytes() == before

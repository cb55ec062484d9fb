# SPDX-License-Identifier: BSD-2-Clause
"""docs/format.md is enough: a reader written from it alone agrees with the command, and its vectors are true."""
import hashlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

from lib import read_format as rf

TOP = pathlib.Path(__file__).resolve().parents[2]
READER = TOP / "tests/lib/read_format.py"


def vectors():
    block = (TOP / "docs/format.md").read_text().split("```vectors\n")[1].split("```")[0]
    return {name: bytes.fromhex(re.sub(r"\s", "", text)) for name, text in re.findall(r"(\w+) =\n((?:  [0-9a-f]+\n)+)", block)}


V = vectors()
OTHER, STORE = bytes(range(0xe0, 0xf0)), bytes(range(0xc0, 0xd0))
E, T, N = b"production", b"api-keys", b"api-keys/stripe"


@pytest.mark.parametrize("name, made", [
    ("environment_key_id", lambda: rf.derive(V["environment_key"], "keyturn key id", size=16)),
    ("label_key", lambda: rf.derive(V["environment_key"], "keyturn label")),
    ("catalogue_key", lambda: rf.derive(V["environment_key"], "keyturn catalog")),
    ("type_key", lambda: rf.derive(V["environment_key"], "keyturn type key", E, T)),
    ("type_key_id", lambda: rf.derive(V["type_key"], "keyturn key id", size=16)),
    ("head_key", lambda: rf.derive(V["type_key"], "keyturn head")),
    ("secret_key", lambda: rf.derive(V["type_key"], "keyturn secret", N)),
    ("name_hash", lambda: rf.derive(V["type_key"], "keyturn name", N)),
    ("index_key", lambda: rf.derive(V["type_key"], "keyturn index")),
])
def test_key_vectors(name, made):
    assert made() == V[name]


def test_value_vector():
    header, plain = rf.unseal(V["secret_key"], E, N, V["value_record"])
    assert plain == b"sk_live_example"
    assert header["type"] == rf.VALUE and header["version"] == 3 and header["key"] == V["type_key_id"]


def test_head_vector():
    header, plain = rf.unseal(V["head_key"], E, T, V["head_record"])
    assert plain == V["head_plain"] and header["version"] == 5
    head = rf.decode_head(plain)
    assert head["name"] == N and head["current"] == 3 and head["last"] == 3 and not head["deleted"]
    assert head["versions"][3]["tag"] == V["value_record"][-16:] and head["versions"][2]["destroyed"]
    assert head["meta"] == {b"owner": b"payments"} and head["notes"] == {(3, b"target"): b"exec:rotate-stripe"}


def test_label_vector():
    header, plain = rf.unseal(V["label_key"], E, b"", V["label_record"])
    assert plain == T and header["type"] == rf.LABEL and header["key"] == V["environment_key_id"]


def test_catalogue_vectors():
    header, plain = rf.unseal(V["catalogue_key"], E, b"", V["catalogue_record"])
    assert plain == V["catalogue_plain"] and header["type"] == rf.CATALOGUE and header["key"] == V["environment_key_id"]
    assert header["id"] == STORE and header["version"] == 9
    assert rf.decode_catalogue(plain) == {"epochs": {1: V["environment_key_id"]}, "types": {T: 1}, "rows": {}}
    header, plain = rf.unseal(V["catalogue_key"], E, b"", V["left_record"])
    assert header["type"] == rf.LEFT and plain == b"\0\0\0\2" + OTHER
    assert rf.row_hash(10, V["left_record"]) == V["left_row_hash"]
    said = V["environment_key_id"] + STORE + (9).to_bytes(8, "big") + V["catalogue_record"][-16:]
    assert hashlib.blake2b(said, key=rf.derive(V["environment_key"], "keyturn index"), digest_size=32,
                           person=b"keyturn anchor  ").digest() == V["catalogue_anchor_mac"]


def test_bundle_vector():
    assert V["bundle"] == b"KTB\x01\x01\0\0\2" + rf.fields(V["head_record"], V["value_record"])


@pytest.mark.parametrize("name, link, entries, other", [("root_record", 0, 2, None), ("root_from", 3, 2, OTHER), ("root_moved", 2, 0, OTHER)])
def test_root_vectors(name, link, entries, other):
    top = bytes(range(0xd0, 0xe0)) if entries else bytes(16)
    assert rf.open_root(V["type_key"], E, T, V[name]) == {"generation": 7, "entries": entries, "top": top, "link": link, "other": other}
    for at in range(len(V[name])):
        bent = bytearray(V[name])
        bent[at] ^= 1
        with pytest.raises(ValueError):
            rf.open_root(V["type_key"], E, T, bytes(bent))


@pytest.mark.parametrize("name", ["value_record", "head_record", "label_record", "catalogue_record", "left_record"])
def test_a_changed_vector_does_not_open(name):
    key, bound = {"value_record": ("secret_key", N), "head_record": ("head_key", T), "label_record": ("label_key", b""),
                  "catalogue_record": ("catalogue_key", b""), "left_record": ("catalogue_key", b"")}[name]
    for at in (6, 8, 24, 47, 48, 72, len(V[name]) - 1):
        bent = bytearray(V[name])
        bent[at] ^= 1
        with pytest.raises(ValueError):
            rf.unseal(V[key], E, bound, bytes(bent))
    with pytest.raises(ValueError):
        rf.unseal(V[key], b"staging", bound, V[name])


def read_by_reader(home, *names):
    argv = [sys.executable, str(READER), str(home.key), str(home.store), *names]
    return subprocess.run(argv, capture_output=True, check=True, env={"PATH": os.environ["PATH"]}).stdout


VALUES = {
    "api-keys/stripe": b"sk_live_1",
    "api-keys/binary": bytes(range(256)) * 3,
    "api-keys/large": b"x" * 65536,
    "api-keys/line": b"ends with a newline\n",
    "database/primary": b'{"user": "app", "password": "p\xc3\xa4ss"}',
    "OPENAI_API_KEY": b"one segment",
    "tls/a/b.c-d_e": b"deep",
}


def test_the_reader_reads_what_the_command_wrote(home):
    for name, value in VALUES.items():
        home.set(name, value)
    assert read_by_reader(home).decode().split() == sorted(VALUES)
    for name, value in VALUES.items():
        assert read_by_reader(home, name) == value == home.get(name)


def test_the_reader_sees_versions_rollbacks_and_deletions(home):
    for text in (b"one", b"two", b"three"):
        home.set("api-keys/k", text)
    home.rollback("api-keys/k", 1)
    home.set("api-keys/gone", b"x")
    home.delete("api-keys/gone")
    environment, keys = rf.read_key_file(home.key)
    store = rf.Store(home.store, environment, keys[1])
    name = b"api-keys/k"
    assert store.value(name) == b"one" == home.get("api-keys/k")
    assert [store.value(name, version) for version in (1, 2, 3)] == [b"one", b"two", b"three"]
    assert read_by_reader(home) == b"api-keys/k\n"
    with pytest.raises(KeyError):
        store.value(b"api-keys/gone")
    with pytest.raises(KeyError):
        store.value(b"api-keys/never")


def test_metadata_and_times_are_where_the_page_says(home):
    home.set("api-keys/k", b"v", "--meta", "owner=payments", "--expires", "90d")
    environment, keys = rf.read_key_file(home.key)
    head = next(rf.Store(home.store, environment, keys[1]).heads())
    assert head["meta"] == {b"owner": b"payments"}
    assert head["expires"] - head["created"] == pytest.approx(90 * 86400_000, abs=2000)
    assert head["created"] == head["updated"] == head["versions"][1]["created"]


def test_the_store_is_the_tables_of_the_page_and_nothing_else(home):
    import sqlite3
    home.set("api-keys/k", b"v")
    db = sqlite3.connect(f"file:{home.store}?mode=ro", uri=True)
    page = (TOP / "docs/format.md").read_text().split("```sql\n")[1].split("```")[0]
    assert sorted(row[0] for row in db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")) == sorted(page.splitlines())
    assert db.execute("PRAGMA application_id").fetchone()[0] == 0x4b545331
    assert db.execute("PRAGMA user_version").fetchone()[0] == 1


def test_another_environments_key_is_reported(make_home):
    one, two = make_home("staging"), make_home("production")
    one.set("api-keys/k", b"v")
    environment, keys = rf.read_key_file(two.key)
    with pytest.raises(ValueError, match="not this store's"):
        rf.Store(one.store, environment, keys[1])


def store_rows(home):
    import sqlite3
    db = sqlite3.connect(f"file:{home.store}?mode=ro", uri=True)
    rows = [(0, id, 0, stamp, record, None) for id, stamp, record in db.execute("SELECT * FROM meta")]
    rows += [(1, id, 0, *rest) for id, *rest in db.execute("SELECT * FROM head")]
    rows += [(2, *rest, None) for rest in db.execute("SELECT * FROM value")]
    db.close()
    return sorted(rows)


@pytest.mark.parametrize("count", [1, 20, 21, 60])
def test_the_index_is_the_tree_of_the_page(home, count):
    """Each node's tag, from its depth, its path and its bytes, is what the node or the root above says; 21 make a branch."""
    for n in range(count):
        home.set(f"api-keys/n{n}", b"x")
    environment, keys = rf.read_key_file(home.key)
    store = rf.Store(home.store, environment, keys[1])
    type_key = store.type_key(keys[1], b"api-keys")
    root = store.root(type_key, b"api-keys")
    entries = list(store.entries(type_key, root["top"]))
    heads = store.rows("SELECT id, record FROM head")
    assert entries == sorted((id, record[-16:]) for id, record in heads)
    assert len(entries) == root["entries"] == root["generation"] == count
    branches = [record for record, in store.rows("SELECT record FROM node") if record[0] == 1]
    assert bool(branches) == (count > 20)


@pytest.mark.parametrize("recipient", [False, True])
def test_the_reader_reads_a_backup(home, tmp_path, recipient):
    """All rows but those of the index, as they stand in the store."""
    for text in (b"one", b"two"):
        home.set("api-keys/k", text)
    home.set("tls/k", b"x")
    _, keys = rf.read_key_file(home.key)
    private = None
    if recipient:
        home.keyturn("keygen", "--recipient", tmp_path / "pair")
        private = rf.read_recipient_key(tmp_path / "pair")
    home.run("backup", tmp_path / "backup", *(["--recipient", tmp_path / "pair.pub"] if recipient else []))
    data = (tmp_path / "backup").read_bytes()
    assert sorted(rf.backup(data, keys[1], private)) == store_rows(home)
    for key, other in ((bytes(32), private), (keys[1], bytes([9]) * 32 if recipient else None)):
        if (key, other) != (keys[1], private):
            with pytest.raises(ValueError):
                list(rf.backup(data, key, other))


def test_backup_vectors():
    """Made by a clock and a random number: what is fixed is how they are opened."""
    for name, private in (("backup_file", None), ("recipient_backup", V["recipient_private_key"])):
        rows = list(rf.backup(V[name], V["environment_key"], private))
        assert rows == [(0, b"c" + V["environment_key_id"], 0, 9, V["catalogue_record"], None),
                        (0, b"r" + V["type_key_id"], 0, 7, V["root_one"], None),
                        (1, V["name_hash"], 0, 5, V["head_record"], V["value_record"])]


def test_the_vectors_are_one_store():
    """The root leads to the node, the node to the head, the head to the value."""
    root = rf.open_root(V["type_key"], E, T, V["root_one"])
    assert root["entries"] == 1 and root["top"] == V["node_tag"] == rf.node_tag(V["index_key"], 0, b"", V["node_record"])
    assert V["node_record"] == b"\0" + V["name_hash"] + V["head_record"][-16:]


def test_names_and_values_are_nowhere_in_the_clear(home, canary):
    value, name = canary("format"), "api-keys/verysecretname"
    home.set(name, value.encode())
    for path in home.store.parent.glob(home.store.name + "*"):
        text = path.read_bytes()
        assert value.encode() not in text and b"verysecretname" not in text and b"api-keys" not in text

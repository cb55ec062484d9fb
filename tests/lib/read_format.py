#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Opens a store of keyturn without keyturn: written from docs/format.md alone, to show that it is enough.

    read_format.py KEYFILE STORE            names, a line each
    read_format.py KEYFILE STORE NAME...    the current value of each, as it is

and backup() opens a backup, for a recipient too.

The comments name the sections of docs/format.md. It reads; it checks what a reader has to check; it repairs nothing.
"""
import base64
import hashlib
import sqlite3
import struct
import sys

from nacl import bindings

VALUE, HEAD, LABEL, CATALOGUE, LEFT = 1, 2, 3, 4, 5


def fields(*texts):
    """Each after its length ("Notation")."""
    return b"".join(struct.pack(">I", len(text)) + text for text in texts)


def derive(key, personal, *texts, size=32):
    """"Keys"."""
    return hashlib.blake2b(fields(*texts), key=key, digest_size=size, person=personal.ljust(16).encode()).digest()


def unseal(key, environment, name, record):
    """"Record": header as a dict, plain text. ValueError if the seal does not hold."""
    if record[:6] != b"KTRN\x01\x01" or record[7] != 0:
        raise ValueError("not a record of format 1")
    data = record[:72] + fields(environment, name)
    try:
        padded = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(record[72:], data, record[48:72], key)
    except Exception as error:
        raise ValueError("the seal does not hold") from error
    size = int.from_bytes(padded[:4], "big")
    contents = max(64, 1 << (size - 1).bit_length()) if size else 64
    if len(padded) != 4 + contents or any(padded[4 + size:]):
        raise ValueError("not the padding of this length")
    header = {"type": record[6], "key": record[8:24], "id": record[24:40], "version": int.from_bytes(record[40:48], "big"),
              "tag": record[-16:]}
    return header, padded[4:4 + size]


def split(plain):
    """The fields of a head, or of a catalogue: tag and contents."""
    while plain:
        tag, size = plain[0], int.from_bytes(plain[1:5], "big")
        if len(plain) < 5 + size:
            raise ValueError("a field that is cut short")
        yield tag, plain[5:5 + size]
        plain = plain[5 + size:]


def decode_head(plain):
    """"Head"."""
    head = {"versions": {}, "meta": {}, "notes": {}}
    for tag, field in split(plain):
        if tag == 1 and "name" not in head:
            head["name"] = field
        elif tag == 2 and "current" not in head:
            head["current"], head["previous"], head["pending"], head["last"] = struct.unpack(">4Q", field)
        elif tag == 3 and "deleted" not in head:
            head["deleted"] = field == b"\x01"
        elif tag == 4 and "created" not in head:
            head["created"], head["updated"], head["expires"] = struct.unpack(">3q", field)
        elif tag == 5:
            version, created, expires, flags, value_tag = struct.unpack(">QqqB16s", field)
            if flags > 2:
                raise ValueError("unknown flags of a version")
            head["versions"][version] = {"created": created, "expires": expires, "destroyed": flags == 1, "abandoned": flags == 2,
                                         "tag": value_tag}
        elif tag == 6:
            key, value = field.split(b"\0")
            head["meta"][key] = value
        elif tag == 7:
            key, value = field[8:].split(b"\0")
            head["notes"][int.from_bytes(field[:8], "big"), key] = value
        else:
            raise ValueError(f"unknown or repeated field {tag} of a head")
    if not {"name", "current", "deleted", "created"} <= set(head):
        raise ValueError("a field of a head is missing")
    return head


def decode_catalogue(plain):
    """"Catalogue"."""
    catalogue = {"epochs": {}, "types": {}, "rows": {}}
    for tag, field in split(plain):
        if tag == 1:
            catalogue["epochs"][int.from_bytes(field[:4], "big")] = field[4:]
        elif tag == 2:
            catalogue["types"][field[4:]] = int.from_bytes(field[:4], "big")
        elif tag == 3:
            catalogue["rows"][field[:17]] = field[17:]
        else:
            raise ValueError(f"unknown field {tag} of a catalogue")
    return catalogue


def row_hash(stamp, record):
    """"Catalogue": of a row that stays as it is."""
    return hashlib.blake2b(struct.pack(">Q", stamp) + record, digest_size=16, person=b"keyturn row".ljust(16)).digest()


def read_key_file(path):
    """"Key file": the environment, and each environment key by its epoch."""
    words = [line.split() for line in open(path) if line.strip() and not line.lstrip().startswith("#")]
    if words[0] != ["keyturn-key", "1"] or words[1][0] != "environment":
        raise ValueError("not a key file")
    keys = {int(word[1]): base64.b64decode(word[2]) for word in words[2:] if word[0] == "key"}
    return words[1][1].encode(), keys


def open_root(type_key, environment, kind, record):
    """"Index" and "Epochs": generation, entries, the topmost node's tag, how the type is linked with another epoch (0: not),
    that one's key id."""
    body, mac = record[:-32], record[-32:]
    made = hashlib.blake2b(fields(environment, kind) + body, key=derive(type_key, "keyturn index"), digest_size=32,
                           person=b"keyturn root".ljust(16)).digest()
    if len(body) not in (48, 65) or mac != made:
        raise ValueError("the root does not hold")
    generation, entries = struct.unpack(">QQ", body[16:32])
    link, other = (body[48], body[49:]) if len(body) == 65 else (0, None)
    if link > 3 or (other and not link):
        raise ValueError("unknown link of a root")
    return {"generation": generation, "entries": entries, "top": body[32:48], "link": link, "other": other}


def node_tag(index_key, depth, path, record):
    """"Index": the tag that the parent, or the root row, has of a node."""
    return hashlib.blake2b(bytes([depth]) + path + record, key=index_key, digest_size=16,
                           person=b"keyturn node".ljust(16)).digest()


class Elsewhere(Exception):
    """The secret may be under an epoch whose key is not here: that is not to say that there is none."""


class Store:
    """"Store": the rows of an SQLite file, with environment keys: one, or some by their epochs."""

    def __init__(self, path, environment, keys):
        self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.environment = environment
        self.keys = [keys] if isinstance(keys, bytes) else [keys[epoch] for epoch in sorted(keys, reverse=True)]  # newest first
        self.key_ids = [derive(key, "keyturn key id", size=16) for key in self.keys]
        if not any(self.rows("SELECT record FROM meta WHERE id = ?", b"c" + key_id) for key_id in self.key_ids):
            raise ValueError("this key is not this store's")

    def rows(self, sql, *values):
        return self.db.execute(sql, values).fetchall()

    def type_key(self, key, kind):
        return derive(key, "keyturn type key", self.environment, kind)

    def catalogue(self):
        """"Catalogue": under the newest key; None: the store has left that epoch."""
        for key, key_id in zip(self.keys, self.key_ids):
            for record, stamp in self.rows("SELECT record, stamp FROM meta WHERE id = ?", b"c" + key_id):
                header, plain = unseal(derive(key, "keyturn catalog"), self.environment, b"", record)
                if header["key"] != key_id or header["version"] != stamp or header["type"] not in (CATALOGUE, LEFT):
                    raise ValueError("not this row's catalogue")
                return decode_catalogue(plain) if header["type"] == CATALOGUE else None

    def types(self):
        """"Catalogue" and "Labels": the id of a type key to the name and the key."""
        kinds = set((self.catalogue() or {"types": ()})["types"])
        for row_id, record in self.rows("SELECT id, record FROM meta"):
            if row_id[:1] == b"t" and record[8:24] in self.key_ids:
                key = self.keys[self.key_ids.index(record[8:24])]
                kinds.add(unseal(derive(key, "keyturn label"), self.environment, b"", record)[1])
        for kind in kinds:
            for key in self.keys:
                type_key = self.type_key(key, kind)
                yield derive(type_key, "keyturn key id", size=16), (kind, type_key)

    def root(self, type_key, kind):
        row = self.rows("SELECT record, stamp FROM meta WHERE id = ?", b"r" + derive(type_key, "keyturn key id", size=16))
        if not row:
            return None
        root = open_root(type_key, self.environment, kind, row[0][0])
        if root["generation"] != row[0][1]:
            raise ValueError("the root's stamp is not its generation")
        return root

    def entries(self, type_key, tag, depth=0, path=""):
        """"Index": name hash and head tag of all secrets below a node, whose tag and path (in hexadecimal) are given."""
        place = bytes.fromhex(path + "0" * (depth % 2))
        row = self.rows("SELECT record, stamp FROM node WHERE id = ?",
                        derive(type_key, "keyturn key id", size=16) + bytes([depth]) + place)
        if not row or row[0][1] != 1 or node_tag(derive(type_key, "keyturn index"), depth, place, row[0][0]) != tag:
            raise ValueError("the index does not hold")
        kind, record = row[0][0][0], row[0][0][1:]
        if kind == 0:
            yield from ((record[at:at + 32], record[at + 32:at + 48]) for at in range(0, len(record), 48))
        elif kind == 1 and len(record) == 256:
            for n in range(16):
                if any(record[16 * n:16 * n + 16]):
                    yield from self.entries(type_key, record[16 * n:16 * n + 16], depth + 1, path + f"{n:x}")
        else:
            raise ValueError("unknown kind of node")

    def trees(self, kind):
        """"Epochs": the type keys under which a name may be, and whether that is all of them."""
        keys = [self.type_key(key, kind) for key in self.keys]
        ids = [derive(key, "keyturn key id", size=16) for key in keys]
        newest = next((i for i, key in enumerate(keys) if self.root(key, kind)), None)
        if newest is None:
            catalogue = self.catalogue()
            if catalogue and kind in catalogue["types"] and len(self.keys) >= len(catalogue["epochs"]):
                raise ValueError("a type was removed")
            return keys, catalogue is not None
        root = self.root(keys[newest], kind)
        if root["link"] == 0:
            return [keys[newest]], True
        if root["link"] != 3 or root["other"] not in ids:
            if root["other"] in ids[:newest]:
                raise ValueError("the newer root is gone")
            return [keys[newest]], False
        old = keys[ids.index(root["other"])]
        other = self.root(old, kind)
        if not other or (other["link"], other["other"], other["generation"]) != (1, ids[newest], root["generation"]):
            raise ValueError("the roots do not fit")
        return [keys[newest], old], True

    def open_head(self, type_key, kind, record, stamp):
        header, plain = unseal(derive(type_key, "keyturn head"), self.environment, kind, record)
        if header["type"] != HEAD or header["version"] != stamp:
            raise ValueError("not this row's head")
        return header, decode_head(plain)

    def heads(self):
        kinds = dict(self.types())
        for record, stamp in self.rows("SELECT record, stamp FROM head"):
            if record[8:24] in kinds:
                kind, key = kinds[record[8:24]]
                yield self.open_head(key, kind, record, stamp)[1]

    def find(self, name):
        """The type, its key and the row of the head."""
        kind = name.split(b"/")[0] if b"/" in name else b"general"
        keys, all_of_them = self.trees(kind)
        for key in keys:
            row = self.rows("SELECT record, stamp, value FROM head WHERE id = ?", derive(key, "keyturn name", name))
            if row:
                return kind, key, row[0]
        raise KeyError(name) if all_of_them else Elsewhere(name)

    def value(self, name, version=None):
        kind, key, row = self.find(name)
        head_header, head = self.open_head(key, kind, *row[:2])
        version = version or head["current"]
        kept = head["versions"][version]
        if head["name"] != name or head["deleted"] or kept["destroyed"]:
            raise KeyError(name)
        record = row[2] if version == head["current"] else self.rows(
            "SELECT record FROM value WHERE id = ? AND version = ?", derive(key, "keyturn name", name), version)[0][0]
        header, plain = unseal(derive(key, "keyturn secret", name), self.environment, name, record)
        if (header["type"], header["version"], header["id"], header["tag"]) != (VALUE, version, head_header["id"], kept["tag"]):
            raise ValueError("not the value that the head means")
        return plain


def read_recipient_key(path):
    """"Backup": the private key of a recipient."""
    magic, number, text = open(path).read().split()
    if (magic, number) != ("keyturn-recipient-key", "1"):
        raise ValueError("not a recipient's key")
    return base64.b64decode(text)


def backup_stream(data, key, private=None):
    """"Backup": the state of its stream, and the frames."""
    if data[:5] != b"KTBK\x01" or data[5] > 1 or data[6:8] != b"\0\0":
        raise ValueError("not a backup")
    if data[8:24] != derive(key, "keyturn key id", size=16):
        raise ValueError("for another environment key")
    stream_key, at = derive(key, "keyturn backup"), 24
    if data[5] == 1:
        public = bindings.crypto_scalarmult_base(private)
        if data[24:40] != derive(public, "keyturn key id", size=16):
            raise ValueError("for another recipient")
        fresh = bindings.crypto_box_seal_open(data[40:120], public, private)
        stream_key = hashlib.blake2b(fresh + public, key=stream_key, digest_size=32, person=b"keyturn sealed  ").digest()
        at = 120
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, data[at:at + 24], stream_key)
    return state, data[at + 24:]


def backup(data, key, private=None):
    """"Backup": its rows, as (space, key, version, stamp, record, what lies beside it or None)."""
    state, data = backup_stream(data, key, private)
    while True:
        size = int.from_bytes(data[:4], "big")
        row, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(state, data[4:4 + size], None)
        data = data[4 + size:]
        if tag == bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL:
            if data:
                raise ValueError("more bytes than rows")
            return
        version, stamp, record, beside = struct.unpack(">QQII", row[66:90])
        yield (row[0], row[2:2 + row[1]], version, stamp, row[90:90 + record],
               None if beside == 0xffffffff else row[90 + record:90 + record + beside])


def main(key_file, path, *names):
    environment, keys = read_key_file(key_file)
    store = Store(path, environment, keys)
    for name in names:
        sys.stdout.buffer.write(store.value(name.encode()))
    if not names:
        print("\n".join(sorted(head["name"].decode() for head in store.heads() if not head["deleted"])))


if __name__ == "__main__":
    main(*sys.argv[1:])

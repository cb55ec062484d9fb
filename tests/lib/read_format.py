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

VALUE, HEAD, LABEL = 1, 2, 3


def fields(*texts):
    """Each behind its length ("Notation")."""
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
    header = {"type": record[6], "key": record[8:24], "id": record[24:40], "version": int.from_bytes(record[40:48], "big"),
              "tag": record[-16:]}
    return header, padded[4:4 + int.from_bytes(padded[:4], "big")]


def decode_head(plain):
    """"Head"."""
    head = {"versions": {}, "meta": {}, "notes": {}}
    while plain:
        tag, size = plain[0], int.from_bytes(plain[1:5], "big")
        field, plain = plain[5:5 + size], plain[5 + size:]
        if tag == 1:
            head["name"] = field
        elif tag == 2:
            head["current"], head["previous"], head["pending"], head["last"] = struct.unpack(">4Q", field)
        elif tag == 3:
            head["deleted"] = field == b"\x01"
        elif tag == 4:
            head["created"], head["updated"], head["expires"] = struct.unpack(">3q", field)
        elif tag == 5:
            version, created, expires, destroyed, value_tag = struct.unpack(">Qqq?16s", field)
            head["versions"][version] = {"created": created, "expires": expires, "destroyed": destroyed, "tag": value_tag}
        elif tag == 6:
            key, value = field.split(b"\0")
            head["meta"][key] = value
        elif tag == 7:
            key, value = field[8:].split(b"\0")
            head["notes"][int.from_bytes(field[:8], "big"), key] = value
        else:
            raise ValueError(f"unknown field {tag} of a head")
    return head


def read_key_file(path):
    """"Key file": the environment, and each environment key by its epoch."""
    words = [line.split() for line in open(path) if line.strip() and not line.lstrip().startswith("#")]
    if words[0] != ["keyturn-key", "1"] or words[1][0] != "environment":
        raise ValueError("not a key file")
    keys = {int(word[1]): base64.b64decode(word[2]) for word in words[2:] if word[0] == "key"}
    return words[1][1].encode(), keys


class Store:
    """"Store": the rows of an SQLite file, with an environment key."""

    def __init__(self, path, environment, key):
        self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.environment, self.key = environment, key
        self.key_id = derive(key, "keyturn key id", size=16)
        if self.rows("SELECT record FROM meta WHERE id = ?", b"e" + self.key_id) == []:
            raise ValueError("this key is not this store's")

    def rows(self, sql, *values):
        return self.db.execute(sql, values).fetchall()

    def type_key(self, name):
        kind = name.split(b"/")[0] if b"/" in name else b"general"
        return kind, derive(self.key, "keyturn type key", self.environment, kind)

    def types(self):
        """"Labels"."""
        label_key = derive(self.key, "keyturn label")
        for row_id, record in self.rows("SELECT id, record FROM meta"):
            if row_id[:1] == b"t" and record[8:24] == self.key_id:
                yield row_id[1:], unseal(label_key, self.environment, b"", record)[1]

    def open_head(self, type_key, kind, record, stamp):
        header, plain = unseal(derive(type_key, "keyturn head"), self.environment, kind, record)
        if header["type"] != HEAD or header["version"] != stamp:
            raise ValueError("not this row's head")
        return header, decode_head(plain)

    def heads(self):
        kinds = dict(self.types())
        for record, stamp in self.rows("SELECT record, stamp FROM head"):
            if record[8:24] in kinds:
                kind = kinds[record[8:24]]
                yield self.open_head(derive(self.key, "keyturn type key", self.environment, kind), kind, record, stamp)[1]

    def value(self, name, version=None):
        kind, key = self.type_key(name)
        row = self.rows("SELECT record, stamp, value FROM head WHERE id = ?", derive(key, "keyturn name", name))
        if not row:
            raise KeyError(name)
        head_header, head = self.open_head(key, kind, *row[0][:2])
        version = version or head["current"]
        kept = head["versions"][version]
        if head["name"] != name or head["deleted"] or kept["destroyed"]:
            raise KeyError(name)
        record = row[0][2] if version == head["current"] else self.rows(
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
    store = Store(path, environment, keys[max(keys)])
    for name in names:
        sys.stdout.buffer.write(store.value(name.encode()))
    if not names:
        print("\n".join(sorted(head["name"].decode() for head in store.heads() if not head["deleted"])))


if __name__ == "__main__":
    main(*sys.argv[1:])

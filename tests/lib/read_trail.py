#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Verifies a stream of the audit trail without keyturn: written from "Audit trail" of docs/format.md alone.

    read_trail.py KEYFILE LOG...    the logs of one stream from the oldest on; the number of lines that are proved
"""
import base64
import hashlib
import json
import struct
import sys


def hashed(personal, data, key=b""):
    return hashlib.blake2b(data, key=key, digest_size=32, person=personal.ljust(16).encode()).digest()


def lp(text):
    return struct.pack(">I", len(text)) + text


def read_audit_key(path):
    magic, version, key = open(path, encoding="ascii").read().split()
    if (magic, version) != ("keyturn-audit-key", "1"):
        raise ValueError("not an audit key")
    return base64.b64decode(key, validate=True)


def first_key(audit_key, head):
    data = lp(head["environment"].encode()) + lp(head["stream"].encode()) + bytes.fromhex(head["instance"])
    return hashed("keyturn stream", data, audit_key)


def verify(audit_key, lines):
    """The decisions that are proved, as objects; ValueError with the number of the line that is wrong."""
    proved, waiting = [], []
    key = instance = None
    chain, block, sequence = bytes(32), 0, 0
    rings = {}
    for number, line in enumerate(lines, 1):
        what = json.loads(line)
        if key is None and what.get("log") != "start":
            raise ValueError(f"line {number}: before the first line of an instance")
        if "log" in what:
            if what["log"] == "start":
                key, instance, chain, block, sequence = first_key(audit_key, what), what["instance"], bytes(32), 0, 0
            if not what["keyed"] or waiting or (what["instance"], what["block"], what["last"]) != (instance, block, sequence) or (
                    bytes.fromhex(what["chain"]) != chain):
                raise ValueError(f"line {number}: not where a log begins")
        elif "seal" in what:
            text = line[:line.index(b',"mac":')]
            mac = hashed("keyturn seal", chain + text, key)
            if (what["seal"], what["instance"], what["last"], bytes.fromhex(what["chain"])) != (block, instance, sequence, chain) or (
                    bytes.fromhex(what["mac"]) != mac):
                raise ValueError(f"line {number}: the seal does not hold")
            if "ring" in what:
                if what["from"] != rings.get(what["ring"], what["from"] - 1) + 1 or what["to"] < what["from"]:
                    raise ValueError(f"line {number}: records of a ring are in no block")
                rings[what["ring"]] = what["to"]
            proved, waiting = proved + waiting, []
            key, block = hashed("keyturn next", b"", key), block + 1
        else:
            sequence += 1 + what.get("missing", 0)
            if what["seq"] != sequence:
                raise ValueError(f"line {number}: its number is not the next")
            waiting.append(what)
        chain = hashed("keyturn line", chain + line)
    return proved


def checkpoints(proved):
    """The checkpoints among them; ValueError if a generation goes back from one to the next."""
    found, highest = [line for line in proved if line["action"] == "checkpoint"], {}
    for line in found:
        for place in [(store, kind) for store, types in line["generations"].items() for kind in types]:
            generation = line["generations"][place[0]][place[1]]
            if generation < highest.get(place, 0):
                raise ValueError(f"number {line['seq']}: {place} is at generation {generation}, and was at {highest[place]}")
            highest[place] = generation
    return found


if __name__ == "__main__":
    print(len(verify(read_audit_key(sys.argv[1]), [line for path in sys.argv[2:] for line in open(path, "rb")])))

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Verifies a stream of the audit trail without keyturn: written from "Audit trail" of docs/format.md alone.

    read_trail.py KEYFILE LOG...    the logs of one stream, plain or gzip; the number of lines that are proved
"""
import base64
import gzip
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


def read_log(path):
    data = open(path, "rb").read()
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).splitlines(keepends=True)


def in_order(logs):
    """Lists of lines, one for each log: instances by the time of their first log, the logs of each by block. Empty logs do not count."""
    heads = [(json.loads(log[0]), log) for log in logs if log]
    began = {}
    for head, _ in sorted(heads, key=lambda pair: pair[0]["block"], reverse=True):
        began[head["instance"]] = head["time"]
    return [log for _, log in sorted(heads, key=lambda pair: (began[pair[0]["instance"]], pair[0]["instance"], pair[0]["block"]))]


def key_of(audit_key, head):
    key = first_key(audit_key, head)
    for _ in range(head["block"]):
        key = hashed("keyturn next", b"", key)
    return key


def account(holes, removed):
    """Retention has to name every block that is not there, from the first one of its instance on."""
    for head in holes:
        line = removed.get(head["instance"])
        if line is None or line["from"] != 0 or line["to"] + 1 < head["block"] or (
                line["to"] + 1 == head["block"] and (line["last"], line["chain"]) != (head["last"], head["chain"])):
            raise ValueError(f"blocks before {head['block']} are missing, and retention did not remove them")


def verify(audit_key, lines):
    """The decisions that are proved, as objects; ValueError with the number of the line that is wrong."""
    proved, waiting = [], []
    key = instance = None
    chain, text, block, sequence = bytes(32), b"", 0, 0  # chain: through the last seal; text: the lines after it
    rings, holes, removed, ends = {}, [], {}, {}
    for number, line in enumerate(lines, 1):
        what = json.loads(line)
        if key is None and "log" not in what:
            raise ValueError(f"line {number}: before the first line of an instance")
        if "log" in what:
            if what["log"] == "start":
                key, instance, chain, block, sequence = first_key(audit_key, what), what["instance"], bytes(32), 0, 0
            elif what["instance"] != instance:  # retention has removed what was before
                holes.append(what)
                key, instance, chain = key_of(audit_key, what), what["instance"], bytes.fromhex(what["chain"])
                block, sequence = what["block"], what["last"]
            if not what["keyed"] or text or (what["instance"], what["block"], what["last"]) != (instance, block, sequence) or (
                    bytes.fromhex(what["chain"]) != chain):
                raise ValueError(f"line {number}: not where a log begins")
        elif "seal" in what:
            through = hashed("keyturn lines", chain + text)
            mac = hashed("keyturn seal", through + line[:line.index(b',"mac":')], key)
            if (what["seal"], what["instance"], what["last"], bytes.fromhex(what["chain"])) != (block, instance, sequence, through) or (
                    bytes.fromhex(what["mac"]) != mac):
                raise ValueError(f"line {number}: the seal does not hold")
            if "ring" in what:
                if what["from"] != rings.get(what["ring"], what["from"] - 1) + 1 or what["to"] < what["from"]:
                    raise ValueError(f"line {number}: records of a ring are in no block")
                rings[what["ring"]] = what["to"]
            for said in waiting:
                if said["action"] == "retention":
                    removed[said["instance"]] = said
                if said["action"] == "gap" and said["reason"] == "state" and said["instance"] not in removed and (
                        ends.get(said["instance"]) != (said["to"], said["last"], said["chain"])):
                    raise ValueError(f"line {number}: the instance before does not end as this one says")
            proved, waiting = proved + waiting, []
            key, block = hashed("keyturn next", b"", key), block + 1
            chain, text = hashed("keyturn lines", through + line), b""
            ends[instance] = (block - 1, sequence, chain.hex())
            continue
        else:
            sequence += 1 + what.get("missing", 0)
            if what["seq"] != sequence:
                raise ValueError(f"line {number}: its number is not the next")
            waiting.append(what)
        text += line
    account(holes, removed)
    return proved


def checkpoints(proved):
    """The checkpoints among them; ValueError if a generation goes back from one to the next."""
    found, highest = [line for line in proved if line["action"] == "checkpoint"], {}
    for line in found:
        for place in [(store, kind) for store, types in line["generations"].items() for kind in types if kind != "#"]:  # `@` is the catalogue
            generation = line["generations"][place[0]][place[1]]
            if generation < highest.get(place, 0):
                raise ValueError(f"number {line['seq']}: {place} is at generation {generation}, and was at {highest[place]}")
            highest[place] = generation
    return found


if __name__ == "__main__":
    ordered = in_order([read_log(path) for path in sys.argv[2:]])
    print(len(verify(read_audit_key(sys.argv[1]), [line for log in ordered for line in log])))

# SPDX-License-Identifier: BSD-2-Clause
"""Payloads made by an attacker: RESTORE, SECRET.RESTORE and SECRET.SETSEALED. Never a crash, never a wrong value."""
import itertools
import random

import pytest
import redis as client_library

NAME = "api-keys/stripe"
POLYNOMIAL = 0x95ac9329ac4bc9b5  # Jones, reflected


def table():
    rows = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ POLYNOMIAL if crc & 1 else crc >> 1
        rows.append(crc)
    return rows


TABLE = table()


def crc64(data):
    crc = 0
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc


def payload(body):
    """A DUMP payload is a body (with the RDB version at its end) and the CRC of it."""
    return bytes(body) + crc64(body).to_bytes(8, "little")


def outcome(db, *words):
    """The answer, or the error as text. A dropped connection is a crash, and not caught."""
    try:
        return db.execute_command(*words)
    except client_library.exceptions.ResponseError as error:
        return str(error)


def test_crc_is_redis_own(open_redis):
    db = open_redis().client()
    db.execute_command("SECRET.SET", NAME, "v")
    dump = db.dump(NAME)
    assert payload(dump[:-8]) == dump


@pytest.fixture
def victim(open_redis, canary):
    server = open_redis()
    db = server.client()
    values = [canary(f"v{i}").encode() for i in range(3)]
    for value in values:
        db.execute_command("SECRET.SET", NAME, value)
    return server, db, values


def check(db, values, body):
    """Restores a body; what is there then either opens to what it was or is an error."""
    db.delete(NAME)
    if outcome(db, "RESTORE", NAME, 0, payload(body)) != b"OK":
        return "refused"
    seen = outcome(db, "SECRET.GET", NAME)
    assert seen is None or seen in values or (isinstance(seen, str) and seen.startswith("SECRET")), seen
    for command in (["GET", "VERSION", 1], ["INFO"], ["VERSIONS"], ["GETSEALED"], ["SET", "new"], ["ROTATE"], ["ROLLBACK"], ["DEL"]):
        outcome(db, f"SECRET.{command[0]}", NAME, *command[1:])
    return "served" if isinstance(seen, bytes) else "error"


def test_flipped_bytes(victim):
    server, db, values = victim
    body = db.dump(NAME)[:-8]
    seen = dict.fromkeys(["refused", "error", "served"], 0)
    for at in range(len(body)):
        broken = bytearray(body)
        broken[at] ^= 1 << at % 8
        seen[check(db, values[-1:], broken)] += 1
    assert seen["refused"] > 50 and seen["error"] > 50, seen
    # the length of a string may be written in more than one way, and older versions' values are not read here
    assert db.ping() and server.process.running()


def test_flipped_bits_of_the_frame(victim):
    """Every bit of the first 80 bytes: type, lengths, magic, counts."""
    server, db, values = victim
    body = db.dump(NAME)[:-8]
    for at, bit in itertools.product(range(80), range(8)):
        broken = bytearray(body)
        broken[at] ^= 1 << bit
        check(db, values[-1:], broken)
    assert db.ping() and server.process.running()


def test_truncated(victim):
    server, db, values = victim
    dump = db.dump(NAME)
    body, end = dump[:-10], dump[-10:-8]
    for length in range(1, len(body)):
        cut = body[:length] + end
        seen = check(db, values[-1:], cut)
        # Redis reads on into the version and the CRC: as the end of the oldest value and, by chance, as the end mark,
        # a length of 0, which may be written in these ways
        fits = payload(cut)[len(body) - 1:].startswith((b"\0", b"\xc0", b"@\0"))
        assert seen == "refused" or (seen == "served" and fits), length
    assert server.process.running()


def test_extended_and_shuffled(victim):
    server, db, values = victim
    dump = db.dump(NAME)
    body, end = dump[:-10], dump[-10:-8]
    dice = random.Random(1)
    for _ in range(300):
        a, b = sorted(dice.sample(range(1, len(body)), 2))
        check(db, values, body[:a] + body[b:] + body[a:b] + end)
        check(db, values, body[:b] + body[a:b] + body[b:] + end)
        check(db, values, body[:a] + dice.randbytes(dice.randrange(40)) + body[b:] + end)
    assert server.process.running()


def bundle_of(db):
    return db.execute_command("SECRET.GETSEALED", NAME)


def test_flipped_bundles(victim):
    """By SECRET.RESTORE, which looks at the bundle only: whatever of it is not proven by a seal must not be believed."""
    server, db, values = victim
    bundle = bundle_of(db)
    served = []
    for at in range(len(bundle)):
        broken = bytearray(bundle)
        broken[at] ^= 1 << at % 8
        if outcome(db, "SECRET.RESTORE", NAME, bytes(broken)) != b"OK":
            continue
        seen = outcome(db, "SECRET.GET", NAME)
        if isinstance(seen, bytes):
            served.append(at)
            assert seen == values[-1]
            old = outcome(db, "SECRET.GET", NAME, "VERSION", 1)
            assert old == values[0] or isinstance(old, str)
    # what may be broken and yet the current value is served: the records of the older ones
    first_old = len(bundle) - 2 * (4 + 72 + 20 + 64)
    assert all(at >= first_old for at in served), served
    assert server.process.running()


def test_swapped_records(victim, refused):
    """A value of another version, or of another secret, in the place of the current one."""
    server, db, values = victim
    db.execute_command("SECRET.SET", "api-keys/other", b"o" * len(values[0]))
    other = db.execute_command("SECRET.GETSEALED", "api-keys/other")
    bundle = bundle_of(db)

    def records(data):
        at, found = 8, []
        while at < len(data):
            size = int.from_bytes(data[at:at + 4], "big")
            found.append(data[at:at + 4 + size])
            at += 4 + size
        return found

    def answer(parts, current=True):
        made = bundle[:4] + bytes([current, 0]) + len(parts).to_bytes(2, "big") + b"".join(parts)
        if outcome(db, "SECRET.RESTORE", NAME, made) != b"OK":
            return "refused"
        return outcome(db, "SECRET.GET", NAME)

    head, current, *older = records(bundle)
    assert answer([head, current, *older]) == values[-1]
    assert answer([head, older[0], current, older[1]]).startswith("SECRETCORRUPT")
    assert str(answer([head, records(other)[1], *older])).startswith(("refused", "SECRETCORRUPT"))
    assert answer(records(other)).startswith("SECRETMOVED")
    assert answer([head]).startswith(("SECRETCORRUPT", "refused"))
    assert answer([head, *older], current=False).startswith("SECRETCORRUPT")
    assert answer([current, head, *older]) == "refused"
    assert answer([]) == "refused"
    assert answer([head, current, *older, *older]) == "refused"
    assert answer([head, current] + [older[0]] * 200) == "refused"


def test_stretched_lengths(victim):
    server, db, values = victim
    bundle = bundle_of(db)
    for size in (0, 1, 71, 91, 0x7fffffff, 0xffffffff, len(bundle), len(bundle) - 11):
        broken = bundle[:8] + size.to_bytes(4, "big") + bundle[12:]
        assert outcome(db, "SECRET.RESTORE", NAME, broken).startswith("SECRETCORRUPT")
        assert outcome(db, "SECRET.SETSEALED", NAME, broken).startswith("SECRETCORRUPT")
    for junk in (b"", b"KTB", b"KTB\1", b"KTB\1\0\0\0\0", b"KTB\2\0\0\0\1" + bundle[8:], bundle + b"\0", b"\0" * 100):
        assert outcome(db, "SECRET.RESTORE", NAME, junk).startswith("SECRETCORRUPT")
    assert db.execute_command("SECRET.GET", NAME) == values[-1], "all of it was refused"


def test_old_bundle_is_accepted(victim):
    """Said plainly in the manual: a server cannot know that an older state was put back."""
    server, db, values = victim
    old = bundle_of(db)
    db.execute_command("SECRET.SET", NAME, "newer")
    assert outcome(db, "SECRET.SETSEALED", NAME, old).startswith("SECRETVERSION")
    assert db.execute_command("SECRET.RESTORE", NAME, old) == b"OK"
    assert db.execute_command("SECRET.GET", NAME) == values[-1]


def test_huge_secret(open_redis):
    """As many and as long versions as are kept survive dump, restore and reload."""
    db = open_redis().client()
    for i in range(12):
        db.execute_command("SECRET.SET", NAME, bytes([i]) * 65536)
    payload_ = db.dump(NAME)
    db.delete(NAME)
    db.restore(NAME, 0, payload_)
    db.execute_command("DEBUG", "RELOAD")
    assert db.execute_command("SECRET.GET", NAME) == bytes([11]) * 65536
    assert db.execute_command("SECRET.GET", NAME, "VERSION", "previous") == bytes([10]) * 65536

# SPDX-License-Identifier: BSD-2-Clause
"""The table of refusals of a stream (docs/format.md, "Refusals"): lock-outs in it, and time that passes without waiting."""
import struct

HEADER, SLOT = 64, 512


def slots(folder):
    data = (folder / "refusals").read_bytes()
    assert data[:4] == b"KTF2" and len(data) == HEADER + SLOT * struct.unpack("=I", data[4:8])[0]
    for at in range(HEADER, len(data), SLOT):
        source, until, seconds = struct.unpack("=QII", data[at:at + 16])
        if source:
            yield at, until, seconds


def lockouts(folder):
    """The seconds of each lock-out."""
    return [seconds for _, until, seconds in slots(folder) if until]


def end(folder):
    """All lock-outs have ended a second after 1970, so to say."""
    places = [at for at, until, _ in slots(folder) if until]
    with open(folder / "refusals", "r+b") as file:
        for at in places:
            file.seek(at + 8)
            file.write(struct.pack("=I", 1))
    return len(places)

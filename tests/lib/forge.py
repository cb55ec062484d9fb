# SPDX-License-Identifier: BSD-2-Clause
"""What the owner of a stream can do to it: write any lines, and seal them with the stream's present key."""
import json
import struct

from lib.read_trail import hashed


class Stream:
    """The folder of a stream, and its state as docs/format.md has it."""
    def __init__(self, folder):
        self.folder, self.log = folder, folder / "log"
        state = (folder / "state").read_bytes()
        self.instance, self.key = state[8:24], state[24:56]
        self.block, self.inode, self.last, self.length = struct.unpack(">4Q", state[56:88])
        self.chain, self.head, self.boot = state[88:120], b"", ""
        lazy, last, length = struct.unpack(">3Q", state[224:248])
        if lazy != 0:  # the block that was not synced
            for _ in range(lazy - self.block):
                self.key = hashed("keyturn next", b"", self.key)
            self.block, self.last, self.length, self.chain = lazy, last, length, state[248:280]
        for line in self.log.read_bytes().splitlines() if self.log.exists() else []:
            self.boot = json.loads(line).get("boot", self.boot)

    def begin(self, head, boot):
        """A stream without a log: its next block begins with this line."""
        self.head, self.boot = head, boot

    def decision(self, number, **fields):
        whole = {"time": "2026-11-23T10:00:00.000Z", "boot": self.boot,
                 "stream": self.folder.name, "seq": self.last + number, "action": "read", "subject": "",
                 "reference": "api-keys/a", "version": 1, "provider": "local", "status": "success", **fields}
        return json.dumps(whole, separators=(",", ":")).encode() + b"\n"

    def append(self, *decisions, seal=True, time="2026-11-23T11:00:00.000Z"):
        """Adds these decisions (their fields) at the sealed length, as a block under the present key or without a seal."""
        lines = [self.decision(n, **fields) for n, fields in enumerate(decisions, 1)]
        if seal:
            chain = hashed("keyturn lines", self.chain + self.head + b"".join(lines))
            text = (f'{{"seal":{self.block},"instance":"{self.instance.hex()}","first":{self.last + 1},"last":{self.last + len(lines)},'
                    f'"time":"{time}","chain":"{chain.hex()}"').encode()
            mac = hashed("keyturn seal", chain + text, self.key).hex()
            lines.append(text + f',"mac":"{mac}"}}\n'.encode())
        self.log.touch()
        with open(self.log, "r+b") as log:
            log.truncate(self.length)
            log.seek(self.length)
            log.write(self.head + b"".join(lines))

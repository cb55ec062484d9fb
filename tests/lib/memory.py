# SPDX-License-Identifier: BSD-2-Clause
"""What /proc says of a running process's secret memory: keyturn's pages are anonymous, in no core dump ("dd"), and must be locked ("lo").
Pages that the kernel may drop ("dp") are the C library's, for the state of getrandom()."""
import contextlib
import dataclasses
import pathlib
import re


@dataclasses.dataclass
class Mapping:
    start: int
    end: int
    rights: str
    anonymous: bool
    flags: set

    @property
    def secret(self):
        return (self.anonymous and self.rights.startswith("rw") and "dd" in self.flags and "dp" not in self.flags
                and self.end - self.start <= 1 << 30)     # that of a sanitizer is larger

    def read(self, pid):
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.start)
            return memory.read(self.end - self.start)


def mappings(pid):
    found = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)\s*(.*)", line)
        if head:
            found.append(Mapping(int(head[1], 16), int(head[2], 16), head[3], head[4] == "0" and not head[5], set()))
        elif line.startswith("VmFlags:"):
            found[-1].flags = set(line.split()[1:])
    return found


def locked_kb(pid):
    return int(re.search(r"^VmLck:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def secret_bytes(pid, unlocked=False):
    """All that is in the process's secret memory, or in the part of it that is not locked. Key rings reserve more pages than they use:
    those are not there, and read as zeros."""
    areas = [area for area in mappings(pid) if area.secret and ("lo" not in area.flags or not unlocked)]
    return b"".join(area.read(pid) for area in areas)


def assert_locked(pid, *needles):
    """Each page with something in it is locked, the kernel counts what smaps shows, and the needles are there."""
    areas = [area for area in mappings(pid) if area.secret]
    assert areas, f"process {pid} has no secret memory"
    assert not secret_bytes(pid, unlocked=True).strip(b"\0"), f"process {pid} has secrets that are not locked: {areas}"
    assert locked_kb(pid) * 1024 == sum(area.end - area.start for area in mappings(pid) if "lo" in area.flags) > 0
    held = secret_bytes(pid)
    for needle in needles:
        assert needle in held, f"process {pid} does not hold what it should"


def elsewhere(pid, *needles):
    """The mappings that are not secret memory and hold one of them."""
    found = []
    for area in mappings(pid):
        if not area.secret and area.rights.startswith("r") and area.end - area.start <= 1 << 30:
            with contextlib.suppress(OSError, ValueError, OverflowError):
                data = area.read(pid)
                if any(needle in data for needle in needles):
                    found.append(area)
    return found

# SPDX-License-Identifier: BSD-2-Clause
"""What a power cut may leave of files: recorded by strace, played again with some of what was not synced.

    disk = Disk(folder)                 # what is there now is on the disk
    disk.record([keyturn, ...], input=b"...")
    for cut in disk.cuts():             # each sync, just before and just after
        disk.leave(cut, choose)         # the folder is what the power cut leaves

The model is that of a file system which orders metadata (ext4, XFS, btrfs): what a file's last sync found is there, and the
names up to any later sync of a folder, or of a file with a new name or size. Of what was written since, each 4 KiB may be there
as it was at any time: `choose(event, block)` says whether it was still written after this event. Names are there up to `choose(event, None)`, the first that is not ends them. A file that
was not cut has its old blocks, so what was written into the new ones is lost with the cut. What a process wrote into shared
memory of a file is lost.
"""
import os
import pathlib
import re
import subprocess

CALLS = ("open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,rename,renameat,renameat2,"
         "unlink,unlinkat,link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,copy_file_range,sendfile")
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += +(-?\d+)(?:<(.*?)>(?:\(deleted\))?)?(?: .*)?$")
HEX = re.compile(r"(?:\\x[0-9a-f]{2})*")
BLOCK = 4096


def plain(text):
    """strace -xx writes each byte as \\xNN, those of a descriptor's path too."""
    assert HEX.fullmatch(text), text
    return bytes.fromhex(text.replace("\\x", ""))


def text_of(argument):
    return plain(argument[1:-1])


def path_of(descriptor):
    """Of `5</a/b>`."""
    return plain(descriptor[descriptor.index("<") + 1:-1]).decode()


def parts(at, written):
    """(block, where it begins, bytes) of what was written."""
    end = at + len(written)
    for start in range(at - at % BLOCK, end, BLOCK):
        first, last = max(start, at), min(start + BLOCK, end)
        yield start // BLOCK, first, written[first - at:last - at]


class File:
    """One inode; `path` is where it was first, `kept` a second name of it."""

    def __init__(self, path, content=b"", status=None):
        self.path, self.content, self.size, self.kept = path, content, len(content), None
        self.status = status and (status.st_mode & 0o7777, status.st_uid, status.st_gid)


class Disk:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.aside = self.folder.with_name(f"{self.folder.name}.aside")
        self.hex = "".join(f"\\x{byte:02x}" for byte in str(folder).encode())
        self.events = []    # (kind, File, ...)
        self.done = []      # how many events there were at the end of each command
        self.broken = None  # the end of a file's name whose syncs do nothing
        self.start = {str(path): File(str(path), path.read_bytes(), path.stat())
                      for path in self.folder.rglob("*") if path.is_file()}
        self.seen = dict(self.start)  # what the commands see now
        self.keep_inodes()

    # ---- recording ----

    def record(self, argv, options=(), status=0, **more):
        """`options`: of strace, which may kill the command; `status`: with which it has to end."""
        trace = self.folder.parent / "trace"
        strace = ["strace", "-f", "-y", "-xx", "-s", "10000000", "-e", "signal=none", "-e", f"trace={CALLS}", *options, "-o", str(trace)]
        result = subprocess.run([*strace, *map(str, argv)], capture_output=True, timeout=120, **more)
        assert result.returncode == status, (result.returncode, result.stderr)
        for line in trace.read_text().splitlines():
            self.take(line)
        self.done.append(len(self.events))
        self.keep_inodes()
        return result

    def keep_inodes(self):
        """The state of an audit log knows the log's inode, so a log that is removed later has a second name."""
        self.aside.mkdir(exist_ok=True)
        for path, file in self.seen.items():
            if file.kept is None and os.path.basename(path).startswith("log"):
                file.kept = self.aside / str(len(list(self.aside.iterdir())))
                os.link(path, file.kept)

    def take(self, line):
        match = LINE.match(line)
        if match is None or match.group(3).startswith("-"):
            assert ("resumed" not in line and "unfinished" not in line) or self.hex not in line, line
            return
        call, arguments = match.group(1), match.group(2).split(", ")
        handler = getattr(self, f"take_{call}", None)
        if handler is not None:
            handler(arguments, int(match.group(3)), plain(match.group(4) or "").decode())
        else:
            assert self.hex not in line, f"not known: {line[:200]}"

    def is_ours(self, path):
        return path.startswith(f"{self.folder}/")

    def at(self, folder, name):
        return os.path.normpath(os.path.join(path_of(folder), text_of(name).decode()))

    def size(self, file, size):
        self.events.append(("size", file, size, size < file.size))
        file.size = size

    def take_openat(self, arguments, _result, path):
        if not self.is_ours(path) or os.path.isdir(path):
            return
        if "O_CREAT" in arguments[2] and path not in self.seen:
            self.seen[path] = File(path)
            self.events.append(("create", self.seen[path], path))
        if "O_TRUNC" in arguments[2]:
            self.size(self.seen[path], 0)

    def write(self, path, at, content):
        if self.is_ours(path):
            file = self.seen[path]
            at = file.size if at is None else at
            self.events.append(("write", file, at, content))
            file.size = max(file.size, at + len(content))

    def take_pwrite64(self, arguments, result, _path):
        self.write(path_of(arguments[0]), int(arguments[3]), text_of(arguments[1])[:result])

    def take_write(self, arguments, result, _path):
        self.write(path_of(arguments[0]), None, text_of(arguments[1])[:result])  # at the end

    def take_ftruncate(self, arguments, _result, _path):
        if self.is_ours(path_of(arguments[0])):
            self.size(self.seen[path_of(arguments[0])], int(arguments[1]))

    def take_fallocate(self, arguments, _result, _path):
        path, end = path_of(arguments[0]), int(arguments[2]) + int(arguments[3])
        if self.is_ours(path) and "KEEP_SIZE" not in arguments[1] and end > self.seen[path].size:
            self.size(self.seen[path], end)

    def take_renameat(self, arguments, _result, _path):
        old, new = self.at(*arguments[0:2]), self.at(*arguments[2:4])
        if self.is_ours(new):
            assert len(arguments) == 4 or arguments[4] in ("0", "RENAME_NOREPLACE"), arguments[4]
            self.seen[new] = self.seen.pop(old)
            self.events.append(("rename", self.seen[new], old, new))

    take_renameat2 = take_renameat

    def unlink(self, path):
        if self.is_ours(path):
            self.events.append(("unlink", self.seen.pop(path), path))

    def take_unlinkat(self, arguments, _result, _path):
        if "AT_REMOVEDIR" not in arguments[2]:
            self.unlink(self.at(*arguments[0:2]))

    def take_unlink(self, arguments, _result, _path):
        self.unlink(text_of(arguments[0]).decode())

    def take_fsync(self, arguments, _result, _path):
        path = path_of(arguments[0])
        if self.is_ours(path) or path == str(self.folder):
            self.events.append(("sync", self.seen.get(path), path))

    take_fdatasync = take_fsync

    # ---- playing ----

    def cuts(self):
        """Numbers of events after which the power may go: each sync without and with its effect, and the end of all."""
        syncs = [number for number, event in enumerate(self.events) if event[0] == "sync"]
        return sorted({*syncs, *(number + 1 for number in syncs), *self.done})

    def synced(self, cut):
        """For each event before `cut`: is it certain to be there?"""
        certain, contents, names = [False] * cut, {}, []
        for number, (kind, file, *more) in enumerate(self.events[:cut]):
            if kind in ("create", "rename", "unlink"):
                names.append(number)
            elif kind in ("write", "size"):
                contents.setdefault(file, []).append(number)
            elif not (self.broken and more[0].endswith(self.broken)):
                waiting = contents.pop(file, [])
                is_journaled = file is None or any(self.events[other][1] is file for other in names) or any(
                    self.events[other][0] == "size" for other in waiting)
                for other in waiting + (names if is_journaled else []):
                    certain[other] = True
                names = [] if is_journaled else names
        return certain

    def last_writes(self, cut, certain, choose):
        """Of each block of a file: the number of the last write that it has."""
        return {(file, block): number for number, (kind, file, *more) in enumerate(self.events[:cut]) if kind == "write"
                for block, *_ in parts(*more) if certain[number] or choose(number, block)}

    def image(self, cut, choose):
        """What is there: {path: (File, bytes)}."""
        certain, names = self.synced(cut), dict(self.start)
        contents = {file: bytearray(file.content) for file in self.start.values()}
        last = self.last_writes(cut, certain, choose)
        old_blocks, is_lost = set(), False
        for number, (kind, file, *more) in enumerate(self.events[:cut]):
            content = contents.setdefault(file, bytearray())
            if kind in ("create", "rename", "unlink"):
                is_lost = is_lost or not (certain[number] or choose(number, None))
                if is_lost:
                    continue
                if kind != "create":
                    names.pop(more[0])
                if kind != "unlink":
                    names[more[-1]] = file
            elif file in old_blocks:
                continue
            elif kind == "size":
                if certain[number] or choose(number, 0):
                    del content[more[0]:]
                    content.extend(bytes(more[0] - len(content)))
                elif more[1]:
                    old_blocks.add(file)
            elif kind == "write":
                for block, start, part in parts(*more):
                    if number <= last.get((file, block), -1):
                        content.extend(bytes(max(0, start - len(content))))
                        content[start:start + len(part)] = part
        return {path: (file, bytes(contents.get(file, b""))) for path, file in names.items()}

    def leave(self, cut, choose):
        """The folder as the power cut leaves it. A log, and a file that has its name, are the same inodes as before."""
        image = self.image(cut, choose)
        for path in [path for path in self.folder.rglob("*") if path.is_file()]:
            if str(path) not in image or image[str(path)][0].kept is not None:
                path.unlink()
        for path, (file, content) in image.items():
            is_new = not os.path.exists(path)
            if is_new and file.kept is not None:
                os.link(file.kept, path)
            pathlib.Path(path).write_bytes(content)
            if is_new and file.kept is None:
                mode, uid, gid = file.status or (0o600, os.geteuid(), os.getegid())
                os.chown(path, uid, gid)
                os.chmod(path, mode)

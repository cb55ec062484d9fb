# SPDX-License-Identifier: BSD-2-Clause
"""Waiting with a bound, ports, short folders for sockets, and servers as child processes."""
import contextlib
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time


def wait_for(condition, timeout=10.0, interval=0.01, what=None):
    """Calls condition() until it answers something true, and returns that. An exception of it counts as "not
    yet"; after `timeout` seconds TimeoutError tells `what` and the last exception."""
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            answer = condition()
            if answer:
                return answer
            last = None
        except Exception as error:  # noqa: BLE001 - whatever it is, it may be better in a moment
            last = error
        if time.monotonic() > end:
            name = what or getattr(condition, "__name__", "a condition")
            raise TimeoutError(f"{name}: not within {timeout} s" + (f" ({last!r})" if last else ""))
        time.sleep(interval)


def _own_ports():
    """Ports that the kernel never chooses, neither for a socket without a number nor for a client."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first, last = map(int, file.read().split())
    return list(range(10000, first)) or list(range(first, last + 1))


_ports = _own_ports()
random.shuffle(_ports)


def free_port():
    """A TCP port of 127.0.0.1 that no process listens on, never the same twice in a run. It stays free until a server
    takes it, which one of the kernel's choice would not: the next client or test server could get it."""
    while True:
        port = _ports.pop()
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def memory_of(pid):
    """Every readable page of the process, locked ones too; a sanitizer's terabytes of shadow are left out."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            area, rights = line.split()[:2]
            start, end = (int(edge, 16) for edge in area.split("-"))
            if rights[0] == "r" and "[v" not in line and end - start <= 1 << 30:
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    memory.seek(start)
                    yield memory.read(end - start)


def integrity(path):
    """What SQLite says of the file: "ok", or what is wrong with it."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0]


@contextlib.contextmanager
def short_dir():
    """A folder with a short path, for sockets (107 bytes at most, and pytest's folders are long)."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="kt", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def children(pid):
    """Pids of the direct children, also of threads other than the first."""
    found = []
    for file in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in file.read_text().split()]
    return sorted(found)


class Process:
    """A server in the foreground, its output in a file. It ends with us even if we are killed, and stop() waits."""

    def __init__(self, argv, env, log, cwd):
        self.log_path = pathlib.Path(log)
        self._log = open(self.log_path, "ab")
        self._popen = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *map(str, argv)], env=env, cwd=cwd,
                                       stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
                                       start_new_session=True)
        self.pid = self._popen.pid

    def running(self):
        return self._popen.poll() is None

    def output(self):
        return self.log_path.read_text(errors="replace")

    def send(self, number):
        self._popen.send_signal(number)

    def wait(self, timeout=20):
        return self._popen.wait(timeout)

    def wait_ready(self, condition, timeout, what):
        """wait_for(), but a process that has ended is an error at once, with the end of its output."""
        def ready():
            return not self.running() or condition()
        try:
            wait_for(ready, timeout, what=what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.output()[-3000:]}") from None
        if not self.running():
            raise RuntimeError(f"{what} ended with {self._popen.returncode}\n{self.output()[-3000:]}")

    def stop(self, number=signal.SIGTERM, timeout=20):
        """Signals, waits, and kills the whole session if that was not enough. Returns the exit status."""
        if self.running():
            self.send(number)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()
        return self._popen.returncode

    def kill(self):
        """SIGKILL to the process and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()


@contextlib.contextmanager
def traced(pid, calls, path, *options):
    """The system calls of a process; leaves once they are written down."""
    tracer = subprocess.Popen(["strace", "-f", "-y", "-e", f"trace={calls}", *options, "-o", path, "-p", str(pid)],
                              stderr=subprocess.PIPE)
    assert b"attached" in tracer.stderr.readline()
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        tracer.stderr.close()

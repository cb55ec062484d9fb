# SPDX-License-Identifier: BSD-2-Clause
"""At a terminal: prompts without echo, masked values, a terminal that is left as it was found."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest


class Terminal:
    """A command whose stdin, stdout and stderr are a pseudo-terminal of its own session."""

    def __init__(self, home, *args, stdout=None, width=0):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", str(home.stage.keyturn), "-c", str(home.config), *args], env=home.env,
            stdin=self.slave, stdout=stdout or self.slave, stderr=self.slave)
        self.shown = b""

    def read_until(self, text, timeout=10):
        end = time.monotonic() + timeout
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 65536)
        return self.shown

    def type(self, data):
        os.write(self.master, data)

    def end(self, timeout=10):
        status = self.process.wait(timeout)
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 65536)
        return status

    def echoes(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def child(self):
        """The pid of keyturn itself, the child of setsid."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            children = file.read().split()
        return int(children[0]) if children else self.process.pid

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(home):
    opened = []

    def make(*args, **more):
        opened.append(Terminal(home, *args, **more))
        return opened[-1]
    yield make
    for each in opened:
        each.close()


def test_prompt(home, terminal, canary):
    value = canary("typed").encode()
    screen = terminal("set", "api-keys/stripe")
    screen.read_until(b"Value of api-keys/stripe: ")
    assert not screen.echoes()
    screen.type(value + b"\n")
    screen.read_until(b"again: ")
    screen.type(value + b"\n")
    assert screen.end() == 0
    assert value not in screen.shown and b"1\r\n" in screen.shown
    assert screen.echoes()
    assert home.get("api-keys/stripe") == value


def test_prompt_two_different_values(home, terminal):
    screen = terminal("set", "a")
    screen.read_until(b"Value of a: ")
    screen.type(b"hither\n")
    screen.read_until(b"again: ")
    screen.type(b"thither\n")
    assert screen.end() == 64 and b"differ" in screen.shown
    assert b"hither" not in screen.shown
    assert home.list() == []


@pytest.mark.parametrize("typed", [b"\n", b"\x04"])
def test_prompt_nothing_typed(home, terminal, typed):
    screen = terminal("set", "a")
    screen.read_until(b"Value of a: ")
    screen.type(typed)
    assert screen.end() == 64
    assert home.list() == [] and screen.echoes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_restores_the_terminal(home, terminal, number):
    screen = terminal("set", "a")
    screen.read_until(b"Value of a: ")
    assert not screen.echoes()
    if number == signal.SIGINT:
        screen.type(b"half a val\x03")
    else:
        os.kill(screen.child(), number)
    assert screen.end() in (-number, 128 + number)
    assert screen.echoes() and home.list() == []
    assert b"half" not in screen.shown


def test_keys_that_erase(home, terminal):
    """A character goes as a whole, however many bytes it has; a word, and the whole line."""
    typed = b"no\x15" + b"wrong words\x17" + "ü\x7f".encode() + b"right\n"
    screen = terminal("set", "a")
    screen.read_until(b"Value of a: ")
    screen.type(typed)
    screen.read_until(b"again: ")
    screen.type(typed)
    assert screen.end() == 0, screen.shown
    assert home.get("a") == b"wrong right"


def test_a_line_that_is_too_long(home, terminal):
    screen = terminal("set", "a")
    screen.read_until(b"Value of a: ")
    for _ in range(5):
        screen.type(b"x" * 1000)
    screen.type(b"\n")
    assert screen.end() == 65 and b"use a pipe or --file" in screen.shown
    assert home.list() == [] and screen.echoes()


@pytest.mark.parametrize("how", ["key", "signal"])
def test_a_stop_restores_the_terminal_and_it_is_asked_again(home, terminal, how):
    screen = terminal("set", "a")
    screen.read_until(b"Value of a: ")
    child = screen.child()
    screen.type(b"half")
    # a session leader's orphaned group is not stopped by SIGTSTP: what matters is that it asks again
    if how == "key":
        screen.type(b"\x1a")
    else:
        os.kill(child, signal.SIGTSTP)
    screen.shown = b""
    screen.read_until(b"Value of a: ")
    os.kill(child, signal.SIGCONT)
    screen.type(b"whole\n")
    screen.read_until(b"again: ")
    screen.type(b"whole\n")
    assert screen.end() == 0 and screen.echoes()
    assert home.get("a") == b"whole"


def test_masked_on_a_terminal(home, terminal, canary):
    value = canary("masked").encode()
    home.set("a", value)
    screen = terminal("get", "a")
    assert screen.end() == 77 and b"keyturn: [MASKED]: " in screen.shown and b"--reveal" in screen.shown
    assert value not in screen.shown
    screen = terminal("get", "a", "--reveal")
    assert screen.end() == 0 and screen.shown == value + b"\r\n"


def test_a_terminal_is_not_driven_by_a_value(home, terminal):
    home.set("a", b"\x1b]0;title\x07x\x9by\xc2\x9bz\n")
    screen = terminal("get", "a", "--reveal")
    assert screen.end() == 0
    assert screen.shown == b"\\x1b]0;title\\x07x\\x9by\\xc2\\x9bz\r\n"
    home.set("a", "snö\u009b".encode())
    screen = terminal("get", "a", "--reveal")
    assert screen.end() == 0 and screen.shown == "snö".encode() + b"\\xc2\\x9b\r\n"


def test_a_pipe_gets_the_bytes_although_stdin_is_a_terminal(home, terminal, tmp_path):
    home.set("a", b"bytes")
    old = os.umask(0o077)
    try:
        with open(tmp_path / "out", "wb") as out:
            assert terminal("get", "a", stdout=out).end() == 0
    finally:
        os.umask(old)
    assert (tmp_path / "out").read_bytes() == b"bytes"


def test_a_mask_never_reaches_a_file(home, canary, tmp_path):
    """script(1), `ssh -t` and `docker exec -t` give a terminal to a command whose output is redirected."""
    home.set("a", canary("typescript"))
    command = f"{home.stage.keyturn} -c {home.config} get a 2>/dev/null"
    result = subprocess.run(["script", "-eqc", command, "/dev/null"], env=home.env, stdin=subprocess.DEVNULL, capture_output=True)
    assert result.returncode == 77 and result.stdout == b""


def test_the_list_fits_the_terminal(home, terminal):
    long = "api-keys/" + "x" * 240
    home.set(long, "v")
    home.set("a", "v")
    screen = terminal("list")
    assert screen.end() == 0
    assert long in screen.shown.decode(), "without a width nothing is cut"
    screen = terminal("list", width=90)
    assert screen.end() == 0
    lines = screen.shown.decode().splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= 90 and "xxx...  " in lines[2] and long not in lines[2]
    assert long in home.run("list").stdout.decode(), "a pipe gets all of it"


def test_the_audit_log_fits_the_terminal(home, terminal):
    home.set("api-keys/" + "x" * 240, "v")
    home.set("a", "v")
    for verb in "tail", "log":
        screen = terminal("audit", verb, width=80)
        assert screen.end() == 0
        lines = screen.shown.decode().splitlines()
        assert len(lines) >= 4 and max(map(len, lines)) <= 80, lines
        assert all(re.match(r"\d\d-\d\d \d\d:\d\d:\d\d cli-", line) for line in lines), "the seconds are not cut"
        assert any(line.endswith(" a version 1") for line in lines)
        assert "x" * 240 in home.run("audit", verb).stdout.decode()


@pytest.mark.parametrize("answer, status, left", [(b"yes\n", 0, 1), (b"y\n", 64, 2), (b"\n", 64, 2), (b"no\n", 64, 2)])
def test_destroy_asks(home, terminal, answer, status, left):
    home.set("a", b"one")
    home.set("a", b"two")
    command = terminal("destroy", "a", "1")
    command.read_until(b"Erase version 1 of a for good? Type yes: ")
    command.type(answer)
    assert command.end() == status, command.shown
    assert len([v for v in home.versions("a") if v["state"] != "destroyed"]) == left
    assert status == 0 or b"nothing was done" in command.shown


def test_destroy_all_asks_too_and_yes_answers(home, terminal):
    home.set("a", b"one")
    command = terminal("destroy", "a", "--all")
    command.read_until(b"Erase every version of a for good? Type yes: ")
    command.type(b"never\n")
    assert command.end() == 64 and home.get("a") == b"one"
    assert terminal("destroy", "a", "--all", "--yes").end() == 0
    assert home.run("get", "a", check=False).returncode == 66

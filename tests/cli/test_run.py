# SPDX-License-Identifier: BSD-2-Clause
"""keyturn run: secrets in the environment of one command, and nowhere else."""
import signal

import pytest


def test_run(home):
    home.set("a", b"v1")
    home.set("database/primary", {"user": "u", "password": "p"})
    result = home.run("run", "--map", "A=a", "--map", "PASSWORD=database/primary#password", "--",
                      "sh", "-c", 'printf "%s,%s,%s" "$A" "$PASSWORD" "$HOME"')
    assert result.stdout == b"v1,p,/nonexistent" and result.stderr == b""
    assert [line["purpose"] for line in home.records() if line["action"] == "read"] == ["run", "run"]


def test_run_replaces_a_variable(home):
    home.set("a", b"new")
    result = home.run("run", "--map", "HOME=a", "env")
    assert b"HOME=new\n" in result.stdout and result.stdout.count(b"HOME=") == 1


def test_options_of_the_command_are_its_own(home):
    home.set("a", b"v")
    assert home.run("run", "--map", "A=a", "echo", "--json", "-c", "--help").stdout == b"--json -c --help\n"


@pytest.mark.parametrize("status", [0, 1, 42])
def test_its_status_is_ours(home, status):
    home.set("a", b"v")
    assert home.run("run", "--map", "A=a", "--", "sh", "-c", f"exit {status}", check=False).returncode == status


def test_the_command_has_ordinary_signals(home):
    home.set("a", b"v")
    result = home.run("run", "--map", "A=a", "--", "sh", "-c", "kill -PIPE $$; echo alive", check=False)
    assert result.returncode == -signal.SIGPIPE and result.stdout == b""


@pytest.mark.parametrize("args, status", [
    ([], 64), (["--", "true"], 64), (["--map", "A=a"], 64), (["--map", "a", "true"], 64), (["--map", "=a", "true"], 64),
    (["--map", "1A=a", "true"], 64), (["--map", "A-B=a", "true"], 64), (["--map", "A=..", "true"], 64),
    (["--map", "A=nothing", "true"], 66), (["--map", "A=a", "/nonexistent/command"], 127), (["--map", "A=a", "/etc"], 126),
])
def test_refusals(home, args, status):
    home.set("a", b"v")
    result = home.run("run", *args, check=False)
    assert result.returncode == status and result.stderr.startswith(b"keyturn: ")
    assert status < 126 or args[-1].encode() in result.stderr, "the command is named"


def test_a_value_that_no_variable_can_hold(home):
    home.set("a", b"v\0w")
    assert home.run("run", "--map", "A=a", "true", check=False).returncode == 65


def test_one_that_cannot_be_had_starts_nothing(home, tmp_path):
    home.set("a", b"v")
    result = home.run("run", "--map", "A=a", "--map", "B=nothing", "touch", tmp_path / "started", check=False)
    assert result.returncode == 66 and not (tmp_path / "started").exists()

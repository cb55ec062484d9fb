# SPDX-License-Identifier: BSD-2-Clause
"""auto/root and auto/check --server: what they say when a server is not known or cannot be had. The roots themselves are tried by auto/check."""
import os
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])


def run(*words, **env):
    return subprocess.run([str(TOP / words[0]), *words[1:]], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env})


@pytest.mark.parametrize("words, error", [
    (["postgresql", "--server", "99"], "no server '99' (known: 17 18)"),
    (["--server", "17"], "--server goes with one part: auto/check PART --server NAME"),
    (["unit", "--server", "17"], "the part 'unit' has no other servers"),
    (["postgresql", "--server"], "--server needs a name"),
])
def test_wrong_server(words, error):
    result = run("auto/check", *words)
    assert (result.returncode, result.stderr) == (1, f"auto/check: {error}\n")


def test_each_server_has_a_root():
    names = [line.split()[0] for line in run("auto/root").stdout.splitlines()]
    text = (TOP / "auto/servers").read_text()
    rows = [line.split()[:2] for line in text.split("servers='\n")[1].split("'")[0].splitlines()]
    assert rows and {"-".join(row) for row in rows} <= set(names)


def test_unknown_root():
    result = run("auto/root", "postgresql-99")
    assert result.returncode == 1 and "no root 'postgresql-99' (known: postgresql-17 " in result.stderr


def test_what_cannot_be_had_is_75_and_says_what_it_needs(tmp_path):
    """As a user who is not root."""
    result = run("auto/root", "postgresql-17", XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == 75
    assert result.stderr.splitlines()[-1] == "needs root and a kernel that permits namespaces"
    assert list(tmp_path.iterdir()) == []


def test_no_host_is_named():
    for name in ("root", "servers", "check"):
        assert "://" not in (TOP / "auto" / name).read_text()

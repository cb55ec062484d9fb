# SPDX-License-Identifier: BSD-2-Clause
"""auto/deps: it has been run before these tests, so it finds nothing to do and needs no network."""
import os
import pathlib
import re
import subprocess
import time

TOP = pathlib.Path(os.environ["KT_TOP"])


def deps(*args):
    return subprocess.run([TOP / "auto/deps", *args], capture_output=True, text=True, timeout=60)


def test_again_does_nothing_fast():
    """As a user who cannot install packages, without network."""
    started = time.monotonic()
    result = deps()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert time.monotonic() - started < 5


def test_print_lists_packages_that_are_there():
    packages = deps("--print").stdout.split()
    assert {"gcc", "nginx-dev", "redis-server", "postgresql-15", "check"} <= set(packages)
    result = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}\n", *packages], capture_output=True, text=True)
    assert set(result.stdout.split()) == {"installed"}


def test_every_package_is_explained():
    text = (TOP / "docs/dependencies.md").read_text()
    assert [name for name in deps("--print").stdout.split() if f"`{name}`" not in text] == []


def test_configure_names_only_packages_that_deps_installs():
    packages = deps("--print").stdout.split()
    text = "".join(path.read_text() for path in (TOP / "auto").iterdir() if path.is_file() and not os.access(path, os.X_OK))
    named = set(re.findall(r"apt install ([a-z0-9-]+)", text)) | set(re.findall(r"lib_deb=(\S+)", text))
    assert len(named) > 8
    assert named - {"bash"} <= set(packages)


def test_unknown_argument():
    result = deps("--help-me")
    assert result.returncode == 1 and "--print" in result.stderr


def test_no_host_is_named():
    assert "://" not in (TOP / "auto/deps").read_text()

# SPDX-License-Identifier: BSD-2-Clause
"""Root of a machine of its own (tests/system/machine): what a server's user may do is tried by that user."""
import os
import shutil
import subprocess

import pytest

from lib.machine import Machine


def pytest_configure(config):
    if os.geteuid() != 0 or not os.path.exists("/etc/keyturn-test-machine"):
        raise pytest.UsageError("only by tests/system/machine: these tests make users and write to /etc")


@pytest.fixture(scope="session")
def users():
    """Further users: `deploy` and `web` with groups of their own, `human` in one with others."""
    for options in ("--system --user-group deploy", "--system --user-group web", "--gid users --no-user-group human"):
        subprocess.run(["useradd", *options.split()], check=True)


@pytest.fixture(scope="session", autouse=True)
def installed_conf(kt):
    """The package's groups and folders, where systemd looks for them."""
    for folder in ("sysusers.d", "tmpfiles.d"):
        os.makedirs(f"/etc/{folder}", exist_ok=True)
        shutil.copy(kt.stage / f"usr/lib/{folder}/keyturn.conf", f"/etc/{folder}")


@pytest.fixture
def machine(kt, users):
    machine = Machine(kt)
    machine.take_away()
    yield machine
    machine.take_away()

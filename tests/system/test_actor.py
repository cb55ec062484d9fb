# SPDX-License-Identifier: BSD-2-Clause
"""F11: root's commands name the person, by the login id that the kernel keeps (/proc/self/loginuid), as PAM sets it at a login."""
import json
import pathlib
import pwd
import subprocess
import sys

import pytest

LOGINUID = pathlib.Path("/proc/self/loginuid")
# what pam_loginuid.so does: needs CAP_AUDIT_CONTROL and a kernel with CONFIG_AUDIT
LOGIN = """
import os, pwd, sys
user, command = sys.argv[1], sys.argv[2:]
with open("/proc/self/loginuid", "w") as file: file.write(str(pwd.getpwnam(user).pw_uid))
os.execvp(command[0], command)
"""


def actors(machine, name):
    lines = json.loads(machine.keyturn("--json", "audit", "log", "--name", name).stdout)["lines"]
    return [(line["subject"], line["action"], line.get("actor")) for line in lines if line["status"] != "intent"]


def as_login(machine, user, *command, env=None):
    return subprocess.run([sys.executable, "-c", LOGIN, user, *map(str, command)], input=b"v", capture_output=True, cwd="/", timeout=60,
                          env={**machine.env, **(env or {})})


@pytest.fixture
def layout(machine):
    assert LOGINUID.exists(), "this kernel keeps no login ids (CONFIG_AUDIT)"
    tried = as_login(machine, "deploy", "true")
    assert tried.returncode == 0, f"a login id cannot be set: root needs CAP_AUDIT_CONTROL outside of a user namespace\n{tried.stderr.decode()}"
    machine.init("--user", "deploy")
    return machine


def test_the_login_is_the_actor(layout):
    keyturn = layout.stage.keyturn
    assert as_login(layout, "deploy", keyturn, "set", "api-keys/a").returncode == 0
    assert as_login(layout, "human", keyturn, "get", "api-keys/a").stdout == b"v"
    found = actors(layout, "api-keys/a")
    assert found[0] == ("uid:root", "write", "login:deploy") and found[-1] == ("uid:root", "read", "login:human"), found
    lines = json.loads(layout.keyturn("--json", "audit", "log", "--subject", "login:human").stdout)["lines"]
    assert len(lines) == 1
    assert b"(login:human)" in layout.keyturn("audit", "tail").stdout


def test_sudo_does_not_hide_the_login(layout):
    """The variable comes from the environment, and anybody can set it; the login id is the kernel's."""
    assert as_login(layout, "deploy", layout.stage.keyturn, "set", "api-keys/a", env={"SUDO_UID": "0"}).returncode == 0
    assert actors(layout, "api-keys/a") == [("uid:root", "write", "login:deploy sudo:root")]


def test_no_login_is_no_actor(layout):
    """As in a job of cron or of systemd, where no session began: 4294967295. These tests may run in a session."""
    number = int(LOGINUID.read_text())
    layout.set("api-keys/a", b"v")
    assert actors(layout, "api-keys/a") == [("uid:root", "write", None if number == 4294967295 else f"login:{pwd.getpwuid(number).pw_name}")]

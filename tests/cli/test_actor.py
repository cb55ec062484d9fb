# SPDX-License-Identifier: BSD-2-Clause
"""The audit log names the person: all administrators are one subject."""
import os
import pwd


def test_sudo_names_the_person(home):
    home.set("api-keys/a", b"1")
    home.run("get", "api-keys/a", env=home.env | {"SUDO_UID": str(os.getuid())})
    home.run("get", "api-keys/a", env=home.env | {"SUDO_UID": "4000000"})
    home.run("rotate", "--generate", "api-keys/a", env=home.env | {"SUDO_UID": "4000000"}, check=False)
    home.run("get", "api-keys/a", env=home.env | {"SUDO_UID": "x"})
    lines = home.json("audit", "log", "--name", "api-keys/a")["lines"]
    reads = [line for line in lines if line["action"] == "read"]
    me = f"sudo:{pwd.getpwuid(os.getuid()).pw_name}"
    assert [line.get("actor") for line in reads] == [me, "sudo:4000000", None]
    assert {line.get("actor") for line in lines if line["action"].startswith("rotate")} == {"sudo:4000000"}
    assert len(home.json("audit", "log", "--subject", me)["lines"]) == 1
    assert f"({me})".encode() in home.run("audit", "tail").stdout and f"({me})".encode() in home.run("audit", "log").stdout
    assert home.json("audit", "report")["secrets"]["api-keys/a"]["actors"] == {me: 1, "sudo:4000000": 1}
    assert me.encode() in home.run("audit", "report").stdout

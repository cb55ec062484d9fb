# SPDX-License-Identifier: BSD-2-Clause
"""The timer that rotates what is due: systemd takes both units, and what the service starts works in README's set-up."""
import configparser
import shlex
import subprocess

UNITS = "usr/lib/systemd/system"


def test_units(machine, wait_for, tmp_path):
    folder = machine.stage.stage / UNITS
    for kind in ("service", "timer"):
        text = (folder / f"keyturn-rotate.{kind}").read_text()
        (tmp_path / f"keyturn-rotate.{kind}").write_text(text.replace("=/usr/bin/keyturn", f"={machine.stage.keyturn}"))
    result = subprocess.run(["systemd-analyze", "--man=no", "verify", tmp_path / "keyturn-rotate.timer"], capture_output=True, text=True)
    assert result.returncode == 0 and "keyturn-rotate" not in result.stderr, result.stderr

    service = configparser.ConfigParser(strict=False)
    service.optionxform = str
    service.read(folder / "keyturn-rotate.service")
    assert service["Unit"]["ConditionPathExists"] == "/etc/keyturn/keyturn.yaml"
    program, *arguments = shlex.split(service["Service"]["ExecStart"])
    assert program == "/usr/bin/keyturn"
    machine.init()
    machine.keyturn("generate", "api-keys/soon", "--meta", "rotation=1s")
    machine.keyturn("generate", "api-keys/never")
    before = {name: machine.keyturn("get", name).stdout for name in ("api-keys/soon", "api-keys/never")}

    def rotated():
        assert machine.keyturn(*arguments).returncode == 0
        return machine.keyturn("get", "api-keys/soon").stdout != before["api-keys/soon"]
    wait_for(rotated, timeout=10, interval=0.2)
    assert machine.keyturn("get", "api-keys/never").stdout == before["api-keys/never"]

# SPDX-License-Identifier: BSD-2-Clause
"""The layout of `keyturn init --system`, as root and as its users. Only on a machine of its own (tests/system/machine)."""
import contextlib
import grp
import json
import os
import pathlib
import pwd
import shutil
import stat
import subprocess

ETC, LIB, LOG = pathlib.Path("/etc/keyturn"), pathlib.Path("/var/lib/keyturn"), pathlib.Path("/var/log/keyturn")
CONFIG, STORE = ETC / "keyturn.yaml", LIB / "store/production.db"
AUDIT_KEY = pathlib.Path("/var/lib/audit.key")  # elsewhere, in truth
CONFS = pathlib.Path("/etc/tmpfiles.d")  # one for each stream
HOSTS = {"nginx": "www-data", "redis": "redis", "postgresql": "postgres"}



def owner(path):
    """("0640", "root", "keyturn")"""
    st = os.lstat(path)
    return f"{stat.S_IMODE(st.st_mode):04o}", pwd.getpwuid(st.st_uid).pw_name, grp.getgrgid(st.st_gid).gr_name


class Machine:
    """The command as root or as another user, on the layout of `init --system`."""

    def __init__(self, stage):
        stage.need("keyturn")
        self.stage, self.env = stage, stage.environment()

    def sh(self, command, check=True):
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=check, timeout=60)

    def become(self, user):
        """A command that becomes this user with all its groups, as a login or a unit would."""
        return ["setpriv", "--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--init-groups"] if user else []

    def keyturn(self, *args, user=None, input=b"", check=True, env=None):
        argv = [*self.become(user), str(self.stage.keyturn), *map(str, args)]
        result = subprocess.run(argv, input=input, env={**self.env, **(env or {})}, capture_output=True, timeout=60, cwd="/")
        if check and result.returncode != 0:
            raise AssertionError(f"{argv}: exit {result.returncode}: {result.stderr.decode()}{result.stdout.decode()}")
        return result

    def init(self, *options, **more):
        return self.keyturn("init", "--system", "--environment", "production", "--audit-key", AUDIT_KEY, *options, **more)

    def set(self, name, value):
        return int(self.keyturn("--quiet", "set", name, input=value).stdout)

    def get(self, name, user=None):
        """The value, or the exit status."""
        result = self.keyturn("get", name, user=user, check=False)
        return result.stdout if result.returncode == 0 else result.returncode

    def check(self, user=None):
        """{what: [row, ...]} of `keyturn check` and its exit status."""
        result = self.keyturn("--json", "check", user=user, check=False)
        rows = {}
        for row in json.loads(result.stdout)["checks"]:
            rows.setdefault(row["what"], []).append(row)
        return rows, result.returncode

    def wrong(self):
        """What `keyturn check` finds wrong: (what, detail) of each."""
        rows, status = self.check()
        found = [(what, row["detail"]) for what in rows for row in rows[what] if row["status"] != "success"]
        assert (status == 0) == (found == []), rows
        return found

    def grant(self, text):
        """Rules of the policy in place of those that init prepared."""
        lines = [line for line in CONFIG.read_text().splitlines() if not line.startswith("  #- {who:")]
        at = lines.index("policy:") + 1
        CONFIG.write_text("\n".join(lines[:at] + text.strip("\n").splitlines() + lines[at:]) + "\n")

    def take_away(self):
        """Nothing of the layout is left, nor its groups."""
        for folder in (ETC, LIB, LOG):
            shutil.rmtree(folder, ignore_errors=True)
        for path in [AUDIT_KEY, *CONFS.glob("keyturn-*.conf")]:
            path.unlink(missing_ok=True)
        for group in ("keyturn", "keyturn-write", "keyturn-audit"):
            with contextlib.suppress(KeyError):
                grp.getgrnam(group)
                self.sh(f"groupdel {group}")

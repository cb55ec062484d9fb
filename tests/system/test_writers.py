# SPDX-License-Identifier: BSD-2-Clause
"""What each user of README's set-up can do to each file, and which verb notices it. `editor` is a member of keyturn-write without
any key, `auditor` one of keyturn-audit and of nothing else. Nothing is granted here but what `init --system` grants; the editor is added by the command that README has for writers."""
import pwd
import subprocess
import sys

import pytest

from lib.machine import AUDIT_KEY, LIB, LOG, STORE

ANCHORS = LIB / "anchors"
OWN = {"www-data": "nginx", "redis": "redis", "postgres": "postgresql"}

# by any member of keyturn-write: the rows of yesterday in place of today's, in the same file
SAVE = "import sqlite3, sys; a, b = (sqlite3.connect(path) for path in sys.argv[1:3]); a.backup(b); b.close()"
PUT_BACK = "import sqlite3, sys; a, b = (sqlite3.connect(path) for path in sys.argv[1:3]); b.backup(a); a.close()"
WIPE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for table in [row[0] for row in db.execute("select name from sqlite_master where type = 'table'")]:
    keep = " where substr(id, 1, 1) not in (x'73', x'65')" if table == "meta" else ""
    db.execute(f"delete from {table}{keep}")
db.commit()
"""


@pytest.fixture
def layout(machine):
    machine.sh("useradd -r editor; useradd -r auditor; true")
    machine.init("--user", "deploy")
    machine.sh("usermod -aG keyturn,keyturn-write editor; usermod -aG keyturn-audit auditor; sed -i '/#- {who: /s/#//' /etc/keyturn/keyturn.yaml; rm -rf /var/lib/kept; mkdir -m 1777 /var/lib/kept")
    machine.set("api-keys/stripe", b"leaked")
    yield machine
    machine.sh("gpasswd -d editor keyturn-write; gpasswd -d editor keyturn; gpasswd -d auditor keyturn-audit; rm -rf /var/lib/kept", check=False)


def run_as(machine, user, *argv):
    return subprocess.run([*machine.become(user), *map(str, argv)], capture_output=True, text=True, cwd="/", timeout=60)


@pytest.mark.parametrize("user", ["postgres", "editor"])
def test_a_writer_puts_older_rows_back(layout, user):
    """Neither way of the trial: the folder of anchors cannot be renamed, and no file of ours can be prepared."""
    kept = f"/var/lib/kept/{user}.db"
    assert run_as(layout, user, sys.executable, "-c", SAVE, STORE, kept).returncode == 0
    layout.set("api-keys/stripe", b"renewed")
    for command in (f"mv {ANCHORS} {ANCHORS}.gone", f"mv {ANCHORS}/cli-root {ANCHORS}/.gone", f"mkdir {ANCHORS}/x", f"rm {ANCHORS}/cli-root/generations",
                    f": > {ANCHORS}/cli-root/.generations.new", f": > {ANCHORS}/cli-root/generations", f"ln -s /dev/null {ANCHORS}/cli-root/x"):
        assert run_as(layout, user, "sh", "-c", command).returncode != 0, command
    run_as(layout, user, "sh", "-c", f"mkdir -m 3775 {STORE.parent}/anchors && : > {STORE.parent}/anchors/.cli-root.new")  # is of no use
    assert run_as(layout, user, sys.executable, "-c", PUT_BACK, STORE, kept).returncode == 0
    assert layout.get("api-keys/stripe") == 65 and layout.get("api-keys/stripe", "deploy") in (65, 77)
    for verb in ("verify", "check"):
        result = layout.keyturn(verb, check=False)
        assert result.returncode == 65 and b"older store" in result.stdout + result.stderr, (verb, result)
    assert layout.keyturn("set", "api-keys/stripe", input=b"x", check=False).returncode == 65


@pytest.mark.parametrize("user", ["postgres", "editor"])
def test_a_writer_wipes_every_type(layout, user):
    assert run_as(layout, user, sys.executable, "-c", WIPE, STORE).returncode == 0
    assert layout.get("api-keys/stripe") == 65, "never that there is none"
    result = layout.keyturn("verify", check=False)
    assert result.returncode == 65 and b"rolledback" in result.stdout, result
    assert layout.keyturn("check", check=False).returncode != 0


def test_a_user_changes_its_own_log(layout):
    """`audit verify` notices it; the logs of others cannot be changed."""
    layout.get("api-keys/stripe", "deploy")
    log = LOG / "cli-deploy/log"
    layout.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
    for user in ("editor", "www-data", "postgres"):
        assert run_as(layout, user, "sed", "-i", "s/api-keys/x/", log).returncode != 0
    layout.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
    assert run_as(layout, "deploy", "sed", "-i", "s/api-keys/x/", log).returncode == 0
    result = layout.keyturn("audit", "verify", "--audit-key", AUDIT_KEY, check=False)
    assert result.returncode == 65 and b"cli-deploy" in result.stdout, result


@pytest.mark.parametrize("user", ["www-data", "redis", "postgres"])
def test_a_host_writes_lines_without_the_audit_key(layout, user):
    """A log that no process of the stream began, in the stream's own folder."""
    line = '{"time":"2026-01-01T00:00:00.000Z","boot":"b","stream":"cli-root","seq":1,"action":"destroy","subject":"uid:root","status":"success"}'
    assert run_as(layout, user, "sh", "-c", f"echo '{line}' > {LOG / OWN[user]}/log").returncode == 0
    result = layout.keyturn("audit", "verify", "--audit-key", AUDIT_KEY, check=False)
    assert result.returncode == 65 and OWN[user].encode() in result.stdout, result


def test_a_file_that_does_not_count(layout):
    """An empty file, one of another user, a link: named by check, and no reader stops."""
    own = ANCHORS / "nginx"
    for command in (f": > {own}/generations", f"ln -sf {ANCHORS}/cli-root/generations {own}/generations",
                    f"rm {own}/generations; mkfifo {own}/generations"):
        assert run_as(layout, "www-data", "sh", "-c", command).returncode == 0
        assert layout.get("api-keys/stripe") == b"leaked"
        assert any(what == "anchors" and str(own / "generations") in detail for what, detail in layout.wrong())
        layout.sh(f"rm {own}/generations")
    assert pwd.getpwuid(own.stat().st_uid).pw_name == "www-data" and layout.wrong() == []


def test_anchors_that_were_emptied(layout):
    """By root, who alone could: there is no older store, and still nothing is served without a witness."""
    layout.sh(f"rm {ANCHORS}/*/generations")
    assert layout.get("api-keys/stripe") == 65
    for verb in ("verify", "check"):
        result = layout.keyturn(verb, check=False)
        assert result.returncode == 65 and b"there is no anchor of it" in result.stdout + result.stderr, (verb, result)

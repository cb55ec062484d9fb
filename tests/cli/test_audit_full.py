# SPDX-License-Identifier: BSD-2-Clause
"""On a full disk nothing is served that cannot be recorded, and what a target already has is stored and recorded."""
import os
import pathlib
import re
import shutil

import pytest

from lib.home import Home

# The target takes the new value. When it is done, the small disk is full, and others have written there as long as they could.
FILLS = """#!/bin/sh
new=$(cat)
case $KEYTURN_STEP in
set)
    printf %s "$new" > {server}
    for size in 65536 4096 512 1; do
        dd if=/dev/zero bs=$size count=4096 >> {disk}/filler 2>/dev/null || true
    done
    while printf x | {keyturn} --quiet set api-keys/b; do :; done > {log} 2>&1
    while printf x | {keyturn} --quiet set other/b; do :; done >> {log} 2>&1 ;;
test) [ "$new" = "$(cat {server})" ] || exit 65 ;;
esac
"""


@pytest.fixture
def disk():
    """Not kept: auto/check mounts it, and whatever is on it is in the way of the next."""
    folder = os.environ.get("KEYTURN_TEST_TMPFS")
    if not folder:
        pytest.skip("counterpart: a small file system that root mounts (KEYTURN_TEST_TMPFS)")
    folder = pathlib.Path(folder) / "trail"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(kt, tmp_path, disk):
    """Its trail is on the small disk, the rest elsewhere."""
    kt.need("keyturn")
    home = Home(kt, tmp_path / "home")
    home.keyturn("init", "--audit-key", tmp_path / "audit.key", home.dir)
    shutil.copytree(home.audit, disk / "audit")
    home.replace(str(home.audit), str(disk / "audit"))
    home.audit = disk / "audit"
    home.audit_key = tmp_path / "audit.key"
    home.set("api-keys/a", b"value-of-a")
    return home


def fill(disk):
    with open(disk / "filler", "ab", buffering=0) as filler:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                pass


def test_a_full_disk_refuses_and_names_the_log(home, disk):
    assert home.get("api-keys/a") == b"value-of-a"
    fill(disk)
    for command in (["get", "api-keys/a"], ["info", "api-keys/a"], ["list"]):
        result = home.run(*command, check=False)
        assert result.returncode == 74 and result.stdout == b"", command
        assert b"audit trail " in result.stderr and b"No space left on device" in result.stderr
    (disk / "filler").unlink()
    assert home.get("api-keys/a") == b"value-of-a"
    home.run("audit", "verify", "--audit-key", home.audit_key)


def test_a_full_disk_does_not_stop_a_rotation_that_the_target_knows_of(home, disk, tmp_path):
    server, target, log = tmp_path / "server", tmp_path / "target", tmp_path / "others"
    keyturn = f"LD_LIBRARY_PATH={home.env.get('LD_LIBRARY_PATH', '')} {home.stage.keyturn} -c {home.config}"
    target.write_text(FILLS.format(server=server, disk=disk, log=log, keyturn=keyturn))
    target.chmod(0o700)
    home.write_config(home.read_config() + f'targets:\n  "database/*": {{exec: "{target}", timeout: 120s}}\n')
    home.set("database/a", {"host": "h", "user": "u", "password": "first"})
    home.set("database/b", {"host": "h", "user": "u", "password": "first"})
    assert home.rotate("database/a") == 2
    assert "audit/cli-" in log.read_text() and "/log: No space left on device" in log.read_text()
    assert home.run("get", "database/a", check=False).returncode == 74, "the disk is full"
    refused = home.run("rotate", "database/b", check=False)
    assert refused.returncode == 74 and b"No space left" in refused.stderr, "no other one begins"
    (disk / "filler").unlink()
    assert home.get("database/a#password") == server.read_bytes()
    assert home.get("database/b#password") == b"first"
    actions = [(line["action"], line["status"]) for line in home.records() if line.get("reference") == "database/a"]
    assert ("rotate.finish", "intent") in actions and ("rotate.finish", "success") in actions
    home.run("audit", "verify", "--audit-key", home.audit_key)


def test_nor_does_a_full_disk_of_the_store(kt, tmp_path, disk):
    """64 KiB is the most that has to move. The user who fills the disk writes secrets for as long as it works."""
    kt.need("keyturn")
    home = Home(kt, tmp_path / "home")
    home.keyturn("init", "--audit-key", tmp_path / "audit.key", home.dir)
    home.replace(str(home.store), str(disk / home.store.name))
    for file in [*home.dir.glob(f"{home.store.name}*"), home.dir / "anchors"]:
        shutil.move(file, disk / file.name)
    server, target, log = tmp_path / "server", tmp_path / "target", tmp_path / "others"
    keyturn = f"LD_LIBRARY_PATH={home.env.get('LD_LIBRARY_PATH', '')} {home.stage.keyturn} -c {home.config}"
    target.write_text(FILLS.format(server=server, disk=disk, log=log, keyturn=keyturn))
    target.chmod(0o700)
    home.write_config(home.read_config() + f'targets:\n  "tls/*": {{exec: "{target}", timeout: 120s, test: true}}\n')
    home.set("tls/a", os.urandom(32768).hex())
    (tmp_path / "new").write_text(os.urandom(32768).hex())
    assert home.rotate("tls/a", "--file", tmp_path / "new") == 2
    assert re.search("no space for (what may have to be written next|the next anchor)", log.read_text())
    assert home.get("tls/a") == (tmp_path / "new").read_bytes()
    assert not [line for line in home.records() if line["action"] == "settle"], "each change had its anchor"
    refused = home.run("rotate", "tls/a", "--file", tmp_path / "new", check=False)
    assert refused.returncode == 74 and b"no space" in refused.stderr, "no other one begins"
    (disk / "filler").unlink()
    assert home.rotate("tls/a", "--file", tmp_path / "new") == 3
    home.run("verify")

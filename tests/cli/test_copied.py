# SPDX-License-Identifier: BSD-2-Clause
"""A home that was copied as files and put back: everything goes on, with a gap line in the audit log, and it still verifies."""
import shutil
import subprocess

import pytest

from lib import read_trail


@pytest.fixture
def audit_key(kt, tmp_path):
    return tmp_path / "audit.key"


@pytest.fixture
def home(kt, tmp_path, audit_key):
    from lib.home import Home

    home = Home(kt, tmp_path / "home", "production")
    home.keyturn("init", "--environment", "production", "--audit-key", audit_key, home.dir)
    return home


def cp(source, target):
    subprocess.run(["cp", "-a", source, target], check=True)


def tar(source, target):
    target.mkdir()
    subprocess.run(f"tar -C {source} -c . | tar -C {target} -xp", shell=True, check=True)


def copytree(source, target):
    """With new times, as from a tool that keeps less than cp -a; modes stay."""
    shutil.copytree(source, target, copy_function=shutil.copy)


@pytest.mark.parametrize("copy", [cp, tar, copytree])
@pytest.mark.parametrize("later", [True, False])
def test_a_copied_home_works(home, audit_key, tmp_path, copy, later):
    """With and without writes between the copy and its return: the copy is then older than what it replaces."""
    home.set("api-keys/a", b"one")
    home.set("database/b", b"two")
    copy(home.dir, tmp_path / "copy")
    inode = next(home.audit.glob("cli-*/log")).stat().st_ino
    if later:
        home.set("api-keys/a", b"lost")
    shutil.rmtree(home.dir)
    copy(tmp_path / "copy", home.dir)
    same = next(home.audit.glob("cli-*/log")).stat().st_ino == inode
    assert home.get("api-keys/a") == b"one" and home.get("database/b") == b"two"
    assert home.set("api-keys/a", b"three") == 2 and home.get("api-keys/a") == b"three"
    home.run("verify")
    home.run("check")
    home.run("audit", "verify", "--audit-key", audit_key)
    text = "".join(b"".join(read_trail.read_log(path)).decode() for path in (home.audit).glob("cli-*/log*"))
    assert '"action":"gap"' in text or same  # the number may have come back
    home.run("backup", tmp_path / "backup.kt")
    home.run("restore", tmp_path / "backup.kt")


def test_a_copy_elsewhere_is_a_home_of_its_own(home, audit_key, tmp_path):
    """Its configuration names absolute paths, so they are changed with it."""
    home.set("api-keys/a", b"one")
    cp(home.dir, tmp_path / "moved")
    config = tmp_path / "moved/keyturn.yaml"
    config.write_text(config.read_text().replace(f"{home.dir}/", f"{tmp_path}/moved/"))
    assert home.keyturn("-c", config, "get", "api-keys/a").stdout == b"one"
    home.keyturn("-c", config, "set", "api-keys/a", input=b"two")
    home.keyturn("-c", config, "verify")
    home.keyturn("-c", config, "audit", "verify", "--audit-key", audit_key)
    assert home.get("api-keys/a") == b"one"
    home.run("verify")
    home.run("audit", "verify", "--audit-key", audit_key)

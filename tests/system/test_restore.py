# SPDX-License-Identifier: BSD-2-Clause
"""docs/restore.md as it stands: from README's set-up to a wiped machine, and from there to the first answer of nginx. And init --restore alone."""
import json
import pathlib
import re
import shutil

import pytest

from lib.machine import AUDIT_KEY, CONFIG, ETC, LIB, LOG, STORE, owner
from lib.readme import Setup, prepare, readme_blocks, take_away

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/restore.md"
BACKUP = pathlib.Path("/backup")


def page_blocks():
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


@pytest.fixture
def setup(kt, users):
    setup = Setup(kt)
    setup.machine.take_away()
    prepare(kt)
    # the folder of the page, in memory
    setup.run("mkdir -p /var/lib/kept /backup && mount --bind /var/lib/kept /backup")
    yield setup
    setup.run("umount /backup; rmdir /backup", check=False)
    take_away(setup.machine)


def test_the_page_from_a_wiped_machine_to_the_first_answer(setup):
    keep, restore, start = page_blocks()
    shown = "".join(setup.run(block).stdout for block in readme_blocks())
    (BACKUP / "audit.key").write_text(re.search(r"^keyturn-audit-key .*$", shown, re.M)[0] + "\n")
    (BACKUP / "audit.key").chmod(0o600)
    shutil.copy2(ETC / "production.key", BACKUP)
    setup.run("printf %s sk-live-99Z-Kept | keyturn set api-keys/stripe; printf %s re_kept | redis-cli -x SECRET.SET api-keys/resend; sleep 1.2")
    result = setup.run(keep)
    assert "the key of the environment, keyturn.yaml, the audit key, and what Redis has stored" in result.stderr
    # the disk is lost; what Debian's packages put on a new one stays
    setup.run("service nginx stop; service redis-server stop; service postgresql stop; rm -rf /var/lib/redis/*")
    setup.machine.take_away()
    assert not any(path.exists() for path in (ETC, LIB, LOG))

    setup.run(restore)
    setup.run(start + "timeout 9 sh -c 'until redis-cli PING; do sleep 0.1; done'")
    assert setup.nginx() == (200, "Bearer sk-live-99Z-Kept")
    assert setup.run("redis-cli SECRET.GET api-keys/resend").stdout.strip() == "re_kept"
    setup.run("service postgresql start; timeout 30 sh -c 'until su - postgres -c \"psql -Atc SELECT\" >/dev/null 2>&1; do sleep 0.1; done'")
    assert setup.works()
    assert setup.psql("SELECT rotate_secret('database/primary')").stdout.strip().isdigit() and setup.can_login()
    setup.run("keyturn audit verify --audit-key /backup/audit.key && keyturn audit verify --audit-key /backup/audit.key /backup/log")


# init --restore alone

@pytest.fixture
def kept(machine, tmp_path):
    """A backup and a key of a machine that is gone."""
    machine.init()
    machine.set("api-keys/a", b"one")
    machine.set("database/b", b"two")
    machine.keyturn("backup", tmp_path / "backup.kt")
    shutil.copy2(ETC / "production.key", tmp_path / "kept.key")
    shutil.copy2(AUDIT_KEY, tmp_path / "audit.key")
    machine.take_away()
    return machine


def restore(machine, folder, *options, **more):
    return machine.keyturn("init", "--system", "--restore", folder / "backup.kt", "--key", folder / "kept.key", *options, **more)


def test_everything_is_made_from_backup_and_key(kept, tmp_path):
    text = restore(kept, tmp_path, "--user", "deploy", "--audit-key", tmp_path / "audit.key").stdout.decode()
    assert "environment production" in text and "put it in place of" in text and "keyturn-audit-key" not in text
    assert kept.get("api-keys/a") == b"one" and kept.get("database/b") == b"two"
    assert owner(STORE) == ("0664", "root", "keyturn-write") and owner(ETC / "nginx.key") == ("0640", "root", "www-data")
    assert owner(ETC / "production.key") == ("0600", "root", "root")
    assert (ETC / "production.key").read_bytes() == (tmp_path / "kept.key").read_bytes()
    kept.sh("sed -i '/#- {who: /s/#//' /etc/keyturn/keyturn.yaml")
    assert kept.get("api-keys/a", "deploy") == b"one" and kept.wrong() == []
    kept.keyturn("verify")
    kept.keyturn("audit", "verify", "--audit-key", tmp_path / "audit.key")
    assert kept.set("api-keys/a", b"three") == 2
    assert '"action":"restore"' in (LOG / "cli-root/log").read_text()


def test_without_an_audit_key_a_new_one_is_shown(kept, tmp_path):
    answer = json.loads(restore(kept, tmp_path, "--json").stdout)
    assert answer["environment"] == "production" and answer["audit_key"].startswith("keyturn-audit-key")


@pytest.mark.parametrize("options, code, says", [
    (["--restore", "backup.kt"], 64, "need each other"), (["--key", "kept.key"], 64, "need each other"),
    (["--restore", "backup.kt", "--key", "backup.kt"], 78, "not a key file"), (["--restore", "none.kt", "--key", "kept.key"], 66, "none.kt"),
    (["--restore", "backup.kt", "--key", "other.key"], 77, "another key"), (["--restore", "cut.kt", "--key", "kept.key"], 65, "cut"),
    (["--restore", "backup.kt", "--key", "kept.key", "--environment", "staging"], 77, "a key of"),
    (["--restore", "backup.kt", "--key", "kept.key", "--audit-key", "none.key"], 64, "none.key")])
def test_a_wrong_restore_makes_nothing(kept, tmp_path, options, code, says):
    kept.keyturn("keygen", "--environment", "production", tmp_path / "other.key")
    (tmp_path / "cut.kt").write_bytes((tmp_path / "backup.kt").read_bytes()[:-5])
    paths = [tmp_path / option if "." in option else option for option in options]
    result = kept.keyturn("init", "--system", *paths, check=False)
    assert result.returncode == code and says in result.stderr.decode(), result
    assert not CONFIG.exists() and not STORE.exists() and not list(ETC.glob("*")) and not list(LOG.glob("*"))
    assert restore(kept, tmp_path).returncode == 0 and kept.get("api-keys/a") == b"one"


def test_a_machine_that_has_its_configuration_is_not_changed(kept, tmp_path):
    kept.init()
    before = {path: path.read_bytes() for path in ETC.iterdir()}
    assert restore(kept, tmp_path, check=False).returncode == 73
    assert {path: path.read_bytes() for path in ETC.iterdir()} == before and kept.get("api-keys/a") == 66


def test_killed_at_each_step(kept, tmp_path):
    for number in range(300):
        result = restore(kept, tmp_path, "--audit-key", tmp_path / "audit.key", check=False, env={"KEYTURN_DEBUG_STOP": f"init.{number}:kill"})
        if result.returncode == 0:
            assert number > 5
            break
        assert result.returncode == -9, result
        if not CONFIG.exists():
            restore(kept, tmp_path, "--audit-key", tmp_path / "audit.key")
        assert kept.get("api-keys/a") == b"one", number
        kept.take_away()


# a copy of the store's file

def test_a_copied_file_is_refused_and_a_backup_restored_over_it(machine, tmp_path):
    """F13: what keyturn-local(7) advised could not be put back."""
    machine.init()
    machine.sh("sed -i '/#- {who: /s/#//' /etc/keyturn/keyturn.yaml")
    machine.set("api-keys/a", b"one")
    machine.keyturn("backup", tmp_path / "backup.kt")
    machine.sh(f"sqlite3 -readonly {STORE} \"VACUUM INTO '{tmp_path}/copy.db'\"")
    machine.set("api-keys/a", b"two")
    machine.sh(f"rm {STORE}*; install -m 664 -g keyturn-write {tmp_path}/copy.db {STORE}")
    assert machine.get("api-keys/a") == 65
    assert {"nginx", "redis", "provider local"} <= {what for what, _ in machine.wrong()}
    machine.keyturn("restore", "--going-back", tmp_path / "backup.kt")
    assert machine.get("api-keys/a") == b"one" and machine.wrong() == []
    machine.keyturn("verify")

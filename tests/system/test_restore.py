# SPDX-License-Identifier: BSD-2-Clause
"""docs/restore.md as it stands: from README's set-up to a wiped machine, and from there to the first answer of nginx. And init --restore alone."""
import contextlib
import json
import pathlib
import re
import shutil
import sqlite3

import pytest

from lib.machine import AUDIT_KEY, CONFIG, ETC, LIB, LOG, STORE, owner
from lib.readme import Setup, prepare, readme_blocks, take_away
from lib.tools import wait_for

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
    setup.run("rm -rf /var/lib/kept; mkdir -p /var/lib/kept /backup && mount --bind /var/lib/kept /backup")
    yield setup
    setup.run("umount /backup; rmdir /backup", check=False)
    take_away(setup.machine)


def run_readme(setup, blocks=readme_blocks()):
    """And keeps what was to be kept since the first day."""
    shown = "".join(setup.run(block).stdout for block in blocks)
    (BACKUP / "audit.key").write_text(re.search(r"^keyturn-audit-key .*$", shown, re.M)[0] + "\n")
    (BACKUP / "audit.key").chmod(0o600)
    shutil.copy2(ETC / "production.key", BACKUP)


def rotate(setup):
    setup.psql("SELECT rotate_secret('database/primary')")
    assert setup.can_login()


def in_the_middle_of_a_rotation(setup, command):
    """The new version is pending, the role's new password not committed."""
    gate, rotation = setup.session(), setup.session()
    print("SELECT 'shut' FROM pg_advisory_lock(8);", file=gate.stdin, flush=True)
    assert gate.stdout.readline() == "shut\n"
    print("SELECT rotate_secret('database/primary'), pg_advisory_lock(8);", file=rotation.stdin, flush=True)
    wait_for(lambda: "pending" in setup.run("keyturn versions database/primary").stdout, 30, what="the pending version")
    setup.run(command)
    gate.communicate("\\q\n", timeout=60)
    rotation.communicate(timeout=60)


def lose_the_disk(setup):
    """What Debian's packages put on a new one stays, as they put it there."""
    setup.run("service nginx stop; service redis-server stop; service postgresql stop; rm -rf /var/lib/redis/* /var/lib/postgresql/* "
              "/etc/postgresql/15 /etc/nginx/conf.d/shop.conf /etc/nginx/modules-enabled/60-keyturn.conf; cp -a /run/redis.conf /etc/redis")
    setup.machine.take_away()
    assert not any(path.exists() for path in (ETC, LIB, LOG))


# between the backup of keyturn and that of PostgreSQL
BETWEEN = {
    "nothing": (lambda setup, keep: None, True),
    "PostgreSQL's is older": (lambda setup, keep: (rotate(setup), setup.run("rm /backup/keyturn.kt; " + keep["keyturn"])), False),
    "keyturn's is older": (lambda setup, keep: (rotate(setup), setup.run(keep["pg_dumpall"])), False),
    "keyturn's is of a rotation": (lambda setup, keep: in_the_middle_of_a_rotation(setup, "rm /backup/keyturn.kt; " + keep["keyturn"]), True)}


@pytest.mark.parametrize("between", BETWEEN)
def test_the_page_from_a_wiped_machine_to_the_first_answers(setup, between):
    keep, restore, start, login, adopt, repair = page_blocks()
    happens, agree = BETWEEN[between]
    run_readme(setup)
    setup.run("printf %s sk-live-99Z-Kept | keyturn set api-keys/stripe; printf %s re_kept | redis-cli -x SECRET.SET api-keys/resend; "
              "su - postgres -c \"psql -c 'CREATE TABLE orders AS SELECT 1'\"; sleep 1.2")
    result = setup.run(keep)
    assert "the key of the environment, keyturn.yaml, the audit key, Redis' data and PostgreSQL's own backup" in result.stderr
    happens(setup, {word: line for line in keep.splitlines() for word in line.split() if word in ("keyturn", "pg_dumpall")})
    lose_the_disk(setup)

    setup.run(restore)
    setup.run(start)
    assert setup.nginx() == (200, "Bearer sk-live-99Z-Kept")
    assert setup.run("redis-cli SECRET.GET api-keys/resend").stdout.strip() == "re_kept"
    assert setup.psql("SELECT * FROM orders").stdout.strip() == "1"
    result = setup.run(login, check=False)
    assert ("\n app\n" in result.stdout) == agree and (result.returncode == 0) == agree
    if between.endswith("of a rotation"):
        result = setup.run(adopt, check=False)
        assert "an unfinished rotation" in result.stderr
        setup.run(repair)
        assert "abandoned" in setup.run("keyturn versions database/primary").stdout
    else:
        refused = setup.psql("SELECT rotate_secret('database/primary')", check=False)
        assert refused.returncode != 0 and "belongs to another cluster" in refused.stderr
        setup.run(adopt if agree else repair)
    assert setup.works()
    rotate(setup)
    setup.run("keyturn audit verify --audit-key /backup/audit.key && keyturn audit verify --audit-key /backup/audit.key /backup/log")


def test_neither_backup_has_the_role_or_the_secret(setup):
    """They were made before it: PostgreSQL ran, with keyturn in it."""
    keep, restore, start, login, _, repair = page_blocks()
    init, nginx, redis, postgresql, _ = readme_blocks()
    run_readme(setup, [init, nginx, redis, postgresql[:postgresql.index("printf app")]])
    setup.run(keep)
    lose_the_disk(setup)
    setup.run(restore)
    setup.run(start)
    assert setup.run(login, check=False).returncode != 0
    setup.run(repair)
    assert setup.works()


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
    with contextlib.closing(sqlite3.connect(f"file:{STORE}?mode=ro", uri=True)) as store:
        store.execute("VACUUM INTO ?", (f"{tmp_path}/copy.db",))
    machine.set("api-keys/a", b"two")
    machine.sh(f"rm {STORE}*; install -m 664 -g keyturn-write {tmp_path}/copy.db {STORE}")
    assert machine.get("api-keys/a") == 65
    assert {"nginx", "redis", "provider local"} <= {what for what, _ in machine.wrong()}
    machine.keyturn("restore", "--going-back", tmp_path / "backup.kt")
    assert machine.get("api-keys/a") == b"one" and machine.wrong() == []
    machine.keyturn("verify")

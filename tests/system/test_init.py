# SPDX-License-Identifier: BSD-2-Clause
"""init --system: the layout, further users, and all or nothing."""
import grp
import json
import re
import subprocess

import pytest

from lib.machine import AUDIT_KEY, CONFIG, CONFS, ETC, HOSTS, LIB, LOG, STORE, owner


def members(group):
    return sorted(grp.getgrnam(group).gr_mem)


def nothing_is_there():
    with pytest.raises(KeyError):
        grp.getgrnam("keyturn")
    return not (ETC.exists() or LIB.exists() or LOG.exists() or AUDIT_KEY.exists())


def is_whole(machine):
    assert machine.set("api-keys/a", b"v") == 1 and machine.get("api-keys/a") == b"v"
    machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
    assert not list(ETC.glob(".*")), "something is left"
    return members("keyturn") == ["postgres", "redis", "www-data"]


def test_layout(machine):
    text = machine.init().stdout.decode()
    assert owner(ETC) == ("0755", "root", "root") and owner(CONFIG) == ("0640", "root", "keyturn")
    assert owner(ETC / "production.key") == ("0600", "root", "root")
    assert owner(LIB) == ("0750", "root", "keyturn") and owner(LIB / "store") == ("2775", "root", "keyturn-write")
    assert owner(LIB / "anchors") == ("0755", "root", "root")
    for name in (STORE.name, STORE.name + "-wal", STORE.name + "-shm"):
        assert owner(STORE.parent / name) == ("0664", "root", "keyturn-write")
    for host, user in HOSTS.items():
        assert owner(ETC / f"{host}.key") == ("0640", "root", user) and owner(LOG / host) == ("2750", user, "keyturn-audit")
        assert owner(LIB / "anchors" / host) == ("0755", user, user)
        assert owner(LOG / host / "state")[:2] == ("0600", user) and f"{host} (user {user})" in text
    assert members("keyturn-write") == ["postgres"] and is_whole(machine)


def folders():
    return {path: owner(path) for top in (ETC, LIB, LOG) for path in (top, *top.rglob("*")) if path.is_dir()}


def test_a_lost_var_is_made_again_at_boot(machine):
    machine.init("--user", "human")
    before = folders()
    machine.sh(f"rm -r {LIB} {LOG}")
    machine.sh("systemd-tmpfiles --create keyturn.conf keyturn-nginx.conf keyturn-redis.conf keyturn-postgresql.conf "
               "keyturn-cli-human.conf keyturn-cli-root.conf")
    assert folders() == before


def test_folders_that_are_there_stay_as_they_are(machine):
    LIB.mkdir(mode=0o755)
    (LOG / "nginx").mkdir(parents=True, mode=0o711)
    machine.init()
    assert owner(LIB) == ("0755", "root", "root") and owner(LOG / "nginx") == ("0711", "root", "root")


@pytest.mark.parametrize("path", [LIB, LOG, LIB / "store", LOG / "nginx"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(machine, path, tmp_path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path)
    before = owner(tmp_path)
    result = machine.init(check=False)
    assert result.returncode == 73 and str(path).encode() in result.stderr
    assert owner(tmp_path) == before and list(tmp_path.iterdir()) == [] and not CONFIG.exists()
    path.unlink()


def test_a_missing_tool_is_named(machine):
    result = machine.init(check=False, env={"PATH": "/nowhere"})
    assert result.returncode == 69 and b"systemd-sysusers: not found (install the package" in result.stderr
    assert nothing_is_there()


def test_a_home_on_a_mount_point(machine, tmp_path):
    """Which cannot be replaced; a folder on it can."""
    machine.sh(f"mkdir {tmp_path}/mount && mount -t tmpfs -o mode=755 keyturn {tmp_path}/mount")
    result = machine.keyturn("init", tmp_path / "mount", check=False)
    assert result.returncode == 73 and b"mount point" in result.stderr
    machine.keyturn("init", tmp_path / "mount/home")
    assert (tmp_path / "mount/home/keyturn.yaml").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mount"]
    machine.sh(f"umount {tmp_path}/mount")


def test_nothing_is_overwritten(machine):
    machine.init()
    before = {path: path.read_bytes() for path in ETC.iterdir()}
    assert machine.init(check=False).returncode == 73
    assert {path: path.read_bytes() for path in ETC.iterdir()} == before and is_whole(machine)


@pytest.mark.parametrize("path", [ETC / "nginx.key", ETC / "production.key", STORE])
def test_a_file_in_the_way_stays_and_nothing_else_does(machine, path):
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    result = machine.init(check=False)
    assert result.returncode == 73 and str(path).encode() in result.stderr
    assert path.read_text() == "precious"
    assert [file for folder in (ETC, LIB, LOG) for file in folder.rglob("*") if file.is_file()] == [path]
    path.unlink()
    assert machine.init().returncode == 0 and is_whole(machine)


# further users

def test_users_with_the_first_run(machine):
    text = machine.init("--user", "deploy:api-keys,database", "--user", "human").stdout.decode()
    assert "cli-deploy.key" in text and "cli-human.key" in text
    assert owner(ETC / "cli-deploy.key") == ("0640", "root", "deploy")
    assert owner(ETC / "cli-human.key") == ("0400", "human", "root")  # others are in the group of human
    assert owner(LOG / "cli-human") == ("2750", "human", "keyturn-audit") and owner(LOG / "cli-human/state")[:2] == ("0600", "human")
    assert members("keyturn") == ["deploy", "human", "postgres", "redis", "www-data"] and members("keyturn-write") == ["postgres"]
    assert '#- {who: "uid:deploy", allow: [read], names: ["api-keys/*", "database/*"]}' in CONFIG.read_text()
    assert '#- {who: "uid:human", allow: [read], names: ["api-keys/*"]}' in CONFIG.read_text()
    machine.sh("sed -i '/#- {who: /s/#//' /etc/keyturn/keyturn.yaml")
    machine.set("api-keys/a", b"one")
    machine.set("database/b", b"two")
    assert machine.get("api-keys/a", "deploy") == b"one" and machine.get("database/b", "deploy") == b"two"
    assert machine.get("api-keys/a", "human") == b"one" and machine.get("database/b", "human") == 77
    machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
    assert machine.wrong() == []


def test_a_user_is_added_later(machine):
    machine.init("--user", "deploy")
    machine.set("api-keys/a", b"one")
    CONFIG.write_text(CONFIG.read_text() + "# the operator's own line\n")
    before = {path: path.read_bytes() for path in ETC.iterdir() if path != CONFIG}
    text = machine.keyturn("init", "--system", "--user", "human:api-keys", "--audit-key", AUDIT_KEY).stdout.decode()
    assert "human may open" in text and "audit key" not in text
    assert all(path.read_bytes() == data for path, data in before.items()) and owner(CONFIG) == ("0640", "root", "keyturn")
    assert "# the operator's own line" in CONFIG.read_text() and 'cli-human: "file:/etc/keyturn/cli-human.key"}' in CONFIG.read_text()
    machine.sh("sed -i '/#- {who: /s/#//' /etc/keyturn/keyturn.yaml")
    assert machine.get("api-keys/a", "human") == machine.get("api-keys/a", "deploy") == b"one"
    machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
    # once more changes nothing
    after = {path: path.read_bytes() for path in ETC.iterdir()}
    machine.keyturn("init", "--system", "--user", "human:database", "--user", "deploy")
    assert {path: path.read_bytes() for path in ETC.iterdir()} == after


def test_a_user_is_added_without_the_audit_key(machine):
    """It is said, with the way out, and the audit logs of all others are proved as before."""
    machine.init()
    machine.set("api-keys/a", b"one")
    text = machine.keyturn("init", "--system", "--user", "human").stdout.decode()
    (command,) = re.findall(r"`(keyturn keygen --stream cli-human --audit-key FILE /\S+)`$", text, re.M)
    machine.sh("sed -i '/#- {who: /s/#//' /etc/keyturn/keyturn.yaml")
    assert machine.get("api-keys/a", "human") == b"one"
    result = machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
    assert b"not provable: the stream was made without the audit key" in result.stdout
    machine.keyturn(*command.replace("FILE", str(AUDIT_KEY)).split()[1:])
    assert machine.get("api-keys/a", "human") == b"one"
    assert b"not provable" not in machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY).stdout
    machine.sh(f"rm {LOG}/cli-human/*", check=False)
    assert machine.get("api-keys/a", "human") == b"one"
    assert machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY, check=False).returncode == 65


@pytest.mark.parametrize("options, says", [
    (["--user", "deploy", "--user", "noone"], b"the user noone does not exist; nothing was changed"),
    (["--user", "deploy", "--user", "deploy:tls"], b"given twice"), (["--user", "root"], b"root has the key of every type"),
    (["--user", "deploy:"], b"needs types"), (["--user", "deploy:a,,b"], b"needs types"), (["--user", "deploy:a/b"], b"needs types"),
    (["--user", ""], b"--user needs"), (["--user", "../deploy"], b"--user needs")])
@pytest.mark.parametrize("first", [True, False])
def test_wrong_users_change_nothing(machine, options, says, first):
    if not first:
        machine.init()
    before = {path: path.read_bytes() for folder in (ETC, LOG) for path in folder.rglob("*") if path.is_file()}
    result = machine.init(*options, check=False)
    assert result.returncode == 64 and says in result.stderr
    assert nothing_is_there() if first else members("keyturn") == ["postgres", "redis", "www-data"]
    assert {path: path.read_bytes() for folder in (ETC, LOG) for path in folder.rglob("*") if path.is_file()} == before


def test_another_environment_or_key_line_is_told_before_anything_is_changed(machine):
    machine.init()
    result = machine.keyturn("init", "--system", "--environment", "staging", "--user", "deploy", check=False)
    assert result.returncode == 73 and b"production" in result.stderr
    text = CONFIG.read_text().replace("\nkey: {cli", "\nkey:\n  {cli")
    CONFIG.write_text(text)
    result = machine.keyturn("init", "--system", "--user", "deploy", check=False)
    assert result.returncode == 73 and b'add cli-deploy: "file:/etc/keyturn/cli-deploy.key"' in result.stderr
    assert "deploy" not in members("keyturn") and not (ETC / "cli-deploy.key").exists() and CONFIG.read_text() == text
    CONFIG.write_text(text.replace("{cli:", '{cli-deploy: "file:/etc/keyturn/cli-deploy.key", cli:'))
    machine.keyturn("init", "--system", "--user", "deploy")
    machine.grant('  - {who: "uid:*", allow: [read, write], names: ["*"]}')
    machine.set("api-keys/a", b"v")
    assert machine.get("api-keys/a", "deploy") == b"v"


# killed

def killed_everywhere(machine, init):
    """Calls init(environment) with each point in turn, until none is met."""
    for number in range(300):
        result = init({"KEYTURN_DEBUG_STOP": f"init.{number}:kill"})
        if result.returncode == 0:
            assert number > 5
            return
        assert result.returncode == -9, result
        yield number


def test_killed_at_each_step(machine):
    for number in killed_everywhere(machine, lambda env: machine.init("--user", "deploy", check=False, env=env)):
        if not CONFIG.exists():
            assert machine.init("--user", "human").returncode == 0, number
            assert not (ETC / "cli-deploy.key").exists() and not (LOG / "cli-deploy").exists()
            assert not (CONFS / "keyturn-cli-deploy.conf").exists()
            assert members("keyturn") == ["human", "postgres", "redis", "www-data"]
        else:
            assert machine.init(check=False).returncode == 73
        assert not list(ETC.glob(".*")), number
        machine.set("api-keys/a", b"v")
        machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
        machine.take_away()


def test_killed_between_the_store_and_its_rows(machine):
    assert machine.init(check=False, env={"KEYTURN_DEBUG_STOP": "after_store:kill"}).returncode == -9
    assert STORE.exists() and not CONFIG.exists()
    assert machine.init().returncode == 0 and is_whole(machine)


def test_a_user_is_added_though_killed_at_each_step(machine):
    machine.init()
    whole = CONFIG.read_text()

    def add(env=None):
        return machine.keyturn("init", "--system", "--user", "deploy", "--audit-key", AUDIT_KEY, check=False, env=env)
    for number in killed_everywhere(machine, add):
        machine.keyturn("list")  # it is as good as before, at each moment
        assert add().returncode == 0, number
        assert CONFIG.read_text().count("cli-deploy:") == 1 and not list(ETC.glob(".*")), number
        machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
        (ETC / "cli-deploy.key").unlink()
        machine.sh(f"rm -r {LOG}/cli-deploy {CONFS}/keyturn-cli-deploy.conf; gpasswd -d deploy keyturn")
        CONFIG.write_text(whole)


def test_two_at_once(machine):
    running = [subprocess.Popen([machine.stage.keyturn, "--json", "init", "--system"], env=machine.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE) for _ in range(4)]
    answers = [(json.loads(process.communicate(timeout=60)[0]), process.returncode) for process in running]
    assert sorted(code for _, code in answers) == [0, 73, 73, 73], answers
    machine.set("a", b"v")

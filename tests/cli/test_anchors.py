# SPDX-License-Identifier: BSD-2-Clause
"""Anchors: what stands in their place, what happens without them, and what the person learns who writes without one."""
import contextlib
import fcntl
import gzip
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess

import pytest

GONE = "there is no anchor of it"


@pytest.fixture
def store(home):
    home.set("api-keys/a", b"old")
    home.set("tls/a", b"of tls")
    return home


def own(home):
    return next((home.dir / "anchors").glob("cli-*"))


def generations(home):
    """The last ones of the command's own file, of all types and of the catalogue."""
    lines = [line.split() for line in (own(home) / "generations").read_text().splitlines()[1:]]
    return sorted(dict(sorted((line[0], int(line[2])) for line in lines)).values())


@contextlib.contextmanager
def locked(home):
    with open(own(home) / ".lock", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take(home, path):
    source, target = sqlite3.connect(home.store), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path


def put_back(home, copy):
    for suffix in "", "-wal", "-shm":
        (home.store.parent / (home.store.name + suffix)).unlink(missing_ok=True)
    shutil.copy(copy, home.store)


def refused(home, *args, says):
    result = home.run(*args, check=False)
    assert result.returncode == 65 and says in (result.stderr + result.stdout).decode(), result
    return result


def test_the_folders(store):
    assert sorted(path.name for path in (store.dir / "anchors").iterdir()) == sorted([own(store).name, "nginx", "postgresql", "redis"])
    for folder in (store.dir / "anchors").iterdir():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((own(store) / "generations").stat().st_mode) == 0o644


def test_a_root_without_any_anchor(store, tmp_path):
    """Emptied files do not help who puts back an older store; the text names the way out, and it is one."""
    backup = tmp_path / "backup"
    store.run("backup", backup)
    copy = take(store, tmp_path / "copy")
    store.set("api-keys/a", b"new")
    put_back(store, copy)
    for file in (store.dir / "anchors").glob("*/generations"):
        file.unlink()
    for file in (store.dir / "audit").glob("*/log"):  # which would know better
        file.unlink()
    refused(store, "get", "api-keys/a", says=GONE)
    refused(store, "verify", says=GONE)
    assert store.run("set", "api-keys/a", input=b"x", check=False).returncode == 65
    assert "keyturn restore BACKUP --going-back" in refused(store, "info", "api-keys/a", says=GONE).stderr.decode()
    store.run("restore", "--going-back", backup)
    assert store.get("api-keys/a") == b"old" and store.run("verify").returncode == 0


def test_a_file_that_is_none(store):
    """What a stream's owner does to its own file is reported, and stops no reader of what has other anchors."""
    (store.dir / "anchors/nginx/generations").mkdir()
    assert store.get("api-keys/a") == b"old"
    result = store.run("check", check=False)
    assert result.returncode == 77 and b"anchors/nginx/generations" in result.stdout


def test_a_folder_that_others_may_write(store):
    (store.dir / "anchors").chmod(0o775)
    result = store.run("get", "api-keys/a", check=False)
    assert result.returncode == 77 and b"(chmod go-w " in result.stderr


def test_what_was_left_in_the_way(store):
    """A file under the name of the new one, which all users may write, does not become the anchors."""
    left = own(store) / ".generations.new"
    left.touch()
    left.chmod(0o666)
    store.set("api-keys/a", b"new")
    file = own(store) / "generations"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644 and not left.exists() and 2 in generations(store)


def test_an_anchor_is_written_over_the_older_of_two_lines(store):
    """The file stays the same one, and the line that is not written is the anchor before."""
    file = own(store) / "generations"
    store.set("api-keys/a", b"second")
    before = file.stat().st_ino, file.read_text().splitlines()
    store.set("api-keys/a", b"third")
    after = file.stat().st_ino, file.read_text().splitlines()
    assert after[0] == before[0] and len(after[1]) == len(before[1])
    changed = [line for line in zip(before[1], after[1]) if line[0] != line[1]]
    assert len(changed) == 1 and int(changed[0][1].split()[2]) == int(changed[0][0].split()[2]) + 2, changed


@pytest.mark.parametrize("generation", [0, 99], ids=["the same number", "a higher number"])
def test_an_anchor_that_was_cut_off(store, tmp_path, generation):
    """As a power failure leaves it, perhaps with digits of both numbers: the one before counts, and the next writes make it whole."""
    for value in b"second", b"third", b"fourth":
        store.set("api-keys/a", value)
    copy, file, last = take(store, tmp_path / "copy"), own(store) / "generations", max(generations(store))
    lines = file.read_text().splitlines()
    here = next(n for n, line in enumerate(lines) if n and int(line.split()[2]) == last)
    words = lines[here].split()
    words[2:] = f"{generation or last:020}", words[3], words[4][:-20] + "0" * 20
    mixed = [*lines[:here], " ".join(words), *lines[here + 1:]]
    file.write_text("\n".join(mixed) + "\n")
    assert store.get("api-keys/a") == b"fourth"
    store.set("api-keys/a", b"fifth")
    store.set("api-keys/a", b"sixth")
    assert max(generations(store)) == last + 2 and mixed[here] not in file.read_text().splitlines()
    put_back(store, copy)
    refused(store, "get", "api-keys/a", says="an older store was put in place")


def test_a_write_without_its_anchor_is_said(store, tmp_path):
    """On stderr, in --json, by the exit status; and the next command writes the anchor."""
    before = generations(store)
    with locked(store):
        result = store.run("set", "api-keys/a", input=b"new", check=False)
        assert result.returncode == 74 and result.stdout == b"2\n", result
        assert b"an older store put in its place would not be noticed" in result.stderr and b"holds the lock" in result.stderr
        answer = store.run("--json", "--quiet", "set", "api-keys/a", input=b"newer", check=False)
        assert answer.returncode == 74 and b"would not be noticed" in answer.stderr
        warnings = json.loads(answer.stdout)["warnings"]
        assert warnings and all("holds the lock" in warning for warning in warnings)
        read = store.run("get", "api-keys/a", check=False)
        assert read.stdout == b"newer" and read.returncode == 0 and b"the anchor that is missing cannot be written" in read.stderr
    assert generations(store) == before
    copy = take(store, tmp_path / "copy")
    assert store.get("api-keys/a") == b"newer" and sum(generations(store)) == sum(before) + 2, "a reader has written it"
    store.set("api-keys/a", b"newest")
    put_back(store, copy)
    refused(store, "get", "api-keys/a", says="an older store was put in place")


@pytest.fixture
def older(store, tmp_path, wait_for):
    """older(changes, logs=False): puts store and anchors of before the changes back, if need be with all audit logs."""
    store.write_config(store.read_config().replace("\naudit:\n", "\naudit:\n  checkpoint: 1s\n"))
    folders = ["anchors", "audit"]

    def checkpoints():
        return sum(line["action"] == "checkpoint" for line in store.records())

    def write_until_checkpoint(*names):
        before = checkpoints()

        def written():
            for name in names:
                store.set(name, b"new")
            return checkpoints() > before
        wait_for(written, timeout=30, what="a checkpoint")

    def put(changes, logs=False):
        write_until_checkpoint("api-keys/a")
        store.backup = tmp_path / "backup"
        store.run("backup", store.backup)
        copy = take(store, tmp_path / "copy")
        for folder in folders:
            shutil.copytree(store.dir / folder, tmp_path / folder)
        changes()
        put_back(store, copy)
        for folder in folders[:1 + logs]:
            shutil.rmtree(store.dir / folder)
            shutil.copytree(tmp_path / folder, store.dir / folder)
    put.write_until_checkpoint = write_until_checkpoint
    return put


OWN_LOG = "this stream's audit log has generation"


def test_an_older_store_with_its_anchors(store, older):
    """All files of the store and of the anchors are put back: the command's own audit log knows better."""
    older(lambda: store.set("api-keys/a", b"new"))
    refused(store, "get", "api-keys/a", says=OWN_LOG)
    for words in (["list"], ["list", "api-keys/*"], ["--json", "list"], ["check"], ["verify"], ["backup", store.dir / "not-made"]):
        refused(store, *words, says=OWN_LOG)
    assert store.get("tls/a") == b"of tls", "of this type nothing was written since"
    store.run("restore", "--going-back", store.backup)
    assert store.get("api-keys/a") == b"new" and store.run("verify").returncode == 0


def test_what_only_a_rotated_log_has(store, older):
    """The end of `log` knows of nothing, so reads pass; verify and check read the logs before it, too. A restore goes on above them."""
    older(lambda: older.write_until_checkpoint("api-keys/a", "new-type/a"))
    log = next((store.dir / "audit").glob("cli-*/log"))
    log.with_name("log-1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    (log.parent / "state").unlink()
    assert store.get("api-keys/a") == b"new", "the end of the log is all that a read looks at"
    for verb in "verify", "check":
        assert '"new-type" is at generation 0, but ' + OWN_LOG in refused(store, verb, says=OWN_LOG).stdout.decode() or verb == "check"
    store.run("restore", "--going-back", store.backup)
    assert store.run("verify").returncode == 0 and b"older store" not in store.run("check", check=False).stdout


def test_its_own_log_needs_no_checkpoint(store, tmp_path):
    """A change's own line names its store: what happened since the last checkpoint is compared, too."""
    copy = take(store, tmp_path / "copy")
    anchors = shutil.copytree(store.dir / "anchors", tmp_path / "anchors")
    store.set("api-keys/a", b"new")
    assert not any(line["action"] == "checkpoint" for line in store.records())
    put_back(store, copy)
    shutil.rmtree(store.dir / "anchors")
    shutil.copytree(anchors, store.dir / "anchors")
    refused(store, "get", "api-keys/a", says='"api-keys" is at generation 1, but ' + OWN_LOG)
    refused(store, "verify", says='"api-keys" is at generation 1, but ' + OWN_LOG)


CATALOGUE = r"the catalogue of types is at generation \d+, but %s has generation \d+"


def test_an_older_catalogue(store, older):
    """Put back with its anchors. The log of a process that read the whole catalogue knows better, at its next read."""
    older(lambda: older.write_until_checkpoint("new-type/a"))
    for words in (["list"], ["verify"], ["check"], ["generate", "another/a"]):
        result = store.run(*words, check=False)
        assert result.returncode == 65 and re.search((CATALOGUE % "this stream's audit log").encode(), result.stdout + result.stderr), result
    store.run("restore", "--going-back", store.backup)
    assert store.run("verify").returncode == 0


OTHER = b'<86>Nov 30 host keyturn: {"time":"2026-01-01T00:00:00.000Z","boot":"b","stream":"cli-x","seq":1,"action":"checkpoint","subject":"",' \
        b'"status":"success","generations":{"local":{"#":"00112233445566778899aabbccddeeff","api-keys":4000}}}\n'


def test_what_a_sink_received(store, older, tmp_path):
    """Store, anchors and logs are put back: only what left the machine tells. A store's id decides what counts."""
    received, log = tmp_path / "received", next((store.dir / "audit").glob("cli-*/log"))

    def changes():
        older.write_until_checkpoint("api-keys/a", "new-type/a")
        received.write_bytes(OTHER + b"".join(b"Nov 30 host keyturn: " + line for line in log.read_bytes().splitlines(True)))
    older(changes, logs=True)
    assert store.get("api-keys/a") == b"new" and store.run("verify").returncode == 0, "nothing on this machine knows better"
    for file, more in ((received, {}), ("-", {"input": received.read_bytes()})):
        result = store.run("verify", "--received", file, check=False, **more)
        assert result.returncode == 65 and b"1 of other stores passed over" in result.stdout, result
        assert re.search((CATALOGUE % rf"line \d+ of {file}").encode(), result.stdout), result
        for type_name in b"api-keys", b"new-type":
            assert re.search(rb'the type "%s" is at generation \d+, but line \d+ of %s has generation \d+' % (type_name, str(file).encode()), result.stdout), result


def test_a_received_change_of_another_store(store, older, tmp_path):
    """Of another home of the same user, whose stream, boot and types have the same names. Without the id it counted."""
    received, log = tmp_path / "received", next((store.dir / "audit").glob("cli-*/log"))
    older.write_until_checkpoint("api-keys/a")
    lines = log.read_bytes().splitlines(True)
    change = [line for line in lines if b'"generation":' in line and b'"status":"success"' in line][-1]
    own_id = re.search(rb'"store":"([0-9a-f]{32})"', change)[1]
    higher = re.sub(rb'"generation":\d+', b'"generation":4000', change)
    for line, status, says in ((higher.replace(own_id, b"00" * 16), 0, b"; 1 of other stores passed over"), (higher, 65, b"has generation 4000"),
                               (higher.replace(b',"store":"' + own_id + b'"', b""), 0, b"; 0 of other stores passed over")):
        received.write_bytes(b"".join(lines) + line)
        result = store.run("verify", "--received", received, check=False)
        assert result.returncode == status and says in result.stdout, result
    received.write_bytes(higher.replace(own_id, b"00" * 16))
    assert store.run("verify", "--received", received, check=False).returncode == 66
    received.write_bytes(change)
    assert b"compared with 0 checkpoints and 1 change; 0 of other stores" in store.run("verify", "--received", received).stdout


def test_what_was_received_of_others(store, older, tmp_path):
    """Nothing was compared: that is not a success. What is whole passes, and no line can take much memory or time."""
    received, log = tmp_path / "received", next((store.dir / "audit").glob("cli-*/log"))
    for text, says in ((OTHER, b"only of others"), (b"nothing\n", b"there is no line about this store in it\n")):
        received.write_bytes(text)
        result = store.run("verify", "--received", received, check=False)
        assert result.returncode == 66 and says in result.stdout, result
    older.write_until_checkpoint("api-keys/a")
    received.write_bytes(b"x" * (1 << 24) + b"\n" + log.read_bytes())
    assert re.search(rb"compared with 1 checkpoint and \d+ changes; 0 of other stores",  store.run("verify", "--received", received).stdout)
    types = ",".join(f'"t{number}":1' for number in range(600)).encode()
    line = re.search(rb'.*"action":"checkpoint".*\n', log.read_bytes())[0]
    received.write_bytes(b"".join(line.replace(b'"api-keys"', types.replace(b'"t', b'"t%d-' % number) + b',"api-keys"') for number in range(8)))
    result = store.run("verify", "--received", received, check=False)
    assert result.returncode == 65 and b"more types than a store has" in result.stdout, result
    received.unlink()
    os.mkfifo(received)
    assert store.run("verify", "--received", received, check=False).returncode == 77


def test_memory_that_is_not_locked_is_said_once(store, kt):
    script = 'ulimit -l 0; exec "$0" "$@"'
    argv = ["bash", "-c", script, str(kt.keyturn), "-c", str(store.config), "get", "api-keys/a"]
    result = subprocess.run(argv, env=store.env, capture_output=True, timeout=60)
    assert result.stdout == b"old" and result.returncode == 0
    assert result.stderr.count(b"could not be locked") == 1, result.stderr

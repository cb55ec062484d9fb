# SPDX-License-Identifier: BSD-2-Clause
"""The audit key and `audit verify`, as an operator meets them."""
import json
import os
import re
import shutil
import stat
import subprocess

import pytest

from lib.home import Home
from lib.tools import wait_for

LINE = re.compile(r"^keyturn-audit-key 1 [A-Za-z0-9+/]{43}=$", re.M)


def create(kt, folder, *options):
    kt.need("keyturn")
    home = Home(kt, folder)
    home.told = home.keyturn("init", *options, home.dir).stdout.decode()
    return home


def verify(home, *args, check=True):
    return home.run("audit", "verify", *args, check=check)


def test_init_tells_the_key_once_and_keeps_it_nowhere(kt, tmp_path):
    home = create(kt, tmp_path / "home")
    key = LINE.findall(home.told)
    assert len(key) == 1
    secret = key[0].split()[-1].encode()
    assert not [path for path in home.dir.rglob("*") if path.is_file() and secret in path.read_bytes()]
    (tmp_path / "audit.key").write_text(key[0] + "\n")
    (tmp_path / "audit.key").chmod(0o600)
    home.set("a", b"v")
    assert verify(home, "--audit-key", tmp_path / "audit.key").stdout.startswith(b"ok ")


def test_init_writes_the_key_to_a_new_file(kt, tmp_path):
    key = tmp_path / "audit.key"
    home = create(kt, tmp_path / "home", "--audit-key", key)
    assert not LINE.search(home.told) and LINE.match(key.read_text())
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    again = home.keyturn("init", "--audit-key", key, tmp_path / "other", check=False)
    assert again.returncode == 73 and not (tmp_path / "other").exists() and LINE.match(key.read_text())


def test_a_failed_init_takes_the_key_back(kt, tmp_path):
    home = create(kt, tmp_path / "home")
    failed = home.keyturn("init", "--audit-key", tmp_path / "no/such/folder/key", tmp_path / "other", check=False)
    assert failed.returncode != 0 and not (tmp_path / "other").exists()


def test_json_has_the_key_and_quiet_makes_none(kt, tmp_path):
    home = create(kt, tmp_path / "home")
    assert home.json("init", tmp_path / "json")["audit_key"].startswith("keyturn-audit-key 1 ")
    home.keyturn("--quiet", "init", tmp_path / "quiet")
    assert not list((tmp_path / "quiet/audit").glob("*/state"))


@pytest.fixture
def proved(kt, tmp_path):
    home = create(kt, tmp_path / "home", "--audit-key", tmp_path / "audit.key")
    home.audit_key = tmp_path / "audit.key"
    home.set("a", b"v")
    home.get("a")
    home.log = next(home.audit.glob("cli-*/log"))
    return home


def test_verify_with_the_key_and_without(proved):
    text = verify(proved, "--audit-key", proved.audit_key).stdout.decode()
    assert "3 lines" in text and "0 of them not sealed" in text and "not who wrote" not in text
    assert "not who wrote them" in verify(proved).stdout.decode()
    assert proved.json("audit", "verify")["status"] == "success"


def test_verify_on_another_machine(proved, tmp_path):
    shutil.copytree(proved.audit, tmp_path / "copy", ignore=lambda folder, names: [name for name in names if name == "state"])
    text = proved.keyturn("audit", "verify", "--audit-key", proved.audit_key, tmp_path / "copy").stdout.decode()
    assert "3 lines" in text and "without the stream's state it is not known" in text


def test_verify_names_file_and_line(proved):
    proved.log.write_bytes(proved.log.read_bytes().replace(b'"action":"read"', b'"action":"list"'))
    for options in ((), ("--audit-key", proved.audit_key)):
        result = verify(proved, *options, check=False)
        assert result.returncode == 65 and b"log:7: block 2: its lines from log:6 on are not the lines" in result.stdout


def test_a_trail_begun_again_does_not_pass(proved, tmp_path):
    proved.log.with_name("state").unlink()
    proved.get("a")
    result = verify(proved, "--audit-key", proved.audit_key, check=False)
    assert result.returncode == 65 and b"begun without the audit key" in result.stdout


def test_a_stream_that_was_made_without_the_key(kt, proved, tmp_path):
    """The owner of the folder above says so; the stream's own user cannot, and the key ends it."""
    home = create(kt, tmp_path / "quiet", "--quiet")
    home.set("a", b"v")
    stream = next(home.audit.glob("cli-*"))
    mark = home.audit / f".{stream.name}.unkeyed"
    key = ["--audit-key", proved.audit_key]
    assert verify(home, *key, check=False).returncode == 65, "there is no mark"
    mark.symlink_to("/dev/null")
    assert verify(home, *key, check=False).returncode == 65
    mark.unlink()
    mark.touch()
    for folder in ([], [home.audit], [stream]):
        assert b"not provable: the stream was made without the audit key" in verify(home, *key, *folder).stdout
    home.run("keygen", "--stream", stream.name, *key, stream)
    home.get("a")
    assert b"proves that it has not changed since" in verify(home, *key).stdout and not mark.exists()
    (stream / "state").unlink()
    home.get("a")
    assert verify(home, *key, check=False).returncode == 65


def test_another_stream(proved):
    folder = proved.audit / "web"
    proved.run("keygen", "--stream", "web", "--audit-key", proved.audit_key, folder)
    assert stat.S_IMODE((folder / "state").stat().st_mode) == 0o600
    assert proved.run("keygen", "--stream", "web", "--audit-key", proved.audit_key, folder, check=False).returncode == 73
    for wrong in (["--stream", "web"], ["--audit-key", proved.audit_key],
                  ["--stream", "web", "--audit-key", proved.audit_key, "--types", "a"]):
        assert proved.run("keygen", *wrong, folder, check=False).returncode == 64


@pytest.mark.parametrize("key, status", [("/nonexistent", 78), ("keyturn-audit-key 1 AAAA", 78)])
def test_a_wrong_audit_key(proved, key, status):
    result = verify(proved, "--audit-key", key, check=False)
    assert result.returncode == status and result.stderr.startswith(b"keyturn: ")


def test_nothing_to_verify(proved, tmp_path):
    (tmp_path / "empty").mkdir()
    assert proved.keyturn("audit", "verify", tmp_path / "empty", check=False).returncode == 66


# what left the machine

@pytest.fixture
def received(proved, tmp_path):
    """received(): every seal so far, as a syslog has it, in a file."""
    def take():
        path = tmp_path / "auth.log"
        lines = [line for log in sorted(proved.log.parent.glob("log*")) for line in log.read_text().splitlines()]
        path.write_text("Nov 23 10:00:00 web sshd[1]: hello\n" +
                        "".join(f"Nov 23 10:00:01 web keyturn[4711]: {line}\n" for line in lines))
        return path
    return take


def test_what_was_received_is_in_the_trail(proved, received):
    path = received()
    for options in ((), ("--audit-key", proved.audit_key)):
        assert b"found in the logs, 0 older" in verify(proved, "--received", path, *options).stdout
    assert b" found in the logs" in proved.run("audit", "verify", "--received", "-", input=path.read_bytes()).stdout
    proved.get("a")
    assert proved.json("audit", "verify", "--received", path)["status"] == "success"  # there may be more than was received


def test_a_tail_that_is_cut_off_with_its_state_is_missed(proved, received):
    before = {path: path.read_bytes() for path in (proved.log, proved.log.with_name("state"))}
    proved.set("a", b"w")
    path = received()
    for file, data in before.items():  # in place, as an informed attacker would
        file.write_bytes(data)
    assert verify(proved, "--audit-key", proved.audit_key).returncode == 0  # by itself it is right
    result = verify(proved, "--audit-key", proved.audit_key, "--received", path, check=False)
    assert result.returncode == 65 and b"is not in the trail: its end was cut off" in result.stdout
    proved.set("a", b"x")  # and what is written since then does not hide it
    result = verify(proved, "--audit-key", proved.audit_key, "--received", path, check=False)
    assert result.returncode == 65 and b"the trail was rewritten" in result.stdout


def test_a_stream_that_is_gone_is_missed(proved, received):
    path = received()
    shutil.rmtree(proved.log.parent)
    proved.set("a", b"w")
    result = verify(proved, "--received", path, check=False)
    assert result.returncode == 65 and b"a whole trail is missing" in result.stdout


def test_logs_that_were_removed_by_and_by(proved, received):
    proved.log.rename(proved.log.with_name("log.1"))
    proved.set("a", b"w")
    path = received()
    proved.log.with_name("log.1").unlink()
    result = verify(proved, "--received", path, check=False)
    assert re.search(rb"found in the logs, [1-9]\d* older than the logs", result.stdout)
    assert result.returncode == 65 and b"and not removed by retention" in result.stdout


@pytest.mark.parametrize("text, status", [(None, 66), ("nothing\n", 66), ('{"seal":0,"instance":"00"}\n', 66)])
def test_nothing_was_received(proved, tmp_path, text, status):
    path = tmp_path / "received"
    if text is not None:
        path.write_text(text)
    assert verify(proved, "--received", path, check=False).returncode == status


def test_tail_follows_through_logrotate(proved, tmp_path):
    """No line is missed or printed twice, and the tail does not end where a log has just begun."""
    out = tmp_path / "followed"

    def seen():
        return [json.loads(line)["seq"] for line in out.read_text().splitlines()]
    with open(out, "wb") as file:
        follower = proved.popen("--json", "audit", "tail", "--follow", stdout=file, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(seen()) == 3, what="what there was")
        for _ in range(2):
            for older in (2, 1):
                if proved.log.with_name(f"log.{older}").exists():
                    proved.log.with_name(f"log.{older}").rename(proved.log.with_name(f"log.{older + 1}"))
            proved.get("a")
            proved.log.rename(proved.log.with_name("log.1"))
            proved.get("a")
        wait_for(lambda: len(seen()) >= 7, what="what was written since")
        assert seen() == list(range(1, 8))
    finally:
        follower.kill()
        follower.wait()
    assert [line["seq"] for line in proved.json("audit", "tail")["lines"]] == list(range(1, 8))


def test_reads_that_are_alike_share_a_line(proved):
    """`run` reads one secret twice: one line with a count, which tail, report and verify know."""
    proved.write_config(proved.read_config().replace("audit:\n", "audit:\n  reads: 1h\n"))
    before = proved.json("audit", "report")["secrets"]["a"]["accesses"]
    proved.run("run", "--map", "ONE=a", "--map", "TWO=a", "--", "true")
    line = proved.records()[-1]
    assert (line["action"], line["reference"], line["count"]) == ("read", "a", 2) and "peer" not in line
    assert "2 times" in proved.run("audit", "tail").stdout.decode().splitlines()[-1]
    assert proved.json("audit", "report")["secrets"]["a"]["accesses"] == before + 2
    verify(proved, "--audit-key", proved.audit_key)


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")], ids=["fifo", "folder", "device"])
def test_received_is_not_a_file(proved, tmp_path, make):
    """A pipe in the place of the sink's file is not waited for."""
    path = tmp_path / "received"
    make(path)
    result = verify(proved, "--received", path, check=False)
    assert result.returncode == 77 and b"it is not a regular file" in result.stderr


def test_an_endless_line_was_received(proved, received):
    """It is passed over, in the memory that a line of a log may take."""
    path = received()
    text = path.read_bytes()
    with path.open("wb") as file:
        file.truncate(1 << 31)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + text)
    limited = ["bash", "-c", 'ulimit -v 300000; exec "$0" "$@"', str(proved.stage.keyturn), "-c", str(proved.config), "audit", "verify", "--received", str(path)]
    result = subprocess.run(limited, env=proved.env, capture_output=True, timeout=60)
    path.unlink()    # what the suite leaves is searched for values, and this is 2 GB of nothing
    assert result.returncode == 0 and b"found in the logs, 0 older" in result.stdout, result

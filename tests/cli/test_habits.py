# SPDX-License-Identifier: BSD-2-Clause
"""What operators do to audit logs, with the real logrotate: no read fails, and `audit verify` closes the gap or says what is missing."""
import bz2
import gzip
import lzma
import os
import shutil
import subprocess

import pytest

from lib.home import Home

LOGROTATE = "/usr/sbin/logrotate"
WAYS = {
    "compress": "compress",
    "delaycompress": "compress delaycompress",
    "copytruncate": "copytruncate",
    "copytruncate and compress": "copytruncate compress",
    "create": "create",
    "rename": "nocreate",
    "dateext": "nocreate dateext dateformat .%s compress",
    "shipped": None,
}


@pytest.fixture
def home(kt, tmp_path):
    kt.need("keyturn")
    home = Home(kt, tmp_path / "home")
    home.audit_key = tmp_path / "audit.key"
    home.keyturn("init", "--audit-key", home.audit_key, home.dir)
    home.set("a", b"v")
    home.log = next(home.audit.glob("cli-*/log"))
    return home


def shipped():
    """The lines that an operator takes the # away from."""
    top = os.environ.get("KT_TOP", os.path.join(os.path.dirname(__file__), "../.."))
    lines = open(os.path.join(top, "packaging/logrotate.d/keyturn"), encoding="ascii").read().splitlines()
    return "\n".join(line[5:] for line in lines if line.startswith("#    "))


def logrotate(home, tmp_path, way):
    options = shipped() if way is None else way.replace(" ", "\n").replace("dateformat\n", "dateformat ")
    conf = tmp_path / "logrotate.conf"
    conf.write_text(f"{home.log} {{\nrotate 99\nmissingok\nnotifempty\n{options}\n}}\n")
    conf.chmod(0o644)
    result = subprocess.run([LOGROTATE, "-f", "-s", tmp_path / "logrotate.state", conf], capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr


def verify(home, *options, check=True):
    return home.run("audit", "verify", "--audit-key", home.audit_key, *options, check=check)


def fails(home, text):
    result = verify(home, check=False)
    assert result.returncode == 65 and text in result.stdout.decode(), result.stdout.decode()
    return result.stdout.decode()


@pytest.mark.parametrize("way", WAYS)
def test_logrotate(home, tmp_path, way):
    """F2: `compress` and `copytruncate` stopped everything, and what was written after the repair could not be proved."""
    for _ in range(3 if way not in ("dateext", "shipped") else 1):  # their names have the second, or the day
        logrotate(home, tmp_path, WAYS[way])
        verify(home, "--complete")  # also before anybody has written again
        for _ in range(2):
            assert home.get("a") == b"v"
        text = verify(home, "--complete").stdout.decode()
    assert "0 of them not sealed" in text
    assert home.json("audit", "report")["secrets"]["a"]["accesses"] in (2, 6)


def test_what_was_compressed_is_unpacked_again(home, tmp_path):
    logrotate(home, tmp_path, "compress")
    assert home.get("a") == b"v"
    subprocess.run(["gunzip", home.log.with_name("log.1.gz")], check=True)
    assert home.get("a") == b"v"
    assert "none is missing" in verify(home).stdout.decode()


def test_a_log_that_is_deleted_and_put_back(home):
    text = home.log.read_bytes()
    home.log.unlink()
    said = home.run("get", "a")
    assert said.stdout == b"v" and b"the log that was being written is gone" in said.stderr
    assert "2 decisions before it (numbers 1 to 2, in the blocks 0 to 1): in none of these files" in fails(home, "its lines are missing")
    home.log.with_name("found-again.gz").write_bytes(gzip.compress(text))
    assert "none is missing" in verify(home).stdout.decode()


def test_a_log_is_cut(home):
    text = home.log.read_bytes()
    os.truncate(home.log, len(text) - 10)
    assert home.get("a") == b"v"
    fails(home, "was cut while it was being written: its lines are missing")
    for log in home.log.parent.glob("log.2*"):
        log.write_bytes(text)
    verify(home)


@pytest.mark.parametrize("copy", ["cp -a {0} {1}", "tar -cf {1}.tar -C {0} . && mkdir {1} && tar -xf {1}.tar -C {1}", "cp -a {0} {1} && gzip {1}/audit/cli-*/log"])
def test_a_home_that_was_restored_from_a_copy(home, tmp_path, copy):
    """A9: AUDIT for each stream until somebody had removed its state."""
    subprocess.run(copy.format(home.dir, tmp_path / "copy"), shell=True, check=True)
    shutil.rmtree(home.dir)
    (tmp_path / "copy").rename(home.dir)
    assert home.get("a") == b"v"
    home.set("a", b"w")
    gap = [line for line in home.records() if line["action"] == "gap"]
    assert [(line["reason"], line["severity"]) for line in gap] == [("copied", "critical")]
    assert "none is missing" in verify(home, "--complete").stdout.decode()


def test_a_log_of_another_user(home):
    """As root would leave it after a restore without -a: it cannot be opened for writing."""
    home.log.chmod(0o400)
    assert home.get("a") == b"v"
    verify(home)


def test_the_state_is_removed(home):
    state = home.log.with_name("state")
    state.unlink()
    assert home.get("a") == b"v"
    fails(home, "begun without the audit key")
    stream = home.log.parent
    home.run("keygen", "--stream", stream.name, "--audit-key", home.audit_key, stream)
    assert home.run("keygen", "--stream", stream.name, "--audit-key", home.audit_key, stream, check=False).returncode == 73
    assert home.get("a") == b"v"
    assert "the one that follows proves that it has not changed since" in verify(home, "--complete").stdout.decode()
    older = sorted(stream.glob("log.2*"))
    older[0].unlink()
    fails(home, "the instance before")


def test_the_state_is_damaged(home):
    """Then it is not known where the log ends, until the next writer says that another instance begins."""
    home.log.with_name("state").write_bytes(bytes(320))
    fails(home, "state: damaged, so it is not known whether lines after the last are missing")
    assert home.get("a") == b"v"
    fails(home, "begun without the audit key")


def test_keyturn_rotates_and_removes_by_itself(home):
    home.write_config(home.read_config().replace("\naudit:\n", "\naudit:\n  rotate: 64K\n  keep: 1h\n"))
    while len(list(home.log.parent.glob("log.2*.gz"))) < 2:
        home.set("a", b"w")
    assert not list(home.log.parent.glob("log.2*Z"))
    verify(home, "--complete")
    first = min(home.log.parent.glob("log.2*.gz"))
    text = first.read_bytes()
    first.unlink()
    fails(home, "and not removed by retention")
    first.write_bytes(text)
    home.write_config(home.read_config().replace("keep: 1h", "keep: 1s"))
    home.run("list")
    subprocess.run(["sleep", "1.2"], check=True)  # so that all is older than `keep`
    home.set("a", b"x")
    assert " retention removed " in verify(home).stdout.decode() and not first.exists()
    result = verify(home, "--complete", check=False)
    assert result.returncode == 65 and b"retention removed them on" in result.stdout


@pytest.mark.parametrize("mode, log", [(0o2750, 0o640), (0o700, 0o600)])
def test_logs_are_for_the_group_of_their_folder(home, mode, log):
    """With the umask of PostgreSQL: the first log, one after a gap, closed and compressed ones. In a home the folder lets no group in."""
    stream = home.log.parent
    stream.chmod(mode)
    home.write_config(home.read_config().replace("\naudit:\n", "\naudit:\n  rotate: 64K\n"))
    home.log.unlink()

    def run(*args, **more):
        home.run(*args, preexec_fn=lambda: os.umask(0o077), **more)
    while len(list(stream.glob("log.2*.gz"))) < 2:
        run("set", "a", input=b"w")
    home.log.rename(stream / "log.1")
    run("get", "a")
    modes = {path.name: path.stat().st_mode & 0o777 for path in stream.glob("log*")}
    assert len(modes) >= 4 and set(modes.values()) == {log}, modes
    assert (stream / "state").stat().st_mode & 0o777 == 0o600 and (stream / "rings").stat().st_mode & 0o777 == 0o700
    assert stream.stat().st_mode & 0o7777 == mode


def closed_log(home):
    """An older log, which the stream's own writer left."""
    home.log.rename(home.log.with_name("log.1"))
    assert home.get("a") == b"v"
    return home.log.with_name("log.1")


@pytest.mark.parametrize("name, pack, unpack", [
    ("log.1.xz", lzma.compress, b"unxz"), ("log.1.bz2", bz2.compress, b"bunzip2"), ("log.1.zst", lambda text: b"\x28\xb5\x2f\xfd" + text, b"unzstd"),
    ("log-20261130", lzma.compress, b"unxz"), ("from-the-archive", bz2.compress, b"bunzip2")])
def test_a_log_that_another_program_compressed(home, name, pack, unpack):
    """It is not read, which each verb says with what to do, and nothing is called verified."""
    log = closed_log(home)
    text = log.read_bytes()
    packed = home.log.with_name(name)
    packed.write_bytes(pack(text))
    for plain in (True, False):  # also next to its unpacked copy
        for verb in ("verify", "check"):
            result = home.run(verb, check=False)
            assert result.returncode == 65 and name.encode() in result.stdout and b"`%s`" % unpack in result.stdout, result
        result = home.run("audit", "verify", check=False)
        assert result.returncode == 65 and b"%s: not verified" % name.encode() in result.stdout and b"`%s`" % unpack in result.stdout, result
        for verb in ("log", "tail", "report"):
            result = home.run("audit", verb, check=False)
            assert b"%s: not read" % name.encode() in result.stderr + result.stdout and b"`%s`" % unpack in result.stderr + result.stdout, (verb, result)
        if plain:
            log.unlink()
    packed.unlink()
    log.write_bytes(text)
    verify(home, "--complete")
    home.run("verify")


def test_a_stream_of_which_no_log_can_be_read(home):
    """It is there: "no audit log" would be said of it otherwise."""
    folder = home.log.parent.with_name("other")
    folder.mkdir()
    (folder / "log").write_bytes(b"BZh9")
    for verb in ("tail other", "log --stream other"):
        result = home.run("audit", *verb.split(), check=False)
        assert result.returncode == 0 and b"log: not read" in result.stderr and b"`bunzip2`" in result.stderr, (verb, result)


def test_a_closed_log_that_cannot_be_read(home):
    """Which is not the same as none: no verb says that all is well."""
    log = closed_log(home)
    log.chmod(0)
    for args, status in ((("verify",), 77), (("check",), 77), (("audit", "verify"), 65), (("audit", "log"), 65), (("audit", "report"), 65), (("audit", "tail"), 65)):
        result = home.run(*args, check=False)
        assert result.returncode == status and b"log.1" in result.stdout + result.stderr and b"Permission denied" in result.stdout + result.stderr, (args, result)
    log.chmod(0o600)
    home.run("verify")
    verify(home, "--complete")


def test_a_closed_log_that_is_damaged(home):
    log = closed_log(home)
    log.with_name("log.1.gz").write_bytes(gzip.compress(log.read_bytes())[:-9])
    log.unlink()
    for args in (("verify",), ("check",), ("audit", "verify"), ("audit", "log"), ("audit", "report")):
        result = home.run(*args, check=False)
        assert result.returncode == 65 and b"log.1.gz" in result.stdout + result.stderr, (args, result)

# SPDX-License-Identifier: BSD-2-Clause
"""A stream belongs to the user of its host, and others read it: nothing that is in it stops or blinds them, or fills their memory."""
import fcntl
import gzip
import os
import resource
import time

import pytest

from lib.forge import Stream
from lib.home import Home

VERBS = [["audit", "tail"], ["audit", "log"], ["audit", "report"], ["audit", "verify"]]
SECONDS, BYTES = 15, 256 << 20


@pytest.fixture
def site(kt, tmp_path):
    kt.need("keyturn")
    home = Home(kt, tmp_path / "home")
    home.keyturn("init", "--audit-key", tmp_path / "audit.key", home.dir)
    home.audit_key = tmp_path / "audit.key"
    home.set("api-keys/a", b"1")
    home.stream = next(home.audit.glob("cli-*"))
    home.hostile = home.audit / "nginx"
    home.hostile.mkdir(exist_ok=True)
    yield home
    log = home.hostile / "log"
    if log.is_file() and log.stat().st_size > 1 << 20:
        log.unlink()    # what the suite leaves is searched for values, and this is 40 GB of nothing


def fifo(log):
    os.mkfifo(log)


def folder(log):
    log.mkdir()


def sparse(log):
    with open(log, "wb") as file:
        file.truncate(40 << 30)


def endless(log):
    with open(log, "wb") as file:
        for _ in range(100):
            file.write(b"x" * (4 << 20))


def junk(log):
    with open(log, "wb") as file:
        for _ in range(100):
            file.write(b"junk of thirty-two bytes a line\n" * 131072)


def unsealed(log):
    line = b'{"time":"2026-11-23T10:00:00.000Z","boot":"b","stream":"nginx","seq":1,"action":"read"}\n'
    with open(log, "wb") as file:
        for _ in range(100):
            file.write(line * 50000)


def bomb(log):
    with gzip.open(log, "wb") as file:
        for _ in range(100):
            file.write(bytes(4 << 20))


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[-1])
@pytest.mark.parametrize("put", [fifo, folder, sparse, endless, junk, unsealed, bomb], ids=lambda put: put.__name__)
def test_a_hostile_log_hides_no_other_stream(site, put, verb):
    put(site.hostile / "log")
    start = time.monotonic()
    result = site.run(*verb, check=False, timeout=SECONDS, preexec_fn=limit)
    assert result.returncode == 65 and b"nginx" in result.stdout + result.stderr
    assert b"api-keys/a" in result.stdout or verb[-1] == "verify" and site.stream.name.encode() in result.stdout
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[-1])
def test_a_lock_is_not_waited_for(site, verb):
    (site.hostile / "log").touch()
    with open(site.hostile / "state", "wb") as state, open(site.stream / "state", "r+b") as own:
        fcntl.flock(state, fcntl.LOCK_EX)
        if verb[-1] in ("verify", "report"):        # the others drain what this command has done
            fcntl.flock(own, fcntl.LOCK_EX)
        start = time.monotonic()
        result = site.run(*verb, check=False, timeout=SECONDS)
        assert time.monotonic() - start < 5
    assert result.returncode == 0, result
    if verb[-1] == "verify":
        assert b"a process holds its lock, which was not waited for" in result.stdout


def test_lines_of_the_year_9999_take_no_place_of_others(site):
    own = Stream(site.stream)
    log = b"".join(own.decision(n, stream="nginx", subject="nginx:a", time="9999-12-31T23:59:59.999Z") for n in range(200))
    (site.hostile / "log").write_bytes(log)
    result = site.run("audit", "tail")
    lines = result.stdout.decode().splitlines()
    assert sum("9999" in line for line in lines) == 5 and all("unsealed, future" in line for line in lines if "9999" in line)
    assert any("api-keys/a" in line and "!!" not in line for line in lines)
    assert b"9999" not in site.run("audit", "report").stdout.splitlines()[0]


def test_what_no_seal_covers_is_marked(site):
    Stream(site.stream).append({"subject": "uid:root", "action": "destroy", "reference": "database/primary"}, seal=False)
    report = site.json("audit", "report")       # it drains nothing, which would cut the line
    assert report["marked"] == {site.stream.name: {"unsealed": 1, "foreign-subject": 1}}


def test_a_forged_line_shows_its_folder_and_a_mark(site):
    Stream(site.stream).append({"stream": "cli-root", "subject": "uid:root", "action": "destroy", "reference": "database/primary"})
    site.get("api-keys/a")      # takes the block
    for verb in ("tail", "log"):
        (line,) = [line for line in site.json("audit", verb)["lines"] if line["action"] == "destroy"]
        assert (line["stream"], line["marks"]) == (site.stream.name, ["foreign-stream", "foreign-subject"])
    report = site.json("audit", "report")
    (change,) = report["secrets"]["database/primary"]["changes"]
    assert (change["subject"], change["stream"]) == (site.stream.name, site.stream.name)
    assert [alert["action"] for alert in report["alerts"]] == ["destroy"]
    assert b"foreign-subject" in site.run("audit", "report").stdout


def test_what_a_terminal_obeys_does_not_pass(site):
    bad = "\u202eevil\x1b]0;t\x07\u0085\u200bé"
    Stream(site.stream).append({"subject": bad, "reference": bad, "peer": bad})
    site.get("api-keys/a")
    for verb in ("tail", "log", "report"):
        text = site.run("audit", verb).stdout.decode()
        assert "evil" in text and not set(text) & set("\u202e\x1b\x07\u0085\u200b"), text
        text = site.run("--json", "audit", verb).stdout.decode()
        assert "evil" in text and not any(word in text.lower() for word in ("\u202e", "\\u202e", "\\u001b", "\\u0085", "\\u200b"))


def test_tail_reads_compressed_logs(site):
    for n in range(30):
        site.get("api-keys/a")
    log = site.stream / "log"
    log.rename(log.with_name("log.1"))
    site.get("api-keys/a")
    old = log.with_name("log.1")
    log.with_name("log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    lines = site.json("audit", "tail", "-n", "25")["lines"]
    assert len(lines) == 25 and [line["seq"] for line in lines] == list(range(lines[0]["seq"], lines[0]["seq"] + 25))
    assert len(site.json("audit", "log", "--name", "api-keys/*", "--action", "read")["lines"]) == 31
    assert site.run("audit", "verify", "--audit-key", site.audit_key).returncode == 0
    assert site.json("audit", "report")["secrets"]["api-keys/a"]["accesses"] == 31

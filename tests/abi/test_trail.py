# SPDX-License-Identifier: BSD-2-Clause
"""docs/format.md is enough to verify an audit trail: a reader written from it alone agrees with `keyturn audit verify`."""
import json
import pathlib
import re
import subprocess
import time

import pytest

from lib import read_trail
from lib.home import Home

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def site(kt, tmp_path):
    kt.need("keyturn")
    home = Home(kt, tmp_path / "home")
    home.keyturn("init", "--audit-key", tmp_path / "audit.key", home.dir)
    home.audit_key = tmp_path / "audit.key"
    home.set("api-keys/a", b"1")
    home.get("api-keys/a")
    home.run("get", "api-keys/nothing", check=False)
    return home


def log_of(home):
    return next(home.audit.glob("cli-*/log"))


def lines_of(*logs):
    return [line for log in logs for line in open(log, "rb")]


def test_the_reader_verifies_what_the_command_wrote(site):
    proved = read_trail.verify(read_trail.read_audit_key(site.audit_key), lines_of(log_of(site)))
    assert [line["action"] for line in proved] == ["write", "write", "read", "read"] and proved == site.records()


def test_the_vector(tmp_path):
    vectors = (TOP / "docs/format.md").read_text().split("```vectors\n")[1]
    key, block = (bytes.fromhex(re.search(rf"^{name} =\n((?:  [0-9a-f]+\n)+)", vectors, re.M)[1]) for name in ("audit_key", "trail_block"))
    (line,) = read_trail.verify(key, block.splitlines(keepends=True))
    assert (line["reference"], line["count"]) == ("api-keys/stripe", 7)
    with pytest.raises(ValueError):
        read_trail.verify(key, block.replace(b'"to":1', b'"to":2').splitlines(keepends=True))


def test_records_of_a_ring_follow_each_other(site):
    ranges = {}
    for _ in range(3):
        site.run("get", "api-keys/a")
    for line in map(json.loads, lines_of(log_of(site))):
        if "ring" in line:
            assert line["from"] == ranges.get(line["ring"], 0) + 1
            ranges[line["ring"]] = line["to"]
    assert len(ranges) == 5, "a ring for each process that has read"


def test_the_reader_follows_logrotate(site):
    log = log_of(site)
    log.rename(log.with_name("log.1"))
    site.get("api-keys/a")
    proved = read_trail.verify(read_trail.read_audit_key(site.audit_key), lines_of(log.with_name("log.1"), log))
    assert [line["seq"] for line in proved] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError):
        read_trail.verify(read_trail.read_audit_key(site.audit_key), lines_of(log, log.with_name("log.1")))


def test_the_reader_follows_gaps_and_retention(site):
    """Compressed while it was written; removed by retention; and an instance whose state was removed."""
    log, key = log_of(site), read_trail.read_audit_key(site.audit_key)
    subprocess.run(["gzip", log], check=True)
    config = site.read_config()
    site.write_config(config.replace("\naudit:\n", "\naudit:\n  keep: 1s\n"))

    def proved():
        logs = read_trail.in_order([read_trail.read_log(path) for path in log.parent.glob("log*")])
        return read_trail.verify(key, [line for lines in logs for line in lines])
    site.get("api-keys/a")
    actions = [line["action"] for line in proved()]
    assert "gap" in actions and actions[0] == "write"
    time.sleep(1.3)
    site.get("api-keys/a")
    site.get("api-keys/a")
    assert not list(log.parent.glob("log.gz")) and "retention" in [line["action"] for line in proved()]
    site.run("audit", "verify", "--audit-key", site.audit_key)
    site.write_config(config)
    log.with_name("state").unlink()
    site.run("keygen", "--stream", log.parent.name, "--audit-key", site.audit_key, log.parent)
    site.get("api-keys/a")
    assert [line["reason"] for line in proved() if line["action"] == "gap"][-1] == "state"
    max(log.parent.glob("log.2*")).unlink()
    with pytest.raises(ValueError):
        proved()


def test_both_find_what_was_changed(site):
    log, key = log_of(site), read_trail.read_audit_key(site.audit_key)
    whole = lines_of(log)
    for at in range(len(whole)):
        bent = bytearray(whole[at])
        bent[bent.index(b'":') + 4] ^= 1
        for lines in (whole[:at] + [bytes(bent)] + whole[at + 1:], whole[:at] + whole[at + 1:] if at + 1 < len(whole) else []):
            if lines:
                with pytest.raises((ValueError, KeyError)):
                    read_trail.verify(key, lines)
                log.write_bytes(b"".join(lines))
                assert site.run("audit", "verify", "--audit-key", site.audit_key, check=False).returncode == 65
    log.write_bytes(b"".join(whole))
    site.run("audit", "verify", "--audit-key", site.audit_key)


def test_checkpoints(site, wait_for):
    site.write_config(site.read_config().replace("\naudit:\n", "\naudit:\n  checkpoint: 1s\n"))
    site.set("database/b", b"1")

    def proved():
        site.set("api-keys/a", b"2")
        lines = read_trail.verify(read_trail.read_audit_key(site.audit_key), lines_of(log_of(site)))
        found = read_trail.checkpoints(lines)
        return lines if len(found) >= 2 else None
    lines = wait_for(proved, timeout=30, what="two checkpoints")
    first, last = [line["generations"]["local"] for line in read_trail.checkpoints(lines)][:2]
    assert first["database"] == last["database"] == 1 and first["api-keys"] < last["api-keys"]
    assert b" checkpoints, the last of 20" in site.run("audit", "verify", "--audit-key", site.audit_key).stdout
    for line in lines:  # an older store that was put in place together with its anchors
        if line["action"] == "checkpoint":
            line["generations"]["local"]["api-keys"] = 1_000_000 - line["seq"]
    with pytest.raises(ValueError):
        read_trail.checkpoints(lines)

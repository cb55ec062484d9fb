# SPDX-License-Identifier: BSD-2-Clause
"""The owner of a stream can write any line and seal it, but none that proves something about another user."""
import json

import pytest

from lib.forge import Stream
from lib.home import Home

AS_ROOT = {"subject": "uid:root", "action": "destroy", "reference": "database/primary"}


@pytest.fixture
def site(kt, tmp_path):
    kt.need("keyturn")
    home = Home(kt, tmp_path / "home")
    home.keyturn("init", "--audit-key", tmp_path / "audit.key", home.dir)
    home.audit_key = tmp_path / "audit.key"
    home.set("api-keys/a", b"1")
    home.stream = next(home.audit.glob("cli-*"))
    return home


def verify(site, *args):
    site.get("api-keys/a")                  # takes the block, if it is sealed by the present key
    return site.run("audit", "verify", "--audit-key", site.audit_key, *args, check=False)


@pytest.mark.parametrize("fields, why", [
    ({**AS_ROOT, "stream": "cli-root"}, b"its `stream` or `boot` is not the one of the lines around it"),
    ({**AS_ROOT}, b"can vouch for"),
    ({"subject": "nginx:shop"}, b"can vouch for"),
    ({"subject": "root"}, b"can vouch for"),
    ({"time": "9999-12-31T23:59:59.999Z"}, b"is later than that of the seal"),
    ({"time": "2026-11-23T11:00:00.001Z"}, b"is later than that of the seal"),
    ({"time": "x"}, b"is later than that of the seal"),
], ids=["stream", "user", "host", "bare", "9999", "1ms", "no-time"])
def test_a_sealed_line_about_another_is_refused(site, fields, why):
    Stream(site.stream).append(fields)
    result = verify(site)
    assert result.returncode == 65 and why in result.stdout, result.stdout
    assert verify(site, site.audit).returncode == 65, "a copy of it, too"


def test_what_the_owner_may_say_of_himself_is_proved(site):
    own = "uid:" + site.stream.name.removeprefix("cli-")
    Stream(site.stream).append({"subject": own}, {"subject": ""}, {"time": "2026-11-23T11:00:00.000Z", "subject": own})
    assert verify(site).returncode == 0
    assert len([line for line in site.records() if line["time"].startswith("2026-11-23T1")]) == 3


def test_a_block_is_of_one_run_of_the_machine(site):
    Stream(site.stream).append({"boot": "00000000-0000-0000-0000-000000000000"})
    assert verify(site).returncode == 0, "the machine was started again"
    Stream(site.stream).append({"boot": "1"}, {"boot": "2"})
    assert b"its `stream` or `boot`" in verify(site).stdout


def test_a_stream_of_the_operators_has_subjects_of_one_host(site, tmp_path):
    site.run("keygen", "--stream", "web-1", "--audit-key", site.audit_key, site.audit / "web-1")
    head = json.loads((site.stream / "log").read_bytes().splitlines()[0])
    stream = Stream(site.audit / "web-1")
    line = {"log": "start", "instance": stream.instance.hex(), "keyed": True, "environment": head["environment"], "stream": "web-1",
            "block": 0, "last": 0, "chain": "0" * 64, "time": "2026-11-23T10:00:00.000Z"}
    stream.begin(json.dumps(line, separators=(",", ":")).encode() + b"\n", "b")
    stream.append({"subject": "nginx:a"}, {"subject": "nginx:b"})
    (stream.folder / "state").unlink()      # it would say where the log ends
    assert verify(site).returncode == 0, verify(site).stdout
    stream.append({"subject": "nginx:a"}, {"subject": "redis:b"})
    assert verify(site).returncode == 65

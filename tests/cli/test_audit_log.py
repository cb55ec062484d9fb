# SPDX-License-Identifier: BSD-2-Clause
"""`audit log`: who had which version of what."""
import gzip

import pytest


@pytest.fixture
def site(home):
    home.set("api-keys/stripe", b"1")
    home.set("api-keys/stripe", b"2")
    home.set("tls/www", b"cert")
    for reference in ("api-keys/stripe", "api-keys/stripe@1", "tls/www"):
        home.get(reference)
    log = next(home.audit.glob("cli-*/log"))
    log.with_name("log-old.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    home.get("api-keys/stripe@2")
    return home


def found(site, *args):
    return [(line["action"], line["reference"], line.get("version")) for line in site.json("audit", "log", *args)["lines"]
            if line["status"] == "success" and line["action"] in ("read", "write")]


def test_who_had_version_two(site):
    assert found(site, "--name", "api-keys/stripe", "--version", "2", "--action", "read") == [
        ("read", "api-keys/stripe", 2), ("read", "api-keys/stripe@2", 2)]
    assert found(site, "--name", "api-*", "--version", "1", "--action", "read") == [("read", "api-keys/stripe@1", 1)]
    (line,) = site.json("audit", "log", "--name", "tls/*", "--action", "read")["lines"]
    assert line["subject"].startswith("uid:") and line["stream"] == "cli-" + line["subject"][4:] and "marks" not in line


def test_subjects_streams_and_times(site):
    everything = found(site)
    assert len(everything) == 7
    stream = next(site.audit.glob("cli-*")).name
    assert found(site, "--subject", "uid:*", "--stream", stream, "--since", "1h") == everything
    assert found(site, "--subject", "nginx:*") == [] == found(site, "--until", "1h")
    assert found(site, "--since", "2026-01-01T00:00:00Z", "--until", "2999-01-01T00:00:00Z") == everything
    text = site.run("audit", "log", "--name", "tls/www", "--action", "read").stdout.decode()
    assert "tls/www version 1" in text and "uid:" in text and "!!" not in text


@pytest.mark.parametrize("args, status", [(["--version", "x"], 64), (["--since", "soon"], 64), (["--stream", "../x"], 64), (["x"], 64),
                                          (["--stream", "nothing"], 66)])
def test_refused(home, args, status):
    assert home.run("audit", "log", *args, check=False).returncode == status


def test_an_action_includes_its_steps(home):
    home.set("app/a", b"1", "--meta", "origin=generated")
    home.run("rotate", "app/a", check=False)
    actions = {line["action"] for line in home.json("audit", "log", "--action", "rotate")["lines"]}
    assert actions and all(action.split(".")[0] == "rotate" for action in actions)

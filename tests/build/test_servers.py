# SPDX-License-Identifier: BSD-2-Clause
"""auto/root, auto/nginx-source and auto/check --server: what they say when a server is not known or cannot be had.
The servers themselves are tried by auto/check."""
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])


def run(*words, **env):
    return subprocess.run([str(TOP / words[0]), *words[1:]], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env})


@pytest.mark.parametrize("words, error", [
    (["postgresql", "--server", "99"], "no server '99' (known: 17 18)"),
    (["--server", "17"], "--server goes with one part: auto/check PART --server NAME"),
    (["unit", "--server", "17"], "the part 'unit' has no other servers"),
    (["postgresql", "--server"], "--server needs a name"),
    (["nginx", "--server", "1.22.1"], "no server '1.22.1' (known: 1.22.1-static 1.22.1-dynamic newest-static newest-dynamic)"),
    (["redis", "--server", "7"], "no server '7' (known: 8 valkey-8 valkey-9)"),
])
def test_wrong_server(words, error):
    result = run("auto/check", *words)
    assert (result.returncode, result.stderr) == (1, f"auto/check: {error}\n")


def rows():
    text = (TOP / "auto/servers").read_text()
    return [line.split()[:3] for line in text.split("servers='\n")[1].split("'")[0].splitlines()]


def test_each_server_has_a_root():
    names = [line.split()[0] for line in run("auto/root").stdout.splitlines()]
    roots = {f"{part}-{name}" for part, name, how in rows() if how == "root"}
    assert roots and roots <= set(names)


def test_each_program_has_a_package():
    """In auto/root, under the name of the part and of the server; the variable is one that auto/stage writes."""
    made = [line.split() for line in (TOP / "auto/root").read_text().split("programs='\n")[1].split("'")[0].splitlines()]
    packages = {name: package for name, _, package in made}
    lines = [line.split() for line in (TOP / "auto/servers").read_text().split("servers='\n")[1].split("'")[0].splitlines()]
    programs = [line for line in lines if line[2] == "program"]
    assert {(f"{part}-{name}", program) for part, name, _, _, program in programs} == set(packages.items())
    assert all(f"say {variable} " in (TOP / "auto/stage").read_text() for _, _, _, variable, _ in programs)


def test_each_built_server_has_a_source():
    """Both kinds of a build, of the oldest version and of the newest that can be had."""
    assert [(part, name) for part, name, how in rows() if how == "source"] == [
        ("nginx", f"{version}-{kind}") for version in ("1.22.1", "newest") for kind in ("static", "dynamic")]
    sources = (TOP / "auto/nginx-source").read_text().split("nginx_sources='\n")[1].split("'")[0].splitlines()
    versions = [line.split()[0] for line in sources]
    assert versions[-1] == "1.22.1" and versions == sorted(versions, reverse=True)


def test_what_the_servers_run_is_there():
    text = (TOP / "auto/servers").read_text()
    for line in text.split("selections='\n")[1].split("'")[0].splitlines():
        part, *files = line.split()
        assert files and all((TOP / "tests" / part / name).exists() for name in files)


def test_a_source_that_cannot_be_had_is_75(tmp_path):
    """There is no network here, and no program that could fetch."""
    result = run("auto/deps", "--nginx-source", XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert (result.returncode, result.stdout) == (75, "")
    assert all(re.match(r"nginx 1\.\d+\.\d+: .", line) for line in result.stderr.splitlines())
    assert list((tmp_path / "keyturn/nginx").iterdir()) == []


def test_an_unknown_source():
    result = run("auto/deps", "--nginx-source", "0.8.54")
    assert result.returncode == 1
    assert result.stderr.startswith("auto/deps: no source of nginx '0.8.54' is known (newest, ")


def test_unknown_root():
    result = run("auto/root", "postgresql-99")
    assert result.returncode == 1 and "no root 'postgresql-99' (known: postgresql-17 " in result.stderr


def test_unknown_programs():
    result = run("auto/root", "--programs", "redis-6")
    assert (result.returncode, result.stderr) == (1, "auto/root: no programs 'redis-6' (known: redis-8 redis-valkey-8 redis-valkey-9)\n")


def test_programs_that_cannot_be_had_are_75(tmp_path):
    """There is no network here."""
    result = run("auto/root", "--programs", "redis-8", XDG_CACHE_HOME=str(tmp_path))
    assert (result.returncode, result.stdout) == (75, "")
    assert re.match(r"no packages of redis-8: (?:E|W): ", result.stderr.splitlines()[-1])
    assert not list((tmp_path / "keyturn/programs").glob("*/"))


def test_what_cannot_be_had_is_75_and_says_what_it_needs(tmp_path):
    """As a user who is not root."""
    result = run("auto/root", "postgresql-17", XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == 75
    assert result.stderr.splitlines()[-1] == "needs root and a kernel that permits namespaces"
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_all_parts_makes_the_roots(tmp_path):
    """It asks for each, whether it is there or not; one that cannot be had is skipped, and says why."""
    (tmp_path / "auto").mkdir()
    root = tmp_path / "auto/root"
    root.write_text('#!/bin/sh\necho "$@" >> asked\necho "needs a machine" >&2\nexit 75\n')
    root.chmod(0o755)
    script = f". {TOP}/auto/servers; dir=$PWD parts=(postgresql) server= everything=yes; run_servers"
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (tmp_path / "asked").read_text().split() == ["postgresql-17", "postgresql-18"]
    assert result.stdout.count(": needs a machine\n") == 2 and "skipped: counterpart: postgresql 18: " in result.stdout
    assert [path.read_text() for path in sorted(tmp_path.glob("totals-*"))] == ["0 0 1\n"] * 2


def test_no_host_is_named():
    for name in ("root", "servers", "check", "nginx-source", "nginx-server"):
        assert "://" not in (TOP / "auto" / name).read_text()

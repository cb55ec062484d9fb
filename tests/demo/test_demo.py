# SPDX-License-Identifier: BSD-2-Clause
"""auto/demo: it shows what it claims, fails when something does not, and leaves nothing behind."""
import os
import pathlib
import re
import subprocess

import pytest

DEMO = pathlib.Path(__file__).resolve().parents[2] / "auto/demo"


@pytest.fixture
def demo(kt, sockets):
    kt.need("keyturn", "nginx_module", "redis_module", "pg_bin")
    env = kt.environment(KT_BIN=kt.keyturn, KT_LIBDIR=kt.libdir, KT_NGINX=kt.nginx, KT_NGINX_MODULE=kt.nginx_module,
                         KT_REDIS_SERVER=kt.redis, KT_REDIS_MODULE=kt.redis_module, KT_PG_BIN=kt.pg_bin,
                         TMPDIR=sockets)

    def run(*args, **changes):
        return subprocess.run(["bash", DEMO, *args], env={**env, **changes}, cwd="/", capture_output=True, text=True,
                              timeout=120)
    return run


def remains(folder):
    """Folders of demos, and processes that run in them."""
    processes = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() + b"/keyturn-demo" in command:
            processes.append(command)
    return list(folder.glob("keyturn-demo.*")), processes


def test_every_step(demo, sockets):
    result = demo()
    assert result.returncode == 0, result.stdout + result.stderr
    titles = re.findall(r"^\d+\. .*$", result.stdout, re.M)
    assert len(titles) == 10 and "All 10 steps showed what they claim" in result.stdout
    assert result.stdout.count("   ok: ") > 25 and "FAILED" not in result.stdout
    assert remains(sockets) == ([], [])


@pytest.mark.parametrize("lie, report", [
    # the trail is empty
    ('case "$*" in *"audit tail"*) exit 0 ;; esac', "FAILED: nginx is in it"),
    # a made-up key in the place of one that was issued
    ('case "$*" in *rotate*) echo 2; exit 0 ;; esac', "FAILED: no made-up key takes its place"),
    ('case "$*" in *rollback*) exit 73 ;; esac', "FAILED: the command ended with status 73"),
    # a value that lies about
    ('case "$*" in *"set api-keys"*) value=$(cat); echo "$value" >> "${KEYTURN_CONFIG%/*}/debug.log"; '
     'printf %s "$value" | "$REAL" "$@"; exit ;; esac', "stands in: "),
])
def test_a_step_that_does_not_show_it_fails(demo, kt, tmp_path, sockets, lie, report):
    (tmp_path / "bin").mkdir()
    liar = tmp_path / "bin/keyturn"
    liar.write_text(f'#!/bin/bash\nREAL={kt.keyturn}\n{lie}\nexec "$REAL" "$@"\n')
    liar.chmod(0o755)
    result = demo(KT_BIN=str(liar))
    assert result.returncode == 1 and report in result.stdout, result.stdout + result.stderr
    assert remains(sockets) == ([], [])


def test_a_server_that_does_not_start(demo, sockets):
    result = demo(KT_NGINX_MODULE="/nonexistent.so")
    assert result.returncode == 1 and "FAILED" in result.stdout and "nonexistent" in result.stdout
    assert remains(sockets) == ([], [])


def test_keep(demo, sockets):
    result = demo("--keep")
    assert result.returncode == 0, result.stdout + result.stderr
    stop = pathlib.Path(result.stdout.splitlines()[-1].strip())
    try:
        url = re.search(r"curl (http://\S+)", result.stdout)[1]
        answer = subprocess.run(["curl", "-sf", url], capture_output=True, text=True)
        assert answer.stdout.startswith("Basic ")
    finally:
        assert subprocess.run([stop], timeout=30, env={"PATH": os.defpath}).returncode == 0
    assert remains(sockets) == ([], [])


def test_unknown_argument(demo):
    result = demo("--kep")
    assert result.returncode == 1 and "usage" in result.stderr

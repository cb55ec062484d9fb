# SPDX-License-Identifier: BSD-2-Clause
"""The process itself: what others can see of it, closed descriptors, an answer that cannot be written."""
import os
import pathlib
import re
import subprocess
import time


def test_nothing_in_argv_or_environ(home, canary, wait_for):
    value = canary("process").encode()
    process = home.popen("set", "a", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(value)
    process.stdin.flush()
    time.sleep(0.2)  # it waits for the end of stdin
    folder = pathlib.Path(f"/proc/{process.pid}")
    assert value not in (folder / "cmdline").read_bytes()
    # not dumpable: /proc/PID belongs to root, so no process of the same user reads memory or environment
    if "ASAN_OPTIONS" not in os.environ:
        assert (folder / "mem").stat().st_uid == 0
    assert re.search(r"^Max core file size +0 +0 ", (folder / "limits").read_text(), re.M)
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_an_answer_that_cannot_be_written(home):
    home.set("a", b"v")
    for args in (["get", "a"], ["--json", "get", "a", "--reveal"], ["list"], ["--json", "list"], ["versions", "a"]):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([home.stage.keyturn, "-c", home.config, *args], env=home.env, stdout=full,
                                    stderr=subprocess.PIPE)
        assert result.returncode == 74, (args, result)


def test_a_closed_output_is_a_failure(home):
    home.set("a", b"v")
    for command in ("get a", "list", "info a"):
        script = f'exec "{home.stage.keyturn}" -c "{home.config}" {command} >&-'
        result = subprocess.run(["sh", "-c", script], env=home.env, capture_output=True)
        assert result.returncode == 74 and b"cannot write the answer" in result.stderr, command


def test_a_configuration_that_is_no_file(home):
    result = home.run("-c", "/etc", "list", check=False)
    assert result.returncode == 78 and result.stderr == b"keyturn: /etc: not a regular file\n"


def test_an_unknown_key_is_shown_only_if_it_looks_like_one(home, canary, tmp_path):
    (tmp_path / "other.conf").write_text(f"app:{canary('conf')}:1:\n")
    (tmp_path / "other.conf").chmod(0o600)
    result = home.run("-c", tmp_path / "other.conf", "list", check=False)
    assert result.returncode == 78 and canary("conf") not in result.stderr.decode() and b"unknown key (not shown)" in result.stderr
    (tmp_path / "other.conf").write_text("enviroment: x\n")
    assert b"unknown key `enviroment` (did you mean `environment`?)" in home.run("-c", tmp_path / "other.conf", "list", check=False).stderr


def test_closed_descriptors(home):
    home.set("a", b"v")
    script = f'exec "{home.stage.keyturn}" -c "{home.config}" get nothing <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", script], env=home.env).returncode == 66
    script = f'exec "{home.stage.keyturn}" -c "{home.config}" get a 2>&-'
    assert subprocess.run(["sh", "-c", script], env=home.env, stdout=subprocess.PIPE).stdout == b"v"
    assert home.get("a") == b"v"


def test_a_pipe_that_nobody_reads(home):
    home.set("a", b"v" * 60000)
    process = home.popen("get", "a", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.stderr.read()
    process.stderr.close()
    assert process.wait(10) in (0, 74)


def test_a_readable_file_is_warned_of(home, tmp_path):
    home.set("a", b"v")
    for umask, warned in ((0o022, True), (0o077, False)):
        old = os.umask(umask)
        try:
            with open(tmp_path / f"out-{umask}", "wb") as out:
                result = subprocess.run([home.stage.keyturn, "-c", home.config, "get", "a"], env=home.env, stdout=out,
                                        stderr=subprocess.PIPE)
        finally:
            os.umask(old)
        assert result.returncode == 0 and (b"other users may read" in result.stderr) == warned


def test_files_are_private_whatever_the_umask(kt, tmp_path):
    from lib.home import Home
    old = os.umask(0)
    try:
        home = Home.create(kt, tmp_path / "home")
        home.set("a", b"v")
    finally:
        os.umask(old)
    for path in [home.dir, *home.dir.rglob("*")]:
        inside = [folder for folder in path.parents if folder.is_relative_to(home.dir)]
        assert path.stat().st_mode & 0o007 == 0 or any(folder.stat().st_mode & 0o077 == 0 for folder in inside), path

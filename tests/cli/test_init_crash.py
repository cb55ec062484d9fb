# SPDX-License-Identifier: BSD-2-Clause
"""init is killed, at each of its steps and at any time: a home is there as a whole or the next init makes it, and nothing has to be
removed by hand. It is made in a folder next to its place."""
import json
import random
import subprocess
import time

import pytest

from lib.home import Home

CORE = ["after_store", "after_first_rows"]


def init(home, *options, point=None):
    env = {**home.env, "KEYTURN_DEBUG_STOP": f"{point}:kill"} if point else home.env
    return home.keyturn("init", *options, home.dir, check=False, env=env)


def work(home):
    return home.dir.parent / f".{home.dir.name}.keyturn-init"


def is_whole(home):
    """It works, its trail holds under the key, and nothing else is left."""
    assert home.set("api-keys/a", b"v") == 1 and home.get("api-keys/a") == b"v"
    assert home.run("verify").returncode == 0
    assert not work(home).exists() and not list(home.dir.glob(".*"))
    return True


def points(kt, tmp_path):
    """Those of a whole init: the first number at which nothing is killed ends them."""
    for number in range(200):
        home = Home(kt, tmp_path / f"n{number}")
        yield home, f"init.{number}"
        if (home.dir / "ended").exists():
            return
    raise AssertionError("init has no end")


def test_killed_at_each_step(kt, tmp_path):
    killed = 0
    for home, point in points(kt, tmp_path):
        result = init(home, point=point)
        if result.returncode == 0:
            assert is_whole(home)
            break
        killed += 1
        assert result.returncode == -9
        if not home.config.exists():
            result = init(home)
            assert result.returncode == 0 and b"keyturn-audit-key" in result.stdout, (point, result)
        else:
            # its last step was done, and so the audit key was shown before
            assert b"keyturn-audit-key" in result.stdout, (point, result)
            assert init(home).returncode == 73
        assert is_whole(home), point
    assert killed > 10


def test_killed_at_each_step_with_a_file_for_the_audit_key(kt, tmp_path):
    for home, point in points(kt, tmp_path):
        key = tmp_path / f"{home.dir.name}.audit"
        result = init(home, "--audit-key", key, point=point)
        if result.returncode == 0:
            break
        if not home.config.exists():
            assert not home.dir.exists() or not list(home.dir.iterdir()), point
            assert init(home, "--audit-key", key).returncode == 0, point
        home.set("a", b"v")
        assert home.run("audit", "verify", "--audit-key", key).returncode == 0, point
        assert not work(home).exists()


@pytest.mark.parametrize("point", CORE)
def test_killed_between_the_store_and_its_rows(kt, tmp_path, point):
    home = Home(kt, tmp_path / "home")
    assert init(home, point=point).returncode == -9
    assert (work(home) / home.store.name).exists() and list(home.dir.iterdir()) == []
    assert home.run("list", check=False).returncode == 78
    assert init(home).returncode == 0 and is_whole(home)


def test_killed_at_any_time(kt, tmp_path):
    seen = set()
    for number in range(60):
        home = Home(kt, tmp_path / f"home{number}")
        process = subprocess.Popen([kt.keyturn, "init", home.dir], env=home.env, stdout=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.03))
        process.kill()
        process.wait()
        seen.add(home.config.exists())
        if not home.config.exists():
            assert init(home).returncode == 0
        assert is_whole(home)
    assert False in seen


def test_the_file_of_the_audit_key_is_taken_back(kt, tmp_path):
    home, key = Home(kt, tmp_path / "home"), tmp_path / "audit.key"
    assert init(home, "--audit-key", key, point="after_store").returncode == -9 and key.exists()
    before = key.read_text()
    assert init(home, "--audit-key", key).returncode == 0 and key.read_text() != before
    home.set("a", b"v")
    assert home.run("audit", "verify", "--audit-key", key).returncode == 0


def test_what_a_killed_init_did_not_make_stays(kt, tmp_path):
    home = Home(kt, tmp_path / "home")
    init(home, point="after_store")
    (home.dir / "mine").write_text("precious")
    result = init(home)
    assert result.returncode == 73 and (home.dir / "mine").read_text() == "precious"
    assert not work(home).exists()
    (home.dir / "mine").unlink()
    assert init(home).returncode == 0 and is_whole(home)


def test_a_home_that_lives_is_never_undone(kt, tmp_path):
    """A note that was left after the last step, or is put there, removes nothing."""
    home = Home.create(kt, tmp_path / "home")
    home.set("a", b"v")
    for number, path in enumerate([home.key, home.store, home.audit]):
        (home.dir / f".made-{number}").symlink_to(path)
    assert init(home).returncode == 73
    assert home.get("a") == b"v"


def test_a_folder_of_others_is_not_obeyed(kt, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    home = Home(kt, tmp_path / "home")
    work(home).mkdir()
    (work(home) / ".made-0").symlink_to(victim)
    work(home).chmod(0o777)
    assert init(home).returncode == 77 and victim.exists() and not home.dir.exists()
    (work(home) / ".made-0").unlink()
    work(home).rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "elsewhere/mine").write_text("precious")
    work(home).symlink_to(tmp_path / "elsewhere")
    assert init(home).returncode == 77 and (tmp_path / "elsewhere/mine").exists() and not home.dir.exists()


def test_through_a_link_and_with_the_audit_key_inside(kt, tmp_path):
    home = Home(kt, tmp_path / "home")
    home.dir.mkdir()
    (tmp_path / "link").symlink_to(home.dir)
    home.keyturn("init", "--audit-key", home.dir / "audit.key", tmp_path / "link")
    assert is_whole(home) and (tmp_path / "link").is_symlink()
    assert home.run("audit", "verify", "--audit-key", home.dir / "audit.key").returncode == 0


def test_two_at_once(kt, tmp_path):
    home = Home(kt, tmp_path / "home")
    running = [subprocess.Popen([kt.keyturn, "init", home.dir], env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for _ in range(6)]
    texts = [process.communicate(timeout=60) for process in running]
    assert sorted(process.returncode for process in running) == [0] + 5 * [73], texts
    assert is_whole(home)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_is_told_once_is_told_or_nothing_is_made(kt, tmp_path, options):
    home = Home(kt, tmp_path / "home")
    with open("/dev/full", "w") as full:
        result = subprocess.run([kt.keyturn, *options, "init", home.dir], env=home.env, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 74 and not home.dir.exists()
    assert json.loads(home.keyturn("--json", "init", home.dir).stdout)["audit_key"].startswith("keyturn-audit-key 1 ")

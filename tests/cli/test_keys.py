# SPDX-License-Identifier: BSD-2-Clause
"""init, keygen, and key files that are wrong; environments that cannot open each other."""
import os
import pwd
import shutil
import stat
import subprocess

import pytest

from lib.home import Home


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# init

@pytest.mark.parametrize("given, environment", [("development", "development"), ("dev", "development"),
                                                ("stage", "staging"), ("prod", "production"), ("qa-2", "qa-2")])
def test_init(kt, tmp_path, given, environment):
    home = Home(kt, tmp_path / "home", environment)
    text = home.keyturn("init", "--environment", given, home.dir).stdout.decode()
    assert environment in text and "export KEYTURN_CONFIG=" in text
    assert mode(home.dir) == 0o700 and mode(home.config) == 0o600 and mode(home.key) == 0o600
    assert home.store.is_file()
    streams = sorted(path.name for path in home.audit.iterdir())
    assert [name for name in streams if not name.startswith("cli-")] == ["nginx", "postgresql", "redis"]
    assert len(streams) == 4 and all(mode(path) == 0o700 for path in home.audit.iterdir())
    assert f"environment: {environment}" in home.read_config()
    for host in ("nginx:*", "redis:default", "postgresql:role:postgres"):
        assert f'#- {{who: "{host}"' in home.read_config()
    assert home.set("a", b"v") == 1


def test_init_takes_the_environment_from_the_environment(kt, tmp_path):
    home = Home(kt, tmp_path / "home", "staging")
    home.keyturn("init", home.dir, env={**home.env, "ENVIRONMENT": "stage"})
    assert home.key.is_file()
    other = Home(kt, tmp_path / "other")
    other.keyturn("init", other.dir)
    assert other.key.name == "development.key" and other.key.is_file()
    result = other.keyturn("init", tmp_path / "third", env={**home.env, "ENVIRONMENT": "../x"}, check=False)
    assert result.returncode == 64 and not (tmp_path / "third").exists()


@pytest.mark.parametrize("environment", ["a/b", "..", "", "a b", "ä", "x" * 300])
def test_init_refuses_environments(kt, tmp_path, environment):
    home = Home(kt, tmp_path / "home")
    assert home.keyturn("init", "--environment", environment, home.dir, check=False).returncode in (0 if not environment else 64, 64)
    assert environment == "" or not home.dir.exists()


def test_init_into_an_empty_folder(kt, tmp_path):
    (tmp_path / "home").mkdir(mode=0o755)
    home = Home.create(kt, tmp_path / "home")
    assert mode(home.dir) == 0o700 and home.set("a", b"v") == 1


def test_init_overwrites_nothing(home):
    before = {path: path.read_bytes() for path in home.dir.rglob("*") if path.is_file()}
    result = home.keyturn("init", home.dir, check=False)
    assert result.returncode == 73 and b"not an empty folder" in result.stderr
    assert before == {path: path.read_bytes() for path in home.dir.rglob("*") if path.is_file()}


def test_init_leaves_a_file_alone(kt, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").write_text("x")
    home = Home(kt, tmp_path / "home")
    assert home.keyturn("init", home.dir, check=False).returncode == 73
    assert [path.name for path in home.dir.iterdir()] == ["precious"]


@pytest.mark.parametrize("where, status", [("no/such/folder", 64), ("file", 73), ("file/x", 64), ("shut/x", 77)])
def test_init_where_it_cannot(kt, tmp_path, where, status):
    (tmp_path / "file").write_text("x")
    (tmp_path / "shut").mkdir(mode=0o500)
    home = Home(kt, tmp_path / where)
    assert home.keyturn("init", home.dir, check=False).returncode == status
    assert (tmp_path / "file").read_text() == "x"


def test_init_takes_everything_back(kt, tmp_path):
    # the store cannot be made when no file may grow
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new"):
        home = Home(kt, folder)
        result = home.keyturn("init", folder, check=False, preexec_fn=no_files)
        assert result.returncode != 0
    assert list((tmp_path / "empty").iterdir()) == [] and not (tmp_path / "new").exists()


def no_files():
    import resource
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_user_may_have_a_key_of_his_own(home):
    user = pwd.getpwuid(os.geteuid()).pw_name
    home.set("api-keys/a", b"v")
    home.set("database/b", b"v")
    home.run("keygen", "--types", "api-keys", home.dir / "mine.key")
    text = home.read_config().replace(f'"file:{home.key}"', f'{{cli: "file:{home.key}", cli-{user}: "file:mine.key"}}', 1)
    home.write_config(text)
    assert home.get("api-keys/a") == b"v"
    assert home.run("get", "database/b", check=False).returncode == 77
    home.write_config(text.replace(f"cli-{user}", "cli-somebody"))
    assert home.get("database/b") == b"v"
    home.write_config(text.replace(f"cli-{user}", "cli-a/b"))
    result = home.run("get", "database/b", check=False)
    assert result.returncode == 78 and b"unknown host" in result.stderr


def test_init_system_is_for_root(kt, tmp_path):
    home = Home(kt, tmp_path / "home")
    result = home.keyturn("init", "--system", check=False)
    assert result.returncode == 77 and b"root" in result.stderr
    assert home.keyturn("init", "--system", home.dir, check=False).returncode == 64
    assert not home.dir.exists()


@pytest.mark.parametrize("name", ['with "quotes"', "back\\slash", "#hash: [x]", "späce d", "per%cent%s"])
def test_init_in_a_folder_with_an_odd_name(kt, tmp_path, name):
    home = Home.create(kt, tmp_path / name)
    assert home.set("a", b"v") == 1 and home.get("a") == b"v"


# keygen

def test_keygen(home, tmp_path):
    home.run("keygen", tmp_path / "a.key")
    home.keyturn("keygen", "--environment", "prod", tmp_path / "b.key")
    assert mode(tmp_path / "a.key") == mode(tmp_path / "b.key") == 0o600
    assert "environment development" in (tmp_path / "a.key").read_text()
    assert "environment production" in (tmp_path / "b.key").read_text()


def test_keygen_overwrites_nothing(home, tmp_path):
    (tmp_path / "a.key").write_text("precious")
    assert home.run("keygen", tmp_path / "a.key", check=False).returncode == 73
    assert home.run("keygen", "--types", "a", tmp_path / "a.key", check=False).returncode == 73
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert home.run("keygen", tmp_path / "link", check=False).returncode == 73
    assert (tmp_path / "a.key").read_text() == "precious" and not (tmp_path / "target").exists()


@pytest.mark.parametrize("args", [(), ("--stream", "nginx", "--audit-key", "nothing")], ids=["key", "stream"])
def test_keygen_without_a_configuration(kt, tmp_path, args):
    """There is nowhere to have the environment from."""
    result = subprocess.run([kt.keyturn, "-c", tmp_path / "none.yaml", "keygen", *args, tmp_path / "out"], env=kt.environment(),
                            capture_output=True, text=True)
    assert result.returncode == 78
    assert result.stderr.startswith("keyturn: no --environment, and ") and str(tmp_path / "none.yaml") in result.stderr
    assert not (tmp_path / "out").exists()


def test_keygen_of_some_types(home, tmp_path):
    home.set("api-keys/stripe", b"one")
    home.set("database/primary", b"two")
    home.run("keygen", "--types", "api-keys,tls", tmp_path / "types.key")
    home.replace(f"file:{home.key}\"\n#", f"file:{tmp_path}/types.key\"\n#")
    assert home.get("api-keys/stripe") == b"one"
    result = home.run("get", "database/primary", check=False)
    assert result.returncode == 77, result
    assert home.run("get", "database/nothing", check=False).returncode == 77
    assert home.list() == ["api-keys/stripe"]
    assert home.set("api-keys/stripe", b"three") == 2


# key files that are wrong

def test_a_key_that_others_may_read(home):
    home.key.chmod(0o644)
    result = home.run("list", check=False)
    assert result.returncode == 77 and str(home.key) in result.stderr.decode() and b"0644" in result.stderr


def test_a_key_that_cannot_be_read(home):
    home.key.chmod(0)
    assert home.run("list", check=False).returncode == 77


def test_a_key_that_is_not_there(home):
    home.key.unlink()
    result = home.run("list", check=False)
    assert result.returncode == 78 and str(home.key) in result.stderr.decode()


def test_the_key_of_another_environment(home, tmp_path):
    home.key.unlink()
    home.keyturn("keygen", "--environment", "production", home.key)
    result = home.run("list", check=False)
    assert result.returncode == 77 and b"production" in result.stderr


def test_another_key_of_the_same_environment(home):
    home.set("a", b"v")
    home.key.unlink()
    home.keyturn("keygen", "--environment", "development", home.key)
    for verb in (["get", "a"], ["get", "nothing"], ["set", "a"], ["rotate", "a"]):
        result = home.run(*verb, input=b"w", check=False)
        assert result.returncode == 77, (verb, result)


@pytest.mark.parametrize("text", ["", "x", "keyturn-key 1\n", "keyturn-key 9\nenvironment development\n", "\0" * 100,
                                  "keyturn-key 1\nenvironment development\nkey 1 AAAA\n"])
def test_a_key_file_that_is_none(home, text):
    home.key.write_text(text)
    result = home.run("list", check=False)
    assert result.returncode in (77, 78) and str(home.key) in result.stderr.decode()


def test_no_error_shows_the_key(home):
    lines = home.key.read_text().splitlines()
    secret = next(line.split()[2] for line in lines if line.startswith("key "))
    home.key.write_text("\n".join(lines).replace("key 1", "kee 1"))
    result = home.run("list", check=False)
    assert result.returncode != 0 and secret.encode() not in result.stderr + result.stdout


# requirement 2: environments are apart

def test_a_staging_key_opens_nothing_of_production(make_home, tmp_path, canary):
    production, staging = make_home("production"), make_home("staging")
    production.set("database/primary", canary("production"))
    # the key of staging on the store of production, as the configuration would have it ...
    production_config = production.read_config()
    production.replace(f"key: \"file:{production.key}\"\n#", f"key: \"file:{staging.key}\"\n#")
    assert production.run("get", "database/primary", check=False).returncode == 77
    # ... with the environment renamed to match the key ...
    production.replace("environment: production", "environment: staging")
    result = production.run("get", "database/primary", check=False)
    assert result.returncode in (65, 66, 77) and result.stdout == b"", result
    # ... and with a key file that claims to be production's
    production.write_config(production_config)
    forged = staging.key.read_text().replace("environment staging", "environment production")
    production.key.write_text(forged)
    result = production.run("get", "database/primary", check=False)
    assert result.returncode == 77 and result.stdout == b"", result
    assert staging.list() == []


def test_a_store_put_into_another_environment(make_home):
    production, staging = make_home("production"), make_home("staging")
    production.set("a", b"v")
    for end in ("", "-wal", "-shm"):
        source = production.dir / f"production.db{end}"
        if source.exists():
            shutil.copy(source, staging.dir / f"staging.db{end}")
        elif (staging.dir / f"staging.db{end}").exists():
            os.unlink(staging.dir / f"staging.db{end}")
    result = staging.run("get", "a", check=False)
    assert result.returncode in (65, 77) and result.stdout == b""

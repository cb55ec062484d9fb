# SPDX-License-Identifier: BSD-2-Clause
"""key: credential:, exec:, keyring: and passphrase:, each through the command."""
import ctypes
import os
import pty
import subprocess
import time

import pytest

PHRASE = b"correct horse battery"


@pytest.fixture
def filled(home):
    home.set("api-keys/a", b"value")
    return home


def use(home, source):
    lines = home.read_config().splitlines(keepends=True)
    home.write_config("".join(f"key: '{source}'\n" if line.startswith("key:") else line for line in lines))
    return 1 + next(i for i, line in enumerate(lines) if line.startswith("key:"))


def fails(home, status, *texts, **more):
    result = home.run("get", "api-keys/a", check=False, **more)
    assert result.returncode == status and result.stdout == b"", result
    for text in texts:
        assert text in result.stderr.decode(), result.stderr


# credential

def test_credential(filled, tmp_path):
    (tmp_path / "creds").mkdir()
    credential = tmp_path / "creds" / "kt"
    credential.write_bytes(filled.key.read_bytes())
    credential.chmod(0o400)
    filled.key.unlink()
    line = use(filled, "credential:kt")
    env = {**filled.env, "CREDENTIALS_DIRECTORY": str(credential.parent)}
    assert filled.run("get", "api-keys/a", env=env).stdout == b"value"
    fails(filled, 78, f"keyturn.yaml:{line}: ", "LoadCredential=")
    credential.chmod(0o444)
    fails(filled, 77, str(credential), "0444", env=env)


# exec

def script(tmp_path, text, mode=0o700):
    path = tmp_path / "command"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(mode)
    return path


def test_exec(filled, tmp_path):
    command = script(tmp_path, 'exec cat "$1"\n')
    line = use(filled, f"exec:{command} {filled.key}")
    assert filled.get("api-keys/a") == b"value"
    use(filled, f"exec:{command} /nonexistent")
    fails(filled, 78, f"keyturn.yaml:{line}: {command}: failed with exit status 1")
    command.chmod(0o722)
    fails(filled, 77, str(command), "chmod go-w")
    command.unlink()
    fails(filled, 78, str(command))
    use(filled, "exec:cat k")
    fails(filled, 78, f"keyturn.yaml:{line}: ", "absolute path")


def test_exec_sees_nothing_of_ours(filled, tmp_path):
    use(filled, f"exec:{script(tmp_path, f'env >&2; ls /proc/$$/fd | wc -l >&2; exec cat {filled.key}' + chr(10))}")
    result = filled.run("get", "api-keys/a", env={**filled.env, "PGPASSWORD": "canary"})
    assert result.stdout == b"value" and b"canary" not in result.stderr and b"KEYTURN" not in result.stderr


# keyring

def test_keyring(filled):
    libc = ctypes.CDLL(None, use_errno=True)
    payload = filled.key.read_bytes()
    name = f"keyturn-test-{os.getpid()}"
    number = libc.syscall(248, b"user", name.encode(), payload, ctypes.c_size_t(len(payload)), ctypes.c_long(-4))
    line = use(filled, f"keyring:{name}")
    if number < 0:
        fails(filled, 77, f"keyturn.yaml:{line}: this kernel (or container) refuses keyrings")
        return
    try:
        filled.key.unlink()
        assert filled.get("api-keys/a") == b"value"
    finally:
        libc.syscall(250, 21, number)
    fails(filled, 78, f"keyturn.yaml:{line}: there is no user key", "keyctl padd")


# passphrase

@pytest.fixture
def phrased(filled, tmp_path):
    """A home whose key is under a passphrase: its own, and one epoch more."""
    home, phrase = filled, tmp_path / "phrase"
    phrase.write_bytes(PHRASE + b"\n")
    phrase.chmod(0o600)
    home.run("keygen", "--epoch", "--passphrase", phrase, tmp_path / "p.key")
    home.key.unlink()
    (tmp_path / "p.key").rename(home.key)
    home.line = use(home, f"passphrase:{phrase}")
    home.phrase = phrase
    return home


def test_keygen_under_a_passphrase(home, tmp_path):
    home.keyturn("keygen", "--environment", "prod", "--passphrase", "-", tmp_path / "k", input=PHRASE)
    text = (tmp_path / "k").read_text()
    assert "\nargon2id 3 268435456 " in text and "\nkey " not in text and (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    result = home.keyturn("keygen", "--environment", "prod", "--passphrase", "-", tmp_path / "l", input=b"short", check=False)
    assert result.returncode == 64 and not (tmp_path / "l").exists()
    result = home.run("keygen", "--types", "a", "--passphrase", "-", tmp_path / "l", input=PHRASE, check=False)
    assert result.returncode == 64 and not (tmp_path / "l").exists()
    home.keyturn("keygen", "--environment", "dev", "--passphrase", "-", tmp_path / "m", input=PHRASE)
    use(home, f"file:{tmp_path}/m")
    fails(home, 78, f"{tmp_path}/m:4: ", "passphrase:PROMPT")


def test_passphrase_from_a_file(phrased):
    line = phrased.line
    assert phrased.get("api-keys/a") == b"value"
    use(phrased, f"passphrase:{phrased.phrase} {phrased.key}")
    assert phrased.get("api-keys/a") == b"value" and phrased.set("api-keys/b", b"x") == 1
    phrased.phrase.write_bytes(b"another horse battery")
    fails(phrased, 77, f"keyturn.yaml:{line}: {phrased.key}:4: the key is not under this passphrase")
    phrased.phrase.chmod(0o644)
    fails(phrased, 77, str(phrased.phrase), "0644")
    phrased.phrase.unlink()
    fails(phrased, 78, str(phrased.phrase))


def test_a_damaged_file_and_a_downgrade(phrased):
    text = phrased.key.read_text()
    phrased.key.write_text(text.replace(text.split()[-1][10:14], "AAAA"))
    fails(phrased, 65, f"{phrased.key}:4: the sealed key is damaged")
    phrased.key.write_text(text.replace(" 268435456 ", " 8192 "))
    fails(phrased, 78, f"{phrased.key}:4: argon2id with less than 3 passes and 268435456 bytes is refused")


def test_passphrase_at_a_prompt(phrased):
    use(phrased, "passphrase:PROMPT")
    result = subprocess.run(["setsid", "--wait", phrased.stage.keyturn, "-c", phrased.config, "list"], env=phrased.env,
                            stdin=subprocess.DEVNULL, capture_output=True)
    assert result.returncode == 78 and b"no terminal" in result.stderr, result
    for typed, status in ((PHRASE + b"\n", 0), (b"correct horse batterX\x7fy\n", 0), (b"x\x15" + PHRASE + b"\r", 0),
                          (b"wrong horse battery\n", 77), (b"\x03", 78), (b"\n", 78)):
        master, slave = pty.openpty()
        process = subprocess.Popen(["setsid", "--ctty", "--wait", phrased.stage.keyturn, "-c", phrased.config, "get", "api-keys/a"],
                                   env=phrased.env, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        shown = b""
        while b"Passphrase of" not in shown:
            shown += os.read(master, 1000)
        time.sleep(0.1)
        os.write(master, typed)
        out, err = process.communicate(timeout=30)
        os.close(slave)
        os.set_blocking(master, False)
        try:
            shown += os.read(master, 1000)
        except OSError:
            pass
        os.close(master)
        assert b"horse" not in shown + out + err
        assert process.returncode == status, (typed, err)
        assert out == (b"" if status else b"value")
        assert (b"not under this" in err) == (status == 77) and (b"no passphrase was typed" in err) == (len(typed) == 1), (typed, err)


# epochs

def test_a_store_goes_on_under_its_epoch(filled, tmp_path):
    """A holder of the new epoch writes values that a holder of the old one can read."""
    old = f"file:{filled.key}"
    filled.run("keygen", "--epoch", tmp_path / "2.key")
    lines = [line.split()[:2] for line in (tmp_path / "2.key").read_text().splitlines() if line.startswith("key ")]
    assert lines == [["key", "2"], ["key", "1"]] and filled.key.read_text().split("key 1 ")[1] in (tmp_path / "2.key").read_text()
    use(filled, f"file:{tmp_path}/2.key")
    assert filled.get("api-keys/a") == b"value"
    assert filled.set("api-keys/a", b"second") == 2
    assert filled.set("api-keys/new", b"new") == 1 and filled.set("newtype/a", b"other") == 1
    filled.run("verify")
    use(filled, old)
    assert [filled.get(name) for name in ("api-keys/a", "api-keys/new", "newtype/a")] == [b"second", b"new", b"other"]
    assert sorted(filled.list()) == ["api-keys/a", "api-keys/new", "newtype/a"]
    filled.run("verify")


def test_a_new_store_is_under_the_newest_epoch(make_home, tmp_path):
    home = make_home("development")
    home.run("keygen", "--epoch", tmp_path / "2.key")
    use(home, f"file:{tmp_path}/2.key")
    home.run("keygen", "--epoch", tmp_path / "3.key")
    assert "key 3 " in (tmp_path / "3.key").read_text()
    home.run("keygen", "--types", "api-keys", tmp_path / "types.key")
    assert (tmp_path / "types.key").read_text().count("type api-keys ") == 2
    use(home, f"file:{tmp_path}/types.key")
    assert home.set("api-keys/a", b"by type") == 1
    result = home.run("keygen", "--epoch", tmp_path / "no.key", check=False)
    assert result.returncode == 77 and b"keys of types" in result.stderr and not (tmp_path / "no.key").exists()
    use(home, f"file:{home.key}")
    assert home.get("api-keys/a") == b"by type"
    assert home.run("keygen", "--epoch", tmp_path / "3.key", check=False).returncode == 73
    assert home.run("keygen", "--epoch", "--types", "a", tmp_path / "no.key", check=False).returncode == 64


def test_the_next_epoch_of_a_key_under_a_passphrase(phrased, tmp_path):
    result = phrased.run("keygen", "--epoch", tmp_path / "3.key", check=False)
    assert result.returncode == 64 and b"--passphrase" in result.stderr and not (tmp_path / "3.key").exists()
    phrased.run("keygen", "--epoch", "--passphrase", "-", tmp_path / "3.key", input=PHRASE)
    use(phrased, f"passphrase:{phrased.phrase} {tmp_path}/3.key")
    assert phrased.get("api-keys/a") == b"value"

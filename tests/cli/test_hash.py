# SPDX-License-Identifier: BSD-2-Clause
"""keyturn hash: requirement 57, with the hashes that hashlib makes."""
import hashlib
import os

import pytest
from nacl import pwhash


@pytest.fixture
def run(kt, tmp_path):
    from lib.home import Home
    kt.need("keyturn")
    home = Home(kt, tmp_path / "none")  # hash needs no configuration
    return home.keyturn


def pbkdf2(value, rounds=100000):
    salt = os.urandom(32)
    return salt.hex() + hashlib.pbkdf2_hmac("sha256", value, salt, rounds).hex()


@pytest.mark.parametrize("value", [b"a token", b"\0binary\xff", b"x" * 65536])
def test_hash(run, tmp_path, value):
    text = run("hash", input=value).stdout
    assert text.startswith(b"$argon2id$v=19$") and text.endswith(b"\n") and value not in text
    assert pwhash.verify(text.strip(), value)       # another implementation's caller agrees
    assert text != run("hash", input=value).stdout
    (tmp_path / "hash").write_bytes(text)
    result = run("hash", "--check", tmp_path / "hash", input=value)
    assert result.stdout == b"" and result.stderr == b""
    result = run("hash", "--check", tmp_path / "hash", input=value + b"y" if len(value) < 65536 else b"y", check=False)
    assert result.returncode == 77 and result.stdout == b"" and b"not the one that was hashed" in result.stderr


@pytest.mark.parametrize("value", [b"a token", b"p\xc3\xa4ss", b"k" * 64, b"k" * 65])
def test_an_old_hash_is_upgraded(run, tmp_path, value):
    (tmp_path / "old").write_text(pbkdf2(value) + "\n")
    (tmp_path / "value").write_bytes(value)
    new = run("hash", "--check", tmp_path / "old", "--file", tmp_path / "value").stdout
    assert new.startswith(b"$argon2id$") and pwhash.verify(new.strip(), value)
    result = run("hash", "--check", tmp_path / "old", input=b"another", check=False)
    assert result.returncode == 77 and result.stdout == b""


def test_another_count_of_rounds_does_not_match(run, tmp_path):
    (tmp_path / "old").write_text(pbkdf2(b"v", 99999))
    assert run("hash", "--check", tmp_path / "old", input=b"v", check=False).returncode == 77


@pytest.mark.parametrize("text, status", [("", 65), ("x\n", 65), ("00" * 63, 65), ("00" * 400, 65), ("$argon2id$v=19$m=1", 65)])
def test_what_is_no_hash(run, tmp_path, text, status):
    (tmp_path / "hash").write_text(text)
    result = run("hash", "--check", tmp_path / "hash", input=b"v", check=False)
    assert result.returncode == status and result.stdout == b""
    assert run("hash", "--check", tmp_path / "nothing", input=b"v", check=False).returncode == 64


def test_json_and_no_value_on_the_command_line(run, tmp_path):
    import json
    answer = json.loads(run("--json", "hash", input=b"v").stdout)
    (tmp_path / "hash").write_text(answer["hash"])
    assert json.loads(run("--json", "hash", "--check", tmp_path / "hash", input=b"v").stdout)["upgraded"] is None
    result = run("hash", "secret-value", check=False)
    assert result.returncode == 64 and b"secret-value" not in result.stderr

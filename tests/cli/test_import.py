# SPDX-License-Identifier: BSD-2-Clause
"""keyturn import --fernet: files made by python3-cryptography, and the vectors of Fernet's specification."""
import base64
import hashlib
import hmac
import json
import struct

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# generate.json of the specification
SPEC_KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
SPEC_TOKEN = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
# its invalid.json, as far as that is not about time
SPEC_INVALID = [
    "rn9hs9yS0GVWjk4hH822VIwQUWz-_WZWCLzsD7SgV2IAAAAAHcCesAABAgMEBQYHCAkKCwwNDg8tNtXKRlVimf3hMAhjOASy",
    "91GVdgz7jmWR6vJiViEA4u-LhVMhCSr87INSeFwwkYAAAAAAHcCesAABAgMEBQYHCAkKCw==",
    "%%%%%%%%%%%j-ztUarjDIfllJBmLiBMjfcmZesHVIhcAAAAAHcCesAABAgMEBQYHCAkKCwwNDg8tNtXKRlVimf3hMAhjOASy",
    "r-pDJRzyfnW4rYfh-gZek3qA3lnFG8fGaf0qgmZlPL8AAAAAHcCesAABAgMEBQYHCAkKCwwNDg8tNtXKRlVimf3hMAhjOAQ=",
    "ApoqRxzlU8Z9-mPSV6ufXeIgKugRjI_-ugnnqqoCTjQAAAAAHcCesAABAgMEBQYHCAkKCwwNDg91rx5fbHkRnpZBxpOuEAjd",
    "fe5sCHPyF13H837yvtc65xAlWfXXP3fEUX_jMiB74EwAAAAAHcCesHV0d3ZxcHNyfXx_fnl4e3otNtXKRlVimf3hMAhjOASy",
]


class Older:
    """A store of the kind that Fernet files are: .secrets.key and .secrets.enc."""

    def __init__(self, home, folder):
        self.home = home
        self.store, self.keyfile = folder / ".secrets.enc", folder / ".secrets.key"
        self.key = Fernet.generate_key()
        self.keyfile.write_bytes(self.key)

    def write(self, secrets):
        self.store.write_bytes(Fernet(self.key).encrypt(json.dumps(secrets).encode()))
        return self

    def run(self, *options, **more):
        return self.home.run("import", "--fernet", self.store, "--key", self.keyfile, *options, **more)

    def json(self, *options):
        return self.home.json("import", "--fernet", self.store, "--key", self.keyfile, *options)


@pytest.fixture
def older(home, tmp_path):
    return Older(home, tmp_path)


def fails(older, status, *texts, options=()):
    result = older.run(*options, check=False)
    assert result.returncode == status, result
    for text in texts:
        assert text in result.stderr.decode(), result.stderr
    assert older.home.list() == [] or options, "nothing was imported"
    return result.stderr.decode()


def test_a_store(older, home, canary):
    value = canary("fernet")
    database = {"host": "h", "port": 5432, "user": "u", "password": value}
    older.write({"OPENAI_API_KEY": value, "database/primary": database, "limit": 10, "debug": False, "ü" * 0 + "text": "größe\n"})
    result = older.run()
    assert sorted(result.stdout.decode().splitlines()) == [
        "new       OPENAI_API_KEY", "new       database/primary", "new       debug", "new       limit", "new       text"]
    assert home.get("OPENAI_API_KEY").decode() == value
    assert json.loads(home.get("database/primary")) == database
    assert (home.get("limit"), home.get("debug"), home.get("text").decode()) == (b"10", b"false", "größe\n")
    assert value.encode() not in result.stdout + result.stderr
    assert older.store.exists() and older.keyfile.exists(), "the old files are their owner's to remove"


def test_again_changes_nothing(older, home):
    older.write({"a": "1", "b": "2"})
    older.run()
    again = older.json()
    assert [(row["result"], row["version"]) for row in again["secrets"]] == [("unchanged", 1)] * 2
    assert home.info("a")["accessed"] == 0, "a comparison does not count as a read"


def test_another_value_is_refused_or_replaced(older, home):
    older.write({"a": "new", "b": "2"})
    home.set("a", "mine")
    text = fails(older, 73, "a: it exists with another value", "nothing was imported: 1", options=("--quiet",))
    assert "new" not in text.replace("a new version", "") and home.list() == ["a"]
    home.delete("a")
    fails(older, 73, "a: it was deleted", options=("--quiet",))
    rows = {row["name"]: (row["result"], row["version"]) for row in older.json("--replace")["secrets"]}
    assert rows == {"a": ("replaced", 2), "b": ("new", 1)}
    assert home.get("a") == b"new" and home.get("a@1") == b"mine"


def test_dry_run(older, home):
    older.write({"a": "1", "b": "2"})
    home.set("a", "1")
    answer = older.json("--dry-run")
    assert answer["dry_run"] is True
    assert {row["name"]: row["result"] for row in answer["secrets"]} == {"a": "unchanged", "b": "new"}
    assert home.list() == ["a"]


def test_names(older, home):
    older.write({"STRIPE": "1", "no name": "2", "development/database/x": "3", "dev/y": "4"})
    fails(older, 64, "no name: a name may only have the bytes")
    older.run("--prefix", "api-keys/", "--map", "no name=general-thing")
    assert sorted(home.list()) == ["api-keys/STRIPE", "api-keys/database/x", "api-keys/y", "general-thing"]


def test_other_environments_stay_out(older):
    older.write({"production/api-keys/x": "1", "ok": "2"})
    fails(older, 77, "production/api-keys/x: it belongs to another environment")


def test_two_keys_of_one_name(older):
    older.write({"a": "1", "development/a": "2"})
    fails(older, 64, "another key gets the same name")


def test_all_that_is_wrong_is_told(older, canary):
    value = canary("wrong")
    older.write({"a b": value, "list": [value], "null": None, "empty": "", "large": "x" * 65537, "good": value})
    text = fails(older, 65, "a b:", "list: its value is a list", "null:", "empty: its value is empty", "large:", "5 of the keys")
    assert value not in text


def test_a_token_for_each_value(older, home):
    older.keyfile.write_text(SPEC_KEY + "\n")
    older.store.write_text(json.dumps({"greeting": SPEC_TOKEN, "plain": SPEC_TOKEN.rstrip("=")}))
    older.run()
    assert home.get("greeting") == home.get("plain") == b"hello"


@pytest.mark.parametrize("token", SPEC_INVALID)
def test_invalid_tokens_of_the_specification(older, token):
    older.keyfile.write_text(SPEC_KEY)
    older.store.write_text(json.dumps({"a": token}))
    fails(older, 65, "a: ")


def signed(body, key=SPEC_KEY):
    return base64.urlsafe_b64encode(body + hmac.new(base64.urlsafe_b64decode(key)[:16], body, hashlib.sha256).digest()).decode()


def body(plain, version=0x80, key=SPEC_KEY):
    """Of a plain text that is padded already."""
    encryptor = Cipher(algorithms.AES(base64.urlsafe_b64decode(key)[16:]), modes.CBC(bytes(16))).encryptor()
    return bytes([version]) + struct.pack(">Q", 0) + bytes(16) + encryptor.update(plain) + encryptor.finalize()


@pytest.mark.parametrize("token, why", [
    (signed(body(b"a" * 16)), "its padding is wrong"),
    (signed(body(b"a" * 15 + b"\0")), "its padding is wrong"),
    (signed(body(b"a" * 15 + b"\x11")), "its padding is wrong"),
    (signed(body(b"a" * 15 + b"\1", version=0x81)), "not a Fernet token"),
    (signed(body(b"a" * 15 + b"\1")[:-1]), "not a Fernet token"),
    (signed(body(b"")), "not a Fernet token"),
    (SPEC_TOKEN + "A", "not a Fernet token"),
    (SPEC_TOKEN[:-4] + "DB==", "not a Fernet token"),  # unused bits are set
    ("", "not a Fernet token"),
])
def test_invalid_tokens(older, token, why):
    older.keyfile.write_text(SPEC_KEY)
    older.store.write_text(json.dumps({"a": token}))
    fails(older, 65, why)
    older.store.write_text(json.dumps({"a": signed(body(b"a" * 15 + b"\1"))}))
    older.run()
    assert older.home.get("a") == b"a" * 15


def test_every_changed_byte_is_noticed(older, home):
    """Of the key and of the token: the first failure says so, and never is anything else imported."""
    older.write({"a": "1"})
    token, key = bytearray(older.store.read_bytes()), older.key
    for at in range(0, len(token), 7):
        changed = bytearray(token)
        changed[at] = ord("A") if changed[at] != ord("A") else ord("B")
        older.store.write_bytes(changed)
        assert older.run(check=False).returncode == 65
    older.store.write_bytes(token)
    older.keyfile.write_bytes(Fernet.generate_key())
    fails(older, 65, "the key is the wrong one, or the token was changed")
    older.keyfile.write_bytes(key[:-4])
    fails(older, 65, "not a Fernet key")
    assert home.list() == []


@pytest.mark.parametrize("text", ["[]", "1", '{"a": "1", "a": "2"}', "no json", '"x"', ""])
def test_what_is_inside_is_an_object(older, text):
    older.store.write_bytes(Fernet(older.key).encrypt(text.encode()))
    fails(older, 65, "does not hold a JSON object")


@pytest.mark.parametrize("number", ["9223372036854775808", "123456789012345678901234567890", "-9223372036854775809", "1e999"])
def test_a_number_that_is_too_large_is_named_as_such(older, number):
    """A9: Python's json writes them, and the whole file was called something else."""
    older.store.write_bytes(Fernet(older.key).encrypt(f'{{"a": "1", "b": {number}}}'.encode()))
    fails(older, 65, "a number in it is too large to be read exactly")


def test_files_and_options(older, home, tmp_path):
    older.write({"a": "1"})
    assert home.run("import", "--fernet", older.store, check=False).returncode == 64
    assert home.run("import", "--key", older.keyfile, check=False).returncode == 64
    assert home.run("import", "--fernet", tmp_path / "none", "--key", older.keyfile, check=False).returncode == 64
    assert home.run("import", "--fernet", tmp_path, "--key", older.keyfile, check=False).returncode == 64
    older.keyfile.chmod(0)
    assert older.run(check=False).returncode == 77
    older.keyfile.chmod(0o600)
    home.deny("*", ["write"], ["a"])
    assert older.run(check=False).returncode == 77


def test_an_import_that_was_cut_short_goes_on(older, home):
    """Each secret is a commit of its own; what is there is left alone."""
    older.write({f"api-keys/n{i}": f"v{i}" for i in range(6)})
    result = older.run(check=False, env={**home.env, "KEYTURN_DEBUG_STOP": "write.committed:kill"})
    if result.returncode == 0:
        pytest.skip("needs fault points")
    done = len(home.list())
    assert 1 <= done < 6
    results = [row["result"] for row in older.json()["secrets"]]
    assert results.count("unchanged") == done and results.count("new") == 6 - done
    assert all(home.get(f"api-keys/n{i}") == f"v{i}".encode() for i in range(6))


@pytest.mark.parametrize("options", [[], ["--replace"], ["--replace", "--dry-run"]])
def test_what_a_target_knows_is_not_replaced(older, home, tmp_path, options):
    """The server would still have the old password; the other keys of the file stay out, too."""
    command, server = tmp_path / "target", tmp_path / "server"
    command.write_text(f"#!/bin/sh\n[ $KEYTURN_STEP != set ] || cat > {server}\n")
    command.chmod(0o700)
    home.set("database/shop", {"user": "shop", "password": "known"})
    home.set("api-keys/a", b"old")
    home.write_config(home.read_config() + f'targets:\n  "database/*": {{exec: "{command}"}}\n')
    older.write({"database/shop": {"user": "shop", "password": "of the file"}, "api-keys/a": "new", "api-keys/b": "new"})
    result = older.run(*options, check=False)
    text = result.stderr.decode()
    assert result.returncode == 73 and "nothing was imported: " in text
    assert ("its target" in text and "`keyturn rotate database/shop --file -`" in text) == bool(options)
    assert "of the file" not in text and not server.exists()
    assert home.get("database/shop#password") == b"known" and home.get("api-keys/a") == b"old" and home.list("api-keys/*") == ["api-keys/a"]

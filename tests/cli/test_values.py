# SPDX-License-Identifier: BSD-2-Clause
"""Values: every byte comes back, limits, where they come from and where they never show."""
import base64
import json
import os

import pytest

LIMIT = 65536


@pytest.mark.parametrize("value", [b"x", b"\0", b"a\0b", bytes(range(256)), b"\xff\xfe", b"line\n", b"\r\n\t ",
                                   "snö".encode(), b"%s%n", b"-----BEGIN X-----\nabc\n-----END X-----\n"])
def test_bytes_come_back(home, value):
    home.set("a", value)
    assert home.get("a") == value


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_up_to_64_kib(home, size):
    value = os.urandom(size)
    home.set("a", value)
    assert home.get("a") == value


def test_64_kib_and_one_byte(home, tmp_path):
    result = home.run("set", "a", input=b"x" * (LIMIT + 1), check=False)
    assert result.returncode == 65 and b"65536" in result.stderr
    (tmp_path / "f").write_bytes(b"x" * (LIMIT + 1))
    assert home.run("set", "a", "--file", tmp_path / "f", check=False).returncode == 65
    assert home.list() == []


def test_a_stream_without_end_is_not_read_to_it(home):
    with open("/dev/zero", "rb") as zero:
        result = home.run("set", "a", "--file", "/dev/zero", check=False, input=None, stdin=zero)
    assert result.returncode == 65


def test_empty_values_are_refused(home):
    assert home.run("set", "a", input=b"", check=False).returncode == 64
    assert home.list() == []


def test_newline_is_kept_and_warned_of(home):
    result = home.run("set", "a", input=b"secret\n")
    assert b"newline" in result.stderr
    assert home.get("a") == b"secret\n"
    assert home.run("--quiet", "set", "a", input=b"secret\n").stderr == b""
    for value in (b"secret", b'{"user": "u"}\n', b"-----BEGIN X-----\nabc\n-----END X-----\n"):
        assert b"newline" not in home.run("set", "a", "--force", input=value).stderr
        assert home.get("a") == value


def test_from_a_file(home, tmp_path):
    (tmp_path / "value").write_bytes(b"of a file")
    home.set("a", b"not this", "--file", tmp_path / "value")
    assert home.get("a") == b"of a file"
    assert home.run("set", "a", "--file", tmp_path / "none", check=False).returncode == 64
    assert home.run("set", "a", "--file", tmp_path, check=False).returncode == 64
    (tmp_path / "value").chmod(0)
    assert home.run("set", "a", "--file", tmp_path / "value", check=False).returncode == 77


@pytest.mark.parametrize("verb", [["set", "a"], ["rotate", "a"], ["set", "a", "--quiet"]])
def test_a_value_in_argv_is_refused_and_not_echoed(home, canary, verb):
    value = canary("argv")
    result = home.run(*verb, value, input=b"v", check=False)
    assert result.returncode == 64
    assert b"command line" in result.stderr
    assert value.encode() not in result.stderr + result.stdout
    assert home.list() == []


@pytest.mark.parametrize("argument", ["--value={}", "--password={}", "-p{}", "--file", "NAME={}"])
def test_other_slips_are_not_echoed_either(home, canary, argument):
    value = canary("slip")
    result = home.run("set", "a" if argument != "NAME={}" else "", argument.format(value), check=False)
    assert result.returncode == 64
    assert value.encode() not in result.stderr + result.stdout


def test_json_has_the_value_only_with_reveal(home, canary):
    value = canary("reveal")
    home.set("a", value)
    assert home.json("get", "a") == {"status": "success", "name": "a", "version": 1}
    assert home.json("get", "a", "--reveal") == {"status": "success", "name": "a", "version": 1, "value": value}


@pytest.mark.parametrize("value", [b"\xff", b"\xff\0", b"\xff\0b", b"\xff" * LIMIT], ids=["1", "2", "3", "limit"])
def test_json_of_bytes(home, value):
    home.set("a", value)
    answer = home.json("get", "a", "--reveal")
    assert "value" not in answer and base64.b64decode(answer["value_base64"]) == value


def test_json_of_a_full_text(home):
    value = '"\\\n\x01ä' * (LIMIT // 6)
    home.set("a", value)
    assert home.json("get", "a", "--reveal")["value"] == value


def test_others_never_show_a_value(home, canary):
    value = canary("others").encode()
    home.set("database/primary", b'{"user": "u", "password": "%s"}' % value, "--meta", "k=v")
    home.set("a", value)
    home.rotate("a")
    home.run("get", "a#field", check=False)
    home.run("set", "a", "--cas", "7", input=value, check=False)
    shown = b"".join(home.run(*flags, *verb, check=False).stdout + home.run(*flags, *verb, check=False).stderr
                     for flags in ([], ["--json"])
                     for verb in (["list"], ["info", "a"], ["versions", "a"], ["info", "database/primary"],
                                  ["audit", "tail"], ["check"], ["get", "database/primary#nope"],
                                  ["rotate", "database/primary"], ["get", "a@77"], ["rollback", "a", "9"]))
    assert value not in shown
    for path in home.dir.rglob("*"):
        if path.is_file():
            assert value not in path.read_bytes(), path


# masks (requirements 70 to 72)

@pytest.mark.parametrize("value, mask", [(b"12345678", b"********"), (b"123456789", b"1234*6789"), (b"x", b"*"),
                                         ("gr\u00fc\u00dfe-an-alle".encode(), "gr\u00fc\u00df*****alle".encode())])
def test_mask(home, value, mask):
    home.set("a", value)
    assert home.run("get", "--mask", "partial", "a").stdout == mask + b"\n"
    assert home.run("get", "--mask", "full", "a").stdout == b"[MASKED]\n"
    answer = json.loads(home.run("--json", "get", "--mask", "partial", "a").stdout)
    assert answer["masked"] == mask.decode() and answer["version"] == 1 and "value" not in answer
    assert home.get("a") == value


def test_masks_that_are_none(home):
    home.set("a", b"v")
    for options in (["--mask", "none"], ["--mask", "partial", "--reveal"], ["--mask", ""]):
        result = home.run("get", *options, "a", check=False)
        assert result.returncode == 64 and result.stdout == b"", options
    assert home.run("get", "--mask", "full", "b", check=False).returncode == 66

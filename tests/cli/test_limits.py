# SPDX-License-Identifier: BSD-2-Clause
"""The edges: metadata at its limits, kept versions, compare-and-set, and a secret's way to its end and back."""
import pytest

KEYS = [f"k{i:02}".ljust(128, "x") for i in range(64)]
VALUES = ["\u00e4" * 256 if i % 2 else "v" * 512 for i in range(64)]  # 512 bytes each


def metas(keys, values):
    return [word for key, value in zip(keys, values) for word in ("--meta", f"{key}={value}")]


def refused(home, status, *args, text=b""):
    result = home.run(*args, input=b"never", check=False)
    assert result.returncode == status and text in result.stderr, result


# metadata

def test_as_much_as_there_may_be(home):
    home.set("a", b"v", *metas(KEYS, VALUES))
    assert home.info("a")["metadata"] == {**dict(zip(KEYS, VALUES)), "origin": "issued"}
    assert home.set("a", b"w") == 2, "it is not in the way of the next version"
    assert home.info("a")["metadata"] == {**dict(zip(KEYS, VALUES)), "origin": "issued"}
    for version in range(3, 13):
        home.set("a", b"%d" % version)
    assert home.run("verify").returncode == 0


@pytest.mark.parametrize("more, status", [
    (["--meta", "more=v"], 65),
    (["--meta", "k" * 129 + "=v"], 64),
    (["--meta", KEYS[0] + "=" + "v" * 513], 65),
    (["--meta", KEYS[0] + "=" + "\u00e4" * 257], 65),
    (metas([f"more{i}" for i in range(15)], ["v"] * 15), 65),
    (metas([f"more{i}" for i in range(90)], ["v"] * 90), 64),
])
def test_and_not_a_byte_more(home, more, status):
    """Refused whole: no version, and nothing of what would have fitted."""
    home.set("a", b"v", *metas(KEYS, VALUES))
    refused(home, status, "set", "a", "--meta", f"{KEYS[1]}=changed", *more)
    assert home.info("a")["metadata"] == {**dict(zip(KEYS, VALUES)), "origin": "issued"}
    assert home.get("a") == b"v" and home.info("a")["version"] == 1
    refused(home, status, "set", "new", *metas(KEYS, VALUES), *more)
    assert home.run("get", "new", check=False).returncode == 66


def test_one_goes_and_another_comes(home):
    home.set("a", b"v", *metas(KEYS, VALUES))
    home.set("a", b"w", "--meta", f"{KEYS[7]}=", "--meta", "more=v", "--meta", f"{KEYS[8]}=changed")
    wanted = dict(zip(KEYS, VALUES), more="v")
    del wanted[KEYS[7]]
    wanted[KEYS[8]] = "changed"
    assert home.info("a")["metadata"] == {**wanted, "origin": "issued"}
    home.set("a", b"x", "--meta", "nothing=")
    assert home.info("a")["metadata"] == {**wanted, "origin": "issued"}


def test_it_survives_everything_but_the_end(home, tmp_path):
    home.set("a", b"v", "--meta", "owner=payments")
    home.rotate("a")
    home.rollback("a")
    home.delete("a")
    home.undelete("a")
    home.run("backup", tmp_path / "backup")
    home.run("restore", "--going-back", tmp_path / "backup")
    assert home.info("a")["metadata"] == {"owner": "payments", "origin": "issued"}


# keep_versions

@pytest.mark.parametrize("keep", [2, 3, 100])
def test_kept_versions(home, keep):
    home.replace("keep_versions: 10", f"keep_versions: {keep}")
    last = min(keep, 12) + 3
    for version in range(1, last + 1):
        assert home.set("a", b"value %d" % version) == version
    kept = [entry["version"] for entry in home.versions("a")]
    assert kept == list(range(last, max(last - keep, 0), -1))
    for version in range(1, last + 1):
        result = home.run("get", f"a@{version}", check=False)
        assert (result.returncode, result.stdout) == ((0, b"value %d" % version) if version in kept else (66, b""))
    assert home.run("verify").returncode == 0


def test_current_and_previous_are_kept_however_old(home):
    home.replace("keep_versions: 10", "keep_versions: 2")
    home.set("a", b"1")
    home.set("a", b"2")
    home.rollback("a")
    assert home.get("a") == b"1" and home.get("a@previous") == b"2"
    assert home.set("a", b"3") == 3, "a number is not given twice"
    assert home.get("a@previous") == b"1"
    assert [entry["version"] for entry in home.versions("a")] == [3, 1]


# compare-and-set

def test_compare_and_set(home):
    refused(home, 73, "set", "a", "--cas", "1", text=b"its current version is 0")
    assert home.run("set", "a", "--cas", "0", input=b"one").stdout == b"1\n"
    for seen in "0", "2", "999999999999999999":
        refused(home, 73, "set", "a", "--cas", seen, text=b"its current version is 1")
    refused(home, 64, "set", "a", "--cas", "9999999999999999999")
    home.set("a", b"two")
    home.rollback("a")
    refused(home, 73, "set", "a", "--cas", "2", text=b"its current version is 1")
    assert home.run("set", "a", "--cas", "1", input=b"three").stdout == b"3\n"
    home.delete("a")
    refused(home, 73, "set", "a", "--cas", "3", text=b"its current version is 0")
    assert home.run("set", "a", "--cas", "0", input=b"four").stdout == b"4\n"
    home.destroy("a")
    refused(home, 73, "set", "a", "--cas", "4")
    assert home.run("set", "a", "--cas", "0", input=b"five").stdout == b"5\n"
    assert home.get("a") == b"five"


# expiry, deletion, destruction

def test_an_expired_secret(home, wait_for):
    home.set("a", b"one")
    home.set("a", b"two", "--expires", "1s")
    wait_for(lambda: home.run("get", "a", check=False).returncode == 66, 20)
    for reference in "a@1", "a@2", "a@previous":
        refused(home, 66, "get", reference, text=b"expired")
    assert home.info("a")["state"] == "expired" and [s["state"] for s in home.json("list")["secrets"]] == ["expired"]
    assert len(home.versions("a")) == 2, "its versions are kept"
    home.undelete("a")  # it is not deleted, so this is done already
    refused(home, 66, "get", "a", text=b"expired")
    refused(home, 66, "rotate", "a", "--generate", text=b"has expired, and a rotation would not change that")
    home.set("a", b"three")
    assert home.get("a") == b"three" and home.info("a")["expires"] is None, "a write without --expires ends the end"


def test_deleted_twice_and_back(home):
    home.set("a", b"one")
    home.set("a", b"two")
    home.delete("a")
    home.delete("a")  # done already
    for reference in "a", "a@1", "a@previous":
        refused(home, 66, "get", reference, text=b"deleted")
    refused(home, 66, "rollback", "a")
    home.undelete("a")
    home.undelete("a")
    assert home.get("a") == b"two" and home.get("a@previous") == b"one"
    for verb in ["delete"], ["undelete"], ["rollback"], ["info"], ["versions"]:
        refused(home, 66, *verb, "none")
    refused(home, 66, "destroy", "none", "1")


def test_destroyed_for_good(home):
    for text in (b"one", b"two", b"three"):
        home.set("a", text)
    home.destroy("a", 2)
    refused(home, 66, "get", "a@2", text=b"destroyed")
    refused(home, 66, "rollback", "a", "2")
    home.destroy("a", 2)
    refused(home, 73, "destroy", "a", "3", text=b"version 3 is the current one")
    assert home.get("a") == b"three" and home.rollback("a", 1) == 1
    refused(home, 73, "destroy", "a", "1", text=b"make another one current first")
    assert home.rollback("a", 3) == 3
    home.destroy("a", 1)
    refused(home, 66, "get", "a@1", text=b"destroyed")
    assert home.get("a") == b"three"
    refused(home, 66, "destroy", "a", "9")
    home.destroy("a")
    refused(home, 66, "undelete", "a", text=b"destroyed")
    assert {entry["state"] for entry in home.versions("a")} == {"destroyed"}
    assert home.run("verify").returncode == 0
    assert home.set("a", b"four") == 4 and home.get("a") == b"four"

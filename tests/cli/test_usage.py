# SPDX-License-Identifier: BSD-2-Clause
"""How often secrets were read, when last and by whom."""
import datetime
import getpass
import json


def usage(home, name):
    return {secret["name"]: secret for secret in home.json("list", "--usage")["secrets"]}[name]


def test_info_tells_it(home, canary):
    home.set("api-keys/a", canary("usage"))
    info = home.info("api-keys/a")
    assert (info["accessed"], info["last_accessed"], info["last_subject"], info["last_stream"]) == (0, None, None, None)
    assert b"accessed  0\n" in home.run("info", "api-keys/a").stdout
    for _ in range(3):
        home.get("api-keys/a")
    info = home.info("api-keys/a")
    assert info["accessed"] == 3 and info["last_subject"] == "uid:" + getpass.getuser() and info["last_stream"] == "cli-" + getpass.getuser()
    last = datetime.datetime.fromisoformat(info["last_accessed"].replace("Z", "+00:00"))
    assert abs(datetime.datetime.now(datetime.timezone.utc) - last) < datetime.timedelta(minutes=1)
    text = home.run("info", "api-keys/a").stdout.decode()
    assert "accessed  3\n" in text and f"by        cli-{getpass.getuser()} (uid:{getpass.getuser()})\n" in text


def test_the_stream_is_named_whatever_it_says(home):
    """F10: who read it is what the reader says; the stream's folder belongs to a user, and that is what counts."""
    home.set("api-keys/a", "x")
    home.get("api-keys/a")
    own = f"uid:{getpass.getuser()}"
    [table] = home.audit.glob("*/access")
    data = table.read_bytes()
    assert data.count(own.encode() + b"\0") == 1
    with open(table, "r+b") as file:  # as a process of the stream can
        file.seek(data.index(own.encode() + b"\0"))
        file.write(b"uid:root\0".ljust(len(own) + 1, b"\0"))
    info = home.info("api-keys/a")
    assert (info["last_subject"], info["last_stream"]) == ("uid:root", table.parent.name)
    assert f"by        {table.parent.name} (uid:root)\n" in home.run("info", "api-keys/a").stdout.decode()
    assert usage(home, "api-keys/a")["last_stream"] == table.parent.name
    assert f"{table.parent.name} (uid:root)\n" in home.run("list", "--usage").stdout.decode()


def test_list_names_the_unused(home):
    for name in ("api-keys/never", "api-keys/some", "api-keys/much"):
        home.set(name, "x")
    home.get("api-keys/some")
    home.run("run", *[word for i in range(60) for word in ("--map", f"V{i}=api-keys/much")], "--", "true")
    assert usage(home, "api-keys/never")["usage"] == "unused"
    assert usage(home, "api-keys/some")["usage"] == "normal"
    assert usage(home, "api-keys/much")["accessed"] == 60
    for _ in range(16):
        home.run("run", *[word for i in range(60) for word in ("--map", f"V{i}=api-keys/much")], "--", "true")
    much = usage(home, "api-keys/much")
    assert (much["accessed"], much["usage"]) == (1020, "high")
    table = home.run("list", "--usage").stdout.decode().splitlines()
    assert table[0].split() == ["NAME", "VERSION", "STATE", "ACCESSED", "USAGE", "LAST", "ACCESSED", "BY"]
    assert next(line for line in table if "never" in line).split()[3:] == ["0", "unused", "-", "-"]
    assert "ACCESSED" not in home.run("list").stdout.decode()
    assert "accessed" not in home.json("list")["secrets"][0]


def test_counts_that_may_not_be_read(home):
    """Then no secret is called unused, and the output says why."""
    home.set("api-keys/a", "x")
    home.set("api-keys/b", "x")
    home.get("api-keys/b")
    hidden = home.audit / "nginx"
    hidden.chmod(0)
    try:
        answer = home.run("--json", "list", "--usage")
        words = {secret["name"]: secret["usage"] for secret in json.loads(answer.stdout)["secrets"]}
        assert words == {"api-keys/a": "unknown", "api-keys/b": "normal"}
        assert b"this user may not read the counts of 1 audit stream" in answer.stderr
        assert b"accessed  0 and the counts of 1 audit stream that" in home.run("info", "api-keys/a").stdout
        assert home.info("api-keys/a")["hidden_streams"] == 1
    finally:
        hidden.chmod(0o700)


def test_a_removed_table_begins_again(home):
    home.set("api-keys/a", "x")
    home.get("api-keys/a")
    tables = list(home.audit.glob("*/access"))
    assert len(tables) == 1 and tables[0].stat().st_mode & 0o777 == 0o640
    assert tables[0].stat().st_blocks * 512 < 1 << 20, "14 MB, mostly holes"
    tables[0].unlink()
    assert home.info("api-keys/a")["accessed"] == 0
    home.get("api-keys/a")
    assert home.info("api-keys/a")["accessed"] == 1
    home.run("audit", "verify")

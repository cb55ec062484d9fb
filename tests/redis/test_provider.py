# SPDX-License-Identifier: BSD-2-Clause
"""The command through the provider `redis`: the same secrets as the server's own commands, opened here."""
import json
import threading

import pytest

from lib.home import Failed

NAME = "api-keys/stripe"


def route(home, server, **options):
    """Names of api-keys and tls are kept in that server."""
    more = "".join(f", {key}: {json.dumps(value)}" for key, value in options.items())
    home.add("providers", 'redis: {address: "unix:%s"%s}' % (server.socket, more))
    for kind in ("api-keys", "tls", "database"):
        home.add("switch", f'"{kind}/*": redis')
    return home


@pytest.fixture
def sealed(sealed_redis, home):
    """(home, server): the server has no key."""
    server = sealed_redis()
    return route(home, server), server


def test_values(sealed, canary):
    home, server = sealed
    first, second = canary("first").encode(), bytes(range(256))
    assert home.set(NAME, first) == 1
    assert home.get(NAME) == first
    assert home.set(NAME, second) == 2
    assert home.get(NAME) == second
    assert home.get(f"{NAME}@1") == home.get(f"{NAME}@previous") == first
    assert home.set("tls/big", b"x" * 65536) == 1
    assert home.get("tls/big") == b"x" * 65536
    assert server.client().type(NAME) == b"keyturn-1"


def test_history(sealed, canary):
    home, _ = sealed
    for i in range(3):
        home.set(NAME, canary(f"v{i}"))
    assert home.rollback(NAME) == 2
    assert home.rollback(NAME, 1) == 1
    assert home.rotate(NAME) == 4
    assert len(home.get(NAME)) == 32
    assert [v["version"] for v in home.versions(NAME)] == [4, 3, 2, 1]
    home.destroy(NAME, 2)
    home.delete(NAME)
    with pytest.raises(Failed) as gone:
        home.get(NAME)
    assert gone.value.status == 66
    home.undelete(NAME)
    assert len(home.get(NAME)) == 32


def test_many_versions_are_pruned(sealed, canary):
    """keep_versions counts here as elsewhere, so that a bundle does not grow for ever."""
    home, server = sealed
    for i in range(25):
        home.set(NAME, f"value-{i}")
    assert home.get(NAME) == b"value-24"
    assert len(home.versions(NAME)) <= 12
    assert len(server.client().execute_command("SECRET.GETSEALED", NAME)) < 5000


def test_list(sealed):
    home, server = sealed
    names = [f"api-keys/n{i:02}" for i in range(30)] + ["tls/www"]
    for name in names:
        home.set(name, "v")
    server.client().set("something", "else")
    assert sorted(home.list()) == sorted(names)
    assert home.list("tls/*") == ["tls/www"]


def test_list_without_what_was_moved(sealed):
    """A RENAME takes one name from the list, not the list."""
    home, server = sealed
    for name in ("api-keys/a", "api-keys/b", "api-keys/c"):
        home.set(name, "v")
    server.client().rename("api-keys/b", "api-keys/moved")
    server.client().rename("api-keys/c", "no name of ours")
    assert home.list() == ["api-keys/a"]


def test_absent(sealed):
    home, _ = sealed
    for words in (["get", NAME], ["info", NAME], ["meta", NAME, "k=v"], ["rotate", NAME], ["rollback", NAME], ["delete", NAME]):
        assert home.run(*words, check=False).returncode == 66, words


def test_expiry(sealed, wait_for):
    home, _ = sealed
    home.set(NAME, "v", "--expires", "1s")
    wait_for(lambda: home.run("get", NAME, check=False).returncode == 66, timeout=5, interval=0.2)


def test_database_shape_is_not_rotated_without_its_database(sealed):
    home, _ = sealed
    home.set("database/primary", {"host": "h", "port": 1, "name": "n", "user": "u", "password": "old"})
    assert home.run("rotate", "database/primary", check=False).returncode == 73
    assert home.rotate("database/primary", "--store-only") == 2
    assert home.get("database/primary#password") != b"old"


def test_the_servers_commands_and_ours_are_one(open_redis, home, canary):
    server = open_redis()
    route(home, server)
    db = server.client()
    mine, theirs = canary("mine").encode(), canary("theirs").encode()
    assert home.set(NAME, mine) == 1
    assert db.execute_command("SECRET.GET", NAME) == mine
    assert db.execute_command("SECRET.SET", NAME, theirs, "META", "team", "pay") == 2
    assert home.get(NAME) == theirs
    assert home.info(NAME)["version"] == 2
    assert home.rollback(NAME) == 1
    assert db.execute_command("SECRET.GET", NAME) == mine
    assert db.execute_command("SECRET.ROTATE", NAME, "GENERATE") == 3
    assert home.get(NAME) == db.execute_command("SECRET.GET", NAME)
    home.delete(NAME)
    assert db.execute_command("SECRET.GET", NAME) is None
    assert db.execute_command("SECRET.UNDELETE", NAME) == b"OK"
    assert home.get(f"{NAME}@1") == mine


def test_replica_without_key(open_redis, home, make_redis, wait_for, canary):
    """The master sets, a replica that holds no key serves, the command with the key opens."""
    master = open_redis("appendonly no", "repl-diskless-sync-delay 0")
    replica = make_redis(None).start(f"replicaof 127.0.0.1 {master.port}", "appendonly no")
    wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up")
    route(home, replica)
    value = canary("replica").encode()
    master.client().execute_command("SECRET.SET", NAME, value)
    wait_for(lambda: home.get(NAME) == value)
    written = home.run("set", NAME, input=b"x", check=False)
    assert written.returncode == 69 and b"replica" in written.stderr


def test_two_writers(sealed):
    """Each write is whole, and none is lost unnoticed."""
    home, _ = sealed
    home.set(NAME, "start")
    done = []

    def write(tag):
        for i in range(10):
            result = home.run("--quiet", "set", NAME, input=f"{tag}-{i}".encode(), check=False)
            assert result.returncode in (0, 73), result.stderr
            if result.returncode == 0:
                done.append(int(result.stdout))

    threads = [threading.Thread(target=write, args=(tag,)) for tag in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(done)) == len(done)
    assert home.info(NAME)["version"] == max(done) == len(done) + 1


def test_compare_and_set(sealed):
    home, _ = sealed
    home.set(NAME, "one")
    home.set(NAME, "two", "--cas", 1)
    assert home.run("set", NAME, "--cas", 1, input=b"three", check=False).returncode == 73
    assert home.get(NAME) == b"two"


def test_a_wrong_key_is_distinguished_from_a_broken_value(sealed, make_home, canary):
    home, server = sealed
    home.set(NAME, canary("here"))
    other = route(make_home("staging"), server)
    result = other.run("get", NAME, check=False)
    assert result.returncode == 77, result.stderr
    result = other.run("set", NAME, input=b"mine", check=False)
    assert result.returncode == 77, "and nothing is overwritten"
    assert other.list() == []


def test_broken_value(sealed):
    home, server = sealed
    home.set(NAME, "v")
    db = server.client()
    bundle = bytearray(db.execute_command("SECRET.GETSEALED", NAME))
    bundle[-1] ^= 1
    db.execute_command("SECRET.RESTORE", NAME, bytes(bundle))
    assert home.run("get", NAME, check=False).returncode == 65
    db.rename(NAME, "api-keys/other")
    assert home.run("get", "api-keys/other", check=False).returncode == 65


def test_server_down(sealed):
    home, server = sealed
    home.set(NAME, "v")
    server.stop()
    result = home.run("get", NAME, check=False)
    assert result.returncode == 69 and b"cannot connect" in result.stderr
    assert home.run("check", check=False).returncode == 69


def test_check(sealed):
    home, server = sealed
    assert home.run("check").returncode == 0


def test_credentials_are_never_shown(sealed_redis, home, tmp_path, canary):
    server = sealed_redis()
    password = canary("password")
    db = server.client()
    db.execute_command("ACL", "SETUSER", "keyturn", "on", ">right", "~*", "+@all", "&*")
    (tmp_path / "pw").write_text("right\n")
    route(home, server, username="keyturn", password=f"file:{tmp_path}/pw")
    (tmp_path / "pw").chmod(0o600)
    home.set(NAME, "v")
    (tmp_path / "pw").write_text(password)
    result = home.run("get", NAME, check=False)
    (tmp_path / "pw").unlink()
    assert result.returncode == 69
    assert password.encode() not in result.stderr + result.stdout
    assert all(password not in json.dumps(record) for record in home.records())


def test_server_that_is_sealed_by_policy(open_redis, home):
    """The server's own policy and trail hold for what travels sealed, too."""
    server = open_redis()
    db = server.client()
    db.execute_command("ACL", "SETUSER", "weak", "on", ">x", "~*", "+@all", "&*")
    home.deny("redis:weak", ["write"], ["*"])
    server.restart()
    server.client().execute_command("ACL", "SETUSER", "weak", "on", ">x", "~*", "+@all", "&*")
    pw = home.dir / "pw"
    pw.write_text("x")
    pw.chmod(0o600)
    route(home, server, username="weak", password=f"file:{pw}")
    result = home.run("set", NAME, input=b"v", check=False)
    assert result.returncode == 77 and b"policy" in result.stderr
    denied = [record for record in home.records("redis") if record["status"] == "denied"]
    assert denied[-1]["subject"] == "redis:weak" and denied[-1]["reference"] == NAME


def test_what_reads_leaves_a_record_on_both_sides(open_redis, home):
    server = open_redis()
    route(home, server)
    home.set(NAME, "v")
    home.get(NAME)
    here = [record for record in home.records() if record["stream"].startswith("cli")]
    there = home.records("redis")
    assert here[-1]["action"] == "read" and here[-1]["provider"] == "redis"
    assert there[-1]["action"].startswith("read") and there[-1]["subject"] == "redis:default"

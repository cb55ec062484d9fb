# SPDX-License-Identifier: BSD-2-Clause
"""A server without a key keeps and serves what clients sealed, and refuses a write by a client that has not seen the current state."""
import threading
import time

import pytest

NAME = "api-keys/stripe"


@pytest.fixture
def db(sealed_redis):
    return sealed_redis().client()


def test_needs_no_key(db, bundles, refused):
    bundle = bundles.make()
    assert db.execute_command("SECRET.SETSEALED", NAME, bundle) == 1
    assert db.execute_command("SECRET.GETSEALED", NAME) == bundle
    assert db.execute_command("SECRET.LIST") == [b"0", [NAME.encode()]]
    for words in (["GET"], ["SET", "v"], ["ROTATE"], ["ROLLBACK"], ["INFO"], ["VERSIONS"], ["DEL"], ["UNDELETE"],
                  ["DESTROY", "VERSION", "1"], ["META"], ["META", "SET", "k", "v"]):
        refused("SECRETSEALED", db, f"SECRET.{words[0]}", NAME, *words[1:])
    assert db.execute_command("SECRET.GETSEALED", NAME) == bundle


def test_compare_and_set(db, bundles, refused):
    assert db.execute_command("SECRET.SETSEALED", NAME, bundles.make(1)) == 1
    refused("SECRETVERSION", db, "SECRET.SETSEALED", NAME, bundles.make(1))
    refused("SECRETVERSION", db, "SECRET.SETSEALED", NAME, bundles.make(3))
    refused("SECRETVERSION", db, "SECRET.SETSEALED", NAME, bundles.make(2, secret=b"T" * 16))
    assert db.execute_command("SECRET.SETSEALED", NAME, bundles.make(2, versions=(2, 1))) == 2
    refused("SECRETVERSION", db, "SECRET.SETSEALED", NAME, bundles.make(2))
    refused("SECRETVERSION", db, "SECRET.SETSEALED", "api-keys/new", bundles.make(2))
    assert db.exists("api-keys/new") == 0


def test_two_clients_at_once(sealed_redis, bundles):
    """Of many clients that saw the same state, one wins."""
    import redis
    server = sealed_redis()
    server.client().execute_command("SECRET.SETSEALED", NAME, bundles.make(1))
    wins, losses, barrier = [], [], threading.Barrier(4)

    def write(number):
        db = server.client()
        barrier.wait()
        for counter in range(2, 52):
            try:
                wins.append(db.execute_command("SECRET.SETSEALED", NAME, bundles.make(counter)))
            except redis.exceptions.ResponseError as error:
                losses.append(str(error).split()[0])

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == len(set(wins)) and set(losses) <= {"SECRETVERSION"}
    assert len(wins) + len(losses) == 200


def test_expiry(db, bundles, refused, wait_for):
    at = int(time.time() * 1000) + 400
    db.execute_command("SECRET.SETSEALED", NAME, bundles.make(1), "PXAT", at)
    assert db.execute_command("PEXPIRETIME", NAME) == at
    refused("ERR", db, "SECRET.SETSEALED", NAME, bundles.make(2), "PXAT", 0)
    refused("ERR", db, "SECRET.SETSEALED", NAME, bundles.make(2), "EX", 10)
    wait_for(lambda: db.execute_command("SECRET.GETSEALED", NAME) is None, timeout=3)
    db.execute_command("SECRET.SETSEALED", NAME, bundles.make(1), "PXAT", at + 100000)
    db.execute_command("SECRET.SETSEALED", NAME, bundles.make(2))
    assert db.ttl(NAME) == -1


def test_restore(db, bundles, refused):
    """Whatever is there; the name it belongs to is kept beside it."""
    db.execute_command("SECRET.SETSEALED", NAME, bundles.make(1))
    other = bundles.make(9, secret=b"T" * 16)
    assert db.execute_command("SECRET.RESTORE", NAME, other) == b"OK"
    assert db.execute_command("SECRET.GETSEALED", NAME) == other
    assert db.execute_command("SECRET.RESTORE", "some key", other, "NAME", NAME) == b"OK"
    refused("ERR", db, "SECRET.RESTORE", "some key", other)
    refused("ERR", db, "SECRET.RESTORE", NAME, other, "NAME", "bad name")
    refused("SECRETCORRUPT", db, "SECRET.RESTORE", NAME, other[:-1])
    db.rename("some key", "api-keys/other")
    refused("SECRETMOVED", db, "SECRET.GETSEALED", "api-keys/other")


def test_restart(sealed_redis, bundles):
    for lines in (["appendonly yes"], ["appendonly no", "save 3600 1"], ["appendonly yes", "aof-use-rdb-preamble no"]):
        server = sealed_redis(*lines)
        bundle = bundles.make(1, versions=(1,))
        server.client().execute_command("SECRET.SETSEALED", NAME, bundle)
        server.client().execute_command("DEBUG", "RELOAD")
        server.restart()
        assert server.client().execute_command("SECRET.GETSEALED", NAME) == bundle
        server.stop()


def test_bad_configuration_stops_the_server(kt, make_redis, tmp_path):
    """With file and reason in the log."""
    cases = {"config /nonexistent/keyturn.yaml": "/nonexistent/keyturn.yaml", "config": "the only argument is: config PATH",
             "key x": "the only argument is: config PATH", "config a b": "the only argument is: config PATH"}
    broken = tmp_path / "keyturn.yaml"
    broken.write_text("environment: production\nkey: file:/nonexistent\nkyes: 1\n")
    cases[f"config {broken}"] = f"{broken}:3"
    for arguments, text in cases.items():
        server = make_redis()
        with pytest.raises(RuntimeError):
            server.start(f"loadmodule {kt.redis_module} {arguments}", module=False)
        assert text in server.log(), server.log()

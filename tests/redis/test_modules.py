# SPDX-License-Identifier: BSD-2-Clause
"""Calls of another module (caller.c), from which the server's own way to ask for the user's name crashes on 7.0 and 7.2."""
import os
import pathlib

import pytest
import redis as client_library

NAME = "api-keys/stripe"
CALLER = pathlib.Path(os.environ.get("KT_TEST_BIN", pathlib.Path(__file__).resolve().parents[2] / "build/tests")) / "redis/caller.so"


@pytest.fixture
def make(home, make_redis):
    """A server with both modules, on which the policy lets only `app` read and `ops` write."""
    home.grant("redis:app", ["read"], ["*"])
    home.grant("redis:ops", ["write"], ["*"])

    def start(*lines):
        server = make_redis(home).start(f"loadmodule {CALLER}", *(lines or ["appendonly no"]))
        admin = server.client()
        clients = {"default": admin}
        for name in ("app", "ops"):
            admin.execute_command("ACL", "SETUSER", name, "on", ">x", "+@all", "~*")
            clients[name] = server.client(username=name, password="x")
        clients["ops"].execute_command("SECRET.SET", NAME, "v1")
        return server, clients
    return start


EVERY_COMMAND = [["GET"], ["GETSEALED"], ["SET", "v"], ["SETSEALED", "x"], ["ROTATE"], ["ROLLBACK"], ["INFO"], ["VERSIONS"],
                 ["DEL"], ["UNDELETE"], ["DESTROY", "VERSION", "1"], ["META", "SET", "k", "v"], ["RESTORE", "x"]]


def test_without_a_user(make, home):
    """No crash; the policy does not know the subject."""
    server, clients = make()
    for words in EVERY_COMMAND:
        with pytest.raises(client_library.exceptions.ResponseError, match="SECRETDENIED"):
            clients["app"].execute_command("CALLER.ROOT", f"SECRET.{words[0]}", NAME, *words[1:])
    with pytest.raises(client_library.exceptions.ResponseError, match="SECRETDENIED"):
        clients["app"].execute_command("CALLER.ROOT", "SECRET.LIST")
    assert {r["subject"] for r in home.records("redis") if r["status"] == "denied"} == {"redis:(module)"}


def test_as_the_clients_user(make, home):
    _, clients = make()
    assert clients["app"].execute_command("CALLER.USER", "SECRET.GET", NAME) == b"v1"
    assert home.records("redis")[-1]["subject"] == "redis:app"
    with pytest.raises(client_library.exceptions.ResponseError, match="SECRETDENIED"):
        clients["ops"].execute_command("CALLER.USER", "SECRET.GET", NAME)


def test_through_a_script(make, home):
    """A script that calls the module, and the module that calls a script: each loses the user on its way."""
    server, clients = make()
    script = "return redis.pcall('CALLER.ROOT', 'SECRET.GET', '%s')" % NAME
    with pytest.raises(client_library.exceptions.ResponseError, match="SECRETDENIED"):
        clients["app"].eval(script, 0)
    script = "return redis.pcall('SECRET.GET', '%s')" % NAME
    with pytest.raises(client_library.exceptions.ResponseError, match="SECRETDENIED"):
        clients["app"].execute_command("CALLER.ROOT", "EVAL", script, "0")
    assert clients["app"].execute_command("CALLER.USER", "EVAL", script, "0") == b"v1"
    assert server.process.running()


def test_from_a_timer(make, wait_for):
    server, clients = make()
    clients["app"].execute_command("CALLER.LATER", "SECRET.GET", NAME)
    wait_for(lambda: clients["default"].llen("caller:replies") == 1)
    assert b"SECRETDENIED" in clients["default"].lpop("caller:replies")


def test_arguments_that_a_module_lends_stay_whole(make):
    """The value is wiped in a client's own arguments only: here they belong to another module."""
    _, clients = make()
    ops, app = clients["ops"], clients["app"]
    pipe = ops.pipeline()
    for _ in range(3):
        pipe.execute_command("CALLER.USER", "SECRET.SET", NAME, "lent-value")
    assert pipe.execute() == [2, 3, 4]
    script = "redis.call('SECRET.SET', KEYS[1], ARGV[1]); return redis.call('SECRET.SET', KEYS[1], ARGV[1])"
    ops.eval(script, 1, NAME, "twice-the-same")
    assert app.execute_command("SECRET.GET", NAME) == b"twice-the-same"
    assert app.execute_command("SECRET.GET", NAME, "VERSION", "previous") == b"twice-the-same"


def test_what_a_module_writes_is_replicated_sealed(make, make_redis, wait_for):
    server, clients = make("appendonly no", "repl-diskless-sync-delay 0")
    replica = make_redis(None).start(f"replicaof 127.0.0.1 {server.port}", "appendonly no", "repl-diskless-load swapdb",
                                     f"loadmodule {CALLER}").client()
    wait_for(lambda: replica.info("replication")["master_link_status"] == "up")
    clients["ops"].execute_command("CALLER.USER", "SECRET.SET", NAME, "by-module")
    sealed = clients["app"].execute_command("SECRET.GETSEALED", NAME)
    wait_for(lambda: replica.execute_command("SECRET.GETSEALED", NAME) == sealed)

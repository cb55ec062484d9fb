# SPDX-License-Identifier: BSD-2-Clause
"""Who may: the server's ACL first, then keyturn's policy, and each access in the trail."""
import os

import pytest
import redis as client_library

from lib.tools import wait_for

NAME = "api-keys/stripe"
READS = ["GET", "GETSEALED"]
ABOUT = ["INFO", "VERSIONS"]
WRITES = [["SET", "v"], ["ROTATE"], ["ROLLBACK"], ["DEL"], ["UNDELETE"], ["DESTROY", "VERSION", "1"], ["META", "SET", "k", "v"], ["SETSEALED", "x"],
          ["RESTORE", "x"]]


@pytest.fixture
def server(open_redis):
    server = open_redis()
    db = server.client()
    db.execute_command("SECRET.SET", NAME, "v1")
    db.execute_command("SECRET.SET", NAME, "v2")
    return server


@pytest.fixture
def user(server):
    """user(name, *rules): a client of a new ACL user."""
    def make(name, *rules):
        server.client().execute_command("ACL", "SETUSER", name, "on", ">secret-of-" + name, *rules)
        return server.client(username=name, password="secret-of-" + name)
    return make


def allowed(db, *command):
    """Does the ACL let it through? What the command answers then is another matter."""
    try:
        db.execute_command(*command)
    except client_library.exceptions.NoPermissionError:
        return False
    except client_library.exceptions.ResponseError:
        pass
    return True


def run(db, word, name=NAME):
    words = word if isinstance(word, list) else [word]
    return allowed(db, f"SECRET.{words[0]}", name, *words[1:])


@pytest.mark.parametrize("rule, reads, about, writes", [
    ("%R~api-keys/*", True, True, False),
    ("%W~api-keys/*", False, True, True),
    ("~api-keys/*", True, True, True),
    ("~tls/*", False, False, False),
], ids=["reader", "depositor", "both", "elsewhere"])
def test_key_rights(user, rule, reads, about, writes):
    db = user("someone", "+@all", rule)
    assert {word: run(db, word) for word in READS} == {word: reads for word in READS}
    assert {word: run(db, word) for word in ABOUT} == {word: about for word in ABOUT}
    assert {str(word): run(db, word) for word in WRITES} == {str(word): writes for word in WRITES}


def test_depositor(user, server, canary):
    """Writes what it can never read, and cannot read it through a transaction, a script or a dump either."""
    db = user("depot", "+secret.set", "+secret.info", "+multi", "+exec", "+eval", "+dump", "+copy", "+get", "%W~api-keys/*")
    value = canary("depot")
    assert db.execute_command("SECRET.SET", "api-keys/new", value) == 1
    pipe = db.pipeline()
    pipe.execute_command("SECRET.SET", "api-keys/new", value)
    assert pipe.execute() == [2]
    for words in (["SECRET.GET", "api-keys/new"], ["DUMP", "api-keys/new"], ["COPY", "api-keys/new", "api-keys/x"],
                  ["GET", "api-keys/new"], ["SECRET.SET", "tls/x", "v"]):
        assert not allowed(db, *words), words
    with pytest.raises(client_library.exceptions.ResponseError):
        db.eval("return redis.call('SECRET.GET', KEYS[1])", 1, "api-keys/new")
    assert server.client().execute_command("SECRET.GET", "api-keys/new") == value.encode()


def test_denials_are_in_acl_log_without_values(user, server, canary):
    db = user("reader", "+secret.set", "%R~api-keys/*")
    assert not allowed(db, "SECRET.SET", NAME, canary("denied"))
    log = repr(server.client().execute_command("ACL", "LOG")).encode()
    assert NAME.encode() in log
    assert os.environ["KEYTURN_CANARY"].encode() not in log


def test_internal_restore_needs_more(user, server, home, bundles, refused):
    """With the ACL's +secret.restore it is still keyturn's `admin`."""
    db = user("restorer", "+@all", "~*")
    home.deny("redis:restorer", ["admin"], ["*"])
    server.restart()
    admin = server.client()
    admin.execute_command("ACL", "SETUSER", "restorer", "on", ">secret-of-restorer", "+@all", "~*")
    db = server.client(username="restorer", password="secret-of-restorer")
    refused("SECRETDENIED", db, "SECRET.RESTORE", NAME, bundles.make())
    assert admin.execute_command("SECRET.RESTORE", NAME, bundles.make()) == b"OK"


# the policy

@pytest.fixture
def ruled(home, make_redis):
    """A server on which the policy lets `app` read api-keys, `ops` write and list, and other users nothing."""
    home.grant("redis:app", ["read"], ["api-keys/*"])
    home.grant("redis:ops", ["write", "rotate", "list", "delete"], ["*"])
    server = make_redis(home).start("appendonly no")
    admin = server.client()
    clients = {"default": admin}
    for name in ("app", "ops"):
        admin.execute_command("ACL", "SETUSER", name, "on", ">x", "+@all", "~*")
        clients[name] = server.client(username=name, password="x")
    clients["ops"].execute_command("SECRET.SET", NAME, "v1")
    clients["ops"].execute_command("SECRET.SET", "tls/www", "v1")
    return server, clients


def test_policy(ruled, refused, bundles):
    app, ops, default = (ruled[1][name] for name in ("app", "ops", "default"))
    assert app.execute_command("SECRET.GET", NAME) == b"v1"
    assert app.execute_command("SECRET.GETSEALED", NAME).startswith(b"KTB\1")
    refused("SECRETDENIED", app, "SECRET.GET", "tls/www")
    refused("SECRETDENIED", app, "SECRET.GET", "tls/absent")  # and does not learn what there is
    for word in WRITES:
        refused("SECRETDENIED", app, f"SECRET.{word[0]}", NAME, *word[1:])
    for word in ABOUT:
        refused("SECRETDENIED", app, f"SECRET.{word}", NAME)
    for word in READS:
        refused("SECRETDENIED", ops, f"SECRET.{word}", NAME)
    assert ops.execute_command("SECRET.ROTATE", NAME, "GENERATE") == 2
    assert ops.execute_command("SECRET.INFO", NAME)
    for word in READS + ABOUT + WRITES:
        words = word if isinstance(word, list) else [word]
        refused("SECRETDENIED", default, f"SECRET.{words[0]}", NAME, *words[1:])


def test_policy_holds_in_scripts_and_transactions(ruled):
    """The caller's, not the script's; MULTI's, not EXEC's."""
    default, app = ruled[1]["default"], ruled[1]["app"]
    script = "return redis.pcall('SECRET.GET', KEYS[1])"
    with pytest.raises(client_library.exceptions.ResponseError, match="SECRETDENIED"):
        default.eval(script, 1, NAME)
    assert app.eval(script, 1, NAME) == b"v1"
    pipe = default.pipeline()
    pipe.execute_command("SECRET.GET", NAME)
    with pytest.raises(client_library.exceptions.ResponseError, match="SECRETDENIED"):
        pipe.execute()


def test_list_shows_what_one_may_list(ruled, refused):
    assert sorted(ruled[1]["ops"].execute_command("SECRET.LIST", 0, "COUNT", 100)[1]) == [NAME.encode(), b"tls/www"]
    refused("SECRETDENIED", ruled[1]["app"], "SECRET.LIST", 0, "COUNT", 100)  # and not an empty list
    ruled[0].client().execute_command("ACL", "SETUSER", "ops", "resetkeys", "%W~tls/*")
    assert ruled[1]["ops"].execute_command("SECRET.LIST", 0, "COUNT", 100)[1] == [b"tls/www"]


# the trail

def test_a_list_is_one_record(ruled, home):
    """Names that are not shown do not count as attempts."""
    for options, told in (([], "*"), (["MATCH", "tls/*"], "tls/*"), (["MATCH", "tls/www"], "*"), (["MATCH", "[a-z]*?"], "*")):
        before = len(home.records("redis"))
        ruled[1]["ops"].execute_command("SECRET.LIST", 0, "COUNT", 100, *options)
        records = home.records("redis")[before:]
        assert [(r["action"], r["subject"], r["reference"], r["status"]) for r in records] == [
            ("list", "redis:ops", told, "success")]


def test_each_access_is_recorded(ruled, home, refused):
    app, ops = ruled[1]["app"], ruled[1]["ops"]
    before = len(home.records("redis"))
    app.execute_command("SECRET.GET", NAME)
    app.execute_command("SECRET.GET", "api-keys/absent")
    app.execute_command("SECRET.GETSEALED", NAME)
    refused("SECRETDENIED", app, "SECRET.SET", NAME, "v")
    ops.execute_command("SECRET.SET", NAME, "v")
    ops.execute_command("SECRET.ROTATE", NAME, "GENERATE")
    ops.execute_command("SECRET.ROLLBACK", NAME)
    ops.execute_command("SECRET.DEL", NAME)
    ops.execute_command("SECRET.UNDELETE", NAME)
    ops.execute_command("SECRET.INFO", NAME)
    records = home.records("redis")[before:]
    told = [(r["action"].split(".")[0], r["subject"], r["status"]) for r in records if r["status"] != "intent"]
    expected = [("read", "redis:app", "success"), ("read", "redis:app", "notfound"), ("read", "redis:app", "success"),
                ("write", "redis:app", "denied"), ("write", "redis:ops", "success"), ("rotate", "redis:ops", "success"),
                ("rollback", "redis:ops", "success"), ("delete", "redis:ops", "success"),
                ("undelete", "redis:ops", "success"), ("info", "redis:ops", "success")]
    assert [line for line in told if line[0] != "rotate"] == [line for line in expected if line[0] != "rotate"]
    assert ("rotate", "redis:ops", "success") in told
    assert all(r["peer"] == "unix" and r["request"].startswith("client-") and r["stream"] == "redis" for r in records)
    assert {r["reference"] for r in records} == {NAME, "api-keys/absent"}


def test_peer_is_the_clients_address(ruled, home):
    tcp = client_library.Redis(port=ruled[0].port, username="app", password="x")
    tcp.execute_command("SECRET.GET", NAME)
    assert home.records("redis")[-1]["peer"].startswith("127.0.0.1:")


def test_script_is_recorded_as_its_caller(ruled, home):
    ruled[1]["app"].eval("return redis.call('SECRET.GET', KEYS[1])", 1, NAME)
    record = home.records("redis")[-1]
    assert (record["subject"], record["status"]) == ("redis:app", "success")


def is_refused(client):
    try:
        client.execute_command("SECRET.GET", NAME)
    except client_library.ResponseError as error:
        return str(error).startswith("SECRETAUDIT ")
    return False


def test_what_cannot_be_recorded_is_refused(ruled, home, refused):
    """There is no log, and none can be made: as soon as that is noticed no value is served, none is stored."""
    app, ops = ruled[1]["app"], ruled[1]["ops"]
    log, aside = home.audit / "redis/log", home.audit / "aside"
    log.rename(aside)
    log.parent.chmod(0o500)
    wait_for(lambda: is_refused(app))
    refused("SECRETAUDIT", app, "SECRET.GET", NAME)
    refused("SECRETAUDIT", app, "SECRET.GETSEALED", NAME)
    refused("SECRETAUDIT", app, "SECRET.LIST")
    refused("SECRETAUDIT", ops, "SECRET.SET", NAME, "v2")
    log.parent.chmod(0o700)
    aside.rename(log)
    wait_for(lambda: not is_refused(app))
    assert app.execute_command("SECRET.GET", NAME) == b"v1"


def test_no_right_to_list_is_denied(open_redis, home, refused):
    """Never an empty list: not to a client, and not to the provider of another program."""
    server = open_redis()
    server.client().execute_command("SECRET.SET", "api-keys/a", "v")
    home.deny("redis:default", ["list"], ["*"])
    server.restart()
    db = server.client()
    db.execute_command("SECRET.SET", "api-keys/a", "v")
    for words in ((), ("0", "MATCH", "api-keys/*"), ("0", "MATCH", "api-keys/?")):
        assert "redis:default may not list" in refused("SECRETDENIED", db, "SECRET.LIST", *words)
    assert {line["status"] for line in home.records("redis") if line["action"] == "list"} == {"denied"}


def test_a_right_to_list_one_type(open_redis, home, refused):
    server = open_redis()
    home.deny("redis:default", ["list"], ["database/*"])
    server.restart()
    db = server.client()
    for name in ("api-keys/a", "database/a"):
        db.execute_command("SECRET.SET", name, "v")
    assert db.execute_command("SECRET.LIST", "0", "COUNT", "100")[1] == [b"api-keys/a"]
    refused("SECRETDENIED", db, "SECRET.LIST", "0", "MATCH", "database/*")

# SPDX-License-Identifier: BSD-2-Clause
"""No value is in what the server reports of itself. All of it is also written into the folder of the test, where tests/canary
searches it again."""
import os
import pathlib
import threading

import pytest
import redis as client_library

from lib.tools import memory_of

NAME = "api-keys/stripe"
CANARY = os.environ["KEYTURN_CANARY"].encode()
EVERYTHING_LOGGED = ["slowlog-log-slower-than 0", "slowlog-max-len 10000", "loglevel debug", "latency-tracking yes"]


class Monitor:
    """The bytes of MONITOR."""

    def __init__(self, server):
        self.connection = server.client().connection_pool.get_connection("MONITOR")
        self.connection.send_command("MONITOR")
        self.connection.read_response()
        self.lines = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while True:
                self.lines.append(self.connection.read_response())
        except Exception:  # noqa: BLE001 - the server has gone
            pass

    def text(self):
        return b"\n".join(line if isinstance(line, bytes) else str(line).encode() for line in self.lines)


@pytest.fixture
def watched(open_redis, wait_for):
    server = open_redis("appendonly yes", *EVERYTHING_LOGGED)
    for what in ("request", "reply"):
        try:
            server.client().config_set(f"commandlog-{what}-larger-than", 0)    # Valkey 8.1
        except client_library.exceptions.ResponseError:
            pass
    return server, Monitor(server)


def told(server, db):
    """What an operator, or an attacker with the rights of one, can ask for."""
    answers = [db.execute_command(*words) for words in (
        ["INFO", "everything"], ["ACL", "LOG"], ["CONFIG", "GET", "*"], ["MODULE", "LIST"], ["CLIENT", "LIST"],
        ["LATENCY", "LATEST"], ["MEMORY", "STATS"])]
    db.response_callbacks.pop("SLOWLOG GET", None)
    answers.append(db.execute_command("SLOWLOG", "GET", -1))
    if db.config_get("commandlog-*"):
        answers += [db.execute_command("COMMANDLOG", "GET", -1, kind) for kind in ("slow", "large-request", "large-reply")]
    return repr(answers).encode()


def every_way(db, canary, refused):
    """Each way that a value goes in or out, right and wrong."""
    def tried(*words):
        try:
            return db.execute_command(*words)
        except client_library.exceptions.ResponseError as error:
            assert CANARY not in str(error).encode()
            return None

    assert tried("SECRET.SET", NAME, canary("set"), "META", "team", "pay") == 1
    tried("SECRET.SET", NAME, canary("badoption"), "XX")
    tried("SECRET.SET", NAME, "unquoted", canary("words"))
    tried("SECRET.SET", NAME, canary("cas"), "CAS", 7)
    tried("SECRET.SET", "bad name", canary("badname"))
    tried("SECRET.SET", NAME, canary("expire"), "EX", "soon")
    tried("SECRET.SET", NAME, canary("long") + "x" * 70000)
    tried("SECRET.SET", NAME, canary("meta"), "META", "odd")
    tried("SECRET.ROTATE", NAME, "VALUE", canary("rotate"))
    tried("SECRET.ROTATE", NAME, canary("novalue"))
    tried("SECRET.ROTATE", NAME, "VALU", canary("typo"))
    tried("SECRET.ROTATE", NAME, "LENGTH", 16, canary("more"))
    tried("SECRET.ROTATE", "api-keys/absent", "VALUE", canary("absent"))
    assert CANARY in tried("SECRET.GET", NAME)
    tried("SECRET.GET", NAME, "VERSION", "previous")
    db.set("plain", "x")
    tried("SECRET.SET", "plain", canary("wrongtype"))
    tried("SECRET.SET", canary("arity"))
    pipe = db.pipeline()
    pipe.execute_command("SECRET.SET", NAME, canary("multi"))
    pipe.execute_command("SECRET.GET", NAME)
    pipe.execute()


def test_nothing_tells_a_value(watched, canary, refused, tmp_path, wait_for):
    server, monitor = watched
    db = server.client()
    every_way(db, canary, refused)
    db.set("the-end", "x")
    wait_for(lambda: b"the-end" in monitor.text())
    answers = told(server, db)
    (tmp_path / "monitor").write_bytes(monitor.text())
    (tmp_path / "answers").write_bytes(answers)
    assert b"SECRET.SET" in monitor.text() and b"(redacted)" in monitor.text()
    assert NAME.encode() in monitor.text(), "forensics: the name stays"
    assert b"(redacted)" in answers, "the slow log has the commands"
    for what in (monitor.text(), answers, server.log().encode(), db.dump(NAME)):
        assert CANARY not in what


@pytest.mark.parametrize("words", [["SECRET.SET", NAME], ["SECRET.ROTATE", NAME, "VALUE"]], ids=lambda words: words[0])
def test_what_is_hidden_is_what_is_stored(words, open_redis):
    """The server puts a text of its own in the argument's place, which may be one that it shares among all commands."""
    db = open_redis("slowlog-log-slower-than 0").client()
    db.response_callbacks.pop("SLOWLOG GET", None)
    db.execute_command("SECRET.SET", NAME, "first")
    for value in (b"one", b"two", b"three"):
        db.execute_command(*words, value)
        assert db.execute_command("SECRET.GET", NAME) == value
    db.execute_command("ACL", "SETUSER", "other", ">hidden-password")
    logged = [entry[3] for entry in db.execute_command("SLOWLOG", "GET", -1)]
    assert [line[-1] for line in logged if line[0] == words[0].encode()][:3] == [b"(redacted)"] * 3
    assert [line for line in logged if line[:3] == [b"ACL", b"SETUSER", b"(redacted)"]], "the server's own text is whole"


def test_denied_values(watched, canary, tmp_path):
    """Refused by the ACL, by the policy, out of memory, in a transaction that fails."""
    server, monitor = watched
    admin = server.client()
    admin.execute_command("ACL", "SETUSER", "weak", "on", ">x", "+@all", "-secret.rotate", "~tls/*")
    weak = server.client(username="weak", password="x")
    for words in (["SECRET.SET", NAME, canary("key")], ["SECRET.ROTATE", "tls/x", "VALUE", canary("command")]):
        with pytest.raises(client_library.exceptions.NoPermissionError):
            weak.execute_command(*words)
    admin.config_set("maxmemory", 1)
    with pytest.raises(client_library.exceptions.ResponseError, match="OOM|used memory"):
        admin.execute_command("SECRET.SET", NAME, canary("oom"))
    admin.config_set("maxmemory", 0)
    answers = told(server, admin)
    (tmp_path / "answers").write_bytes(answers + monitor.text())
    assert b"NOPERM" in answers or b"acl" in answers.lower()
    assert CANARY not in answers + monitor.text() + server.log().encode()


def test_script_line_is_the_exception(watched, wait_for):
    """Documented: what EVAL itself was given is logged. What the script calls is not."""
    server, monitor = watched
    db = server.client()
    db.eval("return redis.call('SECRET.SET', KEYS[1], ARGV[1])", 1, NAME, "given-to-eval")
    db.set("the-end", "x")
    wait_for(lambda: b"the-end" in monitor.text())
    lines = [line for line in monitor.text().splitlines() if b"given-to-eval" in line]
    assert len(lines) == 1 and b"EVAL" in lines[0]
    assert b"given-to-eval" not in b"".join(path.read_bytes() for path in server.dir.rglob("*.aof"))


def test_crash_report(open_redis, canary, tmp_path):
    """A crash after a command reports that command's arguments: they are wiped by then."""
    server = open_redis("appendonly yes", "crash-memcheck-enabled no")
    db = server.client()
    db.execute_command("SECRET.SET", NAME, canary("crash"))
    with pytest.raises(client_library.exceptions.ConnectionError):
        db.pipeline(transaction=True).execute_command("SECRET.SET", NAME, canary("crash2")).execute_command(
            "DEBUG", "SEGFAULT").execute()
    server.process.wait()
    assert "crashed by signal" in server.log()
    assert CANARY not in server.log().encode()


def test_sealed_server_never_has_a_value(home, sealed_redis, canary):
    """The provider writes and reads through it; the server's memory knows nothing."""
    server = sealed_redis()
    home.add("providers", 'redis: {address: "unix:%s"}' % server.socket)
    home.add("switch", '"api-keys/*": redis')
    value = canary("sealed").encode()
    home.set(NAME, value)
    assert home.get(NAME) == value
    assert server.client().execute_command("SECRET.GETSEALED", NAME)
    areas = list(memory_of(server.process.pid))
    assert any(b"KTRN" in area for area in areas), "its memory can be read"
    assert not any(CANARY in area for area in areas)


@pytest.mark.parametrize("words", [["SECRET.SET", NAME], ["SECRET.SET", "api-keys/list"], ["SECRET.ROTATE", "api-keys/list", "VALUE"],
                                   ["SECRET.SET", "no name"]], ids=["stored", "wrong type", "rotate", "no name"])
def test_argument_is_wiped(words, open_redis, canary):
    """An idle connection holds no value, once other commands have gone through its buffer; nor that of a refused command."""
    server = open_redis()
    db = server.client()
    db.lpush("api-keys/list", "x")
    value = canary("argument").encode()
    try:
        db.execute_command(*words, value)
    except client_library.exceptions.ResponseError:
        assert words[1] != NAME
    for _ in range(5):
        db.execute_command("ECHO", "x" * 2000)
    assert not any(value in area for area in memory_of(server.process.pid))


def test_arguments_of_the_program_and_its_configuration(open_redis, home):
    server = open_redis()
    process = pathlib.Path(f"/proc/{server.process.pid}")
    key = home.key.read_text()
    secrets = [line.split()[-1] for line in key.splitlines() if line.strip() and not line.startswith("#")]
    told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    told += repr(server.client().execute_command("MODULE", "LIST")).encode()
    told += repr(server.client().config_get("*")).encode()
    assert all(secret.encode() not in told for secret in secrets if len(secret) > 20)

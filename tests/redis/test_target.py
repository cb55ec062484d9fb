# SPDX-License-Identifier: BSD-2-Clause
"""The target `redis`: the password of an ACL user changes on a master, its replica and a Sentinel, whatever is killed."""
import contextlib
import hashlib
import json
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
import redis as client_library

from lib.advice import commands, follow
from lib.redis_node import ADMIN, ADMINS, NAME, OLD, RIGHTS, Node, digest
from lib.tools import Process, free_port

@pytest.fixture
def node(kt, tmp_path, sockets, servers):
    def make(*lines, **more):
        server = Node(kt, tmp_path / f"node{free_port()}", sockets)
        servers.callback(server.stop)
        return server.begin(*lines, **more)
    return make


@pytest.fixture
def target(home):
    """target(nodes, **options): redis/app is their password. Returns what changes the options afterwards."""
    base = home.read_config()

    def write(nodes, **options):
        redis = {"user": "app", "servers": [getattr(one, "address", one) for one in nodes], "admin": {"username": "rotator", "password": ADMIN}, **options}
        redis = {key: value for key, value in redis.items() if value is not None}
        home.write_config(base + "targets:\n  " + json.dumps({NAME: {"redis": redis}})[1:-1] + "\n")
    home.set(NAME, OLD)
    home.set(ADMIN, ADMINS)
    return write


def pending(home):
    return home.info(NAME)["pending"]


def passwords_are(nodes, *passwords):
    return all(one.hashes() == {digest(password) for password in passwords} for one in nodes)


# ---- a rotation ----

def test_both_are_valid_until_the_overlap_ends(home, node, target):
    nodes = [node(), node()]
    target(nodes, overlap="1h")
    assert home.rotate(NAME) == 2
    new = home.get(NAME).decode()
    assert new != OLD and len(new) == 32
    for one in nodes:
        assert one.lets_in(new) and one.lets_in(OLD) and one.hashes() == {digest(new), digest(OLD)}
    assert home.run("rotate", "--due").stdout == b""
    assert all(one.lets_in(OLD) for one in nodes)
    assert [(v["by"], v["target"]) for v in home.versions(NAME)] == [("rotation", "redis:app"), ("write", None)]


def test_the_old_one_goes_after_the_overlap(home, node, target, wait_for):
    nodes = [node(), node()]
    target(nodes, overlap="1s")
    home.rotate(NAME)
    new = home.get(NAME)
    assert all(one.lets_in(OLD) for one in nodes)

    def removed():
        return home.run("rotate", "--due").stdout
    assert wait_for(removed) == b"redis/app  the old password is removed\n"
    for one in nodes:
        assert one.hashes() == {digest(new)} and one.lets_in(new) and not one.lets_in(OLD)
        assert digest(OLD) not in one.conf and digest(new) in one.conf
    assert home.run("rotate", "--due").stdout == b""
    ends = [record["status"] for record in home.records() if record.get("action") == "rotate.retire"]
    assert ends[-1] == "success", ends


def test_without_an_overlap_it_goes_at_once(home, node, target):
    nodes = [node(), node()]
    target(nodes, overlap="0")
    for version in (2, 3):
        assert home.rotate(NAME) == version
        assert passwords_are(nodes, home.get(NAME))


def test_the_overlap_of_each_of_two_rotations(home, node, target, later):
    """The older of two old passwords goes first, and a third that somebody added stays."""
    one = node()
    one.admin().execute_command("ACL", "SETUSER", "app", ">of-somebody-else")
    target([one], overlap="1d")
    home.rotate(NAME)
    second = home.get(NAME)
    target([one], overlap="10d")
    home.rotate(NAME)
    third = home.get(NAME)
    assert passwords_are([one], OLD, second, third, "of-somebody-else")
    assert later(2, "rotate", "--due").stdout == b"redis/app  the old password is removed\n"
    assert passwords_are([one], second, third, "of-somebody-else")
    assert later(2, "rotate", "--due").stdout == b""
    assert later(11, "rotate", "--due").stdout == b"redis/app  the old password is removed\n"
    assert passwords_are([one], third, "of-somebody-else")


def test_going_back_to_the_older_value(home, node, target, later):
    one = node()
    target([one], overlap="1d")
    home.rotate(NAME)
    second = home.get(NAME)
    home.run("rotate", NAME, "--file", "-", input=OLD)
    assert home.get(NAME) == OLD.encode() and passwords_are([one], OLD, second)
    assert later(2, "rotate", "--due").returncode == 0
    assert passwords_are([one], OLD)


def test_a_database_shape(home, node, target):
    one = node()
    target([one], overlap="0")
    home.run("set", NAME, "--force", input=json.dumps({"user": "app", "host": "h", "password": OLD}))
    home.rotate(NAME)
    assert passwords_are([one], home.get(f"{NAME}#password"))


def test_the_user_changes_its_own_password(home, node, target):
    """By the current one, which is valid at every step."""
    users = ["user default off", f"user app on ~* +@all #{digest(OLD)}", f"user rotator on +@all #{digest(ADMINS)}"]
    nodes = [node(users=users), node(users=users)]
    target(nodes, overlap="0", admin=None)
    for _ in range(2):
        home.rotate(NAME)
        assert passwords_are(nodes, home.get(NAME))


def test_the_administrators_password_from_a_file(home, node, target):
    one = node()
    path = home.dir / "rotator"
    path.write_text(ADMINS + "\n")
    path.chmod(0o600)
    target([one], overlap="0", admin={"username": "rotator", "password": "file:rotator"})
    home.rotate(NAME)
    assert passwords_are([one], home.get(NAME))


def test_by_unix_socket(home, node, target):
    one = node()
    target([f"unix:{one.socket}"], overlap="0")
    home.rotate(NAME)
    assert passwords_are([one], home.get(NAME))


def test_no_password_in_a_log(home, node, target, tmp_path):
    one = node("slowlog-log-slower-than 0", "loglevel debug")
    target([one], overlap="0", masterauth=True, user="default", admin={"username": "rotator", "password": ADMIN})
    one.admin().execute_command("ACL", "SETUSER", "default", "on", "resetpass", f">{OLD}", "+@all")
    home.rotate(NAME)
    new = home.get(NAME)
    assert one.hashes("default") == {digest(new)}
    spoken = repr(one.client("default", new.decode()).slowlog_get(200)).encode()
    assert b"SETUSER" in spoken and b"masterauth" in spoken
    logs = b"".join(path.read_bytes() for path in home.audit.glob("*/log"))
    for text in (spoken, logs, one.log().encode()):
        assert all(word not in text for word in (new, OLD.encode(), ADMINS.encode()))


def test_too_many_old_passwords(home, node, target, later):
    one = node()
    target([one], overlap="1d")
    for _ in range(20):
        result = home.run("rotate", NAME, check=False)
        if result.returncode:
            break
    assert result.returncode == 73 and b"older passwords are still valid at its target" in result.stderr
    assert pending(home) is None and one.lets_in(home.get(NAME)) and one.lets_in(OLD)
    advised = commands(result.stderr.decode())
    assert advised == ["keyturn rotate --due"]
    assert later(2, *advised[0].split()[1:]).returncode == 0
    assert passwords_are([one], home.get(NAME)) and home.rotate(NAME) > 14


def test_the_old_one_cannot_be_removed_at_once(home, node, target, wait_for):
    """The rotation stands, and says what is left to do."""
    nodes = [node(), node()]
    target(nodes, overlap="0")
    with stopped_before_the_removal(home, wait_for) as process:
        nodes[1].stop()
    version, message = (text.decode() for text in process.communicate(timeout=30))
    assert version == "2\n" and process.returncode == 0
    assert "the old password of redis/app stays valid: " in message and "cannot connect" in message
    assert passwords_are(nodes[:1], OLD, home.get(NAME))
    nodes[1].again()
    follow(home, message)
    assert passwords_are(nodes, home.get(NAME))


def test_no_rotation_during_a_removal(home, node, target, wait_for):
    """It could add a password while requirepass takes all others away."""
    one = node()
    target([one], overlap="0")
    with stopped_before_the_removal(home, wait_for) as process:
        result = home.run("rotate", NAME, check=False)
        assert result.returncode == 73 and f"an older password is being removed from its target, by process {process.pid}".encode() in result.stderr
        assert home.run("rotate", "--due").stdout == b"" and passwords_are([one], OLD, home.get(NAME))
    assert process.wait(30) == 0
    assert passwords_are([one], home.get(NAME)) and home.rotate(NAME) == 3


@contextlib.contextmanager
def stopped_before_the_removal(home, wait_for):
    """A rotation whose version is current; it goes on at the end."""
    process = subprocess.Popen([home.stage.keyturn, "-c", home.config, "rotate", NAME], env={**home.env, "KEYTURN_DEBUG_STOP": "before_retire"},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if wait_for(lambda: has_stopped(process)) != "T":
        pytest.skip("needs --enable-debug-hooks")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)


def has_stopped(process):
    """T: it stands; Z: it has ended."""
    state = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state if state in "TZ" else None


# ---- what a server keeps ----

def test_it_survives_a_restart(home, node, target):
    """Both do, as soon as the new one is current."""
    one = node()
    target([one], overlap="1h")
    home.rotate(NAME)
    one.again(signal.SIGKILL)
    assert passwords_are([one], OLD, home.get(NAME))


def test_an_acl_file(home, node, target, tmp_path):
    """Users are saved there; the configuration file is left as it is."""
    path = tmp_path / "users.acl"
    path.write_text("\n".join(Node.users) + "\n")
    one = node(f"aclfile {path}", users=["# all users are in the ACL file"])
    before = one.conf
    target([one], overlap="0")
    home.rotate(NAME)
    new = home.get(NAME)
    assert digest(new) in path.read_text() and digest(OLD) not in path.read_text() and one.conf == before
    one.again(signal.SIGKILL)
    assert passwords_are([one], new)


def test_save_false_writes_nothing(home, node, target):
    one = node()
    before = one.conf
    target([one], overlap="0", save=False)
    home.rotate(NAME)
    assert passwords_are([one], home.get(NAME)) and one.conf == before


def test_one_that_lost_the_new_password_gets_it_again(home, node, target, later):
    """Before the old one is removed anywhere: save: false, and one of them was started again."""
    nodes = [node(), node()]
    target(nodes, overlap="1d", save=False)
    home.rotate(NAME)
    nodes[0].again()
    assert passwords_are(nodes[:1], OLD)
    assert later(2, "rotate", "--due").returncode == 0
    assert passwords_are(nodes, home.get(NAME))


# ---- the only password ----

def test_requirepass(home, node, target, later):
    users = [f"requirepass {OLD}"]
    nodes = [node(users=users), node(users=users)]
    target(nodes, overlap="1d", user=None, admin=None, requirepass=True)
    home.rotate(NAME)
    new = home.get(NAME)
    nodes[1].again(signal.SIGKILL)
    for one in nodes:
        assert one.hashes("default", one.client(password=OLD)) == {digest(OLD), digest(new)}
    assert later(2, "rotate", "--due").returncode == 0
    nodes[1].again(signal.SIGKILL)
    for one in nodes:
        assert one.hashes("default", one.client(password=new.decode())) == {digest(new)}
        assert one.client(password=new.decode()).config_get("requirepass")["requirepass"] == new.decode()
        assert OLD not in one.conf


def test_requirepass_keeps_a_password_whose_time_is_not_over(home, node, target, later):
    one = node(users=[f"requirepass {OLD}"])
    target([one], overlap="1d", user=None, admin=None, requirepass=True)
    home.rotate(NAME)
    target([one], overlap="10d", user=None, admin=None, requirepass=True)
    second = home.get(NAME)
    home.rotate(NAME)
    assert later(2, "rotate", "--due").returncode == 0
    new = home.get(NAME)
    assert one.hashes("default", one.client(password=new.decode())) == {digest(second), digest(new)}


# ---- replication and Sentinel ----

@pytest.fixture
def pair(node, wait_for):
    """A master and its replica, which logs in to it as app."""
    auth = ("masteruser app", f"masterauth {OLD}", "repl-diskless-sync-delay 0")
    master = node(*auth)
    replica = node(*auth, f"replicaof 127.0.0.1 {master.port}")
    wait_for(lambda: is_up(replica))
    return master, replica


def is_up(replica, password=OLD):
    return replica.client("app", password).info("replication")["master_link_status"] == "up"


def test_the_replica_logs_in_with_the_new_one(home, pair, target, wait_for):
    master, replica = pair
    target(pair, overlap="0", masterauth=True)
    home.rotate(NAME)
    new = home.get(NAME).decode()
    assert passwords_are(pair, new) and is_up(replica, new)
    replica.again(signal.SIGKILL)
    wait_for(lambda: is_up(replica, new))
    saved = replica.conf.replace('"', "").replace("primaryauth", "masterauth")  # Valkey's name of it
    assert OLD not in saved and f"masterauth {new}" in saved


def test_masterauth_of_another_user(home, pair, target):
    pair[1].admin().config_set("masteruser", "somebody")
    target(pair, masterauth=True)
    result = home.run("rotate", NAME, check=False)
    assert result.returncode == 73 and b'as "somebody" and not as "app"' in result.stderr and pair[1].address.encode() in result.stderr
    assert pending(home) is None and passwords_are(pair, OLD)


@pytest.fixture
def sentinel(kt, pair, tmp_path, servers, wait_for):
    master, port = pair[0], free_port()
    conf = tmp_path / "sentinel.conf"
    conf.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f"dir {tmp_path}", f"sentinel monitor shop 127.0.0.1 {master.port} 1",
                               "sentinel auth-user shop app", f"sentinel auth-pass shop {OLD}", "sentinel down-after-milliseconds shop 5000"]) + "\n")
    process = Process([kt.redis, conf, "--sentinel"], kt.environment(), tmp_path / "sentinel.log", tmp_path)
    servers.callback(process.stop)
    client = client_library.Redis(port=port, socket_timeout=10)

    def follows():
        with contextlib.suppress(client_library.exceptions.ConnectionError):
            return client.sentinel_masters()["shop"]["num-slaves"] == 1
    process.wait_ready(follows, 30, "Sentinel")
    client.conf, client.address = conf, f"127.0.0.1:{port}"
    return client


def test_sentinel(home, pair, target, sentinel, wait_for):
    target(pair, overlap="0", masterauth=True, sentinels=[sentinel.address])
    home.rotate(NAME)
    new = home.get(NAME).decode()
    assert passwords_are(pair, new)
    assert f"sentinel auth-pass shop {new}" in sentinel.conf.read_text().replace('"', "")
    for one in pair:  # it has to log in again
        one.client("app", new).client_kill_filter(_type="normal", skipme=True)
    before = time.monotonic()
    wait_for(lambda: sentinel.sentinel_masters()["shop"]["last-ok-ping-reply"] < (time.monotonic() - before) * 1000)


def test_a_sentinel_of_another_master(home, pair, target, sentinel):
    target(pair, masterauth=True, sentinels=[sentinel.address], master="other")
    result = home.run("rotate", NAME, check=False)
    assert result.returncode == 73 and b'does not watch the master "other"' in result.stderr and pending(home) is None


# ---- what is refused, before anything is changed ----

def wrong(home, nodes, status, text, address=None):
    result = home.run("rotate", NAME, check=False)
    assert result.returncode == status and text in result.stderr, result.stderr
    assert (address or nodes[-1].address).encode() in result.stderr
    assert pending(home) is None and home.info(NAME)["version"] == 1 and passwords_are(nodes[:1], OLD)


@pytest.mark.parametrize("change,text", [
    (["ACL", "SETUSER", "app", "nopass"], b"needs no password (nopass)"),
    (["ACL", "SETUSER", "app", "resetpass"], b"has no password, so no client can log in as it (resetpass)"),
    (["ACL", "SETUSER", "app", "off"], b"is switched off"),
    (["ACL", "DELUSER", "app"], b'there is no user "app"'),
])
def test_a_user_that_is_not_fit(home, node, target, change, text):
    """On the second server; the first one is left alone."""
    nodes = [node(), node()]
    nodes[1].client("app", OLD).execute_command(*change)
    target(nodes)
    wrong(home, nodes, 73, text)


@pytest.mark.parametrize("rights,command", [
    ("-acl|getuser", b"ACL GETUSER"), ("-config|get", b"CONFIG GET"), ("-config|rewrite", b"CONFIG REWRITE"),
])
def test_without_a_right(home, node, target, rights, command):
    nodes = [node(), node()]
    nodes[1].client("app", OLD).execute_command("ACL", "SETUSER", "rotator", rights)
    target(nodes)
    wrong(home, nodes, 77, b"may not run " + command + b" (ACL SETUSER rotator +")


def test_without_the_right_to_change(home, node, target):
    """The version stays pending, because no server was asked before, and the next rotation goes on with it."""
    one = node()
    one.client("app", OLD).execute_command("ACL", "SETUSER", "rotator", "-acl|setuser")
    target([one], overlap="0")
    result = home.run("rotate", NAME, check=False)
    assert result.returncode == 77 and b"may not run ACL SETUSER" in result.stderr
    assert home.get(NAME) == OLD.encode() and one.lets_in(OLD)
    one.client("app", OLD).execute_command("ACL", "SETUSER", "rotator", "+acl|setuser")
    home.rotate(NAME)
    assert pending(home) is None and passwords_are([one], home.get(NAME))


def test_a_wrong_password_of_the_administrator(home, node, target):
    nodes = [node()]
    target(nodes)
    home.set(ADMIN, "wrong")
    wrong(home, nodes, 69, b"the server does not accept our user and password")


def test_an_administrator_that_may_not_be_read(home, node, target):
    nodes = [node()]
    target(nodes)
    home.deny("uid:*", ["read"], [ADMIN])
    wrong(home, nodes, 77, b"the password of `admin`", address="admin")


def test_a_server_that_is_down(home, node, target):
    nodes = [node(), node()]
    target(nodes)
    nodes[1].stop()
    wrong(home, nodes, 69, b"cannot connect")


def test_nowhere_to_save(home, node, target, kt, tmp_path, servers):
    """A server without a configuration file, and one whose folder it may not write."""
    nodes = [node()]
    port = free_port()
    process = Process([kt.redis, "--port", port, "--bind", "127.0.0.1", "--save", ""], kt.environment(), tmp_path / "bare.log", tmp_path)
    servers.callback(process.stop)
    bare = client_library.Redis(port=port)
    process.wait_ready(lambda: not _refuses(bare), 15, "redis-server")
    for user in Node.users[1:]:
        bare.execute_command("ACL", "SETUSER", *user.split()[1:])
    target([nodes[0], f"127.0.0.1:{port}"])
    wrong(home, nodes, 73, b"runs without a configuration file", address=str(port))
    nodes.append(node())
    nodes[1].dir.chmod(0o500)
    (nodes[1].dir / "redis.conf").chmod(0o400)
    target(nodes)
    try:
        wrong(home, nodes, 73, b"cannot write its configuration file")
    finally:
        nodes[1].dir.chmod(0o700)


def _refuses(client):
    try:
        return not client.ping()
    except client_library.exceptions.ConnectionError:
        return True


def test_not_by_another_host(home, node, target, open_redis):
    """The server's own module does not give anybody's server a new password: it has other secrets."""
    target([node()])
    result = home.run("set", NAME, input="x", check=False)
    assert result.returncode == 73 and b"its target redis:app would not learn the new value" in result.stderr
    home.rotate(NAME)
    result = home.run("rollback", NAME, check=False)
    assert result.returncode == 73 and b"keyturn rotate redis/app --file -" in result.stderr


@pytest.mark.parametrize("options,text", [
    ({"user": None}, b"`user` is missing"),
    ({"servers": []}, b"`servers` has no address"),
    ({"requirepass": True}, b"`requirepass` is the password of the user default"),
    ({"admin": {"username": "x"}}, b"`password` is missing"),
    ({"admin": {"password": "Not A Name"}}, b"neither the name of a secret nor file:PATH"),
    ({"sentinels": "one"}, b"`sentinels`: not a list"),
    ({"server": ["a:1"]}, b"did you mean `servers`"),
])
def test_a_wrong_configuration(home, target, options, text):
    target(["127.0.0.1:1"], **options)
    result = home.run("rotate", NAME, check=False)
    assert result.returncode == 78 and text in result.stderr, result.stderr


def test_a_wrong_address(home, target):
    target(["127.0.0.1"])
    result = home.run("rotate", NAME, check=False)
    assert result.returncode == 65 and b"not HOST:PORT" in result.stderr and pending(home) is None


# ---- kill -9 ----

class Wire:
    """Between the command and its servers: counts commands, and does something when one of them has been answered."""

    def __init__(self, nodes, stack):
        self.count, self.victim, self.at, self.event = 0, None, 0, None
        self.lock = threading.Lock()
        self.addresses = [self.listen(one.port, stack) for one in nodes]

    def listen(self, port, stack):
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=self.accept, args=(listener, port), daemon=True).start()
        return "127.0.0.1:%d" % listener.getsockname()[1]

    def accept(self, listener, port):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.carry, args=(listener.accept()[0], port), daemon=True).start()

    def carry(self, client, port):
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", port)) as server:
            while command := client.recv(65536):
                server.sendall(command)
                answer = server.recv(65536)
                with self.lock:
                    self.count += 1
                    if self.count == self.at:
                        self.event()
                        return
                client.sendall(answer)

    def kill(self):
        self.victim.kill()
        self.victim.wait()

    def run(self, home, at, *arguments, event=None):
        """The exit status. The event, by default a kill of the process, is when its command number `at` was answered."""
        with self.lock:
            self.count, self.at, self.event = 0, at, event or self.kill
            self.victim = home.popen(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.victim.wait(30)


class Reader(threading.Thread):
    """Logs in to every server with the store's current value, again and again."""

    def __init__(self, home, nodes):
        super().__init__(daemon=True)
        self.home, self.nodes, self.logins, self.failed, self.ends = home, nodes, 0, [], threading.Event()

    def run(self):
        try:
            self.log_in()
        except Exception as error:
            self.failed.append(error)

    def log_in(self):
        while not self.ends.wait(0.03):
            value = self.home.get(NAME)
            for one in self.nodes:
                # one that was current when the login began may have gone meanwhile, if there is no overlap
                if not one.lets_in(value) and self.home.get(NAME) == value:
                    self.failed.append((one.address, digest(value)))
                self.logins += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.join(30)


def test_killed_after_each_command(home, pair, target):
    """With the removal, which follows at once. Then either the same command or --due finishes it."""
    with contextlib.ExitStack() as stack:
        wire = Wire(pair, stack)
        target(wire.addresses, overlap="0", masterauth=True)
        reader = stack.enter_context(Reader(home, pair))
        for kill_at in range(1, 200):
            status = wire.run(home, kill_at, "rotate", NAME)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            again = "--due" if kill_at % 2 else NAME
            assert wire.run(home, 0, "rotate", again) == 0
            assert passwords_are(pair, home.get(NAME)), (kill_at, again)
    assert pending(home) is None
    assert kill_at > 40 and reader.logins > kill_at and not reader.failed
    assert home.run("verify").returncode == 0


@pytest.mark.parametrize("point", ["after_create", "before_set", "after_set", "after_test", "after_finish", "before_retire", "after_retire"])
def test_killed_between_two_steps(home, pair, target, point):
    target(pair, overlap="0", masterauth=True)
    result = home.run("rotate", NAME, check=False, env={**home.env, "KEYTURN_DEBUG_STOP": f"{point}:kill"})
    if result.returncode == 0:
        pytest.skip("needs --enable-debug-hooks")
    assert result.returncode == -signal.SIGKILL
    assert all(one.lets_in(home.get(NAME)) for one in pair)
    assert home.run("rotate", "--due").returncode == 0
    assert home.info(NAME)["version"] == 2 and pending(home) is None and passwords_are(pair, home.get(NAME))


def test_a_server_that_goes_down_after_each_fourth_command(home, node, target):
    """Killed, and started again with what it has saved: the rotation ends or fails, and the next one completes it."""
    nodes = [node(), node()]
    with contextlib.ExitStack() as stack:
        wire = Wire(nodes, stack)
        target(wire.addresses, overlap="0", timeout="2s")
        for at in range(1, 200, 4):
            status = wire.run(home, at, "rotate", NAME, event=lambda: nodes[1].stop(signal.SIGKILL))
            if nodes[1].process:
                break
            assert status in (0, 69), at
            assert nodes[0].lets_in(home.get(NAME))
            nodes[1].again()
            assert nodes[1].lets_in(home.get(NAME)), at
            assert wire.run(home, 0, "rotate", *(["--due"] if pending(home) or status == 0 else [NAME])) == 0
            assert pending(home) is None and passwords_are(nodes, home.get(NAME)), at
    assert at > 16


def test_nothing_is_removed_while_one_is_down(home, node, target, later):
    nodes = [node(), node()]
    target(nodes, overlap="1d")
    home.rotate(NAME)
    nodes[1].stop()
    result = later(2, "rotate", "--due")
    assert result.returncode == 73 and b"cannot connect" in result.stderr
    assert passwords_are(nodes[:1], OLD, home.get(NAME))
    nodes[1].again()
    assert later(2, "rotate", "--due").returncode == 0
    assert passwords_are(nodes, home.get(NAME))


# ---- the password by which keyturn itself reaches a server ----

def test_keyturns_own_password(home, node, target, later, kt, wait_for):
    """Of the provider `redis`: a reader that connects anew each time never fails."""
    rights = "~* &* +@read +@write +@connection +subscribe +secret.set +secret.getsealed +secret.setsealed +secret.list +secret.info"
    one = node(f"loadmodule {kt.redis_module}", users=[*Node.users, f"user keyturn on {rights} #{digest(OLD)}"])
    for place in ("new", "old"):
        (home.dir / place).write_text(OLD)
        (home.dir / place).chmod(0o600)
    target([one], user="keyturn", overlap="1d")
    home.add("providers", f'redis: {{address: "{one.address}", username: keyturn, password: ["file:new", "file:old"]}}')
    home.add("switch", '"api-keys/*": redis')
    home.set("api-keys/a", b"served")
    assert one.client("app", OLD).exists("api-keys/a")
    ends, failed, reads = threading.Event(), [], []

    def read():
        while not ends.is_set():
            result = home.run("get", "api-keys/a", check=False)
            reads.append(result.returncode)
            if result.stdout != b"served":
                failed.append(result.stderr)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for days in (2, 4):
            home.rotate(NAME)
            (home.dir / "next").write_bytes(home.get(NAME))
            (home.dir / "next").chmod(0o600)
            (home.dir / "next").rename(home.dir / "new")
            assert later(days, "rotate", "--due").returncode == 0
            assert passwords_are_of(one, "keyturn", home.get(NAME))
            before = len(reads)
            wait_for(lambda: len(reads) > before + 3)
    finally:
        ends.set()
        reader.join(30)
    assert not failed and len(reads) > 10


def passwords_are_of(one, user, password):
    return one.hashes(user) == {digest(password)}

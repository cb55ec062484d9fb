# SPDX-License-Identifier: BSD-2-Clause
"""What the module publishes on __keyturn__:changed."""
import pytest
import redis as client_library

NAME, OTHER = "api-keys/stripe", "tls/www"
CHANNEL = "__keyturn__:changed"


class Follower:
    """The messages that a subscriber gets."""

    def __init__(self, server):
        self.db = server.client()
        self.subscription = self.db.pubsub(ignore_subscribe_messages=True)
        self.subscription.subscribe(CHANNEL)
        self.settle()

    def settle(self):
        """What was said until now: the server answers this connection in order."""
        texts = []
        self.subscription.ping()
        while True:
            message = self.subscription.get_message(ignore_subscribe_messages=True, timeout=5)
            if message is not None and message["type"] == "pong":
                return texts
            if message is not None:
                texts.append(message["data"].decode())


def follows_events(db):
    """Valkey from 8.1 to 9.1.1 damages its clients if a module follows events (test_a_client_stays_in_its_database)."""
    version = db.info("server").get("valkey_version", "0.0.0")
    return not (8, 1, 0) <= tuple(map(int, version.split("."))) <= (9, 1, 1)


@pytest.fixture
def following(sealed_redis, bundles):
    """(server, db, follower, store): store(name, counter) stores a secret."""
    server = sealed_redis()
    db = server.client()

    def store(name=NAME, counter=1, *more, client=None):
        db_ = client or db
        return db_.execute_command("SECRET.SETSEALED", name, bundles.make(counter), *more)
    return server, db, Follower(server), store


def test_each_way_to_write(open_redis):
    server = open_redis()
    db, follower = server.client(), Follower(server)
    run = db.execute_command
    for words in (["SET", NAME, "v"], ["SET", NAME, "w"], ["ROTATE", NAME, "GENERATE"], ["ROLLBACK", NAME], ["META", NAME, "SET", "k", "v"],
                  ["DESTROY", NAME, "VERSION", "1"], ["DEL", NAME], ["UNDELETE", NAME]):
        run(f"SECRET.{words[0]}", *words[1:])
        assert set(follower.settle()) == {f"0 {NAME}"}, words
    run("SECRET.GET", NAME)
    run("SECRET.INFO", NAME)
    with pytest.raises(client_library.exceptions.ResponseError):
        run("SECRET.SET", NAME, "x", "CAS", 77)
    assert follower.settle() == []


def test_each_way_to_vanish_or_appear(following, wait_for):
    server, db, follower, store = following
    store()
    assert follower.settle() == [f"0 {NAME}"]
    store(counter=2)
    assert set(follower.settle()) == {f"0 {NAME}"}
    dump = db.dump(NAME)
    appeared = follows_events(db)
    db.rename(NAME, OTHER)
    assert set(follower.settle()) == ({f"0 {NAME}", f"0 {OTHER}"} if appeared else {f"0 {NAME}"})
    db.move(OTHER, 3)
    assert set(follower.settle()) == ({f"0 {OTHER}", f"3 {OTHER}"} if appeared else {f"0 {OTHER}"})
    db.restore(NAME, 0, dump)
    assert follower.settle() == [f"0 {NAME}"]
    db.set(NAME, "another type")
    assert follower.settle() == [f"0 {NAME}"]
    db.restore(NAME, 0, dump, replace=True)
    assert follower.settle() == [f"0 {NAME}"]
    db.pexpire(NAME, 30)
    wait_for(lambda: f"0 {NAME}" in follower.settle(), timeout=5, interval=0.02)
    store()
    db.delete(NAME)
    assert follower.settle() == [f"0 {NAME}"] * 2


@pytest.mark.parametrize("words", [["MOVE", "plain", "3"], ["COPY", "plain", "plain", "DB", "3"]], ids=lambda words: words[0])
def test_a_client_stays_in_its_database(words, following):
    _, db, _, _ = following
    db.set("plain", "x")
    assert db.execute_command(*words) == 1
    assert db.client_info()["db"] == 0 and db.exists("plain") == (words[0] == "COPY")


def test_anything_may_have_changed(following):
    server, db, follower, store = following
    db.swapdb(0, 5)
    assert set(follower.settle()) == {"0 *", "5 *"}
    server.client(db=5).flushdb()
    assert follower.settle() == ["5 *"]
    db.flushall()
    assert set(follower.settle()) == {"*"}


def test_eviction(following, wait_for):
    server, db, follower, store = following
    store()
    db.config_set("maxmemory-policy", "allkeys-random")
    db.config_set("maxmemory", 1)
    with pytest.raises(client_library.exceptions.ResponseError):
        for i in range(100):
            db.set("full", "x")
    assert f"0 {NAME}" in follower.settle()


def test_replica(following, make_redis, wait_for):
    """It tells its own clients, when it has what its master wrote: also after it was given all of the data anew."""
    server, db, _, store = following
    replica = make_redis(None).start("appendonly no")
    follower = Follower(replica)
    db.config_set("repl-diskless-sync-delay", 0)
    replica.client().replicaof("127.0.0.1", server.port)
    wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up")
    assert "*" in follower.settle()
    store()
    db.wait(1, 5000)
    assert f"0 {NAME}" in follower.settle()
    db.delete(NAME)
    db.wait(1, 5000)
    assert f"0 {NAME}" in follower.settle()


def test_what_others_do_is_not_told(following):
    server, db, follower, _ = following
    db.set("a", "1")
    db.rename("a", "b")
    db.restore("c", 0, db.dump("b"))
    db.expire("b", 1)
    db.move("c", 2)
    db.delete("b")
    assert follower.settle() == []

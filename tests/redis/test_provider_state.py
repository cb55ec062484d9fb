# SPDX-License-Identifier: BSD-2-Clause
"""The provider `redis` among others: passwords that change, two writers, when a key ends, lists that are not whole."""
import json
import threading
import time

import pytest

NAME = "api-keys/stripe"
RIGHTS = ["~*", "+secret.getsealed", "+secret.setsealed", "+secret.list", "+subscribe", "&__keyturn__:changed"]


def route(home, server, **options):
    more = "".join(f", {key}: {json.dumps(value)}" for key, value in options.items())
    home.add("providers", 'redis: {address: "unix:%s"%s}' % (server.socket, more))
    for kind in ("api-keys", "tls"):
        home.add("switch", f'"{kind}/*": redis')


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return f"file:{path}"


@pytest.fixture
def site(home, nginx, upstream, sealed_redis):
    """(server, header): nginx reads as the user keyturn, whose password is in the file `password`; header() is what the
    upstream was sent, or the status."""
    server = sealed_redis()
    server.client().execute_command("ACL", "SETUSER", "keyturn", "on", ">one", *RIGHTS)
    home.grant("nginx:*", ["read"], ["*"])

    def start(password):
        route(home, server, username="keyturn", password=password, timeout="1s")
        home.set(NAME, "v-1")
        nginx.configure(f"""
            secret_get $key {NAME};
            server {{ listen 127.0.0.1:@PORT@;
                      location / {{ proxy_set_header X-Key $key;
                                    proxy_pass http://127.0.0.1:{upstream.port}; }} }}""")
        nginx.start()

        def header():
            response = nginx.get("/")
            return upstream.last.headers["X-Key"] if response.status == 200 else response.status
        return server, header
    return start


def test_our_password_changes(home, site, wait_for):
    """The file is read again; what is cached is served while it is wrong; nothing is restarted."""
    file = home.dir / "password"
    server, header = site(write(file, "one\n"))
    db = server.client()
    wait_for(lambda: header() == "v-1")
    db.execute_command("ACL", "SETUSER", "keyturn", "resetpass", ">two")
    db.execute_command("CLIENT", "KILL", "USER", "keyturn")
    for _ in range(10):
        assert header() == "v-1"
        time.sleep(0.05)
    write(file, "two\n")
    home.set(NAME, "v-2")
    wait_for(lambda: header() == "v-2", timeout=5)


def test_two_passwords_and_no_failed_read(home, site, wait_for):
    """A list, the new one first, which is not there yet."""
    new, old = home.dir / "password.new", home.dir / "password"
    write(old, "one\n")
    server, header = site([f"file:{new}", f"file:{old}"])
    db = server.client()
    wait_for(lambda: header() == "v-1")
    seen = []
    write(new, "two\n")
    for words in (["SETUSER", "keyturn", ">two"], ["SETUSER", "keyturn", "<one"]):
        db.execute_command("ACL", *words)
        db.execute_command("CLIENT", "KILL", "USER", "keyturn")
        seen += [header() for _ in range(20)]
    assert set(seen) == {"v-1"}
    home.set(NAME, "v-2")
    wait_for(lambda: header() == "v-2", timeout=5)


def test_a_log_in_that_is_refused_is_no_answer(home, sealed_redis):
    """Not FORBIDDEN, which would be an answer about the secret: a fallback may serve, and a cache."""
    server = sealed_redis()
    server.client().execute_command("ACL", "SETUSER", "keyturn", "on", ">one", *RIGHTS)
    route(home, server, username="keyturn", password=write(home.dir / "password", "wrong"))
    result = home.run("get", NAME, check=False)
    assert result.returncode == 69 and b"put the right one where `password` says" in result.stderr


def test_no_write_is_lost_to_another_one(home, sealed_redis):
    """As with a store that has locks: both are made, one after the other."""
    route(home, sealed_redis())
    failed = []

    def run(tag):
        for i in range(8):
            result = home.run("--quiet", "set", NAME, input=f"{tag}-{i}".encode(), check=False)
            if result.returncode != 0:
                failed.append(result.stderr)

    threads = [threading.Thread(target=run, args=(tag,)) for tag in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert home.info(NAME)["version"] == 32


def test_a_write_for_a_version_is_not_repeated(home, sealed_redis):
    route(home, sealed_redis())
    home.set(NAME, "one")
    results = []

    def run():
        results.append(home.run("set", NAME, "--cas", "1", input=b"two", check=False).returncode)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 73, 73, 73]


def test_the_key_ends_with_its_secret(home, open_redis):
    """Each way to write: the server's command, a rotation through the provider, a new value that stays."""
    server = open_redis()
    route(home, server)
    db = server.client()
    home.set(NAME, "v", "--expires", "1h")
    assert 3590_000 < db.pttl(NAME) <= 3600_000
    db.execute_command("SECRET.SET", "api-keys/other", "v", "EX", 100, "META", "origin", "generated")
    assert home.rotate("api-keys/other") == 2
    assert 90_000 < db.pttl("api-keys/other") <= 100_000
    home.run("meta", "api-keys/other", "team=pay")
    assert 90_000 < db.pttl("api-keys/other") <= 100_000
    home.set(NAME, "w")
    assert db.pttl(NAME) == -1


def test_a_list_that_is_not_whole_says_so(home, open_redis):
    server = open_redis()
    home.deny("redis:half", ["read"], ["tls/*"])
    home.deny("redis:blind", ["read"], ["*"])
    server.restart()
    db = server.client()
    for user in ("half", "blind"):
        db.execute_command("ACL", "SETUSER", user, "on", ">x", *RIGHTS)
    for name in ("api-keys/a", "tls/b", "tls/c"):
        db.execute_command("SECRET.SET", name, "v")
    password = write(home.dir / "password", "x")
    route(home, server, username="half", password=password)
    result = home.run("list")
    assert home.list() == ["api-keys/a"]
    assert b"leaves out 2 of 3" in result.stderr
    home.replace('"half"', '"blind"')
    for words in (["list"], ["check"]):
        result = home.run(*words, check=False)
        assert result.returncode == 77 and b"policy" in result.stderr + result.stdout, (words, result)

# SPDX-License-Identifier: BSD-2-Clause
"""Three servers under three users of one store that `init --system` made: nginx (www-data), Redis (redis), PostgreSQL (postgres).
Each reads what it should, writes where it should, and nothing else, although policy lets every user read everything."""
import contextlib
import json
import os
import pathlib
import pwd
import shutil
import subprocess

import pytest
import redis as redis_client

from lib import memory
from lib.machine import AUDIT_KEY, CONFIG, ETC, LIB, LOG, STORE
from lib.servers import PLACE, Servers
from lib.tools import wait_for

STREAMS = {"www-data": "nginx", "redis": "redis", "postgres": "postgresql", "deploy": "cli-deploy"}
ANCHORS = LIB / "anchors"

# who may do what with each file, tried by opening it; of a folder "w" is making a file in it. nobody: no user of keyturn
FILES = {
    CONFIG: {"www-data": "r", "redis": "r", "postgres": "r", "deploy": "r"},
    ETC: {}, LOG: {},
    ETC / "production.key": {},
    ETC / "nginx.key": {"www-data": "r"}, ETC / "redis.key": {"redis": "r"}, ETC / "postgresql.key": {"postgres": "r"},
    ETC / "cli-deploy.key": {"deploy": "r"},
    STORE: {"www-data": "r", "redis": "r", "deploy": "r", "postgres": "rw"},
    pathlib.Path(f"{STORE}-wal"): {"www-data": "r", "redis": "r", "deploy": "r", "postgres": "rw"},
    pathlib.Path(f"{STORE}-shm"): {"www-data": "r", "redis": "r", "deploy": "r", "postgres": "rw"},
    LIB: {}, LIB / "store": {"postgres": "w"}, ANCHORS: {},
    ANCHORS / "nginx": {"www-data": "w"}, ANCHORS / "redis": {"redis": "w"}, ANCHORS / "postgresql": {"postgres": "w"},
    ANCHORS / "cli-deploy": {"deploy": "w"}, ANCHORS / "cli-root": {},
    ANCHORS / "cli-root/generations": {"www-data": "r", "redis": "r", "deploy": "r", "postgres": "r"},
    LOG / "nginx": {"www-data": "w"}, LOG / "redis": {"redis": "w"}, LOG / "postgresql": {"postgres": "w"},
    LOG / "cli-deploy": {"deploy": "w"}, LOG / "cli-root": {},
    LOG / "nginx/log": {"www-data": "rw"}, LOG / "redis/log": {"redis": "rw"}, LOG / "postgresql/log": {"postgres": "rw"},
    LOG / "nginx/state": {"www-data": "rw"}, LOG / "redis/state": {"redis": "rw"}, LOG / "postgresql/state": {"postgres": "rw"},
}
# by the user's own process, and really opened, because access() may give another answer
TRY = """
import json, os, sys
found = {}
for path in json.loads(sys.argv[1]):
    may = ""
    if os.path.isdir(path) or not os.path.exists(path) and not path.endswith(("log", "state", "key", "yaml", "generations")) and "." not in path:
        try:
            os.close(os.open(path + "/try", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)); os.unlink(path + "/try"); may = "w"
        except OSError: pass
    else:
        for letter, flags in (("r", os.O_RDONLY), ("w", os.O_WRONLY)):
            try:
                os.close(os.open(path, flags)); may += letter
            except OSError: pass
    found[path] = may
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def servers(kt, users, canary, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        servers = Servers(kt, stack, canary)
        stack.callback(keep, tmp_path_factory.mktemp("written"))
        yield servers


def keep(folder):
    """What they wrote, for the search for canaries: all but the cluster and the keys."""
    for place in (STORE.parent, LOG, PLACE / "nginx", PLACE / "redis", PLACE / "postgres/postgresql.log"):
        subprocess.run(["cp", "-r", "--parents", "--no-preserve=ownership", place, folder], check=False, capture_output=True)


def uid_of(process):
    return pwd.getpwuid(os.stat(f"/proc/{process}").st_uid).pw_name


def test_they_run_as_their_users(servers):
    assert uid_of(servers.nginx.master_pid) == "root" and {uid_of(pid) for pid in servers.nginx.worker_pids()} == {"www-data"}
    assert uid_of(servers.redis.process.pid) == "redis" and uid_of(servers.postgres.process.pid) == "postgres"
    assert servers.machine.wrong() == []


def test_all_their_secret_memory_is_locked(servers):
    """With README's rights, and Debian's limit of 8 MiB."""
    subprocess.run(["prlimit", f"--pid={os.getpid()}", "--memlock=8388608:8388608"], check=True)
    assert servers.ask_nginx("/stripe") == servers.key
    before = servers.nginx.worker_pids()
    memory.assert_locked(servers.nginx.master_pid)
    servers.nginx.reload()
    assert not set(before) & set(servers.nginx.worker_pids()) and servers.ask_nginx("/stripe") == servers.key
    for pid in [servers.nginx.master_pid, *servers.nginx.worker_pids(), servers.redis.process.pid]:
        memory.assert_locked(pid)
    assert any(servers.key.encode() in memory.secret_bytes(pid) for pid in servers.nginx.worker_pids())
    with servers.postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT get_secret('database/primary'), pg_backend_pid()")
        value, backend = cursor.fetchone()
        memory.assert_locked(backend, json.loads(value)["password"].encode())


# each reads what it should, and no other type: by its key, for policy lets it

def test_nginx_reads_its_types(servers):
    assert servers.ask_nginx("/stripe") == servers.key and servers.ask_nginx("/note") == servers.note
    assert servers.nginx.get("/password?name=primary").status == 503

    def recorded():
        records = [json.loads(line) for line in (LOG / "nginx/log").read_text().splitlines()]
        return {record["status"] for record in records if record.get("reference", "").startswith("database/")}
    wait_for(recorded, 20)
    assert recorded() == {"nokey"}


def test_redis_reads_its_types(servers):
    servers.redis_do("SECRET.SET", "api-keys/resend", "re-1")
    assert servers.redis_do("SECRET.GET", "api-keys/resend") == b"re-1"
    assert servers.redis_do("SECRET.ROTATE", "api-keys/resend", "GENERATE") == 2
    for name in ("database/primary", "tls/note"):
        with pytest.raises(redis_client.exceptions.ResponseError, match="SECRETSEALED|no key"):
            servers.redis_do("SECRET.SET", name, "x")


def test_postgresql_reads_its_type_and_rotates_it(servers):
    assert json.loads(servers.postgres.value("SELECT get_secret('database/primary')"))["user"] == "app"
    for name in ("api-keys/stripe", "tls/note"):
        with pytest.raises(Exception, match="no key"):
            servers.postgres.value("SELECT get_secret(%s)", (name,))
    before = json.loads(servers.machine.keyturn("--json", "info", "database/primary").stdout)["version"]
    assert servers.postgres.value("SELECT rotate_secret('database/primary')") == before + 1
    password = servers.machine.get("database/primary#password").decode()
    assert password != "none yet" and servers.postgres.can_login("app", password)


def test_a_user_of_the_command_reads_its_type(servers):
    assert servers.machine.get("api-keys/stripe", "deploy") == servers.key.encode()
    assert servers.machine.get("database/primary", "deploy") == 77
    result = servers.machine.keyturn("get", "database/primary", user="deploy", check=False)
    assert b"no key" in result.stderr
    assert servers.machine.keyturn("get", "api-keys/stripe", user="nobody", check=False).returncode == 77  # not even the configuration


def test_each_sees_what_another_writes(servers):
    """Root and postgres write; nginx' next request has it, without a reload."""
    servers.machine.set("api-keys/stripe", b"sk-2")
    assert servers.ask_nginx("/stripe") == "sk-2" and servers.machine.get("api-keys/stripe", "deploy") == b"sk-2"
    # after a write by postgres, all users can still read -wal and -shm
    servers.postgres.value("SELECT rotate_secret('database/primary')")
    servers.machine.set("api-keys/stripe", b"sk-3")
    assert servers.ask_nginx("/stripe") == "sk-3"
    assert servers.machine.keyturn("verify").returncode == 0


def test_a_unit_with_private_users(servers):
    """systemd's PrivateUsers=, as Debian's Redis has it: root and the unit's own user and group are mapped, and all others become `nobody`."""
    user = pwd.getpwnam("deploy")
    wait = 'until grep -q . /proc/self/gid_map && grep -q . /proc/self/uid_map; do sleep 0.01; done; exec "$0" get api-keys/stripe'
    argv = [*servers.machine.become("deploy"), "unshare", "--user", "sh", "-c", wait, servers.machine.stage.keyturn]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=servers.machine.env, cwd="/")
    own = os.readlink("/proc/self/ns/user")
    wait_for(lambda: os.readlink(f"/proc/{process.pid}/ns/user") != own)
    for name, number in (("gid_map", user.pw_gid), ("uid_map", user.pw_uid)):
        pathlib.Path(f"/proc/{process.pid}/{name}").write_text(f"0 0 1\n{number} {number} 1\n")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == servers.machine.get("api-keys/stripe"), err


# the files

@pytest.mark.parametrize("user", ["www-data", "redis", "postgres", "deploy", "nobody"])
def test_files(servers, user):
    servers.ask_nginx("/stripe")
    servers.redis_do("SECRET.SET", "api-keys/x", "x")
    servers.postgres.value("SELECT rotate_secret('database/primary')")
    assert all(os.path.lexists(path) for path in FILES), [path for path in FILES if not os.path.lexists(path)]
    argv = [*servers.machine.become(user), "/usr/bin/python3", "-c", TRY, json.dumps([str(path) for path in FILES])]
    found = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/").stdout)
    wanted = {str(path): may.get(user, "") for path, may in FILES.items()}
    assert found == wanted


@pytest.mark.parametrize("user", ["www-data", "redis", "deploy"])
def test_a_reader_cannot_write_the_store(servers, user):
    """By SQLite, with the library that the provider uses."""
    text = ("import sqlite3, sys\n"
            "try:\n    sqlite3.connect(sys.argv[1], timeout=0).execute('DELETE FROM head')\n"
            "except sqlite3.OperationalError as error: sys.exit(str(error))\n")
    result = subprocess.run([*servers.machine.become(user), "/usr/bin/python3", "-c", text, STORE], capture_output=True, text=True, cwd="/")
    assert result.returncode == 1 and "readonly" in result.stderr
    assert servers.ask_nginx("/note") == servers.note


def test_the_command_writes_for_writers_only(servers):
    """Policy allows deploy nothing; and were it to, the files would not."""
    text = CONFIG.read_text()
    CONFIG.write_text(text.replace("policy:\n", 'policy:\n  - {who: "uid:deploy", allow: [write], names: ["*"]}\n'))
    result = servers.machine.keyturn("--quiet", "set", "api-keys/stripe", user="deploy", input=b"mine", check=False)
    CONFIG.write_text(text)
    assert result.returncode == 77 and str(STORE).encode() in result.stderr
    assert servers.machine.get("api-keys/stripe") != b"mine"


def test_a_writer_cannot_take_anothers_anchors_away(servers):
    """Each has a folder of its own, in one that root has."""
    of_root = f"{ANCHORS}/cli-root"
    for command in (f"rm -f {of_root}/generations", f"mv {of_root} {ANCHORS}/x", f"mv {ANCHORS} {ANCHORS}.gone", f"mkdir {ANCHORS}/mine",
                    f"ln -sf /dev/null {of_root}/generations", f": > {of_root}/generations", f": > {of_root}/.generations.new",
                    f"exec 9>{of_root}/.lock"):
        argv = [*servers.machine.become("postgres"), "sh", "-c", command]
        assert subprocess.run(argv, capture_output=True, cwd="/").returncode != 0, command
    assert (ANCHORS / "cli-root/generations").is_file() and (ANCHORS / "postgresql/generations").is_file()


def test_a_readers_folder_counts_nothing(servers):
    """What www-data puts beside its own stream, as if it were anchors, changes no answer."""
    servers.machine.sh(f"cp -r {ANCHORS} {LOG}/nginx/anchors && chown -R www-data {LOG}/nginx/anchors && "
                       f"sed -i 's/ [0-9][0-9]* / 999999 /' {LOG}/nginx/anchors/cli-root/generations")
    assert servers.machine.get("api-keys/stripe", "deploy") == servers.machine.get("api-keys/stripe")
    assert servers.ask_nginx("/note") == servers.note and servers.machine.keyturn("verify").returncode == 0
    shutil.rmtree(LOG / "nginx/anchors")


# the trail

def test_each_has_its_own_trail_and_all_of_them_hold(servers):
    for server in (servers.redis, servers.postgres, servers.nginx):
        server.stop()  # seals what waits
    servers.machine.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
    for user, stream in STREAMS.items():
        files = [path for path in (LOG / stream).rglob("*")]
        assert files and {pwd.getpwuid(path.lstat().st_uid).pw_name for path in files} == {user}, stream
    assert servers.machine.wrong() == []


# a user without its right: the server says why, and check names it

def test_a_server_without_its_group_does_not_start(servers):
    """nginx tries its secrets as www-data would, and so does check."""
    servers.machine.sh("gpasswd -d www-data keyturn")
    result = servers.nginx.test()
    assert result.returncode != 0 and "Permission denied" in result.stderr and "api-keys/stripe" in result.stderr
    assert [what for what, _ in servers.machine.wrong()] == ["nginx"]
    servers.machine.sh("usermod -aG keyturn www-data")
    servers.nginx.start()
    assert servers.ask_nginx("/note") == servers.note and servers.machine.wrong() == []

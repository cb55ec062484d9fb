# SPDX-License-Identifier: BSD-2-Clause
"""Every file and folder of README's set-up, with what each user can do to it while the servers run; and every kind of file that some
user can write is changed by that user, not only emptied. `editor` is a member of keyturn-write without any key, `auditor` of keyturn-audit."""
import contextlib
import fnmatch
import json
import os
import subprocess

import pytest

from lib.machine import AUDIT_KEY, CONFIG, ETC, LIB, LOG, STORE
from lib.servers import Servers

ANCHORS = LIB / "anchors"
OWN = {"www-data": "nginx", "redis": "redis", "postgres": "postgresql", "deploy": "cli-deploy"}
MEMBERS = [*OWN, "editor"]  # of keyturn
USERS = [*MEMBERS, "auditor", "nobody"]
STORES = [str(STORE), f"{STORE}-wal", f"{STORE}-shm"]


def of_all(users, rights, **more):
    return {**dict.fromkeys(users, rights), **{user.replace("_", "-"): may for user, may in more.items()}}


def rows():
    """{pattern: {user: rights}}. r: reads, w: writes, m: moves it away and back, so that it could also remove or replace it; of a
    folder l: lists it, c: makes a file in it. The first pattern that fits counts; what is not here is not possible."""
    found = {
        str(ETC): of_all(USERS, "l"), str(CONFIG): of_all(MEMBERS, "r"), str(ETC / "production.key"): {},
        str(LIB): of_all(MEMBERS, "l"), str(ANCHORS): of_all(MEMBERS, "l"), str(LOG): of_all(USERS, "l"),
        str(LIB / "store"): of_all(MEMBERS, "l", postgres="lc", editor="lc"),
        **{path: of_all(MEMBERS, "r", postgres="rwm", editor="rwm") for path in STORES},
    }
    for user, stream in [*OWN.items(), (None, "cli-root")]:
        def own(rights, members="", user=user):
            may = dict.fromkeys(MEMBERS, members) if members else {}
            return {**may, **({user: rights} if user else {})}
        if user:
            found[str(ETC / f"{stream}.key")] = own("r")
        found[str(ANCHORS / stream)] = own("lc", "l")
        for name in "generations", ".generations.spare":
            found[str(ANCHORS / stream / name)] = own("rwm", "r")
        found[str(ANCHORS / stream / ".lock")] = own("rwm")
        found[str(LOG / stream)] = {**own("lc"), "auditor": "l"}
        found[str(LOG / stream / "rings")] = own("lcm")
        for name in "log", "log.*", "access":
            found[str(LOG / stream / name)] = {**own("rwm"), "auditor": "r"}
        for name in "state", "refusals", "sent", "rings/*":
            found[str(LOG / stream / name)] = own("rwm")
    return found


MATRIX = rows()
# of these there is not one in each stream
LATER = ["/log.*", "/sent", "/access", "/refusals", "/rings/*", "/generations", "/.generations.spare", "/.lock"]
TRY = """
import json, os, stat, sys
found = {}
for path in json.loads(sys.argv[1]):
    may, folder = "", path.endswith("/")
    path = path.rstrip("/")
    def does(letter, fn):
        global may
        try: fn(); may += letter
        except OSError: pass
    def make():
        os.close(os.open(path + "/.try", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)); os.unlink(path + "/.try")
    def move():
        os.rename(path, path + ".moved"); os.rename(path + ".moved", path)
    if folder:
        does("l", lambda: os.listdir(path)); does("c", make)
    else:
        does("r", lambda: os.close(os.open(path, os.O_RDONLY))); does("w", lambda: os.close(os.open(path, os.O_WRONLY)))
    does("m", move)
    found[path] = may
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def servers(kt, users, canary):
    """All have worked, and what is made only now and then is there."""
    with contextlib.ExitStack() as stack:
        servers = Servers(kt, stack, canary)
        machine = servers.machine
        machine.sh("useradd -r editor; useradd -r auditor; usermod -aG keyturn,keyturn-write editor; usermod -aG keyturn-audit auditor")
        servers.ask_nginx("/stripe")
        servers.redis_do("SECRET.SET", "api-keys/x", "x")
        servers.postgres.value("SELECT rotate_secret('database/primary')")
        machine.get("api-keys/stripe", "deploy")
        machine.keyturn("set", "api-keys/stripe", user="deploy", input=b"refused", check=False)
        yield servers


def everything():
    """Folders end with a slash."""
    for top in ETC, LIB, LOG:
        for folder, _, files in os.walk(top):
            yield folder + "/"
            yield from (os.path.join(folder, name) for name in files)


def row_of(path):
    return next((pattern for pattern in MATRIX if fnmatch.fnmatchcase(path.rstrip("/"), pattern)), None)


def run_as(servers, user, *argv, **more):
    return subprocess.run([*servers.machine.become(user), *map(str, argv)], capture_output=True, text=True, cwd="/", timeout=60, **more)


def test_every_file_is_in_the_matrix(servers):
    paths = list(everything())
    assert [path for path in paths if row_of(path) is None] == []
    missing = set(MATRIX) - {row_of(path) for path in paths}
    assert [row for row in missing if not row.endswith(tuple(LATER))] == []
    for name in LATER[3:]:
        assert any(row_of(path).endswith(name) for path in paths), name


@pytest.mark.parametrize("user", USERS)
def test_what_each_user_can_do(servers, user):
    """No more, and no less: a right that is missing is an outage."""
    paths = list(everything())
    found = json.loads(run_as(servers, user, "/usr/bin/python3", "-c", TRY, json.dumps(paths)).stdout)
    wanted = {path.rstrip("/"): MATRIX[row_of(path)].get(user, "") for path in paths}
    assert {path: may for path, may in found.items() if may != wanted[path]} == {}
    assert set(found) == set(wanted)


# ---- each kind of file that some user can write, changed by that user ----

BEND = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
data = bytearray(os.pread(fd, 1 << 24, 0))
for at in range(len(data)) if sys.argv[2] == "all" else [len(data) // 2 if sys.argv[2] == "middle" else int(sys.argv[2])]:
    data[at] ^= 1
os.pwrite(fd, data, 0)
"""
BACKUP = "import sqlite3, sys; a, b = map(sqlite3.connect, sys.argv[1:]); a.backup(b)"
COPY = "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])"
MIDDLE, WHOLE = "middle", "all"
TABLES = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
table, column = sys.argv[2:4]
row = db.execute(f"SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL LIMIT 1").fetchone()
value = row[1] + 1 if isinstance(row[1], int) else row[1][:-1] + bytes([row[1][-1] ^ 1])
db.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (value, row[0]))
db.commit()
"""
COLUMNS = [("meta", "stamp"), ("meta", "record"), ("meta", "id"), ("head", "stamp"), ("head", "record"), ("head", "value"), ("head", "id"),
           ("value", "stamp"), ("value", "record"), ("node", "record"), ("node", "id")]


@pytest.fixture
def layout(machine):
    """Without servers: two secrets in two versions, which root wrote, and something in the stream of each user."""
    machine.sh("useradd -r editor; true")
    machine.init("--user", "deploy")
    machine.sh("usermod -aG keyturn,keyturn-write editor; sed -i '/#- {who: /s/#//' /etc/keyturn/keyturn.yaml; rm -rf /var/lib/kept; mkdir -m 1777 /var/lib/kept")
    machine.grant('  - {who: "uid:deploy", allow: [read], names: ["api-keys/*"]}')
    for name in "api-keys/stripe", "tls/note":
        machine.set(name, b"leaked")
        machine.set(name, b"renewed")
    machine.keyturn("check", check=False)
    yield machine
    machine.sh("gpasswd -d editor keyturn-write; gpasswd -d editor keyturn; rm -rf /var/lib/kept", check=False)


def does(machine, user, *argv):
    result = subprocess.run([*machine.become(user), *map(str, argv)], capture_output=True, text=True, cwd="/", timeout=60)
    assert result.returncode == 0, result


def python(machine, user, text, *args):
    does(machine, user, "/usr/bin/python3", "-c", text, *args)


def fails(machine, *verb, says=b""):
    result = machine.keyturn(*verb, check=False)
    assert result.returncode == 65 and says in result.stdout + result.stderr, (verb, result)


def no_old_value(machine):
    """Whatever was done: the newest value, or an error."""
    for user in None, "deploy":
        for name in "api-keys/stripe", "tls/note":
            assert machine.get(name, user) in (b"renewed", 65, 74, 75, 77), (user, name)


@pytest.mark.parametrize("user", ["postgres", "editor"])
def test_each_column_of_the_store(layout, user):
    python(layout, user, BACKUP, STORE, "/var/lib/kept/db")
    for table, column in COLUMNS:
        python(layout, user, TABLES, STORE, table, column)
        for verb in ("verify",), ("check",), ("backup", "/var/lib/kept/backup"):
            result = layout.keyturn(*verb, check=False)
            assert result.returncode in (65, 77), (table, column, verb, result)
        no_old_value(layout)
        python(layout, user, BACKUP, "/var/lib/kept/db", STORE)
    assert layout.keyturn("verify").returncode == 0 and layout.get("api-keys/stripe") == b"renewed"


@pytest.mark.parametrize("user", ["postgres", "editor"])
@pytest.mark.parametrize("how", ["in place", "renamed", "linked"])
def test_an_older_file_of_the_store(layout, user, how):
    """The file itself, not its rows; it then belongs to the user."""
    kept = f"/var/lib/kept/{user}.db"
    python(layout, user, BACKUP, STORE, kept)
    layout.set("api-keys/stripe", b"newest")
    for more in "-wal", "-shm":
        does(layout, user, "rm", "-f", f"{STORE}{more}")
    if how == "in place":
        python(layout, user, COPY, kept, STORE)
    else:
        does(layout, user, *(["mv", "-f", kept, STORE] if how == "renamed" else ["ln", "-sfn", kept, STORE]))
    assert layout.get("api-keys/stripe") in (65, 77) and layout.get("api-keys/stripe", "deploy") in (65, 77)
    assert layout.keyturn("verify", check=False).returncode in (65, 77) and layout.keyturn("check", check=False).returncode in (65, 77)


@pytest.mark.parametrize("user", ["postgres", "editor"])
@pytest.mark.parametrize("more, where", [("-wal", MIDDLE), ("-wal", WHOLE), ("-shm", MIDDLE), ("-shm", WHOLE), ("", MIDDLE), ("", WHOLE)])
def test_bytes_of_the_database(layout, user, more, where):
    """With an open connection, so that -wal and -shm are there. An older value is never served."""
    holder = subprocess.Popen(["/usr/bin/python3", "-c", "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM head')"
                               ".fetchall(); print(flush=True); sys.stdin.read()", str(STORE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    try:
        layout.set("api-keys/stripe", b"renewed")
        python(layout, user, BEND, f"{STORE}{more}", where)
        no_old_value(layout)
    finally:
        holder.stdin.close()
        holder.wait()
    no_old_value(layout)
    if where == WHOLE and more != "-shm":
        assert layout.keyturn("verify", check=False).returncode in (65, 74), "nothing is left"


@pytest.mark.parametrize("name, where", [("log", MIDDLE), ("log", WHOLE), ("state", 87), ("state", 88)])
def test_a_users_own_trail(layout, name, where):
    """Of the state: where the last seal ends, and the chain through it."""
    layout.get("api-keys/stripe", "deploy")
    layout.keyturn("audit", "verify", "--audit-key", AUDIT_KEY)
    python(layout, "deploy", BEND, LOG / "cli-deploy" / name, where)
    fails(layout, "audit", "verify", "--audit-key", AUDIT_KEY, says=b"cli-deploy")
    for verb in ("audit", "tail"), ("audit", "report"), ("audit", "log"):
        assert layout.keyturn(*verb, check=False).returncode in (0, 65), verb


def test_a_state_that_is_none(layout):
    """As if it were gone: that is said, and the next process of the stream begins a log with a gap."""
    layout.get("api-keys/stripe", "deploy")
    python(layout, "deploy", BEND, LOG / "cli-deploy/state", WHOLE)
    assert b"without the stream's state" in layout.keyturn("audit", "verify", "--audit-key", AUDIT_KEY, check=False).stdout
    assert layout.get("api-keys/stripe", "deploy") == b"renewed"
    lines = [json.loads(line) for line in (LOG / "cli-deploy/log").read_text().splitlines()]
    assert [line["severity"] for line in lines if line.get("action") == "gap"] == ["critical"]


def test_an_older_log_of_a_user(layout):
    """What was sealed since is missing by the state, which the user left alone."""
    layout.get("api-keys/stripe", "deploy")
    python(layout, "deploy", COPY, LOG / "cli-deploy/log", "/var/lib/kept/log")
    layout.get("api-keys/stripe", "deploy")
    python(layout, "deploy", COPY, "/var/lib/kept/log", LOG / "cli-deploy/log")
    fails(layout, "audit", "verify", "--audit-key", AUDIT_KEY, says=b"cli-deploy")


@pytest.mark.parametrize("name", ["access", "refusals", "rings"])
def test_what_counts_for_its_own_stream_only(layout, name):
    """Counters, and records that no seal covers yet, are the user's own word. They harm nobody: every verb of root works on."""
    layout.get("api-keys/stripe", "deploy")
    layout.keyturn("set", "api-keys/stripe", user="deploy", input=b"refused", check=False)
    if name == "rings":
        python(layout, "deploy", "import os, sys; open(sys.argv[1], 'wb').write(os.urandom(65536))", LOG / "cli-deploy/rings" / ("0" * 32))
    else:
        python(layout, "deploy", BEND, LOG / "cli-deploy" / name, WHOLE)
    for verb in ("info", "api-keys/stripe"), ("list",), ("lockout", "list"), ("audit", "tail"), ("audit", "report"), ("verify",):
        assert layout.keyturn(*verb, check=False).returncode == 0, verb
    assert layout.get("api-keys/stripe") == b"renewed" and layout.get("api-keys/stripe", "deploy") in (b"renewed", 74)


@pytest.mark.parametrize("name", ["generations", ".generations.spare", ".lock"])
@pytest.mark.parametrize("where", [MIDDLE, WHOLE])
def test_a_users_own_anchors(layout, name, where):
    """They were a witness more. An older store is refused by those of root, all the same."""
    own = ANCHORS / "postgresql"
    for file in "generations", ".generations.spare":
        python(layout, "postgres", COPY, ANCHORS / "cli-root" / file, own / file)
    does(layout, "postgres", "sh", "-c", f"echo anything > {own}/.lock")
    python(layout, "postgres", BACKUP, STORE, "/var/lib/kept/db")
    python(layout, "postgres", BEND, own / name, where)
    assert layout.get("api-keys/stripe") == b"renewed"
    if name == "generations" and where == WHOLE:
        assert any(what == "anchors" and str(own / name) in detail for what, detail in layout.wrong())
    layout.set("api-keys/stripe", b"newest")
    python(layout, "postgres", BACKUP, "/var/lib/kept/db", STORE)
    fails(layout, "get", "api-keys/stripe", says=b"older store")
    fails(layout, "verify", says=b"older store")


def test_each_kind_that_is_written_is_changed():
    """A new kind of file needs a test above."""
    written = {os.path.basename(path) for path, may in MATRIX.items() if any("w" in rights for rights in may.values())}
    changed = {"production.db", "production.db-wal", "production.db-shm", "log", "state", "access", "refusals", "*", "generations",
               ".generations.spare", ".lock"}
    # a rotated log is read as the log is; `sent` says what a sink has, and is the stream's own
    assert written - changed == {"log.*", "sent"}

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

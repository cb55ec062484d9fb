# SPDX-License-Identifier: BSD-2-Clause
"""Two roles that take turns as the user of a secret: what was read before stays valid until the rotation after."""
import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import threading

import psycopg2
import pytest

from lib.advice import follow
from lib.tools import wait_for
from postgresql.test_crash import COMMITTED, POINTS, killed
from postgresql.test_rotate import sqlstate

MANUAL = pathlib.Path(os.environ["KT_TOP"]) / "postgresql/keyturn-postgresql.7"
NUMBERS = itertools.count(1)


class Pair:
    """The secret `name`, whose users `a` and `b` take turns; both are members of `group`."""

    def __init__(self, db, password=None, options="LOGIN", field="user"):
        number = next(NUMBERS)
        self.db, self.name, self.field = db, f"database/pair{number}", field
        self.a, self.b, self.group = f"pair{number}_a", f"pair{number}_b", f"pair{number}"
        db.pg.sql(f"CREATE ROLE {self.group}")
        for role in self.a, self.b:
            db.pg.sql(f"CREATE ROLE {role} {options} IN ROLE {self.group}")
        if password:
            db.set_password(self.a, password)
        self.set([self.a, self.b], self.a, password or "none yet")

    def set(self, users, user, password):
        value = {"host": "127.0.0.1", "port": self.db.pg.port, "users": users, self.field: user, "password": password}
        self.db.home.set(self.name, json.dumps(value).encode(), "--force")

    def rotate(self):
        return self.db.pg.value("SELECT rotate_secret(%s)", [self.name])

    def value(self, version=None):
        value = json.loads(self.db.home.get(self.name + (f"@{version}" if version else "")))
        self.db.values.add(value["password"])
        return value[self.field], value["password"]

    def works(self, version=None):
        return self.db.pg.can_login(*self.value(version))

    def verifier(self, role):
        return self.db.pg.value("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role])

    def pending(self):
        return self.db.home.info(self.name).get("pending")

    def state(self):
        return self.db.pg.sql("SELECT role, version, state FROM keyturn.rotations WHERE secret = %s", [self.name])


@pytest.fixture
def pair(db, canary):
    return Pair(db, canary("pg-pair"))


def refused(db, pair):
    """The error of a rotation that changes nothing."""
    before = pair.value(), pair.verifier(pair.a), pair.verifier(pair.b)
    code, text = sqlstate(db, "SELECT rotate_secret(%s)", pair.name)
    assert (pair.value(), pair.verifier(pair.a), pair.verifier(pair.b)) == before and not pair.pending()
    return code, text


def test_two_rotations_swap_twice(pair):
    first = pair.value()
    for user, other in [(pair.b, pair.a), (pair.a, pair.b)] * 2:
        untouched = pair.verifier(other)
        pair.rotate()
        assert pair.value()[0] == user and pair.works()
        assert pair.value("previous")[0] == other and pair.works("previous")
        assert pair.verifier(other) == untouched
        assert [row[0] for row in pair.state()] == [user] and pair.state()[0][2] == "in step"
    assert not pair.db.pg.can_login(*first)


def test_from_roles_without_a_password(db):
    pair = Pair(db)
    pair.rotate()
    assert pair.value()[0] == pair.b and pair.works()
    pair.rotate()
    assert pair.value()[0] == pair.a and pair.works() and pair.works("previous")


def test_the_field_is_username(db, canary):
    pair = Pair(db, canary("pg-pair"), field="username")
    pair.rotate()
    assert pair.value()[0] == pair.b and pair.works() and pair.works("previous")


def test_a_session_of_the_old_user_goes_on(db, pair):
    with contextlib.closing(db.pg.connect(*pair.value(), tcp=True)) as connection, connection.cursor() as cursor:
        pair.rotate()
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == (pair.a,)
        db.pg.connect(*pair.value("previous"), tcp=True).close()


def test_no_login_fails(db, pair):
    """The point of it: a client that reads the secret and logs in is never refused, however often it is rotated in between."""
    failed, logins, stop = [], itertools.count(), threading.Event()

    def client():
        while not stop.is_set():
            user, password = pair.value()
            if not db.pg.can_login(user, password):
                failed.append(user)
            next(logins)
    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            before = next(logins)
            pair.rotate()
            wait_for(lambda before=before: next(logins) > before + 8, 20, what="logins")
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert failed == []


# ---- what is refused ----

@pytest.mark.parametrize("users, why", [
    ("app", "is not a list"), (["{a}"], "has 1 entry,"), (["{a}", "{b}", "postgres"], "has 3 entries"),
    (["{a}", "{a}"], "the same name twice"), (["{b}", "postgres"], "not one of `users`"), (["{a}", 7], "not a name")])
def test_a_wrong_list(db, pair, users, why):
    names = users if isinstance(users, str) else [str(one).format(a=pair.a, b=pair.b) if isinstance(one, str) else one for one in users]
    pair.set(names, *pair.value())
    code, text = refused(db, pair)
    assert code == "42809" and f'the users of secret "{pair.name}" cannot take turns' in text
    assert why in text and "(set " in text


def test_a_connection_uri_beside_two_users(db, pair):
    """It would name the one with the password of the other."""
    value = {**json.loads(db.home.get(pair.name)), "url": f"postgres://{pair.a}@127.0.0.1/postgres"}
    db.home.set(pair.name, json.dumps(value).encode(), "--force")
    code, text = refused(db, pair)
    assert code == "42809" and "a connection URI" in text


def test_a_role_that_does_not_exist(db, pair):
    pair.set([pair.a, "nobody_there"], *pair.value())
    code, text = sqlstate(db, "SELECT rotate_secret(%s)", pair.name)
    assert code == "42704" and 'role "nobody_there" does not exist' in text
    assert "HINT:  CREATE ROLE nobody_there LOGIN" in text
    assert pair.works() and not pair.pending()


@pytest.mark.parametrize("change", ["NOLOGIN", "VALID UNTIL '2001-01-01'"])
def test_a_role_that_cannot_log_in(db, pair, change):
    db.pg.sql(f"ALTER ROLE {pair.b} {change}")
    code, text = refused(db, pair)
    assert code == "55000" and f'role "{pair.b}" cannot log in' in text
    db.pg.sql(re.search(r"HINT:\s+(ALTER ROLE .*)\.", text).group(1))
    pair.rotate()
    assert pair.works()


@pytest.mark.parametrize("change, why", [
    ("REVOKE {group} FROM {b}", 'not a member of "{group}"'), ("GRANT pg_read_all_data TO {b}", 'a member of "pg_read_all_data"'),
    ("GRANT pg_read_all_data TO {a}", 'not a member of "pg_read_all_data"'),
    ("GRANT {group} TO {b} WITH ADMIN OPTION", 'by other options a member of "{group}"'),
    ("ALTER ROLE {b} CREATEDB", "CREATEDB"), ("ALTER ROLE {b} NOINHERIT", "not INHERIT"), ("ALTER ROLE {a} BYPASSRLS", "not BYPASSRLS")])
def test_roles_that_are_not_alike(db, pair, change, why):
    names = {"a": pair.a, "b": pair.b, "group": pair.group}
    db.pg.sql(change.format(**names))
    code, text = refused(db, pair)
    assert code == "55000" and f'role "{pair.b}" cannot take the place of role "{pair.a}"' in text
    assert f"Unlike the other one, it is {why.format(**names)}." in text


def test_roles_that_are_members_of_each_other(db, pair):
    """What the one is of the other is nothing to compare."""
    db.pg.sql(f"GRANT {pair.a} TO {pair.b}")
    pair.rotate()
    pair.rotate()
    assert pair.works()


@pytest.mark.parametrize("change, what", [("SET search_path = pg_catalog", "search_path"), ("CONNECTION LIMIT 5", "CONNECTION LIMIT"),
                                          ("IN DATABASE postgres SET work_mem = '1MB'", "work_mem")])
def test_other_settings_are_warned_of(db, pair, change, what):
    db.pg.sql(f"ALTER ROLE {pair.a} {change}")
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rotate_secret(%s)", [pair.name])
        text = "".join(connection.notices)
    assert f'role "{pair.b}" has other settings than role "{pair.a}"' in text and f"DETAIL:  {what}." in text
    assert pair.works()


def test_a_password_that_something_else_gave(db, pair):
    """Something may rely on it."""
    db.set_password(pair.b, "given by hand")
    code, text = refused(db, pair)
    assert code == "55000" and f'the password of role "{pair.b}" is not one of secret "{pair.name}"' in text
    db.pg.sql(re.search(r"HINT:.*(ALTER ROLE .* PASSWORD NULL)", text).group(1))
    pair.rotate()
    assert pair.works()


def test_the_user_in_use_was_changed_by_hand(db, pair):
    pair.rotate()
    db.set_password(pair.b, "given by hand")
    code, text = refused(db, pair)
    assert code == "55000" and f'the password of role "{pair.b}" is not the current one' in text


@pytest.mark.parametrize("change", ["NOLOGIN", "VALID UNTIL '2001-01-01'"])
def test_a_role_that_cannot_log_in_any_more(db, pair, stop_at, change):
    """Another session altered it while its new password was stored: what clients would read next is not published."""
    before, verifier = pair.value(), pair.verifier(pair.b)
    stopped = stop_at(db, pair, "after_pending")
    db.pg.sql(f"ALTER ROLE {pair.b} {change}")
    stopped.go_on()
    assert stopped.error.pgcode == "55000" and f'role "{pair.b}" cannot log in any more' in str(stopped.error)
    assert pair.value() == before and pair.works() and not pair.pending() and pair.verifier(pair.b) == verifier
    db.pg.sql(re.search(r"(ALTER ROLE .*), then", stopped.error.diag.message_hint).group(1))
    pair.rotate()
    assert pair.value()[0] == pair.b and pair.works()


# ---- back, crashes ----

def test_back_to_the_other_user(db, pair):
    """A rollback is a switch: nobody's password changes."""
    pair.rotate()
    pair.rotate()
    user, before = pair.value("previous")[0], (pair.verifier(pair.a), pair.verifier(pair.b))
    value = pair.value("previous")
    db.pg.value("SELECT rollback_secret(%s)", [pair.name])
    assert pair.value() == value and value[0] == user == pair.b
    assert (pair.verifier(pair.a), pair.verifier(pair.b)) == before
    assert pair.works() and pair.works("previous")
    pair.rotate()
    assert pair.value()[0] == pair.a and pair.works() and pair.works("previous")


def test_back_to_a_version_of_the_same_user(db, pair):
    for _ in range(3):
        pair.rotate()
    third = pair.value("2")
    assert third[0] == pair.value()[0] == pair.b and third != pair.value()
    db.pg.value("SELECT rollback_secret(%s, '2')", [pair.name])
    assert pair.value() == third and pair.works() and pair.works("3")


def test_back_to_what_was_set_by_hand(db, pair):
    first = pair.value()
    pair.rotate()
    db.pg.value("SELECT rollback_secret(%s)", [pair.name])
    assert pair.value() == first and pair.works()


def test_back_although_they_are_not_alike_any_more(db, pair):
    """An emergency is not the time to ask for that."""
    pair.rotate()
    db.pg.sql(f"REVOKE {pair.group} FROM {pair.b}")
    db.pg.value("SELECT rollback_secret(%s)", [pair.name])
    assert pair.value()[0] == pair.a and pair.works()


def test_back_to_a_user_who_takes_no_turns(db, pair):
    pair.rotate()
    db.pg.sql(f"CREATE ROLE {pair.group}_c LOGIN IN ROLE {pair.group}")
    pair.set([pair.b, f"{pair.group}_c"], *pair.value())
    code, text = sqlstate(db, "SELECT rollback_secret(%s, '1')", pair.name)
    assert code == "55000" and f'version 1 of secret "{pair.name}" is of another user' in text
    assert re.search("^ *2 +previous", follow(db.home, text[text.index("HINT:"):]), re.M)
    assert pair.works() and not pair.pending()


@pytest.mark.parametrize("preloaded", [True, False])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step(make_db, canary, point, preloaded):
    db = make_db(restart_after_crash="on", shared_preload_libraries="keyturn" if preloaded else None)
    pair = Pair(db, canary("pg-pair-crash"))
    first = pair.value()
    killed(db, pair, point)
    assert db.pg.can_login(*first), "the old user's password is not touched"
    if preloaded:
        wait_for(lambda: not pair.pending(), 15, what="the worker")
        assert pair.value()[0] == (pair.b if point in COMMITTED else pair.a) and pair.works()
    pair.rotate()
    assert pair.works() and pair.works("previous") and not pair.pending()
    assert pair.state()[0][2] == "in step"


def test_killed_with_the_server(make_db, canary):
    """The commit is in the WAL, the version is pending; the next start finishes it."""
    db = make_db(shared_preload_libraries="keyturn")
    pair = Pair(db, canary("pg-pair-crash"))
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'before_promote:kill'")
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [pair.name])
    db.pg.stop(signal.SIGKILL)
    db.pg.start()
    wait_for(lambda: not pair.pending(), 15, what="the worker")
    assert pair.value()[0] == pair.b and pair.works() and pair.works("previous")


# ---- the manual ----

def examples():
    text = MANUAL.read_text()
    section = text[text.index(".Sh ALTERNATING USERS"):]
    section = section[:section.index("\n.Sh ", 1)]
    return [block.replace("\\e", "\\") for block in re.findall(r"\.Bd -literal.*?\n(.*?)\.Ed", section, re.DOTALL)]


def test_the_example_of_the_manual(db):
    value, roles = examples()
    result = subprocess.run(["bash", "-e"], input=value.encode(), capture_output=True, timeout=30, env={
        **db.home.env, "KEYTURN_CONFIG": str(db.home.config), "PATH": f"{db.home.stage.keyturn.parent}:{os.environ['PATH']}"})
    assert result.returncode == 0, result.stderr
    result = db.pg.psql(roles, "-v", "ON_ERROR_STOP=1")
    assert result.returncode == 0, result.stderr
    for user in "orders_a", "orders_b":
        value = json.loads(db.home.get("database/orders"))
        assert value["user"] == user and db.pg.can_login(user, value["password"])
        db.pg.sql("SELECT rotate_secret('database/orders')")

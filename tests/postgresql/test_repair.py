# SPDX-License-Identifier: BSD-2-Clause
"""keyturn.repair(): one statement after a restore, a fail-over or a change of one side, on real clusters."""
import contextlib
import re

import psycopg2
import pytest

from lib.advice import follow
from lib.postgres import initdb
from lib.tools import wait_for
from postgresql.test_rotate import sqlstate, user  # noqa: F401

REPAIR = "SELECT was, became FROM keyturn.repair(%s, %s)"


class Copy:
    """An Account as another server of the same store has it."""

    def __init__(self, account, pg):
        self.account, self.pg, self.name, self.role = account, pg, account.name, account.role

    def agree(self):
        return self.pg.can_login(self.role, self.account.password())

    def verifier(self):
        return self.pg.value("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [self.role])

    def fails(self, query="SELECT rotate_secret(%s)"):
        with pytest.raises(psycopg2.Error) as caught:
            self.pg.sql(query, [self.name])
        return caught.value

    def repair(self, truth):
        (answer,) = self.pg.sql(REPAIR, [self.name, truth])
        return answer

    def rotates(self):
        """In step again, and the next rotation works. Its number is returned."""
        assert self.agree()
        assert self.pg.value("SELECT state FROM keyturn.rotations WHERE secret = %s", [self.name]) == "in step"
        version = self.pg.value("SELECT rotate_secret(%s)", [self.name])
        assert self.agree()
        return version


def states(account):
    return {version["version"]: version["state"] for version in account.db.home.versions(account.name)}


def here(account):
    return Copy(account, account.db.pg)


def records(account, action="rotate.repair"):
    return [(line["status"], line.get("version")) for line in account.db.home.records("postgresql") if line["action"] == action]


@pytest.fixture
def admin():
    """admin(db): the database that make_db made, with the right that repairs need."""
    def make(db):
        db.home.grant("postgresql:role:postgres", ["admin"], ["database/*"])
        return db
    return make


@pytest.fixture
def archived(make_db, admin, tmp_path):
    """A primary with an archive of its WAL."""
    (tmp_path / "archive").mkdir()
    db = admin(make_db(wal_level="replica", max_wal_senders="4", hot_standby="on", archive_mode="on",
                       archive_command=f"cp %p {tmp_path}/archive/%f"))
    db.archive = tmp_path / "archive"
    with open(db.pg.data / "pg_hba.conf", "a") as hba:
        hba.write("local replication postgres trust\n")
    db.pg.reload()
    return db


@pytest.fixture
def restored(archived, clone, canary):
    """Version 2 at the target of the recovery; 3 and 4 were made after it, and the first server is lost."""
    db, account = archived, archived.account(canary("pg-pitr"))
    account.rotate()
    account.second = account.verifier()
    copy = clone(db)
    db.pg.sql("CREATE TABLE after_the_backup (i int)")
    db.pg.value("SELECT pg_create_restore_point('before')")
    account.rotate()
    account.rotate()
    account.fourth = account.verifier()
    last = db.pg.value("SELECT pg_walfile_name(pg_switch_wal())")
    wait_for(lambda: (db.archive / last).exists(), 15, what="the archive")
    db.pg.stop()
    (copy.data / "recovery.signal").touch()
    copy.start(restore_command=f"cp {db.archive}/%f %p", recovery_target_name="before", recovery_target_action="promote")
    wait_for(lambda: not copy.value("SELECT pg_is_in_recovery()"), 30, what="the end of the recovery")
    assert copy.value("SELECT count(*) FROM after_the_backup") == 0
    return Copy(account, copy)


def test_a_restored_backup_says_what_to_do(restored):
    error = restored.fails()
    assert error.pgcode == "55000" and f"keyturn.repair('{restored.name}', 'database')" in error.diag.message_hint
    assert restored.fails("SELECT rollback_secret(%s, '2')").pgcode == "55000"
    assert not restored.agree()
    restored.pg.sql(re.search(r"SELECT keyturn\.repair\('[^']*', 'database'\)", error.diag.message_hint)[0])
    assert restored.agree()


def test_a_restored_database_is_right(restored):
    account = restored.account
    assert restored.repair("database") == ("store 4, role 2", "store 2, role 2")
    assert restored.verifier() == account.second and states(account)[2] == "current" and states(account)[4] == "previous"
    assert records(account) == [("intent", 2), ("success", 2)]
    assert restored.pg.sql("SELECT version, role, action, by_role FROM keyturn.rotation_history WHERE action = 'repaired'") == \
        [(2, restored.role, "repaired", "postgres")]
    assert restored.rotates() > 4


def test_a_store_is_right_beside_a_restored_database(restored):
    account = restored.account
    assert restored.repair("store") == ("store 4, role 2", "store 4, role 4")
    assert restored.verifier() == account.fourth
    assert states(account)[4] == "current" and records(account) == [("intent", 4), ("success", 4)]
    assert restored.rotates() > 4


@pytest.fixture
def failed_over(archived, clone, canary):
    """failed_over(point): a standby is promoted which the last rotation (or the one killed at a point) has not reached."""
    def make(point=None):
        db, account = archived, archived.account(canary("pg-failover"))
        account.rotate()
        standby = clone(db, "-R").start(hot_standby="on")
        flushed = db.pg.value("SELECT pg_current_wal_flush_lsn()")
        wait_for(lambda: standby.value("SELECT pg_last_wal_replay_lsn() >= %s", [flushed]), 15, what="replication")
        standby.stop()
        if point:
            with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
                cursor.execute("SET keyturn.debug_stop = %s", [point + ":kill"])
                with pytest.raises(psycopg2.OperationalError):
                    cursor.execute("SELECT rotate_secret(%s)", [account.name])
        else:
            account.rotate()
            account.rotate()
        db.pg.stop()
        standby.start(primary_conninfo="", shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s")
        standby.value("SELECT pg_promote()")
        return Copy(account, standby)
    return make


@pytest.mark.parametrize("truth, became", [("database", "store 2, role 2"), ("store", "store 4, role 4")])
def test_a_rotation_that_a_fail_over_lost(failed_over, truth, became):
    copy = failed_over()
    error = copy.fails()
    assert error.pgcode == "55000" and "keyturn.repair" in error.diag.message_hint and not copy.agree()
    assert copy.repair(truth) == ("store 4, role 2", became)
    assert copy.rotates() > 4


@pytest.mark.parametrize("truth, became", [("database", "store 2, role 2"), ("store", "store 2, role 2")])
def test_a_rotation_that_a_fail_over_left_pending(failed_over, truth, became):
    """The new primary cannot prove what became of it, so it asks a person; the value is kept all the same."""
    copy = failed_over("before_promote")
    wait_for(lambda: states(copy.account)[3] in ("pending", "abandoned"), 10)
    password = copy.account.password(3)
    if states(copy.account)[3] == "pending":
        error = copy.fails()
        assert error.pgcode == "55006" and "keyturn.repair" in error.diag.message_hint
        assert copy.repair(truth) == ("store 2, role 2", became)
    assert states(copy.account)[3] == "abandoned" and copy.account.password(3) == password
    copy.rotates()


def test_an_abandoned_version_that_the_role_has(make_db, admin, canary):
    """The verdict was wrong after all: nothing was destroyed, and the password becomes current."""
    db = admin(make_db(restart_after_crash="on"))
    account = db.account(canary("pg-verdict"))
    account.rotate()
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'after_pending:kill'")
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 30, what="the server after a crash")
    password = account.password("pending")
    account.rotate()
    assert states(account)[3] == "abandoned"
    db.set_password(account.role, password)
    copy = here(account)
    assert copy.fails().pgcode == "55000"
    assert copy.repair("database") == ("store 4, role 3", "store 3, role 3")
    assert account.password() == password and states(account)[3] == "current"
    copy.rotates()


@pytest.fixture
def mine(db, admin, account):
    admin(db)
    account.rotate()
    return here(account)


def set_by_force(account, password):
    account.db.values.add(password)
    account.db.home.run("set", account.name, "--field", "password", "--force", input=password.encode())


@pytest.mark.parametrize("truth, became", [("database", "store 2, role 2"), ("store", "store 3, role 3")])
def test_a_change_of_the_store(mine, truth, became):
    account = mine.account
    set_by_force(account, "forced-by-a-person")
    error = mine.fails()
    assert error.pgcode == "55000" and not mine.agree()
    verifier = mine.verifier()
    assert mine.repair(truth) == ("store 3, role 2", became)
    assert (mine.verifier() == verifier) == (truth == "database")
    assert (account.password() == "forced-by-a-person") == (truth == "store")
    mine.rotates()


def test_a_change_of_the_whole_value(mine):
    """Also if it names another role, which does not exist: this cluster knows whose password it was."""
    db, account = mine.account.db, mine.account
    db.home.run("set", account.name, "--force", input=b'{"user": "nobody_here", "password": "x", "host": "h", "name": "n", "port": 1}')
    assert mine.fails().pgcode == "42704"
    assert mine.repair("database") == ("store 3, role 2", "store 2, role 2")
    mine.rotates()


def test_a_change_of_the_role(mine):
    account = mine.account
    verifier = mine.verifier()
    account.db.set_password(account.role, "changed-by-hand")
    error = mine.fails("SELECT * FROM keyturn.repair(%s, 'database')")
    assert error.pgcode == "55000" and "no kept version" in str(error)
    assert "'store')" in error.diag.message_hint
    assert mine.repair("store") == ("store 2, role unknown", "store 2, role 2")
    assert mine.verifier() == verifier
    mine.rotates()


def test_what_a_refusal_advises(mine):
    account = mine.account
    account.db.set_password(account.role, "changed-by-hand")
    error = mine.fails("SELECT * FROM keyturn.repair(%s, 'database')")
    follow(account.db.home, error.diag.message_hint, input=b"changed-by-hand")
    assert account.password() == "changed-by-hand"
    mine.repair("database")
    mine.rotates()


def test_a_role_that_lost_its_password(mine):
    account = mine.account
    verifier = mine.verifier()
    account.db.pg.sql(f'ALTER ROLE "{account.role}" PASSWORD NULL')
    error = mine.fails("SELECT * FROM keyturn.repair(%s, 'database')")
    assert error.pgcode == "55000" and "has no password" in str(error)
    assert mine.repair("store") == ("store 2, role none", "store 2, role 2")
    assert mine.verifier() == verifier


@pytest.mark.parametrize("truth, resalted", [("database", True), ("store", False)])
def test_the_same_password_with_another_salt(mine, truth, resalted):
    account = mine.account
    verifier = mine.verifier()
    account.db.set_password(account.role, account.password())
    assert mine.repair(truth) == ("store 2, role 2", "store 2, role 2")
    assert (mine.verifier() != verifier) == resalted
    mine.rotates()


def test_an_older_version_of_the_role(mine):
    """By its password, without a note: as by a dump that was restored, or by hand."""
    account = mine.account
    old = account.password()
    account.rotate()
    account.db.set_password(account.role, old)
    assert mine.repair("database") == ("store 3, role 2", "store 2, role 2")
    assert account.password() == old
    mine.rotates()


def test_what_is_in_step_stays(mine):
    account = mine.account
    before = mine.verifier(), states(account), records(account)
    for truth in ("database", "store"):
        assert mine.repair(truth) == ("store 2, role 2", "store 2, role 2")
    assert (mine.verifier(), states(account), records(account)) == before
    assert account.db.pg.value("SELECT count(*) FROM keyturn.rotation_history WHERE secret = %s", [account.name]) == 1


# refusals


def test_refusals(kt, db, mine, account, make_postgres, canary):
    def refused(query, *parameters):
        return sqlstate(db, query, *parameters)
    assert refused(REPAIR, mine.name, "both")[0] == "22023"
    assert refused(REPAIR, "../x", "store")[0] == "22023"
    assert refused(REPAIR, "database/absent", "store")[0] == "42704"
    code, text = refused(REPAIR, db.account(canary("pg-unmanaged")).name, "store")
    assert code == "55000" and "not managed" in text
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        with pytest.raises(psycopg2.errors.FeatureNotSupported):
            cursor.execute(REPAIR, [mine.name, "store"])
    other = make_postgres(db.home)
    other.remove()
    initdb(kt, other.data, other.env)
    other.start()
    other.sql("CREATE EXTENSION keyturn")
    other.sql(f"CREATE ROLE {account.role} LOGIN")
    for truth in ("database", "store"):
        error = Copy(account, other).fails(f"SELECT * FROM keyturn.repair(%s, '{truth}')")
        assert error.pgcode == "55000" and "belongs to another cluster" in str(error)
    db.home.delete(mine.name)
    assert refused(REPAIR, mine.name, "store")[0] == "55000"


def test_who_may(db, mine, user):  # noqa: F811
    def refused():
        return sqlstate(db, REPAIR, mine.name, "store", **user)
    db.home.grant(f"postgresql:role:{user['user']}", ["read", "write", "rotate", "list", "delete"], [mine.name])
    assert "schema keyturn" in refused()[1]
    db.pg.sql(f'GRANT USAGE ON SCHEMA keyturn TO "{user["user"]}"')
    assert "function repair" in refused()[1]
    db.pg.sql(f'GRANT EXECUTE ON FUNCTION keyturn.repair(text, text) TO "{user["user"]}"')
    code, text = refused()
    assert code == "42501" and "denied" in text
    db.home.grant(f"postgresql:role:{user['user']}", ["admin"], [mine.name])
    code, text = refused()
    assert code == "42501" and "permission denied to alter" in text
    db.let_alter(user["user"], mine.account)
    assert db.pg.sql(REPAIR, [mine.name, "store"], **user) == [("store 2, role 2", "store 2, role 2")]


# killed


@pytest.mark.parametrize("truth, point", [("database", "before_repair"), ("database", "after_repair"), ("store", "before_repair"),
                                          ("store", "after_repair"), ("store", "after_alter")])
def test_killed(make_db, admin, canary, truth, point):
    db = admin(make_db(restart_after_crash="on", shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s"))
    account = db.account(canary("pg-killed"))
    account.rotate()
    copy = here(account)
    set_by_force(account, "forced-by-a-person")
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = %s", [point + ":kill"])
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute(REPAIR, [account.name, truth])
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 30, what="the server after a crash")
    assert not account.pending() and "abandoned" not in states(account).values()
    done = (truth, point) == ("database", "after_repair")
    assert copy.agree() == done
    copy.repair(truth)
    assert (account.password() == "forced-by-a-person") == (truth == "store")
    copy.rotates()

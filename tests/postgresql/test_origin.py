# SPDX-License-Identifier: BSD-2-Clause
"""A password that PostgreSQL manages: how it begins, what the command does not do to it, and which versions a roll-back refuses."""
import pytest

from postgresql.test_rotate import sqlstate


@pytest.fixture
def fresh(db, request):
    """README's way: a role without a password, a secret that names it."""
    role = f"fresh{next(db.numbers)}"
    name = f"database/{role}"
    db.pg.sql(f"CREATE ROLE {role} LOGIN")
    db.home.set(name, role.encode(), "--field", "user")
    return role, name


def password(db, name):
    value = db.home.get(f"{name}#password").decode()
    db.values.add(value)
    return value


def test_no_placeholder_is_needed(db, fresh):
    role, name = fresh
    assert db.pg.value("SELECT rotate_secret(%s)", [name]) == 2
    assert db.pg.can_login(role, password(db, name)) and db.home.info(name)["origin"] == "generated"


def test_the_same_commands_once_more_change_no_password(db, fresh):
    """README's block again."""
    role, name = fresh
    db.pg.value("SELECT rotate_secret(%s)", [name])
    before = password(db, name)
    assert db.home.set(name, role.encode(), "--field", "user") == 3
    assert password(db, name) == before and db.pg.can_login(role, before)
    assert db.home.info(name)["origin"] == "generated"
    assert db.pg.sql("SELECT state FROM keyturn.rotations WHERE secret = %s", [name]) == [("in step",)]
    assert db.pg.value("SELECT rotate_secret(%s)", [name]) == 4
    assert db.pg.can_login(role, password(db, name))
    db.pg.value("SELECT rollback_secret(%s)", [name])
    assert password(db, name) == before and db.pg.can_login(role, before)


@pytest.mark.parametrize("options, value", [
    ([], b'{"user": "app", "password": "none yet"}'), ([], b"newpw"), (["--field", "password"], b"newpw")])
def test_set_does_not_lock_the_role_out(db, account, options, value):
    account.rotate()
    result = db.home.run("set", account.name, *options, input=value, check=False)
    assert result.returncode == 73 and result.stdout == b""
    assert f"SELECT rotate_secret('{account.name}')".encode() in result.stderr and b"--force" in result.stderr
    assert account.agree() and account.rotate() == 3 and account.agree()


def test_set_with_force_is_taken_back_by_the_command(db, account):
    account.rotate()
    db.home.set(account.name, b"wrong", "--field", "password", "--force")
    assert not account.agree()
    code, text = sqlstate(db, "SELECT rotate_secret(%s)", account.name)
    assert code == "55000"
    assert db.home.run("set", account.name, "--field", "password", input=b"x", check=False).returncode == 73, "still managed"
    db.home.rollback(account.name)
    assert account.agree() and account.rotate() and account.agree()


def test_after_its_values_were_destroyed_it_begins_anew(db, account):
    """set was refused, with the advice to rotate, which was refused too."""
    account.rotate()
    db.home.run("destroy", "--all", "--yes", account.name)
    code, text = sqlstate(db, "SELECT rotate_secret(%s)", account.name)
    assert code == "55000" and "set a new value first" in text
    db.home.set(account.name, account.role.encode(), "--field", "user")
    db.pg.sql(f"ALTER ROLE {account.role} PASSWORD NULL")
    assert account.rotate() == 4 and account.agree()


@pytest.mark.parametrize("version", [None, "1"])
def test_a_version_never_in_force_is_no_way_back(db, version, canary):
    """F7: the live role got the placeholder, which stood in README."""
    account = db.account(None)
    account.rotate()
    before = account.password()
    code, text = sqlstate(db, "SELECT rollback_secret(%s, %s)", account.name, version)
    assert code == "55000" and "version 1 of secret" in text and "never in force" in text
    assert account.password() == before and account.agree() and not account.pending()


def test_what_the_role_had_by_other_means_is_one(db, account):
    first = account.password()
    account.rotate()
    db.pg.value("SELECT rollback_secret(%s)", [account.name])
    assert account.password() == first and account.agree()


def test_the_command_goes_back_to_none_either(db, canary):
    account = db.account(None)
    account.rotate()
    db.home.set(account.name, canary("forced"), "--field", "password", "--force")
    result = db.home.run("rollback", account.name, "1", check=False)
    assert result.returncode == 73 and b"never in force" in result.stderr
    db.home.rollback(account.name, 2)
    assert account.agree()


def test_due_in_bulk_it_is_rotated_in_postgresql(db, account, wait_for):
    """A schedule without the value, and without a new version."""
    account.rotate()
    db.home.run("meta", account.name, "rotation=quarterly")
    info = db.home.info(account.name)
    assert info["version"] == 2 and info["due"] > info["rotated"]
    account.rotate()
    assert db.home.info(account.name)["metadata"]["rotation"] == "quarterly"
    assert db.home.run("rotate", account.name, check=False).returncode == 73

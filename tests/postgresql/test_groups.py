# SPDX-License-Identifier: BSD-2-Clause
"""Rules of the policy for groups, and who asked in the audit log."""
import contextlib

import psycopg2
import pytest


@pytest.fixture(scope="module")
def people(db):
    db.pg.sql("CREATE ROLE dba NOLOGIN")
    for name in ["alice", "bob"]:
        db.pg.sql(f"CREATE ROLE {name} LOGIN")
        db.set_password(name, f"{name}-password")
    db.pg.sql("GRANT EXECUTE ON FUNCTION get_secret(text, text, text) TO PUBLIC")
    db.home.set("api-keys/group", "value-of-the-group")
    db.home.grant("postgresql:member:dba", ["read"], ["api-keys/*"])
    return db


def login(db, name):
    return contextlib.closing(db.pg.connect(user=name, password=f"{name}-password", tcp=True))


def reads(connection):
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT get_secret('api-keys/group')")
        return True
    except psycopg2.Error as error:
        return error.pgcode


def test_members_have_what_the_group_has(people):
    with login(people, "alice") as alice, login(people, "bob") as bob:
        assert reads(alice) == "42501"
        people.pg.sql("GRANT dba TO alice")
        assert reads(alice) is True and reads(bob) == "42501"
        people.pg.sql("REVOKE dba FROM alice")
        assert reads(alice) == "42501", "a membership that ended counts no more, whatever the cache has"


def test_a_member_without_its_privileges(people):
    """NOINHERIT: PostgreSQL gives the role nothing of the group before SET ROLE, and neither does the policy."""
    people.pg.sql("CREATE ROLE carol LOGIN NOINHERIT IN ROLE dba")
    people.set_password("carol", "carol-password")
    with login(people, "carol") as carol:
        assert reads(carol) == "42501"
        with carol.cursor() as cursor:
            cursor.execute("SET ROLE dba")
        assert reads(carol) is True


def test_a_denied_group(people):
    people.pg.sql("CREATE ROLE guests NOLOGIN")
    people.pg.sql("CREATE ROLE dora LOGIN IN ROLE dba, guests")
    people.set_password("dora", "dora-password")
    before = people.home.read_config()
    with login(people, "dora") as dora:
        assert reads(dora) is True
        people.home.deny("postgresql:member:gue*", ["read"], ["*"])
        assert reads(dora) == "42501"
    people.home.write_config(before)


def test_the_actor_is_who_logged_in(people):
    people.pg.sql("CREATE ROLE eve LOGIN IN ROLE dba")
    people.set_password("eve", "eve-password")
    with login(people, "eve") as eve, eve.cursor() as cursor:
        assert reads(eve) is True
        cursor.execute("SET ROLE dba")
        assert reads(eve) is True

    def lines(subject):
        return [line for line in people.home.records("postgresql")
                if line["subject"] == f"postgresql:role:{subject}" and line["reference"] == "api-keys/group"]
    assert "actor" not in lines("eve")[-1]
    assert lines("dba")[-1]["actor"] == "eve"

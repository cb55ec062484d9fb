# SPDX-License-Identifier: BSD-2-Clause
"""Commands that PostgreSQL's errors advise, run as they stand (cli/test_advice.py demands a case for each)."""
import contextlib
import re

import psycopg2
import pytest

from lib.advice import follow
from lib.postgres import initdb
from postgresql.test_rotate import sqlstate


def hint(text):
    return text[text.index("HINT:"):]


def test_set_beside_postgresql(db, account):
    """What PostgreSQL has already is stored with the command that the refusal names."""
    account.rotate()
    db.set_password(account.role, "changed-by-hand")
    result = db.home.run("set", account.name, "--field", "password", input=b"changed-by-hand", check=False)
    assert result.returncode == 73
    follow(db.home, result.stderr.decode(), input=b"changed-by-hand")
    assert account.agree()
    account.rotate()
    assert account.agree()


def test_a_password_that_was_changed_by_hand(db, account):
    account.rotate()
    db.set_password(account.role, "changed-by-hand")
    code, text = sqlstate(db, "SELECT rotate_secret(%s)", account.name)
    assert code == "55000"
    follow(db.home, hint(text), input=b"changed-by-hand")
    assert account.password() == "changed-by-hand" and account.agree()
    account.rotate()
    assert account.agree()


def test_no_role(db):
    db.home.run("generate", "general/opaque")
    before = db.home.get("general/opaque")
    code, text = sqlstate(db, "SELECT rotate_secret('general/opaque')")
    assert code == "42809"
    follow(db.home, hint(text))
    assert db.home.get("general/opaque") != before and db.home.info("general/opaque")["origin"] == "generated"


def test_rotated_somewhere_else(kt, make_db, make_postgres, canary):
    db = make_db(restart_after_crash="on")
    account = db.account(canary("pg-advice"))
    other = make_postgres(db.home)
    other.remove()
    initdb(kt, other.data, other.env)
    other.start()
    other.sql("CREATE EXTENSION keyturn")
    other.sql(f"CREATE ROLE {account.role} LOGIN")
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'after_pending:kill'")
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    with pytest.raises(psycopg2.Error) as caught:
        other.sql("SELECT rotate_secret(%s)", [account.name])
    assert re.search("^pending +2$", follow(db.home, hint(str(caught.value))), re.M)


def test_not_ready(make_postgres, home):
    """The server names another configuration than the command; a broken one is named by both."""
    pg = make_postgres(home)
    pg.start()
    pg.sql("CREATE EXTENSION keyturn")
    home.write_config(home.read_config() + "nonsense: 1\n")
    with pytest.raises(psycopg2.Error) as caught:
        pg.sql("SELECT get_secret('a')")
    assert "keyturn is not ready" in str(caught.value)
    assert "nonsense" in follow(home, hint(str(caught.value)), status=78)

# SPDX-License-Identifier: BSD-2-Clause
"""A role that is refused too often keeps what the policy allows it; a backend is a process of its own, and all count together."""
import contextlib

import psycopg2
import pytest


def test_a_role(make_db):
    db = make_db()
    db.home.set("database/allowed", "v")
    db.home.set("database/refused", "v")
    db.home.deny("postgresql:role:postgres", ["read"], ["database/refused"])
    for _ in range(30):
        with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
            with pytest.raises(psycopg2.Error, match="denied"):
                cursor.execute("SELECT get_secret('database/refused')")
            cursor.execute("SELECT get_secret('database/allowed')")
            assert cursor.fetchone() == ("v",)
    records = db.home.records("postgresql")
    assert [line["subject"] for line in records if line["action"] == "alert"] == ["postgresql:role:postgres"]
    assert len([line for line in records if line["status"] == "denied" and line["action"] == "read"]) == 11


def test_no_right_to_list_is_an_error(make_db, wait_for):
    """Of list_secrets(), and of the worker, which says it in the log instead of doing nothing."""
    db = make_db(shared_preload_libraries="keyturn")
    db.home.deny("postgresql:*", ["list"], ["*"])
    db.pg.stop()
    db.pg.start()
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error, match="denied"):
            cursor.execute("SELECT * FROM list_secrets()")
    wait_for(lambda: "WARNING" in db.pg.log() and "postgresql:worker" in db.pg.log(), 20, what="the worker's warning")

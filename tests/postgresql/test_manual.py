# SPDX-License-Identifier: BSD-2-Clause
"""Every command of keyturn-postgresql.7 works as it stands there, in the order of the page (F12: one needed more from PostgreSQL 16 on)."""
import contextlib
import json
import os
import re
import subprocess

import psycopg2
import pytest

from lib.stage import TOP

PAGE = (TOP / "postgresql/keyturn-postgresql.7").read_text()
SQL = re.compile(r"(CREATE|SELECT|GRANT|CALL|ALTER|DO)\b")
# what is there only while a rotation runs; pg_cron, by test_due.py
PENDING = re.compile(r"'pending'\);|@pending|cron\.")


def blocks():
    """(kind, text) of each literal block that can be run: "shell", "sql" or "policy"."""
    found = []
    for text in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", PAGE, re.M | re.S):
        text = text.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\e", "\\")
        if text.startswith("policy:"):
            found.append(("policy", text))
        elif re.match(r"(printf .* \| )?keyturn ", text):
            found.append(("shell", text))
        else:
            rest = [line for line in text.splitlines() if not line.startswith(("#", "keyturn", "shared_")) and not PENDING.search(line)]
            lines = "\n".join(rest).strip()
            if SQL.match(lines) or lines.startswith("--"):
                found.append(("sql", lines))
    return found


@pytest.fixture(scope="module")
def followed(db, kt, tmp_path_factory):
    """The page has been followed in a database of its own; the notices and errors of psql."""
    folder = tmp_path_factory.mktemp("manual")
    db.home.grant("postgresql:role:postgres", ["read", "write", "rotate", "list", "delete", "state", "admin"], ["*"])
    db.pg.sql("CREATE DATABASE manual")
    db.pg.sql("CREATE ROLE app LOGIN")
    db.set_password("app", "first")
    (folder / "account.json").write_text(json.dumps({"host": "127.0.0.1", "port": db.pg.port, "name": "manual", "user": "app",
                                                     "password": "first"}))
    env = {**db.pg.env, "PATH": f"{kt.keyturn.parent}:{os.environ['PATH']}", "KEYTURN_CONFIG": str(db.home.config)}
    after, said = [], []
    for kind, text in sorted(blocks(), key=lambda block: block[0] == "sql"):    # secrets and rules before they are used
        if kind == "policy":
            for line in re.findall(r"\{.*\}", text):
                db.home.add("policy", f"- {line}")
        elif kind == "shell":
            result = subprocess.run(["sh", "-ec", text], env=env, cwd=folder, capture_output=True, text=True, timeout=30)
            assert result.returncode == 0, (text, result.stderr)
        else:
            after.append(text)
    for text in after:
        result = db.pg.psql(text, "-v", "ON_ERROR_STOP=1", dbname="manual")
        assert result.returncode == 0, (text, result.stderr)
        said.append(result.stdout)
    return said


def test_the_page_has_them():
    kinds = [kind for kind, _ in blocks()]
    assert kinds.count("sql") >= 6 and kinds.count("shell") >= 3 and kinds.count("policy") >= 2


def test_each_works(followed, db):
    assert any("database/primary" in text or "version" in text for text in followed)
    assert db.pg.can_login("app", db.home.get("database/primary#password").decode())


def test_the_role_of_the_example_may_rotate_and_no_more(followed, db):
    with contextlib.closing(db.pg.connect(dbname="manual")) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION AUTHORIZATION app_admin")
        cursor.execute("SELECT rotate_secret('database/primary')")
        for query in ("SELECT get_secret('database/primary')", "SELECT rollback_secret('database/primary')",
                      "SELECT * FROM list_secrets()", "SELECT * FROM keyturn.rotations", "CALL keyturn.rotate('database/primary')"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(query)
    assert db.pg.can_login("app", db.home.get("database/primary#password").decode())


def test_from_16_on_it_needs_the_admin_option(followed, db):
    """Why the example has that line."""
    if db.pg.value("SELECT current_setting('server_version_num')::int") >= 160000:
        db.pg.sql("REVOKE app FROM app_admin")
        with contextlib.closing(db.pg.connect(dbname="manual")) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION AUTHORIZATION app_admin")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("SELECT rotate_secret('database/primary')")
    assert db.pg.can_login("app", db.home.get("database/primary#password").decode())

# SPDX-License-Identifier: BSD-2-Clause
"""list_secrets(), secret_info(), secret_versions(), get_secret(); installing and removing."""
import contextlib
import datetime
import subprocess

import psycopg2
import pytest


def code(db, query, *parameters, **connect):
    with pytest.raises(psycopg2.Error) as caught:
        db.pg.sql(query, list(parameters), **connect)
    return caught.value.pgcode


def test_list(db, canary):
    for name in ("tls/a", "tls/b", "api-keys/a"):
        db.home.set(name, canary("pg-list"))
    rows = db.pg.sql("SELECT name, version, state, expires FROM list_secrets('tls/*') ORDER BY name")
    assert rows == [("tls/a", 1, "live", None), ("tls/b", 1, "live", None)]
    assert {"tls/a", "tls/b", "api-keys/a"} <= {row[0] for row in db.pg.sql("SELECT name FROM list_secrets()")}
    created = db.pg.value("SELECT created FROM list_secrets('tls/a')")
    assert abs(datetime.datetime.now(datetime.timezone.utc) - created) < datetime.timedelta(minutes=5)


def test_list_shows_what_the_caller_may_list(db):
    db.pg.sql("CREATE ROLE lister LOGIN")
    db.set_password("lister", "lister")
    db.pg.sql("GRANT EXECUTE ON FUNCTION list_secrets TO lister")
    db.home.set("tls/lister", "x")
    db.home.set("database/lister", "x")
    db.home.grant("postgresql:role:lister", ["list"], ["tls/*"])
    names = {row[0] for row in db.pg.sql("SELECT name FROM list_secrets()", user="lister", password="lister", tcp=True)}
    assert "tls/lister" in names and "database/lister" not in names


def test_a_list_that_is_not_whole_is_an_error_that_names_the_provider(make_db, canary):
    """Names that are not known are not names that do not exist. keyturn.rotation_states() has a row for that (test_states.py)."""
    db = make_db()
    db.home.set("tls/a", canary("pg-partly"))
    db.home.add("providers", 'redis: {address: "127.0.0.1:1", timeout: 1s}')
    db.home.add("switch", '"cache/*": redis')
    with pytest.raises(psycopg2.Error) as caught:
        db.pg.sql("SELECT * FROM list_secrets()")
    assert caught.value.pgcode == "58000" and "could not be listed: unavail" in str(caught.value)
    assert caught.value.diag.message_detail.startswith("redis: ")


def test_info(db, account):
    db.home.run("set", account.name, "--meta", "tier=critical", "--meta", 'quote="\\', input=db.home.get(account.name))
    row = db.pg.sql("SELECT name, version, previous, pending, state, provider, metadata FROM secret_info(%s)",
                    [account.name])
    assert row == [(account.name, 2, 1, None, "live", "local", {"tier": "critical", "quote": '"\\', "origin": "issued"})]


def test_versions(db, account):
    account.rotate()
    account.rotate()
    assert db.pg.sql("SELECT version, state FROM secret_versions(%s)", [account.name]) == \
        [(3, "current"), (2, "previous"), (1, "kept")]


def test_absent(db):
    assert code(db, "SELECT * FROM secret_info('tls/absent')") == "42704"
    assert code(db, "SELECT * FROM secret_versions('tls/absent')") == "42704"
    assert code(db, "SELECT get_secret('tls/absent')") == "42704"
    assert code(db, "SELECT get_secret('no name')") == "22023"


def test_get(db, account, canary):
    value = canary("pg-get")
    db.home.set("general-value", value)
    assert db.pg.value("SELECT get_secret('general-value')") == value
    assert db.pg.value("SELECT get_secret(%s, 'user')", [account.name]) == account.role
    first = account.password()
    account.rotate()
    assert db.pg.value("SELECT get_secret(%s, 'password', 'previous')", [account.name]) == first
    assert db.pg.value("SELECT get_secret(%s, version => '1', field => 'password')", [account.name]) == first


def test_get_binary(db):
    db.home.set("general-binary", b"\x00\xff\xfe")
    assert code(db, "SELECT get_secret('general-binary')") == "22021"
    db.home.set("general-binary", b"\xff\xfe")
    assert code(db, "SELECT get_secret('general-binary')") == "22021"


def test_get_denied(db, account):
    db.home.deny("postgresql:role:postgres", ["read"], ["tls/secret"])
    db.home.set("tls/secret", "x")
    assert code(db, "SELECT get_secret('tls/secret')") == "42501"


def test_configuration_that_cannot_be_read(make_postgres, home):
    pg = make_postgres(home)
    pg.start(keyturn__config="/nonexistent/keyturn.yaml")
    pg.sql("CREATE EXTENSION keyturn")
    with pytest.raises(psycopg2.Error) as caught:
        pg.sql("SELECT rotate_secret('database/primary')")
    assert caught.value.pgcode == "F0000"
    assert "keyturn.config" in caught.value.diag.message_hint
    pg.sql("CREATE ROLE plain LOGIN")
    pg.sql("GRANT EXECUTE ON FUNCTION rotate_secret(text) TO plain")
    with pytest.raises(psycopg2.Error) as caught:
        pg.sql("SET ROLE plain; SELECT rotate_secret('database/primary')")
    assert "/nonexistent" not in str(caught.value.pgerror)
    # put right, it works in the next session without a restart
    pg.write_settings(keyturn__config=str(home.config))
    pg.reload()
    home.grant("postgresql:role:postgres", ["list"], ["*"])
    from lib.tools import wait_for
    wait_for(lambda: pg.sql("SELECT * FROM list_secrets()") == [], 10, what="the reloaded setting")


def test_no_session_can_use_another_configuration(db, tmp_path):
    """Neither before the library is loaded, when the setting is a mere placeholder, nor after."""
    db.pg.sql("CREATE ROLE curious LOGIN")
    db.set_password("curious", "curious")
    db.pg.sql("GRANT EXECUTE ON FUNCTION list_secrets TO curious")
    db.home.grant("postgresql:role:curious", ["list"], ["tls/*"])
    db.home.set("tls/curious", "x")
    with contextlib.closing(db.pg.connect(user="curious", password="curious", tcp=True)) as connection, \
            connection.cursor() as cursor:
        cursor.execute("SET keyturn.config = %s", [str(tmp_path / "keyturn.yaml")])
        cursor.execute("SELECT name FROM list_secrets('tls/curious')")
        assert cursor.fetchall() == [("tls/curious",)]
        for statement in ["SET keyturn.config = '/x'", "SET keyturn.debug_stop = 'after_alter'", "SHOW keyturn.config"]:
            with pytest.raises(psycopg2.Error) as caught:
                cursor.execute(statement)
            assert caught.value.pgcode in ("42501", "55P02")


def test_unknown_settings_are_reported(make_postgres, home):
    pg = make_postgres(home)
    pg.start(shared_preload_libraries="keyturn", keyturn__confg="x")
    assert "keyturn.confg" in pg.log()


def test_another_schema_and_removal(make_postgres, home):
    pg = make_postgres(home)
    pg.start()
    pg.sql("CREATE SCHEMA secrets")
    pg.sql("CREATE EXTENSION keyturn SCHEMA secrets")
    assert pg.value("SELECT to_regprocedure('secrets.rotate_secret(text)') IS NOT NULL")
    pg.sql("DROP EXTENSION keyturn")
    assert pg.value("SELECT to_regnamespace('keyturn') IS NULL")
    pg.sql("CREATE EXTENSION keyturn")


def test_dump_and_restore(db, account, kt):
    account.rotate()
    tool = [kt.pg_bin / "pg_dump", "-h", db.pg.sockets, "-p", str(db.pg.port), "-U", "postgres", "postgres"]
    dump = subprocess.run(tool, env=db.pg.env, capture_output=True, text=True, check=True).stdout
    assert account.name in dump and account.password() not in dump and "SCRAM" not in dump
    db.pg.sql("CREATE DATABASE restored")
    result = db.pg.psql(dump, "-q", "-v", "ON_ERROR_STOP=1", dbname="restored")
    assert result.returncode == 0, result.stderr
    history = "SELECT version FROM keyturn.rotation_history WHERE secret = %s ORDER BY at"
    assert db.pg.sql(history, [account.name], dbname="restored") == [(2,)]
    assert account.rotate(dbname="restored") == 3
    assert db.pg.sql(history, [account.name], dbname="restored") == [(2,), (3,)]


@pytest.mark.parametrize("script", ["0.1", "0.1--0.2"])
def test_the_script_is_not_for_psql(db, kt, script):
    script = next(kt.pg_bin.parents[3].rglob(f"extension/keyturn--{script}.sql"))
    result = db.pg.psql(script.read_text())
    assert ' EXTENSION keyturn' in result.stdout
    assert result.stderr == ""

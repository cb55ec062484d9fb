# SPDX-License-Identifier: BSD-2-Clause
"""generate_secret(), delete_secret(), undelete_secret(); CALL keyturn.rotate(), a rotation in several transactions; URIs as values."""
import contextlib
import re

import psycopg2
import pytest

from postgresql.test_rotate import sqlstate


@pytest.fixture
def name(request):
    return "api-keys/" + re.sub(r"\W+", "-", request.node.name)


def test_a_generated_secret_is_new_and_never_shown(db, name):
    assert db.pg.value("SELECT generate_secret(%s)", [name]) == 1
    value = db.home.get(name).decode()
    assert re.fullmatch(r"[A-Za-z0-9]{32}", value) and db.home.info(name)["origin"] == "generated"
    assert db.files_with(value) == []
    assert sqlstate(db, "SELECT generate_secret(%s)", name)[0] == "55006"
    assert db.home.get(name).decode() == value


def test_length_and_metadata(db, name):
    db.pg.value("SELECT generate_secret(%s, 48, %s)", [name, '{"rotation": "90d", "owner": "h\u00e9l\u00e8ne"}'])
    assert len(db.home.get(name)) == 48
    metadata = db.pg.value("SELECT metadata FROM secret_info(%s)", [name])
    assert (metadata["rotation"], metadata["owner"]) == ("90d", "h\u00e9l\u00e8ne")


@pytest.mark.parametrize("arguments", ["15", "1025", "-1", "32, '[]'", "32, '\"x\"'", "32, '{\"a\": 1}'", "32, '{\"a\": {\"b\": \"c\"}}'",
                                       "32, '{\"a\": null}'", "32, '{\"\": \"x\"}'", "32, '{\"rotation\": \"soon\"}'"])
def test_bad_arguments_make_no_secret(db, name, arguments):
    code, _ = sqlstate(db, f"SELECT generate_secret(%s, {arguments})", name)
    assert code == "22023" and name not in db.home.list()


def test_null_arguments(db, name):
    assert db.pg.value("SELECT generate_secret(NULL)") is None
    assert db.pg.value("SELECT generate_secret(%s, NULL, NULL)", [name]) == 1
    assert len(db.home.get(name)) == 32


def test_delete_and_undelete(db, name):
    db.pg.value("SELECT generate_secret(%s)", [name])
    value = db.home.get(name)
    for _ in range(2):
        db.pg.sql("SELECT delete_secret(%s)", [name])
        assert sqlstate(db, "SELECT get_secret(%s)", name)[0] == "55000"
        assert db.home.run("get", name, check=False).returncode == 66
    for _ in range(2):
        db.pg.sql("SELECT undelete_secret(%s)", [name])
        assert db.home.get(name) == value
    for call in ("delete_secret", "undelete_secret"):
        assert sqlstate(db, f"SELECT {call}(%s)", "api-keys/none")[0] == "42704"


@pytest.mark.parametrize("call", ["generate_secret", "delete_secret", "undelete_secret"])
def test_no_rollback_is_promised(db, name, call):
    """What stands in the store at once is refused where a caller might rely on a rollback."""
    with contextlib.closing(db.pg.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(f"SELECT {call}(%s)", [name])
    assert caught.value.pgcode == "0A000" and "with autocommit on" in caught.value.diag.message_hint
    code, _ = sqlstate(db, f"DO $$ BEGIN PERFORM {call}('{name}'); EXCEPTION WHEN division_by_zero THEN NULL; END $$")
    assert code == "0A000"
    assert sqlstate(db, f"BEGIN READ ONLY; SELECT {call}('{name}')")[0] == "25006"
    assert name not in db.home.list()


@pytest.mark.parametrize("call, right", [("SELECT generate_secret({})", "write"), ("SELECT delete_secret({})", "delete"),
                                         ("SELECT undelete_secret({})", "delete"), ("CALL keyturn.rotate({})", "rotate")])
def test_who_may(db, canary, call, right):
    """No role has EXECUTE by itself, and the policy decides by the same capabilities as for the command's verbs."""
    account = db.account(canary("pg-may"))
    role = "may_" + re.sub(r"\W+", "_", call.split("(")[0].split()[-1])
    name = account.name if right != "write" else "api-keys/" + role
    db.pg.sql(f"CREATE ROLE {role} LOGIN")
    db.let_alter(role, account)
    caller = db.pg.connect()
    with contextlib.closing(caller), caller.cursor() as cursor:
        cursor.execute(f"SET SESSION AUTHORIZATION {role}")
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(call.format("%s"), [name])
        assert caught.value.pgcode == "42501"
        db.pg.sql(f"GRANT USAGE ON SCHEMA keyturn TO {role}; GRANT EXECUTE ON ALL ROUTINES IN SCHEMA public, keyturn TO {role}")
        db.home.grant(f"postgresql:role:{role}", sorted({"read", "write", "rotate", "list", "delete"} - {right}), ["*"])
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(call.format("%s"), [name])
        assert caught.value.pgcode == "42501" and "policy" in caught.value.diag.message_hint
        db.home.grant(f"postgresql:role:{role}", [right], ["*"])
        cursor.execute(call.format("%s"), [name])
    assert db.home.records("postgresql")[-1]["subject"] == f"postgresql:role:{role}"


# CALL keyturn.rotate()


def test_a_called_rotation(db, account):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CALL keyturn.rotate(%s)", [account.name])
        assert connection.notices == [f'INFO:  secret "{account.name}" has version 2\n']
        cursor.execute("CALL keyturn.rotate(%s)", [account.name])
    assert account.agree() and not account.pending()
    assert db.pg.sql("SELECT version FROM keyturn.rotation_history WHERE secret = %s ORDER BY at", [account.name]) == [(2,), (3,)]


def test_a_called_rotation_has_transactions_of_its_own(db, account):
    with contextlib.closing(db.pg.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute("CALL keyturn.rotate(%s)", [account.name])
    assert caught.value.pgcode == "0A000" and "with autocommit on" in caught.value.diag.message_hint
    db.pg.sql(f"DO $$ BEGIN CALL keyturn.rotate('{account.name}'); CALL keyturn.rotate('{account.name}'); END $$")
    assert account.agree() and db.home.info(account.name)["version"] == 3


def test_what_an_earlier_call_left_is_ended_before_the_rotation_begins(make_db, canary, wait_for):
    db = make_db(restart_after_crash="on")
    account = db.account(canary("pg-left"))
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'before_promote:kill'")
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 30)
    assert account.pending() == 2
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'after_pending:error'")
        with pytest.raises(psycopg2.Error):
            cursor.execute("CALL keyturn.rotate(%s)", [account.name])
    # the first transaction has made the version current that the role had
    assert db.home.info(account.name)["version"] == 2 and account.agree() and not account.pending()


CALL = "CALL keyturn.rotate(%s)"


def held(db, account):
    """The locks that a session holds which waits for the provider: of the role, and of transactions that wrote something."""
    return db.pg.sql("SELECT locktype, mode FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.query LIKE 'CALL keyturn%%' "
                     "AND (locktype = 'object' AND objid = (SELECT oid FROM pg_authid WHERE rolname = %s) OR locktype = 'tuple' "
                     "OR locktype = 'relation' AND relation = 'pg_authid'::regclass AND mode = 'RowExclusiveLock')", [account.role])


@pytest.mark.parametrize("point", ["after_pending", "before_publish"])
def test_it_locks_no_role_while_it_waits_for_the_provider(db, account, stop_at, point):
    before = account.verifier()
    stopped = stop_at(db, account, point, CALL)
    assert held(db, account) == []
    assert db.home.info(account.name)["version"] == 1 and account.pending() == 2
    assert (account.verifier() == before) == (point == "after_pending")
    db.pg.sql(f"SET lock_timeout = '2s'; ALTER ROLE {account.role} CONNECTION LIMIT 7")  # an ALTER ROLE is not committed
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT rotate_secret(%s)", [account.name])
    stopped.go_on()
    assert stopped.error is None and account.agree() and not account.pending()
    assert account.rotate() == 3


@pytest.mark.parametrize("point, version", [("after_pending", 1), ("before_alter", 1), ("after_alter", 1), ("before_publish", 2)])
def test_a_called_rotation_is_killed(make_db, canary, wait_for, point, version):
    """Without a worker the next call says what became of it."""
    db = make_db(restart_after_crash="on")
    account = db.account(canary("pg-called"))
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('keyturn.debug_stop', %s, false)", [f"{point}:kill"])
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute(CALL, [account.name])
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 30)
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'after_pending:error'")
        with pytest.raises(psycopg2.Error):
            cursor.execute(CALL, [account.name])
    assert db.home.info(account.name)["version"] == version and account.agree() and not account.pending()
    db.pg.sql(CALL, [account.name])
    assert account.agree()


def test_the_role_is_altered_between_the_steps(db, account, stop_at, canary):
    stopped = stop_at(db, account, "before_alter", CALL)
    db.set_password(account.role, canary("pg-between"))
    verifier = account.verifier()
    stopped.go_on()
    assert stopped.error.pgcode == "40001" and account.verifier() == verifier
    # its lock is free, and a restored password is rotated again
    db.set_password(account.role, account.password())
    assert account.rotate() == 3 and account.agree()


def test_a_called_rotation_that_is_cancelled_keeps_no_lock(db, account):
    with contextlib.closing(db.pg.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET keyturn.debug_stop = 'before_alter:error'")
        with pytest.raises(psycopg2.Error):
            cursor.execute(CALL, [account.name])
        cursor.execute("RESET keyturn.debug_stop")
        assert db.pg.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
        assert account.rotate() == 3 and account.agree()
        cursor.execute(CALL, [account.name])
    assert account.agree()


def test_it_is_not_for_a_secret_that_is_not_there(db):
    assert sqlstate(db, "CALL keyturn.rotate('database/none')")[0] == "42704"
    assert sqlstate(db, "CALL keyturn.rotate('no name')")[0] == "22023"


# URIs


@pytest.mark.parametrize("value, rest", [
    ("postgresql://{role}:{password}@127.0.0.1:{port}/postgres?sslmode=prefer&application_name=a%20b",
     r"postgresql://{role}:([^@]*)@127\.0\.0\.1:{port}/postgres\?sslmode=prefer&application_name=a%20b"),
    ('{{"url": "postgres://{role}:{password}@127.0.0.1:{port}/postgres", "pool": 5}}',
     r'\{{"url": "postgres://{role}:([^@]*)@127\.0\.0\.1:{port}/postgres", "pool": 5, "rotated_at": "[0-9TZ:-]*"\}}'),
])
def test_the_password_in_a_uri_is_rotated(db, account, value, rest):
    fill = {"role": account.role, "port": db.pg.port}
    password = "old%2Fp%40ss"
    db.set_password(account.role, "old/p@ss")
    db.home.set(account.name, value.format(password=password, **fill), "--force")
    assert db.home.get(account.name + "#password") == b"old/p@ss" and db.home.get(account.name + "#user").decode() == account.role
    assert account.rotate() > 1 and account.agree()
    found = re.fullmatch(rest.format(**fill), db.home.get(account.name).decode())
    assert found and found[1] == account.password()
    if value.startswith("postgresql"):     # libpq reads the whole URI
        psycopg2.connect(db.home.get(account.name).decode()).close()
    assert db.pg.value("SELECT rollback_secret(%s)", [account.name]) and db.pg.can_login(account.role, "old/p@ss")
    assert db.home.get(account.name + "#password") == b"old/p@ss"


def test_a_uri_without_a_password_gets_one(db):
    db.pg.sql("CREATE ROLE nopass LOGIN")
    db.home.set("database/nopass", f"postgres://nopass@127.0.0.1:{db.pg.port}/postgres")
    db.pg.value("SELECT rotate_secret('database/nopass')")
    psycopg2.connect(db.home.get("database/nopass").decode()).close()


@pytest.mark.parametrize("uri, part", [("postgres://{role}:%zz@127.0.0.1/postgres", "password"), ("postgres://a%:x@127.0.0.1/p", "user"),
                                       ('{{"url": "postgres://{role}:p%00@127.0.0.1/postgres"}}', "password")])
def test_a_uri_that_is_encoded_wrong_is_not_taken_for_a_password(db, account, uri, part):
    """The error says which part is wrong, also to those who see no file names, and shows nothing of it."""
    password = account.password()
    db.home.set(account.name, uri.format(role=account.role), "--force")
    for statement in ("SELECT rotate_secret(%s)", f"SELECT adopt_secret(%s, '{account.role}')"):
        with pytest.raises(psycopg2.Error) as caught:
            db.pg.sql(statement, [account.name])
        assert caught.value.pgcode == "55000" and "its connection URI is malformed" in str(caught.value)
        assert f"the {part} in the connection URI has a percent sign" in caught.value.diag.message_detail
        assert "%zz" not in str(caught.value) and "%:x" not in str(caught.value)
    assert db.pg.can_login(account.role, password) and not account.pending()
    code, text = sqlstate(db, f"SELECT get_secret(%s, '{part}')", account.name)
    assert code == "22023" and f"the {part} in the connection URI" in text

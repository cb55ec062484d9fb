# SPDX-License-Identifier: BSD-2-Clause
"""The background worker, a standby, and a store that cannot be reached at the commit."""
import base64
import contextlib
import json
import os
import sqlite3
import time

import psycopg2
import pytest

from lib.tools import wait_for

WORKER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'keyturn worker'"


def test_it_runs_when_preloaded_and_comes_back(make_db):
    db = make_db(shared_preload_libraries="keyturn")
    wait_for(lambda: db.pg.sql(WORKER), 10, what="the worker")
    pid = db.pg.value(WORKER)
    db.pg.sql("SELECT pg_terminate_backend(%s)", [pid])
    wait_for(lambda: db.pg.sql(WORKER) and db.pg.value(WORKER) != pid, 15, what="the worker again")


def test_looking_is_one_line_in_the_trail(make_db, canary):
    """However many secrets there are."""
    db = make_db(shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s")

    def lines(action):
        return [line for line in db.home.records("postgresql")
                if line["subject"] == "postgresql:worker" and line["action"] == action]
    for _ in range(3):
        db.account(canary("pg-trail")).rotate()
    wait_for(lambda: any(line.get("count") == 3 for line in lines("state")), 10, what="a look at all three")
    before = len(lines("state"))
    wait_for(lambda: len(lines("state")) >= before + 2, 10, what="more looks")
    assert lines("info") == lines("list") == []


def test_it_is_connected_to_no_database(make_db):
    """So it blocks neither CREATE DATABASE, of which this one is the template, nor RENAME nor DROP."""
    db = make_db(shared_preload_libraries="keyturn")
    wait_for(lambda: db.pg.sql(WORKER), 10, what="the worker")
    assert db.pg.value("SELECT datid FROM pg_stat_activity WHERE backend_type = 'keyturn worker'") is None
    db.pg.sql("CREATE DATABASE other")
    db.pg.sql("CREATE DATABASE copy TEMPLATE postgres", dbname="other")
    db.pg.sql("ALTER DATABASE postgres RENAME TO renamed", dbname="other")
    db.pg.sql("ALTER DATABASE renamed RENAME TO postgres", dbname="other")


def test_it_says_what_the_policy_hides(make_db, canary):
    """A rule for other names leaves it with nothing to do, and looks like a good one."""
    db = make_db(worker=None, shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s")
    db.home.grant("postgresql:worker", ["rotate", "list"], ["db/*"])
    db.pg.reload()
    db.home.set("app/unrelated", canary("pg-unrelated"))
    db.account(canary("pg-hidden")).rotate()
    said = "the policy hides 1 secret of this cluster's roles from the worker"
    wait_for(lambda: said in db.pg.log(), 10, what="its warning")
    time.sleep(2.5)
    assert db.pg.log().count(said) == 1
    db.home.grant("postgresql:worker", ["rotate", "list"], ["database/*"])
    db.pg.reload()
    account = db.account(canary("pg-seen"))
    account.rotate()
    time.sleep(1.5)
    assert db.pg.log().count("the policy hides") == 1


def test_a_provider_of_other_names_is_down(make_db, stop_at, canary):
    """The worker could list nothing then, and a role stayed locked out."""
    db = make_db(shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s")
    account = db.account(canary("pg-elsewhere"))
    db.home.add("providers", 'redis: {address: "127.0.0.1:1", timeout: 1s}')
    db.home.add("switch", '"cache/*": redis')
    db.pg.reload()
    stop_at(db, account, "before_promote").die()
    wait_for(lambda: not account.pending(), 15, what="the worker")
    assert account.agree()
    assert db.pg.log().count('provider "redis" does not answer the worker') <= 2  # once for each worker


def test_a_verifier_that_is_stored_out_of_line(make_db, stop_at, canary):
    """A role may give itself one; without a database it cannot be fetched, which ends a process that tries."""
    db = make_db(shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s")
    if db.pg.value("SELECT reltoastrelid FROM pg_class WHERE relname = 'pg_authid'") == 0:
        pytest.skip("counterpart: from 18 on PostgreSQL stores no verifier out of line")
    account = db.account(canary("pg-toast"))
    verifier = account.verifier()
    large = verifier.replace(verifier.split("$")[1].split(":")[1], base64.b64encode(os.urandom(6000)).decode())
    stopped = stop_at(db, account, "after_pending")
    db.pg.sql(f"ALTER ROLE {account.role} PASSWORD %s", [large])
    stopped.die()
    wait_for(lambda: "gave up an interrupted rotation" in db.pg.log(), 15, what="the worker")
    assert "FATAL:  cannot read pg_class without having selected a database" not in db.pg.log()


def test_it_survives_a_configuration_that_is_not_there(make_postgres, home):
    pg = make_postgres(home)
    pg.start(shared_preload_libraries="keyturn", keyturn__config="/nonexistent.yaml")
    wait_for(lambda: "keyturn is not ready" in pg.log(), 10, what="its complaint")
    pid = pg.value(WORKER)
    time.sleep(1.5)
    assert pg.value(WORKER) == pid


@pytest.mark.parametrize("rights", [[], ["list"]])
def test_a_worker_without_its_rule_says_so(make_db, stop_at, canary, rights):
    """Once, and not with each look; it does not spin."""
    db = make_db(worker=rights, shared_preload_libraries="keyturn", keyturn__reconcile_interval="1s")
    account = db.account(canary("pg-denied"))
    stop_at(db, account, "before_promote").die()

    def denied():
        return [line for line in db.home.records("postgresql") if line["subject"] == "postgresql:worker" and line["status"] == "denied"]
    wait_for(lambda: db.pg.log().count("ready to accept connections") == 2, 20, what="recovery")
    before = len(denied())
    wait_for(lambda: len(denied()) >= before + 2, 10, what="its second try")
    log = db.pg.log().rsplit("reinitializing", 1)[1]  # the worker may speak before the server is ready
    assert log.count("the policy does not let the worker finish interrupted rotations") == 1
    assert 'HINT:  Add {who: "postgresql:worker", allow: [rotate, list]' in log and account.pending()
    db.home.grant("postgresql:worker", ["rotate", "list"], ["database/*"])
    db.pg.restart()
    wait_for(lambda: not account.pending(), 10, what="the worker")
    assert account.agree()


def test_it_stops_fast(make_db):
    db = make_db(shared_preload_libraries="keyturn")
    wait_for(lambda: db.pg.sql(WORKER), 10)
    started = time.monotonic()
    db.pg.stop()
    assert time.monotonic() - started < 3


def test_a_store_that_is_locked_at_the_commit(make_db, stop_at, canary):
    """Nothing is committed then, and the worker ends what is left."""
    db = make_db(shared_preload_libraries="keyturn", lock_timeout="1s")
    account = db.account(canary("pg-late"))
    first = account.password()
    stopped = stop_at(db, account, "after_alter")
    with contextlib.closing(sqlite3.connect(db.home.store, isolation_level=None, timeout=5)) as store:
        store.execute("BEGIN IMMEDIATE")
        stopped.go_on()
        assert stopped.error.pgcode == "55P03" and db.pg.can_login(account.role, first)
        store.execute("ROLLBACK")
    wait_for(lambda: not account.pending(), 10, what="the worker")
    assert account.password() == first and account.agree()


@pytest.fixture
def standby(make_db, clone):
    db = make_db(shared_preload_libraries="keyturn", wal_level="replica", max_wal_senders="4", hot_standby="on")
    with open(db.pg.data / "pg_hba.conf", "a") as hba:
        hba.write("local replication postgres trust\n")
    db.pg.reload()
    replica = clone(db, "-R")
    replica.start(shared_preload_libraries="keyturn", hot_standby="on")
    return db, replica


def test_a_standby_refuses_and_after_promotion_rotates(standby, canary):
    db, replica = standby
    account = db.account(canary("pg-standby"))
    account.rotate()
    wait_for(lambda: replica.value("SELECT count(*) FROM keyturn.rotation_history") == 1, 10, what="replication")
    with pytest.raises(psycopg2.Error) as caught:
        replica.sql("SELECT rotate_secret(%s)", [account.name])
    assert caught.value.pgcode == "25006"
    assert not replica.sql(WORKER)
    db.pg.stop()
    replica.value("SELECT pg_promote()")
    wait_for(lambda: replica.sql(WORKER), 15, what="the worker after promotion")
    account.db.pg = replica
    account.rotate()
    assert replica.can_login(account.role, account.password())


def reads(db, name):
    log = db.home.audit / "postgresql/log"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return len([line for line in lines if line.get("action") == "read" and line.get("reference") == name])


def test_it_writes_down_what_an_idle_transaction_has_read(make_db, canary):
    db = make_db(shared_preload_libraries="keyturn")
    wait_for(lambda: db.pg.sql(WORKER), 10, what="the worker")
    db.home.set("api-keys/idle", canary("pg-idle"))
    db.home.grant("postgresql:role:postgres", ["read"], ["api-keys/*"])
    with contextlib.closing(db.pg.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT get_secret('api-keys/idle')")
        wait_for(lambda: reads(db, "api-keys/idle") == 1, 30, what="the line of an open transaction")
        cursor.execute("SELECT get_secret('api-keys/idle')")
        connection.rollback()
        wait_for(lambda: reads(db, "api-keys/idle") == 2, 10, what="a read counts although its transaction was aborted")
        cursor.execute("SELECT get_secret('api-keys/idle')")
        connection.commit()
        wait_for(lambda: reads(db, "api-keys/idle") == 3, 10, what="the line of a transaction that has ended")
    db.home.run("audit", "verify")

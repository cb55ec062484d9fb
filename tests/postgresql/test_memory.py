# SPDX-License-Identifier: BSD-2-Clause
"""Backends and the worker lock their own secret memory."""
from lib import memory
from lib.read_format import read_key_file


def test_backends_and_worker(make_db, canary):
    db = make_db(shared_preload_libraries="keyturn")
    value = canary("memory")
    db.home.set("database/memory", value)
    key = read_key_file(db.home.key)[1][1]
    with db.pg.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT get_secret('database/memory'), pg_backend_pid()")
        got, backend = cursor.fetchone()
        assert got == value
        memory.assert_locked(backend, key, value.encode())
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'keyturn%'")
        workers = [row[0] for row in cursor.fetchall()]
    assert workers
    for worker in workers:
        memory.assert_locked(worker, key)

# SPDX-License-Identifier: BSD-2-Clause
"""Sessions that read and rotate go on while the store goes to a new epoch."""
import threading

import psycopg2

from lib import epochs


def test_sessions_read_and_rotate_on(make_db, canary):
    db = make_db()
    account = db.account(canary("rekey"))
    db.home.set("api-keys/a", "value")
    key = epochs.own_key(db.home, "postgresql")
    before = db.pg.connect()  # has read its key by now
    with before.cursor() as cursor:
        cursor.execute("SELECT get_secret('api-keys/a')")
        assert cursor.fetchone()[0] == "value"
    epochs.next_epoch(db.home)
    epochs.hand_out(db.home, key)
    stop, wrong, done = threading.Event(), [], {"reads": 0, "rotations": 0}

    def read():
        with before.cursor() as cursor:
            while not stop.is_set():
                try:
                    cursor.execute("SELECT get_secret('api-keys/a')")
                    assert cursor.fetchone()[0] == "value"
                except (psycopg2.Error, AssertionError) as error:
                    wrong.append(error)
                done["reads"] += 1

    def rotate():
        while not stop.is_set():
            try:
                account.rotate()
            except psycopg2.Error as error:
                wrong.append(error)
            done["rotations"] += 1

    threads = [threading.Thread(target=read), threading.Thread(target=rotate)]
    for thread in threads:
        thread.start()
    try:
        epochs.rekey_with_kills(db.home)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == [] and done["reads"] > 0 and done["rotations"] > 0
    assert account.agree()
    epochs.drop_epoch(db.home, 1)
    epochs.hand_out(db.home, key)
    account.rotate()
    assert account.agree() and db.pg.value("SELECT get_secret('api-keys/a')") == "value"
    db.home.run("verify")
    before.close()

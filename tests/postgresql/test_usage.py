# SPDX-License-Identifier: BSD-2-Clause
"""Reads are counted over all servers and processes of a host."""
import getpass
import os
import signal
import threading

import pytest

NAME = "api-keys/shared"


beside_others = pytest.mark.skipif("KT_ROOT" in os.environ,
                                   reason="counterpart: no nginx and no Redis in the root of another PostgreSQL (auto/servers)")


@beside_others
def test_all_servers_together(make_db, make_nginx, make_redis, upstream, wait_for):
    database = make_db()
    home, nginx = database.home, None
    home.grant("nginx:*", ["read"], ["*"])
    home.grant("redis:*", ["read", "write", "list"], ["*"])
    home.set(NAME, "v-1")
    nginx, redis = make_nginx(home), make_redis(home)
    nginx.configure(f"""
        secret_get $key {NAME};
        server {{ listen 127.0.0.1:@PORT@; server_name app;
                  location / {{ proxy_set_header X-Key $key; proxy_pass http://127.0.0.1:{upstream.port}; }} }}""", workers=4)
    nginx.start()
    redis.start("appendonly no")

    def ask():
        for _ in range(25):
            assert nginx.get("/").status == 200
    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert home.info(NAME)["accessed"] == 100
    assert home.info(NAME)["last_subject"] == "nginx:app"

    # kill -9 takes nothing along
    for worker in nginx.worker_pids():
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: nginx.get("/").status == 200)
    assert home.info(NAME)["accessed"] == 101

    client = redis.client()
    client.execute_command("SECRET.SET", NAME, "of redis")
    for _ in range(10):
        client.execute_command("SECRET.GET", NAME)
    client.execute_command("SECRET.GETSEALED", NAME)
    info = client.execute_command("SECRET.INFO", NAME)
    info = {str(k, "ascii") if isinstance(k, bytes) else k: v for k, v in zip(info[::2], info[1::2])}
    assert info["accessed"] == 112 and info["last-accessed"] > 0
    assert info["last-subject"] in (b"redis:default", "redis:default") and info["last-stream"] in (b"redis", "redis")

    for _ in range(5):
        assert database.pg.value(f"SELECT get_secret('{NAME}')") == "v-1"
    row = database.pg.sql(f"SELECT accessed, last_subject, last_stream, last_accessed IS NOT NULL FROM secret_info('{NAME}')")
    assert row == [(117, "postgresql:role:postgres", "postgresql", True)]
    home.get(NAME)
    info = home.info(NAME)
    assert (info["accessed"], info["last_subject"]) == (118, "uid:" + getpass.getuser())


@beside_others
def test_counts_that_may_not_be_read_are_not_none(make_db, make_redis):
    """A stream belongs to its user: the reads in it are not known to others."""
    database = make_db()
    home = database.home
    home.grant("redis:*", ["read", "write", "list"], ["*"])
    home.set(NAME, "v-1")
    home.get(NAME)
    redis = make_redis(home)
    redis.start("appendonly no")
    redis.client().execute_command("SECRET.SET", NAME, "of redis")
    [stream] = home.audit.glob("cli-*")
    stream.chmod(0)
    try:
        assert database.pg.sql(f"SELECT accessed FROM secret_info('{NAME}')") == [(None,)]
        info = redis.client().execute_command("SECRET.INFO", NAME)
        assert dict(zip(info[::2], info[1::2]))[b"accessed"] is None
    finally:
        stream.chmod(0o700)
    assert database.pg.sql(f"SELECT accessed FROM secret_info('{NAME}')") == [(1,)]

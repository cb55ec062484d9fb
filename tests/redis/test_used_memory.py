# SPDX-License-Identifier: BSD-2-Clause
"""Secrets lie in the server's memory, so that it counts, limits and evicts them."""
import os
import pathlib

import pytest
import redis as client_library

MANY, VALUE = 50000, b"x" * 32


def used(db):
    return db.info("memory")["used_memory"]


def resident(server):
    """Bytes, as the kernel counts them."""
    return int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sealed_sizes(server, name):
    """Of the records of a secret of 32 bytes."""
    db = server.client()
    db.execute_command("SECRET.SET", name, VALUE)
    data, at, sizes = db.execute_command("SECRET.GETSEALED", name), 8, []
    while at < len(data):
        sizes.append(int.from_bytes(data[at:at + 4], "big"))
        at += 4 + sizes[-1]
    return sizes


def test_a_secret_is_counted(open_redis, sealed_redis, bundles, name):
    head, value = (size - 72 - 20 for size in sealed_sizes(open_redis(), name()))
    server = sealed_redis()
    db = server.client()
    before, rss = used(db), resident(server)
    pipe = db.pipeline(transaction=False)
    for n in range(MANY):
        secret = n.to_bytes(16, "big")
        records = [bundles.record(2, 1, secret, size=head), bundles.record(1, 1, secret, size=value)]
        pipe.execute_command("SECRET.SETSEALED", f"api-keys/secret-{n:06}", bundles.join(records))
        if n % 500 == 499:
            pipe.execute()
    counted, grown = used(db) - before, resident(server) - rss
    assert db.dbsize() == MANY
    assert counted / MANY <= 800, counted / MANY     # 520 are the sealed records, about 107 the server's own for any key of a module
    assert 0.9 <= counted / grown <= 1.1, (counted / MANY, grown / MANY)
    assert 600 < db.memory_usage("api-keys/secret-000001") <= 800


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
def test_maxmemory(open_redis, name, policy):
    db = open_redis().client()
    db.config_set("maxmemory", used(db) + (2 << 20))
    db.config_set("maxmemory-policy", policy)
    refused = 0
    for _ in range(60):
        try:
            db.execute_command("SECRET.SET", name(), b"x" * 60000)
        except client_library.exceptions.ResponseError as error:
            assert "OOM" in str(error)
            refused += 1
    kept = db.dbsize()
    assert kept < 40
    assert (refused == 60 - kept and refused > 20) if policy == "noeviction" else (refused == 0 and kept > 10)


def test_keep_versions(open_redis, name, refused):
    server, one, other = open_redis("appendonly no", "keyturn.keep-versions 3"), name(), name()
    db = server.client()
    assert db.config_get("keyturn.*") == {b"keyturn.keep-versions": b"3"} or db.config_get("keyturn.*") == {"keyturn.keep-versions": "3"}
    for n in range(6):
        db.execute_command("SECRET.SET", one, b"%d" % n)
    assert len(db.execute_command("SECRET.VERSIONS", one)) == 3
    assert db.execute_command("SECRET.GET", one, "VERSION", 4) == b"3"
    refused("SECRETVERSION", db, "SECRET.GET", one, "VERSION", 3)
    db.config_set("keyturn.keep-versions", 5)
    for n in range(6):
        db.execute_command("SECRET.SET", other, b"%d" % n)
    assert len(db.execute_command("SECRET.VERSIONS", other)) == 5
    for wrong in (1, 101):
        with pytest.raises(client_library.exceptions.ResponseError):
            db.config_set("keyturn.keep-versions", wrong)

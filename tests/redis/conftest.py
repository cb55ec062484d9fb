# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the Redis suite.

    open_redis     open_redis(*lines): a running server over `home`, which lets every ACL user do everything
    sealed_redis   sealed_redis(*lines): a running server without a key
    name           a fresh name of a secret ("api-keys/..."), another one at each call
    driver_of      driver_of(address=...): the conformance driver of tests/providers over the provider `redis`
    bundles        made-up sealed secrets with true clear headers: bundles.make(...)
"""
import importlib.util
import itertools
import os
import pathlib
import struct

import pytest
import redis as client_library

EVERYTHING = ["read", "write", "rotate", "list", "delete", "admin"]


@pytest.fixture
def open_redis(home, make_redis):
    home.grant("redis:*", EVERYTHING, ["*"])

    def start(*lines):
        server = make_redis(home)
        return server.start(*(lines or ["appendonly no"]))
    return start


@pytest.fixture
def sealed_redis(make_redis):
    def start(*lines):
        return make_redis(None).start(*(lines or ["appendonly no"]))
    return start


@pytest.fixture
def name():
    numbers = itertools.count(1)
    return lambda: f"api-keys/secret-{next(numbers)}"


@pytest.fixture
def refused():
    """refused(prefix, client, *command): the server answers this error; returns its whole text."""
    def call(prefix, client, *command):
        # the client library cuts ERR off, and nothing else
        with pytest.raises(client_library.exceptions.ResponseError) as caught:
            client.execute_command(*command)
        text = str(caught.value)
        if prefix != "ERR":
            assert text.split(" ", 1)[0] == prefix, text
        else:
            assert not text.startswith("SECRET"), text
        return text
    return call


class Bundles:
    """As docs describe them: a head and values after clear headers. The rest is noise: there is no key for it."""

    @staticmethod
    def record(kind, number, secret, key=b"K" * 16, size=128):
        header = b"KTRN" + bytes([1, 1, kind, 0]) + key + secret + struct.pack(">Q", number) + os.urandom(24)
        return header + os.urandom(size + 20)

    def make(self, counter=1, secret=b"S" * 16, versions=(1,), current=True, key=b"K" * 16):
        records = [self.record(2, counter, secret, key)] + [self.record(1, n, secret, key) for n in versions]
        return self.join(records, current)

    @staticmethod
    def join(records, current=True):
        head = b"KTB\1" + bytes([1 if current else 0, 0]) + struct.pack(">H", len(records))
        return head + b"".join(struct.pack(">I", len(record)) + record for record in records)


@pytest.fixture
def bundles():
    return Bundles()


@pytest.fixture
def driver_of(kt):
    folder = pathlib.Path(__file__).resolve().parents[1] / "providers/conftest.py"
    spec = importlib.util.spec_from_file_location("providers_conftest", folder)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    program = pathlib.Path(os.environ.get("KT_TEST_BIN", kt.libdir.parent / "tests")) / "providers/conformance"
    made = []

    def make(**options):
        made.append(module.Driver(program, kt.libdir / "keyturn/redis.so", kt.environment(), options))
        return made[-1]
    yield make
    for one in made:
        one.close()

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes the files of one release that every later one must read: tests/abi/0.1. Run once, by the release.

    tests/abi/freeze.py COMMAND FOLDER      COMMAND: the release's `keyturn`; its libkeyturn.so.0 is found as the command finds it

What it makes: a store with anchors, the environment's key with two epochs, a file of type keys, backups with and without a recipient,
an audit log of the host nginx with its audit key, and what is in all of it (expected.json). Every value in it is public."""
import ctypes
import json
import pathlib
import shutil
import sqlite3
import subprocess
import sys

CONFIG = """environment: production
key: {cli: "file:production.key", nginx: "file:types.key"}
providers:
  local: {path: "production.db", keep_versions: 10}
switch:
  "*": local
policy:
  - {who: "uid:*", allow: [read, write, rotate, list, delete, admin], names: ["*"]}
  - {who: "nginx:*", allow: [read], names: ["api-keys/*", "tls/*"]}
audit: {path: "audit", required: true}
"""
VALUES = {
    "plain": b"a name without a type", "api-keys/stripe": b"sk-live-0.1", "api-keys/binary": bytes(range(256)), "api-keys/large": b"L" * 9000,
    "tls/shop": b"-----BEGIN PRIVATE KEY-----\nnot one\n-----END PRIVATE KEY-----\n", "database/primary": b'{"user": "app", "password": "p-0.1"}',
    "config/settings": '{"größe": 1}'.encode()}


class Request(ctypes.Structure):
    """The start of kt_request_t; the rest is zero, also what later versions add."""
    _fields_ = [("size", ctypes.c_size_t), ("reference", ctypes.c_char_p), ("reference_len", ctypes.c_size_t), ("subject", ctypes.c_char_p),
                ("rest", ctypes.c_char * 1024)]


def read_as_nginx(library, config, name):
    """The value, read as nginx reads it, in its stream."""
    kt = ctypes.CDLL(library)
    for function in ("kt_setup_error", "kt_error", "kt_secret_bytes"):
        getattr(kt, function).restype = ctypes.c_void_p
    kt.kt_secret_size.restype = ctypes.c_size_t
    setup, ctx, secret = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    request = Request(size=ctypes.sizeof(Request), reference=name.encode(), subject=b"nginx:shop")
    if kt.kt_setup(str(config).encode(), b"nginx", ctypes.byref(setup)) or kt.kt_open(setup, ctypes.byref(ctx)):
        raise RuntimeError(ctypes.string_at(kt.kt_setup_error(setup)))
    if kt.kt_get(ctx, ctypes.byref(request), ctypes.byref(secret)):
        raise RuntimeError(ctypes.string_at(kt.kt_error(ctx)))
    value = ctypes.string_at(kt.kt_secret_bytes(secret), kt.kt_secret_size(secret))
    kt.kt_secret_free(secret)
    kt.kt_close(ctx)
    kt.kt_setup_free(setup)
    return value


def main(command, folder):
    folder = pathlib.Path(folder).absolute()
    library = next(word for line in subprocess.run(["ldd", command], capture_output=True, text=True, check=True).stdout.splitlines()
                   if "libkeyturn.so.0" in line for word in line.split() if word.startswith("/"))

    def keyturn(*args, value=b"", config=folder / "keyturn.yaml"):
        return subprocess.run([command, "-c", str(config), *map(str, args)], input=value, check=True, capture_output=True, cwd=folder).stdout

    def at(name, *options):
        keyturn("--quiet", *options, value=VALUES[name])
    made = folder / "made"
    keyturn("init", "--environment", "production", "--audit-key", folder / "audit.key", made)
    for path in made.iterdir():
        if path.name.startswith("production") or path.name == "anchors":
            path.rename(folder / path.name)
    shutil.rmtree(made)
    (folder / "audit").mkdir(mode=0o700)
    (folder / "keyturn.yaml").write_text(CONFIG)
    keyturn("keygen", "--types", "api-keys,tls", "types.key")
    for name in VALUES:
        at(name, "set", name, "--meta", "owner=ops")
    for value in (b"sk-old", VALUES["api-keys/stripe"]):
        keyturn("--quiet", "set", "api-keys/stripe", value=value)
    at("plain", "set", "deleted")
    keyturn("delete", "deleted")
    # a second epoch, with one type under it and the others still under the first
    keyturn("keygen", "--epoch", "two.key")
    (folder / "two.key").rename(folder / "production.key")
    keyturn("keygen", "--types", "api-keys,tls", "two.types")
    (folder / "two.types").rename(folder / "types.key")
    keyturn("rekey")
    keyturn("keygen", "--recipient", "recipient.key")
    keyturn("keygen", "--stream", "nginx", "--audit-key", "audit.key", "audit/nginx")
    for name in ("api-keys/stripe", "tls/shop", "api-keys/binary"):
        assert read_as_nginx(library, folder / "keyturn.yaml", name) == VALUES[name]
    keyturn("backup", "backup.kt")
    keyturn("backup", "--recipient", "recipient.key.pub", "recipient.kt")
    for path in (folder / "audit").glob("cli-*"):
        shutil.rmtree(path)  # of the user who runs this
    for path in (folder / "audit/nginx").iterdir():
        if path.name not in ("log", "state"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with sqlite3.connect(folder / "production.db") as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in [*folder.glob("production.db-*"), *folder.glob("anchors/*/.generations.spare")]:
        path.unlink()
    expected = {"version": keyturn("--version").decode().split()[-1], "values": {name: value.hex() for name, value in VALUES.items()},
                "previous": {"api-keys/stripe": b"sk-old".hex()}, "deleted": ["deleted"]}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    pathlib.Path(sys.argv[2]).mkdir(mode=0o755)
    main(*sys.argv[1:])

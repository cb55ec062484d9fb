# SPDX-License-Identifier: BSD-2-Clause
"""Every later build opens, reads, verifies and continues what a release has written: tests/abi/0.1 and its kin, made by freeze.py."""
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from lib.home import Home

HERE = pathlib.Path(__file__).resolve().parent
RELEASES = sorted(path.parent for path in HERE.glob("*/expected.json"))
AS_NGINX = "import sys; sys.path.insert(0, sys.argv[1]); from freeze import read_as_nginx; sys.stdout.buffer.write(read_as_nginx(*sys.argv[2:]))"


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def frozen(request, kt, tmp_path):
    """A copy with the modes that the files had: git keeps none."""
    home = Home(kt, tmp_path / "home", "production")
    shutil.copytree(request.param, home.dir)
    for path in [home.dir, *home.dir.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    (home.dir / "audit/nginx/log").chmod(0o640)
    home.expected = json.loads((home.dir / "expected.json").read_text())
    home.values = {name: bytes.fromhex(value) for name, value in home.expected["values"].items()}
    return home


def as_nginx(home, name):
    library = home.stage.libdir / "libkeyturn.so.0"
    return subprocess.run([sys.executable, "-c", AS_NGINX, str(HERE), str(library), str(home.config), name], env=home.env, check=True,
                          capture_output=True).stdout


def test_there_is_one_for_each_release():
    assert [path.name for path in RELEASES] == ["0.1"]


def test_the_audit_log_verifies(frozen):
    """As the release left it, before anything is added; the state is another file than the one it was, so it is left out."""
    (frozen.audit / "nginx/state").unlink()
    frozen.run("audit", "verify", "--audit-key", frozen.dir / "audit.key")
    assert len(frozen.run("audit", "tail", "nginx").stdout.splitlines()) >= 3


def test_the_store_is_read(frozen):
    for name, value in frozen.values.items():
        assert frozen.get(name) == value
    for name, value in frozen.expected["previous"].items():
        assert frozen.get(f"{name}@previous") == bytes.fromhex(value)
    assert set(frozen.list()) == set(frozen.values) | set(frozen.expected["deleted"])
    assert frozen.info("plain")["metadata"]["owner"] == "ops"
    for name in frozen.expected["deleted"]:
        assert frozen.run("get", name, check=False).returncode == 66
    frozen.run("verify")
    frozen.run("check")


def test_the_store_is_written(frozen):
    for name in frozen.values:
        frozen.run("--quiet", "set", name, input=b'{"user": "app", "password": "new"}')
        assert json.loads(frozen.get(name))["password"] == "new"
    for name in frozen.expected["deleted"]:
        frozen.undelete(name)
    frozen.run("rekey")
    frozen.run("verify")


def test_type_keys_open_their_types_and_the_stream_goes_on(frozen):
    for name in ("api-keys/stripe", "tls/shop"):
        assert as_nginx(frozen, name) == frozen.values[name]
    frozen.run("audit", "verify", "--audit-key", frozen.dir / "audit.key", frozen.audit / "nginx")
    data = [path.read_bytes() for path in (frozen.audit / "nginx").glob("log*")]
    text = b"".join(gzip.decompress(part) if part.startswith(b"\x1f\x8b") else part for part in data)
    assert text.count(b'"action":"read"') >= 5


@pytest.mark.parametrize("file, options", [("backup.kt", []), ("recipient.kt", ["--recipient-key", "recipient.key"])])
def test_the_backups_are_restored(frozen, file, options):
    for path in [*frozen.dir.glob("production.db*"), frozen.dir / "anchors"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    frozen.run("restore", *options, frozen.dir / file, cwd=frozen.dir)
    assert {name: frozen.get(name) for name in frozen.values} == frozen.values
    frozen.run("verify")


def test_the_script_still_makes_such_files(frozen, kt, tmp_path):
    """So that the next release can be frozen, too."""
    os.umask(0o022)
    subprocess.run([sys.executable, HERE / "freeze.py", kt.keyturn, tmp_path / "next"], env=frozen.env, check=True, capture_output=True)

    def names(folder):
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "anchors" not in path.parts)
    assert names(tmp_path / "next") == names(frozen.dir)

# SPDX-License-Identifier: BSD-2-Clause
"""keyturn.so is a loader; the module is redis-module.so. The servers that need this are in auto/servers."""
import pathlib
import shutil

import pytest
import redis as client_library

NAME = "api-keys/stripe"


@pytest.fixture
def tree(kt, tmp_path):
    """tree(*files): a copy of the installation with these files of lib/keyturn."""
    def make(*files):
        root = tmp_path / "root"
        loader = root / kt.redis_module.relative_to(kt.stage)
        loader.parent.mkdir(parents=True)
        shutil.copy(kt.redis_module, loader)
        folder = root / kt.libdir.relative_to(kt.stage) / "keyturn"
        folder.mkdir()
        for name in files:
            shutil.copy(kt.libdir / "keyturn" / name, folder)
        return loader, folder
    return make


def mapped(server):
    """The files with code that the server has mapped, by name."""
    lines = pathlib.Path(f"/proc/{server.process.pid}/maps").read_text().splitlines()
    paths = {pathlib.Path(line.split()[-1]) for line in lines if ".so" in line}
    return {path.name: path for path in paths}


def load(server, path, *words):
    return server.client().execute_command("MODULE", "LOAD", str(path), *map(str, words))


@pytest.fixture
def bare(home, make_redis):
    """A server without the module, to which MODULE LOAD may add it."""
    home.grant("redis:*", ["read", "write"], ["*"])
    return make_redis(home).start("appendonly no", "enable-module-command local", module=False)


def test_the_module_lies_below_the_same_folder(bare, home, tree):
    loader, folder = tree("redis-module.so")
    load(bare, loader, "config", home.config)
    db = bare.client()
    assert db.execute_command("SECRET.SET", NAME, "v") == 1 and db.execute_command("SECRET.GET", NAME) == b"v"
    files = mapped(bare)
    assert files["keyturn.so"] == loader and files["redis-module.so"] == folder / "redis-module.so"


def test_the_link_for_valkey_is_followed(bare, home, kt):
    link = kt.stage / "usr/lib/valkey/modules/keyturn.so"
    assert link.is_symlink()
    load(bare, link, "config", home.config)
    assert mapped(bare)["redis-module.so"] == kt.libdir / "keyturn/redis-module.so"


@pytest.mark.parametrize("there", [[], ["cut short"], ["redis.so"]], ids=["missing", "cut short", "another"])
def test_a_module_that_cannot_be_loaded_is_named(there, bare, tree):
    loader, folder = tree(*[name for name in there if name.endswith(".so")])
    module = folder / "redis-module.so"
    if there == ["cut short"]:
        module.write_bytes(b"\177ELF")
    elif there:
        (folder / "redis.so").rename(module)    # a library, and not a module
    with pytest.raises(client_library.exceptions.ResponseError, match="Error loading the extension"):
        load(bare, loader)
    [line] = [line for line in bare.log().splitlines() if "keyturn: the module cannot be loaded" in line]
    assert str(module) in line and "install keyturn again" in line
    assert bare.client().ping()


def test_a_refused_module_leaves_nothing_and_can_be_loaded_again(bare, home, kt, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("environment: [\n")
    for _ in range(3):
        with pytest.raises(client_library.exceptions.ResponseError, match="Error loading the extension"):
            load(bare, kt.redis_module, "config", wrong)
        assert not [name for name in mapped(bare) if name in ("keyturn.so", "redis-module.so", "libkeyturn.so.0")]
    load(bare, kt.redis_module, "config", home.config)
    db = bare.client()
    assert db.execute_command("SECRET.SET", NAME, "v") == 1 and db.execute_command("SECRET.GET", NAME) == b"v"

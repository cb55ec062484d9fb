# SPDX-License-Identifier: BSD-2-Clause
"""What our objects show to others, and that no host program takes a name of a library that we link.

The dynamic linker looks names up in the program first: a function of jansson or hiredis that postgres or redis-server has
too, under the same name, would be called in place of the library's.
"""
import glob
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
STAGE = pathlib.Path(os.environ["KT_STAGE"]) / "usr"
LIBRARY = STAGE / "lib/libkeyturn.so.0"
REDIS_LOADER, REDIS_MODULE = STAGE / "lib/redis/modules/keyturn.so", STAGE / "lib/keyturn/redis-module.so"
PROVIDERS = sorted(set((STAGE / "lib/keyturn").glob("*.so")) - {REDIS_MODULE})
HOSTS = {"nginx": os.environ["KT_NGINX"], "redis": os.environ["KT_REDIS_SERVER"],
         "postgresql": os.environ["KT_PG_BIN"] + "/postgres"}
LINKER = {"_init", "_fini", "_start", "_edata", "_end", "__bss_start", "__data_start", "_IO_stdin_used"}


def exports(path):
    """The names that an object defines for others."""
    lines = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[-1].split("@")[0] for line in lines if line.split()[-2] != "A"} - LINKER


def libraries(path):
    """Real paths of the shared libraries that an object is loaded with."""
    env = {"LD_LIBRARY_PATH": str(STAGE / "lib"), "PATH": os.environ["PATH"]}
    text = subprocess.run(["ldd", path], capture_output=True, text=True, check=True, env=env).stdout
    return {os.path.realpath(name) for name in re.findall(r"(?:=> |^\s)(/\S+) \(", text, flags=re.M)}


def test_library_exports_what_the_header_declares():
    header = re.sub(r"/\*.*?\*/", " ", (TOP / "core/include/keyturn.h").read_text(), flags=re.S)
    declared = set(re.findall(r"^KT_API[^;(]*?\b(kt_\w+)\s*\(", header, flags=re.M))
    assert len(declared) > 10
    assert exports(LIBRARY) == declared


def needs(path):
    """The names that another file has to have."""
    text = subprocess.run(["nm", "-D", "-u", path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in text.splitlines()}


def test_libcurl_is_not_linked():
    """It is loaded for the first request. Each program would start with its thirty libraries otherwise."""
    program = STAGE / "bin/keyturn"
    assert [path for path in libraries(LIBRARY) | libraries(program) if re.search(r"/lib(curl|ssl|ldap|nghttp2)", path)] == []


def loaded_later():
    """libcurl, as core/provider/curl.c asks for it, and its libraries."""
    soname = re.search(r'#define SONAME "(\S+)"', (TOP / "core/provider/curl.c").read_text())[1]
    paths = {os.path.join(folder, soname) for folder in (*glob.glob("/lib/*-linux-gnu"), *glob.glob("/usr/lib/*-linux-gnu"), "/usr/lib64")}
    curl = next(path for path in sorted(paths) if os.path.exists(path))
    return {os.path.realpath(curl)} | libraries(curl)


def test_there_are_providers():
    assert {path.name for path in PROVIDERS} >= {"local.so", "redis.so"}


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda path: path.name)
def test_provider_exports_one_symbol_and_does_not_link_the_core(provider):
    assert len(exports(provider)) == 1
    assert str(LIBRARY) not in libraries(provider)


def test_host_modules_export_what_their_host_needs():
    loaded = {"ngx_modules", "ngx_module_names", "ngx_module_order"}
    http, stream = (STAGE / f"lib/nginx/modules/ngx_{kind}_keyturn_module.so" for kind in ("http", "stream"))
    assert exports(stream) == loaded
    assert exports(http) == loaded | {name for name in needs(stream) if name.startswith("ngx_keyturn_")}
    assert exports(REDIS_LOADER) == exports(REDIS_MODULE) == {"RedisModule_OnLoad"}


def test_the_loader_of_redis_has_no_memory_of_its_own():
    """Valkey looks its names up in its libraries first: malloc() would be libc's there, and the server's elsewhere."""
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", subprocess.run(["readelf", "-d", REDIS_LOADER], capture_output=True, text=True, check=True).stdout)
    assert [name.split(".so")[0] for name in needed] == ["libc"]
    assert not {name.split("@")[0] for name in needs(REDIS_LOADER)} & {"malloc", "calloc", "realloc", "free", "strdup", "asprintf"}


def calls(path):
    """The names that the linker looks up for an object, its own functions among them if it calls them that way."""
    text = subprocess.run(["readelf", "-rW", path], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^[0-9a-f]+ +[0-9a-f]+ +R_\w+ +[0-9a-f]+ +([A-Za-z_]\w*)", text, flags=re.M))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("ours", [LIBRARY, *PROVIDERS], ids=lambda path: path.name)
def test_no_name_is_taken_by_the_host(host, ours):
    """Of what we bring into the host's process, nothing calls a function of ours or of these libraries that the host has too."""
    program = HOSTS[host]
    theirs = exports(program)
    brought = (libraries(ours) | {str(ours)} | (loaded_later() if ours == LIBRARY else set())) - libraries(program)
    meant = set().union(*map(exports, brought))
    clashes = {path: sorted(both) for path in brought if (both := calls(path) & theirs & meant)}
    assert clashes == {}


def test_the_search_for_taken_names_finds_one(tmp_path):
    """Debian's libhiredis as a shared library would be such a case in redis-server."""
    source = tmp_path / "x.c"
    source.write_text('#include <hiredis/hiredis.h>\nint x(void) { return redisConnect("", 0) == 0; }\n')
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "x.so", source, "-lhiredis"], check=True)
    assert "redisConnect" in calls(tmp_path / "x.so") & exports(HOSTS["redis"])

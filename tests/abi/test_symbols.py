# SPDX-License-Identifier: BSD-2-Clause
"""libkeyturn shows exactly what keyturn.h declares, and nothing else of it can be reached by name.

tests/build/test_symbols.py asks whether a host program takes a name of ours; this asks what we offer.
"""
import ctypes
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


def declared(path, prefix):
    text = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.S)
    return set(re.findall(rf"^{prefix}[^;(]*?\b(kt_\w+)\s*\(", text, flags=re.M))


PUBLIC = declared(TOP / "core/include/keyturn.h", "KT_API")


def defined(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", library], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    return {tuple(line.split()[-2:]) for line in lines}


@pytest.fixture(scope="module")
def library(kt):
    return kt.libdir / "libkeyturn.so.0"


def test_exported_are_exactly_the_declared(library):
    functions = {name.split("@")[0] for kind, name in defined(library) if kind == "T"}
    assert functions - {"_init", "_fini"} == PUBLIC


def test_no_data_is_exported(library):
    assert [name for kind, name in defined(library) if kind in "BDRVWi" and not name.startswith("_")] == []


def test_every_export_has_the_version_of_the_map(library):
    node = re.search(r"^(\w+) \{", (TOP / "core/libkeyturn.map").read_text(), flags=re.M)[1]
    exports = {name for kind, name in defined(library) if kind == "T" and name.startswith("kt_")}
    assert exports == {f"{name}@@{node}" for name in PUBLIC}


def test_soname(library):
    text = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "soname: [libkeyturn.so.0]" in text


def test_every_public_function_is_found(library):
    handle = ctypes.CDLL(str(library))
    assert [name for name in PUBLIC if not hasattr(handle, name)] == []


INTERNAL = sorted(set().union(*(declared(path, r"(?:(?!#|typedef| |static).)*?") for path in TOP.glob("core/*/*.h")
                                if path.parent.name != "include")) - PUBLIC)


def test_internal_functions_are_known():
    assert len(INTERNAL) > 250 and {"kt_seal", "kt_unseal", "kt_keyring_read"} <= set(INTERNAL) and not set(INTERNAL) & PUBLIC


def test_no_internal_function_is_found(library):
    handle = ctypes.CDLL(str(library))
    assert [name for name in INTERNAL if hasattr(handle, name)] == []


def test_it_uses_no_forbidden_function(library):
    """What cannot be used safely in a library is not there to be used."""
    lines = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].split("@")[0] for line in lines.splitlines()}
    assert names & {"gets", "strcpy", "sprintf", "vsprintf", "system", "popen", "tmpnam", "mktemp", "rand", "random", "signal",
                    "sigaction", "exit", "localtime", "gmtime", "strtok", "getenv", "putenv", "setenv"} == set()

# SPDX-License-Identifier: BSD-2-Clause
"""The loader against providers that are not what they should be: each error names configuration file, line, path, and what was
expected and found."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]

PROVIDER = r"""
#include <keyturn_provider.h>
#include <stdlib.h>
#include <string.h>
struct ktp_instance { const ktp_services_t *services; };
static ktp_status_t p_open(const ktp_services_t *services, const ktp_option_t *options, size_t count, ktp_instance_t **ret)
{ (void)options; (void)count; *ret = calloc(1, sizeof **ret); (*ret)->services = services; return KTP_SUCCESS; }
static void p_close(ktp_instance_t *i) { free(i); }
static ktp_status_t p_check(ktp_instance_t *i, int w) { (void)i; (void)w; return KTP_SUCCESS; }
static ktp_status_t p_get(ktp_instance_t *i, const ktp_request_t *r, ktp_value_t *v)
{ (void)r; v->value.data = i->services->secret_alloc(i->services->host, 5); memcpy(v->value.data, "plain", 5); v->value.size = 5;
  return KTP_SUCCESS; }
static const ktp_option_spec_t options[] = {{NULL, KTP_STRING, 0, NULL, NULL}};
#ifdef LONGER
static const struct { ktp_provider_t table; void *more[8]; } %(symbol)s_ = {{
#define END }, {0}}; extern const ktp_provider_t %(symbol)s __attribute__((alias("%(symbol)s_")));
#else
const ktp_provider_t %(symbol)s = {
#define END };
#endif
    .magic = KTP_MAGIC, .abi_major = KTP_ABI_MAJOR, .abi_minor = KTP_ABI_MINOR, .size = sizeof(ktp_provider_t),
    .name = "x", .capabilities = 0, .options = options, .open = p_open, .close = p_close, .check = p_check, .get = p_get,
    %(more)s
END
"""


class Bench:
    """libkeyturn copied beside a folder of providers, and a home whose configuration names the provider `x` in line `line`."""

    def __init__(self, kt, home, folder):
        self.home, self.lib = home, folder / "lib"
        (self.lib / "keyturn").mkdir(parents=True)
        shutil.copy(kt.libdir / "libkeyturn.so.0", self.lib)
        shutil.copy(kt.libdir / "keyturn/local.so", self.lib / "keyturn")
        self.path = self.lib / "keyturn/x.so"
        self.env = kt.environment(LD_LIBRARY_PATH=self.lib)
        home.add("providers", "x: {}")
        home.add("switch", '"plain/*": x')
        self.line = home.read_config().splitlines().index("  x: {}") + 1

    def build(self, more="", symbol="keyturn_provider", flags=(), include="core/include"):
        source = self.path.with_suffix(".c")
        source.write_text(PROVIDER % {"symbol": symbol, "more": more})
        # one initialiser more than once is how the cases are written
        subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-Wno-override-init", f"-I{TOP}/{include}", *flags, "-o",
                        self.path, source], check=True)
        os.chmod(self.path, 0o755)

    def run(self, *args):
        return self.home.run(*args, env=self.env, check=False)

    def refused(self, *texts, status=78):
        """The command fails for it, and says all of this in one line."""
        result = self.run("get", "plain/a")
        error = result.stderr.decode()
        assert result.returncode == status, error
        assert result.stdout == b""
        assert error.count("\n") == 1
        for text in (f"{self.home.config}:{self.line}:", str(self.path), *texts):
            assert text in error, error


@pytest.fixture
def bench(kt, home, tmp_path):
    return Bench(kt, home, tmp_path)


def test_a_good_one_serves(bench):
    bench.build()
    assert bench.run("get", "plain/a").stdout == b"plain"


def header(name, folder="core/include"):
    text = (TOP / folder / "keyturn_provider.h").read_text()
    return int(re.search(rf"#define {name} (\w+)", text)[1].rstrip("u"), 0)


MAJOR, MINOR = header("KTP_ABI_MAJOR"), header("KTP_ABI_MINOR")


@pytest.mark.parametrize("flags", [(), ("-DLONGER",)], ids=["same", "longer"])
def test_a_newer_minor_loads(bench, flags):
    bench.build(f".abi_minor = {MINOR + 7}," + (".size = sizeof(ktp_provider_t) + 64," if flags else ""), flags=flags)
    assert bench.run("get", "plain/a").stdout == b"plain"


OLD = "tests/abi/1.0"  # the header as it was when that ABI was released; nothing in it changes any more


def test_an_older_minor_loads(bench):
    """Built against the first header of this major: its table is as long as it was then."""
    assert (header("KTP_ABI_MAJOR", OLD), header("KTP_ABI_MINOR", OLD)) == (MAJOR, 0)
    bench.build(include=OLD)
    assert bench.run("get", "plain/a").stdout == b"plain"


def members(path):
    """The members of ktp_provider_t, in their order."""
    text = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.S)
    body = re.search(r"typedef struct ktp_provider \{(.*?)\} ktp_provider_t;", text, re.S)[1]
    return [" ".join(member.split()) for member in body.split(";")[:-1]]


def test_the_table_is_only_added_to():
    old, new = members(TOP / OLD / "keyturn_provider.h"), members(TOP / "core/include/keyturn_provider.h")
    assert len(old) > 20 and new[:len(old)] == old
    assert (len(new) > len(old)) == (MINOR > 0)


@pytest.mark.parametrize("more, texts", [
    (f".abi_major = {MAJOR + 1},", [f"provider ABI {MAJOR + 1}.{MINOR}", f"this keyturn has {MAJOR}.{MINOR}"]),
    (f".abi_major = {MAJOR - 1},", [f"provider ABI {MAJOR - 1}.{MINOR}", f"this keyturn has {MAJOR}.{MINOR}"]),
    (".magic = 0x12345678,", ["keyturn_provider", "magic 12345678", f"expected {header('KTP_MAGIC'):08x}"]),
    (".size = offsetof(ktp_provider_t, token),", ["its table has ", "at least "]),
    (".size = 0,", ["its table has 0 bytes"]),
    ('.name = "y",', ['calls itself "y"']),
    (".name = NULL,", ["calls itself"]),
    (".open = NULL,", ["mandatory member"]),
    (".close = NULL,", ["mandatory member"]),
    (".check = NULL,", ["mandatory member"]),
    (".options = NULL,", ["mandatory member"]),
    (".get = NULL,", ["capabilities promise"]),
    (".capabilities = KTP_SEALED,", ["capabilities promise"]),
    (".capabilities = KTP_WRITE,", ["capabilities promise"]),
    (".capabilities = KTP_LIST,", ["capabilities promise"]),
    (".capabilities = KTP_TOKEN,", ["capabilities promise"]),
    (".capabilities = KTP_CREATE,", ["capabilities promise"]),
])
def test_a_wrong_table_is_refused(bench, more, texts):
    bench.build(more)
    bench.refused(*texts)


def test_without_the_symbol(bench):
    bench.build(symbol="some_provider")
    bench.refused("exports no symbol keyturn_provider")


def test_not_a_shared_object(bench):
    bench.path.write_text("#!/bin/sh\n")
    bench.refused("")


@pytest.mark.parametrize("part", [0.02, 0.2, 0.5, 0.9])
def test_cut_short(bench, part):
    """Not by a SIGBUS in the middle of a server's start."""
    bench.build()
    bench.run("get", "plain/a")
    os.truncate(bench.path, int(bench.path.stat().st_size * part))
    result = bench.run("get", "plain/a")
    if part == 0.9 and result.returncode == 0:
        return  # symbols for debuggers, at the end
    bench.refused("")


def test_with_an_undefined_symbol(bench):
    """RTLD_NOW: found at the start, not at the first call."""
    bench.build("};\nextern int nowhere(void); int (*use)(void) = nowhere; static const int unused[] __attribute__((unused)) = {0")
    bench.refused("nowhere")


def test_missing(bench):
    bench.refused('there is no provider "x"')


def test_a_folder(bench):
    bench.path.mkdir()
    bench.refused("not a regular file", status=77)


def test_a_link(bench):
    bench.build()
    os.rename(bench.path, bench.path.with_name("other.so"))
    bench.path.symlink_to("other.so")
    bench.refused('there is no provider "x"')


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o666])
def test_writable_by_others(bench, mode):
    bench.build()
    os.chmod(bench.path, mode)
    bench.refused(f"mode {mode:04o}", "chmod go-w", status=77)


def test_of_another_user(bench):
    """Another user's file under this name. The tester cannot make one, but the system may have one."""
    found = [path for path in pathlib.Path("/tmp").glob("*") if path.is_file() and path.lstat().st_uid not in (0, os.geteuid())]
    bench.build()
    if os.geteuid() == 0 or not found:
        # the rule, by the code: owner root, the caller or the library's owner
        text = (TOP / "core/provider/loader.c").read_text()
        assert "st.st_uid != 0 && st.st_uid != geteuid() && st.st_uid != library_owner" in text
        return
    try:
        bench.path.unlink()
        os.link(found[0], bench.path)
    except OSError:
        return  # the kernel protects hard links
    bench.refused("belongs to uid", status=77)


def test_it_is_loaded_from_beside_the_library_only(bench, tmp_path):
    """Neither the working directory nor LD_LIBRARY_PATH of a provider's folder adds one."""
    bench.build()
    os.rename(bench.path, tmp_path / "x.so")
    result = bench.home.run("get", "plain/a", env=dict(bench.env, LD_LIBRARY_PATH=f"{bench.lib}:{tmp_path}"), check=False, cwd=tmp_path)
    assert result.returncode == 78


@pytest.mark.parametrize("name", ["../x", "a b", "X", ""])
def test_a_name_that_is_a_path(bench, name):
    bench.home.replace("  x: {}", f'  "{name}": {{}}')
    bench.home.replace('"plain/*": x', '"plain/*": local')
    result = bench.run("get", "plain/a")
    assert result.returncode == 78
    assert f"{bench.home.config}:{bench.line}:" in result.stderr.decode()

# SPDX-License-Identifier: BSD-2-Clause
"""configure: what it checks, what it reports, and that it writes into its build folder only (the tester cannot write elsewhere)."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
WITHOUT = ["--without-nginx", "--without-redis", "--without-postgresql"]


def configure(*args, top=TOP, **env):
    return subprocess.run([f"{top}/configure", *args], cwd="/", capture_output=True, text=True, env={**os.environ, **env})


@pytest.fixture
def build(tmp_path):
    return tmp_path / "build"


def variables(build):
    rows = (line.split(" = ", 1) for line in (build / "config.mk").read_text().splitlines() if " = " in line)
    return dict(rows)


def test_says_what_it_found(build):
    result = configure(f"--builddir={build}")
    assert result.returncode == 0, result.stderr
    for what in ["compiler", "libsodium", "libyaml", "jansson", "libcurl", "zlib", "SQLite", "hiredis", "nginx",
                 "redismodule.h", "PostgreSQL", "Check"]:
        assert re.search(rf"^  {re.escape(what)} .*\d", result.stdout, flags=re.M), what
    assert sorted(path.name for path in build.iterdir()) == ["config.log", "config.mk", "keyturn_config.h"]


def test_defaults(build):
    assert configure(f"--builddir={build}", *WITHOUT).returncode == 0
    told = variables(build)
    assert (told["prefix"], told["sysconfdir"], told["localstatedir"]) == ("/usr/local", "/usr/local/etc", "/usr/local/var")
    assert told["nginxmoddir"] == "/usr/local/lib/nginx/modules"


def test_prefix_usr_means_the_system(build):
    assert configure(f"--builddir={build}", *WITHOUT, "--prefix=/usr").returncode == 0
    told = variables(build)
    assert (told["sysconfdir"], told["localstatedir"], told["libdir"]) == ("/etc", "/var", "/usr/lib")
    assert (told["nginxmoddir"], told["redismoddir"]) == ("/usr/lib/nginx/modules", "/usr/lib/redis/modules")
    assert '"/etc/keyturn/keyturn.yaml"' in (build / "keyturn_config.h").read_text()


@pytest.mark.parametrize("option", ["prefix", "bindir", "libdir", "includedir", "mandir", "docdir", "sysconfdir",
                                    "localstatedir"])
def test_each_folder_can_be_set(build, option):
    assert configure(f"--builddir={build}", *WITHOUT, f"--{option}=/opt/there").returncode == 0
    assert variables(build)[option] == "/opt/there"


def test_a_library_folder_that_is_not_searched_gets_an_rpath(build):
    assert configure(f"--builddir={build}", *WITHOUT, "--prefix=/opt/kt").returncode == 0
    assert variables(build)["RPATH"] == "-Wl,-rpath,/opt/kt/lib"
    assert configure(f"--builddir={build}", *WITHOUT, "--prefix=/usr").returncode == 0
    assert variables(build)["RPATH"] == ""


def test_debug_hooks_are_off_unless_asked_for(build):
    configure(f"--builddir={build}", *WITHOUT)
    assert "KT_DEBUG_HOOKS" not in (build / "keyturn_config.h").read_text()
    configure(f"--builddir={build}", *WITHOUT, "--enable-debug-hooks")
    assert "#define KT_DEBUG_HOOKS 1" in (build / "keyturn_config.h").read_text()


def test_configuring_again_changes_no_time(build):
    files = ["config.mk", "keyturn_config.h"]
    configure(f"--builddir={build}", *WITHOUT)
    before = [(build / name).stat().st_mtime_ns for name in files]
    configure(f"--builddir={build}", *WITHOUT)
    assert [(build / name).stat().st_mtime_ns for name in files] == before


@pytest.mark.parametrize("option, near", [("--prefx=/x", "--prefix"), ("--with-nginx", "--without-nginx"),
                                          ("--enable-sanitizer", "--enable-sanitizers")])
def test_unknown_option_names_the_nearest(build, option, near):
    result = configure(f"--builddir={build}", option)
    assert result.returncode == 1
    assert f"did you mean {near}?" in result.stderr
    assert not build.exists()


@pytest.mark.parametrize("option, text", [("--prefix", "needs a value"), ("--prefix=", "needs a value"),
                                          ("--without-nginx=yes", "takes no value"), ("prefix=/usr", "unknown argument"),
                                          ("--prefix=usr", "absolute"), ("--prefix=/a b", "make cannot work"),
                                          ("--libdir=/$x", "make cannot work")])
def test_bad_option(build, option, text):
    result = configure(f"--builddir={build}", option)
    assert result.returncode == 1
    assert text in result.stderr


def test_all_that_is_missing_is_reported_at_once(build):
    result = configure(f"--builddir={build}", "--with-nginx-src=/nonexistent", "--with-redismodule-h=/nonexistent",
                       "--with-pg-config=/nonexistent/pg_config", PKG_CONFIG="/nonexistent/pkg-config")
    assert result.returncode == 1
    assert not (build / "config.mk").exists()
    for what, remedy in [("pkg-config", "pkg-config"), ("libsodium", "libsodium-dev"), ("libyaml", "libyaml-dev"),
                         ("jansson", "libjansson-dev"), ("libcurl", "libcurl4-openssl-dev"), ("zlib", "zlib1g-dev"),
                         ("SQLite", "libsqlite3-dev"),
                         ("hiredis", "libhiredis-dev"), ("nginx", "nginx-dev, or --without-nginx"),
                         ("redismodule.h", "auto/deps"), ("PostgreSQL", "postgresql-server-dev-15, or --without-postgresql")]:
        assert re.search(rf"^  {re.escape(what)} .*{re.escape(remedy)}", result.stderr, flags=re.M), what


def test_a_compiler_that_is_not_there_is_the_only_thing_missing(build):
    result = configure(f"--builddir={build}", "CC=nonexistent-cc")
    assert result.returncode == 1
    assert re.findall(r"^  (\S+) ", result.stderr, flags=re.M) == ["compiler"]


def test_missing_hosts_may_be_left_out(build):
    result = configure(f"--builddir={build}", *WITHOUT, "--with-nginx-src=/nonexistent", "--with-redismodule-h=/nonexistent",
                       "--with-pg-config=/nonexistent/pg_config")
    assert result.returncode == 0, result.stderr
    assert variables(build)["HAVE_NGINX"] == "no"


def test_refuses_a_source_folder_that_make_cannot_carry(tmp_path):
    top = tmp_path / "with space"
    (top / "core/include").mkdir(parents=True)
    shutil.copy(TOP / "configure", top)
    shutil.copytree(TOP / "auto", top / "auto")
    shutil.copy(TOP / "core/include/keyturn.h", top / "core/include")
    result = configure(top=top)
    assert result.returncode == 1
    assert "make cannot work with the source folder" in result.stderr


def test_make_without_configure_says_so(tmp_path):
    result = subprocess.run(["make", f"BUILD={tmp_path}/none"], cwd=TOP, capture_output=True, text=True)
    assert result.returncode != 0
    assert "run ./configure first" in result.stderr


def test_help_has_every_option_and_each_is_used():
    text = configure("--help").stdout
    options = re.findall(r"^  --([a-z-]+)", text, flags=re.M)
    assert len(options) > 15
    probes = "".join(path.read_text() for path in (TOP / "auto").iterdir() if path.name != "options" and path.is_file())
    table = (TOP / "auto/options").read_text()
    for option in options:
        name = option.replace("-", "_")
        assert re.search(rf"\b{name}\b", probes) or table.count(name) > 1, option


def test_the_version_has_one_source(build):
    configure(f"--builddir={build}", *WITHOUT)
    header = re.search(r'#define KT_VERSION "(.*)"', (TOP / "core/include/keyturn.h").read_text())[1]
    assert variables(build)["KEYTURN_VERSION"] == header

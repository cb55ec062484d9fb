# SPDX-License-Identifier: BSD-2-Clause
"""make, with the other compiler and without the hosts; make install, uninstall and clean; how what was made is linked."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(os.environ["KT_TOP"])
STAGE = pathlib.Path(os.environ["KT_STAGE"])
PROVIDERS = ["env.so", "exec.so", "file.so", "local.so", "redis.so"]
# of `make install` with --prefix=/usr, apart from manual pages, documents and SQL; {lib} is the library folder
LIBRARY = ["bin/keyturn", "include/keyturn.h", "include/keyturn_provider.h", "lib/libkeyturn.so", "lib/libkeyturn.so.0",
           "lib/pkgconfig/keyturn.pc", *(f"lib/keyturn/{name}" for name in PROVIDERS), "lib/keyturn/run",
           "lib/sysusers.d/keyturn.conf", "lib/tmpfiles.d/keyturn.conf",
           *(f"lib/systemd/system/keyturn-rotate.{kind}" for kind in ("service", "timer")), "share/bash-completion/completions/keyturn",
           "share/zsh/vendor-completions/_keyturn", "share/fish/vendor_completions.d/keyturn.fish"]
LOGROTATE = ["logrotate.d/keyturn"]    # below sysconfdir
NGINX = [f"lib/nginx/modules/ngx_{kind}_keyturn_module.so" for kind in ("http", "stream")]
REDIS = ["lib/redis/modules/keyturn.so", "lib/keyturn/redis-module.so", "lib/valkey/modules/keyturn.so",
         *(f"lib/systemd/system/{name}-server.service.d/keyturn.conf" for name in ("redis", "valkey"))]


def run(*argv, check=True, **more):
    result = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, **more)
    assert not check or result.returncode == 0, f"{argv}: {result.stdout}\n{result.stderr}"
    return result


class Build:
    """A build folder of its own, of the read-only tree."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.configured = run(TOP / "configure", f"--builddir={folder}", "--enable-werror", *options)
        self.made = self.make("tests")

    def make(self, *args):
        return run("make", "-j2", f"BUILD={self.folder}", *args, cwd=TOP)


@pytest.fixture(scope="module")
def clang(tmp_path_factory):
    """Everything with clang, for another prefix, without debug hooks: as someone else would build it."""
    compiler = shutil.which("clang") or "clang-14"
    return Build(tmp_path_factory.mktemp("clang") / "b", "--prefix=/opt/kt", f"CC={compiler}")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return Build(tmp_path_factory.mktemp("bare") / "b", "--prefix=/usr", "--without-nginx", "--without-redis",
                 "--without-postgresql")


@pytest.fixture(scope="module")
def installed(clang, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    clang.make("install", f"DESTDIR={folder}")
    return folder


def listing(folder, *beside):
    """Files and links below folder, without documents and manual pages."""
    skip = ("share/man/", "share/doc/", *beside)
    paths = (str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return sorted(path for path in paths if not path.startswith(skip))


# building

def test_clang_has_nothing_to_say(clang):
    """With -Wall -Wextra -Werror; any warning would be on stderr."""
    assert clang.made.stderr == ""


def test_all_is_up_to_date_after_make(clang):
    assert "Nothing to be done" in clang.make("all").stdout


def test_a_change_of_the_public_header_rebuilds_everything(clang):
    result = clang.make("-n", "-W", "core/include/keyturn.h", "all").stdout
    for part in ["core/base/status", "cli/", "redis-module/"]:
        assert re.search(rf"-c -o \S+/obj/{part}", result), part
    assert "nginx" in result and "postgresql" in result


def test_unit_programs_are_made(clang):
    names = {path.stem for kind in ("test", "root") for path in (TOP / "tests/unit").rglob(f"{kind}_*.c")}
    assert {path.name for path in (clang.folder / "tests/unit").glob("*_*")} == names


def test_without_hosts_the_library_and_the_command_are_built(bare, tmp_path):
    assert bare.made.stderr == ""
    bare.make("install", f"DESTDIR={tmp_path}")
    assert listing(tmp_path / "usr") == sorted(LIBRARY)
    version = run(tmp_path / "usr/bin/keyturn", "--version", env={"LD_LIBRARY_PATH": f"{tmp_path}/usr/lib"}).stdout
    assert bare_version() in version


def bare_version():
    return re.search(r'#define KT_VERSION "(.*)"', (TOP / "core/include/keyturn.h").read_text())[1]


def test_clean_leaves_what_configure_wrote(bare):
    bare.make("clean")
    assert sorted(path.name for path in bare.folder.iterdir()) == ["config.log", "config.mk", "keyturn_config.h"]


# installing

def test_install_says_what_comes_next(bare):
    said = bare.make("-n", "install").stdout
    assert "keyturn init --system" in said and "keyturn check" in said

def test_install_below_usr():
    """The staged installation of this run: the table of the design."""
    found = listing(STAGE / "usr", "lib/postgresql/", "share/postgresql/")
    assert found == sorted(LIBRARY + NGINX + REDIS)
    assert [path.name for path in STAGE.iterdir() if path.name != "usr"] == ["etc"]
    assert listing(STAGE / "etc") == LOGROTATE


def test_install_of_postgresql_is_where_pg_config_says(installed):
    libdir = run("pg_config", "--pkglibdir").stdout.strip()
    extension = run("pg_config", "--sharedir").stdout.strip() + "/extension"
    for root in (STAGE, installed):
        assert listing(root / libdir[1:]) == ["keyturn.so"]
        names = listing(root / extension[1:])
        assert "keyturn.control" in names
        assert [name for name in names if re.fullmatch(r"keyturn--[0-9.]+\.sql", name)]
        assert [name for name in names if not name.startswith("keyturn")] == []


def test_install_below_another_prefix_moves_the_host_folders(installed):
    assert listing(installed / "opt/kt") == sorted(LIBRARY + NGINX + REDIS + [f"etc/{name}" for name in LOGROTATE])


@pytest.mark.parametrize("page", sorted(path.name for pattern in ("*/*.[1-8]", "modules/*/*.[1-8]") for path in TOP.glob(pattern)))
def test_each_manual_page_is_installed(page):
    if page == "keyturn-sample.7":  # whose provider is not
        assert (STAGE / f"usr/share/doc/keyturn/examples/sample/{page}").is_file()
        return
    assert (STAGE / f"usr/share/man/man{page[-1]}/{page}").is_file()


def test_modes(installed):
    for name in listing(installed / "opt/kt"):
        path = installed / "opt/kt" / name
        mode = path.stat().st_mode & 0o777
        assert mode == (0o755 if ".so" in name or name in ("bin/keyturn", "lib/keyturn/run") else 0o644), name


def test_the_completions_installed_are_the_commands():
    for shell, path in (("bash", "bash-completion/completions/keyturn"), ("zsh", "zsh/vendor-completions/_keyturn"),
                        ("fish", "fish/vendor_completions.d/keyturn.fish")):
        printed = run(STAGE / "usr/bin/keyturn", "completion", shell, env={"LD_LIBRARY_PATH": f"{STAGE}/usr/lib"}).stdout
        assert printed and (STAGE / "usr/share" / path).read_text() == printed


def test_pkg_config_file_is_enough_to_link(installed, tmp_path):
    (tmp_path / "x.c").write_text("#include <keyturn.h>\nint main(void) { return kt_status_exit(KT_SUCCESS); }\n")
    env = {**os.environ, "PKG_CONFIG_PATH": f"{installed}/opt/kt/lib/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": str(installed)}
    flags = run("pkg-config", "--cflags", "--libs", "keyturn", env=env).stdout.split()
    run("cc", tmp_path / "x.c", "-o", tmp_path / "x", *flags)
    run(tmp_path / "x", env={"LD_LIBRARY_PATH": f"{installed}/opt/kt/lib"})
    assert run("pkg-config", "--modversion", "keyturn", env=env).stdout.strip() == bare_version()


def test_uninstall_leaves_nothing(clang, tmp_path):
    clang.make("install", f"DESTDIR={tmp_path}")
    clang.make("uninstall", f"DESTDIR={tmp_path}")
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
    assert not (tmp_path / "opt/kt/lib/keyturn").exists()


# linking

def dynamic(path):
    return run("readelf", "-dW", path).stdout


def objects(root):
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()
                  and path.read_bytes()[:4] == b"\x7fELF")


def test_every_object_is_hardened(installed):
    for root in (STAGE, installed):
        assert len(objects(root)) == 2 + len(PROVIDERS) + 6
        for path in objects(root):
            segments = run("readelf", "-lW", path).stdout
            assert "GNU_RELRO" in segments and re.search(r"BIND_NOW|\bNOW\b", dynamic(path)), path
            assert "TEXTREL" not in dynamic(path), path
            assert re.search(r"GNU_STACK.* RW ", segments), path
            assert "Type:                              DYN" in run("readelf", "-hW", path).stdout, path


def test_rpath_only_where_it_is_needed(installed):
    for path in objects(STAGE):
        assert "RUNPATH" not in dynamic(path) and "RPATH" not in dynamic(path), path
    for name in ["bin/keyturn", *NGINX, "lib/keyturn/redis-module.so"]:
        assert "Library runpath: [/opt/kt/lib]" in dynamic(installed / "opt/kt" / name), name


def test_soname():
    assert "Library soname: [libkeyturn.so.0]" in dynamic(STAGE / "usr/lib/libkeyturn.so.0")
    assert (STAGE / "usr/lib/libkeyturn.so").readlink() == pathlib.Path("libkeyturn.so.0")


def test_debug_hooks_are_not_in_an_ordinary_build(installed):
    """What a fault point asks (the environment for KT_FAULT, the setting keyturn.debug_stop) is in the tests' build only."""
    def hooked(root):
        return [path.name for path in objects(root) if re.search(rb"KT_FAULT|keyturn\.debug_stop", path.read_bytes())]
    assert hooked(STAGE), "the tests' own build has no fault points"
    assert hooked(installed) == []


# calling

def folders_of_objects(build):
    """Each part that is linked from a folder of its own: {name: its object files}."""
    places = [*sorted(build.glob("obj/core/*")), build / "obj/cli", *sorted(build.glob("obj/cli/*/")),
              *sorted(build.glob("obj/modules/*")), build / "obj/redis-module", build / "nginx/addon/nginx",
              build / "postgresql/src"]
    return {str(place.relative_to(build)): sorted(place.glob("*.o")) for place in places}


def symbols(path, *options):
    """{name: kind} as nm -P prints them; T, t, W and w are functions, or not known."""
    lines = run("nm", "-P", *options, path).stdout.splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def calls(objects):
    """{file: files of the same folder of which it names a function}. Data do not count: the record of a host's module
    names its handlers, and these name the record."""
    home = {name: path.stem for path in objects for name, kind in symbols(path, "-g", "--defined-only").items() if kind in "TW"}
    return {path.stem: {home[name] for name in symbols(path, "-u") if name in home} for path in objects}


def reached(graph, start):
    seen, left = set(), [start]
    while left:
        left += (new := graph[left.pop()] - seen)
        seen |= new
    return seen


def test_no_two_files_of_a_folder_call_each_other(clang):
    """Neither directly nor by way of a third: what is below can be read, tested and changed without what is above."""
    folders = folders_of_objects(clang.folder)
    assert len(folders) == 24 and all(folders.values())
    circles = {}
    for name, files in folders.items():
        graph = calls(files)
        if circle := sorted(file for file in graph if file in reached(graph, file)):
            circles[name] = circle
    assert circles == {}


def test_links_of_installed_documents_resolve():
    folder = next(STAGE.glob("usr/share/doc/keyturn"))
    pages = [*folder.glob("*.md"), *folder.glob("docs/*.md")]
    assert len(pages) >= 8
    broken = [(page.name, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
              if not (page.parent / link).exists()]
    assert broken == []

# SPDX-License-Identifier: BSD-2-Clause
"""The provider to copy: the conformance suite, each status of keyturn-sample(7), the whole way through the command, and a copy of it
under another name, made by the commands of keyturn-provider(3) against the installed headers."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
SOURCE = pathlib.Path(os.environ.get("KT_TOP", TOP))
EXIT = {"notfound": 66, "forbidden": 77, "unavail": 69, "malformed": 65, "tryagain": 75}


@pytest.fixture(scope="module")
def built(conformance, tmp_path_factory):
    """Beside the driver: neither is installed."""
    if (conformance.parent / "sample.so").exists():
        return conformance.parent / "sample.so"
    return compile_sample(SOURCE / "modules/sample/sample.c", tmp_path_factory.mktemp("sample"))


def compile_sample(source, folder):
    subprocess.run(["cc", "-std=gnu11", "-w", "-shared", "-fPIC", f"-I{SOURCE}/core/include", "-o", folder / "sample.so", source],
                   check=True)
    return folder / "sample.so"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir(mode=0o755)
    return folder


def run(*argv, **more):
    return subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, timeout=300, **more)


def suite(conformance, provider, files):
    done = run(conformance, provider, f"path={files}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_conformance(conformance, built, files):
    assert "# 11 passed, 0 failed, 2 not for this provider" in suite(conformance, built, files)


def test_the_suite_sees_what_is_wrong(conformance, built, files, tmp_path):
    """The suite finds each rule that one change of the source breaks."""
    wrong = {
        "an absent secret": ("return errno == ENOENT ? KTP_NOTFOUND :", "return errno == ENOENT ? KTP_UNAVAIL :"),
        "as it was put": ("(ktp_buffer_t){data, size};", "(ktp_buffer_t){data, strnlen((char *)data, size)};"),
        "what it is": (".capabilities = KTP_WRITE | KTP_LIST,", ".capabilities = KTP_LIST,"),
        "64 KiB": ("#define VALUE_MAX 65536", "#define VALUE_MAX 65535"),
        "what is removed": ("status = errno == ENOENT ? KTP_NOTFOUND :", "status = errno == ENOENT ? KTP_SUCCESS :"),
        "kept apart": ("*at = '+';", "*at = '-';"),
        "a list": ("&& fn(arg, name) != 0)", "&& fn(arg, name) > 1)"),
        "each value whole": ("O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);", "O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);"),
        "of no bytes": ("if (got >= 0 && have == size) {", "(void)services->secret_alloc(services->host, 1);\n    if (got >= 0 && have == size) {"),
    }
    text = (SOURCE / "modules/sample/sample.c").read_text()
    for name, (old, new) in wrong.items():
        assert text.count(old) == 1, old
        (tmp_path / "broken").mkdir(exist_ok=True)
        source = tmp_path / "broken/sample.c"
        source.write_text(text.replace(old, new))
        broken = compile_sample(source, source.parent)
        for path in files.iterdir():
            path.unlink()
        done = run(conformance, broken, f"path={files}")
        failed = "\n".join(re.findall(r"^not ok .*", done.stdout, re.M))
        assert done.returncode == 1 and name in failed, (name, done.stdout, done.stderr)


# ---- through the command ----

class Served:
    """A home whose route files/* goes to a provider out of a folder of libraries of its own."""

    def __init__(self, kt, home, folder, provider, files, name="sample"):
        self.home, self.files, lib = home, files, folder / "lib"
        (lib / "keyturn").mkdir(parents=True)
        shutil.copy(kt.libdir / "libkeyturn.so.0", lib)
        shutil.copy(kt.libdir / "keyturn/local.so", lib / "keyturn")
        shutil.copy(provider, lib / "keyturn" / f"{name}.so")
        os.chmod(lib / "keyturn" / f"{name}.so", 0o755)
        self.env = kt.environment(LD_LIBRARY_PATH=lib)
        home.add("providers", f"{name}: {{path: {files}}}")
        home.add("switch", f'"files/*": {name}')

    def write(self, name, value, mode=0o600):
        path = self.files / name.replace("/", "+")
        path.write_bytes(value)
        path.chmod(mode)
        return path

    def run(self, *args):
        return self.home.run(*args, env=self.env, check=False)

    def get(self, name):
        done = self.run("get", name)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, name, status, *texts):
        """Refused with this status, in one line that names the file and the remedy; returns the line."""
        done = self.run("get", name)
        text = done.stderr.decode()
        assert (done.returncode, done.stdout) == (EXIT[status], b""), text
        assert text.count("\n") == 1
        for part in texts:
            assert part in text, text
        return text


@pytest.fixture
def served(kt, home, tmp_path, built, files):
    return Served(kt, home, tmp_path, built, files)


def test_a_file_is_a_secret(served, canary):
    value = canary("sample").encode() + b"\n\0\n"
    path = served.write("files/a/b", value)
    assert served.get("files/a/b") == value
    assert served.run("check").returncode == 0
    path.unlink()  # the one place where it may stand; the search over all that the suites left finds every other
    record = [line for line in served.home.records() if line.get("reference") == "files/a/b"][-1]
    assert record["provider"] == "sample" and record["status"] == "success"
    assert "version" not in record


def test_it_is_fresh_in_the_next_process(served):
    served.write("files/a", b"one")
    assert served.get("files/a") == b"one"
    os.rename(served.write("files/new", b"two"), served.files / "files+a")
    assert served.get("files/a") == b"two"


def test_not_found(served):
    served.refused("files/none", "notfound")
    served.write("files/a", b"one")
    served.refused("files/a@previous", "notfound")
    served.refused("files/a@1", "notfound")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o660, 0o777])
def test_a_file_that_others_may_use(served, mode):
    served.refused("files/a", "forbidden", str(served.write("files/a", b"CANARY", mode)), f"mode {mode:04o}", "chmod 600")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_private_file(served, mode):
    served.write("files/a", b"one", mode)
    assert served.get("files/a") == b"one"


def test_a_file_that_we_may_not_read(served):
    served.refused("files/a", "forbidden", str(served.write("files/a", b"CANARY", 0o000)), "Permission denied")


def test_a_folder_that_others_may_write(served):
    served.write("files/a", b"one")
    served.files.chmod(0o775)
    served.refused("files/a", "forbidden", str(served.files), "mode 0775", "chmod go-w")
    assert served.run("check").returncode != 0


def test_a_link(served, tmp_path):
    os.rename(served.write("files/b", b"CANARY"), tmp_path / "b")
    (served.files / "files+b").symlink_to(tmp_path / "b")
    served.refused("files/b", "forbidden", "symbolic link")


def test_no_folder_is_not_a_fact(served):
    """Then the answer is unknown, and a route may continue; NOTFOUND would say that the secret does not exist."""
    served.write("files/a", b"one")
    os.rename(served.files, served.files.with_name("away"))
    served.refused("files/a", "unavail", str(served.files), "No such file or directory")
    assert served.run("check").returncode == EXIT["unavail"]
    os.rename(served.files.with_name("away"), served.files)
    assert served.get("files/a") == b"one"


def test_too_large(served):
    served.write("files/a", b"x" * 65536)
    assert len(served.get("files/a")) == 65536
    served.write("files/a", b"CANARY" * 10923)
    served.refused("files/a", "malformed", "over 65536 bytes")


def test_not_a_file(served):
    """A pipe does not make a reader wait."""
    os.mkfifo(served.files / "files+pipe", 0o600)
    served.refused("files/pipe", "malformed", "not a regular file")
    (served.files / "files+folder").mkdir()
    served.refused("files/folder", "malformed", "not a regular file")


def test_set_is_not_for_it(served):
    """The core writes to sealed stores."""
    done = served.home.run("set", "files/a", input=b"CANARY", env=served.env, check=False)
    assert done.returncode == 77 and b"can write" in done.stderr
    assert list(served.files.iterdir()) == []


def test_what_a_killed_writer_left_is_not_a_secret(served, conformance, built):
    served.write("~new", b"CANARY")
    served.write("files/a", b"one")
    assert "0 failed" in suite(conformance, built, served.files)
    assert not (served.files / "~new").exists()


# ---- a copy ----

def commands():
    """The commands of keyturn-provider(3), STARTING: to copy, and to build elsewhere."""
    page = (SOURCE / "core/keyturn-provider.3").read_text()
    text = page.split(".Sh STARTING\n")[1].split(".Sh ")[0]
    copy = text.split(".Bd -literal\n")[1].split(".Ed")[0]
    build, check = re.findall(r"^\.Dl (.*)", text, re.M)
    return copy, build, check


def copy_sources(folder):
    """The tree as a contributor has it."""
    folder.mkdir()
    subprocess.run(f"tar -c --exclude=./build --exclude=./.git -C {SOURCE} . | tar -x --no-same-owner -C {folder}", shell=True, check=True)
    return folder


def test_a_copy_against_the_installed_header(kt, home, tmp_path, conformance, files):
    """Nothing but what `make install` gives: sources among the examples, the header."""
    documents = kt.stage / "stage/usr/share/doc/keyturn" if (kt.stage / "stage").is_dir() else kt.stage / "usr/share/doc/keyturn"
    include = documents.parents[2] / "include"
    shutil.copytree(documents / "examples/sample", tmp_path / "modules/sample")
    copy, build, check = commands()
    subprocess.run(["sh", "-ec", copy], cwd=tmp_path, check=True)
    done = run("sh", "-ec", f"{build} -Werror", cwd=tmp_path / "modules/mine", env={**os.environ, "CPATH": str(include)})
    assert done.returncode == 0, done.stderr
    assert check == "build/tests/providers/conformance ./mine.so path=/tmp/files"
    mine = tmp_path / "modules/mine/mine.so"
    symbols = run("nm", "-D", "--defined-only", mine).stdout
    assert re.findall(r" [A-Z] (\w+)", symbols) == ["keyturn_provider"]
    assert "libkeyturn" not in run("ldd", mine).stdout
    assert "# 11 passed, 0 failed" in suite(conformance, mine, files)
    for path in files.iterdir():
        path.unlink()
    copied = Served(kt, home, tmp_path, mine, files, "mine")
    copied.write("files/a", b"one")
    assert copied.get("files/a") == b"one"
    assert [line["provider"] for line in home.records() if line.get("reference") == "files/a"] == ["mine"]


def test_a_copy_in_the_source(tmp_path):
    """make finds the folder, builds it as strictly as the others, and installs it, which it does not do with the sample."""
    top, build = copy_sources(tmp_path / "top"), tmp_path / "b"
    subprocess.run(["sh", "-ec", commands()[0]], cwd=top, check=True)
    subprocess.run(["./configure", f"--builddir={build}", "--prefix=/usr", "--enable-werror", "--without-nginx", "--without-redis",
                    "--without-postgresql"], cwd=top, check=True, stdout=subprocess.DEVNULL)
    done = run("make", f"BUILD={build}", f"{build}/lib/keyturn/mine.so", cwd=top)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    plan = run("make", "-n", "V=1", f"BUILD={build}", "install", cwd=top).stdout
    assert f"{build}/lib/keyturn/mine.so:/usr/lib/keyturn/mine.so" in plan
    assert "modules/mine/keyturn-mine.7:" in plan
    assert "sample.so:" not in plan and "keyturn-sample.7:/usr/share/man" not in plan
    assert "modules/sample/sample.c:/usr/share/doc/keyturn/examples/sample/sample.c" in plan

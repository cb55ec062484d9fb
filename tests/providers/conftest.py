# SPDX-License-Identifier: BSD-2-Clause
"""The conformance driver (conformance.c documents its command line), as fixtures:

    driver       driver("local", path=...) is a Driver for one store
    local        a fresh store of the provider `local`: a Driver with .path
"""
import os
import pathlib
import signal
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
RUN = "--run=c0ffee"  # every process of a test means the same secrets


@pytest.fixture(scope="session")
def conformance(tmp_path_factory):
    """The program: built by make, else here."""
    for folder in (os.environ.get("KT_TEST_BIN"), TOP / "build/tests"):
        if folder and (pathlib.Path(folder) / "providers/conformance").exists():
            return pathlib.Path(folder) / "providers/conformance"
    program = tmp_path_factory.mktemp("driver") / "conformance"
    sources = sorted((TOP / "tests/providers").glob("*.c"))
    subprocess.run(["cc", "-std=gnu11", "-O1", "-g", f"-I{TOP}/core/include", "-o", program, *sources, "-ldl", "-pthread"], check=True)
    return program


class Driver:
    def __init__(self, program, provider, env, options):
        self.program, self.provider, self.env = program, provider, env
        self.options = {key: str(value) for key, value in options.items()}
        self.children = []

    @property
    def path(self):
        return pathlib.Path(self.options["path"])

    def beside(self, suffix):
        return pathlib.Path(self.options["path"] + suffix)

    def command(self, *args, **options):
        options = {**self.options, **{key: str(value) for key, value in options.items()}}
        return [self.program, RUN, *args, self.provider, *(f"{key}={value}" for key, value in options.items())]

    def call(self, *args, limit=60, **options):
        """Runs an action; a CompletedProcess with .status, the provider's status by name, and .text, its error."""
        done = subprocess.run(self.command(*args, **options), capture_output=True, text=True, timeout=limit, env=self.env)
        assert done.returncode in (0, 1), (done.returncode, done.stdout, done.stderr)
        assert (done.returncode == 0) == (done.stderr == ""), (done.returncode, done.stderr)
        status, _, text = ("success", "", "") if done.returncode == 0 else done.stderr.partition(":")
        done.status, done.text = status, text.strip()
        return done

    def answer(self, *args, **options):
        """What an action printed; it must succeed."""
        done = self.call(*args, **options)
        assert done.status == "success", done.stderr
        return done.stdout.strip()

    def read(self, number=1):
        return int(self.answer("--read", str(number)))

    def bump(self, number=1):
        return int(self.answer("--bump", str(number)))

    def suite(self, limit=300):
        """Runs the whole suite; what it printed."""
        done = subprocess.run([self.program, *self.command()[2:]], capture_output=True, text=True, timeout=limit, env=self.env)
        print(done.stdout, done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.rstrip().splitlines()[-1].startswith("# ") and ", 0 failed," in done.stdout
        return done.stdout

    def start(self, *args, **options):
        """Starts an action that keeps running; read its first line with .stdout.readline()."""
        child = subprocess.Popen(self.command(*args, **options), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, env=self.env)
        self.children.append(child)
        return child

    def kill(self, child):
        child.send_signal(signal.SIGKILL)
        child.wait()

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


@pytest.fixture
def driver(conformance, kt):
    made = []

    def make(name, **options):
        provider = kt.libdir / "keyturn" / f"{name}.so"
        assert provider.exists(), f"not built: {provider}"
        made.append(Driver(conformance, provider, kt.environment(), options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def local(driver, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    one = driver("local", path=folder / "development.db")
    one.answer("--create")
    yield one
    folder.chmod(0o700)  # whatever mode a test gave it

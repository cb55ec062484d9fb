# SPDX-License-Identifier: BSD-2-Clause
"""The first example of keyturn.3 is compiled as it stands, and run: each outcome has its exit status."""
import os
import pathlib
import pwd
import subprocess

import pytest

ME = f"uid:{pwd.getpwuid(os.geteuid()).pw_name}"


@pytest.fixture(scope="module")
def example(kt, tmp_path_factory):
    """example(home, subject=...): what the program does."""
    folder = tmp_path_factory.mktemp("example")
    page = (pathlib.Path(os.environ["KT_TOP"]) / "core/keyturn.3").read_text()
    code = page.split("\n.Sh EXAMPLES\n")[1].split("\n.Bd -literal\n")[1].split("\n.Ed\n")[0]

    def build(name, text):
        (folder / f"{name}.c").write_text(text.replace("\\e", "\\"))
        subprocess.run(["cc", "-Wall", "-Werror", f"-I{kt.stage}/usr/include", f"{folder}/{name}.c", "-o", folder / name,
                        f"-L{kt.stage}/usr/lib", "-lkeyturn"], check=True)
    build("as_it_stands", code)
    build("me", code.replace("uid:www-data", ME))

    def run(home, name="me"):
        return subprocess.run([folder / name], capture_output=True, env={**home.env, "KEYTURN_CONFIG": str(home.config)}, check=False)
    return run


def test_a_value(example, home):
    home.set("database/primary", {"user": "app", "password": "of this example"})
    result = example(home)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"of this example", b"")


def test_there_is_none(example, home):
    result = example(home)
    assert (result.returncode, result.stdout) == (66, b"") and b"there is none" in result.stderr


def test_policy_refuses(example, home):
    home.set("database/primary", {"user": "app", "password": "of this example"})
    text = home.config.read_text()
    home.config.write_text(text.replace("\npolicy:\n", "\npolicy:\n  - {who: '*', deny: [read], names: ['database/*']}\n"))
    result = example(home)
    assert (result.returncode, result.stdout) == (77, b"") and b"may not read" in result.stderr


def test_another_subject_than_its_own(example, home):
    result = example(home, "as_it_stands")
    assert (result.returncode, result.stdout) == (64, b"") and b"uid:www-data" in result.stderr


def test_nobody_knows(example, home):
    home.set("database/primary", {"user": "app", "password": "of this example"})
    home.store.chmod(0)
    result = example(home)
    assert result.returncode not in (0, 66) and result.stdout == b"" and result.stderr != b""

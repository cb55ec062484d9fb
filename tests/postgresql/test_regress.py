# SPDX-License-Identifier: BSD-2-Clause
"""pg_regress over the SQL surface: postgresql/regress, which `make installcheck` runs in an installed server."""
import os
import pathlib
import re
import subprocess

from lib.stage import TOP

FOLDER = TOP / "postgresql/regress"


def program(kt):
    """PGXS of the server under test has it."""
    number = re.search(r"/postgresql/(\d+)/bin$", str(kt.pg_bin))[1]
    return pathlib.Path(f"/usr/lib/postgresql/{number}/lib/pgxs/src/test/regress/pg_regress")


def listed():
    return re.search(r"^REGRESS = (.*)$", (TOP / "postgresql/Makefile").read_text(), re.M)[1].split()


def test_each_file_has_its_expected_output_and_is_run():
    assert sorted(listed()) == sorted(path.stem for path in FOLDER.glob("sql/*.sql")) == \
        sorted(path.stem for path in FOLDER.glob("expected/*.out"))


def test_regress(kt, db, tmp_path):
    db.home.grant("postgresql:role:postgres", ["read", "write", "rotate", "list", "delete", "state"], ["*"])
    (tmp_path / "sql").mkdir()
    env = {**db.pg.env, "PATH": f"{kt.keyturn.parent}:{os.environ['PATH']}", "KEYTURN_CONFIG": str(db.home.config)}
    result = subprocess.run([program(kt), f"--inputdir={FOLDER}", f"--outputdir={tmp_path}", f"--bindir={kt.pg_bin}",
                             f"--host={db.pg.sockets}", f"--port={db.pg.port}", "--user=postgres", *listed()],
                            env=env, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    differences = tmp_path / "regression.diffs"
    assert result.returncode == 0, result.stdout + (differences.read_text() if differences.exists() else result.stderr)

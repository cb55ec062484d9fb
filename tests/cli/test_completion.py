# SPDX-License-Identifier: BSD-2-Clause
"""What a shell offers at TAB, in bash, zsh and fish, and what of it is recorded."""
import os
import shutil
import subprocess
import time

import pytest

NAMES = ["a/b", "api-keys/other", "api-keys/stripe", "database/primary"]


@pytest.fixture
def filled(home):
    for name in NAMES:
        home.set(name, b"value-of-" + name.encode())
    home.set("api-keys/stripe", b"second")
    return home


def words(home, *line):
    return home.run("completion", "words", "--", *line).stdout.decode().split()


@pytest.mark.parametrize("line, offered", [
    (["vers"], ["versions"]), (["audit", "v"], ["verify"]), (["rotate", "--le"], ["--length"]), (["get", "--mask", ""], ["full", "partial"]),
    (["get", "--mask=p"], ["--mask=partial"]), (["rotate", "--alphabet", "u"], ["urlsafe", "uuid"]),
    (["get", "api-keys/s"], ["api-keys/stripe"]), (["rollback", "api-keys/stripe", ""], ["1", "2"]),
    (["destroy", "api-keys/stripe", ""], ["1", "2"]), (["get", "api-keys/stripe@p"], ["api-keys/stripe@previous", "api-keys/stripe@pending"]),
    (["get", "api-keys/stripe@1"], ["api-keys/stripe@1"]), (["run", "--map", "A=dat"], ["A=database/primary"]),
    (["run", "--map=A=dat"], ["--map=A=database/primary"]), (["run", "--map", "A=a/b", "--", "ls"], [":command"]),
    (["run", "--map", "A=a/b", "ls", "-"], [":command"]), (["restore", ""], [":files"]), (["backup", "x"], [":files"]), (["-c", ""], [":files"]),
    (["rotate", "--length", ""], []), (["get", "a/b", ""], []), (["completion", ""], ["bash", "fish", "zsh"]), (["--js"], ["--json"]),
])
def test_candidates(filled, line, offered):
    assert sorted(words(filled, *line)) == sorted(offered)


def test_verbs_and_names(filled):
    assert {"set", "get", "audit", "check", "run"} <= set(words(filled, ""))
    assert {"tail", "verify", "report"} <= set(words(filled, "audit", ""))
    assert sorted(words(filled, "get", "")) == sorted(words(filled, "info", "")) == NAMES
    assert "--config" in words(filled, "get", "-") and "--reveal" in words(filled, "get", "-")


def test_the_configuration_of_the_line_counts(kt, filled):
    result = subprocess.run([kt.keyturn, "completion", "words", "--", "-c", filled.config, "get", "a/"], env=kt.environment(),
                            capture_output=True, text=True)
    assert result.stdout == "a/b\n"


def test_without_a_configuration_there_are_no_names(kt):
    result = subprocess.run([kt.keyturn, "-c", "/nonexistent", "completion", "words", "--", "get", ""], env=kt.environment(),
                            capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout == ""


def recorded(home):
    return [line for line in home.records() if line.get("purpose") == "completion"]


def test_names_are_recorded_once_an_hour(filled):
    for _ in range(5):
        assert len(words(filled, "get", "")) == len(NAMES)
    words(filled, "rollback", "api-keys/stripe", "")
    assert [(line["action"], line["status"]) for line in recorded(filled)] == [("list", "success")]
    stamp = next(filled.dir.glob("audit/cli-*/completion"))
    past = time.time() - 3601
    os.utime(stamp, (past, past))
    words(filled, "get", "")
    words(filled, "get", "")
    assert len(recorded(filled)) == 2
    future = time.time() + 3600
    os.utime(stamp, (future, future))
    words(filled, "get", "")
    assert len(recorded(filled)) == 3, "a time in the future proves nothing"
    filled.run("list")
    assert len([line for line in filled.records() if line["action"] == "list"]) == 4, "any other list is recorded"


def test_refusals_are_always_recorded(filled):
    words(filled, "get", "")
    filled.deny("*", ["list"], ["*"])
    for _ in range(2):
        assert words(filled, "get", "") == []
    assert [line["status"] for line in recorded(filled)] == ["success", "denied", "denied"]


# ---- the shells themselves ----

BASH = """
complete_line() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _keyturn
    printf '%s\\n' "${COMPREPLY[@]}" | sort | paste -sd ' '
}
"""


def test_bash(filled, tmp_path):
    (tmp_path / "completion").write_text(filled.run("completion", "bash").stdout.decode())
    (tmp_path / "folder").mkdir()
    keyturn = filled.stage.keyturn
    script = f"""
        export KEYTURN_CONFIG={filled.config}
        . {tmp_path}/completion
        {BASH}
        complete_line {keyturn} ro
        complete_line {keyturn} get api-keys/
        complete_line {keyturn} get api-keys/stripe @ pre
        complete_line {keyturn} run --map A = dat
        complete_line {keyturn} rollback api-keys/stripe ''
        complete_line {keyturn} restore {tmp_path}/fol
        complete_line {keyturn} run --map A = a/b -- keyturn-no-such
    """
    result = subprocess.run(["bash", "-c", script], env=filled.env, capture_output=True, text=True)
    assert result.stdout.splitlines() == ["rollback rotate", "api-keys/other api-keys/stripe", "previous", "database/primary", "1 2",
                                          f"{tmp_path}/folder", ""] and result.stderr == ""


def test_fish(filled, tmp_path):
    (tmp_path / "keyturn.fish").write_text(filled.run("completion", "fish").stdout.decode())
    script = f"set -x PATH {filled.stage.keyturn.parent} $PATH; set -x KEYTURN_CONFIG {filled.config}; source {tmp_path}/keyturn.fish; "
    for line, offered in (("keyturn ro", ["rollback", "rotate"]), ("keyturn get api-keys/", ["api-keys/other", "api-keys/stripe"]),
                          ("keyturn rollback api-keys/stripe ", ["1", "2"]), ("keyturn run --map A=dat", ["A=database/primary"]),
                          (f"keyturn restore {tmp_path}/keyturn.f", [f"{tmp_path}/keyturn.fish"])):
        result = subprocess.run(["fish", "--no-config", "-c", f"{script} complete -C '{line}'"], env={**filled.env, "HOME": str(tmp_path)},
                                capture_output=True, text=True)
        assert sorted(word.split("\t")[0] for word in result.stdout.splitlines()) == offered, (line, result.stderr)


ZSH = """
zmodload zsh/zpty
zpty -b shell zsh -f -i
for line in "autoload -U compinit; compinit -D -u" "PS1=; unsetopt zle_bracketed_paste 2>/dev/null" "source $1/_keyturn" "zstyle ':completion:*' list-rows-first yes" "print -r READY''YES"; do
    zpty -w shell "$line"
done
zpty -r shell text '*READYYES*' || exit 1
zpty -w -n shell "$2"$'\t'
sleep 0.1
zpty -w shell $'\n'"print -r DONE''YES"
zpty -r shell text '*DONEYES*' && print -r -- "$text"
zpty -d shell
"""


@pytest.mark.parametrize("typed, completed", [
    ("keyturn rota", "keyturn rotate "), ("keyturn info api-keys/s", "keyturn info api-keys/stripe "),
    ("keyturn info --js", "keyturn info --json "),
])
def test_zsh(filled, tmp_path, typed, completed):
    (tmp_path / "_keyturn").write_text(filled.run("completion", "zsh").stdout.decode())
    env = {**filled.env, "HOME": str(tmp_path), "KEYTURN_CONFIG": str(filled.config), "TERM": "dumb", "ZDOTDIR": str(tmp_path),
           "PATH": f"{filled.stage.keyturn.parent}:/usr/bin:/bin"}
    result = subprocess.run(["zsh", "-f", "-c", ZSH, "zsh", tmp_path, typed], env=env, capture_output=True, text=True, timeout=60)
    assert completed in result.stdout, (result.stdout, result.stderr)


def test_the_shells_are_here():
    for shell in ("bash", "zsh", "fish"):
        assert shutil.which(shell), f"auto/deps installs {shell}"

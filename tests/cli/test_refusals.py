# SPDX-License-Identifier: BSD-2-Clause
"""What is refused, with which exit status, and that the text helps without telling anything."""
import json

import pytest

BAD_NAMES = ["..", "../etc/passwd", "a/../b", "a/./b", ".", "/a", "a/", "a//b", "", "a b", "a\tb", "a\nb", "snö", "a\xff",
             "x" * 256, "x" * 300, "a*", "a%b", "a:b", "~a"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("verb", ["set", "get", "info", "versions", "rotate", "rollback", "delete", "undelete"])
def test_bad_names(home, verb, name):
    result = home.run(verb, name, input=b"v", check=False)
    assert result.returncode == 64 and result.stdout == b""
    assert result.stderr.startswith(b"keyturn: ") and result.stderr.count(b"\n") == 1


def test_a_name_that_is_not_utf8(home):
    import subprocess
    argv = [str(home.stage.keyturn).encode(), b"-c", str(home.config).encode(), b"--json", b"get", b"a\xff"]
    result = subprocess.run(argv, env=home.env, capture_output=True)
    assert result.returncode == 64 and json.loads(result.stdout)["status"] == "usage"


@pytest.mark.parametrize("reference", ["a#", "a@", "a@0", "a@-1", "a@new", "a@1@2", "a#f@", "#f", "@1",
                                       "a@99999999999999999999999", "a#" + "f" * 256])
def test_bad_references(home, reference):
    assert home.run("get", reference, check=False).returncode == 64


@pytest.mark.parametrize("args", [
    [], ["nope"], ["audit"], ["audit", "nope"], ["--nope", "list"], ["list", "--nope"], ["set"], ["get"], ["init"],
    ["list", "a", "b"], ["get", "a", "b"], ["check", "a"], ["destroy", "a"], ["destroy", "a", "1", "--all"],
    ["destroy", "a", "x"], ["rollback", "a", "0"], ["rollback", "a", "-1"], ["rollback", "a", "1", "2"], ["-x"],
    ["set", "a", "--cas", "x"], ["set", "a", "--cas", "-1"], ["set", "a", "--meta", "novalue"], ["set", "a", "--meta", "=v"],
    ["rotate", "a", "--length", "15"], ["rotate", "a", "--length", "1025"], ["rotate", "a", "--length", "x"],
    ["rotate", "a", "--alphabet", "klingon"], ["rotate", "a", "--file", "/dev/null", "--length", "20"],
    ["rotate", "a", "--alphabet", "uuid", "--length", "40"], ["get", "a", "--reveal=yes"], ["set", "a", "--file"],
])
def test_usage(home, args):
    result = home.run(*args, check=False)
    assert result.returncode == 64, result
    assert result.stderr.startswith(b"keyturn: ") and result.stdout == b""


def test_the_nearest_verb_and_option_are_named(home):
    assert b"unknown verb rotatte (did you mean rotate?)" in home.run("rotatte", check=False).stderr
    assert b"(did you mean audit verify?)" in home.run("audit", "verfy", check=False).stderr
    assert b"(did you mean --reveal?)" in home.run("get", "a", "--revael", check=False).stderr


@pytest.mark.parametrize("verb", ["edit", "unseal", "zzz"])
def test_what_is_far_is_not_named(home, verb):
    assert f"unknown verb {verb}; keyturn --help lists all".encode() in home.run(verb, check=False).stderr
    assert b"--far; keyturn get --help lists all" in home.run("get", "a", "--far", check=False).stderr


def test_a_word_of_a_verb_and_an_option_without_value(home):
    assert b"audit needs a second word: tail, log, verify, report" in home.run("audit", check=False).stderr
    assert b"audit needs a second word" in home.run("audit", "everything", check=False).stderr
    assert b"the option --usage takes no value" in home.run("list", "--usage=yes", check=False).stderr


def test_statuses(home):
    home.set("a", b"v")
    assert home.run("get", "nothing", check=False).returncode == 66
    assert home.run("get", "a@9", check=False).returncode == 66
    assert home.run("info", "nothing", check=False).returncode == 66
    assert home.run("rotate", "nothing", check=False).returncode == 66
    assert home.run("delete", "nothing", check=False).returncode == 66
    assert home.run("get", "a#field", check=False).returncode == 64  # not a JSON object: the reference is wrong, and nothing is damaged
    assert home.run("rollback", "a", check=False).returncode in (66, 73)  # there is no previous one
    assert home.run("rollback", "a", "9", check=False).returncode == 66


def test_errors_as_json(home):
    result = home.run("--json", "get", "nothing", check=False)
    assert result.returncode == 66 and result.stderr == b""
    answer = json.loads(result.stdout)
    assert set(answer) == {"status", "error"} and answer["status"] == "notfound" and answer["error"]
    assert json.loads(home.run("--json", "nope", check=False).stdout)["status"] == "usage"
    assert json.loads(home.run("get", "..", "--json", check=False).stdout)["status"] == "usage"


def test_options_before_and_after_the_verb(home):
    home.set("a", b"v")
    for args in (["--config", home.config, "--json", "get", "a", "--reveal"],
                 ["get", "--reveal", "a", "--json", "-c", home.config],
                 ["--json", "get", f"--config={home.config}", "--reveal", "--", "a"]):
        assert json.loads(home.keyturn(*args).stdout)["value"] == "v"


def test_keyturn_config_in_the_environment(home):
    home.set("a", b"v")
    assert home.keyturn("get", "a", env={**home.env, "KEYTURN_CONFIG": str(home.config)}).stdout == b"v"
    result = home.keyturn("get", "a", check=False)  # the machine's, which may have one
    assert result.returncode in (66, 69, 77, 78) and b"/etc/keyturn/" in result.stderr and result.stdout == b""


# the configuration

@pytest.mark.parametrize("old, new, words", [
    ("environment: development", "enviroment: development", ["keyturn.yaml:3:", "enviroment", "environment"]),
    ("audit:\n", "audti:\n", ["audti", "audit"]),
    ("required: true", "requierd: true", ["requierd", "required"]),
    ('allow: [read, write, rotate, list, delete, admin], names: ["*"]', 'allow: [raed], names: ["*"]', ["raed", "read"]),
    ("keep_versions: 10", "keep_version: 10", ["keep_version", "keep_versions"]),
    ("environment: development", "environment: development\nenvironment: staging", [":4:", "environment"]),
    ("required: true", "required: maybe", ["required"]),
    ("policy:\n", "policy: {\n", ["keyturn.yaml"]),
    ('"*": local', '"*": locall', ["locall"]),
])
def test_configuration_errors_name_the_line_and_the_nearest_key(home, old, new, words):
    home.replace(old, new)
    result = home.run("get", "a", check=False)
    assert result.returncode == 78, result
    for word in words:
        assert word in result.stderr.decode()
    assert str(home.config) in result.stderr.decode()


def test_configuration_that_cannot_be_read(home):
    home.config.chmod(0)
    assert home.run("list", check=False).returncode == 77
    home.config.unlink()
    assert home.run("list", check=False).returncode == 78


@pytest.mark.parametrize("text", ["", "\n", "{}", "[]", "x", "a: &a b\nc: *a\n", "\t", "\x00", "environment: development\n" * 2,
                                  "!!python/object:os.system x"])
def test_configuration_that_is_none(home, text):
    home.write_config(text)
    assert home.run("list", check=False).returncode == 78


# the policy

def test_denied_by_default(home):
    home.set("database/primary", b"v")
    home.replace('names: ["*"]}', 'names: ["api-keys/*"]}')
    result = home.run("get", "database/primary", check=False)
    assert result.returncode == 77 and b"denied" in result.stderr.lower() or b"policy" in result.stderr.lower()
    assert home.run("get", "database/nothing", check=False).returncode == 77  # and it is not said what there is
    assert home.run("set", "database/primary", input=b"w", check=False).returncode == 77
    assert home.list() == []
    assert "denied" in {line["status"] for line in home.records()}


def test_an_explicit_deny_wins(home):
    home.set("a", b"v")
    home.deny("uid:*", ["write"], ["a"])
    assert home.run("set", "a", input=b"w", check=False).returncode == 77
    assert home.run("rotate", "a", "--generate", check=False).returncode in (0, 77)
    assert home.run("set", "b", input=b"w").stdout == b"1\n"


# the audit trail

def test_what_cannot_be_recorded_is_refused(home):
    home.set("a", b"v")
    for stream in home.audit.glob("cli-*"):
        for file in stream.iterdir():
            if file.is_file():
                file.chmod(0o400)
        stream.chmod(0o500)
    result = home.run("get", "a", check=False)
    assert result.returncode in (74, 77) and result.stdout == b""


def test_a_deleted_log_is_said(home):
    home.set("a", b"v")
    for log in home.audit.glob("cli-*/log"):
        log.unlink()
    result = home.run("get", "a")
    assert result.stdout == b"v" and b"the log that was being written is gone" in result.stderr
    assert b"is gone" not in home.run("get", "a").stderr
    assert home.run("audit", "verify", check=False).returncode == 65

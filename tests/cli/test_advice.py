# SPDX-License-Identifier: BSD-2-Clause
"""A message that advises a command is right about it: each one is produced, and its command is run as it stands there (F8)."""
import ast
import json
import os
import re
import shutil
import sqlite3

import pytest

from lib import advice, epochs
from lib.advice import commands, follow
from lib.home import Home

CASES = {}  # (file, part of the message): the test that runs its command, as FILE::NAME from tests/


def advises(*rows):
    def register(test):
        for row in rows:
            assert row not in CASES
            CASES[row] = f"cli/test_advice.py::{test.__name__}"
        return test
    return register


ELSEWHERE = {  # what needs root, a server, or the library
    ("core/rotate/steps.c", "of its versions are abandoned"): "unit/rotate/test_abandoned.c::no_more_than_so_many",
    ("cli/init/edit.c", "is without the audit key"): "system/test_init.py::test_a_user_is_added_without_the_audit_key",
    ("core/audit/missing.c", "not provable"): "cli/test_audit.py::test_a_stream_that_was_made_without_the_key",
    ("cli/init/edit.c", "Next: remove the #"): "system/test_init.py::test_a_user_is_added_later",
    ("cli/init/system.c", "Next: remove the #"): "system/test_check.py::test_nothing_is_wrong",
    ("core/maintain/check_look.c", "has no key for the type"): "system/test_check.py::test_what_is_missing_is_named_and_fixed",
    ("core/maintain/check_look.c", "policy also allows"): "system/test_check.py::test_a_grant_without_a_key_is_named",
    ("core/maintain/check_look.c", "the key file of %s, does not exist"): "system/test_check.py::test_what_is_missing_is_named_and_fixed",
    ("core/store/anchor_files.c", "%s/%s: %s ("): "system/test_check.py::test_what_is_missing_is_named_and_fixed",
    ("core/store/anchor_own.c", "belongs to uid"): "system/test_check.py::test_what_is_missing_is_named_and_fixed",
    ("core/rotate/old.c", "older passwords are still valid"): "redis/test_target.py::test_too_many_old_passwords",
    ("core/rotate/rotate.c", "the old password of %s stays valid"): "redis/test_target.py::test_the_old_one_cannot_be_removed_at_once",
    ("core/serve/put.c", "PostgreSQL manages this password"): "postgresql/test_advice.py::test_set_beside_postgresql",
    ("postgresql/src/context.c", 'run "keyturn check"'): "postgresql/test_advice.py::test_not_ready",
    ("postgresql/src/alternate.c", '"keyturn versions'): "postgresql/test_alternate.py::test_back_to_a_user_who_takes_no_turns",
    ("postgresql/src/rotate.c", '"keyturn info'): "postgresql/test_advice.py::test_rotated_somewhere_else",
    ("postgresql/src/user.c", '"keyturn rotate'): "postgresql/test_advice.py::test_no_role",
    ("postgresql/src/user.c", '"keyturn set'): "postgresql/test_proof.py::test_a_role_that_was_renamed",
    ("postgresql/src/repair.c", '"keyturn set'): "postgresql/test_repair.py::test_what_a_refusal_advises",
    ("postgresql/src/addresses.c", '"keyturn get'): "postgresql/test_owner.py::test_another_address_is_a_warning",
    ("postgresql/src/rotate.c", '"keyturn set'): "postgresql/test_advice.py::test_a_password_that_was_changed_by_hand",
    ("postgresql/src/worker.c", '"keyturn check"'): "system/test_readme.py::test_without_the_workers_line_check_fails",
}
NONE = {  # what names a verb, and advises nothing
    ("cli/init/layout.c", "written by keyturn init --system"),
    ("cli/lib/hosts.c", "keyturn list, verify and backup do not see them"),
    ("core/keys/keygen.c", "written by keyturn keygen --types"),
}


def test_each_advice_of_the_sources_has_a_case():
    found = list(advice.advices())
    rows = [*CASES, *ELSEWHERE, *NONE]
    cases = [(file, literal, [row for row in rows if row[0] == file and row[1] in literal]) for file, literal in found]
    assert [(file, literal) for file, literal, matching in cases if len(matching) != 1] == []
    assert set(rows) == {row for _, _, matching in cases for row in matching}, "a case for a message that is no more"
    assert [case for case in cases if case[2][0] not in NONE and not commands(case[1])] == [], "a command stands in quotes"


@pytest.mark.parametrize("test", sorted({*CASES.values(), *ELSEWHERE.values()}))
def test_the_case_exists(test):
    file, name = test.split("::")
    text = (advice.TOP / "tests" / file).read_text()
    names = re.findall(r"START_TEST\((\w+)\)", text) if file.endswith(".c") else [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert name in names


def says(home, status, *args, **more):
    result = home.run(*args, check=False, **more)
    assert result.returncode == status, result
    return (result.stdout + result.stderr).decode()


# ---- a target that knows the value ----

ODD = 'Old "quoted" \\ $HOME `x` é 1'
DATABASE = {"host": "127.0.0.1", "user": "shop", "password": ODD}


@pytest.fixture
def role(home, tmp_path):
    """A server of one password, a file."""
    folder = tmp_path / "server"
    folder.mkdir(mode=0o700)
    command, server = folder / "target", folder / "password"
    command.write_text(f"#!/bin/sh\n[ ! -e {folder}/broken ] || exit 1\n[ $KEYTURN_STEP != set ] || cat > {server}\n")
    command.chmod(0o700)
    home.write_config(home.read_config() + f'targets:\n  "database/*": {{exec: "{command}", timeout: 20s}}\n')
    server.write_bytes(ODD.encode())
    return server


@advises(("core/serve/write.c", "would not know the older one: give it"))
@pytest.mark.parametrize("value, field", [(DATABASE, "#password"), (ODD, "")])
@pytest.mark.parametrize("version", [[], ["1"]])
def test_rollback(home, role, value, field, version):
    home.set("database/shop", value if field else value.encode())
    for _ in range(1 + len(version)):
        home.rotate("database/shop")
    assert role.read_bytes() == home.get(f"database/shop{field}").strip() != ODD.encode()
    message = says(home, 73, "rollback", "database/shop", *version)
    follow(home, message)
    assert role.read_bytes() == home.get(f"database/shop{field}") == ODD.encode()
    if field:
        assert json.loads(home.get("database/shop")).keys() >= DATABASE.keys()


@advises(("core/serve/put.c", "would not learn the new value"))
@pytest.mark.parametrize("options, given", [(["--field", "password"], b"New"), ([], b'{"user": "shop", "password": "New"}')])
def test_set_beside_a_target(home, role, options, given):
    home.set("database/shop", DATABASE)
    message = says(home, 73, "set", "database/shop", *options, input=given)
    if not options:
        refused = follow(home, message, input=given, status=73)  # F8: the role's password was the whole JSON text
        assert "give the new password alone" in refused and role.read_bytes() == ODD.encode()
    follow(home, message, input=b"New")
    assert role.read_bytes() == home.get("database/shop#password") == b"New"
    assert home.get("database/shop#host") == b"127.0.0.1"
    other = {"user": "shop", "password": "here only"}
    follow(home, message, input=b"here only" if options else json.dumps(other).encode(), which=1)
    assert role.read_bytes() == b"New" and home.get("database/shop#password") == b"here only"


@advises(("core/serve/write.c", "an unfinished rotation holds"))
def test_a_pending_version(home, role):
    home.set("database/shop", DATABASE)
    (role.parent / "broken").touch()
    says(home, 69, "rotate", "database/shop")
    message = says(home, 73, "set", "database/shop", "--force", input=b"{}")
    follow(home, message)
    assert home.info("database/shop")["pending"] is None and home.get("database/shop#password") == ODD.encode()
    (role.parent / "broken").unlink()
    assert home.rotate("database/shop") == 3


# ---- values ----

@advises(("core/serve/put.c", "(`keyturn set %s --field %s` changes one field"), ("core/serve/put.c", "(--field changes one field"))
@pytest.mark.parametrize("field", ["api_key", "password", None])
def test_a_string_in_the_place_of_an_object(home, field):
    home.set("a", {field or "x": "old", "account": "shop"})
    message = says(home, 73, "set", "a", input=b"new")
    if field:
        follow(home, message, input=b"new")
        assert home.get(f"a#{field}") == b"new" and home.get("a#account") == b"shop"
    follow(home, message, input=b"whole", which=-1)
    assert home.get("a") == b"whole"


@advises(("core/serve/put.c", "exists already, in version"))
def test_a_new_secret_that_is_not_new(home):
    home.set("a", b"issued")
    follow(home, says(home, 73, "generate", "a"))
    assert home.info("a")["version"] == 2 and home.info("a")["origin"] == "generated"


@advises(("core/serve/put.c", "so it has no field"))
def test_a_field_in_the_place_of_a_string(home):
    home.set("a", b"plain")
    message = says(home, 73, "set", "a", "--field", "password", input=b"new")
    follow(home, message, input=b"whole")
    assert home.get("a") == b"whole"


@advises(("core/rotate/steps.c", "the value was issued by somebody else"))
def test_an_issued_value(home):
    for name, value, key in ("api-keys/a", b"old", "api-keys/a"), ("api-keys/b", {"api_key": "old", "id": 7}, "api-keys/b#api_key"):
        home.set(name, value)
        message = says(home, 73, "rotate", name)
        follow(home, message, input=b"the new one", which=0)
        assert home.get(key) == b"the new one" and home.info(name)["origin"] == "issued"
        follow(home, message, which=1)
        assert len(home.get(key)) == 32 and home.info(name)["origin"] == "generated"
    assert home.get("api-keys/b#id") == b"7"


@advises(("core/rotate/steps.c", "the value is derived from others"))
def test_a_derived_value(home):
    for name, value, key in ("app/url", b"old", "app/url"), ("app/key", {"api_key": "old", "id": 7}, "app/key#api_key"):
        home.set(name, value, "--meta", "origin=derived")
        follow(home, says(home, 73, "rotate", name), input=b"new")
        assert home.get(key) == b"new" and home.info(name)["origin"] == "derived"


@advises(("core/maintain/check.c", "(`keyturn rotate --due`)"))
def test_due(home, wait_for):
    home.run("generate", "a", "--meta", "rotation=1s")
    wait_for(lambda: "1 due for a rotation" in says(home, 0, "check"), 10)
    follow(home, says(home, 0, "check"))
    assert home.info("a")["version"] == 2


# ---- lock-outs ----

@advises(("cli/check/refused.c", "was refused too often"), ("core/serve/call.c", "locked out for %u s"),
         ("core/maintain/lockout.c", "is not locked out"), ("cli/lockout.c", "clear needs a SOURCE"))
def test_a_lockout(home):
    home.set("database/a", b"v")
    home.replace('names: ["*"]}', 'names: ["api-keys/*"]}')
    for _ in range(11):
        alert = says(home, 77, "get", "database/a")
    [source] = [row["source"] for row in home.json("lockout")["lockouts"]]
    home.grant(source, ["admin"], ["*"])
    checked = home.run("check", check=False).stdout.decode()
    [row] = [line for line in checked.splitlines() if "refused too often" in line]
    for message in alert, row, says(home, 66, "lockout", "clear", "nobody"), says(home, 64, "lockout", "clear"):
        assert source in follow(home, next(line for line in message.splitlines() if "keyturn lockout" in line))
    says(home, 0, "lockout", "clear", source)


# ---- audit logs ----

@pytest.fixture
def audited(kt, tmp_path):
    home = Home(kt, tmp_path / "home")
    home.audit_key = tmp_path / "audit.key"
    home.keyturn("init", "--audit-key", home.audit_key, home.dir)
    home.set("a", b"v")
    home.log = next(home.audit.glob("cli-*/log"))
    return home


def changed(log):
    text = log.read_bytes()
    log.write_bytes(text[:-10] + bytes([text[-10] ^ 1]) + text[-9:])


@advises(("core/audit/current.c", "is gone"), ("core/audit/current.c", "it was cut"), ("core/audit/current.c", "were changed"))
@pytest.mark.parametrize("harm, says_so", [
    (lambda log: log.unlink(), "is gone"), (lambda log: os.truncate(log, log.stat().st_size - 10), "it was cut"), (changed, "were changed")])
def test_a_lost_log(audited, harm, says_so):
    text = audited.log.read_bytes()
    harm(audited.log)
    [message] = [line for line in says(audited, 0, "get", "a").splitlines() if says_so in line]
    message = message[message.index("and `"):]  # `gap` is a kind of line
    follow(audited, message, status=65)
    [spoilt] = list(audited.log.parent.glob("log.2*")) or [audited.log.with_name("put-back")]
    spoilt.write_bytes(text)
    follow(audited, message)


@advises(("core/audit/missing.c", "an instance that was begun without the audit key"))
def test_a_stream_without_the_audit_key(audited):
    audited.log.with_name("state").unlink()
    audited.get("a")
    stream = audited.log.parent
    message = says(audited, 65, "audit", "verify", "--audit-key", audited.audit_key)
    follow(audited, message, STREAM=stream.name, AUDITKEY=audited.audit_key, FOLDER=stream)
    audited.get("a")
    says(audited, 0, "audit", "verify", "--audit-key", audited.audit_key)


@advises(("core/audit/key.c", "not an audit key"))
def test_not_an_audit_key(home, kt, tmp_path):
    (tmp_path / "other").write_text("no key\n")
    (tmp_path / "other").chmod(0o600)
    message = says(home, 78, "audit", "verify", "--audit-key", tmp_path / "other")
    begins = re.search("`(.*?)[.]{3}`", message).group(1)
    said = home.keyturn("init", tmp_path / "new").stdout.decode()
    assert commands(message) == ["keyturn init"] and f"\n{begins}" in said


@advises(("cli/init/audit.c", "This line is the audit key"))
def test_the_audit_key_that_init_shows(kt, tmp_path):
    home = Home(kt, tmp_path / "home")
    said = home.keyturn("init", home.dir).stdout.decode()
    key = tmp_path / "audit.key"
    key.write_text(next(line for line in said.splitlines() if line.startswith("keyturn-audit-key")) + "\n")
    key.chmod(0o600)
    home.set("a", b"v")
    follow(home, said, FILE=key)


# ---- keys ----

@advises(("core/keys/keyfile.c", 'not a key file: it has to begin with "keyturn-key 1" (`keyturn keygen FILE` makes one)'))
@pytest.mark.parametrize("text", [b"no key\n", b"no\0key\n"])
def test_not_a_key_file(home, tmp_path, text):
    home.key.write_bytes(text)
    follow(home, says(home, 78, "get", "a"), FILE=tmp_path / "new.key")
    assert (tmp_path / "new.key").read_text().startswith("keyturn-key 1\n")
    shutil.copy(tmp_path / "new.key", home.key)
    says(home, 0, "keygen", "--types", "tls", tmp_path / "types.key")


@advises(("core/keys/recipient.c", "key of a recipient"))
def test_not_a_key_of_a_recipient(home, tmp_path):
    (tmp_path / "other").write_text("no key\n")
    (tmp_path / "other").chmod(0o600)
    home.set("a", b"v")
    message = says(home, 78, "backup", "--recipient", tmp_path / "other", tmp_path / "backup")
    follow(home, message, FILE=tmp_path / "pair")
    says(home, 0, "backup", "--recipient", tmp_path / "pair.pub", tmp_path / "backup")
    message = says(home, 78, "restore", "--check", "--recipient-key", tmp_path / "other", tmp_path / "backup")
    follow(home, message, FILE=tmp_path / "second")
    says(home, 0, "restore", "--check", "--recipient-key", tmp_path / "pair", tmp_path / "backup")


@advises(("core/maintain/rekey_check.c", "put a new one in its place"), ("core/maintain/rekey_check.c", "copy the file that has it there"))
def test_a_key_file_without_the_newest_epoch(home):
    home.set("api-keys/a", b"v")
    nginx, redis, new = home.dir / "nginx.key", home.dir / "redis.key", home.dir / "new.key"
    home.run("keygen", "--types", "api-keys,tls", nginx)
    shutil.copy(home.key, redis)
    epochs.next_epoch(home)
    epochs.use_keys(home, f"{{cli: 'file:{home.key}', nginx: 'file:{nginx}', redis: 'file:{redis}'}}")
    message = says(home, 73, "rekey")
    for path, more in (nginx, {}), (redis, {"TYPE,...": "api-keys"}):
        follow(home, next(line for line in message.splitlines() if f"{path}: it lacks" in line), NEWFILE=new, **more)
        new.replace(path)
    says(home, 0, "rekey")
    assert nginx.read_text().count("\ntype ") >= 2


# ---- the store ----

@advises(("core/maintain/walk.c", "names them"))
def test_verify_names_all(home, tmp_path):
    names = ["a/one", "a/two", "b/one"]
    for name in names:
        home.set(name, name.encode())
    with sqlite3.connect(home.store) as db:
        db.execute("UPDATE head SET value=zeroblob(length(value))")
    message = says(home, 65, "backup", tmp_path / "backup")
    named = follow(home, message, status=65)
    assert [name for name in names if name not in named] == []


def checkpoint(home, wait_for):
    """From then on the command's own audit log knows how new the store is."""
    home.write_config(home.read_config().replace("\naudit:\n", "\naudit:\n  checkpoint: 1s\n"))

    def checked():
        home.set("a", b"first")
        return [line for line in home.records() if line["action"] == "checkpoint"]
    wait_for(checked, timeout=30, what="a checkpoint")


def newest_is_gone(home, path):
    saved = home.store.read_bytes()
    home.set("a", b"second")
    for more in "-wal", "-shm":
        home.store.with_name(home.store.name + more).unlink(missing_ok=True)
    home.store.write_bytes(saved)


def only_anchors_know(home, path):
    newest_is_gone(home, path)
    for log in home.audit.glob("*/log"):
        log.unlink()
    home.run("get", "a", check=False)  # which says that the log is gone


def all_is_put_back(home, path):
    shutil.copytree(home.dir / "anchors", path.with_name("anchors"))
    newest_is_gone(home, path)
    shutil.rmtree(home.dir / "anchors")
    shutil.copytree(path.with_name("anchors"), home.dir / "anchors")


@advises(("core/store/expected.c", "%s has generation"),
         ("core/store/anchors.c", "the folder of anchors is gone"),
         ("core/store/anchors.c", "was seen: an older store was put in place"),
         ("core/store/anchors.c", "there is no anchor of it"), ("modules/local/error.c", "no store at"))
@pytest.mark.parametrize("harm, status, says_so", [
    (lambda home, path: shutil.rmtree(home.dir / "anchors"), 65, "the folder of anchors is gone"),
    (only_anchors_know, 65, "was seen: an older store was put in place"),
    (all_is_put_back, 65, "an older store was put in place"),
    (lambda home, path: next(home.dir.glob("anchors/cli-*/generations")).unlink(), 65, "there is no anchor of it"),
    (lambda home, path: [file.unlink() for file in home.dir.glob("development.db*")], 69, "no store at")])
def test_restore(home, tmp_path, wait_for, harm, status, says_so):
    home.set("a", b"first")
    if harm is all_is_put_back:
        checkpoint(home, wait_for)
    home.run("backup", tmp_path / "backup")
    harm(home, tmp_path / "backup")
    message = says(home, status, "get", "a")
    assert says_so in message
    follow(home, message, BACKUP=tmp_path / "backup")
    assert home.get("a") == b"first"
    says(home, 0, "verify")
    assert home.set("a", b"third") > 1


# ---- set-up ----

@advises(("cli/init/system.c", "needs root"))
def test_init_as_another_user(home, tmp_path):
    follow(home, says(home, 77, "init", "--system"), DIR=tmp_path / "own")
    assert (tmp_path / "own/keyturn.yaml").exists()


@advises(("cli/init/config.c", "# keyturn: the configuration of one environment"))
def test_the_comments_of_the_configuration(home, tmp_path):
    text = home.read_config()
    assert len(commands(text)) == 2
    follow(home, text, which=0)
    home.set("tls/a", b"v")
    follow(home, text, which=1, FILE=tmp_path / "some.key")
    epochs.use_keys(home, f"file:{tmp_path}/some.key")
    assert home.get("tls/a") == b"v"


@advises(("cli/completion/completion.c", "# bash completion"), ("cli/completion/completion.c", "# zsh completion"),
         ("cli/completion/completion.c", "# fish completion"))
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_names_its_origin(home, shell):
    text = home.run("completion", shell).stdout.decode()
    [command] = [command for command in commands(text) if "completion" in command]
    assert command == f"keyturn completion {shell}" and follow(home, f"`{command}`") == text

# SPDX-License-Identifier: BSD-2-Clause
"""check, as root: each permission that a server's user misses is named with the command that fixes it, and so is
each permission too many."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lib.machine import CONFIG, ETC, LIB, LOG, STORE, owner

DROP_IN = pathlib.Path(__file__).resolve().parents[2] / "packaging/systemd/redis-server.service.d/keyturn.conf"
ANCHORS = LIB / "anchors"
READERS = {"nginx", "redis", "cli-deploy", "cli-human"}
ALL = READERS | {"postgresql"}
KEYGEN = f"keyturn keygen --types api-keys /x.key && cat /x.key > {ETC}/postgresql.key && rm /x.key"

# what is broken: by which command, who misses something then, and what is said of one of them
BREAKAGES = [
    ("gpasswd -d www-data keyturn", {"nginx"},
     "www-data is not in group keyturn and cannot pass /var/lib/keyturn: `usermod -aG keyturn www-data`"),
    ("gpasswd -d redis keyturn", {"redis"}, "redis is not in group keyturn and cannot read /etc/keyturn/keyturn.yaml"),
    ("gpasswd -d deploy keyturn", {"cli-deploy"}, "`usermod -aG keyturn deploy`"),
    ("gpasswd -d postgres keyturn-write", {"postgresql"}, "postgres is not in group keyturn-write and cannot write /var/lib/keyturn/store"),
    (f"chmod 700 {LIB}", ALL, "redis cannot pass /var/lib/keyturn, of its group keyturn: `chmod g+x /var/lib/keyturn`"),
    (f"chgrp root {LIB}", ALL, "`chgrp keyturn /var/lib/keyturn && chmod g+x /var/lib/keyturn`"),
    (f"chmod o-x {LIB}/store", READERS, "which all users need: `chmod o+x /var/lib/keyturn/store`"),
    (f"chmod g-w {LIB}/store", {"postgresql"}, "postgres cannot write /var/lib/keyturn/store"),
    (f"chgrp root {LIB}/store", {"postgresql"}, "`chgrp keyturn-write /var/lib/keyturn/store"),
    (f"chmod o-r {STORE}", READERS, f"www-data cannot read {STORE}"),
    (f"chmod g-w {STORE}", {"postgresql"}, f"postgres cannot write {STORE}, of its group keyturn-write"),
    (f"chmod o-r {STORE}-wal", READERS, f"cannot read {STORE}-wal"),
    (f"chmod o-r {STORE}-shm", READERS, f"cannot read {STORE}-shm"),
    (f"chmod g-w {STORE}-wal", {"postgresql"}, f"cannot write {STORE}-wal"),
    (f"chmod o-rx {ANCHORS}", ALL, f"cannot read {ANCHORS}"),
    (f"chmod o-rx {ANCHORS}/cli-root", ALL, f"cannot read {ANCHORS}/cli-root"),
    (f"chmod o-r {ANCHORS}/cli-root/generations", ALL, f"cannot read {ANCHORS}/cli-root/generations"),
    (f"rm -r {ANCHORS}/redis", {"redis"}, f"{ANCHORS}/redis does not exist: `install -d -m 755 -o redis -g redis {ANCHORS}/redis`"),
    (f"chown root {ANCHORS}/nginx", {"nginx"}, f"www-data does not own {ANCHORS}/nginx: `chown -R www-data {ANCHORS}/nginx`"),
    (f"cp {ANCHORS}/cli-root/generations {ANCHORS}/redis/generations", {"redis", "anchors"}, f"redis does not own {ANCHORS}/redis/generations"),
    (f"chmod 600 {CONFIG}", ALL - {"nginx"}, "cannot read /etc/keyturn/keyturn.yaml, of its group keyturn"),  # root reads it for nginx
    (f"chmod 750 {ETC}", ALL, "cannot pass /etc/keyturn"),
    (f"chmod 600 {ETC}/nginx.key", {"nginx"}, "www-data cannot read /etc/keyturn/nginx.key"),
    (f"chgrp root {ETC}/redis.key", {"redis"}, "`chgrp redis /etc/keyturn/redis.key"),
    (f"chown root {ETC}/cli-human.key", {"cli-human"}, "`chown human /etc/keyturn/cli-human.key"),
    (f"chmod 644 {ETC}/postgresql.key", ALL, "redis may read /etc/keyturn/postgresql.key, the key of postgresql, as every user may"),
    (f"rm {ETC}/nginx.key", {"nginx"}, "/etc/keyturn/nginx.key, the key file of www-data, does not exist: `keyturn keygen --types api-keys,tls"),
    (f"rm {ETC}/cli-human.key", {"cli-human"}, "`keyturn keygen --types api-keys /etc/keyturn/cli-human.key && chown human"),
    (f"chgrp redis {ETC}/cli-deploy.key", {"redis", "cli-deploy"}, "redis may read /etc/keyturn/cli-deploy.key, the key of cli-deploy"),
    ("usermod -aG www-data redis", {"redis"}, "redis is in group www-data and may read /etc/keyturn/nginx.key"),
    ("usermod -aG keyturn-write redis", {"redis"}, "redis is in group keyturn-write and may write /var/lib/keyturn/store, where it only reads"),
    (f"chmod o+w {STORE}", READERS, f"www-data may write {STORE}, where it only reads, as every user may: `chmod o-w {STORE}`"),
    (f"chmod o+w {LIB}/store", READERS, "`chmod o-w /var/lib/keyturn/store`"),
    (f"chmod o+w {ANCHORS}", ALL | {"anchors", "provider local"}, f"`chmod o-w {ANCHORS}`"),
    (KEYGEN, {"postgresql"}, "/etc/keyturn/postgresql.key has no key for the type database, which policy allows to postgres"),
    (f"sed -i '/postgresql:worker/d' {CONFIG}", {"postgresql"},
     "the policy does not let postgresql:worker list and rotate database/*"),
    (f"sed -i 's/allow: .rotate, list., names/allow: [list], names/' {CONFIG}", {"postgresql"}, "postgresql:worker list and rotate database/*"),
    (f"chmod 700 {LOG}", ALL, "cannot pass /var/log/keyturn"),
    (f"chown root {LOG}/redis", {"redis"}, "redis cannot write /var/log/keyturn/redis, which belongs to root: `chown -R redis /var/log/keyturn/redis`"),
    (f"chown redis {LOG}/nginx", {"nginx", "redis"}, "redis owns /var/log/keyturn/nginx, a stream that is not its own"),
    (f"chmod 500 {LOG}/nginx", {"nginx"}, "www-data cannot write /var/log/keyturn/nginx, its own"),
    (f"chown root {LOG}/postgresql/state", {"postgresql"}, "postgres does not own /var/log/keyturn/postgresql/state"),
    (f"chmod 400 {LOG}/postgresql/state", {"postgresql"}, "postgres cannot write /var/log/keyturn/postgresql/state"),
    (f"rm -r {LOG}/redis", {"redis"}, "/var/log/keyturn/redis does not exist: `install -d -m 2750 -o redis -g keyturn-audit /var/log/keyturn/redis`"),
    (f"chmod 777 {LOG}/postgresql", READERS | {"postgresql"}, "www-data may write /var/log/keyturn/postgresql, a stream that is not its own"),
    (f"chgrp www-data {LOG}/nginx", {"nginx"}, f"the group keyturn-audit cannot read {LOG}/nginx (mode 2750): `chgrp -R keyturn-audit {LOG}/nginx && chmod 2750"),
    (f"chmod 0700 {LOG}/cli-root", {"cli-root"}, f"the group keyturn-audit cannot read {LOG}/cli-root (mode 2700)"),
    (f"chmod g-s {LOG}/redis", {"redis"}, f"new logs will not have the group keyturn-audit in {LOG}/redis (mode 0750)"),
    (f"chmod o+rx {LOG}/redis", {"redis"}, f"users other than its owner and the group keyturn-audit may open {LOG}/redis (mode 2755)"),
    (f"chmod 600 {LOG}/cli-root/log", {"cli-root"}, f"the group keyturn-audit cannot read {LOG}/cli-root/log (mode 0600)"),
    (f"chgrp redis {LOG}/cli-root/log", {"cli-root"}, f"the group keyturn-audit cannot read {LOG}/cli-root/log (mode 0640)"),
    (f"install -m 644 -o redis -g keyturn-audit /dev/null {LOG}/redis/log.old", {"redis"}, f"users other than its owner and the group keyturn-audit may open {LOG}/redis/log.old"),
    (f"chmod 660 {LOG}/cli-root/log", {"cli-root"}, f"users other than its owner and the group keyturn-audit may open {LOG}/cli-root/log (mode 0660)"),
    (f"chmod 640 {LOG}/postgresql/state", {"postgresql"}, f"users other than its owner may open {LOG}/postgresql/state (mode 0640): `runuser -u postgres -- chmod go= "),
    (f"install -d -m 750 -o redis -g keyturn-audit {LOG}/redis/rings", {"redis"}, f"users other than its owner may open {LOG}/redis/rings"),
]


@pytest.fixture
def layout(machine):
    machine.init("--user", "deploy", "--user", "human")
    machine.sh("sed -i '/#- {who: /s/#//' /etc/keyturn/keyturn.yaml")
    machine.set("api-keys/a", b"v")
    yield machine
    machine.sh("gpasswd -d redis www-data; gpasswd -d redis keyturn-write", check=False)
    shutil.rmtree("/run/systemd", ignore_errors=True)
    shutil.rmtree("/etc/systemd/system/redis-server.service.d", ignore_errors=True)


def fix(machine, times=4):
    """Does what check says, until it finds nothing."""
    for _ in range(times):
        rows, status = machine.check()
        commands = {row["fix"] for what in rows for row in rows[what] if "fix" in row}
        if status == 0:
            return
        assert commands, rows
        # `keyturn` and `systemctl` are the machine's, elsewhere
        machine.sh("systemctl() { :; }; keyturn() { %s \"$@\"; }; set -e; export LD_LIBRARY_PATH=%s; %s"
                   % (machine.stage.keyturn, machine.stage.libdir, "\n".join(sorted(commands))))
    raise AssertionError(machine.wrong())


def test_nothing_is_wrong(layout):
    rows, status = layout.check()
    assert status == 0 and ALL <= set(rows)
    assert "opens api-keys,tls" in rows["nginx"][0]["detail"] and "reads /var/lib/keyturn/store" in rows["nginx"][0]["detail"]
    assert "opens database" in rows["postgresql"][0]["detail"] and "writes /var/lib/keyturn/store" in rows["postgresql"][0]["detail"]
    text = layout.keyturn("check").stdout.decode()
    assert re.search(r"^ok +redis +opens api-keys; reads", text, re.M)


@pytest.mark.parametrize("broken, who, says", BREAKAGES, ids=[row[0] for row in BREAKAGES])
def test_what_is_missing_is_named_and_fixed(layout, broken, who, says):
    layout.sh(f"keyturn() {{ {layout.stage.keyturn} \"$@\"; }}; export LD_LIBRARY_PATH={layout.stage.libdir}; {broken}")
    before = listing()
    wrong = layout.wrong()
    assert {what for what, _ in wrong} == who, wrong
    assert any(says in detail for _, detail in wrong), wrong
    assert listing() == before, "check has changed something"
    fix(layout)


@pytest.mark.parametrize("name, who", [("tls/a", {"nginx"}), ("database/a", {"postgresql"}), ("api-keys/a", {"nginx", "redis", "cli-deploy", "cli-human"})])
def test_each_type_is_really_read(layout, name, who):
    """An older store in place: each holder of the type's key finds that out, also one without the type `general`."""
    layout.set(name, b"one")
    layout.sh(f"mkdir /var/lib/old && cp -a {STORE}* /var/lib/old")
    layout.set(name, b"two")
    layout.sh(f"cp -a /var/lib/old/* {STORE.parent} && rm -r /var/lib/old")
    rows, status = layout.check()
    found = {what for what in rows for row in rows[what] if row["status"] == "rolledback"}
    assert status == 65 and found == who | {"provider local"}, rows


def test_a_stream_puts_no_command_into_the_advice(layout):
    """The user of a stream decides what is in its folder; root does what check advises."""
    for command in ("touch 'log`id>x`'", "ln -s /etc/shadow log.1", "touch log.2"):
        subprocess.run([*layout.become("www-data"), "sh", "-c", f"umask 077; {command}"], cwd=LOG / "nginx", check=True)
    before = owner(pathlib.Path("/etc/shadow"))
    [row] = [row for row in layout.check()[0]["nginx"] if row["status"] != "success"]
    assert row["status"] == "permission" and "id>x" not in row["detail"]
    layout.sh(row["fix"], check=False)  # which fails at the link
    assert owner(pathlib.Path("/etc/shadow")) == before and owner(LOG / "nginx/log.2") == ("0640", "www-data", "keyturn-audit")
    assert {row["status"] for row in layout.check()[0]["nginx"]} == {"success"}


def test_a_key_of_another_environment_key_is_no_key(layout, tmp_path):
    layout.keyturn("init", "--environment", "production", tmp_path / "other")
    layout.keyturn("-c", tmp_path / "other/keyturn.yaml", "keygen", "--types", "api-keys,tls", tmp_path / "wrong.key")
    layout.sh(f"cat {tmp_path}/wrong.key > {ETC}/nginx.key")
    assert {(what, "not this store's key" in detail) for what, detail in layout.wrong()} == {("nginx", True)}


def test_what_was_read_is_said_and_not_recorded(layout):
    layout.set("tls/a", b"v")
    before = {path: path.read_bytes() for path in LOG.glob("*/log") if path.parent.name != "cli-root"}
    rows, status = layout.check()
    assert status == 0
    assert "read a secret of api-keys,tls" in rows["nginx"][0]["detail"]
    assert "nothing is stored of database" in rows["postgresql"][0]["detail"]
    assert "read a secret of api-keys,tls" in rows["provider local"][0]["detail"]
    assert {path: path.read_bytes() for path in LOG.glob("*/log") if path.parent.name != "cli-root"} == before
    assert json.loads(layout.keyturn("--json", "info", "tls/a").stdout)["accessed"] == 0


# grant

def test_grant_keeps_owner_and_mode(layout):
    before = {path: owner(path) for path in ETC.glob("*.key")}
    assert layout.keyturn("grant", "nginx", "database").stdout.decode().startswith("nginx may open the types api-keys,tls,database; restart it")
    assert layout.keyturn("grant", "deploy", "tls", "general").stdout == b"cli-deploy may open the types api-keys,tls,general.\n"
    assert json.loads(layout.keyturn("--json", "grant", "cli-human", "tls").stdout)["types"] == "api-keys,tls"
    assert {path: owner(path) for path in ETC.glob("*.key")} == before and layout.wrong() == []
    assert owner(ETC / "cli-human.key")[1] == "human"
    layout.set("database/a", b"secret")
    assert "read a secret of api-keys,database" in layout.check()[0]["nginx"][0]["detail"]
    text = (ETC / "nginx.key").read_text()
    layout.keyturn("grant", "nginx", "database")  # once more changes nothing
    assert (ETC / "nginx.key").read_text() == text and not list(ETC.glob("*.new"))


@pytest.mark.parametrize("args, code, says", [
    (("apache", "tls"), 78, "has no entry for apache"), (("nginx", "a/b"), 64, "first segment"), (("nginx",), 64, "grant"),
    (("cli", "tls"), 73, "the environment's key, which opens every type")])
def test_grant_refuses(layout, args, code, says):
    before = {path: path.read_bytes() for path in ETC.iterdir() if path.is_file()}
    result = layout.keyturn("grant", *args, check=False)
    assert result.returncode == code and says in result.stderr.decode(), result.stderr
    assert {path: path.read_bytes() for path in ETC.iterdir() if path.is_file()} == before


def test_grant_makes_no_right_of_what_a_user_wrote(layout):
    """The file may belong to the user, who adds a type with a made-up key."""
    path = ETC / "cli-human.key"
    lines = path.read_text().splitlines()
    [line] = [line for line in lines if line.startswith("type api-keys")]
    path.write_text("\n".join([*lines, line.replace("api-keys", "database")]) + "\n")
    layout.keyturn("grant", "human", "tls")
    assert "type database" not in path.read_text() and "type tls" in path.read_text()


def test_grant_needs_the_environment_key(layout):
    assert layout.keyturn("grant", "deploy", "tls", user="deploy", check=False).returncode == 77


def listing():
    found = {}
    for folder in (ETC, LIB, LOG):
        for path in [folder, *folder.rglob("*")]:
            st = os.lstat(path)
            # its own trail; SQLite gives an empty -wal the mode of the database when root opens it
            if "cli-root" not in str(path) and not path.name.endswith(("-wal", "-shm")):
                found[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns if path.is_file() else 0)
    return found


def test_exit_status_and_text(layout):
    layout.sh("gpasswd -d www-data keyturn")
    result = layout.keyturn("check", check=False)
    assert result.returncode == 77
    assert re.search(r"^permission +nginx +www-data is not in group keyturn", result.stdout.decode(), re.M)
    layout.sh("usermod -aG keyturn www-data")
    layout.sh(f"chown root {LOG}/redis")
    assert layout.keyturn("check", check=False).returncode == 74


def test_a_user_of_the_command_who_may_write_by_policy(layout):
    layout.grant('  - {who: "uid:deploy", allow: [read, rotate], names: ["api-keys/*", "tls/*"]}')
    wrong = layout.wrong()
    assert {what for what, _ in wrong} == {"cli-deploy"}
    assert any("deploy is not in group keyturn-write" in detail for _, detail in wrong)
    assert any("cli-deploy.key has no key for the type tls" in detail for _, detail in wrong)
    fix(layout)
    assert int(layout.keyturn("rotate", "api-keys/a", "--generate", user="deploy").stdout) == 2
    layout.sh("gpasswd -d deploy keyturn-write")


@pytest.mark.parametrize("rules, warns", [
    (['{who: "nginx:*", allow: [read], names: ["database/*"]}'], True),
    (['{who: "nginx*", allow: [read], names: ["database/*"]}'], True),
    (['{who: "*:shop", allow: [read], names: ["database/*"]}'], True),
    (['{who: "nginx:shop", allow: [read], names: ["database/*"]}'], True),
    (['{who: "redis*", allow: [read], names: ["database/*"]}'], False),
    (['{who: "nginx*", deny: [read], names: ["database/*"]}'], False),
    (['{who: "nginx:*", allow: [read], names: ["database/*"]}', '{who: "*", deny: [read], names: ["data*"]}'], False),
])
def test_a_grant_without_a_key_is_named(layout, rules, warns):
    """Whatever pattern makes the grant: the rules are matched as a request is."""
    text = re.sub(r"^ *- \{who: \"nginx:.*\n", "", CONFIG.read_text(), flags=re.M)
    CONFIG.write_text(text)
    for rule in rules:
        layout.grant(f"  - {rule}")
    [row] = layout.check()[0]["nginx"]
    assert ("policy also allows database, but the key file has no key for it" in row["detail"]) == warns, row
    if warns:
        [command] = re.findall("`(keyturn grant [^`]+)`", row["detail"])
        layout.keyturn(*command.split()[1:])
        assert "opens api-keys,tls,database" in layout.check()[0]["nginx"][0]["detail"]


def test_others_than_root_see_for_themselves(layout):
    rows, status = layout.check(user="deploy")
    assert status == 0 and "as root, check also says" in rows["users"][0]["detail"] and "nginx" not in rows
    layout.sh(f"chmod o-r {STORE}")
    rows, status = layout.check(user="deploy")
    assert status == 77 and rows["provider local"][0]["status"] == "forbidden"


def test_a_host_that_runs_as_another_user(layout):
    """The owner of the stream is the user of the server."""
    layout.sh(f"chown -R web {LOG}/nginx && chgrp web {ETC}/nginx.key")
    assert {what for what, _ in layout.wrong()} == {"nginx"}
    fix(layout)
    assert "web" in layout.sh("getent group keyturn").stdout


def test_a_key_for_a_user_who_is_gone(layout):
    CONFIG.write_text(CONFIG.read_text().replace("cli-human:", "cli-ghost:", 1))
    assert layout.wrong() == [("cli-ghost", "there is no user ghost")]
    assert layout.check()[1] == 78


@pytest.fixture
def valkey(machine):
    """Valkey is installed: its user, and its program, in a copy of the folder of programs."""
    machine.sh("mkdir -p /run/bin && mount -t tmpfs none /run/bin && mkdir /run/bin/upper /run/bin/work && "
               "mount -t overlay -o lowerdir=/usr/bin,upperdir=/run/bin/upper,workdir=/run/bin/work none /usr/bin && "
               "cp /bin/true /usr/bin/valkey-server && useradd --system --user-group valkey")
    yield
    machine.sh("umount -l /usr/bin; umount -l /run/bin; userdel valkey; for group in keyturn keyturn-write keyturn-audit; do gpasswd -d valkey $group; done", check=False)


def test_valkey_in_the_place_of_redis(valkey, machine):
    machine.sh("mv /usr/bin/redis-server /usr/bin/redis-away")
    machine.init()
    assert owner("/var/log/keyturn/redis")[1] == "valkey"
    machine.set("api-keys/a", b"v")
    rows, status = machine.check()
    assert status == 0 and "opens api-keys" in rows["redis"][0]["detail"], rows
    pathlib.Path("/run/systemd/system").mkdir(parents=True)
    pathlib.Path("/run/systemd/system/valkey-server.service").write_text("[Service]\nProtectSystem=strict\nReadWritePaths=-/var/lib/valkey\n")
    try:
        [(what, detail)] = machine.wrong()
        assert what == "redis" and "valkey cannot write to /var/log/keyturn/redis when systemd starts it" in detail
        drop_in = pathlib.Path("/run/systemd/system/valkey-server.service.d/keyturn.conf")
        drop_in.parent.mkdir()
        shutil.copy(machine.stage.stage / "usr/lib/systemd/system/valkey-server.service.d/keyturn.conf", drop_in)
        assert machine.wrong() == []
    finally:
        shutil.rmtree("/run/systemd")


def test_redis_goes_before_valkey_unless_its_stream_is_valkeys(valkey, machine):
    machine.init()
    assert owner("/var/log/keyturn/redis")[1] == "redis"
    assert machine.check()[1] == 0
    machine.sh("chown -R valkey:valkey /var/log/keyturn/redis")
    assert any("valkey" in detail for what, detail in machine.wrong() if what == "redis"), machine.wrong()


def test_a_home_of_root_expects_nobody_else(machine, tmp_path):
    machine.keyturn("init", tmp_path / "home")
    rows = json.loads(machine.keyturn("--json", "-c", tmp_path / "home/keyturn.yaml", "check").stdout)["checks"]
    assert not {"nginx", "redis", "postgresql"} & {row["what"] for row in rows}


# systemd, which does not run here: its files are read

def test_drop_in_of_the_redis_unit(layout):
    pathlib.Path("/run/systemd/system").mkdir(parents=True)
    [(what, detail)] = layout.wrong()
    assert what == "redis" and "redis cannot write to /var/log/keyturn/redis when systemd starts it" in detail
    assert "(ProtectSystem=strict in redis-server.service)" in detail
    fix(layout)
    made = pathlib.Path("/etc/systemd/system/redis-server.service.d/keyturn.conf")
    ours = [line for line in DROP_IN.read_text().splitlines() if line and not line.startswith("#")]
    assert made.read_text().splitlines() == ours
    made.unlink()
    assert [what for what, _ in layout.wrong()] == ["redis"]
    # as `make install` puts it: in a folder after /etc
    installed = pathlib.Path("/run/systemd/system/redis-server.service.d/keyturn.conf")
    installed.parent.mkdir()
    installed.write_text((layout.stage.stage / "usr/lib/systemd/system/redis-server.service.d/keyturn.conf").read_text())
    assert installed.read_text() == DROP_IN.read_text()
    assert layout.wrong() == []
    # a later drop-in that takes the paths back counts
    made.with_name("zz.conf").write_text("[Service]\nReadWritePaths=\nReadWritePaths=/var/log/keyturn/redis2\n")
    assert [what for what, _ in layout.wrong()] == ["redis"]
    # the log alone is not enough: the anchor of a write would be missing
    made.with_name("zz.conf").write_text("[Service]\nReadWritePaths=\nReadWritePaths=/var/log/keyturn/redis\n")
    [(what, detail)] = layout.wrong()
    assert what == "redis" and "redis cannot write to /var/lib/keyturn/anchors/redis when systemd starts it" in detail
    made.with_name("zz.conf").write_text("[Service]\nProtectSystem=full\n")
    assert layout.wrong() == []

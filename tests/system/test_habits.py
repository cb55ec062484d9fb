# SPDX-License-Identifier: BSD-2-Clause
"""What operators do to the audit logs of README's set-up, with the real logrotate: nginx, Redis, PostgreSQL and the command go on, and
`audit verify` with the audit key closes each gap."""
import pytest

from lib.machine import AUDIT_KEY, LOG, owner
from lib.readme import Setup, prepare, readme_blocks, take_away
from lib.tools import wait_for

STREAMS = ("nginx", "redis", "postgresql", "cli-root")
WAYS = {
    "compress": "compress",
    "delaycompress": "compress\ndelaycompress",
    "copytruncate": "copytruncate",
    "create": "create",
    "rename": "nocreate",
    "shipped": "weekly\nrotate -1\ndateext\ndateformat -%s\ncompress\ndelaycompress\nnocreate",
}
SERVICES = "nginx redis-server postgresql"


@pytest.fixture(scope="module")
def readme(kt, users):
    setup = Setup(kt)
    setup.machine.take_away()
    prepare(kt)
    try:
        for block in readme_blocks():
            if "init --system --environment production" in block:
                block = block.replace("init --system --environment production", f"init --system --environment production --audit-key {AUDIT_KEY}")
            setup.run(block)
        yield setup
    finally:
        take_away(setup.machine)


def verify(readme, status=0):
    result = readme.run(f"keyturn audit verify --audit-key {AUDIT_KEY}", check=False)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout


def works(readme):
    """Each of the four reads, and the record is on the disk."""
    assert readme.nginx()[0] == 200 and readme.can_login()
    assert readme.run("redis-cli SECRET.GET api-keys/resend").stdout.strip()
    readme.psql("SELECT get_secret('database/primary') IS NOT NULL")
    return True


def records_are_sealed(readme):
    """A record of each of the four is a line, and its seal is the last line of the log."""
    before = {stream: (LOG / stream / "log").stat().st_size for stream in STREAMS if (LOG / stream / "log").exists()}
    works(readme)
    readme.run("keyturn get api-keys/stripe")

    def grown(stream):
        lines = (LOG / stream / "log").read_bytes().splitlines()
        return len(lines) > 1 and (LOG / stream / "log").stat().st_size != before.get(stream) and b'"seal"' in lines[-1]
    wait_for(lambda: all(grown(stream) for stream in STREAMS), 20)
    return True


def gaps(readme):
    return int(readme.run(f"cat {LOG}/*/log | grep -c '\"action\":\"gap\"' || true").stdout)


@pytest.mark.parametrize("way", WAYS)
def test_logrotate(readme, way):
    """F2: each of the four was refused with `compress` and with `copytruncate`, until somebody had removed its state."""
    for _ in range(2):
        readme.run(f"""cat > /run/logrotate.conf <<'END'
{LOG}/*/log {{
rotate 99
missingok
notifempty
{WAYS[way]}
}}
END
chmod 644 /run/logrotate.conf; logrotate -f -s /run/logrotate.state /run/logrotate.conf; sleep 1.2""")
        works(readme)
    verify(readme)


def test_logs_are_deleted_and_put_back(readme):
    """To another file system, so that not even a server that has its log open still has it; and when nothing is left to be written."""
    readme.run(f"mkdir /run/aside; sleep 1.2; for s in {' '.join(STREAMS)}; do mv {LOG}/$s/log /run/aside/$s; done; sleep 1.2")
    assert works(readme)
    wait_for(lambda: gaps(readme) == len(STREAMS), 20, what="a line of each about its gap")  # nginx records once a second
    assert "in none of these files, and not removed by retention" in verify(readme, 65)
    readme.run(f"for s in {' '.join(STREAMS)}; do mv /run/aside/$s {LOG}/$s/from-the-archive; done")
    verify(readme)


@pytest.mark.parametrize("copy", ["cp -a {0}/. {1}", "tar -cf {1}/t -C {0} . && tar -xpf {1}/t -C {1} && rm {1}/t"])
def test_a_restored_folder(readme, copy):
    """A9: a file has another inode after a restore."""
    readme.run(f"for s in {SERVICES}; do service $s stop; done; mkdir -p /run/copy; " + copy.format(LOG, "/run/copy") +
               f"; find {LOG} -mindepth 1 -delete; cp -a /run/copy/. {LOG}; rm -rf /run/copy; for s in {SERVICES}; do service $s start; done; "
               "timeout 9 sh -c 'until redis-cli -e PING; do sleep 0.1; done'; "
               "timeout 30 sh -c 'until su - postgres -c \"psql -Atc SELECT\" >/dev/null 2>&1; do sleep 0.1; done'")
    assert works(readme)
    wait_for(lambda: gaps(readme) == len(STREAMS), 20, what="a line of each about its gap")  # nginx records once a second
    verify(readme)


def test_the_state_is_removed(readme):
    readme.run(f"rm {LOG}/*/state")
    assert records_are_sealed(readme)
    assert "begun without the audit key" in verify(readme, 65)
    readme.run(f"for s in {' '.join(STREAMS)}; do keyturn keygen --stream $s --audit-key {AUDIT_KEY} {LOG}/$s; done")
    assert records_are_sealed(readme)
    assert verify(readme).count("the one that follows proves that it has not changed since") >= len(STREAMS)


# the group keyturn-audit

AS = "runuser -u {} -- sh -c '{}'"
READ = ("audit verify", "audit log", "audit tail -n 200", "audit report", "--json audit log --stream postgresql")


@pytest.fixture
def people(readme):
    readme.run("useradd -r auditor; useradd -r stranger; usermod -aG keyturn-audit auditor")
    works(readme)
    readme.run("keyturn get api-keys/stripe")
    yield readme
    readme.run("userdel auditor; userdel stranger")


def all_logs():
    return {path: (owner(path), path.read_bytes()) for path in LOG.glob("*/log*")}


def are_unchanged(before):
    """Their own servers may have written more meanwhile."""
    after = all_logs()
    return set(after) >= set(before) and all(after[path][0] == was and after[path][1].startswith(text) for path, (was, text) in before.items())


def test_modes_of_all_logs(people):
    """Those that were made after a gap, after a rotation, and by PostgreSQL, whose umask is 077."""
    for stream, user in zip(STREAMS, ("www-data", "redis", "postgres", "root")):
        assert owner(LOG / stream) == ("2750", user, "keyturn-audit")
        assert owner(LOG / stream / "state")[:2] == ("0600", user)
        assert owner(LOG / stream / "rings")[0][-4:] in ("0700", "2700")
        logs = list((LOG / stream).glob("log*"))
        assert len(logs) > 5 and {path.suffix for path in logs} >= {".gz"}
        assert {owner(path) for path in logs if path.name == "log"} == {("0640", user, "keyturn-audit")}
        assert {owner(path)[0] for path in logs} == {"0640"} and {owner(path)[2] for path in logs} == {"keyturn-audit"}


def test_an_auditor_reads_and_alters_nothing(people):
    before = all_logs()
    for command in READ:
        result = people.run(AS.format("auditor", f"keyturn {command}"), check=False)
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        for text in ("4 streams",) if "report" in command else ("postgresql",) if "--stream" in command else STREAMS:
            assert text in result.stdout, (command, text)
    assert are_unchanged(before)
    for change in ("echo x >> {0}/log", ": > {0}/log", "rm {0}/log", "mv {0}/log {0}/x", "touch {0}/log.1", "chmod 666 {0}/log", "cat {0}/state", "ls {0}/rings",
                   "keyturn keygen --stream nginx {0}"):
        for stream in STREAMS:
            assert people.run(AS.format("auditor", change.format(LOG / stream)), check=False).returncode != 0, (change, stream)
    assert are_unchanged(before)


def test_others_read_nothing(people):
    for command in READ:
        result = people.run(AS.format("stranger", f"keyturn {command}"), check=False)
        assert result.returncode != 0 and "stripe" not in result.stdout, (command, result)
    for stream in STREAMS:
        assert people.run(AS.format("stranger", f"cat {LOG / stream}/log"), check=False).returncode != 0
    assert "Permission denied" in people.run(AS.format("stranger", "keyturn audit verify"), check=False).stdout

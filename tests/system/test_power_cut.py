# SPDX-License-Identifier: BSD-2-Clause
"""The power goes at each sync of a write: what was acknowledged is there, nothing is refused, and nothing calls it an attack.

keyturn leaves out some syncs: that of an outcome in the audit log, of the log's state, and of the store's own file. Nothing may
miss them. The machine has started again (another boot id), and of what was not synced some is there.
"""
import os
import pathlib
import random
import re
import subprocess
import time
import uuid

import pytest

from lib.home import Home
from lib.power_cut import Disk
from lib.tools import wait_for

BOOT = "/proc/sys/kernel/random/boot_id"
CHOICES = ["nothing", "everything", "some", "other"]


@pytest.fixture
def reboot(tmp_path):
    """Gives the machine another boot id."""
    file = tmp_path / "boot_id"

    def reboot():
        subprocess.run(["umount", BOOT], capture_output=True, check=False)
        file.write_text(f"{uuid.uuid4()}\n")
        subprocess.run(["mount", "--bind", file, BOOT], check=True)
    yield reboot
    subprocess.run(["umount", BOOT], capture_output=True, check=False)


def chooser(choice, cut):
    if choice in ("nothing", "everything"):
        return lambda event, block: choice == "everything"
    return lambda event, block: random.Random(f"{choice} {cut} {event} {block}").random() < 0.5


class Story:
    """Commands one after the other, and what each of them may have made of a secret."""

    def __init__(self, home):
        self.home = home
        self.begin()

    def begin(self, **before):
        """What is there now is on the disk."""
        self.disk = Disk(self.home.dir)
        self.told = []  # of each command: {reference: value, None if it is gone}
        self.before = {"api-keys/" + name: value for name, value in before.items()}

    def run(self, *args, value=b"", **after):
        self.disk.record([self.home.stage.keyturn, "--quiet", "-c", self.home.config, *args], input=value, env=self.home.env)
        self.told.append({"api-keys/" + name.replace("_", "@"): what for name, what in after.items()})

    def may_be(self, cut):
        """{reference: [values]} after this many events."""
        known = {reference: [value] for reference, value in self.before.items()}
        for done, told in zip(self.disk.done, self.told):
            if done <= cut:
                known.update({reference: [value] for reference, value in told.items()})
            else:
                for reference, value in told.items():
                    known.setdefault(reference, [None]).append(value)
                break
        return known


def value_of(home, reference):
    result = home.run("get", reference, check=False)
    assert result.returncode in (0, 66), (reference, result.stderr)
    return result.stdout if result.returncode == 0 else None


def recorded(home, name):
    """Versions of a secret of which the audit log says that they were begun."""
    lines = home.json("audit", "log", "--name", name)["lines"]
    return {line["version"] for line in lines if line["action"] == "write"}


def look(story, cut):
    home, kept = story.home, {}
    for reference, values in story.may_be(cut).items():
        kept[reference] = value_of(home, reference)
        assert kept[reference] in values, reference
    for verb in (["verify"], ["audit", "verify"]):
        result = home.run(*verb, check=False)
        assert result.returncode == 0, (result.stdout + result.stderr).decode()
    for reference, value in kept.items():
        if value is not None and "@" not in reference:
            assert home.info(reference)["version"] in recorded(home, reference), reference
    home.run("set", "api-keys/next", input=b"a value after the power cut")
    home.run("verify")


@pytest.fixture
def story(kt, tmp_path):
    home = Home.create(kt, tmp_path / "home")
    home.set("api-keys/first", b"it was there before")
    return Story(home)


def commands(story):
    story.run("set", "api-keys/a", value=b"the first value", a=b"the first value")
    story.run("set", "api-keys/a", value=b"the second value", a=b"the second value", a_1=b"the first value")
    story.run("set", "api-keys/b", value=b"of another secret", b=b"of another secret")
    story.run("destroy", "api-keys/a", "1", "--yes", a_1=None)
    story.run("delete", "api-keys/b", b=None)


def cuts_of(story, choice, most):
    cuts = story.disk.cuts()
    return sorted(random.Random(choice).sample(cuts, min(most, len(cuts))))


def cut_everywhere(story, reboot, choice, most=1000):
    for cut in cuts_of(story, choice, most):
        story.disk.leave(cut, chooser(choice, cut))
        reboot()
        try:
            look(story, cut)
        except Exception as error:
            synced = [more[0] for kind, _, *more in story.disk.events[:cut] if kind == "sync"][-1:]
            raise AssertionError(f"the power cut at {cut}, after the sync of {synced}: {error}"[:2000]) from error


@pytest.mark.parametrize("choice", CHOICES)
def test_writes_of_commands(story, reboot, choice):
    commands(story)
    assert len(story.disk.cuts()) > 25
    cut_everywhere(story, reboot, choice, most=16)


@pytest.mark.parametrize("choice", CHOICES)
def test_writes_of_a_process_that_goes_on(story, reboot, choice):
    """It writes the same value again and again; what it acknowledged is counted by the versions."""
    home, name = story.home, "api-keys/k0000000"
    home.set(name, b"a value before")
    story.begin()
    program = pathlib.Path(os.environ["KT_TEST_BIN"]) / "bench/inside_counts"
    story.disk.record([program, "set", "5", home.dir], env=home.env)
    story.told.append({})
    last = home.info(name)["version"]
    value = home.get(name)
    for cut in cuts_of(story, choice, most=10):
        story.disk.leave(cut, chooser(choice, cut))
        reboot()
        look(story, cut)
        assert home.get(name) in (b"a value before", value)
        assert cut < story.disk.done[0] or home.info(name)["version"] == last


@pytest.mark.parametrize("choice", CHOICES)
def test_the_wal_is_emptied(story, reboot, choice):
    """At 1 MiB the store's pages are written back, and its -wal begins anew."""
    wal, number = story.home.store.with_name(story.home.store.name + "-wal"), 0
    while wal.stat().st_size < 900000:
        number += 1
        value = b"x" * 50000 + str(number).encode()
        story.home.set("api-keys/large", value)
    story.begin(large=value)
    for number in range(5):
        value = b"y" * 50000 + str(number).encode()
        story.run("set", "api-keys/large", value=value, large=value)
    assert wal.stat().st_size < 900000
    cut_everywhere(story, reboot, choice, most=8)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_rekey(story, reboot, choice):
    story.home.set("api-keys/a", b"a value")
    story.begin(a=b"a value")
    story.run("rekey", a=b"a value")
    story.run("set", "api-keys/a", value=b"another value", a=b"another value", a_1=b"a value")
    cut_everywhere(story, reboot, choice, most=8)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_log_is_rotated(story, reboot, choice):
    home = story.home
    home.config.write_text(home.config.read_text().replace("\naudit:\n", "\naudit:\n  rotate: 64K\n"))
    while (home.audit / "cli-root/log").stat().st_size < 62000:
        home.set("api-keys/a", b"a value")
    story.begin(a=b"a value")
    for number in range(4):
        value = f"the value {number}".encode()
        story.run("set", "api-keys/a", value=value, a=value)
    assert len(list((home.audit / "cli-root").glob("log*"))) > 1
    cut_everywhere(story, reboot, choice, most=14)


def process(what, count, home):
    """"rotate": it rotates the secret so often, as PostgreSQL does: each publication is seen before it is synced."""
    return [pathlib.Path(os.environ["KT_TEST_BIN"]) / "bench/inside_counts", what, str(count), home.dir]


@pytest.mark.parametrize("choice", CHOICES)
def test_publications(story, reboot, choice):
    """A power cut leaves the version current, or pending, as it was before."""
    home, name = story.home, "api-keys/k0000000"
    home.set(name, b"a value before")
    story.begin()
    story.disk.record(process("rotate", 3, home), env=home.env)
    story.told.append({})
    assert home.info(name)["version"] == 4
    for cut in cuts_of(story, choice, most=8):
        story.disk.leave(cut, chooser(choice, cut))
        reboot()
        look(story, cut)
        info = home.info(name)
        assert info.get("pending") in (None, info["version"] + 1)
        assert cut < story.disk.done[0] or info["version"] == 4


def killed_at_its_sync(story):
    """The publisher: its frames are seen, and no process has synced them. The sync is the last one of -wal: what follows it is
    counted in a run before."""
    home, trace = story.home, story.home.dir.parent / "syncs"
    for _ in range(2):
        subprocess.run(["strace", "-f", "-y", "-e", "trace=fdatasync", "-o", trace, *process("rotate", 1, home)], env=home.env, check=True)
    version = home.info("api-keys/k0000000")["version"]
    syncs = re.findall(r"fdatasync\(\d+<(.*?)>", trace.read_text())
    last = max(number for number, path in enumerate(syncs, 1) if path.endswith("-wal"))
    story.begin()
    story.disk.record(process("rotate", 1, home), options=["-e", f"inject=fdatasync:error=EIO:signal=KILL:when={last}"], status=-9, env=home.env)
    story.told.append({})
    return version


SAW = {"get": ["get", "api-keys/k0000000"], "verify": ["verify"], "set": ["set", "api-keys/other"],
       "check": ["check"], "refused": ["rollback", "api-keys/none"],
       "server": None}  # which writes a checkpoint before it settles


@pytest.mark.parametrize("what", SAW)
@pytest.mark.parametrize("choice", ["nothing", "some"])
def test_what_is_written_of_a_publication_that_was_not_synced(story, reboot, choice, what):
    """The next process sees it, and records and anchors the generation that has no anchor. The power cut must not leave a store
    that is older than that: an alarm, although nothing was put back."""
    home, name = story.home, "api-keys/k0000000"
    home.config.write_text(home.config.read_text().replace("\naudit:\n", "\naudit:\n  checkpoint: 1s\n"))
    home.set(name, b"a value before")
    before = killed_at_its_sync(story)
    log = home.audit / "cli-root/log"
    wait_for(lambda: time.time() > log.stat().st_mtime + 1.1, 5, what="a checkpoint to be due")
    checkpoints = log.read_bytes().count(b'"checkpoint"')
    command = [home.stage.keyturn, "--quiet", "-c", home.config, *SAW[what]] if SAW[what] else process("cached", 1, home)
    story.disk.record(command, input=b"a value", env=home.env, status=66 if what == "refused" else 0)
    assert what != "server" or log.read_bytes().count(b'"checkpoint"') > checkpoints
    story.told.append({})
    assert home.info(name)["version"] == before + 1
    for cut in cuts_of(story, choice, most=5):
        story.disk.leave(cut, chooser(choice, cut))
        reboot()
        look(story, cut)
        assert home.info(name)["version"] in (before, before + 1)


@pytest.mark.parametrize("file, what", [("cli-root/log", "api-keys/a"), (".db-wal", "api-keys/a")])
def test_a_sync_that_does_nothing_is_noticed(story, reboot, file, what):
    """So the tests above would notice one that is left out."""
    commands(story)
    story.disk.broken = file
    with pytest.raises(AssertionError, match=f"the power cut at .*: {what}"):
        cut_everywhere(story, reboot, "nothing")


def put_back(disk):
    """The store's files as they were at first."""
    for path, file in disk.start.items():
        if ".db" in path:
            pathlib.Path(path).write_bytes(file.content)


def test_an_older_store_is_refused_after_a_power_cut(story, reboot):
    """The anchor of what was acknowledged is on the disk."""
    story.run("set", "api-keys/a", value=b"the first value", a=b"the first value")
    story.disk.leave(story.disk.done[0], chooser("nothing", 0))
    reboot()
    put_back(story.disk)
    assert story.home.run("get", "api-keys/first", check=False).returncode == 65


def test_without_its_sync_the_anchor_does_not_refuse_it(story, reboot):
    story.run("set", "api-keys/a", value=b"the first value", a=b"the first value")
    story.disk.broken = "/generations"
    story.disk.leave(story.disk.done[0], chooser("nothing", 0))
    reboot()
    put_back(story.disk)
    assert story.home.run("get", "api-keys/first", check=False).returncode == 0

# SPDX-License-Identifier: BSD-2-Clause
"""A keyturn home made by `keyturn init`, and the command on it."""
import fcntl
import json
import pathlib
import struct
import subprocess

from lib.tools import wait_for


def is_drained(ring):
    """Is all that a process has put into its ring a line? That of a dead one is for the next process of the stream."""
    try:
        with open(ring, "rb") as file:
            head, tail = (struct.unpack_from("=Q", header, at)[0] for header in [file.read(4096)] for at in (128, 192))
            if head == tail:
                return True
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False


class Failed(Exception):
    """The command ended with another status than 0: .status, .stdout, .stderr (bytes)."""

    def __init__(self, argv, result):
        self.status, self.stdout, self.stderr = result.returncode, result.stdout, result.stderr
        text = result.stderr.decode(errors="replace")
        super().__init__(f"keyturn {' '.join(map(str, argv))}: exit {result.returncode}: {text}")


class Home:
    """dir, config (the path of keyturn.yaml), environment, key (path), store (path), audit (path).

        home.set("api-keys/stripe", b"sk-1")        # the new version, 1
        home.get("api-keys/stripe")                 # b"sk-1"
        home.run("info", "nope", check=False).returncode
    """

    def __init__(self, stage, folder, environment="development"):
        self.stage, self.dir, self.environment = stage, pathlib.Path(folder), environment
        self.env = stage.environment()
        self.config = self.dir / "keyturn.yaml"
        self.key = self.dir / f"{environment}.key"
        self.store = self.dir / f"{environment}.db"
        self.audit = self.dir / "audit"

    @classmethod
    def create(cls, stage, folder, environment="development"):
        stage.need("keyturn")
        home = cls(stage, folder, environment)
        home.keyturn("init", "--environment", environment, home.dir)
        return home

    # the command

    def keyturn(self, *args, input=b"", check=True, timeout=30, env=None, **more):
        """`keyturn ARGS` as it stands, without -c: CompletedProcess with bytes; Failed if check and status not 0."""
        argv = [str(self.stage.keyturn), *map(str, args)]
        if isinstance(input, str):
            input = input.encode()
        result = subprocess.run(argv, input=input, env=env or self.env, capture_output=True, timeout=timeout, **more)
        if check and result.returncode != 0:
            raise Failed(args, result)
        return result

    def run(self, *args, **more):
        """`keyturn -c CONFIG ARGS`."""
        return self.keyturn("-c", self.config, *args, **more)

    def json(self, *args, **more):
        """The object that `keyturn --json ARGS` prints; of a failed one too, with check=False."""
        return json.loads(self.run("--json", *args, **more).stdout)

    def popen(self, *args, **more):
        return subprocess.Popen([str(self.stage.keyturn), "-c", str(self.config), *map(str, args)], env=self.env,
                                **more)

    # verbs: a version is an int, a value bytes

    def set(self, name, value, *options):
        if isinstance(value, (dict, list)):
            value = json.dumps(value)
        return int(self.run("--quiet", "set", name, *options, input=value).stdout)

    def get(self, reference):
        return self.run("get", reference).stdout

    def rotate(self, name, *options):
        """A made-up value unless the options say otherwise, also for one that was issued."""
        asked = [] if "--file" in options else ["--generate"]
        return int(self.run("rotate", name, *asked, *options).stdout)

    def rollback(self, name, version=None):
        return int(self.run("rollback", name, *([version] if version else [])).stdout)

    def delete(self, name):
        self.run("delete", name)

    def undelete(self, name):
        self.run("undelete", name)

    def destroy(self, name, version="--all"):
        self.run("destroy", name, version, "--yes")

    def list(self, pattern=None):
        """Names, in the order of the command."""
        answer = self.json("list", *([pattern] if pattern else []))
        return [secret["name"] for secret in answer["secrets"]]

    def info(self, name):
        return self.json("info", name)

    def versions(self, name):
        return self.json("versions", name)["versions"]

    def records(self, stream=None):
        """The audit trail as the log files have it, every JSON line of one stream or of all, oldest first. What living processes have
        recorded is waited for until it is a line."""
        for ring in self.audit.glob(f"{stream or '*'}/rings/*"):
            wait_for(lambda ring=ring: is_drained(ring), 30, what=f"the records of {ring}")
        lines = []
        for log in sorted(self.audit.glob(f"{stream or '*'}/log")):
            lines += [json.loads(line) for line in log.read_text().splitlines() if line.strip()]
        lines = [line for line in lines if "seal" not in line and "log" not in line]
        return sorted(lines, key=lambda line: str(line.get("time", "")))

    # the configuration, as text

    def read_config(self):
        return self.config.read_text()

    def write_config(self, text):
        self.config.write_text(text)

    def replace(self, old, new):
        """Replaces a text of keyturn.yaml that must be there exactly once."""
        text = self.read_config()
        if text.count(old) != 1:
            raise AssertionError(f"{old!r} is {text.count(old)} times in {self.config}:\n{text}")
        self.write_config(text.replace(old, new))

    def add(self, section, line):
        """A line first in a block section ("policy", "switch", "providers"), indented by two."""
        lines = self.read_config().splitlines()
        at = lines.index(f"{section}:")
        lines.insert(at + 1, f"  {line}")
        self.write_config("\n".join(lines) + "\n")

    def grant(self, who, allow, names):
        """grant("nginx:*", ["read"], ["api-keys/*"]): one more rule of the policy."""
        rule = "- {who: %s, allow: %s, names: %s}" % (json.dumps(who), json.dumps(list(allow)), json.dumps(list(names)))
        self.add("policy", rule)

    def deny(self, who, deny, names):
        rule = "- {who: %s, deny: %s, names: %s}" % (json.dumps(who), json.dumps(list(deny)), json.dumps(list(names)))
        self.add("policy", rule)

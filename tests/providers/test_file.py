# SPDX-License-Identifier: BSD-2-Clause
"""The provider of plain files: folders as Docker, Kubernetes and systemd make them, variables that name files, files of variables, what
a hostile file does, and that a change is in the next read."""
import json
import os
import pathlib
import subprocess
import threading
import time

import pytest

EXIT = {"notfound": 66, "forbidden": 77, "unavail": 69, "malformed": 65, "tryagain": 75}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "secrets"
    path.mkdir(mode=0o755)
    return path


def write(path, value, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    path.write_bytes(value if isinstance(value, bytes) else value.encode())
    path.chmod(mode)
    return path


def replace(path, value, mode=0o600):
    """As a careful writer does."""
    os.rename(write(path.with_name(path.name + ".new"), value, mode), path)


class Volume:
    """What Kubernetes' kubelet does: NAME -> ..data/NAME, ..data -> ..TIME, and on a change a new folder, the link, then the old folder."""

    def __init__(self, path):
        self.path, self.count, self.now = path, 0, None

    def publish(self, files):
        old, self.count = self.now, self.count + 1
        self.now = self.path / f"..2026_{self.count}"
        self.now.mkdir(mode=0o755)
        for name, value in files.items():
            write(self.now / name, value, 0o640)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        (self.path / "..data_tmp").symlink_to(self.now.name)
        os.rename(self.path / "..data_tmp", self.path / "..data")
        if old:
            for path in old.iterdir():
                path.unlink()
            old.rmdir()


# ---- the driver's host, which watches each call ----

def test_conformance(driver, folder):
    write(folder / "a", "x")
    write(folder / "api-keys", "y")
    assert "# 5 passed, 0 failed" in driver("file", path=folder).suite()


def test_conformance_of_lines(driver, tmp_path):
    assert "# 5 passed, 0 failed" in driver("file", path=write(tmp_path / ".env", "A=x\nB=y\nA=\n"), dialect="docker").suite()


def test_a_folder(driver, folder):
    one = driver("file", path=folder)
    write(folder / "db_password", "a")
    write(folder / "api-keys/stripe", "b\n")
    write(folder / ".hidden", "c")
    assert one.answer("--get", "db_password") == "a"
    assert one.answer("--get", "general/db_password") == "a"
    assert one.call("--get", "api-keys/stripe").stdout == "b\n"
    assert driver("file", path=folder, trim="yes").call("--get", "api-keys/stripe").stdout == "b"
    assert one.call("--get", "api-keys/none").status == "notfound"
    assert one.call("--get", "db_password/x").status == "notfound"
    assert sorted(one.answer("--list", "").splitlines()) == ["api-keys", "db_password"]


@pytest.mark.parametrize("separator", [".", "-", "__", "+"])
def test_a_separator(driver, folder, separator):
    write(folder / f"api-keys{separator}stripe", "b")
    assert driver("file", path=folder, separator=separator).answer("--get", "api-keys/stripe") == "b"


def test_a_folder_is_one_secret(driver, folder):
    one = driver("file", path=folder)
    write(folder / "db/main/username", "app")
    write(folder / "db/main/password", 'p"\\\n\u00e4')
    assert json.loads(one.answer("--get", "db/main")) == {"username": "app", "password": 'p"\\\n\u00e4'}
    write(folder / "db/main/password", b"\xff")
    assert one.call("--get", "db/main").status == "malformed"
    write(folder / "db/main/password", "x" * 65536)
    assert one.call("--get", "db/main").status == "malformed"
    (folder / "empty").mkdir()
    assert one.call("--get", "empty").status == "notfound"


def test_what_kubernetes_makes(driver, folder):
    one, volume = driver("file", path=folder), Volume(folder)
    volume.publish({"user": "a1", "password": "b1"})
    assert [one.answer("--get", name) for name in ("user", "password")] == ["a1", "b1"]
    volume.publish({"user": "a2", "password": "b2"})
    assert [one.answer("--get", name) for name in ("user", "password")] == ["a2", "b2"]
    assert sorted(one.answer("--list", "").splitlines()) == ["password", "user"]
    for name in ("..data", "..data/user", "x/..data"):
        assert one.call("--get", name).status == "notfound"


def test_a_swap_under_load_is_never_a_mix(driver, folder):
    """Fields of one moment, and never "there is none": readers that do nothing else, while everything is replaced all the time."""
    one, flat, deep = driver("file", path=folder), Volume(folder), Volume(folder / "db")
    (folder / "db").mkdir(mode=0o755)
    readers, logs = [], {}
    for volume in (flat, deep):
        volume.publish({"user": "0", "password": "0"})
    for name in ("user", "db"):
        logs[name] = folder.parent / f"{name}.txt"
        with open(logs[name], "w") as log:
            readers.append(subprocess.Popen(one.command("--gets", name), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                                            env=one.env))
    end, number = time.monotonic() + 4, 0
    while time.monotonic() < end:
        number += 1
        for volume in (flat, deep):
            volume.publish({"user": str(number), "password": str(number)})
    for reader in readers:
        reader.stdin.close()
        assert reader.wait(20) == 0
    seen = {name: [line.split(" ", 1) for line in log.read_text().splitlines()] for name, log in logs.items()}
    assert [line for lines in seen.values() for line in lines if line[0] not in ("success", "tryagain")] == []
    values = [int(text) for status, text in seen["user"] if status == "success"]
    objects = [json.loads(text) for status, text in seen["db"] if status == "success"]
    assert all(set(value) == {"user", "password"} and value["user"] == value["password"] for value in objects)
    for order in (values, [int(value["user"]) for value in objects]):
        assert order == sorted(order) and len(set(order)) > 20 and len(order) > 1000
    busy = sum(status == "tryagain" for lines in seen.values() for status, _ in lines)
    assert busy < (len(values) + len(objects)) / 10


def test_credentials_of_systemd(driver, folder):
    one = driver("file", path="$CREDENTIALS_DIRECTORY")
    write(folder / "smtp", "a", 0o400)
    assert one.call("--get", "smtp").status == "unavail"
    one.env = {**one.env, "CREDENTIALS_DIRECTORY": str(folder)}
    assert one.answer("--get", "smtp") == "a"
    below = driver("file", path="$CREDENTIALS_DIRECTORY/../secrets")
    below.env = one.env
    assert below.answer("--get", "smtp") == "a"


def test_variables_that_name_files(driver, folder):
    one = driver("file", path="$APP_*_FILE", trim="yes")
    one.env = {**one.env, "APP_DB_PASSWORD_FILE": str(write(folder / "x", "a\n")), "APP_GONE_FILE": str(folder / "gone"),
               "APP_RELATIVE_FILE": "x", "DB_FILE": str(folder / "x")}
    assert one.answer("--get", "db/password") == "a"
    assert one.call("--get", "gone").status == "unavail"
    assert one.call("--get", "relative").status == "malformed"
    assert one.call("--get", "db").status == "notfound"
    assert sorted(one.answer("--list", "").splitlines()) == ["DB_PASSWORD", "GONE", "RELATIVE"]


# ---- hostile files ----

HOSTILE = {
    "forbidden mode": (lambda path: write(path, "CANARY", 0o604), "forbidden", "chmod o="),
    "forbidden group": (lambda path: write(path, "CANARY", 0o620), "forbidden", "chmod go-w"),
    "unreadable": (lambda path: write(path, "CANARY", 0o000), "forbidden", "Permission denied"),
    "pipe": (lambda path: os.mkfifo(path, 0o600), "malformed", "neither a file nor a folder"),
    "large": (lambda path: write(path, b"CANARY" * 11000), "malformed", "over 65536 bytes"),
    "link out": (lambda path: path.symlink_to("/etc/passwd"), "forbidden", "leads out of the folder"),
    "link up": (lambda path: path.symlink_to("../secret"), "forbidden", "leads out of the folder"),
    "link to itself": (lambda path: path.symlink_to(path.name), "forbidden", "link"),
    "dangling": (lambda path: path.symlink_to("none"), "notfound", ""),
    "device": (lambda path: path.symlink_to("/dev/zero"), "forbidden", "leads out of the folder"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file(driver, folder, kind):
    make, status, text = HOSTILE[kind]
    write(folder.parent / "secret", "CANARY")
    make(folder / "x")
    done = driver("file", path=folder).call("--get", "x", limit=10)
    assert (done.status, done.stdout) == (status, "") and text in done.text, done.stderr
    assert status == "notfound" or str(folder / "x") in done.text


@pytest.mark.parametrize("mode, status", [(0o777, "forbidden"), (0o775, "forbidden"), (0o1777, "success"), (0o755, "success")])
def test_a_folder_that_others_may_write(driver, folder, mode, status):
    write(folder / "x", "a")
    folder.chmod(mode)
    one = driver("file", path=folder)
    assert one.call("--get", "x").status == status
    assert one.call("--check").status == status
    assert one.call("--check-writing").status == "forbidden"


def test_a_file_system_in_memory_may_be_read_by_all(driver):
    """As Docker mounts secrets: 0444."""
    folder = pathlib.Path(os.environ["KEYTURN_TEST_TMPFS"]) / "secrets"
    folder.mkdir(mode=0o755)
    write(folder / "x", "a", 0o444)
    assert driver("file", path=folder).answer("--get", "x") == "a"


def test_no_folder_is_not_a_fact(driver, folder):
    one = driver("file", path=folder / "away")
    assert one.call("--get", "x").status == "unavail"
    assert one.call("--check").status == "unavail"
    assert one.call("--list", "").status == "unavail"


def test_a_file_that_grows_while_it_is_read(driver, folder):
    """Half a value is never served: the file is written in place, over and over."""
    path, done = write(folder / "x", "a" * 30000), threading.Event()

    def run():
        number = 0
        while not done.is_set():
            number += 1
            with open(path, "r+b", buffering=0) as file:
                for _ in range(30):
                    file.write(b"%d" % (number % 10) * 1000)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        one = driver("file", path=folder)
        answers = [one.call("--get", "x") for _ in range(60)]
    finally:
        done.set()
        thread.join()
    for answer in answers:
        assert answer.status == "tryagain" and "by a rename" in answer.text or answer.status == "success"
    assert any(answer.status == "tryagain" for answer in answers)


# ---- through the command ----

@pytest.fixture
def served(home, folder):
    def make(text):
        home.add("providers", f"file: {text}")
        home.replace('"*": local', '"*": file')
        return home
    return make


def get(home, name, **more):
    done = home.run("get", name, check=False, **more)
    return done.stdout.decode() if done.returncode == 0 else (done.returncode, done.stderr.decode())


def test_the_command_reads_it(served, folder, canary):
    home, value = served(f"{{path: {folder}}}"), canary("file")
    path = write(folder / "smtp", value)
    assert get(home, "smtp") == value
    path.unlink()   # the one place where it may stand
    assert get(home, "smtp@previous")[0] == 66
    done = home.run("set", "smtp", input=b"x", check=False)
    assert done.returncode == 77 and b"can write" in done.stderr
    assert "no secret is there" in home.run("check").stdout.decode()
    write(folder / "a", "x")
    assert "read 1 of 1 secret" in home.run("check").stdout.decode()
    write(folder / "a", "x", 0o666)
    done = home.run("check", check=False)
    assert done.returncode == 77 and "chmod" in (done.stdout + done.stderr).decode()


DIALECTS = ["common", "npm", "python", "compose", "docker", "systemd", "shell"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect(served, tmp_path, dialect):
    """The rows are tests/unit/value/test_dotenv.c; this is the way to them."""
    home = served(f"{{path: {tmp_path}/.env, dialect: {dialect}, prefix: APP_}}")
    write(tmp_path / ".env", "# c\nAPP_A_B='two'\nAPP_A_B=\"one\"\nAPP_E=\nB=x\n")
    assert get(home, "a/b") == ('"one"' if dialect == "docker" else "one")
    assert get(home, "e")[0] == get(home, "b")[0] == 66
    assert "read 1 of 1 secret" in home.run("check").stdout.decode()


@pytest.mark.parametrize("text, status, says", [
    ("A=b#c\n", 65, "/.env:1: column 4: # in a value"), ("A=b\nA=$(x)\n", 65, "/.env:2: column 3: $ in a value"),
    ("A=\xff\n".encode("latin-1"), 65, "not UTF-8"), (b"A=\0\n", 65, "NUL"), ("A=" + "x" * 300000, 65, "over 262144 bytes"),
    ("A=" + "x" * 65537, 65, "A is over 65536 bytes")])
def test_lines_that_are_refused(served, tmp_path, text, status, says):
    home = served(f"{{path: {tmp_path}/.env}}")
    write(tmp_path / ".env", text)
    code, error = get(home, "a")
    assert code == status and says in error and error.count("\n") == 1, error


def test_a_list_of_lines_is_whole_or_fails(served, tmp_path):
    home = served(f"{{path: {tmp_path}/.env}}")
    write(tmp_path / ".env", "".join(f"V{number}=x\n" for number in range(1024)))
    assert "read 1 of 1024 secrets" in home.run("check").stdout.decode()
    write(tmp_path / ".env", "".join(f"V{number}=x\n" for number in range(1025)))
    done = home.run("check", check=False)
    assert done.returncode == 65 and b"more than 1024 variables" in done.stdout + done.stderr
    assert get(home, "v1024") == "x"


def test_lines_in_production(stage_home, tmp_path):
    home = stage_home("production")
    home.add("providers", f"file: {{path: {tmp_path}/.env}}")
    home.replace('"*": local', '"*": file')
    write(tmp_path / ".env", "A=x\n")
    code, error = get(home, "a")
    assert code == 77 and "production: yes" in error
    home.replace("/.env}", "/.env, production: yes}")
    assert get(home, "a") == "x"


@pytest.fixture
def stage_home(kt, tmp_path):
    from lib.home import Home
    return lambda environment: Home.create(kt, tmp_path / environment, environment)


@pytest.mark.parametrize("text, says", [
    ("{}", "needs `path`"), ("{path: /x, dialect: dotenv}", '"dotenv" is not a dialect'), ("{path: /x, separator: a}", "`separator` must be"),
    ("{path: /x, separator: ./}", "`separator` must be"), ("{path: $NOT_SET_HERE}", "not set for this process")])
def test_a_wrong_option(served, text, says):
    code, error = get(served(text), "x")
    assert says in error, (code, error)


# ---- through nginx ----

@pytest.fixture
def site(served, folder, nginx, upstream):
    def serve(text, reads, workers=2, **variables):
        home = served(text)
        home.grant("nginx:*", ["read"], ["*"])
        nginx.env = {**nginx.env, **variables}
        nginx.configure(f"""server {{ listen 127.0.0.1:@PORT@; server_name app.example; {reads}
            location / {{ proxy_set_header X-Key $key; proxy_pass http://127.0.0.1:{upstream.port}; }} }}""", workers=workers)
        nginx.start()
        return home

    def header():
        status = nginx.get("/").status
        return (status, upstream.last.headers["X-Key"] if status == 200 else None)

    serve.header = header
    return serve


def test_nginx_serves_a_change_in_the_next_request(site, folder):
    write(folder / "smtp", "value-0")
    site(f"{{path: {folder}}}", "secret_get $key smtp;")
    assert site.header() == (200, "value-0")
    for number in range(1, 40):
        replace(folder / "smtp", f"value-{number}")
        assert site.header() == (200, f"value-{number}")
    for number in range(40, 60):    # in place, and twice within a step of the file system's clock
        write(folder / "smtp", f"value-{number}")
        assert site.header() == (200, f"value-{number}")


def test_nginx_with_what_kubernetes_makes(site, folder):
    (folder / "db").mkdir(mode=0o755)
    volume = Volume(folder / "db")
    volume.publish({"user": "a", "password": "p-0"})
    site(f"{{path: {folder}}}", "secret_get $key db field=password;")
    for number in range(30):
        volume.publish({"user": "a", "password": f"p-{number}"})
        assert site.header() == (200, f"p-{number}")


def test_nginx_with_lines_and_credentials(site, folder):
    write(folder / ".env", "SMTP=one\n")
    site("{path: $CREDENTIALS_DIRECTORY/.env}", "secret_get $key smtp;", CREDENTIALS_DIRECTORY=str(folder))
    assert site.header() == (200, "one")
    replace(folder / ".env", "SMTP=two\n")
    assert site.header() == (200, "two")


def test_without_watching_the_ttl_decides(site, folder, home, wait_for):
    write(folder / "smtp", "one")
    home.write_config(home.read_config() + "\ncache: {ttl: 1s}\n")
    site(f"{{path: {folder}, watch: no}}", "secret_get $key smtp;", workers=1)
    assert site.header() == (200, "one")
    replace(folder / "smtp", "two")
    assert site.header() == (200, "one")
    wait_for(lambda: site.header() == (200, "two"), timeout=4)


def test_a_folder_that_goes_is_stale_and_then_503(site, folder, home, wait_for):
    write(folder / "smtp", "one")
    home.write_config(home.read_config() + "\ncache: {ttl: 1s, stale: 2s}\n")
    site(f"{{path: {folder}}}", "secret_get $key smtp;", workers=1)
    assert site.header() == (200, "one")
    os.rename(folder, folder.with_name("away"))
    assert site.header() == (200, "one")
    wait_for(lambda: site.header() == (503, None), timeout=8)
    os.rename(folder.with_name("away"), folder)
    wait_for(lambda: site.header() == (200, "one"), timeout=4)

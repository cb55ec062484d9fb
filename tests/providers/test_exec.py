# SPDX-License-Identifier: BSD-2-Clause
"""The provider that asks a command, as Summon's providers are asked: name in, value out, exit status; its limits, its environment, and
that nginx, which waits for all children itself, gets the status too."""
import time

import pytest

SCRIPT = """#!/bin/sh
case "$1" in
    smtp) cat "{folder}/smtp" ;;
    api-keys/stripe) printf 'two\\n\\n' ;;
    bytes) printf 'a\\000b' ;;
    nothing) ;;
    status-*) printf CANARY; printf CANARY >&2; exit "${{1#status-}}" ;;
    signal) kill -9 $$ ;;
    slow) sleep 60 & echo $! > "{folder}/pid"; sleep 60 ;;
    large) head -c 70000 /dev/zero ;;
    most) head -c 65536 /dev/zero ;;
    environment) env | sort ;;
    descriptors) ls /proc/self/fd ;;
    arguments) echo "$#" ;;
    *) exit 66 ;;
esac
"""


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "exec"
    path.mkdir(mode=0o755)
    (path / "smtp").write_text("one\n")
    (path / "ask").write_text(SCRIPT.format(folder=path))
    (path / "ask").chmod(0o755)
    return path


@pytest.fixture
def served(home, folder):
    def make(more="", command=None):
        home.add("providers", f'exec: {{command: "{command or folder / "ask"}"{more}}}')
        home.replace('"*": local', '"*": exec')
        return home
    return make


def get(home, name, **more):
    done = home.run("get", name, check=False, **more)
    return done.stdout if done.returncode == 0 else (done.returncode, done.stderr.decode())


def test_conformance(driver, folder):
    assert "# 4 passed, 0 failed" in driver("exec", command=folder / "ask").suite()


def test_values(served):
    home = served()
    assert get(home, "smtp") == b"one"
    assert get(home, "general/smtp") == b"one"
    assert get(home, "api-keys/stripe") == b"two\n"
    assert get(home, "bytes") == b"a\0b"
    assert get(home, "nothing") == b""
    assert get(home, "arguments") == b"1"
    assert len(get(home, "most")) == 65536
    assert get(home, "none")[0] == 66
    assert get(home, "smtp@previous")[0] == 66
    assert home.run("check").returncode == 0
    done = home.run("set", "smtp", input=b"x", check=False)
    assert done.returncode == 77 and b"can write" in done.stderr


def test_with_its_newline(served):
    assert get(served(", trim: no"), "smtp") == b"one\n"


@pytest.mark.parametrize("status, code", [(66, 66), (69, 69), (75, 75), (77, 77), (1, 69), (127, 69), (255, 69)])
def test_an_exit_status(served, status, code):
    got, text = get(served(), f"status-{status}")
    assert got == code and "CANARY" not in text, text


def test_what_is_not_an_answer(served):
    home = served()
    for name, code, says in (("signal", 69, "signal"), ("large", 65, "more than"), ("-x", 65, "would be an option")):
        got, text = get(home, name) if name[0] != "-" else get(home, "general/-x")
        assert got == code and says in text, text


def test_a_deadline_ends_all_of_it(served, folder, wait_for):
    start = time.monotonic()
    code, text = get(served(", timeout: 500ms"), "slow")
    assert code == 69 and "timed out" in text and time.monotonic() - start < 10
    pid = int((folder / "pid").read_text())

    def is_gone():
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True
    wait_for(is_gone, timeout=5)


def test_its_environment_and_descriptors(served):
    home = served(', environment: [FROM_US, "SET=a b", NOT_SET]')
    text = get(home, "environment", env={**home.env, "FROM_US": "x=y", "OTHER": "CANARY"}).decode()
    names = {line.split("=", 1)[0]: line.split("=", 1)[1] for line in text.splitlines()}
    assert names.pop("PWD", None) is not None and names.pop("_", "") is not None    # the shell's own
    names.pop("OLDPWD", None), names.pop("SHLVL", None)
    assert names == {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "FROM_US": "x=y", "SET": "a b"}
    assert get(home, "descriptors").split() == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("change, code, says", [
    (lambda path: path.chmod(0o775), 77, "chmod go-w"), (lambda path: path.chmod(0o644), 77, "cannot be executed"),
    (lambda path: path.unlink(), 69, "No such file"), (lambda path: path.parent.chmod(0o777), 77, "chmod go-w")])
def test_a_command_that_may_not_be_run(served, folder, change, code, says):
    home = served()
    change(folder / "ask")
    got, text = get(home, "smtp")
    assert got == code and says in text, text


@pytest.mark.parametrize("command", ["ask", " ", "sh -c /bin/ls"])
def test_no_shell_and_no_search(served, command):
    assert "must begin with an absolute path" in get(served(command=command), "smtp")[1]


def test_nothing_is_expanded(served):
    assert get(served(command="/bin/echo $HOME `id` ;"), "x") == b"$HOME `id` ; x"


def test_nginx_asks_it(served, folder, nginx, upstream, wait_for):
    """A worker, which takes the exit status of all children: twenty answers, and none is lost. Then a change within ttl,
    stale service when it fails, and 503."""
    home = served()
    home.grant("nginx:*", ["read"], ["*"])
    home.write_config(home.read_config() + "\ncache: {ttl: 1s, stale: 3s}\n")
    nginx.configure(f"""server {{ listen 127.0.0.1:@PORT@; server_name app.example;
        secret_get $key $arg_name;
        location / {{ proxy_set_header X-Key $key; proxy_pass http://127.0.0.1:{upstream.port}; }} }}""", workers=1)
    nginx.start()

    def header(name):
        status = nginx.get(f"/?name={name}").status
        return (status, upstream.last.headers["X-Key"] if status == 200 else None)

    for _ in range(3):
        assert header("smtp") == (200, "one")
    for number in range(20):
        assert header(f"none-{number}") == (404, None)
    assert "exit status is not known" not in nginx.error_log()
    (folder / "smtp").write_text("two\n")
    wait_for(lambda: header("smtp") == (200, "two"), timeout=4)
    (folder / "ask").rename(folder / "away")
    wait_for(lambda: header("smtp") == (503, None), timeout=12)
    (folder / "away").rename(folder / "ask")
    wait_for(lambda: header("smtp") == (200, "two"), timeout=6)

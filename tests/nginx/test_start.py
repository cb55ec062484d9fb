# SPDX-License-Identifier: BSD-2-Clause
"""What a start and a reload refuse or warn of, and how long they may take: secret_check, leaks that can be known, a key
command that hangs, an audit disk without room."""
import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from lib.tools import wait_for

HEADER = "proxy_set_header X-Key $key;"
SECRET = f"secret_get $key api-keys/stripe; {HEADER}"


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
                    "-subj", "/CN=ca", "-keyout", path.with_suffix(".key"), "-out", path], check=True, capture_output=True)
    return path


@pytest.fixture
def stripe(site, canary):
    site.value = canary("start")
    site.home.set("api-keys/stripe", site.value)
    return site


def passes(site):
    result = site.nginx.test()
    assert result.returncode == 0, result.stderr
    return result.stderr


def refused(site):
    result = site.nginx.test()
    assert result.returncode != 0
    return result.stderr


# secret_check

@pytest.mark.parametrize("mode, missing", [("", False), ("secret_check strict;", False), ("secret_check warn;", True)])
def test_a_required_secret_that_is_missing(site, mode, missing):
    site.configure(f"location / {{ secret_get $key api-keys/none; {HEADER} @PROXY@ }} location /other {{ return 200 other; }}",
                   main=mode)
    said = 'required secret "api-keys/none" of "$key" cannot be read'
    if not missing:
        assert f"[emerg] {said}" in re.sub(r"\d+#\d+: ", "", refused(site))
        return
    assert f"[warn] {said}" in re.sub(r"\d+#\d+: ", "", passes(site))
    site.nginx.start()
    assert site.get("/other").body == b"other"
    answer = site.get()
    assert answer.status == 503 and answer.headers["Retry-After"]
    site.home.set("api-keys/none", "there")
    assert site.get().status == 200


def test_warn_starts_without_a_store(stripe):
    (stripe.home.audit / "nginx").chmod(0)
    stripe.location(SECRET, main="secret_check warn;")
    try:
        assert "[warn]" in passes(stripe) and "worker processes cannot use keyturn_config" in passes(stripe)
        stripe.location(SECRET)
        assert "[emerg]" in refused(stripe)
    finally:
        (stripe.home.audit / "nginx").chmod(0o700)


@pytest.mark.parametrize("text, error", [
    ("secret_check lenient;", 'invalid value "lenient"'),
    ("secret_check warn; secret_check warn;", '"secret_check" directive is duplicate'),
])
def test_a_wrong_secret_check(stripe, text, error):
    stripe.location(SECRET, main=text)
    assert error in refused(stripe)


def test_an_optional_secret_that_policy_denies(stripe):
    stripe.home.deny("nginx:*", ["read"], ["api-keys/*"])
    stripe.location(f"secret_get $key api-keys/stripe optional; {HEADER}")
    assert 'optional secret "api-keys/stripe" of "$key" cannot be read' in passes(stripe)


# what can be known

@pytest.mark.parametrize("variable", ["$cert", "${cert}"])
@pytest.mark.parametrize("scope", ["encode=pem", "scope=request"])
def test_a_certificate_for_clients_is_refused(stripe, variable, scope):
    """F11: -t was content, and each handshake failed."""
    stripe.nginx.configure(f"""
        secret_get $cert api-keys/stripe {scope};
        server {{ listen 127.0.0.1:@PORT@ ssl; ssl_certificate data:{variable}; ssl_certificate_key data:$certificate; }}
        map $host $certificate {{ default x; }}""")
    text = refused(stripe)
    assert f'"ssl_certificate data:{variable}": a handshake cannot have a secret' in text
    assert 'use "secret_ssl_certificate"' in text


def test_a_variable_of_a_longer_name_is_another(stripe):
    stripe.nginx.configure("""
        secret_get $cert api-keys/stripe encode=pem;
        map $host $certificate { default x; } map $host $cert_2 { default x; }
        server { listen 127.0.0.1:@PORT@ ssl; ssl_certificate data:$certificate; ssl_certificate_key data:$cert_2; }""")
    assert passes(stripe)


def test_rewrite_log_is_warned_of(stripe):
    """F10: the level notice shows what `if` and `rewrite` compare."""
    stripe.configure(f"""location / {{ secret_get $key api-keys/stripe scope=request; rewrite_log on; {HEADER} @PROXY@ }}""")
    assert f'"rewrite_log on" shows "$key" where a directive of rewrite uses it in {stripe.line_of("secret_get")}' in \
        passes(stripe)
    stripe.configure("rewrite_log on; " + f"location / {{ {SECRET} @PROXY@ }}")
    assert "rewrite_log on" not in passes(stripe)
    stripe.configure(f"secret_get $key api-keys/stripe scope=request; location /a {{ rewrite_log on; {HEADER} @PROXY@ }}")
    assert '"rewrite_log on" shows "$key"' in passes(stripe)


def test_debug_connection_is_warned_of(stripe):
    stripe.location(SECRET)
    assert "shows secrets" not in passes(stripe)
    text = stripe.nginx.conf.read_text()
    stripe.nginx.conf.write_text(text.replace("events {", "events { debug_connection 127.0.0.1;"))
    assert '"debug_connection" shows secrets of these clients' in passes(stripe)


VERIFY = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate @CA@;"


@pytest.mark.parametrize("location, warned", [
    (f"{SECRET} proxy_pass https://127.0.0.1:1;", "proxy_ssl_verify on"),
    (f"{SECRET} proxy_ssl_verify off; proxy_pass HTTPS://127.0.0.1:1$uri;", "proxy_ssl_verify on"),
    (f"secret_get $key api-keys/stripe; grpc_set_header X-Key $key; grpc_pass grpcs://127.0.0.1:1;", "grpc_ssl_verify on"),
    (f"secret_get $key api-keys/stripe; uwsgi_param KEY $key; uwsgi_pass suwsgi://127.0.0.1:1;", "uwsgi_ssl_verify on"),
    (f"{SECRET} {VERIFY} proxy_pass https://127.0.0.1:1;", None),
    (f"{SECRET} proxy_pass http://127.0.0.1:1;", None),
    ("proxy_pass https://127.0.0.1:1;", None),
])
def test_an_upstream_that_is_not_verified_is_warned_of(stripe, ca, location, warned):
    """By default nginx verifies no upstream, and the secret goes to whatever answers in its place."""
    stripe.configure(f"location / {{ {location} }}".replace("@CA@", str(ca)))
    text = passes(stripe)
    if warned:
        assert f'"$key" may be sent to an upstream whose certificate is not verified ("{warned}" verifies it) in ' \
               f'{stripe.line_of("_pass ")}' in text
        assert text.count("not verified") == 1
    else:
        assert "not verified" not in text


def test_verification_may_be_inherited_and_follow(stripe, ca):
    """The flag is read when all blocks have been merged, in each order of the directives."""
    stripe.configure(f"location / {{ proxy_pass https://127.0.0.1:1; {SECRET} }} {VERIFY}".replace("@CA@", str(ca)))
    assert "not verified" not in passes(stripe)


PAGES = sorted((pathlib.Path(os.environ["KT_TOP"]) / "nginx").glob("*.7"))


def examples():
    """(page, literal block) of the manual pages."""
    for page in PAGES:
        for block in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", page.read_text(), re.M | re.S):
            yield page.name, block


def test_every_example_verifies_its_peer():
    """What speaks TLS to an upstream in the manual says whose certificate it trusts."""
    speaks = re.compile(r"https://|grpcs://|suwsgi://|\w+_ssl_certificate\b|proxy_ssl on")
    found = [(page, block) for page, block in examples() if speaks.search(re.sub(r"secret_ssl_certificate", "", block))]
    assert len(found) >= 2
    for page, block in found:
        assert re.search(r"^\s*\w+_ssl_verify +on;", block, re.M) and "_ssl_trusted_certificate" in block, (page, block)


@pytest.mark.parametrize("variable", ["$1", "$0x"])
def test_a_capture_is_no_variable(stripe, variable):
    stripe.location(f"secret_get {variable} api-keys/stripe;")
    assert f'"{variable}" is a capture' in refused(stripe)


def test_one_alert_in_a_worker_for_a_place(stripe):
    """F12: a client drove the log, a line for each request."""
    stripe.configure(f"""location / {{ {SECRET} add_header X-Leak "<$key>" always; @PROXY@ }}
                         location /b {{ secret_get $other api-keys/stripe; proxy_set_header X-Other $other;
                                        add_header X-Leak "<$other>" always; @PROXY@ }}""")
    stripe.nginx.start()
    for path in ["/"] * 5 + ["/b"] * 5:
        assert stripe.get(path).status == 200
    alerts = [line for line in stripe.nginx.error_log().splitlines() if "is empty here" in line]
    assert len(alerts) == 2 and '"$key"' in alerts[0] and '"$other"' in alerts[1]


# time

@pytest.fixture
def slow_key(stripe):
    """site.delay(seconds): how long the key command takes from now on."""
    command, delay = stripe.home.dir / "key-command", stripe.home.dir / "delay"
    command.write_text(f"#!/bin/sh\nread n < {delay}\nsleep $n\ncat {stripe.home.key}\n")
    command.chmod(0o700)
    stripe.home.replace(f'\nkey: "file:{stripe.home.key}"', f'\nkey: "exec:{command}"')
    stripe.delay = lambda seconds: delay.write_text(f"{seconds}\n")
    stripe.delay(0)
    return stripe


def hup(site):
    site.nginx.process.send(signal.SIGHUP)
    time.sleep(0.5)     # the master is waiting for the key now, or nothing is tested


def workers(site):
    """Without the commands that the master process runs."""
    def title(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    return [pid for pid in site.nginx.worker_pids() if title(pid).startswith(b"nginx: worker process")]


def test_a_key_command_that_hangs(slow_key):
    """F12: the master waited as long as the command did, and so did a worker that was to be replaced."""
    slow_key.serve(SECRET)
    before = wait_for(lambda: workers(slow_key))
    slow_key.delay(12)
    started = time.monotonic()
    hup(slow_key)
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: workers(slow_key) not in ([], before), timeout=3)
    assert slow_key.header("X-Key") == slow_key.value
    assert "it is replaced first, and the reload begins again" in slow_key.nginx.error_log()
    replaced = workers(slow_key)
    wait_for(lambda: "the key could not be read within 10 s" in slow_key.nginx.error_log(), timeout=15)
    assert 9 < time.monotonic() - started < 14
    assert workers(slow_key) == replaced and slow_key.header("X-Key") == slow_key.value
    assert slow_key.nginx.error_log().count("begins again") == 1
    slow_key.delay(0)
    slow_key.nginx.process.send(signal.SIGHUP)
    wait_for(lambda: workers(slow_key) and not set(replaced) & set(workers(slow_key)))
    assert slow_key.header("X-Key") == slow_key.value
    unload_while_a_thread_waits(slow_key)


def unload_while_a_thread_waits(site):
    """The thread that reads the key was abandoned, and its command still runs."""
    nginx, before = site.nginx, workers(site)
    commands = set(nginx.worker_pids()) - set(before)
    assert commands
    lines = nginx.conf.read_text().split("server {")[0].splitlines()
    lines = [line for line in lines if not line.startswith(("load_module", "keyturn_config"))]
    nginx.conf.write_text("\n".join([*lines, f"server {{ listen 127.0.0.1:{nginx.port}; return 200 plain; }} }}", ""]))
    nginx.process.send(signal.SIGHUP)
    wait_for(lambda: nginx.get().body == b"plain" and not set(before) & set(workers(site)))
    wait_for(lambda: not nginx.process.running() or not commands & set(nginx.worker_pids()), 15, what="the end of the commands")
    wait_for(lambda: not nginx.process.running() or len(list(pathlib.Path(f"/proc/{nginx.master_pid}/task").iterdir())) == 1,
             what="the end of the threads")
    assert nginx.process.running() and nginx.get().body == b"plain"


@pytest.fixture
def hung(stripe):
    """hung.reload(): the check of a reload meets a store that does not answer. Its locks keep it waiting while it is stopped."""
    stripe.serve(SECRET)
    assert stripe.header("X-Key") == stripe.value
    shm = next(stripe.home.dir.rglob("*.db-shm"))

    def title(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b"worker"

    def checking():
        return [pid for pid in stripe.nginx.worker_pids() if b"worker" not in title(pid)]

    def reload():
        with open(shm, "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX, 8, 120)    # all locks of SQLite's WAL
            stripe.nginx.process.send(signal.SIGHUP)
            pid = wait_for(checking)[0]
            os.kill(pid, signal.SIGSTOP)
            return pid
    stripe.reload, stripe.checking = reload, checking
    return stripe


def test_a_check_that_hangs_ends_in_ten_seconds(hung):
    before, started = workers(hung), time.monotonic()
    pid = hung.reload()
    assert hung.header("X-Key") == hung.value
    wait_for(lambda: "secrets could not be checked within 10 s" in hung.nginx.error_log(), timeout=15)
    assert 9 < time.monotonic() - started < 14
    wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists())
    assert workers(hung) == before and hung.header("X-Key") == hung.value
    hung.nginx.reload()
    assert hung.header("X-Key") == hung.value and not set(before) & set(workers(hung))


def test_a_check_that_hangs_delays_no_replacement(hung):
    before = workers(hung)
    pid = hung.reload()
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: workers(hung) not in ([], before), timeout=3)
    assert hung.header("X-Key") == hung.value
    wait_for(lambda: "it is replaced first, and the reload begins again" in hung.nginx.error_log())
    wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists())
    wait_for(lambda: not hung.checking() and len(workers(hung)) == 1)
    assert hung.header("X-Key") == hung.value


def test_signals_need_no_key(slow_key):
    """`nginx -s stop` reads the configuration too."""
    slow_key.serve(SECRET)
    slow_key.delay(25)
    result = slow_key.nginx.test("-squit")
    assert result.returncode == 0, result.stderr
    assert slow_key.nginx.process.wait() == 0


def test_an_audit_disk_without_room(stripe):
    """F11: -t was content, and then every request was refused."""
    disk = os.environ.get("KEYTURN_TEST_TMPFS")
    if not disk:
        pytest.skip("counterpart: a small file system that root mounts (KEYTURN_TEST_TMPFS)")
    folder = pathlib.Path(disk) / "audit"
    shutil.copytree(stripe.home.audit, folder)
    try:
        stripe.home.replace(str(stripe.home.audit), str(folder))
        stripe.location(SECRET)
        text = refused(stripe)
        assert "each process needs 4100 KiB for what it records, and the disk has" in text and "(audit)" in text
    finally:
        shutil.rmtree(folder)


def test_room_for_each_worker(stripe):
    """There is some for one process, and each of them has a ring."""
    stripe.location(SECRET, workers=1)
    assert "cannot record" not in passes(stripe)
    stripe.location(SECRET, workers=2_000_000_000)
    assert re.search(r"worker processes cannot record: .*/rings: each process needs 4100 KiB for what it records, all 2000000000 of them \d+ KiB, and",
                     refused(stripe))
    stripe.location(SECRET, workers=2_000_000_000, main="secret_check warn;")
    assert "cannot record" in passes(stripe)

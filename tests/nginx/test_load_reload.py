# SPDX-License-Identifier: BSD-2-Clause
"""50 reloads under load, with WebSockets that outlive some of them: none is cut, no worker process stays, nothing grows."""
import contextlib
import os
import pathlib
import re
import signal

import pytest

from lib.load import ECHO, HEADERS, Answers, Once, Rotator, check
from lib.tools import wait_for
from lib.websocket import Client, Echo, Loop

NAME, RELOADS, WORKERS, LIVES, MEASURED = "api-keys/load", 50, 2, 3, (10, 50)
GROWTH = 128     # KB that a process may have more after 40 reloads; each would grow by more than that if a reload kept a page or two
SECRETS = f"secret_get $user {NAME} field=user; secret_get $password {NAME} field=password; {HEADERS}"


@pytest.fixture
def loop(servers):
    loop = Loop()
    servers.callback(loop.close)
    return loop


@pytest.fixture
def loaded(site, loop, servers, make_nginx, free_port, canary):
    echo = make_nginx()
    echo.configure(f"server {{ listen 127.0.0.1:@PORT@; access_log off; location / {{ {ECHO} }} }}")
    echo.start()
    sockets = Echo(loop, "X-Password")
    servers.callback(sockets.close)
    site.rotator = Rotator(site.home, NAME, "load", canary("load"))
    site.loop, site.sockets = loop, free_port()
    site.nginx.configure(f"""
        access_log off; {SECRETS}
        server {{ listen 127.0.0.1:@PORT@; location / {{ proxy_pass http://127.0.0.1:{echo.port}; }} }}
        server {{
            listen 127.0.0.1:{site.sockets}; proxy_http_version 1.1; proxy_read_timeout 60s;
            location / {{ {HEADERS} proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
                          proxy_pass http://127.0.0.1:{sockets.port}; }}
        }}""", workers=WORKERS)
    site.nginx.start()
    return site


def is_leaving(pid):
    try:
        return b"shutting down" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return True


def reload(nginx):
    """SIGHUP, until new worker processes run, and those of before know that they are to end."""
    before = set(nginx.worker_pids())
    nginx.process.send(signal.SIGHUP)
    wait_for(lambda: len(set(nginx.worker_pids()) - before) == WORKERS and all(is_leaving(pid) for pid in before), 30, what="a reload")
    return set(nginx.worker_pids()) - before


def descriptors(pid, sockets):
    """How many are open, with or without sockets. What a thread opens for a moment does not count."""
    def count():
        found = 0
        for file in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += sockets or not os.readlink(file).startswith("socket:")
        return found
    return min(count() for _ in range(5))


def size(pid, sockets):
    """(descriptors, KB of memory that is the process's own)"""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return descriptors(pid, sockets), int(re.search(r"^Private_Dirty:\s+(\d+) kB", rollup, re.M)[1])


def sizes(nginx, workers):
    """Of the master process and of each worker process, whose connections do not count; when no other one is left."""
    wait_for(lambda: set(nginx.worker_pids()) == workers, what="the end of worker processes that have no connection any more")
    return [size(nginx.master_pid, True), *sorted(size(pid, False) for pid in workers)]


def end(socket, sockets):
    sockets.remove(socket)
    socket.close()
    assert socket.error is None and socket.count > 0, f"cut after {socket.count} messages: {socket.error!r}"


@pytest.mark.plain("it compares memory, of which AddressSanitizer frees none for a while")
def test_50_reloads_with_websockets(loaded):
    clients = [Once(loaded.nginx.port) for _ in range(3)]
    for client in clients:
        client.start()
    answers, sockets, measured = Answers(clients, 20), [], {}
    for number in range(1, RELOADS + 1):
        sockets += [Client(loaded.loop, loaded.sockets) for _ in range(WORKERS)]
        assert {socket.secret for socket in sockets[-WORKERS:]} == {f"{loaded.rotator.password}-{number}"}
        workers = reload(loaded.nginx)
        loaded.rotator.run(number + 1, answers.are_enough)
        for socket in sockets[:None if number in MEASURED else -LIVES * WORKERS]:
            end(socket, sockets)
        if number in MEASURED:
            measured[number] = sizes(loaded.nginx, workers)
    for client in clients:
        client.stop()
    for client in clients:
        client.join(30)
    check(clients, loaded.rotator)
    early, late = measured.values()
    # forty reloads later: a thread may have one open at the moment
    assert all(files <= before + 2 for (before, _), (files, _) in zip(early, late)), measured
    assert all(kb <= before + GROWTH for (_, before), (_, kb) in zip(early, late)), measured
    log = loaded.nginx.error_log()
    assert "[alert]" not in log and "[emerg]" not in log and "exited on signal" not in log
    loaded.home.run("audit", "verify")

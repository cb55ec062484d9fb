# SPDX-License-Identifier: BSD-2-Clause
"""The server's secret memory is locked, and that of the child that saves."""
import os
import signal
import subprocess

import redis as client_library

from lib import memory
from lib.read_format import read_key_file
from lib.tools import children, wait_for


def test_server_and_its_saving_child(open_redis, home, canary):
    server = open_redis("daemonize no", "rdb-key-save-delay 1000000")
    db, value = server.client(), canary("memory").encode()
    db.execute_command("SECRET.SET", "api-keys/a", value)
    assert db.execute_command("SECRET.GET", "api-keys/a") == value
    key = read_key_file(home.key)[1][1]
    memory.assert_locked(server.process.pid, key)
    db.set("other", "x")
    db.bgsave()
    child = wait_for(lambda: children(server.process.pid))[0]
    memory.assert_locked(child)
    os.kill(child, signal.SIGKILL)


def test_a_daemon(home, make_redis, kt, tmp_path, servers):
    home.grant("redis:*", ["read", "write"], ["*"])
    folder = tmp_path / "daemon"
    folder.mkdir()
    conf = folder / "redis.conf"
    conf.write_text(f'port 0\nunixsocket {folder}/s\ndaemonize yes\npidfile {folder}/pid\ndir {folder}\nsave ""\nlogfile {folder}/redis.log\n'
                    f"loadmodule {kt.redis_module} config {home.config}\n")
    subprocess.run([str(kt.redis), str(conf)], env=kt.environment(), check=True, timeout=30)
    pid = int(wait_for(lambda: (folder / "pid").read_text()))
    servers.callback(os.kill, pid, signal.SIGTERM)
    wait_for(client_library.Redis(unix_socket_path=f"{folder}/s").ping)
    memory.assert_locked(pid, read_key_file(home.key)[1][1])

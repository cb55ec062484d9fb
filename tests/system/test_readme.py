# SPDX-License-Identifier: BSD-2-Clause
"""README's blocks for the servers of a machine, as they stand, with Debian's own configurations and service scripts."""
import pathlib
import re
import shutil
import subprocess

import pytest

from lib.machine import LOG

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
PG = "postgresql/15"


def blocks():
    text = README.read_text()
    section = text[text.index("## The servers of a machine"):]
    return re.findall(r"^```sh\n(.*?)^```$", section[:section.index("\n## ", 3)], re.M | re.S)


def sh(text, timeout=60, **more):
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL, **more)


@pytest.fixture
def installed(machine, kt):
    """What is installed below / for others to find: libraries, the extension, the folders of Debian's packages."""
    stage = kt.stage
    result = sh(f"""set -e
        if [ -d /var/cache/ldconfig ]; then mount -t tmpfs keyturn /var/cache/ldconfig; fi
        echo {kt.libdir} > /etc/ld.so.conf.d/keyturn.conf
        ldconfig -X
        for folder in /usr/share/{PG}/extension /usr/lib/{PG}/lib; do
            copy=/var/lib/copy$folder
            mkdir -p $copy
            cp -a $folder/. $copy/
            if [ -d {stage}$folder ]; then cp {stage}$folder/keyturn* $copy/; fi
            mount --bind $copy $folder
        done
        mkdir -p /var/log/nginx /var/lib/nginx
        install -d -o redis -g redis /var/log/redis /var/lib/redis
        install -d -o postgres -g postgres /var/lib/postgresql /var/log/postgresql
        install -d -o root -g postgres -m 1777 /run/lock
        rm -rf /etc/postgresql/15
        """)
    assert result.returncode == 0, result.stderr
    yield {"PATH": f"{kt.keyturn.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
    for service in ("nginx", "redis-server", "postgresql"):
        sh(f"service {service} stop")
    sh(f"umount -l /usr/share/{PG}/extension /usr/lib/{PG}/lib /var/cache/ldconfig; rm -rf /etc/postgresql/15 /etc/nginx/conf.d/shop.conf")
    for path in ("/etc/nginx/modules-enabled/60-keyturn.conf", "/etc/ld.so.conf.d/keyturn.conf"):
        pathlib.Path(path).unlink(missing_ok=True)
    shutil.rmtree("/etc/systemd/system/redis-server.service.d", ignore_errors=True)


def test_the_servers_of_a_machine(installed, machine, kt):
    text = "\n".join(blocks())
    assert text.count("service ") == 4 and "init --system" in text
    for path in ("/usr/lib/nginx/modules", "/usr/lib/redis/modules"):
        text = text.replace(path, f"{kt.stage}{path}")
    result = sh("set -euo pipefail\n" + text, timeout=150, env=installed)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    for wanted in (r"^Bearer sk-live-51H", r"^Bearer sk-live-52J", r"^re_123", r"^PONG$", r"rotate_secret", r"^ app$"):
        assert re.search(wanted, result.stdout, re.M), (wanted, result.stdout, result.stderr)
    assert machine.wrong() == []
    assert all((LOG / stream / "log").stat().st_size > 0 for stream in ("nginx", "redis", "postgresql"))

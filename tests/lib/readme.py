# SPDX-License-Identifier: BSD-2-Clause
"""README's set-up on a machine of its own (tests/system/machine), with Debian's own configurations and service scripts."""
import pathlib
import re
import shutil
import subprocess
import urllib.error
import urllib.request

from lib.machine import Machine

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
PG = "postgresql/15"
PG_LOG = pathlib.Path("/var/log/postgresql/postgresql-15-main.log")


def readme_blocks():
    """Those of the servers, and the command that stands in the text."""
    text = README.read_text()
    section = text[text.index("## The servers of a machine"):]
    section = section[:section.index("\n## ", 3)]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S) + re.findall(r"`(keyturn grant [^`]*)`", section)


def sh(text, timeout=60, **more):
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL, **more)


class Setup:
    """README's set-up. run(text): a block, or what a reader would type; output is what the blocks printed, of the first and of the second time."""

    def __init__(self, kt):
        self.kt, self.machine, self.output = kt, Machine(kt), []
        self.env = {"PATH": f"{kt.keyturn.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}

    def run(self, text, check=True, timeout=150):
        for path in ("/usr/lib/nginx/modules", "/usr/lib/redis/modules"):
            text = text.replace(path, f"{self.kt.stage}{path}")
        result = sh("set -euo pipefail\n" + text, timeout=timeout, env=self.env)
        assert not check or result.returncode == 0, text + result.stdout[-2000:] + result.stderr[-3000:]
        return result

    def psql(self, text, check=True, **more):
        return self.run(f"su - postgres -c 'psql -XAtq -v ON_ERROR_STOP=1' <<'END'\n{text}\nEND", check=check, **more)

    def session(self):
        """An open psql, for a transaction that goes on after something else happened."""
        return subprocess.Popen(["su", "-", "postgres", "-c", "exec psql -XAtq -v ON_ERROR_STOP=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=self.env)

    def nginx(self):
        """The status, and what the application behind nginx was sent."""
        try:
            with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, ""

    def can_login(self):
        return self.run("PGPASSWORD=$(keyturn get database/primary#password) psql -h 127.0.0.1 -U app -d postgres -Atc 'SELECT 1'",
                        check=False).returncode == 0

    def works(self):
        """Each server serves, and check finds nothing."""
        assert self.nginx()[0] == 200 and self.can_login()
        assert self.run("redis-cli SECRET.GET api-keys/resend").stdout.strip()
        assert self.machine.wrong() == []
        return True


def prepare(kt):
    """What is installed below / for others to find: libraries, the extension, the folders of Debian's packages."""
    result = sh(f"""set -e
        if [ -d /var/cache/ldconfig ]; then mount -t tmpfs keyturn /var/cache/ldconfig; fi
        echo {kt.libdir} > /etc/ld.so.conf.d/keyturn.conf
        ldconfig -X
        for folder in /usr/share/{PG}/extension /usr/lib/{PG}/lib; do
            copy=/var/lib/copy$folder
            mkdir -p $copy
            cp -a $folder/. $copy/
            if [ -d {kt.stage}$folder ]; then cp {kt.stage}$folder/keyturn* $copy/; fi
            mount --bind $copy $folder
        done
        mkdir -p /var/log/nginx /var/lib/nginx
        install -d -o redis -g redis /var/log/redis /var/lib/redis
        install -d -o postgres -g postgres /var/lib/postgresql /var/log/postgresql
        install -d -o root -g postgres -m 1777 /run/lock
        rm -rf /etc/postgresql/15 /var/lib/postgresql/15 /var/lib/redis/*
        cp -a /etc/redis/redis.conf /run/redis.conf
        """)
    assert result.returncode == 0, result.stderr


def take_away(machine):
    for service in ("nginx", "redis-server", "postgresql"):
        sh(f"service {service} stop")
    sh(f"umount -l /usr/share/{PG}/extension /usr/lib/{PG}/lib /var/cache/ldconfig; rm -rf /etc/postgresql/15 /etc/nginx/conf.d/shop.conf; cp -a /run/redis.conf /etc/redis")
    for path in ("/etc/nginx/modules-enabled/60-keyturn.conf", "/etc/ld.so.conf.d/keyturn.conf"):
        pathlib.Path(path).unlink(missing_ok=True)
    machine.take_away()

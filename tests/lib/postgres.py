# SPDX-License-Identifier: BSD-2-Clause
"""A real PostgreSQL with the staged extension, in a folder of its own."""
import contextlib
import os
import shutil
import signal
import subprocess

import psycopg2

from lib.tools import Process, free_port

HBA = """\
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


def initdb(stage, folder, env):
    """A fresh cluster, superuser "postgres"; about a second, so fixtures copy one template."""
    subprocess.run([stage.pg_bin / "initdb", "-D", folder, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--wal-segsize=1",
                    "--locale=C.UTF-8"], env=env, check=True, capture_output=True, timeout=120)
    return folder


class Postgres:
    """Postgres(stage, folder, sockets, template, home): start() with settings for postgresql.conf.

    port, sockets   it listens on 127.0.0.1:port and in the folder `sockets`
    data            the cluster; log() the server's log

    `postgres` logs in without a password through the socket. All other users need one (scram-sha-256), as does `postgres` by TCP.
    """
    prefix = []  # a command that becomes the server: setpriv, for root

    def __init__(self, stage, folder, sockets, template, home=None):
        stage.need("pg_bin")
        self.stage, self.dir, self.sockets, self.home = stage, folder, sockets, home
        self.dir.mkdir(parents=True, exist_ok=True)
        self.data = self.dir / "data"
        self.port = free_port()
        self.log_path = self.dir / "postgresql.log"
        self.env = stage.environment()
        self.process = None
        subprocess.run(["cp", "-a", str(template), str(self.data)], check=True)
        os.chmod(self.data, 0o700)
        (self.data / "pg_hba.conf").write_text(HBA)
        self.settings = {"listen_addresses": "127.0.0.1", "port": self.port, "fsync": "on", "max_connections": 50,
                         "unix_socket_directories": str(sockets), "logging_collector": "off",
                         "log_min_messages": "info", "log_statement": "all", "shared_buffers": "16MB"}
        if home:
            self.settings["keyturn.config"] = str(home.config)

    def write_settings(self, **settings):
        """Rewrites postgresql.conf with these added; None removes one. For a running server, reload() afterwards."""
        for name, value in settings.items():
            self.settings[name.replace("__", ".")] = value
        with open(self.data / "postgresql.conf", "w") as conf:
            for name, value in self.settings.items():
                if value is not None:
                    conf.write("%s = '%s'\n" % (name, str(value).replace("'", "''")))

    def start(self, timeout=30, **settings):
        """Settings as in postgresql.conf, a dot written as two underscores: shared_preload_libraries="keyturn"."""
        self.write_settings(**settings)
        self.process = Process([*self.prefix, self.stage.pg_bin / "postgres", "-D", self.data], self.env, self.log_path, self.dir)
        self.process.wait_ready(self._ready, timeout, "postgres")
        return self

    def _ready(self):
        with contextlib.closing(self.connect()):
            return True

    def connect(self, user="postgres", password=None, dbname="postgres", tcp=False, autocommit=True, **more):
        """A psycopg2 connection: through the socket, or by TCP if `tcp`."""
        host = "127.0.0.1" if tcp else str(self.sockets)
        connection = psycopg2.connect(host=host, port=self.port, user=user, password=password, dbname=dbname,
                                      connect_timeout=10, **more)
        connection.autocommit = autocommit
        return connection

    def sql(self, query, parameters=None, **connect):
        """Runs one query in a connection of its own: the rows, or None for a statement without."""
        with contextlib.closing(self.connect(**connect)) as connection:
            with connection.cursor() as cursor:
                cursor.execute(query, parameters)
                return cursor.fetchall() if cursor.description else None

    def value(self, query, parameters=None, **connect):
        """The first column of the first row."""
        return self.sql(query, parameters, **connect)[0][0]

    def can_login(self, user, password, dbname="postgres"):
        """Does the server take this password (by TCP, scram)? Whatever else goes wrong is raised."""
        try:
            self.connect(user=user, password=password, dbname=dbname, tcp=True).close()
            return True
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                return False
            raise

    def psql(self, text, *options, user="postgres", dbname="postgres"):
        """The staged psql with `text` on stdin: CompletedProcess, texts in .stdout and .stderr."""
        return subprocess.run([self.stage.pg_bin / "psql", "-X", "-h", self.sockets, "-p", str(self.port), "-U", user,
                               "-d", dbname, *options], input=text, env=self.env, capture_output=True, text=True,
                              timeout=60)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def reload(self):
        self.process.send(signal.SIGHUP)

    def stop(self, number=signal.SIGINT):
        """SIGINT is a fast shutdown, SIGQUIT an immediate one; SIGKILL kills every backend too."""
        if not self.process:
            return
        if number == signal.SIGKILL:
            self.process.kill()
            # a killed postmaster leaves its lock files; every backend of it is dead, they were in its session
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            for file in self.sockets.glob(f".s.PGSQL.{self.port}*"):
                file.unlink()
        self.process.stop(number)
        self.process = None

    def restart(self, number=signal.SIGINT):
        self.stop(number)
        return self.start()

    def remove(self):
        shutil.rmtree(self.data, ignore_errors=True)

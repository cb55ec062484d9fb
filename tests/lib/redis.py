# SPDX-License-Identifier: BSD-2-Clause
"""A real redis-server with the keyturn module, in a folder of its own."""
import signal

import redis as client_library

from lib.tools import Process, free_port


class Redis:
    """Redis(stage, folder, sockets, home): start() with lines for redis.conf.

    port, socket   where it listens: 127.0.0.1:port and the unix socket
    dir            its folder: dump.rdb, appendonlydir, redis.log

    Without a home the module is loaded without a configuration: it has no key, as on a replica.
    """
    prefix = []  # a command that becomes the server: setpriv, for root

    def __init__(self, stage, folder, sockets, home=None):
        stage.need("redis", "redis_module")
        self.stage, self.dir, self.home = stage, folder, home
        self.dir.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.socket = sockets / f"redis-{self.port}.sock"
        self.log_path = self.dir / "redis.log"
        self.lines, self.module = [], True
        self.process = None

    def start(self, *lines, module=None, timeout=15):
        """`lines` go into redis.conf after the usual ones ("appendonly yes", "replicaof ..."); module=False
        leaves loadmodule to the lines. A later start() without them uses the same again."""
        self.lines = list(lines) or self.lines
        self.module = self.module if module is None else module
        text = [f"port {self.port}", "bind 127.0.0.1", f"unixsocket {self.socket}", "unixsocketperm 700",
                f"dir {self.dir}", 'save ""', "daemonize no",
                "enable-debug-command local"]
        if self.module:
            config = f" config {self.home.config}" if self.home else ""
            text.append(f"loadmodule {self.stage.redis_module}{config}")
        conf = self.dir / "redis.conf"
        conf.write_text("\n".join(text + self.lines) + "\n")
        self.process = Process([*self.prefix, self.stage.redis, conf], self.stage.environment(), self.log_path, self.dir)
        self.process.wait_ready(self._ready, timeout, "redis-server")
        return self

    def _ready(self):
        try:
            return self.client().ping()
        except client_library.exceptions.AuthenticationError:
            return True
        except client_library.exceptions.ResponseError as error:
            return "NOAUTH" in str(error) or "NOPERM" in str(error)

    def client(self, username=None, password=None, **more):
        """A redis.Redis whose replies are bytes. redis.execute_command("SECRET.GET", name) is the way to
        the module's commands; an error reply raises redis.exceptions.ResponseError."""
        return client_library.Redis(unix_socket_path=str(self.socket), username=username, password=password,
                                    socket_timeout=10, **more)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stop(self, number=signal.SIGTERM):
        """SIGTERM saves if the configuration says so. SIGKILL is a crash; start() starts it again."""
        if self.process:
            self.process.stop(number)
            self.process = None

    def restart(self, number=signal.SIGTERM):
        self.stop(number)
        return self.start()

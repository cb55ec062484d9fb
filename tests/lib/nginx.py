# SPDX-License-Identifier: BSD-2-Clause
"""A real nginx with the keyturn module, in a folder of its own."""
import dataclasses
import http.client
import re
import signal
import subprocess

from lib.tools import Process, children, free_port, wait_for

CONFIG = """\
@MODULE@
@KEYTURN@
daemon off;
pid @DIR@/nginx.pid;
error_log @DIR@/error.log @LEVEL@;
worker_processes @WORKERS@;
@MAIN@
events { worker_connections 1024; }
http {
    access_log @DIR@/access.log;
    client_body_temp_path @DIR@/body;
    proxy_temp_path @DIR@/proxy;
    fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi;
    scgi_temp_path @DIR@/scgi;
@HTTP@
}
"""


@dataclasses.dataclass
class Response:
    status: int
    headers: object
    body: bytes


class Nginx:
    """Nginx(stage, folder, home): configure(), then start().

    port   a free port of 127.0.0.1; in configurations @PORT@, also @DIR@ for the folder

        nginx.configure(f'''
            secret_get $key api-keys/stripe "prefix=Bearer ";
            server { listen 127.0.0.1:@PORT@;
                     location / { proxy_set_header Authorization $key; proxy_pass http://127.0.0.1:1234; } }''')
        nginx.start()
        assert nginx.get("/").status == 200
    """

    prefix = []     # a command that runs the server: valgrind

    def __init__(self, stage, folder, home=None):
        stage.need("nginx", "nginx_module")
        self.stage, self.dir, self.home = stage, folder, home
        self.dir.mkdir(parents=True, exist_ok=True)
        self.conf = self.dir / "nginx.conf"
        self.port = free_port()
        self.process = None
        self.env = stage.environment()

    def configure(self, http, main="", workers=1, level="info", keyturn=None):
        """Writes nginx.conf: `http` goes into http {}, `main` before it. `keyturn` replaces the line
        keyturn_config (the home's) by others."""
        if keyturn is None:
            keyturn = f"keyturn_config {self.home.config};" if self.home else ""
        module = f"load_module {self.stage.nginx_module};" if self.stage.nginx_module else ""
        text = CONFIG
        for mark, value in (("KEYTURN", keyturn), ("MAIN", main), ("HTTP", http), ("LEVEL", level),
                            ("WORKERS", workers), ("MODULE", module), ("DIR", self.dir),
                            ("PORT", self.port)):
            text = text.replace(f"@{mark}@", str(value))
        self.conf.write_text(text)

    def stream(self, text):
        """For configure(keyturn=...): what http {} does not have to have. Debian's nginx loads stream {} as a module."""
        lines = []
        if self.stage.nginx_module:
            built = subprocess.run([str(self.stage.nginx), "-V"], env=self.env, capture_output=True, text=True).stderr
            if "--with-stream=dynamic" in built:
                folder = re.search(r"--modules-path=(\S+)", built)[1]
                lines.append(f"load_module {folder}/ngx_stream_module.so;")
            lines.append(f"load_module {self.stage.nginx_module.parent}/ngx_stream_keyturn_module.so;")
        return "\n".join([*lines, f"keyturn_config {self.home.config};", f"stream {{\n{text}\n}}"])

    def command(self, *more):
        """The words that run nginx on the present configuration: command("-s", "reload")."""
        return [str(self.stage.nginx), "-p", str(self.dir), "-c", str(self.conf), "-e", str(self.dir / "error.log"),
                *more]

    def test(self, flag="-t"):
        """`nginx -t` (or -T) on the present configuration: CompletedProcess, texts in .stdout and .stderr."""
        return subprocess.run(self.command(flag), env=self.env, capture_output=True, text=True, timeout=30)

    def start(self, timeout=15):
        self.process = Process([*self.prefix, *self.command()], self.env, self.dir / "output.log", self.dir)
        self.process.wait_ready(self._serves, timeout, "nginx")
        return self

    def _serves(self):
        """Its sockets are bound before it has a pid file; a child may be the one that checks secrets."""
        assert (self.dir / "nginx.pid").exists()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        connection.connect()
        connection.close()
        return bool(self.worker_pids())

    @property
    def master_pid(self):
        return self.process.pid

    def worker_pids(self):
        return children(self.process.pid)

    def reload(self, timeout=15):
        """SIGHUP, and waits until no worker of before is left, or the error log says that it was refused."""
        before, mark = set(self.worker_pids()), len(self.error_log())
        self.process.send(signal.SIGHUP)
        wait_for(lambda: (set(self.worker_pids()) and not before & set(self.worker_pids()))
                 or "[emerg]" in self.error_log()[mark:], timeout, what="nginx reload")

    def get(self, path="/", method="GET", headers=None, body=None, timeout=10):
        """One request on a connection of its own: Response(status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def error_log(self):
        path = self.dir / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, number=signal.SIGTERM):
        if self.process:
            self.process.stop(number)
            self.process = None

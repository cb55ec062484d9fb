# SPDX-License-Identifier: BSD-2-Clause
"""nginx: what a certificate from the store costs a full handshake, beside one in a file."""
import os
import socket
import time

from bench import cpu_clock
from lib import handshake as tls
from lib.home import Home
from lib.nginx import Nginx

CASES = {
    "file": "ssl_certificate @DIR@/pair.pem; ssl_certificate_key @DIR@/pair.pem;",
    "secret": "secret_ssl_certificate tls/bench;",
    "name": "secret_ssl_certificate tls/$ssl_server_name;",
    "data": "ssl_certificate data:$pem; ssl_certificate_key data:$pem;",
}
SERVER = "server {{ listen unix:@DIR@/{case} ssl; {text} access_log off; return 200 ok; }}\n"


class Client:
    def __init__(self, server):
        self.folder, self.clock, self.using = server.dir, cpu_clock(server.worker_pids()[0]), tls.context()

    def handshake(self, case):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(self.folder / case))
            self.using.wrap_socket(raw, server_hostname="bench").close()

    def run(self, case, count):
        """Nanoseconds of the worker's CPU for one handshake."""
        self.handshake(case)
        before = time.clock_gettime_ns(self.clock)
        for _ in range(count):
            self.handshake(case)
        time.sleep(0.01)        # what the worker does after the last one
        return (time.clock_gettime_ns(self.clock) - before) / count


def handshakes(bench):
    home = Home.create(bench.stage, bench.folder / "tls-home")
    home.grant("nginx:*", ["read"], ["*"])
    pair = tls.Issuer().issue("bench")
    home.set("tls/bench", pair.pem)
    server = Nginx(bench.stage, bench.folder / "tls", home)
    (server.dir / "pair.pem").write_text(pair.pem)
    blocks = "".join(SERVER.format(case=case, text=text) for case, text in CASES.items())
    server.configure(f'ssl_protocols TLSv1.3; map $ssl_server_name $pem {{ default "{pair.pem}"; }}\n{blocks}'
                     "server { listen 127.0.0.1:@PORT@; return 204; }", main="user root;" if os.geteuid() == 0 else "")
    server.start()
    try:
        client, samples = Client(server), {}
        for _ in range(bench.few(81, 2)):
            for case in CASES:
                samples.setdefault(f"tls.{case}", []).append(client.run(case, bench.few(40, 5)))
        return samples
    finally:
        server.stop()

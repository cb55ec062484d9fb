# SPDX-License-Identifier: BSD-2-Clause
"""A server with bad manners for test_http.c: plain and TLS on free loopback ports.

Prints one line, "PORT TLS_PORT OTHER_TLS_PORT OLD_TLS_PORT FOLDER", and serves until its parent is gone. FOLDER/ca.pem signs the
certificates; that of OTHER_TLS_PORT is for another name, OLD_TLS_PORT speaks TLS 1.1 at most.
"""
import http.server
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def break_off(self):
        self.wfile.flush()
        self.close_connection = True

    def do_GET(self):
        getattr(self, "get_" + self.path.split("?")[0].strip("/").split("/")[0], self.get_missing)()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        text = "%s|%s|%s|%s|" % (self.command, self.headers.get("X-Token"), self.headers.get("Content-Type"),
                                 self.headers.get("Expect"))
        self.answer(200, text.encode() + body)

    do_PUT = do_DELETE = do_LIST = do_POST

    def get_missing(self):
        self.answer(404, b"CANARY-body")

    def get_ok(self):
        self.answer(200, b"hello")

    def get_empty(self):
        self.answer(204, b"")

    def get_size(self):
        size = int(self.path.rsplit("/", 1)[1])
        self.answer(200, bytes(i % 251 for i in range(size)))

    def get_redirect(self):
        self.answer(302, b"", Location="/ok")

    def get_busy(self):
        self.answer(429, b"later", Retry_After="7")

    def get_truncated(self):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"CANARY-part")
        self.break_off()

    def get_huge(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000000000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)
        self.break_off()

    def get_endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            self.close_connection = True

    def get_headers(self):
        self.send_response(200)
        try:
            for i in range(5000):
                self.send_header("X-%d" % i, "y" * 100)
            self.answer(200, b"")
        except OSError:
            self.close_connection = True

    def get_garbage(self):
        self.wfile.write(b"CANARY is not HTTP\r\n\r\n")
        self.break_off()

    def get_slow(self):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"z")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    def get_mute(self):
        time.sleep(10)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


def make_certificates(folder):
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=keyturn test CA",
            "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", "ca.key", "-out", "ca.pem")
    for name, alternative in ("near", "IP:127.0.0.1,DNS:localhost"), ("other", "DNS:elsewhere.example"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name,
                "-keyout", name + ".key", "-out", name + ".csr")
        with open(os.path.join(folder, name + ".ext"), "w") as file:
            file.write("subjectAltName=" + alternative + "\n")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", name + ".ext", "-out", name + ".pem")


def serve(folder, certificate=None, old=False):
    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if old:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.load_cert_chain(os.path.join(folder, certificate + ".pem"), os.path.join(folder, certificate + ".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    parent = os.getppid()
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(folder)
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        ports = [serve(folder), serve(folder, "near"), serve(folder, "other"), serve(folder, "near", old=True)]
        print(*ports, folder, flush=True)
        while os.getppid() == parent:
            time.sleep(0.2)


sys.exit(main())

# SPDX-License-Identifier: BSD-2-Clause
"""An HTTP server that remembers what it was sent: the application behind nginx."""
import dataclasses
import http.server
import threading


@dataclasses.dataclass
class Request:
    method: str
    path: str
    headers: object  # email.message.Message: headers["Authorization"], .get_all(...)
    body: bytes


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self):
        request = Request(self.command, self.path, self.headers, self._body())
        upstream = self.server.upstream
        with upstream.lock:
            upstream.requests.append(request)
        status, headers, body = upstream.respond(request)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _answer

    def log_message(self, *args):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Upstream:
    """Listens on 127.0.0.1:port from the start; close() ends it.

    requests   every Request so far, in the order of arrival (take .lock while it grows)
    respond    function of a Request to (status, {header: value}, body bytes); 200 "ok" unless a test sets another
    """

    def __init__(self, respond=None):
        self.requests = []
        self.lock = threading.Lock()
        self.respond = respond or (lambda request: (200, {}, b"ok"))
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def last(self):
        with self.lock:
            return self.requests[-1]

    def clear(self):
        with self.lock:
            self.requests.clear()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

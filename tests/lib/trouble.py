# SPDX-License-Identifier: BSD-2-Clause
"""A proxy before a server: it gives trouble when a test asks for it."""
import socket
import threading
import time

PIECE = 65536


class Trouble:
    """Listens on 127.0.0.1:port and passes to the unix socket of a server what `mode` lets through. Exchanges that run when the mode
    changes go on in the new one; cut() ends them.

    pass        everything
    refuse      nothing listens
    drop        a connection is closed as soon as it is accepted
    hang        connections are accepted and nothing is passed
    slow        each answer comes `delay` seconds late
    drip        an answer comes byte by byte, one in `delay` seconds
    truncate    the connection is closed in the middle of an answer of `size` bytes or more
    damage      one byte in the middle of such an answer is another one
    huge        such an answer is replaced by one of 25 MB
    garbage     an answer is replaced by one of another protocol
    """

    def __init__(self, path, size=200):
        self.path, self.size, self.delay, self.mode = str(path), size, 0.3, "pass"
        self.lock, self.pairs, self.listener = threading.Lock(), set(), None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.listen()

    def set(self, mode, delay=0.3):
        """Also cuts what is connected, if the mode is one without connections."""
        self.mode, self.delay = mode, delay
        if mode == "refuse":
            self.close()
        elif self.listener is None:
            self.listen()
        if mode in ("refuse", "drop"):
            self.cut()

    def listen(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            if self.mode == "drop":
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.path)
            with self.lock:
                self.pairs |= {client, server}
            for side in ((client, server, self.ask), (server, client, self.answer)):
                threading.Thread(target=self.pump, args=side, daemon=True).start()

    def pump(self, source, sink, pass_on):
        try:
            while data := source.recv(PIECE):
                pass_on(sink, data)
        except OSError:
            pass
        self.end(source, sink)

    def end(self, *pair):
        with self.lock:
            self.pairs -= set(pair)
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def ask(self, sink, data):
        while self.mode == "hang":
            time.sleep(0.02)
        sink.sendall(data)

    def answer(self, sink, data):
        mode = self.mode
        if mode == "slow":
            time.sleep(self.delay)
        if mode == "garbage":
            data = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        if mode == "drip":
            for byte in data:
                sink.sendall(bytes([byte]))
                time.sleep(self.delay)
            return
        if len(data) < self.size or mode not in ("truncate", "damage", "huge"):
            sink.sendall(data)
            return
        half = len(data) // 2
        if mode == "truncate":
            sink.sendall(data[:half])
            raise OSError
        if mode == "damage":
            sink.sendall(data[:half] + bytes([data[half] ^ 1]) + data[half + 1:])
        if mode == "huge":
            sink.sendall(b"$25000000\r\n")
            for _ in range(25000000 // PIECE + 1):
                sink.sendall(PIECE * b"x")

    def cut(self):
        with self.lock:
            pairs = list(self.pairs)
        for end in pairs:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        """Nothing listens any more."""
        if self.listener is not None:
            listener, self.listener = self.listener, None
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

# SPDX-License-Identifier: BSD-2-Clause
"""WebSockets of Debian's own library: an upstream that echoes, and clients that notice when they are cut."""
import asyncio
import threading

import websockets


class Loop:
    """An event loop in a thread of its own. call(coroutine) runs it there and answers what it returns."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, coroutine, timeout=20):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


class Echo:
    """Listens on 127.0.0.1:port and sends back what it gets, after the header that the handshake had."""

    def __init__(self, loop, header):
        self.loop, self.header = loop, header
        self.server = loop.call(self.start())
        self.port = self.server.sockets[0].getsockname()[1]

    async def start(self):
        return await websockets.serve(self.serve, "127.0.0.1", 0, ping_interval=None)

    async def serve(self, socket):
        await socket.send(socket.request_headers.get(self.header, ""))
        async for message in socket:
            await socket.send(message)

    def close(self):
        async def end():
            self.server.close()
            await self.server.wait_closed()
        self.loop.call(end())


class Client:
    """Connected; `secret` is what the upstream got in the handshake. It talks all the time: `count` messages came back, and `error`
    says why the talk ended, if it was not by close()."""

    def __init__(self, loop, port):
        self.loop, self.count, self.error, self.closing = loop, 0, None, False
        self.secret = loop.call(self.connect(port))
        self.talk = asyncio.run_coroutine_threadsafe(self.run(), loop.loop)

    async def connect(self, port):
        self.socket = await websockets.connect(f"ws://127.0.0.1:{port}/", ping_interval=None)
        return await self.socket.recv()

    async def run(self):
        try:
            while not self.closing:
                await self.socket.send(str(self.count))
                answer = await self.socket.recv()
                if answer != str(self.count):
                    raise ValueError(f"{answer!r} instead of {self.count}")
                self.count += 1
                await asyncio.sleep(0.02)
        except Exception as error:  # noqa: BLE001 - the test reports it
            self.error = error

    def close(self):
        self.closing = True
        self.talk.result(20)
        self.loop.call(self.socket.close())

"""A page on this machine: paintings and controls over a WebSocket, and the paintings as MJPEG.

Every address begins with a random token; without it, there is 403 and nothing else.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import threading
import time
from contextlib import suppress
from importlib.resources import files
from typing import Any

from onestroke.errors import UserError
from onestroke.live.client import Client
from onestroke.live.newest import Newest
from onestroke.live.performance import Performance
from onestroke.live.signals import Signals
from onestroke.live.stage import Painting, Shown
from onestroke.packages import require

_MAX_MESSAGE = 2**16  # bytes of a client's message
_BOUNDARY = "painting"
_PAGE, _MODULES = "live/page/", "export/web/js/"
_FILES = {
    "": (f"{_PAGE}index.html", "text/html"),
    "live.css": (f"{_PAGE}live.css", "text/css"),
    "live.js": (f"{_PAGE}live.js", "text/javascript"),
    **{name: (f"{_MODULES}{name}", "text/javascript") for name in ("midi.js", "pointer.js", "sound.js")},
}
"""By its name at the server: each file's place in the package, and its type."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
}
_REFUSED = "Take the whole address that live.py has printed: it holds a token.\n"


class Server:
    """Serves the page, in a thread with an event loop of its own.

    Args:
        performance: whose controls the page moves.
        signals: where what the page measures goes.
        shown: told when a painting is shown.
        host: an address of this machine.
        port: 0 takes a free one, see `address`.

    Raises:
        UserError: the port is taken, or the host is no address of this machine.
    """

    def __init__(self, performance: Performance, signals: Signals, shown: Shown, host: str, port: int) -> None:
        self._performance, self._signals, self._shown, self._host = performance, signals, shown, host
        self._web = require("aiohttp.web", "live")
        require("cv2", "live")
        self.token = secrets.token_urlsafe(16)
        self._clients: list[Any] = []
        self._count = 0
        self._problems: list[OSError] = []
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(port, started), name="server", daemon=True)
        self._thread.start()
        started.wait()
        for problem in self._problems:
            words = problem.strerror or problem
            raise UserError(f"can't serve the page on {host}, port {port}: {words}") from problem

    @property
    def address(self) -> str:
        """Of the page, with its token."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/{self.token}/"

    def show(self, painting: Painting) -> bool:
        """See Output."""
        self._newest.put(painting)
        return True

    def close(self) -> None:
        """See Output."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self, port: int, started: threading.Event) -> None:
        try:
            self._loop.run_until_complete(self._serve(port, started))
        finally:
            started.set()
            self._loop.close()

    async def _serve(self, port: int, started: threading.Event) -> None:
        self._newest, self._ended = Newest(), asyncio.Event()

        async def with_token(request: Any, handler: Any) -> Any:  # a method can't be a middleware
            return await self._with_token(request, handler)

        application = self._web.Application(middlewares=[self._web.middleware(with_token)])
        application.router.add_get("/{token}/ws", self._socket)
        application.router.add_get("/{token}/stream.mjpeg", self._mjpeg)
        application.router.add_get("/{token}/{name:[a-z.]*}", self._file)
        runner = self._web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await self._web.TCPSite(runner, self._host, port).start()
        except OSError as error:
            self._problems.append(error)
        else:
            self._port = int(runner.addresses[0][1])
            encoding = asyncio.create_task(self._newest.run())
            started.set()
            await self._ended.wait()
            encoding.cancel()
            for socket in list(self._clients):
                with suppress(ConnectionError):
                    await socket.close()
        await runner.cleanup()

    async def _with_token(self, request: Any, handler: Any) -> Any:
        given = request.path.split("/")[1]
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return self._web.Response(status=403, text=_REFUSED)
        if request.path == f"/{self.token}":
            raise self._web.HTTPFound(f"/{self.token}/")
        return await handler(request)

    async def _file(self, request: Any) -> Any:
        name = request.match_info["name"]
        if name not in _FILES:
            raise self._web.HTTPNotFound
        place, kind = _FILES[name]
        text = files("onestroke").joinpath(*place.split("/")).read_text("utf-8")
        return self._web.Response(text=text, content_type=kind, charset="utf-8", headers=_HEADERS)

    async def _mjpeg(self, request: Any) -> Any:
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        response = self._web.StreamResponse(headers={**_HEADERS, "Content-Type": kind})
        await response.prepare(request)
        number = 0
        with self._newest.watched(), suppress(ConnectionError):
            await response.write(f"--{_BOUNDARY}\r\n".encode())
            while True:
                painting, jpeg = await self._newest.after(number)
                number = painting.number
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                # with the next boundary: browsers show a picture once they have seen it
                await response.write(head + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode())
                self._shown(painting.captured, time.perf_counter())
        return response

    async def _socket(self, request: Any) -> Any:
        # JPEGs don't get smaller by compressing them again
        socket = self._web.WebSocketResponse(max_msg_size=_MAX_MESSAGE, heartbeat=20, timeout=0.5, compress=False)
        await socket.prepare(request)
        self._count += 1
        self._clients.append(socket)
        name = f"client {self._count}"
        try:
            await Client(socket, name, self._performance, self._signals, self._newest, self._shown).run()
        finally:
            self._clients.remove(socket)
        return socket

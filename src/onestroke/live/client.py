"""A page or another program at the WebSocket: what it says, and what it is sent.

Messages of a client are JSON objects:

    {"frames": true}                      send paintings: 4 bytes with their number (big endian), then a JPEG
    {"shown": 17}                         painting 17 is on the screen; at most two are on their way
    {"set": {"strength": 0.4}}            strength, stroke, mix, colors, and styles: one name or two
    {"signals": {"sound.level": 0.2}}     what it measures
    {"remote": {"knob": 0.5}}             the signal remote.knob
    {"map": "dance"}                      a preset, a whole mapping, or null for none

Answers are JSON objects too: {"facts": ...} once, {"state": ...} where a control has moved, {"error": "one sentence"}.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from onestroke import documents
from onestroke.errors import UserError, near, quoted
from onestroke.live.mapping import SignalMap, parse_map, preset_names, read_map
from onestroke.live.newest import Newest
from onestroke.live.performance import Performance
from onestroke.live.signals import Signals
from onestroke.live.stage import Shown

_ON_THEIR_WAY = 2  # paintings that a client was sent and has not shown
_STATE_EVERY = 0.05  # seconds
_KEYS = ("frames", "shown", "set", "signals", "remote", "map")


class Client:
    """One WebSocket.

    Args:
        socket: of aiohttp.
        name: the source of its signals.
        performance: whose controls it moves.
        signals: where its signals go.
        newest: the paintings.
        shown: told when a painting is on its screen.
    """

    def __init__(
        self, socket: Any, name: str, performance: Performance, signals: Signals, newest: Newest, shown: Shown
    ) -> None:
        self._socket, self._name, self._shown = socket, name, shown
        self._performance, self._signals, self._newest = performance, signals, newest
        self._sent: dict[int, float] = {}  # number -> when it was captured
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Serve it until it leaves."""
        await self._socket.send_json({"facts": _facts(self._performance)})
        self._tasks = [asyncio.create_task(self._send_state())]
        try:
            async for message in self._socket:
                try:
                    self._take(documents.parse(message.data) if isinstance(message.data, str) else {})
                except (UserError, documents.NoDocument) as error:
                    await self._socket.send_json({"error": str(error)})
        finally:
            for task in self._tasks:
                task.cancel()
            self._signals.drop(self._name)

    def _take(self, message: Mapping[str, Any]) -> None:
        for key, value in message.items():
            if key not in _KEYS:
                raise UserError(f"there is no message {quoted(key)}: {near(key, _KEYS)}")
            if key in ("set", "signals", "remote") and not isinstance(value, dict):
                raise UserError(f"{key} is an object of names and values, not {quoted(value)}")
            if key == "set":
                self._performance.set(value)
            elif key == "signals":
                self._signals.put(value, self._name)
            elif key == "remote":
                self._signals.put({f"remote.{name}": number for name, number in value.items()}, self._name)
            elif key == "map":
                self._performance.map(_map(value))
            elif key == "shown":
                self._take_shown(value)
            elif value is True and len(self._tasks) == 1:
                self._tasks.append(asyncio.create_task(self._send_frames()))

    def _take_shown(self, number: object) -> None:
        captured = self._sent.pop(number, None) if isinstance(number, int) else None
        if captured is not None:
            self._shown(captured, time.perf_counter())
            self._room.set()

    async def _send_frames(self) -> None:
        number = 0
        with self._newest.watched():
            while not self._socket.closed:
                while len(self._sent) >= _ON_THEIR_WAY:
                    self._room.clear()
                    await self._room.wait()
                painting, jpeg = await self._newest.after(number)
                number = painting.number
                self._sent[number] = painting.captured
                try:
                    await self._socket.send_bytes((number % 2**32).to_bytes(4, "big") + jpeg)
                except ConnectionError:
                    return

    async def _send_state(self) -> None:
        before: dict[str, Any] = {}
        while not self._socket.closed:
            state = self._performance.state()
            if state != before:
                try:
                    await self._socket.send_str(json.dumps({"state": state}))
                except ConnectionError:
                    return
                before = state
            await asyncio.sleep(_STATE_EVERY)


def _map(value: object) -> SignalMap | None:
    if value is None:
        return None
    if isinstance(value, str):
        if value not in preset_names():  # a client must not read files of this machine
            raise UserError(f"there is no map {quoted(value)}: {near(value, preset_names())}")
        return read_map(value)
    return parse_map(json.dumps(value), "the map")


def _facts(performance: Performance) -> dict[str, Any]:
    """What a page needs to know of the style file."""
    listed = performance.metadata.style.get("styles")
    known = {style.get("name"): style for style in listed or [] if isinstance(style, dict)}
    keys = ("title", "artist", "year")
    styles = [
        {"name": name, **{key: str(known.get(name, {}).get(key, "")) for key in keys}} for name in performance.styles
    ]
    return {"styles": styles, "controls": list(performance.controls), "maps": preset_names()}

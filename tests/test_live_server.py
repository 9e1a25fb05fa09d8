"""The page of live.py over a real connection: its token, its paintings, and what clients say."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onestroke.errors import UserError
from onestroke.inference.controls import StyleControls
from onestroke.live.newest import to_jpeg
from onestroke.live.performance import Performance
from onestroke.live.server import Server
from onestroke.live.signals import Signals
from onestroke.live.stage import Painting
from tests.test_live import Bytes, photo, written

aiohttp = pytest.importorskip("aiohttp", reason="needs the extra live")
pytest.importorskip("cv2", reason="needs the extra live")
PATIENCE = 60.0  # seconds until a connection that hangs fails a test


class Stand:
    """A server with all that it stands for."""

    def __init__(self, style: Path) -> None:
        self.performance = Performance(style, StyleControls("stars"), backend="torch")
        self.signals = Signals()
        self.shown: list[float] = []
        self.server = Server(self.performance, self.signals, lambda at, now: self.shown.append(at), "127.0.0.1", 0)

    def paint(self, number: int) -> Bytes:
        """Paint a frame of noise, and hand it on."""
        pixels = self.performance.stylizer.frames(40, 52)(photo(40, 52 + 0 * number))
        self.server.show(Painting(number, float(number), pixels))
        return pixels


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("server") / "all.safetensors", controls=("strength", "stroke"))


@pytest.fixture
def stand(style: Path) -> Iterator[Stand]:
    made = Stand(style)
    yield made
    made.server.close()


def connected(talk: Callable[[Any], Awaitable[None]]) -> None:
    """Run what a client does, with a session of aiohttp."""

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.wait_for(talk(session), PATIENCE)

    asyncio.run(run())


def test_without_the_token_there_is_nothing(stand: Stand) -> None:
    address = stand.server.address
    root = address[: -len(stand.server.token) - 1]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", root) and len(stand.server.token) >= 20

    async def talk(session: Any) -> None:
        wrong = stand.server.token[:-1] + ("A" if stand.server.token[-1] != "A" else "B")
        for path in ("", "ws", "stream.mjpeg", "live.js", wrong, f"{wrong}/", f"{wrong}/ws", "%C3%A9/", f"?{wrong}"):
            async with session.get(root + path) as answer:
                assert answer.status == 403, path
                assert "token" in await answer.text()
        async with session.get(address + "../server.py") as answer:
            assert answer.status in (403, 404)
        async with session.get(address + "none.py") as answer:
            assert answer.status == 404

    connected(talk)


def test_the_page_loads_nothing_from_elsewhere(stand: Stand) -> None:
    async def talk(session: Any) -> None:
        scripts = [(f"{name}.js", "text/javascript") for name in ("live", "midi", "pointer", "sound")]
        for name, kind in (("", "text/html"), ("live.css", "text/css"), *scripts):
            async with session.get(stand.server.address + name) as answer:
                assert (answer.status, answer.content_type) == (200, kind)
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                text = await answer.text()
            assert not re.findall(r"https?://(?!\$)", text)
            for linked in re.findall(r'(?:src|href)="([^"]+)"', text):
                assert linked in ("live.js", "live.css", "data:,")
        async with session.get(stand.server.address.rstrip("/"), allow_redirects=False) as answer:
            assert answer.headers["Location"] == f"/{stand.server.token}/", "relative links need the slash"

    connected(talk)


def test_the_stream_shows_what_the_stylizer_paints(stand: Stand) -> None:
    async def talk(session: Any) -> None:
        async with session.get(stand.server.address + "stream.mjpeg") as answer:
            assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=painting"
            assert await answer.content.readline() == b"--painting\r\n"
            for number, strength in ((1, 0.3), (2, 1.0)):
                stand.performance.set({"strength": strength})
                stand.performance.step({}, 1)
                painted = stand.paint(number)
                assert await answer.content.readline() == b"Content-Type: image/jpeg\r\n"
                length = int((await answer.content.readline()).split()[1])
                assert await answer.content.readline() == b"\r\n"
                jpeg = await answer.content.readexactly(length)
                assert jpeg == to_jpeg(stand.performance.stylizer(photo(40, 52))) == to_jpeg(painted)
                assert await answer.content.readexactly(len(b"\r\n--painting\r\n")) == b"\r\n--painting\r\n"

    connected(talk)
    assert stand.shown == [1.0, 2.0]


def test_a_jpeg_is_the_picture_but_for_what_jpeg_loses() -> None:
    y, x = np.mgrid[0:64, 0:96]
    smooth = np.stack([255 * x / 95, 255 * y / 63, 128 + 0 * x], axis=-1).astype(np.uint8)
    decoded = np.asarray(Image.open(BytesIO(to_jpeg(smooth))))
    # at quality 90 a DC coefficient is rounded to 3/8 of a level in luminance, and a slope's to about 2
    assert np.abs(decoded.astype(int) - smooth).mean() < 3


async def told(socket: Any, key: str) -> Any:
    """The next message of a kind; the others are passed over."""
    while True:
        message = await socket.receive()
        if message.type == aiohttp.WSMsgType.TEXT and key in (found := json.loads(message.data)):
            return found[key]


def test_a_client_is_told_the_facts_and_moves_the_controls(stand: Stand) -> None:
    async def talk(session: Any) -> None:
        async with session.ws_connect(stand.server.address + "ws") as socket:
            facts = await told(socket, "facts")
            assert [style["title"] for style in facts["styles"]] == ["Waves", "Stars", "Scream"]
            assert facts["controls"] == ["strength", "stroke"] and "dance" in facts["maps"]
            assert (await told(socket, "state"))["styles"][0] == "stars"
            await socket.send_json({"set": {"strength": 0.9, "styles": ["scream", "waves"], "mix": 0.5}})
            state = await told(socket, "state")
            assert (state["strength"], state["shares"]) == (0.9, {"scream": 0.5, "waves": 0.5})
            await socket.send_json({"map": "conductor"})
            assert (await told(socket, "state"))["map"] == "conductor"
            own = {"onestroke_map": 1, "name": "mine", "routes": [{"signal": "remote.knob", "control": "stroke"}]}
            await socket.send_json({"map": own, "remote": {"knob": 0.75}, "signals": {"sound.low": 0.5}})
            assert (await told(socket, "state"))["map"] == "mine"
            assert stand.signals.read() == {"remote.knob": 0.75, "sound.low": 0.5}
            await socket.send_json({"map": None})
            assert (await told(socket, "state"))["map"] is None
        while stand.signals.read():  # those of a client that has left are forgotten
            await asyncio.sleep(0.01)

    connected(talk)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "it is no JSON"),
        ("[1]", "it is no JSON object"),
        ('{"sett": {}}', "there is no message 'sett': did you mean 'set'"),
        ('{"set": 3}', "set is an object of names and values, not 3"),
        ('{"set": {"strength": 2}}', "strength must be a number from 0 to 1"),
        ('{"signals": {"sound.lo": 1}}', "no signal 'sound.lo'"),
        ('{"remote": {"a b": 1}}', "no signal 'remote.a b'"),
        ('{"map": "/etc/passwd"}', "there is no map '/etc/passwd'"),
        ('{"map": {"onestroke_map": 1}}', "the map: the name of a map"),
    ],
)
def test_a_wrong_message_is_answered_in_one_sentence(stand: Stand, message: str, words: str) -> None:
    async def talk(session: Any) -> None:
        async with session.ws_connect(stand.server.address + "ws") as socket:
            await socket.send_str(message)
            assert words in await told(socket, "error")
            await socket.send_json({"set": {"strength": 0.125}})
            while (await told(socket, "state"))["strength"] != 0.125:  # and the connection is still good
                pass

    connected(talk)


def test_a_client_has_two_paintings_on_their_way_and_then_the_newest(stand: Stand) -> None:
    async def talk(session: Any) -> None:
        async with session.ws_connect(stand.server.address + "ws", compress=15) as socket:
            assert socket.compress == 0, "JPEGs are compressed already"
            await socket.send_json({"frames": True})

            async def next_painting() -> tuple[int, bytes]:
                while (message := await socket.receive()).type != aiohttp.WSMsgType.BINARY:
                    pass
                return int.from_bytes(message.data[:4], "big"), message.data[4:]

            for number in (1, 2):
                painted = stand.paint(number)
                assert await next_painting() == (number, to_jpeg(painted))
            for number in (3, 4, 5):
                stand.paint(number)
            await socket.send_json({"set": {"strength": 0.9}})
            assert (await told(socket, "state"))["strength"] in (0.5, 0.9)
            assert stand.shown == []
            while stand.server._newest._encoded[0].number < 5:  # type: ignore[index]
                await asyncio.sleep(0.01)
            await socket.send_json({"shown": 2})
            assert (await next_painting())[0] == 5, "3 and 4 were never sent"
            await socket.send_json({"shown": 99, "set": {"stroke": 0.5}})
            await socket.send_json({"shown": [1]})
            await socket.send_json({"shown": 5})
            await socket.send_json({"nothing": 1})
            await told(socket, "error")

    connected(talk)
    assert stand.shown == [2.0, 5.0]


def test_a_port_that_is_taken_and_a_host_that_is_not_here(stand: Stand) -> None:
    port = int(re.findall(r":(\d+)/", stand.server.address)[0])
    for host, number in (("127.0.0.1", port), ("192.0.2.1", 0), ("no host", 0)):
        with pytest.raises(UserError, match=f"can't serve the page on {host}, port {number}: ") as wrong:
            Server(stand.performance, stand.signals, lambda *_: None, host, number)
        assert "\n" not in str(wrong.value)

"""`python live.py` as a performer meets it: what it prints, where it shows, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onestroke.cli import live
from onestroke.errors import UserError
from onestroke.inference.stylizer import Stylizer
from onestroke.live.stage import Painting
from onestroke.live.windows import VirtualCamera, Window
from tests.commands import command
from tests.test_live import Bytes, photo, written

cv2 = pytest.importorskip("cv2", reason="needs the extra live")
pytest.importorskip("aiohttp", reason="needs the extra live")
FRAMES = 6


@pytest.fixture
def style(tmp_path: Path) -> Path:
    return written(tmp_path / "all.safetensors", controls=("strength", "stroke"))


class Room:
    """A camera that gives some frames and then is interrupted, as by Ctrl-C, and a virtual camera that keeps them."""

    name = "camera 0"

    def __init__(self, number: int) -> None:
        self.signal, self.given = number, 0
        self.sent: list[Bytes] = []
        self.painted = threading.Semaphore()
        self.closed = False

    def open(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def read(self) -> Bytes | None:
        if self.given <= FRAMES:  # each is painted before the next one comes
            assert self.painted.acquire(timeout=60)
        if self.given == FRAMES:
            signal.raise_signal(self.signal)
        self.given += 1
        return photo(48, 64)

    def send(self, pixels: Bytes) -> None:
        self.sent.append(pixels)
        self.painted.release()

    def camera(self, width: int, height: int, fps: float) -> Any:
        assert (width, height) == (64, 48)
        return types.SimpleNamespace(
            width=width, height=height, device="/dev/video7", send=self.send, close=lambda: None
        )


def performed(
    room: Room, monkeypatch: pytest.MonkeyPatch, cwd: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    monkeypatch.setattr(live, "source_of", lambda options: room)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", types.SimpleNamespace(Camera=room.camera))
    return command("live.py", *arguments, cwd=cwd)


@pytest.fixture
def in_background() -> Iterator[None]:
    """SIGINT is ignored, as in what a shell starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_background")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_performance_ends_cleanly(number: int, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(number)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    done = performed(room, monkeypatch, tmp_path, f"ckpt={style}", "show=virtual", "style=stars", "strength=0.75")
    assert (done.returncode, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    assert first == "the paintings are the camera /dev/video7"
    assert re.fullmatch(
        r"stopped: [0-9.]+ frames/s, \d+ ms from camera to shown \([0-9.]+ frames\), \d+ of \d+ frames dropped", last
    )
    assert room.closed and [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    expected = Stylizer(style, backend="auto", mix="stars", strength=0.75)(photo(48, 64))
    assert len(room.sent) >= FRAMES and all(np.abs(each.astype(int) - expected).max() <= 1 for each in room.sent)


def test_a_map_moves_the_controls_and_routes_that_lead_nowhere_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = written(tmp_path / "two.safetensors", styles=2)
    room = Room(signal.SIGINT)
    done = performed(room, monkeypatch, tmp_path, f"ckpt={style}", "show=virtual", "map=breathing", "mirror=true")
    assert done.returncode == 0
    assert "two.safetensors has no control for strength, stroke: these routes of the map do nothing" in done.stdout
    flipped = Stylizer(style, backend="auto", mix="waves")(np.ascontiguousarray(photo(48, 64)[:, ::-1]))
    assert np.abs(room.sent[0].astype(int) - flipped).max() <= 2, "within the first hundredths of a slow change"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["input=clip.mp4", "camera=1"], "camera and input are given"),
        (["input=none.mp4"], "none.mp4 is no file"),
        (["camera=987"], "camera 987 can't be opened"),
        (["map=dnace"], "did you mean 'dance'"),
        (["show=page", "host=192.0.2.1", "input=photo.png"], "can't serve the page on 192.0.2.1"),
        (["style=stras", "input=photo.png"], "did you mean 'stars'"),
        (["size=8"], "size must be a whole number from 32 to 4096"),
        (["ckpt=none.safetensors", "input=photo.png"], "none.safetensors"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(arguments: list[str], words: str, style: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), photo(48, 64))
    ckpt = [] if arguments[0].startswith("ckpt") else [f"ckpt={style}"]
    done = command("live.py", *ckpt, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and words in done.stderr


def test_a_virtual_camera_that_can_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: object) -> None:
        raise RuntimeError("'v4l2loopback' backend: No v4l2 loopback devices found")

    monkeypatch.setitem(sys.modules, "pyvirtualcam", types.SimpleNamespace(Camera=none))
    camera = VirtualCamera(lambda *_: None, print)
    with pytest.raises(UserError, match=r"there is no virtual camera: on Linux, install v4l2loopback .* OBS Studio"):
        camera.show(Painting(1, 0.0, photo(24, 32)))
    camera.close()
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(UserError, match=r"pyvirtualcam is needed for this: pip install 'onestroke\[live\]'"):
        VirtualCamera(lambda *_: None, print)


def test_a_window_shows_paintings_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Bytes] = []
    keys, full = [255, ord("f"), ord("q")], []
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, pixels: drawn.append(pixels))
    monkeypatch.setattr(cv2, "waitKey", lambda _: keys.pop(0))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "setWindowProperty", lambda title, what, value: full.append(value))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    shown: list[float] = []
    window = Window("OneStroke", lambda captured, now: shown.append(captured))
    pixels = photo(24, 32)
    assert [window.show(Painting(number, float(number), pixels)) for number in (1, 2, 3)] == [True, True, False]
    assert all(np.array_equal(each, pixels[..., ::-1]) for each in drawn), "OpenCV takes blue first"
    assert shown == [1.0, 2.0, 3.0] and full == [cv2.WINDOW_FULLSCREEN]
    window.close()


def test_a_window_needs_a_screen_and_an_opencv_with_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", without)
    monkeypatch.setenv("DISPLAY", ":7")
    with pytest.raises(UserError, match=r"this OpenCV has no windows: .* pip install opencv-python"):
        Window("OneStroke", lambda *_: None)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="show=window needs a screen"):
        Window("OneStroke", lambda *_: None)

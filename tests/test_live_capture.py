"""What live.py reads: the newest frame of a camera that comes and goes, clips in a loop, motion, and other signals."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from onestroke.errors import UserError
from onestroke.live.capture import Camera, Capture, Clip
from onestroke.live.osc import Osc
from onestroke.live.signals import MOTION_SIZE, Motion, Signals
from onestroke.live.stage import fitted
from tests.test_live import Bytes

cv2 = pytest.importorskip("cv2", reason="needs the extra live")
PATIENCE = 60.0  # seconds until a thread that hangs fails a test


def plain(level: int, height: int = 24, width: int = 32) -> Bytes:
    return np.full((height, width, 3), level, np.uint8)


class Scripted:
    """A camera whose frames, and whose absence, a test decides."""

    name = "camera 7"

    def __init__(self, frames: list[Bytes | None], fails: int = 0) -> None:
        self.frames, self.fails, self.opened = list(frames), fails, 0
        self.told: list[str] = []
        self.more = threading.Semaphore(0)

    def open(self) -> None:
        self.opened += 1
        if self.opened > 1 and self.fails > 0:
            self.fails -= 1
            raise UserError("not there yet")

    def read(self) -> Bytes | None:
        assert self.more.acquire(timeout=PATIENCE)
        return self.frames.pop(0) if self.frames else plain(255)

    def close(self) -> None:
        pass


def test_the_newest_frame_is_painted_and_older_ones_are_dropped() -> None:
    camera = Scripted([plain(level) for level in range(5)])
    with Capture(camera, camera.told.append) as capture:
        assert capture.newest(0) is None
        camera.more.release(4)
        while capture.read < 4:
            assert capture.newest(PATIENCE) is not None
        camera.more.release()
        shot = capture.newest(PATIENCE)
        assert shot is not None and (shot.number, int(shot.pixels[0, 0, 0])) == (5, 4)
        assert capture.newest(0) is None, "the same frame is not painted twice"
        camera.more.release()
    assert camera.told == []


def test_a_camera_that_is_gone_is_told_and_waited_for() -> None:
    camera = Scripted([plain(1), None, plain(2, 48, 64)], fails=3)
    with Capture(camera, camera.told.append, again=0.001) as capture:
        camera.more.release(3)
        shapes: list[tuple[int, ...]] = []
        while len(shapes) < 2 and shapes[-1:] != [(48, 64, 3)]:
            shot = capture.newest(PATIENCE)
            assert shot is not None
            shapes.append(shot.pixels.shape)
        assert shapes[-1] == (48, 64, 3)
        camera.more.release()
    assert camera.told == ["camera 7 is gone: waiting for it", "camera 7 is back"]
    assert camera.opened == 1 + 3 + 1


def test_an_error_of_the_reading_thread_ends_the_performance() -> None:
    camera = Scripted([])
    camera.read = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    with Capture(camera, camera.told.append) as capture, pytest.raises(ZeroDivisionError):
        capture.newest(PATIENCE)


def clip(path: Path, levels: list[int]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 240, (32, 24))
    assert writer.isOpened()
    for level in levels:
        writer.write(np.full((24, 32, 3), (0, level, 255 - level), np.uint8))  # blue, green, red
    writer.release()
    return path


def test_a_clip_is_played_again_and_again(tmp_path: Path) -> None:
    source = Clip(clip(tmp_path / "clip.avi", [10, 90, 200]))
    source.open()
    found = [source.read() for _ in range(7)]
    source.close()
    assert source.read() is None
    greens = [int(frame[12, 16, 1]) for frame in found if frame is not None]
    assert np.abs(np.array(greens) - [10, 90, 200, 10, 90, 200, 10]).max() <= 4, "JPEG rounds"
    assert found[2] is not None and found[2][12, 16, 0] < 70 and found[2][12, 16, 2] < 20, "red first, blue last"


def test_sources_that_are_none(tmp_path: Path) -> None:
    text = tmp_path / "clip.mp4"
    text.write_text("no clip")
    for source, words in (
        (Clip(text), "clip.mp4 is no clip that OpenCV can read"),
        (Clip(tmp_path), "is no file: input= takes a clip"),
        (Clip(tmp_path / "none.mp4"), "is no file"),
        (Camera("987"), "camera 987 can't be opened: plug one in, .* input=clip.mp4"),
        (Camera(str(tmp_path / "video9")), "video9 can't be opened"),
    ):
        with pytest.raises(UserError, match=words) as told:
            source.open()
        assert "\n" not in str(told.value)


def test_frames_are_shrunk_to_sides_of_multiples_of_four_and_never_enlarged() -> None:
    for (height, width), size, expected in (
        ((480, 640), 512, (384, 512)),
        ((1080, 1920), 512, (288, 512)),
        ((640, 360), 256, (256, 144)),
        ((96, 131), 512, (96, 132)),  # a pixel more is no harm
        ((3, 900), 512, (4, 512)),
    ):
        assert fitted(plain(0, height, width), size).shape == (*expected, 3)
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (32, 1, 3))
    assert np.array_equal(fitted(ramp, 64), ramp)
    assert np.array_equal(fitted(ramp, 64, mirror=True), ramp[:, ::-1])


def test_motion_is_how_much_of_the_picture_changes_and_where() -> None:
    width, height = MOTION_SIZE
    motion, black = Motion(), plain(0, height, width)
    assert motion.step(black) == {"motion.amount": 0, "motion.x": 0.5, "motion.y": 0.5}
    block = black.copy()
    block[6:18, 40:56] = 255  # 16 x 12 of 64 x 48 pixels: a sixteenth
    found = motion.step(block)
    assert found == pytest.approx({"motion.amount": 4 / 16, "motion.x": 48 / 64, "motion.y": 12 / 48})
    assert motion.step(block) == pytest.approx({**found, "motion.amount": 0}), "the place stays while nothing moves"
    assert motion.step(block - np.minimum(block, 8))["motion.amount"] == 0, "a camera's noise is no motion"
    assert Motion().step(black) == motion.step(black) | {"motion.amount": 0, "motion.x": 0.5, "motion.y": 0.5}


def test_signals_are_clamped_dropped_and_refused() -> None:
    signals = Signals()
    signals.put({"sound.low": 0.25, "midi.7": 3}, "a page")
    signals.put({"remote.knob": -1, "pointer.x": 0.5}, "another")
    assert signals.read() == {"sound.low": 0.25, "midi.7": 1, "remote.knob": 0, "pointer.x": 0.5}
    signals.drop("a page")
    assert signals.read() == {"remote.knob": 0, "pointer.x": 0.5}
    for values, words in (
        ({"pointer.x": 1, "sound.lo": 1}, "no signal 'sound.lo' to send: did you mean 'sound.low'"),
        ({"pointer.x": 1, "time.sine": 1}, "no signal 'time.sine'"),
        ({"pointer.x": 1, "midi.8": "loud"}, "the signal midi.8 is a number from 0 to 1, not 'loud'"),
        ({"pointer.x": 1, "midi.8": float("nan")}, "not nan"),
    ):
        with pytest.raises(UserError, match=words):
            signals.put(values, "a page")
        assert signals.read()["pointer.x"] == 0.5, "nothing is set"
    for number in range(600):
        signals.put({f"remote.{number}": 1}, "a flood")
    assert len(signals.read()) == 512


def test_messages_of_osc_are_remote_signals() -> None:
    client = pytest.importorskip("pythonosc.udp_client", reason="needs the extra live")
    signals, arrived = Signals(), threading.Event()
    put = signals.put
    signals.put = lambda values, source: (put(values, source), arrived.set())[0]  # type: ignore[func-returns-value, method-assign]
    osc = Osc("127.0.0.1", 0, signals)
    try:
        sender = client.SimpleUDPClient("127.0.0.1", osc.port)
        for address, value in (("/a name", 0.5), ("/text", "loud"), ("/fader/1", [0.25, 9.0])):
            sender.send_message(address, value)
        assert arrived.wait(PATIENCE)
        assert signals.read() == {"remote.fader.1": 0.25}
        with pytest.raises(UserError, match=f"can't listen for OSC on 127.0.0.1:{osc.port}"):
            Osc("127.0.0.1", osc.port, signals)
    finally:
        osc.close()

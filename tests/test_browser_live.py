"""The page of live.py in a real browser: what it shows, what its controls do, and whether all can use it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onestroke.inference.controls import StyleControls
from onestroke.inference.stylizer import Stylizer
from onestroke.live.newest import to_jpeg
from onestroke.live.performance import Performance
from onestroke.live.server import Server
from onestroke.live.signals import Signals
from onestroke.live.stage import Painting
from tests.browsing import AXE, Bytes, launched, need_browser
from tests.sites import small_style

pytestmark = pytest.mark.browser
pytest.importorskip("aiohttp", reason="needs the extra live")
pytest.importorskip("cv2", reason="needs the extra live")
PATIENCE = 60.0  # seconds until what doesn't come fails a test


def scene() -> Bytes:
    """A picture with slopes and edges."""
    y, x = np.mgrid[0:72, 0:96]
    return np.stack([2 * x, 3 * y, 128 + 100 * np.sign(np.sin(x / 9 + y / 7))], -1).astype(np.uint8)


class Live:
    """A performance with a page, painting one picture again and again in a thread."""

    def __init__(self, style: Path) -> None:
        self.performance = Performance(style, StyleControls("waves"), backend="torch")
        self.signals, self.ended = Signals(), threading.Event()
        self.late: list[float] = []
        self.server = Server(self.performance, self.signals, lambda at, now: self.late.append(now - at), "127.0.0.1", 0)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        number, frames = 0, self.performance.stylizer.frames(72, 96)
        while not self.ended.wait(0.02):
            number += 1
            color = self.performance.step(self.signals.read(), 0.02)
            self.server.show(Painting(number, time.perf_counter(), frames(scene(), color)))

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        self.server.close()


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_browser()
    return small_style(tmp_path_factory.mktemp("style") / "all.safetensors")


@pytest.fixture(scope="module")
def browser(style: Path) -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture
def live(style: Path) -> Iterator[Live]:
    made = Live(style)
    yield made
    made.close()


def opened(browser: Any, live: Live, path: str = "", **more: Any) -> Any:
    page = browser.new_page(viewport={"width": 1000, "height": 700}, **more)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))

    def requested(request: Any) -> None:
        if not request.url.startswith(live.server.address):
            page.faults.append(request.url)

    page.on("request", requested)
    page.goto(live.server.address + path)
    until(page, lambda: bool(page.evaluate("document.querySelector('#picture').width") == 96))
    return page


def until(page: Any, holds: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE / 0.05)):
        if holds():
            return
        page.wait_for_timeout(50)
    pytest.fail("it never came")


def shown(page: Any) -> Bytes:
    """The pixels of the canvas."""
    return np.array(
        page.evaluate(
            "() => { const c = document.querySelector('#picture');"
            "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"
        ),
        np.uint8,
    ).reshape(72, 96, 4)[..., :3]


def expected(style: Path, **controls: Any) -> Bytes:
    """What JPEG makes of the painting."""
    return np.asarray(Image.open(BytesIO(to_jpeg(Stylizer(style, **controls)(scene())))))


def same(page: Any, style: Path, **controls: Any) -> None:
    """Wait until the page shows this; decoders of JPEG may round differently."""
    painted = expected(style, **controls).astype(int)
    until(page, lambda: bool(np.abs(shown(page) - painted).mean() < 0.5))


def test_the_page_shows_what_the_stylizer_paints_and_its_controls_change_it(
    browser: Any, live: Live, style: Path
) -> None:
    page = opened(browser, live)
    same(page, style, mix="waves")
    page.locator("#strength").fill("0.1")
    same(page, style, mix="waves", strength=0.1)
    page.click("button[data-name=scream]")
    same(page, style, mix="scream", strength=0.1)
    page.locator("#stroke").fill("1")
    page.click("button[data-name=stars]", modifiers=["Shift"])
    same(page, style, mix="scream:0.5,stars:0.5", strength=0.1, stroke=1.0)
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 5, box["y"] - 5)  # beyond its corner
    page.mouse.up()
    until(page, lambda: live.performance.state()["mix"] > 0.98 and live.performance.state()["strength"] > 0.98)
    page.check("#colors")
    until(page, lambda: live.performance.state()["colors"] == 1)
    assert page.faults == [] and live.late
    page.close()


def test_signals_of_the_page_move_the_controls(browser: Any, live: Live) -> None:
    page = opened(browser, live, permissions=["microphone"])
    page.select_option("#map", "conductor")
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.75 * box["height"])
    until(page, lambda: abs(live.signals.read().get("pointer.x", 0) - 0.25) < 0.01)
    until(page, lambda: abs(live.performance.state()["strength"] - 0.25) < 0.02)
    page.wait_for_selector("#strength-label.moved")
    page.mouse.down()
    until(page, lambda: live.signals.read().get("pointer.down") == 1)
    page.mouse.up()
    page.click("#sound")
    until(page, lambda: "sound.beat" in live.signals.read())
    page.close()
    until_gone = time.monotonic() + PATIENCE
    while live.signals.read() and time.monotonic() < until_gone:
        time.sleep(0.02)
    assert live.signals.read() == {}
    assert page.faults == []


def test_a_kiosk_shows_the_picture_alone(browser: Any, live: Live) -> None:
    page = opened(browser, live, "?kiosk")
    assert not page.is_visible("#panel")
    assert page.locator("#picture").bounding_box() == {"x": 0, "y": 0, "width": 1000, "height": 700}
    page.keyboard.press("h")
    assert page.is_visible("#panel")
    page.close()


def test_the_page_says_that_live_has_ended(browser: Any, style: Path) -> None:
    live = Live(style)
    page = opened(browser, live)
    live.close()
    until(page, lambda: bool(page.inner_text("#notice") == "The connection to live.py is lost"))
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_all_can_use_the_page(browser: Any, live: Live, width: int) -> None:
    page = opened(browser, live)
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations.map(v => [v.id, v.impact, v.nodes[0].html])")
    assert [one for one in found if one[1] in ("serious", "critical")] == []
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until(page, lambda: live.performance.state()["shares"] == {"waves": 1.0})
    page.close()

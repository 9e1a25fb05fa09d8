"""A real browser for tests: Chromium by playwright, over a site that a server of the test's own sends."""

from __future__ import annotations

import base64
import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onestroke.export.web_runtime import WASM, WEBGPU, runtime_folder
from onestroke.files import user_cache
from onestroke.packages import installed

# the user's own cache, which the tests' environment hides later on
RUNTIME, AXE = runtime_folder(), user_cache() / "axe-core-4.14.1" / "axe.min.js"
CHROMIUM = os.environ.get("ONESTROKE_CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip
Bytes = npt.NDArray[np.uint8]


def need_browser() -> None:
    """Skip the test where there is no browser; fail where ONESTROKE_BROWSER=required, as in CI."""
    there = {
        "playwright": installed("playwright"),
        "chromium": CHROMIUM is not None,
        "onnxruntime-web": all((RUNTIME / name).is_file() for name in (*WASM, *WEBGPU)),
        "axe-core": AXE.is_file(),
    }
    if missing := [name for name, found in there.items() if not found]:
        told = f"{', '.join(missing)} missing: run scripts/setup_browser.sh"
        if os.environ.get("ONESTROKE_BROWSER") == "required":
            pytest.fail(told)
        pytest.skip(told)


@contextmanager
def launched(*flags: str) -> Iterator[Any]:
    """Chromium without a window, with a picture that moves as its camera."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *(flags or ["--disable-gpu"])])
        yield browser
        browser.close()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files as any static server does, without headers of its own."""

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file; a page that is loaded again doesn't wait for it."""
        with suppress(ConnectionError):
            super().copyfile(source, outputfile)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def settled(page: Any, milliseconds: int = 30_000) -> None:
    """Wait until the page has painted its picture with the newest controls."""
    page.wait_for_selector('#stage[data-settled="true"]', timeout=milliseconds)


def painted(page: Any) -> int:
    """How many pictures the page has painted."""
    return int(page.get_attribute("#stage", "data-painted") or 0)


def more_painted(page: Any, count: int) -> None:
    """Wait until the page has painted some more pictures."""
    page.wait_for_selector("#stage")
    painted_in_all(page, painted(page) + count)


def painted_in_all(page: Any, wanted: int) -> None:
    """Wait until the page has painted a number of pictures since it was opened."""
    deadline = 600  # turns of 50 ms: half a minute
    while painted(page) < wanted:
        deadline -= 1
        assert deadline, f"{painted(page)} of {wanted} pictures were painted: {page.inner_text('#told')}"
        page.wait_for_timeout(50)


def pixels(page: Any) -> Bytes:
    """The pixels of the painting on the page, (H, W, 3)."""
    return _canvases(page, ["painting"])[0]


def painting_and_original(page: Any) -> list[Bytes]:
    """The pixels of a painting and of what it was painted from, each (H, W, 3)."""
    return _canvases(page, ["painting", "original"])


def _canvases(page: Any, names: list[str]) -> list[Bytes]:
    # all at one moment, since a camera goes on
    found = page.evaluate(
        """(names) => names.map((id) => {
          const { width, height } = document.getElementById(id);
          const { data } = document.getElementById(id).getContext("2d").getImageData(0, 0, width, height);
          let text = "";
          for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
          return [width, height, btoa(text)];
        })""",
        names,
    )
    pictures = [
        np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4) for width, height, data in found
    ]
    assert all((picture[..., 3] == 255).all() for picture in pictures)
    return [picture[..., :3] for picture in pictures]


def slide(page: Any, control: str, value: float) -> None:
    """Move a slider of the page."""
    page.locator(f"#{control}").evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )

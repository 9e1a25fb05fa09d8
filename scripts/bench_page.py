"""The cases of bench.py's mode page: the exported page's engine in Chromium, beside ONNX Runtime without a browser."""

from __future__ import annotations

import base64
import functools
import http.server
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from bench_frames import inputs_of, session_of, style_of
from bench_measure import Case, Contestant
from bench_modes import Size, photos_of, words

from onestroke.cli.export import main as export
from onestroke.errors import UserError
from onestroke.export.web_export import MODEL
from onestroke.packages import require

_PAINT = """
async ({ threads, height, width, rows, model, times }) => {
  const { Engine } = await import("/js/engine.js");
  window.engine ??= await Engine.open("wasm", threads, model);
  const given = { rows: new Float32Array(rows).fill(1 / rows), fade: new Float32Array([1]) };
  const begun = performance.now();
  for (let i = 0; i < times; i++) await window.engine.paint(window.frame, width, height, given);
  return (performance.now() - begun) / times / 1000;
}"""
_FRAME = """
(bytes) => {
  window.frame = Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0));
  return crossOriginIsolated;
}"""


class _Isolated(http.server.SimpleHTTPRequestHandler):
    """Sends files with the headers that threads of WASM need."""

    def end_headers(self) -> None:
        """Add them."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def page_cases(sizes: Sequence[Size], networks: Sequence[str]) -> Iterator[Case]:
    """ONNX Runtime on one thread and on all, then the page's WASM on one and on all.

    Raises:
        UserError: playwright, Chromium or the page's runtime is missing.
    """
    playwright = require("playwright.sync_api", "browser")
    chromium = os.environ.get("ONESTROKE_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise UserError("the mode page needs Chromium: run scripts/setup_browser.sh")
    for name in networks:
        with tempfile.TemporaryDirectory() as folder, playwright.sync_playwright() as started:
            site = Path(folder) / "site"
            with redirect_stdout(StringIO()):
                done = export([f"ckpt={style_of(name, Path(folder))}", "format=web", f"out={site}"])
            if done != 0:
                continue  # it has said why
            browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            with _served(site) as address:
                # the runtime has one number of threads for a page
                pages = {count: browser.new_page() for count in sorted({1, torch.get_num_threads()})}
                for page in pages.values():
                    page.goto(f"{address}index.html")
                for size in sizes:
                    yield Case({"network": name, "size": words(size)}, list(_contestants(site, pages, size)))
            browser.close()


def _contestants(site: Path, pages: Mapping[int, Any], size: Size) -> Iterator[Contestant]:
    frame = photos_of(size, 1)[0].numpy()
    for page in pages.values():
        if not page.evaluate(_FRAME, base64.b64encode(frame.tobytes()).decode()):
            raise UserError("the page is not isolated, so that WASM has no threads")
    sessions = {count: session_of(site / MODEL, count) for count in pages}
    given = inputs_of(sessions[1], frame)
    rows = given["rows"].size
    for count, session in sessions.items():
        name = "baseline" if count == 1 else f"native-{count}"
        yield Contestant(name, functools.partial(_native, session, given), 1, math.prod(size))
    for count, page in pages.items():
        values = {"threads": count, "height": size[0], "width": size[1], "rows": rows, "model": f"/{MODEL}", "times": 5}
        yield Contestant(f"wasm-{count}", functools.partial(page.evaluate, _PAINT, values), 1, math.prod(size))


def _native(session: Any, given: dict[str, Any]) -> None:
    session.run(None, given)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address of a folder on this machine."""
    make: Callable[..., Any] = functools.partial(_Isolated, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), make)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()

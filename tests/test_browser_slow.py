"""The exported page where it takes minutes: by WebGPU on a GPU that is emulated, and its memory over time."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browsing import launched, more_painted, need_browser, painted, painted_in_all, pixels, served, settled, slide
from tests.sites import small_style
from tests.test_browser import SETTINGS, apart, choose, exported, photo, show, wanted

pytestmark = [pytest.mark.browser, pytest.mark.slow]
pytest.importorskip("onnxruntime")

EMULATED = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
MINUTE = 60_000  # milliseconds


def test_webgpu_paints_as_the_stylizer_does(tmp_path: Path) -> None:
    need_browser()
    style = small_style(tmp_path / "all.safetensors")
    with launched(*EMULATED) as browser, served(exported(style, tmp_path / "site")) as address:
        page = browser.new_page(locale="en-US")
        page.goto(f"{address}?backend=webgpu")
        settled(page, 5 * MINUTE)
        picture = photo(64, 96)
        show(page, picture)
        assert page.inner_text("#status").startswith("WebGPU, ")
        for setting in SETTINGS:
            choose(page, setting)
            assert apart(pixels(page), wanted(style, picture, setting)) <= 1, setting


@pytest.mark.parametrize(("channels", "same"), [((4, 8), True), ((4, 6), False)])
def test_a_gpu_that_paints_something_else_is_noticed(channels: tuple[int, int], same: bool, tmp_path: Path) -> None:
    # onnxruntime-web 1.30 computes convolutions of other channels than multiples of 4 wrongly by WebGPU
    need_browser()
    style = small_style(tmp_path / "all.safetensors", channels=channels)
    with launched(*EMULATED) as browser, served(exported(style, tmp_path / "site")) as address:
        page = browser.new_context(service_workers="block").new_page()
        page.goto(f"{address}?backend=wasm")
        settled(page)
        samples = page.evaluate(
            """async () => {
              const { Painter } = await import("./js/painter.js");
              const { Look } = await import("./js/look.js");
              const { inputs } = new Look(await (await fetch("site.json")).json()).now();
              const samples = [];
              for (const backend of ["wasm", "webgpu"]) {
                const painter = await Painter.open(backend, 1, "model.onnx");
                samples.push([...(await painter.ask("sample", { inputs })).rgb]);
                painter.close();
              }
              return samples;
            }"""
        )
        difference = np.abs(np.subtract(*map(np.array, samples)))
        assert len(np.unique(samples[0])) > 50
        assert (difference.max() <= 1) if same else (difference.max() > 30)


def megabytes() -> float:
    """The memory of the pages of this test's browser: of what they hold alone, not of files that processes share."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    processes = [line.split(maxsplit=2) for line in listed.splitlines()]
    ours = {str(os.getpid())}
    while found := {pid for pid, parent, _ in processes if parent in ours and pid not in ours}:
        ours |= found
    total = 0.0
    for pid in (pid for pid, _, arguments in processes if pid in ours and "--type=renderer" in arguments):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        total += float(re.findall(r"RssAnon:\s+(\d+) kB", status)[0]) / 1024
    return total


def test_the_camera_takes_no_more_memory_after_five_minutes_than_after_one(tmp_path: Path) -> None:
    need_browser()
    style = small_style(tmp_path / "all.safetensors")
    with launched() as browser, served(exported(style, tmp_path / "site")) as address:
        page = browser.new_page(locale="en-US")
        page.goto(f"{address}?camera=front&size=256&map=breathing&backend=wasm")
        more_painted(page, 10)
        page.wait_for_timeout(MINUTE)
        # the largest of some moments, since the garbage collector lets memory grow and shrink
        after_one = max(_over_time(page, 10))
        page.wait_for_timeout(4 * MINUTE)
        more_painted(page, 10)
        after_five = max(_over_time(page, 10))
        assert after_five < after_one + 30, (after_one, after_five)


def _over_time(page: Any, count: int) -> list[float]:
    found = []
    for _ in range(count):
        page.wait_for_timeout(2000)
        found.append(megabytes())
    return found


def test_a_large_photo_is_saved_in_a_worker_while_the_page_goes_on(tmp_path: Path) -> None:
    need_browser()
    style = small_style(tmp_path / "all.safetensors")
    with launched() as browser, served(exported(style, tmp_path / "site")) as address:
        page = browser.new_context(accept_downloads=True, locale="en-US").new_page()
        page.goto(f"{address}?backend=wasm&size=512")
        settled(page)
        picture = np.repeat(np.repeat(photo(300, 400), 8, 0), 8, 1)  # 2400 x 3200: more than is painted at once
        show(page, picture)
        page.click("#save")
        page.check("input[value=fine]")
        assert "enlarged" in page.inner_text("#save-note")
        with page.expect_download() as download:
            page.click("#save-now")
            for turn in range(5):
                before = painted(page)
                slide(page, "strength", turn / 4)
                painted_in_all(page, before + 1)
            assert page.inner_text("#waiting-words") == "Painting 3200 × 2400 …", "it is not saved yet"
        content = Path(download.value.path()).read_bytes()
        assert int.from_bytes(content[16:20], "big") == 3200 and int.from_bytes(content[20:24], "big") == 2400

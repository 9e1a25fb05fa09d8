"""The exported page in a real browser: what it paints, what it loads, and whether all can use it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from onestroke.cli import export
from onestroke.export import exporting, live_export, web_export
from onestroke.inference.stylizer import Stylizer
from onestroke.live.mapping import CONTROLS, SIGNALS, Followers, Route, SignalMap, parse_map, preset_names, written_map
from onestroke.networks.conditioning import Conditioning
from onestroke.provenance.origin import COMPOSITE
from onestroke.provenance.reading import Marks
from onestroke.provenance.reading import read as read_marks
from tests.browsing import (
    AXE,
    RUNTIME,
    launched,
    more_painted,
    need_browser,
    painted,
    painted_in_all,
    painting_and_original,
    pixels,
    served,
    settled,
    slide,
)
from tests.sites import NAMES, small_style

pytestmark = pytest.mark.browser
pytest.importorskip("onnxruntime")

SIZES = [(97, 131), (203, 77), (64, 96)]
SETTINGS: list[dict[str, Any]] = [
    {"mix": {"waves": 1.0}, "strength": 0.6, "stroke": 0.0},
    {"mix": {"stars": 1.0}, "strength": 0.1, "stroke": 1.0},
    {"mix": {"scream": 0.25, "waves": 0.75}, "strength": 1.0, "stroke": 0.3},
    {"mix": {"stars": 1.0}, "strength": 0.85, "stroke": 0.5, "color": "photo"},
]
PLAIN = SETTINGS[0]


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_browser()
    return small_style(tmp_path_factory.mktemp("style") / "all.safetensors")


def exported(style: Path, folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_export, "SIDE", 32)
        patch.setattr(exporting, "SIDE", 32)
        patch.setattr(web_export, "_SCENE_SIDE", 64)
        patch.setattr(export, "runtime_folder", lambda: RUNTIME)
        assert export.main([f"ckpt={style}", "format=web", f"out={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def site(style: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(style, tmp_path_factory.mktemp("web") / "site")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need_browser()
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as found:
        yield found


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """One visitor's browser, whose service worker stays."""
    found = browser.new_context(viewport={"width": 1200, "height": 800}, locale="en-US", accept_downloads=True)
    yield found
    found.close()


@pytest.fixture(scope="module")
def opened(context: Any, address: str) -> Any:
    """The page, opened once for all tests that can share it."""
    found = context.new_page()
    found.goto(address)
    settled(found)
    return found


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    """The open page, at rest; scripts that fail make the test fail."""
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.select_option("#size", "auto")
    settled(opened)
    yield opened
    assert errors == []


def photo(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(height * width).integers(
        0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8
    )
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def png(pixels: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def show(page: Any, picture: np.ndarray, name: str = "photo.png") -> None:
    before = painted(page)
    page.locator("#files").set_input_files([{"name": name, "mimeType": "image/png", "buffer": png(picture)}])
    painted_in_all(page, before + 1)
    settled(page)


def choose(page: Any, setting: dict[str, Any]) -> None:
    """Set the page's controls, as a visitor does."""
    (first, share), *others = setting["mix"].items()
    page.locator(f"#first label:nth-child({NAMES.index(first) + 1})").click()
    page.locator("#mixes").set_checked(bool(others))
    if others:
        page.locator(f"#second label:nth-child({NAMES.index(others[0][0]) + 1})").click()
        slide(page, "mix", 1 - share)
    slide(page, "strength", setting["strength"])
    slide(page, "stroke", setting["stroke"])
    page.locator("#colors").set_checked(setting.get("color") == "photo")
    settled(page)


def wanted(style: Path, picture: np.ndarray, setting: dict[str, Any]) -> np.ndarray:
    mix = ",".join(f"{name}:{share}" for name, share in setting["mix"].items())
    stylizer = Stylizer(style, device="cpu", mix=mix, strength=setting["strength"], stroke=setting["stroke"])
    found = stylizer(picture, color=setting.get("color", "style"))
    assert isinstance(found, np.ndarray)
    return found


def apart(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_the_page_paints_a_photo_as_the_stylizer_does(page: Any, style: Path) -> None:
    assert page.evaluate("self.crossOriginIsolated"), "the service worker sends the headers that threads need"
    for size in SIZES:
        picture = photo(*size)
        show(page, picture)
        before: np.ndarray | None = None
        for setting in SETTINGS:
            choose(page, setting)
            found = pixels(page)
            assert apart(found, wanted(style, picture, setting)) <= 1, (size, setting)
            assert before is None or apart(found, before) > 3
            before = found


GIVE = """([data, kind]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "given.png", { type: "image/png" }));
  const options = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(
    kind === "paste"
      ? new ClipboardEvent("paste", { clipboardData: transfer, ...options })
      : new DragEvent(kind, { dataTransfer: transfer, ...options }),
  );
}"""


def test_pictures_are_dropped_and_pasted(page: Any, style: Path) -> None:
    choose(page, PLAIN)
    for width, kinds in ((40, ["dragover", "drop"]), (48, ["paste"])):
        picture, before = photo(44, width), painted(page)
        for kind in kinds:
            page.evaluate(GIVE, [base64.b64encode(png(picture)).decode(), kind])
            assert page.is_visible("#dropping") is (kind == "dragover")
        painted_in_all(page, before + 1)
        settled(page)
        assert apart(pixels(page), wanted(style, picture, PLAIN)) <= 1


def test_a_picture_is_saved_at_its_full_size(page: Any, style: Path) -> None:
    picture, setting = photo(300, 420), PLAIN
    page.select_option("#size", "256")
    choose(page, setting)
    show(page, picture, "my cat.png")
    assert pixels(page).shape == (183, 256, 3)
    saved = {}
    for strokes in ("seen", "fine"):
        page.click("#save")
        page.check(f"input[value={strokes}]")
        with page.expect_download() as download:
            page.click("#save-now")
        assert download.value.suggested_filename == "my cat.waves.png"
        saved[strokes] = np.asarray(Image.open(download.value.path()).convert("RGB"))
    assert apart(saved["fine"], wanted(style, picture, setting)) <= 1
    assert saved["seen"].shape == picture.shape
    # as on the screen, but for the enlargement: reduced again, it is the same picture
    again = np.asarray(Image.fromarray(saved["seen"]).resize((256, 183), Image.Resampling.BOX)).astype(int)
    assert np.abs(again - pixels(page)).mean() < 6


def saved_as(page: Any, kind: str) -> Marks:
    """Save what is shown as a kind of file, and read where it says that it comes from."""
    page.click("#save")
    page.check(f"input[value='{kind}']")
    with page.expect_download() as download:
        page.click("#save-now")
    with Image.open(download.value.path()) as image:
        image.load()
        assert image.get_format_mimetype() == kind
    return read_marks(Path(download.value.path()))


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_a_saved_picture_says_where_it_comes_from(page: Any, style: Path, kind: str) -> None:
    choose(page, {**PLAIN, "strength": 0.7})
    show(page, photo(60, 80), "cat.png")
    marks = saved_as(page, kind)
    assert (marks.source_type, marks.facts["StyleFile"]) == (COMPOSITE, style.name)
    assert marks.facts["StyleFileSHA256"] == hashlib.sha256(style.read_bytes()).hexdigest()
    assert (marks.facts["Strength"], marks.facts["Color"]) == ("0.7", "style")
    assert marks.styles == ["name waves, share 1, title Waves, artist A. Waves"]
    (event,) = marks.history
    assert "painted in the style of Waves by A. Waves, " in event and event.endswith("; color style")
    choose(page, {**PLAIN, "strength": 0.0})
    assert not saved_as(page, kind).found, "nothing was painted"


def test_enlarging_adds_the_photo_s_detail_where_the_painting_follows_it(page: Any) -> None:
    sharp = photo(40, 56)
    small = np.asarray(Image.fromarray(sharp).resize((28, 20), Image.Resampling.BOX))
    strokes = photo(20, 28)[::-1].copy()
    script = """async ([small, painting, sharp]) => {
      const { slopes, enlarged } = await import("./js/enlarge.js");
      const picture = ([height, width, rgb]) => ({ height, width, rgb: Uint8Array.from(rgb) });
      const [low, painted, high] = [small, painting, sharp].map(picture);
      const rgba = enlarged(painted, low, slopes(painted, low), high, 0, high.height);
      return [...rgba].filter((_, i) => i % 4 < 3);
    }"""

    def enlarged(painting: np.ndarray) -> np.ndarray:
        given = [[*part.shape[:2], part.ravel().tolist()] for part in (small, painting, sharp)]
        return np.array(page.evaluate(script, given)).reshape(sharp.shape)

    def interpolated(part: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float()
        found = F.interpolate(batch, sharp.shape[:2], mode="bilinear", align_corners=False)
        return found[0].permute(1, 2, 0).numpy()

    lost = np.abs(interpolated(small) - sharp).mean()
    assert np.abs(enlarged(small) - sharp).mean() < 0.25 * lost, "a painting that is the photo comes out as the photo"
    flat = np.full_like(small, 90)
    assert np.abs(enlarged(flat) - 90).max() <= 1, "a plain painting stays plain"
    own = np.abs(enlarged(strokes) - interpolated(strokes)).mean()
    assert own < 0.5 * lost, "strokes of its own stay as they are"


def test_the_camera_is_painted_and_sliders_change_the_next_frame(page: Any) -> None:
    choose(page, PLAIN)
    page.click("#camera")
    more_painted(page, 3)
    assert "pictures a second" in page.inner_text("#status")
    page.click("#comparing")
    for strength, least, most in ((0, 0, 2), (1, 12, 255), (0, 0, 2)):
        slide(page, "strength", strength)
        more_painted(page, 2)  # the one that was under way, and the next
        painting, original = (part.astype(int) for part in painting_and_original(page))
        assert least <= np.abs(painting - original).mean() <= most, strength
    page.click("#record")
    more_painted(page, 3)
    with page.expect_download() as download:
        page.click("#record")
    assert download.value.suggested_filename == "camera.waves.webm"
    assert Path(download.value.path()).read_bytes()[:4] == b"\x1aE\xdf\xa3", "a Matroska file"
    page.click("#comparing")
    page.click("#camera")
    settled(page)


def test_the_page_works_without_a_network_and_asks_no_other_machine(browser: Any, site: Path) -> None:
    visitor = browser.new_context(locale="de-DE")
    asked: list[str] = []
    visitor.on("request", lambda request: asked.append(request.url))
    with served(site.parent) as host:
        address = f"{host}{site.name}/"  # a site needs no host of its own
        page = visitor.new_page()
        page.goto(address)
        settled(page)
        assert page.inner_text("#choose") == "Foto"
    visitor.set_offline(True)
    page.reload()
    settled(page)
    show(page, photo(40, 50))
    assert pixels(page).shape == (40, 50, 3)
    assert len(asked) > 30 and any(url.endswith("model.onnx") for url in asked)
    assert [url for url in asked if not url.startswith((address, "blob:" + address))] == []
    visitor.close()


def test_a_first_visit_loads_five_megabytes_at_most(site: Path) -> None:
    listed = json.loads(re.findall(r"const FILES = (\[.*?\]);", (site / "service-worker.js").read_text("utf-8"))[0])
    loaded = [(site / name).read_bytes() for name in listed if name != "./"]
    # the gallery's graph, scene and thumbnails, which are larger than this small style's
    gallery = 1_150_000 + 65_000 + 7 * 12_500
    assert sum(len(gzip.compress(content, 6)) for content in loaded) + gallery <= 5 * 2**20


def test_anyone_can_use_it(page: Any) -> None:
    choose(page, PLAIN)
    page.check("#mixes")
    page.evaluate("document.querySelector('#interactive').open = true")
    page.select_option("#preset", "presets/dance.json")
    page.wait_for_selector(".route")
    page.click("#comparing")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for opens in ("", "#save"):
            if opens:
                page.click(opens)
            found = page.evaluate("axe.run()")["violations"]
            serious = [
                (rule["id"], rule["help"], [node["html"] for node in rule["nodes"]])
                for rule in found
                if rule["impact"] in ("serious", "critical")
            ]
            assert serious == [], scheme
        page.keyboard.press("Escape")
    page.click("#comparing")
    page.uncheck("#mixes")
    page.locator("#first input").first.focus()
    page.keyboard.press("ArrowRight")
    settled(page)
    assert page.locator("#first input").nth(1).is_checked()
    assert "Stars" in page.get_attribute("#painting", "aria-label")


def test_the_page_s_arithmetic_of_controls_is_that_of_the_networks(page: Any) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        controls = [("strength", "stroke"), ("stroke",), ("strength",), ()][number % 4]
        conditioning = Conditioning.of(int(rng.integers(2, 5)), controls)
        facts = live_export.inputs(conditioning, [str(i) for i in range(conditioning.styles)])
        mix = rng.dirichlet(np.ones(conditioning.styles)).round(3) * rng.choice([1, 3])
        values = {name: float(rng.choice([0, 0.1, 0.25, rng.random(), 1])) for name in controls if rng.random() < 0.8}
        script = """async ([live, mix, values]) => {
          const { rows, fade } = (await import("./js/shares.js")).graphInputs(live, mix, values);
          return [[...rows], [...fade]];
        }"""
        rows, fade = page.evaluate(script, [facts, mix.tolist(), values])
        share = torch.from_numpy(mix / mix.sum())[None]
        expected = conditioning.shares(1, share, values)
        opacity = conditioning.fade(1, values, share.device)
        assert expected is not None
        np.testing.assert_allclose(rows, expected[0].numpy(), atol=1e-6)
        np.testing.assert_allclose(fade, [1.0] if opacity is None else opacity.numpy(), atol=1e-6)


def drawn_map(rng: np.random.Generator) -> SignalMap:
    names = [*SIGNALS, "midi.7", "remote.dancer_1"]
    routes = []
    for _ in range(int(rng.integers(1, 6))):
        low, high = rng.choice(np.linspace(0, 1, 21), 2, replace=False)
        numbers = {key: float(rng.choice([0, 0.05, 0.7])) for key in ("attack", "release")}
        output = (float(rng.random().__round__(2)), float(rng.random().__round__(2)))
        curve = float(rng.choice([0.5, 1, 2.5]))
        signal, control = str(rng.choice(names)), str(rng.choice(CONTROLS))
        period = float(rng.choice([0.7, 8]))
        routes.append(Route(signal, control, (float(low), float(high)), output, curve, period=period, **numbers))
    return SignalMap("drawn", tuple(routes))


def test_mappings_do_the_same_in_the_page_and_in_python(page: Any) -> None:
    rng = np.random.default_rng(1)
    script = """async ([text, steps]) => {
      const { Followers, parseMap, writtenMap } = await import("./js/mapping.js");
      const map = parseMap(text);
      const followers = new Followers(map);
      return [steps.map(([signals, seconds]) => followers.step(signals, seconds)), writtenMap(map)];
    }"""
    for _ in range(12):
        mapping = drawn_map(rng)
        text = written_map(mapping)
        named = {route.signal for route in mapping.routes}
        steps = [({name: float(rng.random()) for name in named}, float(rng.choice([0.016, 0.2]))) for _ in range(25)]
        found, written = page.evaluate(script, [text, steps])
        followers = Followers(mapping)
        for given, controls in zip(steps, found, strict=True):
            expected = followers.step(*given)
            assert controls.keys() == expected.keys()
            np.testing.assert_allclose([controls[key] for key in expected], list(expected.values()), atol=1e-9)
        assert parse_map(written, "page") == parse_map(text, "python")


WRONG = [
    "{",
    "[]",
    '{"onestroke_map": 2, "name": "x", "routes": []}',
    '{"onestroke_map": 1, "name": "x", "routes": [{"signal": "sound.loud", "control": "mix"}]}',
    '{"onestroke_map": 1, "name": "x", "routes": [{"signal": "midi.128", "control": "mix"}]}',
    '{"onestroke_map": 1, "name": "x", "routes": [{"signal": "time.saw", "control": "speed"}]}',
    '{"onestroke_map": 1, "name": "x", "routes": [{"signal": "time.saw", "control": "mix", "input": [1, 1]}]}',
    '{"onestroke_map": 1, "name": "x", "routes": [{"signal": "time.saw", "control": "mix", "output": [0, 2]}]}',
    '{"onestroke_map": 1, "name": "x", "routes": [{"signal": "time.saw", "control": "mix", "curve": "1"}]}',
    '{"onestroke_map": 1, "name": "x", "routes": [{"signal": "time.saw", "control": "mix", "gain": 1}]}',
]


def test_wrong_files_get_one_sentence(page: Any) -> None:
    before, routes = pixels(page), page.locator(".route").count()
    page.locator("#files").set_input_files([{"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}])
    page.wait_for_selector("#told:not(:empty)")
    assert page.inner_text("#told") == "“notes.png” is no picture that this browser can read."
    for text in WRONG:
        page.click("#told")
        page.locator("#map-file").set_input_files(
            [{"name": "map.json", "mimeType": "application/json", "buffer": text.encode()}]
        )
        page.wait_for_selector("#told:not(:empty)")
        assert page.inner_text("#told").startswith("“map.json” is no mapping: ")
        assert page.locator(".route").count() == routes, "the mapping stays"
    assert apart(pixels(page), before) == 0


def test_messages_from_outside_move_the_controls(page: Any) -> None:
    choose(page, PLAIN)
    sockets: list[Any] = []
    page.route_web_socket("ws://localhost:8765/", lambda socket: sockets.append(socket))
    route = {"signal": "remote.dancer", "control": "strength", "attack": 0, "release": 0, "output": [0, 0.8]}
    text = json.dumps({"onestroke_map": 1, "name": "mine", "routes": [route]})
    page.evaluate("document.querySelector('#interactive').open = true")
    page.locator("#map-file").set_input_files(
        [{"name": "mine.json", "mimeType": "application/json", "buffer": text.encode()}]
    )
    page.wait_for_selector(".route:only-child")
    page.fill("#remote", "ws://localhost:8765")
    slide(page, "strength", 0.3)
    page.click("#play")
    page.wait_for_timeout(100)
    for value, shown in ((1, "80 %"), (0.5, "40 %"), ("loud", "40 %"), (7, "80 %")):
        sockets[0].send(json.dumps({"dancer": value}))
        page.wait_for_selector(f"#strength-part output:text-is('{shown}')")
    with page.expect_download() as download:
        page.click("#store")
    assert parse_map(Path(download.value.path()).read_text(), "saved") == parse_map(text, "given")
    page.click("#play")
    page.wait_for_selector("#strength-part output:text-is('30 %')")


def test_movement_and_sound_are_measured(page: Any) -> None:
    choose(page, PLAIN)
    page.click("#camera")
    more_painted(page, 2)
    page.evaluate("document.querySelector('#interactive').open = true")
    page.select_option("#preset", "presets/dance.json")
    page.wait_for_selector(".route:nth-child(4)")
    page.click("#play")
    for route in (1, 3):  # of movement, and of low sounds: the fake camera turns and beeps
        page.wait_for_selector(f".route:nth-child({route}) .meter i:not([style*='scaleX(0)'])", timeout=20_000)
    page.wait_for_selector("#strength-part output:not(:text-is('60 %'))")
    page.click("#play")
    page.click("#camera")
    settled(page)


def test_a_kiosk_shows_the_picture_alone_until_esc(context: Any, address: str) -> None:
    page = context.new_page()
    assert set(preset_names()) >= {"breathing", "dance"}
    page.goto(f"{address}?kiosk&map=dance&style=stars")
    more_painted(page, 3)
    # nobody has clicked, and it plays all the same
    page.wait_for_selector(".route .meter i:not([style*='scaleX(0)'])", state="attached", timeout=20_000)
    page.goto(f"{address}?kiosk&map=breathing&style=stars")
    more_painted(page, 3)
    assert not page.is_visible("#panel") and not page.is_visible("#bar")
    first = pixels(page).astype(int)
    more_painted(page, 5)
    assert np.abs(pixels(page) - first).max() > 3
    page.keyboard.press("Escape")
    assert page.is_visible("#panel") and page.is_visible("#bar")
    assert page.locator("#first input").nth(1).is_checked()
    page.close()


def test_a_page_of_one_style_without_service_workers_has_no_controls_for_it(browser: Any, tmp_path: Path) -> None:
    style = small_style(tmp_path / "one.safetensors", styles=1, controls=())
    context = browser.new_context(service_workers="block")
    with served(exported(style, tmp_path / "site")) as address:
        page = context.new_page()
        page.goto(f"{address}?backend=wasm")
        settled(page)
        picture = photo(50, 70)
        show(page, picture)
        assert apart(pixels(page), Stylizer(style, device="cpu")(picture)) <= 1
        for part in ("#strength-part", "#stroke-part", "#mixing"):
            assert not page.is_visible(part)
        assert page.is_visible("#colors") and not page.evaluate("self.crossOriginIsolated")
    context.close()

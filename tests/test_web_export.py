"""A style file as a web page: the files of the site, what is refused, and what is never replaced."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onestroke.cli.export import main
from onestroke.export import exporting, live_export, web_export
from onestroke.export.web_runtime import WASM, WEBGPU, runtime_folder
from onestroke.inference.stylizer import Stylizer
from onestroke.scenes.compositions import compose
from tests.commands import ROOT
from tests.sites import NAMES, no_runtime, small_style

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PAGE = ROOT / "src" / "onestroke" / "export" / "web"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is timed and rendered is kept small, and the runtime's files are empty."""
    monkeypatch.setattr(live_export, "SIDE", 32)
    monkeypatch.setattr(exporting, "SIDE", 32)
    monkeypatch.setattr(web_export, "_SCENE_SIDE", 64)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    no_runtime(runtime_folder())


def exported(folder: Path, *more: str, **style: Any) -> Path:
    site = folder / "site"
    path = small_style(folder / "all.safetensors", **style)
    assert main([f"ckpt={path}", "format=web", f"out={site}", *more]) == 0
    return site


def facts(site: Path) -> dict[str, Any]:
    found = json.loads((site / "site.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_a_site_holds_the_page_the_graph_and_the_facts(tmp_path: Path) -> None:
    site = exported(tmp_path)
    told = facts(site)
    there = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert set(told["files"]) == there
    sources = {path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file()}
    assert sources <= there and {"presets/breathing.json", "scene.jpg", "runtime/LICENSE"} <= there
    assert {f"runtime/{name}".replace(".mjs", ".js") for name in (*WASM, *WEBGPU)} <= there
    assert [(style["name"], style["artist"], style["year"]) for style in told["styles"]] == [
        (name, f"A. {name.title()}", str(1900 + i)) for i, name in enumerate(NAMES)
    ]
    assert told["live"]["styles"] == NAMES and told["live"]["defaults"] == {"strength": 0.6, "stroke": 0.0}
    inputs = [entry.name for entry in onnx.load(str(site / told["model"])).graph.input]
    assert inputs == ["image", "rows", "fade"]


def test_thumbnails_are_painted_in_their_styles(tmp_path: Path) -> None:
    site = exported(tmp_path)
    side = web_export._THUMBNAIL_SIDE
    scene = compose(np.random.default_rng(web_export._SCENE), 64)
    small = np.asarray(Image.fromarray(scene).resize((side, side), Image.Resampling.LANCZOS))
    shown = [np.asarray(Image.open(site / style["thumbnail"])).astype(int) for style in facts(site)["styles"]]
    painted = [Stylizer(tmp_path / "all.safetensors", mix=name)(small).astype(int) for name in NAMES]
    apart = np.array([[np.abs(one - other).mean() for other in painted] for one in shown])
    assert apart.argmin(1).tolist() == [0, 1, 2] and apart.diagonal().max() < 12


def test_the_service_worker_keeps_all_but_what_only_gpus_need(tmp_path: Path) -> None:
    site = exported(tmp_path)
    text = (site / "service-worker.js").read_text(encoding="utf-8")
    kept = json.loads(re.findall(r"const FILES = (\[.*?\]);", text)[0])
    webgpu = {f"runtime/{name}".replace(".mjs", ".js") for name in WEBGPU}
    notices = {name for name in facts(site)["files"] if name.startswith("runtime/") and "ort" not in name}
    assert set(kept) == {*facts(site)["files"], "./"} - webgpu - notices - {"service-worker.js"}
    version = re.findall(r'"onestroke-" \+ "([0-9a-f]{16})"', text)
    assert len(version) == 1
    assert main([f"ckpt={tmp_path / 'all.safetensors'}", "format=web", f"out={site}", "overwrite=true"]) == 0
    assert (site / "service-worker.js").read_text(encoding="utf-8") == text, "the same site has the same version"
    (runtime_folder() / WASM[0]).write_bytes(b"newer")
    assert main([f"ckpt={tmp_path / 'all.safetensors'}", "format=web", f"out={site}", "overwrite=true"]) == 0
    assert version[0] not in (site / "service-worker.js").read_text(encoding="utf-8")


def test_a_style_without_controls_has_a_page_too(tmp_path: Path) -> None:
    site = exported(tmp_path, styles=1, controls=())
    told = facts(site)
    assert told["live"] is None and [style["title"] for style in told["styles"]] == ["Waves"]
    assert [entry.name for entry in onnx.load(str(site / told["model"])).graph.input] == ["image"]


def test_the_page_asks_no_other_machine_and_has_no_script_in_its_html() -> None:
    for path in PAGE.rglob("*"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        addresses = set(re.findall(r"(?:https?|wss?)://[^\s\"'<)\\]+", text))
        if path.name == "mark.js":  # names of what XMP says, which nobody is asked for
            names = (
                r"http://ns\.adobe\.com/xap/1\.0/.*",
                r"http://www\.w3\.org/1999/.*",
                r"http://(cv\.)?iptc\.org/.*",
            )
            addresses = {one for one in addresses if not any(re.fullmatch(name, one) for name in names)}
        assert addresses <= {"http://www.w3.org/2000/svg", "ws://localhost:8765"}, path
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>(.*?)</script>", html) == [""]
    assert "default-src 'self'" in html and "unsafe-inline" not in html and "'unsafe-eval'" not in html
    assert not re.search(r"\son\w+=|style=", html)


def test_both_languages_say_the_same_things() -> None:
    text = (PAGE / "js" / "words.js").read_text(encoding="utf-8")
    english, german = re.findall(r"  (?:en|de): \{(.*?)\n  \},", text, re.DOTALL)
    entry = re.compile(r"(?:^|[\s,])\"?([\w.]+)\"?: \"((?:[^\"\\]|\\.)*)\"")
    one, other = dict(entry.findall(english)), dict(entry.findall(german))
    assert len(one) > 60 and one.keys() == other.keys()
    for key in one:
        assert sorted(re.findall(r"\{\w+\}", one[key])) == sorted(re.findall(r"\{\w+\}", other[key])), key
    used = {key for path in PAGE.rglob("*.js") for key in re.findall(r"words\(\"([\w.]+)\"", path.read_text("utf-8"))}
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    used |= set(re.findall(r"data-words(?:-label)?=\"(\w+)\"", html))
    assert used <= one.keys(), used - one.keys()


def refused(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    code = main(arguments)
    out, err = capfd.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    return err


def test_what_is_no_site_is_never_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    style = small_style(tmp_path / "all.safetensors")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    (tmp_path / "file").write_text("a file")
    (tmp_path / "link").symlink_to(mine)
    for name, words in (("mine", "is no site"), ("file", "a site is a folder"), ("link", "a site is a folder")):
        given = [f"ckpt={style}", "format=web", f"out={tmp_path / name}", "overwrite=true"]
        assert words in refused(given, capfd)
    assert (mine / "diary.txt").read_text() == "dear diary" and len(list(mine.iterdir())) == 1


def test_a_site_is_replaced_when_asked_and_keeps_what_its_owner_added(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site = exported(tmp_path)
    (site / ".htaccess").write_text("mine")
    (site / "index.html").write_text("old")
    capfd.readouterr()
    given = [f"ckpt={tmp_path / 'all.safetensors'}", "format=web", f"out={site}"]
    assert "overwrite=true" in refused(given, capfd)
    assert (site / "index.html").read_text() == "old"
    assert main([*given, "overwrite=true"]) == 0
    assert (site / ".htaccess").read_text() == "mine"
    assert (site / "index.html").read_bytes() == (PAGE / "index.html").read_bytes()
    assert ".htaccess" not in facts(site)["files"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.safetensors", "cache", "site"]


def test_a_site_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = exported(tmp_path)
    before = sorted(path for path in site.rglob("*"))

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    assert main([f"ckpt={tmp_path / 'all.safetensors'}", "format=web", f"out={site}", "overwrite=true"]) == 2
    assert sorted(path for path in site.rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.safetensors", "cache", "site"]


def test_a_missing_runtime_is_told_with_what_to_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    style = small_style(tmp_path / "all.safetensors")
    (runtime_folder() / WASM[-1]).unlink()
    told = refused([f"ckpt={style}", "format=web", f"out={tmp_path / 'site'}"], capfd)
    assert "scripts/fetch_web_runtime.sh" in told and str(runtime_folder()) in told
    assert (ROOT / "scripts" / "fetch_web_runtime.sh").is_file()
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("more", ["style=stars", "strength=0.3", "variant=fp16", "pixels=float"])
def test_options_that_do_not_go_with_a_page(tmp_path: Path, more: str, capfd: pytest.CaptureFixture[str]) -> None:
    style = small_style(tmp_path / "all.safetensors")
    key = more.split("=")[0]
    assert f"leave {key}= out" in refused([f"ckpt={style}", "format=web", more], capfd)

"""Export a style file as a web page that paints photos and the camera in the visitor's browser.

The page is in `web/`, as it is written: HTML, CSS and JavaScript modules. What is added here is the graph, thumbnails,
the facts about the styles (site.json) and the list of files that the service worker keeps for use without a network.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onestroke import style_file
from onestroke.export.exporting import Exported, export
from onestroke.export.live_export import export_live, inputs
from onestroke.export.site_folder import MARK
from onestroke.export.web_runtime import VERSION, WASM, runtime_files
from onestroke.inference.controls import DEFAULT_CONTROLS, settings_of
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.conditioning import Conditioning, conditioning_of
from onestroke.provenance.origin import sha256_of
from onestroke.scenes.compositions import compose
from onestroke.style_document import Metadata
from onestroke.version import __version__

PAGE = Path(__file__).with_name("web")
PRESETS = Path(__file__).parents[1] / "live" / "presets"
MODEL = "model.onnx"
_SCENE = (7, 11)  # the seed of two trees by the sea
_SCENE_SIDE, _THUMBNAIL_SIDE = 768, 176  # pixels
_WORKER = "service-worker.js"


@dataclass(frozen=True)
class Site:
    """The files of a site.

    files: by its path in the site, each file's content, or the file that it is a copy of. model: its measurements.
    """

    files: dict[str, bytes | Path]
    model: Exported


def export_web(path: Path, runtime: Path) -> Site:
    """Make the files of a site that paints with a style file.

    Args:
        path: a style file.
        runtime: the folder with the files of onnxruntime-web.

    Raises:
        UserError: the style file can't be read or exported, or the runtime or a package is missing.
    """
    copied = {_of_runtime(name): file for name, file in runtime_files(runtime).items()}
    network, metadata = style_file.load(path)
    conditioning = conditioning_of(network)
    live = conditioning.rows > 1
    # the page has no motion, and so no past
    model = export_live(path, "uint8", past=False) if live else export(path, "onnx", "fp32", "uint8", past=False)
    files: dict[str, bytes | Path] = {
        file.relative_to(PAGE).as_posix(): file.read_bytes() for file in sorted(PAGE.rglob("*")) if file.is_file()
    }
    files |= {f"presets/{file.name}": file.read_bytes() for file in sorted(PRESETS.glob("*.json"))}
    files |= copied
    files[MODEL] = model.content
    files |= _pictures(path, metadata.styles)
    facts = _facts(path, metadata, conditioning if live else None)
    facts["presets"] = [name for name in files if name.startswith("presets/")]
    facts["files"] = sorted([*files, MARK])
    files[MARK] = json.dumps(facts, indent=1, allow_nan=False).encode()
    files[_WORKER] = _worker(files)
    return Site(files, model)


def _facts(path: Path, metadata: Metadata, conditioning: Conditioning | None) -> dict[str, Any]:
    """What the page needs to know of the style file; conditioning: None where nothing can be chosen."""
    live = None if conditioning is None else inputs(conditioning, metadata.styles)
    if live is not None and conditioning is not None:
        live["defaults"] = settings_of(path, conditioning.controls, metadata, DEFAULT_CONTROLS)
    return {
        "onestroke_site": 1, "onestroke": __version__, "onnxruntime_web": VERSION, "model": MODEL,
        "styles": _described(metadata), "file": {"name": path.name, "sha256": sha256_of(path)},
        "live": live,
    }  # fmt: skip


def _described(metadata: Metadata) -> list[dict[str, str]]:
    """Each style with its facts; a mix that is built in has those of all of its styles."""
    listed = [style for style in metadata.style.get("styles", []) if isinstance(style, dict)]
    groups = [[style] for style in listed] if len(listed) == len(metadata.styles) else [listed]
    return [
        {
            key: " + ".join(str(style[key]) for style in group if style.get(key))
            for key in ("title", "artist", "year", "licence")
        }
        | {"name": name, "thumbnail": _thumbnail(i)}
        for i, (name, group) in enumerate(zip(metadata.styles, groups, strict=True))
    ]


def _thumbnail(number: int) -> str:
    # not by name, which is the style file's and untrusted
    return f"thumbnails/{number}.jpg"


def _pictures(path: Path, names: list[str]) -> dict[str, bytes]:
    """A made-up scene to begin with, and the thumbnails: a smaller one, painted in each style."""
    scene = compose(np.random.default_rng(_SCENE), _SCENE_SIDE)
    found = {"scene.jpg": _jpeg(scene[: _SCENE_SIDE * 3 // 4], 75)}
    small = np.asarray(Image.fromarray(scene).resize((_THUMBNAIL_SIDE,) * 2, Image.Resampling.LANCZOS))
    stylizer = Stylizer(path, device="cpu", mix=names[0] if len(names) > 1 else None)
    for number, name in enumerate(names):
        if number:
            stylizer.set(mix=name)
        painted = stylizer(small)
        assert isinstance(painted, np.ndarray)
        found[_thumbnail(number)] = _jpeg(painted, 88)
    return found


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=quality, optimize=True)
    return written.getvalue()


def _of_runtime(name: str) -> str:
    """Where a file of the runtime is in the site; not every server knows what .mjs is."""
    return f"runtime/{name}".replace(".mjs", ".js")


def _worker(files: Mapping[str, bytes | Path]) -> bytes:
    """The service worker, with the files to keep from the first visit on, and a version that changes with any file."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + (content if isinstance(content, bytes) else content.read_bytes()))
    large = {name for name in files if name.startswith("runtime/")} - {_of_runtime(name) for name in WASM}
    kept = sorted({*files, "./"} - large - {_WORKER})
    source = files[_WORKER]
    assert isinstance(source, bytes)
    text = source.decode().replace("@VERSION@", digest.hexdigest()[:16])
    return text.replace('"@FILES@"', json.dumps(kept)).encode()

"""onnxruntime-web, which paints in the browser: where it is kept, and which of its files a site needs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from onestroke.errors import UserError
from onestroke.files import user_cache

VERSION = "1.30.0"
WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""The runtime for CPUs: what every visitor loads."""
WEBGPU = ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm")
"""The runtime for GPUs: what visitors load whose browser has WebGPU."""


def runtime_folder() -> Path:
    """Where scripts/fetch_web_runtime.sh puts the runtime: in the user's cache."""
    return user_cache() / f"onnxruntime-web-{VERSION}"


def runtime_files(folder: Path) -> dict[str, Path]:
    """By its name, each file of the runtime, and its licences.

    Raises:
        UserError: one is missing.
    """
    found = {name: folder / name for name in (*WASM, *WEBGPU)}
    if not all(path.is_file() for path in found.values()):
        raise UserError(
            f"onnxruntime-web {VERSION}, which paints in the browser, is not in {folder}: run "
            "scripts/fetch_web_runtime.sh, or unpack dist/ of the npm package of that name there"
        )
    return found | _licences()


def _licences() -> dict[str, Path]:
    """The licence and the notices, which the npm package lacks: those of the Python package of the same project."""
    package = importlib.util.find_spec("onnxruntime")
    if package is None or package.origin is None:
        raise UserError("the package onnxruntime is needed for this: pip install 'onestroke[onnx]'")
    there = {name: Path(package.origin).with_name(name) for name in ("LICENSE", "ThirdPartyNotices.txt")}
    return {name: path for name, path in there.items() if path.is_file()}

"""Style cards: read at a size, and what was read held against what a training needs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load

from fuzzing import tensors, values
from fuzzing.cases import Change, Kind
from onestroke.perception.style_card import CARD_LAYERS, CARD_SIZES, read_card

CHANNELS = {
    "relu1_1": 64,
    "relu1_2": 64,
    "relu2_1": 128,
    "relu2_2": 128,
    "relu3_1": 256,
    "relu3_3": 256,
    "relu4_3": 512,
}
_SMALL = ("relu1_1", "relu1_2", "relu2_1", "relu2_2")


def make(folder: Path) -> None:
    """Two cards that ship, and one cut down to the lower layers, so that most cases are quick."""
    shipped = Path(str(files("onestroke") / "assets" / "styles"))
    for name in ("starry_night", "great_wave"):
        shutil.copyfile(shipped / f"{name}.safetensors", folder / f"{name}.safetensors")
    content = (shipped / "udnie.safetensors").read_bytes()
    kept = {name: tensor for name, tensor in load(content).items() if name.split(".")[1] in _SMALL}
    (folder / "small.safetensors").write_bytes(tensors.written(kept, tensors.metadata(content)))


def _field(content: bytes, rng: Random) -> bytes:
    """One of the fields that something is made of."""

    def change(document: Any) -> str:
        holder = rng.choice([document, *(part for part in document.values() if isinstance(part, dict) and part)])
        key = rng.choice(sorted(holder))
        holder[key] = values.near(holder[key], rng) if rng.random() < 0.4 else values.hostile(rng)
        return values.text(document)

    return tensors.with_document(content, change)


CHANGES: Mapping[str, tuple[int, Change]] = {**tensors.CHANGES, "card.field": (25, _field)}


def use(path: Path, rng: Random) -> None:
    """Read it as a training does."""
    whole = path.stat().st_size > 10**6 and rng.random() < 0.3
    layers = CARD_LAYERS if whole else _SMALL
    style = read_card(path, rng.choice(CARD_SIZES), layers)
    if not isinstance(style.name, str) or not style.name.isprintable() or not 0 <= style.blob_response < float("inf"):
        raise AssertionError(f"a card of the name {style.name!r} and the blob response {style.blob_response!r}")
    for layer in layers:
        gram, mean, channels = style.gram(layer), style.mean(layer), CHANNELS[layer]
        if gram.shape != (channels, channels) or mean.shape != (channels,):
            raise AssertionError(f"{layer} has {tuple(gram.shape)} and {tuple(mean.shape)}")
        if gram.dtype != torch.float32 or not bool(gram.isfinite().all() and mean.isfinite().all()):
            raise AssertionError(f"{layer} is no float32, or not finite")


KIND = Kind("card", make, lambda _: CHANGES, use)

"""Style cards: the statistics of a painting as a file, which may be distributed where the picture may not.

A card holds what training and evaluation need: for each style size and layer the Gram matrix (upper triangle) and the
mean of each channel, the blob response and the appearance for each size, and facts about the painting. It has about a
megabyte and contains no picture.

    onestroke styles make image=painting.jpg out=card.safetensors title="..." artist="..."
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from onestroke import documents
from onestroke.documents import NAME, TEXT, NoDocument, NotWhole, is_name, is_number, is_whole
from onestroke.errors import UserError, near, printable
from onestroke.files import atomic
from onestroke.perception.appearance import Appearance
from onestroke.perception.style import Facts, Style
from onestroke.perception.style_from_pictures import from_pictures
from onestroke.perception.vgg import VGG

CARD_SIZES = (256, 384, 512)
CARD_LAYERS = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_3", "relu4_3")
CARD_ARCH = "vgg16"
CARD_VERSION = 1
BLOB_RESPONSE = "spot"
"""Key of the blob response in a card's document; the oldest cards have none."""
APPEARANCE = "appearance"
"""Key of the appearance in a card's document; cards of earlier versions have none."""
VGG_CHANNELS = {"relu1": 64, "relu2": 128, "relu3": 256, "relu4": 512}
"""Number of channels of a card's layers, by block."""


def card_names() -> list[str]:
    """Names of the styles whose cards ship with the package."""
    folder = files("onestroke") / "assets" / "styles"
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".safetensors"))


def from_card(name: str, size: int, layers: Collection[str], arch: str = CARD_ARCH) -> Style:
    """Read a style that ships from its card.

    Raises:
        UserError: for an unknown name, and for a size, layer or VGG that the card was not measured with.
    """
    if name not in card_names():
        raise UserError(f"there is no style card '{name}': {near(name, card_names())} (or style.image=picture.jpg)")
    if arch != CARD_ARCH:
        raise UserError(f"style cards are measured with {CARD_ARCH}; with {arch}, name a picture: style.image=...")
    if size not in CARD_SIZES:
        raise UserError(
            f"style.size={size}: the card of {name} was measured at {', '.join(map(str, CARD_SIZES))}; "
            "take one of these, or name a picture: style.image=..."
        )
    wanted = [layer for layer in layers if layer != "image"]
    missing = [layer for layer in wanted if layer not in CARD_LAYERS]
    if missing:
        raise UserError(
            f"the card of {name} has no statistics of {', '.join(missing)} (only of {', '.join(CARD_LAYERS)}); "
            "name a picture: style.image=..."
        )
    return read_card(Path(str(files("onestroke") / "assets" / "styles" / f"{name}.safetensors")), size, wanted)


def read_card(path: Path, size: int, layers: Collection[str]) -> Style:
    """Read the statistics of some layers at one size from a card.

    Raises:
        UserError: for files that are not complete cards, have another version, or hold values that are not finite.
    """
    grams: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    try:
        document = documents.read(path)
        _check_card(document, [f"{size}.{layer}" for layer in layers])
        scale = document["scale"]
        with safe_open(str(path), framework="pt") as card:
            known = set(card.keys())
            tensors = {name: card.get_tensor(name) for name in known} if "checksum" in document else {}
            if tensors and documents.checksum(tensors) != document["checksum"]:
                raise NoDocument("its statistics don't have the checksum that was stored with them")
            for layer in layers:
                names = [f"{size}.{layer}.{part}" for part in ("gram", "mean")]
                if not known.issuperset(names):
                    raise NoDocument(f"it has no statistics of {layer} at {size} px")
                gram, mean = (card.get_slice(name).get_shape() for name in names)
                channels = VGG_CHANNELS.get(layer.partition("_")[0], 0)
                if mean != [channels] or gram != [channels * (channels + 1) // 2]:
                    raise NoDocument(f"its statistics of {layer} have {mean} and {gram} numbers")
                triangle, means[layer] = (card.get_tensor(name).float() for name in names)
                grams[layer] = _symmetric(triangle * scale[f"{size}.{layer}"], channels)
    except (NotWhole, NoDocument, SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is not a style card: {printable(error)}") from error
    if not all(torch.isfinite(t).all() for t in (*grams.values(), *means.values())):
        raise UserError(f"{path} is a damaged style card: its statistics are not finite")
    facts = {f.name: document.get("facts", {}).get(f.name, "") for f in fields(Facts)}
    response = float(document.get(BLOB_RESPONSE, {}).get(str(size), 0))
    seen = document.get(APPEARANCE, {}).get(str(size))
    appearance = None if seen is None else Appearance(**{f.name: float(seen[f.name]) for f in fields(Appearance)})
    return Style(document["name"], grams, means, Facts(**facts), size, response, appearance=appearance)


def _check_card(document: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """Check the fields of a card's document that are read; `wanted` are the keys of its scales.

    Raises:
        NoDocument: something in it is missing or wrong.
    """
    version = document.get("version")
    if not is_whole(version, CARD_VERSION, CARD_VERSION):
        raise NoDocument(f"it has version {printable(version)}, and this OneStroke reads {CARD_VERSION}")
    if not is_name(document.get("name")):
        raise NoDocument("it has no name that can be printed")
    facts, scale, responses = (document.get(key, {}) for key in ("facts", "scale", BLOB_RESPONSE))
    if not isinstance(facts, dict) or not all(isinstance(v, str) and len(v) <= TEXT for v in facts.values()):
        raise NoDocument(f"its facts are not texts of at most {TEXT} characters")
    if not isinstance(scale, dict) or not all(is_number(scale.get(key), 0) for key in wanted):
        raise NoDocument("it lacks the scale of its statistics")
    if not isinstance(responses, dict) or not all(is_number(value, 0) for value in responses.values()):
        raise NoDocument("its blob responses are not numbers")
    appearances = document.get(APPEARANCE, {})
    if not isinstance(appearances, dict) or not all(_is_appearance(one) for one in appearances.values()):
        raise NoDocument("its appearance is not numbers")


def _is_appearance(value: object) -> bool:
    """Whether a value has all numbers of an Appearance; of these, only the covariance may be negative."""
    if not isinstance(value, dict):
        return False
    numbers = {f.name: value.get(f.name) for f in fields(Appearance)}
    return all(is_number(number, *([] if name == "chroma_ab" else [0])) for name, number in numbers.items())


def make_card(name: str, paths: Sequence[str], out: Path, facts: Facts) -> None:
    """Measure pictures at every card size and write the card to `out`.

    Raises:
        UserError: for pictures that can't be read and cards that can't be written.
    """
    if not is_name(name) or any(len(fact) > TEXT for fact in asdict(facts).values()):
        raise UserError(f"a card's name has at most {NAME} characters that can be printed, and a fact {TEXT}")
    vgg = VGG(CARD_LAYERS, CARD_ARCH)
    tensors: dict[str, Tensor] = {}
    scale: dict[str, float] = {}
    responses: dict[str, float] = {}
    appearances: dict[str, dict[str, float]] = {}
    for size in CARD_SIZES:
        style = from_pictures(name, paths, size, CARD_LAYERS, vgg)
        responses[str(size)] = style.blob_response
        assert style.appearance is not None
        appearances[str(size)] = asdict(style.appearance)
        for layer in CARD_LAYERS:
            gram = style.gram(layer)
            rows, columns = torch.triu_indices(*gram.shape)
            # entries may exceed the range of fp16, so they are stored relative to the largest
            scale[f"{size}.{layer}"] = float(gram.max())
            tensors[f"{size}.{layer}.gram"] = (gram[rows, columns] / gram.max()).half()
            tensors[f"{size}.{layer}.mean"] = style.mean(layer).clone()
    document = {
        "version": CARD_VERSION,
        "name": name,
        "vgg": CARD_ARCH,
        "facts": asdict(facts),
        "scale": scale,
        BLOB_RESPONSE: responses,
        APPEARANCE: appearances,
        "checksum": documents.checksum(tensors),
    }
    with atomic(out) as temporary:
        temporary.write_bytes(serialize(tensors, metadata={documents.KEY: json.dumps(document)}))


def _symmetric(triangle: Tensor, channels: int) -> Tensor:
    rows, columns = torch.triu_indices(channels, channels)
    gram = triangle.new_zeros(channels, channels)
    gram[rows, columns] = triangle
    gram[columns, rows] = triangle
    return gram

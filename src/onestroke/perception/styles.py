"""Style: what is to be imitated, as statistics of VGG features; from a picture, several, or a card that ships.

A style card holds all that training needs of a painting, for each layer and style size: the Gram matrix (upper
triangle) and the mean of each channel, the strongest spot, and the painting's facts. A megabyte, and no picture.

    onestroke styles make image=painting.jpg out=card.safetensors title="..." artist="..."
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from onestroke import documents
from onestroke.documents import NAME, TEXT, NoDocument, NotWhole, is_name, is_number, is_whole
from onestroke.errors import UserError, near, printable
from onestroke.files import atomic
from onestroke.imaging import images
from onestroke.perception.blob_response import strongest_spot
from onestroke.perception.vgg import VGG

CARD_SIZES = (256, 384, 512)
CARD_LAYERS = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_3", "relu4_3")
CARD_ARCH = "vgg16"
CARD_VERSION = 1
VGG_CHANNELS = {"relu1": 64, "relu2": 128, "relu3": 256, "relu4": 512}
"""Of the layers of a card, by their block."""


@dataclass(frozen=True)
class Facts:
    """What is known of a painting; empty where it isn't."""

    title: str = ""
    artist: str = ""
    year: str = ""
    licence: str = ""
    source: str = ""


def gram_matrix(features: Tensor, mixed: bool = False) -> Tensor:
    """`F F^T / (C H W)` in fp32, where fp16 would overflow: (N, C, H, W) -> (N, C, C) (Gatys et al., 2016).

    Args:
        features: in any dtype; the answer is in fp32, or in fp64 for fp64.
        mixed: bf16 may be multiplied as it is, at twice the rate and without a copy in fp32. The matrix of a picture
            of 256 x 256 is then within 0.0001 (relu1_2) to 0.0004 (relu3_3) of fp32's, relative to its norm. Nothing
            changes for features in fp32.
    """
    c, h, w = features.shape[1:]
    with torch.autocast(features.device.type, enabled=False):
        wide = features.dtype == torch.float16 or (features.dtype == torch.bfloat16 and not mixed)
        products: Tensor = _Products.apply(features.float() if wide else features)
        return products / (c * h * w)


class _Products(torch.autograd.Function):
    """`F F^T` of each picture, (N, C, H, W) -> (N, C, C), in fp32, or in fp64 for fp64; F is (C, H W).

    The gradient is one product, `(D + D^T) F`, where autograd would make two and add them up.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        rows = _rows(features)
        if rows.dtype != torch.bfloat16:
            return rows.transpose(1, 2) @ rows
        n, pixels, c = rows.shape
        part = _part(pixels)
        if part < c:  # as many sums as products, or too few of them: fp32 takes no longer
            rows = rows.float()
            return rows.transpose(1, 2) @ rows
        # a product in bf16 is summed up in fp32 but rounded to bf16 at its end, which the sum over parts evens out
        parts = rows.reshape(-1, part, c)
        return (parts.transpose(1, 2) @ parts).view(n, -1, c, c).sum(1, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        # no view, or autograd couldn't add the other gradients of these features to it in place
        result = torch.empty_like(features, memory_format=torch.channels_last)
        with torch.autocast(features.device.type, enabled=False):
            both = (gradient + gradient.transpose(1, 2)).to(features.dtype)
            torch.bmm(_rows(features), both, out=_rows(result))
        return result


def _rows(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H W, C), of channels_last a view and no copy."""
    n, c, h, w = features.shape
    return features.permute(0, 2, 3, 1).reshape(n, h * w, c)


def _part(pixels: int) -> int:
    """How many pixels a product in bf16 may take: 64 to 256 that leave no rest, in eight parts or more; 0: none."""
    return next((part for part in range(min(256, pixels // 8), 63, -1) if pixels % part == 0), 0)


class Statistics(Protocol):
    """What a term may ask of a style, or of the styles of a batch."""

    def gram(self, layer: str) -> Tensor:
        """The Gram matrix of a layer, fp32: (C, C), or (N, C, C), one for each."""
        ...

    def mean(self, layer: str) -> Tensor:
        """The mean of each channel of a layer, fp32: (C,), or (N, C)."""
        ...


class Style(nn.Module):
    """Statistics of one style, as buffers, so that they follow the objective to its device.

    Args:
        name: what the style is called.
        grams: layer name -> (C, C).
        means: layer name -> (C,).
        facts: what is known of it.
        size: the shorter side in pixels at which it was measured: the size of its strokes.
        spot: its strongest spot at that size, see `onestroke.perception.blob_response`; 0 where it isn't known.
    """

    def __init__(
        self,
        name: str,
        grams: Mapping[str, Tensor],
        means: Mapping[str, Tensor],
        facts: Facts,
        size: int,
        spot: float = 0.0,
    ) -> None:
        super().__init__()
        self.name, self.facts, self.size, self.spot = name, facts, size, spot
        for layer, gram in grams.items():
            self.register_buffer(f"gram_{layer}", gram.float(), persistent=False)
        for layer, mean in means.items():
            self.register_buffer(f"mean_{layer}", mean.float(), persistent=False)

    def gram(self, layer: str) -> Tensor:
        """The Gram matrix of a layer, (C, C), fp32."""
        return self.get_buffer(f"gram_{layer}")

    def mean(self, layer: str) -> Tensor:
        """The mean of each channel of a layer, (C,), fp32."""
        return self.get_buffer(f"mean_{layer}")


class StyleOfEach:
    """The statistics of a batch in which each has its own style.

    Args:
        styles: the styles to choose from.
        which: (N,), a number of a style for each.
    """

    def __init__(self, styles: Iterable[nn.Module], which: Tensor) -> None:
        self.styles = [style for style in styles if isinstance(style, Style)]
        self.which = which.tolist()

    def gram(self, layer: str) -> Tensor:
        """(N, C, C), fp32."""
        return torch.stack([self.styles[i].gram(layer) for i in self.which])

    def mean(self, layer: str) -> Tensor:
        """(N, C), fp32."""
        return torch.stack([self.styles[i].mean(layer) for i in self.which])


def measure(
    pictures: Sequence[Tensor], vgg: VGG, size: int, layers: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gram matrices and channel means of pictures brought to one shorter side; several pictures count alike.

    Args:
        pictures: each (1, 3, H, W) in [0, 1].
        size: shorter side in pixels.

    Returns:
        grams {layer: (C, C)} and means {layer: (C,)}.
    """
    grams: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    for picture in pictures:
        with torch.no_grad():
            features = vgg(images.fit(picture, short_side=size), layers)
        for layer, f in features.items():
            grams[layer] = grams.get(layer, torch.zeros(())) + gram_matrix(f)[0] / len(pictures)
            means[layer] = means.get(layer, torch.zeros(())) + f.float().mean(dim=(0, 2, 3)) / len(pictures)
    return grams, means


def from_pictures(name: str, paths: Sequence[str], size: int, layers: Collection[str], vgg: VGG) -> Style:
    """A style from one or several pictures of the user's own.

    Raises:
        UserError: for pictures that can't be read, or are too small to show strokes at all.
    """
    pictures = []
    for path in paths:
        picture = images.read(path)
        if min(picture.height, picture.width) < 64:
            size_of_it = f"{picture.width} x {picture.height}"
            raise UserError(f"style.image: {path} is only {size_of_it}; its shorter side must be at least 64")
        pictures.append(picture.fit(short_side=size).rgb)
    grams, means = measure(pictures, vgg, size, [layer for layer in layers if layer != "image"])
    spot = max(strongest_spot(picture) for picture in pictures)
    sources = ", ".join(Path(path).name for path in paths)
    source = sources if len(sources) <= TEXT else f"{len(paths)} pictures"
    return Style(name, grams, means, Facts(source=source), size, spot)


def card_names() -> list[str]:
    """The styles whose cards ship with the package."""
    folder = files("onestroke") / "assets" / "styles"
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".safetensors"))


def from_card(name: str, size: int, layers: Collection[str], arch: str = CARD_ARCH) -> Style:
    """A style that ships, without its picture.

    Raises:
        UserError: for an unknown name, and for a size, a layer or a VGG that the card was not measured with.
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
        UserError: for files that are no whole cards, of another version, or hold anything but finite statistics.
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
                raise NoDocument("its statistics are not those that were written, as their checksum tells")
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
    return Style(
        document["name"], grams, means, Facts(**facts), size, float(document.get("spot", {}).get(str(size), 0))
    )


def _check_card(document: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """See that a card's document has what a reader goes by.

    Raises:
        NoDocument: what of it is missing or wrong.
    """
    version = document.get("version")
    if not is_whole(version, CARD_VERSION, CARD_VERSION):
        raise NoDocument(f"it has version {printable(version)}, and this OneStroke reads {CARD_VERSION}")
    if not is_name(document.get("name")):
        raise NoDocument("it has no name that can be printed")
    facts, scale, spot = (document.get(key, {}) for key in ("facts", "scale", "spot"))  # older cards have no spot
    if not isinstance(facts, dict) or not all(isinstance(v, str) and len(v) <= TEXT for v in facts.values()):
        raise NoDocument(f"its facts are not texts of at most {TEXT} characters")
    if not isinstance(scale, dict) or not all(is_number(scale.get(key), 0) for key in wanted):
        raise NoDocument("it lacks the scale of its statistics")
    if not isinstance(spot, dict) or not all(is_number(value, 0) for value in spot.values()):
        raise NoDocument("its spots are not numbers")


def make_card(name: str, paths: Sequence[str], out: Path, facts: Facts) -> None:
    """Measure pictures at every card size and write their card.

    Raises:
        UserError: for pictures that can't be read and cards that can't be written.
    """
    if not is_name(name) or any(len(fact) > TEXT for fact in asdict(facts).values()):
        raise UserError(f"a card's name has at most {NAME} characters that can be printed, and a fact {TEXT}")
    vgg = VGG(CARD_LAYERS, CARD_ARCH)
    tensors: dict[str, Tensor] = {}
    scale: dict[str, float] = {}
    spot: dict[str, float] = {}
    for size in CARD_SIZES:
        style = from_pictures(name, paths, size, CARD_LAYERS, vgg)
        spot[str(size)] = style.spot
        for layer in CARD_LAYERS:
            gram = style.gram(layer)
            rows, columns = torch.triu_indices(*gram.shape)
            # a Gram matrix spans more than fp16 does; its largest entry becomes 1
            scale[f"{size}.{layer}"] = float(gram.max())
            tensors[f"{size}.{layer}.gram"] = (gram[rows, columns] / gram.max()).half()
            tensors[f"{size}.{layer}.mean"] = style.mean(layer).clone()
    document = {
        "version": CARD_VERSION,
        "name": name,
        "vgg": CARD_ARCH,
        "facts": asdict(facts),
        "scale": scale,
        "spot": spot,
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

"""Surfaces for synthetic photos: periodic texture tiles, natural palettes and outlines.

Noise whose amplitude falls as 1/f, and overlapping leaves whose radii are distributed as r^-3, give
pictures the statistics of natural ones (Lee, Mumford & Huang 2001, "Occlusion models for natural images");
networks trained on such pictures alone see real photos well (Baradad et al. 2021, "Learning to see by
looking at noise"). Here both become small periodic tiles, drawn once per process from fixed seeds and
then sampled at any scale, angle or perspective, which costs far less than new noise for each picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Field = NDArray[np.float32]
Points = NDArray[np.float64]
Rng = np.random.Generator

TILE = 512
_LEVELS = 7
# A table, since vectorised sines differ in the last bit between processors and pictures must not.
_SINE = np.array([math.sin(2 * math.pi * k / 4096) for k in range(4096)], dtype=np.float32)


def as_field(values: ArrayLike) -> Field:
    """Convert numbers to a float32 array of the same shape."""
    return np.asarray(values, dtype=np.float32)


def wave(turns: Field) -> Field:
    """sin(2 pi turns) of an array of any shape, turns in (-1e5, 1e5)."""
    return as_field(_SINE[(turns * np.float32(4096)).astype(np.int32) & 4095])


def upsample(grid: Field, size: int) -> Field:
    """Interpolate a periodic (n, n) grid smoothly to (size, size), still periodic."""
    n = grid.shape[0]
    image = Image.fromarray(np.pad(grid, 3, mode="wrap"))
    box = (3.0, 3.0, 3.0 + n, 3.0 + n)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box), dtype=np.float32)


def fractal(rng: Rng, slope: float, first: int = 4, last: int = TILE, ridged: bool = False) -> Field:
    """Periodic noise (TILE, TILE) whose power falls as f^-slope; mean 0, standard deviation 1."""
    total = np.zeros((TILE, TILE), dtype=np.float32)
    cells = first
    while cells <= last:
        octave = upsample(rng.standard_normal((cells, cells), dtype=np.float32), TILE)
        if ridged:
            octave = np.float32(0.8) - np.abs(octave)
        # Octaves of equal variance are f^-2 in two dimensions; other slopes scale each octave.
        total += octave * np.float32(2.0 ** (-(slope - 2.0) / 2 * math.log2(cells)))
        cells *= 2
    return as_field((total - total.mean()) / total.std())


def _draw(shapes: Sequence[tuple[Points, int]], ground: int) -> Field:
    """Draw polygons of grey 0 to 255 in order on a torus; return (TILE, TILE) of mean 0 and standard deviation 1."""
    image = Image.new("L", (TILE, TILE), ground)
    draw = ImageDraw.Draw(image)
    for points, grey in shapes:
        low, high = points.min(axis=0), points.max(axis=0)
        for dx in (-TILE, 0, TILE):
            if high[0] + dx < 0 or low[0] + dx >= TILE:
                continue
            for dy in (-TILE, 0, TILE):
                if high[1] + dy >= 0 and low[1] + dy < TILE:
                    draw.polygon(np.add(points, (dx, dy)).ravel().tolist(), fill=grey)
    field = np.asarray(image, dtype=np.float32)
    return as_field((field - field.mean()) / field.std())


def power_radius(rng: Rng, smallest: float, largest: float) -> float:
    """A random radius with density proportional to r^-3, the scale-invariant law of leaf sizes."""
    a, b = smallest**-2.0, largest**-2.0
    return float((a + rng.random() * (b - a)) ** -0.5)


_TURN = np.linspace(0, 2 * math.pi, 28, endpoint=False)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_ALONG = np.linspace(-1, 1, 12)
_WAVES = np.cos(np.arange(2, 9)[:, None, None] * _TURN - np.array([0.0, math.pi / 2])[:, None])
_DECAY = np.arange(2, 9)[:, None] ** -1.2


def outline(rng: Rng, kind: str) -> Points:
    """A closed outline (n, 2) of about unit radius: disc, ellipse, blob, polygon, box, bar, leaf or star."""
    if kind == "disc":
        return np.stack([_COS, _SIN], 1)
    if kind == "ellipse":
        return np.stack([_COS, _SIN * rng.uniform(0.3, 0.9)], 1)
    if kind == "polygon":
        corner = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 8)))
        return np.stack([np.cos(corner), np.sin(corner)], 1)
    if kind == "box":
        power = rng.uniform(0.08, 0.5)
        x, y = np.sign(_COS) * np.abs(_COS) ** power, np.sign(_SIN) * np.abs(_SIN) ** power
        return np.stack([x, y * rng.uniform(0.3, 1.0)], 1) * 0.8
    if kind in ("bar", "leaf"):
        if kind == "bar":
            middle = rng.normal(0, 0.12) * _ALONG**2 + rng.normal(0, 0.08) * _ALONG**3
            half = rng.uniform(0.015, 0.08) * (1 - rng.uniform(0, 0.45) * (_ALONG + 1))
        else:
            middle = rng.normal(0, 0.06) * _ALONG**2
            half = (1 - _ALONG**2) * (1 - 0.35 * _ALONG) * rng.uniform(0.2, 0.45)
        upper, lower = np.stack([_ALONG, middle + half], 1), np.stack([_ALONG, middle - half], 1)
        return np.concatenate([upper, lower[::-1]])
    if kind == "star":
        radius = 1 + rng.uniform(0.2, 0.5) * np.cos(_TURN * rng.integers(4, 8))
    else:
        weights = rng.normal(0, 0.22, (7, 2)) * _DECAY
        radius = np.maximum(1 + np.tensordot(weights, _WAVES, 2), 0.15)
    return np.stack([_COS * radius, _SIN * radius * rng.uniform(0.5, 1.0)], 1)


def rotated(points: Points, angle: float) -> Points:
    """Rotate points (n, 2) by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]))


def _litter(rng: Rng, kinds: Sequence[str], count: int, size: tuple[float, float], spread: float) -> Field:
    """Dead leaves, each with a lit side, radii distributed as r^-3; spread is the range of angles in radians."""
    shapes: list[tuple[Points, int]] = []
    radii = sorted((power_radius(rng, *size) for _ in range(count)), key=lambda r: -r * rng.uniform(0.3, 1))
    for radius in radii:
        body = rotated(outline(rng, str(rng.choice(kinds))) * radius, rng.uniform(-spread, spread))
        centre, grey = rng.uniform(0, TILE, 2), rng.normal(110, 40)
        for inset, light in ((1.0, -25.0), (0.8, 0.0), (0.45, 22.0)):
            shift = (1 - inset) * radius * np.array([-0.3, -0.5])
            shapes.append((body * inset + centre + shift, int(np.clip(grey + light, 0, 255))))
    return _draw(shapes, 60)


def _strokes(rng: Rng, count: int, length: float, width: float, spread: float, curl: float) -> Field:
    """Thin blades or hairs around the vertical, their angles guided by smooth noise."""
    shapes: list[tuple[Points, int]] = []
    flow = fractal(rng, 3.5, last=16)
    for k in range(count):
        x, y = rng.uniform(0, TILE, 2)
        angle = spread * float(flow[int(y), int(x)]) + rng.normal(0, spread * 0.4)
        reach, bend = length * rng.uniform(0.4, 1.3), rng.normal(0, curl)
        tip = np.array([x + reach * math.sin(angle + bend), y - reach * math.cos(angle + bend)])
        mid = np.array([x + reach * 0.5 * math.sin(angle), y - reach * 0.5 * math.cos(angle)])
        w = np.array([width * rng.uniform(0.5, 1.2), 0.0])
        points = np.array([(x - w[0], y), mid - w * 0.7, tip, mid + w * 0.7, (x + w[0], y)])
        shapes.append((points, int(np.clip(rng.normal(60 + 90 * k / count, 35), 0, 255))))
    return _draw(shapes, 50)


def _masonry(rng: Rng, rows: int, columns: int, gap: float, joint: int) -> Field:
    """Bricks, planks or floor tiles: rows of boxes in different tones, every other row shifted."""
    shapes: list[tuple[Points, int]] = []
    h, w = TILE / rows, TILE / columns
    for r in range(rows):
        for c in range(columns):
            x, y = (c + 0.5 * (r % 2)) * w, r * h
            box = np.array([(x, y), (x + w - gap, y), (x + w - gap, y + h - gap), (x, y + h - gap)])
            shapes.append((box + rng.normal(0, gap * 0.12, (4, 2)), int(np.clip(rng.normal(135, 24), 0, 255))))
    return _draw(shapes, joint) + 0.5 * fractal(rng, 1.6)


def _grids() -> tuple[Field, Field]:
    """Coordinates x and y of the tile's pixels, (TILE, TILE) each, in [0, 1)."""
    axis = np.arange(TILE, dtype=np.float32) / TILE
    return np.broadcast_to(axis, (TILE, TILE)), np.broadcast_to(axis[:, None], (TILE, TILE))


def _wood(rng: Rng) -> Field:
    x, _ = _grids()
    bend = fractal(rng, 3.4, last=32)
    return as_field(wave(x * 12 + bend * 0.3) + 0.5 * _bark(rng))


def _stripes(rng: Rng) -> Field:
    x, _ = _grids()
    return as_field(np.clip(wave(x * 12 + 0.05 * fractal(rng, 3.0)) * 3, -1, 1) + 0.25 * fractal(rng, 2.0))


def _checks(rng: Rng) -> Field:
    x, y = _grids()
    return as_field(np.sign(wave(x * 8 + 0.001)) * np.sign(wave(y * 8 + 0.001)) + 0.3 * fractal(rng, 2.0))


def _weave(rng: Rng) -> Field:
    x, y = _grids()
    warp = 0.12 * fractal(rng, 3.2, last=64)
    over = np.sign(wave(x * 32 + warp)) * np.sign(wave(y * 32 + warp))
    return as_field(np.where(over > 0, np.abs(wave(x * 32 + warp)), np.abs(wave(y * 32 + warp)) - 0.5) * 2.2)


def _ripples(rng: Rng) -> Field:
    flat = np.concatenate([fractal(rng, 2.5, last=128, ridged=True)[::4]] * 4)
    return as_field(flat + 0.5 * np.concatenate([fractal(rng, 2.2, last=256)[::2]] * 2))


def _spots(rng: Rng) -> Field:
    x, y = _grids()
    warp = fractal(rng, 3.0, last=32)
    return as_field(np.clip((wave(x * 9 + warp * 0.35) + wave(y * 9 - warp * 0.4) - 0.4) * 3, -1.2, 1.2))


def _bark(rng: Rng) -> Field:
    cracks = fractal(rng, 2.0, ridged=True)[:, ::4]
    return as_field(np.concatenate([cracks] * 4, axis=1) + 0.4 * fractal(rng, 1.4))


_TILES: dict[str, Callable[[Rng], Field]] = {
    "grain": lambda r: fractal(r, 0.8),
    "rough": lambda r: fractal(r, 1.6),
    "rock": lambda r: fractal(r, 2.0, ridged=True) + 0.4 * fractal(r, 1.6),
    "mottle": lambda r: fractal(r, 2.2),
    "smooth": lambda r: fractal(r, 3.2),
    "plain": lambda r: fractal(r, 3.0) + 0.4 * fractal(r, 1.7),
    "cloud": lambda r: fractal(r, 2.9) + 0.3 * fractal(r, 2.6, ridged=True),
    "marble": lambda r: wave(fractal(r, 3.0) * 0.7) + 0.2 * fractal(r, 2.0),
    "pebbles": lambda r: _litter(r, ("blob", "ellipse"), 2600, (5, 60), 3.1) + 0.3 * fractal(r, 1.4),
    "foliage": lambda r: _litter(r, ("leaf", "leaf", "ellipse"), 3200, (5, 45), 3.1),
    "flowers": lambda r: _litter(r, ("star", "disc", "leaf"), 1600, (7, 40), 3.1),
    "scales": lambda r: _litter(r, ("ellipse",), 3000, (8, 14), 0.2),
    "clutter": lambda r: _litter(r, ("box", "box", "polygon"), 1500, (6, 90), 0.15),
    "straw": lambda r: _litter(r, ("bar",), 1800, (30, 150), 3.1),
    "grass": lambda r: _strokes(r, 4200, 46, 2.2, 0.4, 0.5) + 0.4 * fractal(r, 2.6),
    "fur": lambda r: _strokes(r, 5200, 30, 1.6, 0.9, 0.25) + 0.8 * fractal(r, 2.8),
    "hair": lambda r: _strokes(r, 2200, 170, 1.6, 0.25, 0.15) + 0.6 * fractal(r, 3.0),
    "bricks": lambda r: _masonry(r, 24, 10, 3.5, 190),
    "planks": lambda r: _masonry(r, 10, 2, 3.0, 20),
    "tiles": lambda r: _masonry(r, 8, 8, 4.0, 60),
    "wood": _wood,
    "stripes": _stripes,
    "checks": _checks,
    "weave": _weave,
    "ripples": _ripples,
    "spots": _spots,
    "bark": _bark,
}


@cache
def _atlas(name: str) -> NDArray[np.uint8]:
    """A tile and its mipmap levels, flattened and concatenated; drawn from a seed of its own."""
    field = _TILES[name](np.random.default_rng([0x7117, list(_TILES).index(name)]))
    field = (field - field.mean()) / field.std()
    image = Image.fromarray(np.clip(field * 46 + 128, 0, 255).astype(np.uint8))
    if name in ("grass", "fur", "hair", "foliage", "straw", "bricks", "flowers"):
        image = image.filter(ImageFilter.GaussianBlur(0.7))
    return np.concatenate([np.asarray(image.reduce(1 << k)).ravel() for k in range(_LEVELS)])


_START = np.cumsum([0] + [(TILE >> k) ** 2 for k in range(_LEVELS)])


def read_tile(name: str, u: Field, v: Field, step: Field | float) -> Field:
    """Sample a tile at coordinates u, v (in tile pixels, of shapes that broadcast); values 0 to 255.

    step is how many tile pixels one picture pixel spans, a number or a (h, 1) column for perspective.
    """
    atlas = _atlas(name)
    level = np.clip(np.round(np.log2(np.maximum(step, 1e-3))), 0, _LEVELS - 1).astype(np.int32)
    shrink = (1.0 / (1 << level)).astype(np.float32)
    start, width = _START[level].astype(np.int32), (TILE >> level).astype(np.int32)
    last = width - 1
    us, vs = u * shrink, v * shrink
    uf, vf = np.floor(us), np.floor(vs)
    iu, iv = uf.astype(np.int32), vf.astype(np.int32)
    du, dv = us - uf, vs - vf
    left, right = iu & last, (iu + 1) & last
    top, bottom = start + (iv & last) * width, start + ((iv + 1) & last) * width
    a, b = atlas[top + left].astype(np.float32), atlas[top + right].astype(np.float32)
    c, d = atlas[bottom + left].astype(np.float32), atlas[bottom + right].astype(np.float32)
    upper, lower = a + du * (b - a), c + du * (d - c)
    return as_field(upper + dv * (lower - upper))


# sRGB, 0 to 255. A colour is drawn from the line between two of its family, so that channels stay correlated.
_FAMILIES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "sky": (
        (70, 115, 180),
        (110, 150, 200),
        (165, 190, 215),
        (205, 215, 225),
        (60, 90, 150),
        (225, 215, 205),
    ),
    "haze": ((200, 208, 214), (225, 222, 215), (170, 185, 200), (235, 220, 195), (190, 190, 185)),
    "leafage": ((60, 85, 30), (90, 110, 45), (40, 60, 28), (125, 140, 60), (85, 95, 60), (110, 120, 85)),
    "grass": ((105, 125, 60), (135, 140, 80), (160, 145, 95), (90, 110, 50), (120, 115, 75)),
    "earth": ((120, 95, 70), (150, 125, 95), (85, 65, 48), (170, 150, 120), (100, 90, 80)),
    "stone": ((130, 128, 122), (160, 155, 145), (95, 93, 90), (185, 180, 170), (115, 118, 122)),
    "sand": ((200, 180, 145), (220, 205, 175), (180, 155, 120), (195, 190, 175)),
    "snow": ((235, 238, 242), (215, 222, 232), (245, 244, 240), (225, 225, 225)),
    "skin": ((225, 175, 145), (200, 145, 115), (160, 105, 75), (110, 70, 50), (235, 195, 170)),
    "wood": ((130, 85, 50), (165, 115, 70), (90, 60, 40), (185, 145, 100), (110, 90, 75)),
    "water": ((60, 85, 100), (90, 120, 135), (45, 60, 60), (75, 110, 140), (120, 140, 145), (70, 95, 85)),
    "fur": ((115, 85, 55), (60, 50, 42), (175, 140, 100), (35, 32, 30), (200, 190, 175), (150, 95, 50)),
    "wall": (
        (205, 195, 175),
        (180, 170, 155),
        (225, 220, 210),
        (160, 120, 95),
        (195, 165, 125),
        (140, 75, 60),
    ),
    "cloth": ((60, 65, 85), (190, 185, 180), (45, 42, 45), (130, 45, 45), (150, 140, 120), (85, 100, 130)),
    "vivid": ((205, 40, 35), (235, 190, 40), (30, 80, 170), (235, 120, 30), (190, 60, 120), (50, 140, 70)),
    "dark": ((22, 22, 24), (40, 36, 34), (12, 12, 14), (50, 50, 48)),
    "pale": ((240, 240, 238), (228, 226, 220), (215, 216, 218), (250, 248, 244)),
}


def colour(rng: Rng, family: str) -> Field:
    """A random natural colour of a family, sRGB (3,) in [0, 1]."""
    anchors = np.array(_FAMILIES[family], dtype=np.float32) / 255
    first, second = rng.integers(0, len(anchors), 2)
    mixed = anchors[first] + np.float32(rng.random()) * (anchors[second] - anchors[first])
    light = np.float32(rng.normal(1.0, 0.13))
    tint = rng.normal(0, 0.018, 3).astype(np.float32)
    return as_field(np.clip(mixed * light + tint, 0.01, 1))


def ramp(rng: Rng, base: Field, contrast: float, second: Field | None = None) -> Field:
    """A colour map (3, 256) around a base colour, with cooler shadows and warmer lights.

    contrast is about the relative standard deviation of the result. With a second colour the map runs from the first to
    the second.
    """
    level = (np.arange(256, dtype=np.float32) - 128) / 46
    if second is not None:
        blend = np.clip(0.5 + level * np.float32(0.45), 0, 1)
        scale = base[:, None] + (second - base)[:, None] * blend
        return as_field(np.clip(scale * (1 + level * np.float32(contrast * 0.4)), 0, 1.2))
    warmth = np.array([0.12, 0.02, -0.14], dtype=np.float32)[:, None] * np.float32(rng.normal(0.6, 0.5))
    gain = 1 + level * np.float32(contrast) * (1 + warmth)
    return as_field(np.clip(base[:, None] * np.maximum(gain, 0.06), 0, 1.2))


@dataclass(frozen=True)
class Material:
    """A tile at one scale and angle, with a colour map (3, 256)."""

    tile: str
    scale: Field
    step: float
    angle: float
    offset: tuple[float, float]

    def paint(self, x0: int, y0: int, height: int, width: int) -> Field:
        """Render a rectangle of the picture, (3, height, width), in 0 to about 1."""
        x = np.arange(x0, x0 + width, dtype=np.float32)
        y = np.arange(y0, y0 + height, dtype=np.float32)[:, None]
        c, s = np.float32(math.cos(self.angle) * self.step), np.float32(math.sin(self.angle) * self.step)
        u = x * c - y * s + np.float32(self.offset[0])
        v = x * s + y * c + np.float32(self.offset[1])
        return self.colours(read_tile(self.tile, u, v, self.step))

    def colours(self, values: Field) -> Field:
        """Map tile values (h, w), 0 to 255, to colours (3, h, w)."""
        return np.take(self.scale, values.astype(np.uint8), axis=1)


# The tiles of each colour family; a surface is one of them at a random scale.
_TILES_OF_FAMILY: dict[str, tuple[str, ...]] = {
    "leafage": ("foliage", "foliage", "mottle", "rough", "grass"),
    "grass": ("grass", "grass", "foliage", "rough", "straw", "flowers"),
    "earth": ("rough", "rock", "pebbles", "mottle", "straw", "foliage"),
    "stone": ("rock", "rough", "mottle", "pebbles", "bricks", "tiles", "marble"),
    "sand": ("rough", "plain", "grain", "ripples", "pebbles"),
    "snow": ("plain", "mottle", "plain", "rough"),
    "skin": ("plain", "plain", "mottle"),
    "wood": ("wood", "planks", "bark", "wood"),
    "water": ("ripples", "ripples", "plain", "cloud"),
    "fur": ("fur", "fur", "hair", "mottle", "spots", "plain"),
    "wall": ("plain", "rough", "bricks", "mottle", "plain", "tiles"),
    "cloth": ("plain", "weave", "stripes", "plain", "checks", "mottle", "spots", "marble"),
    "vivid": ("plain", "plain", "mottle", "flowers", "marble", "scales"),
    "dark": ("plain", "mottle", "clutter"),
    "pale": ("plain", "plain", "mottle"),
    "sky": ("cloud", "plain"),
    "haze": ("plain", "cloud"),
}
FAMILIES = tuple(_TILES_OF_FAMILY)


def material(rng: Rng, family: str, tile: str | None = None, coarse: float = 1.0) -> Material:
    """A random surface of a family; coarse > 1 enlarges its structure in the picture."""
    name = tile or str(rng.choice(_TILES_OF_FAMILY[family]))
    base = colour(rng, family)
    calm = name in ("smooth", "plain", "grain", "weave")
    contrast = rng.uniform(0.02, 0.14) if calm else rng.uniform(0.12, 0.5)
    if name in ("mottle", "rough", "rock") and family not in ("earth", "leafage", "stone", "dark"):
        contrast *= 0.45
    second = None
    if name in ("stripes", "checks", "spots", "flowers", "clutter", "marble") or rng.random() < 0.15:
        second = colour(rng, str(rng.choice(("cloth", "vivid", "pale", "dark", family))))
    step = math.exp(rng.uniform(math.log(0.5), math.log(4.5))) / coarse
    upright = name in ("grass", "bricks", "planks", "tiles", "ripples", "clutter", "bark", "hair")
    angle = rng.normal(0, 0.06) if upright else rng.uniform(0, 2 * math.pi)
    offset = (float(rng.uniform(0, TILE)), float(rng.uniform(0, TILE)))
    return Material(name, ramp(rng, base, contrast, second), step, angle, offset)

"""The canvas that synthetic photos are drawn on: outlines filled with lit surfaces, shadows, blur.

Bodies are drawn back to front, each hiding what is behind it, as in the dead-leaves model of
Lee, Mumford & Huang 2001.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from onestroke.scenes.textures import (
    Field,
    Material,
    Points,
    Rng,
    as_field,
    material,
    read_tile,
)


class Canvas:
    """A picture (3, size, size) in [0, 1], viewed through a random window onto a unit-square world.

    World coordinates run from 0 to 1, from the top left of the whole scene. The window shows a part of it, so
    that one composition gives wide views and close-ups, as crops of photos do.
    """

    def __init__(self, rng: Rng, size: int) -> None:
        self.rng, self.size = rng, size
        self.zoom = math.exp(rng.uniform(0.0, math.log(2.4)))
        free = 1 - 1 / self.zoom
        self.left, self.top = float(rng.uniform(0, free)), float(rng.uniform(0, free))
        angle = rng.uniform(-math.pi * 0.95, -math.pi * 0.05)
        self.light = (math.cos(angle), math.sin(angle))
        self.hard = float(rng.uniform(0.15, 0.8))
        self.image: Field = np.full((3, size, size), 0.5, dtype=np.float32)

    @property
    def unit(self) -> float:
        """Pixels per world unit."""
        return self.size * self.zoom

    def pixels(self, points: Points) -> Points:
        """Convert world points (n, 2) to pixels of the picture."""
        return np.asarray((points - (self.left, self.top)) * self.unit)

    def rows(self) -> Field:
        """World y coordinate of each row of pixels, (size, 1)."""
        column = np.arange(self.size, dtype=np.float32)[:, None]
        return np.asarray(column / np.float32(self.unit) + np.float32(self.top))

    def make(self, family: str, tile: str | None = None, coarse: float = 1.0) -> Material:
        """A random surface, with larger structure in close-ups."""
        return material(self.rng, family, tile, coarse * self.zoom**0.5 * (self.size / 180) ** 0.5)

    def fill(self, surface: Material) -> None:
        """Fill the whole picture with one surface."""
        self.image[:] = surface.paint(0, 0, self.size, self.size)

    def shade(self, strength: float) -> None:
        """Light everything drawn so far unevenly: a gradient towards the light, and soft blotches."""
        axis = np.linspace(-1, 1, self.size, dtype=np.float32)
        slope = axis * np.float32(self.light[0]) + axis[:, None] * np.float32(self.light[1])
        u, v = self.rng.uniform(0, 512, 2).astype(np.float32)
        blotch = read_tile("smooth", axis * 90 + u, axis[:, None] * 90 + v, 256.0 / self.size)
        self.image *= 1 + np.float32(strength) * (slope * np.float32(0.5) + (blotch - 128) / 90)

    def blur(self, radius: float) -> None:
        """Blur everything drawn so far; radius is the Gaussian's standard deviation in world units."""
        pixels = radius * self.unit
        if pixels < 0.3:
            return
        picture = Image.fromarray(to_bytes(self.image)).filter(ImageFilter.GaussianBlur(pixels))
        self.image = as_field(np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))) / np.float32(255)

    def body(
        self,
        points: Points,
        surface: Material | Field,
        bulge: float = 0.5,
        soft: float = 0.0,
        shadow: float = 0.0,
        shine: float = 0.0,
        rough: float = 0.0,
    ) -> None:
        """Draw one closed outline, lit from the canvas's light.

        Args:
            points: (n, 2) in world units.
            surface: a texture, or one colour (3,).
            bulge: shading, from 0 (flat) to 1 (a ball).
            soft: standard deviation in pixels of the edge's blur.
            shadow: darkness, 0 to 1, of the shadow on what is behind.
            shine: strength of the highlight, from 0.
            rough: how frayed the edge is, 0 to 1, as of fur or foliage.
        """
        outer = self.pixels(points)
        low, high = outer.min(axis=0), outer.max(axis=0)
        extent = max(2.0, float((high - low).max()))
        if shadow > 0:
            self._shadow(outer, extent, shadow)
        margin = 2 + int(2 * soft) + (int(extent * 0.08) if rough else 0)
        x0, y0 = (max(0, int(k) - margin) for k in low)
        x1, y1 = (min(self.size, int(k) + margin + 2) for k in high)
        if x0 >= x1 or y0 >= y1:
            return
        mask = self._mask(outer, (x0, y0, x1, y1), extent, soft, rough)
        paint = surface.paint(x0, y0, y1 - y0, x1 - x0) if isinstance(surface, Material) else surface[:, None, None]
        if bulge or shine:
            paint = paint * self._relief((x0, y0, x1, y1), low, high, bulge, shine)
        region = self.image[:, y0:y1, x0:x1]
        region += mask * (paint - region)

    def _mask(self, outer: Points, box: tuple[int, int, int, int], extent: float, soft: float, rough: float) -> Field:
        x0, y0, x1, y1 = box
        image = Image.new("L", (2 * (x1 - x0), 2 * (y1 - y0)))
        ImageDraw.Draw(image).polygon(((outer - (x0, y0)) * 2).ravel().tolist(), fill=255)
        image = image.reduce(2)
        if rough:
            image = image.filter(ImageFilter.BoxBlur(max(1.0, extent * 0.05)))
        elif soft:
            image = image.filter(ImageFilter.GaussianBlur(soft))
        mask: Field = np.asarray(image, dtype=np.float32) / np.float32(255)
        if rough:
            u, v = self.rng.uniform(0, 512, 2).astype(np.float32)
            step = 1.7 * (60 / extent) ** 0.3
            x, y = (np.arange(n, dtype=np.float32) * np.float32(step) for n in (x1 - x0, y1 - y0))
            fray = read_tile("foliage" if rough > 0.5 else "rough", x + u, y[:, None] + v, step)
            inside = mask > 0.03
            mask = as_field(np.clip((mask - 0.5 + np.float32(rough) * (fray - 128) / 160) * 4 + 0.5, 0, 1) * inside)
        return mask

    def _shadow(self, outer: Points, extent: float, strength: float) -> None:
        reach = extent * self.rng.uniform(0.04, 0.22)
        spread = max(0.6, reach * (1.1 - self.hard))
        moved = outer - np.array(self.light) * reach
        (x0, y0), (x1, y1) = moved.min(axis=0) - 2 * spread, moved.max(axis=0) + 2 * spread
        left, top = max(0, int(x0)), max(0, int(y0))
        right, bottom = min(self.size, int(x1) + 2), min(self.size, int(y1) + 2)
        if left >= right or top >= bottom:
            return
        image = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(image).polygon((moved - (left, top)).ravel().tolist(), fill=int(255 * strength))
        dark = np.asarray(image.filter(ImageFilter.BoxBlur(spread)), dtype=np.float32) / 255
        self.image[:, top:bottom, left:right] *= 1 - dark

    def _relief(self, box: tuple[int, int, int, int], low: Points, high: Points, bulge: float, shine: float) -> Field:
        x0, y0, x1, y1 = box
        centre, half = (low + high) / 2, np.maximum((high - low) / 2, 1.0)
        x = ((np.arange(x0, x1) - centre[0]) / half[0]).astype(np.float32)
        y = ((np.arange(y0, y1) - centre[1]) / half[1]).astype(np.float32)[:, None]
        lx, ly = (np.float32(k) for k in self.light)
        gain = 1 + np.float32(bulge) * (
            (x * lx + y * ly) * np.float32(0.35 + 0.5 * self.hard) - (x * x + y * y - 0.5) * np.float32(0.4)
        )
        np.clip(gain, 0.08, 1.7, out=gain)
        if shine:
            near = 1 - ((x - lx * np.float32(0.42)) ** 2 + (y - ly * np.float32(0.42)) ** 2) * np.float32(9)
            gain += np.float32(shine) * np.maximum(near, 0) ** 2
        return np.asarray(gain, dtype=np.float32)

    def many(self, shapes: Sequence[Points], tones: Field, shading: float = 0.3, soft: float = 0.0) -> None:
        """Draw many small flat outlines at once, in order.

        Args:
            shapes: n outlines, (points, 2) each, in world units.
            tones: their colours, (n, 3) in [0, 1].
            shading: strength of a mottled light over them.
            soft: standard deviation in pixels of the edges' blur.
        """
        ink = Image.new("RGB", (2 * self.size, 2 * self.size))
        cover = Image.new("L", ink.size)
        paint, stencil = ImageDraw.Draw(ink), ImageDraw.Draw(cover)
        levels = np.clip(tones * 255, 0, 255).astype(int).tolist()
        for shape, tone in zip(shapes, levels, strict=True):
            points = (self.pixels(shape) * 2).ravel().tolist()
            paint.polygon(points, fill=tuple(tone))
            stencil.polygon(points, fill=255)
        ink, cover = ink.reduce(2), cover.reduce(2)
        if soft:
            ink, cover = (k.filter(ImageFilter.GaussianBlur(soft)) for k in (ink, cover))
        mask = np.asarray(cover, dtype=np.float32) / 255
        over = np.ascontiguousarray(np.asarray(ink).transpose(2, 0, 1), dtype=np.float32) / 255
        if shading:
            u, v = self.rng.uniform(0, 512, 2).astype(np.float32)
            axis = np.arange(self.size, dtype=np.float32)
            over *= 1 + np.float32(shading) * (read_tile("mottle", axis + u, axis[:, None] + v, 1.0) - 128) / 90
        self.image *= 1 - mask
        self.image += over


def to_bytes(image: Field) -> NDArray[np.uint8]:
    """Convert a picture (3, h, w) in [0, 1] to uint8 (h, w, 3)."""
    return np.ascontiguousarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def place(points: Points, x: float, y: float, rx: float, ry: float | None = None) -> Points:
    """Scale a unit outline (n, 2) by rx and ry (default: rx), and move it to (x, y)."""
    return np.asarray(points * (rx, rx if ry is None else ry) + (x, y))


def pick(rng: Rng, *names: str) -> str:
    """Choose one of the names at random."""
    return names[int(rng.integers(len(names)))]


def random_point(rng: Rng, low: float, high: float) -> tuple[float, float]:
    """A random point with both coordinates between low and high."""
    x, y = rng.uniform(low, high, 2)
    return float(x), float(y)


def maybe(rng: Rng, chance: float, value: float) -> float:
    """The value with probability `chance`, else 0."""
    return float(value) if rng.random() < chance else 0.0


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Points:
    """An axis-aligned box as an outline (4, 2), clockwise from its top left."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])

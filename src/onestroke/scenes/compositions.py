"""Synthetic photos from a seed: the kinds of scenes, and the choice and post-processing of one.

Every picture is a new arrangement of shaded, textured objects that occlude one another (the dead-leaves
model of Lee, Mumford & Huang 2001), composed as photos are: a sky over a ground plane, facades, a face
before a blurred background. Networks learn to see photos from pictures with natural statistics, whatever
these show (Baradad et al. 2021, "Learning to see by looking at noise").
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from onestroke.scenes.canvas import Canvas, maybe, pick, place, random_point, rectangle
from onestroke.scenes.objects import (
    backdrop,
    branch,
    facade,
    face,
    figure,
    ground,
    lettering,
    litter,
    railing,
    ridge,
    sky,
    things,
    tree,
)
from onestroke.scenes.textures import (
    FAMILIES,
    Material,
    Points,
    Rng,
    colour,
    outline,
    power_radius,
    rotated,
)


def leaves(c: Canvas) -> None:
    """The dead-leaves model: textured bodies of all sizes, each hiding those drawn before it."""
    rng = c.rng
    c.fill(c.make(str(rng.choice(FAMILIES))))
    c.shade(rng.uniform(0, 0.5))
    families = rng.choice(FAMILIES, 5)
    surfaces = [c.make(str(f)) for f in families for _ in range(2)]
    kinds = ("disc", "ellipse", "blob", "polygon", "box", "bar", "leaf", "star")
    for k in range(int(rng.integers(10, 26))):
        if k % 9 == 4:
            litter(c, 25, kinds, families.tolist(), 0.006)
        shape = rotated(outline(rng, pick(rng, *kinds)), rng.uniform(0, 6.3))
        c.body(
            place(shape, *random_point(rng, -0.05, 1.05), power_radius(rng, 0.05, 0.8) * 1.3),
            surfaces[int(rng.integers(len(surfaces)))],
            rng.uniform(0, 1),
            0.0 if rng.random() < 0.75 else rng.uniform(0.5, 4),
            rng.uniform(0.2, 0.7) if rng.random() < 0.6 else 0.0,
            rng.uniform(0.2, 1.2) if rng.random() < 0.15 else 0.0,
            rng.uniform(0.3, 0.9) if rng.random() < 0.15 else 0.0,
        )


def landscape(c: Canvas) -> None:
    """Sky, hazy ridges, a receding ground or water, trees and a few things on it."""
    rng = c.rng
    horizon = rng.uniform(0.2, 0.75)
    haze = sky(c, horizon)
    family = pick(rng, "leafage", "stone", "earth", "grass", "snow")
    layers = int(rng.integers(0, 4))
    for k in range(layers):
        near = (k + 1) / layers
        height = rng.uniform(0.01, 0.09) * (1.4 - near)
        line = ridge(c, horizon - 0.12 * (1 - near) - height * 0.5, height, rng.uniform(0.4, 0.62))
        surface = c.make(family)
        fade = np.float32((1 - near) * rng.uniform(0.5, 0.9))
        misty = surface.scale + fade * (haze[:, None] - surface.scale)
        c.body(line, Material(surface.tile, misty, surface.step, surface.angle, surface.offset), 0.2)
    ground(c, horizon, c.make(pick(rng, "grass", "grass", "earth", "sand", "water", "snow", "stone")), haze)
    if rng.random() < 0.5:
        litter(c, 40, ("blob", "leaf", "polygon"), ("grass", "earth", "leafage", "stone"), 0.004, 0.0, horizon)
    foliage = c.make("leafage", pick(rng, "foliage", "foliage", "mottle", "grass"), 0.8)
    feet = np.sort(horizon + (1.1 - horizon) * rng.random(int(rng.integers(0, 7))) ** 2.5)
    for foot in feet:
        scale = 0.12 + (foot - horizon) * 0.9
        if rng.random() < 0.7:
            tree(c, rng.uniform(-0.05, 1.05), foot, scale * rng.uniform(0.8, 2.2), foliage)
        else:
            bush = place(outline(rng, "blob"), rng.uniform(0, 1), foot, scale * 0.5, scale * 0.3)
            c.body(bush, c.make(pick(rng, "leafage", "stone")), 0.8, 0, 0.4, 0, 0.7)
    things(c, horizon)


def street(c: Canvas) -> None:
    """Buildings along a street or one facade that fills the view, with people or cars before it."""
    rng = c.rng
    horizon = rng.uniform(0.5, 0.85)
    haze = sky(c, horizon)
    ground(c, horizon, c.make(pick(rng, "stone", "earth", "grass", "sand")), haze)
    left = -0.1
    while left < 1.0:
        wide, high = rng.uniform(0.15, 0.75), rng.uniform(0.15, 0.95)
        slant = rng.normal(0, 0.12) * high
        foot = horizon + rng.uniform(0.01, 0.12)
        quad = np.array(
            [
                (left, foot - high),
                (left + wide, foot - high + slant),
                (left + wide, foot),
                (left, foot + slant * 0.2),
            ]
        )
        surface = c.make(pick(rng, "wall", "wall", "stone", "wood"))
        if rng.random() < 0.4:
            peak = np.array(
                [
                    quad[0] - (0.02, 0),
                    (left + wide * rng.uniform(0.2, 0.8), foot - high - rng.uniform(0.04, 0.2)),
                    quad[1] + (0.02, 0),
                ]
            )
            c.body(
                peak,
                c.make(pick(rng, "stone", "wall", "dark", "wood"), pick(rng, "scales", "planks", "rough")),
                0.1,
            )
        if rng.random() < 0.8:
            facade(c, quad, surface, int(rng.integers(2, 7)), int(rng.integers(1, 7)))
        else:
            c.body(quad, surface, 0.3)
        left += wide * rng.uniform(0.75, 1.3)
    if rng.random() < 0.5:
        tree(c, rng.uniform(0, 1), horizon + 0.12, rng.uniform(0.3, 0.8), c.make("leafage"))
    things(c, horizon)


def portrait(c: Canvas) -> None:
    """One or two heads, of people or animals, before a blurred background."""
    rng = c.rng
    backdrop(c)
    for _ in range(1 if rng.random() < 0.75 else 2):
        face(
            c,
            rng.uniform(0.25, 0.75),
            rng.uniform(0.3, 0.65),
            rng.uniform(0.1, 0.38),
            bool(rng.random() < 0.45),
        )
    if rng.random() < 0.3:
        shapes: list[Points] = []
        x, lean = rng.uniform(0.1, 0.9), rng.normal(1.5, 0.5)
        for _ in range(30):
            strand = rotated(outline(rng, "bar") * (1, 0.12), lean + rng.normal(0, 0.12))
            shapes.append(place(strand, x + rng.normal(0, 0.12), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.4)))
        c.many(shapes, np.stack([colour(rng, "fur")] * 30), 0.4)


def macro(c: Canvas) -> None:
    """A flower, insect or fruit close by, sharp before a blurred background."""
    rng = c.rng
    backdrop(c)
    x, y = rng.uniform(0.3, 0.7, 2)
    surface, second = (
        c.make(pick(rng, "vivid", "pale", "leafage", "fur", "skin", "cloth")),
        c.make(pick(rng, "vivid", "earth", "dark")),
    )
    for _ in range(int(rng.integers(1, 5))):
        stem = rotated(outline(rng, "bar"), rng.normal(1.5, 0.5))
        c.body(place(stem, x + rng.normal(0, 0.1), y + 0.4, 0.6), c.make("leafage", "smooth"), 0.6, 0.0, 0.3)
    for _ in range(int(rng.integers(0, 6))):
        blade = rotated(outline(rng, "leaf"), rng.uniform(0, 6.3))
        c.body(
            place(blade, *random_point(rng, 0, 1), rng.uniform(0.1, 0.4)),
            c.make("leafage"),
            0.6,
            maybe(rng, 0.33, 2.0),
            0.4,
        )
    r, petals = rng.uniform(0.1, 0.4), int(rng.integers(0, 14))
    for k in range(petals):
        angle = 6.283 * k / petals + rng.normal(0, 0.1)
        petal = rotated(outline(rng, "leaf") * (1, 1.2), angle)
        c.body(
            place(petal, x + 0.6 * r * math.cos(angle), y + 0.6 * r * math.sin(angle), r * 0.6),
            surface,
            0.7,
            0,
            0.4,
        )
    core = place(outline(rng, pick(rng, "disc", "blob", "ellipse")), x, y, r * (0.35 if petals else 1.0))
    c.body(core, second if petals else surface, 1.0, 0, 0.5, rng.uniform(0, 1), 0.3 * (rng.random() < 0.4))
    if rng.random() < 0.25:
        legs = [
            place(rotated(outline(rng, "bar") * (1, 0.3), rng.uniform(0, 6.3)), x, y, r * rng.uniform(0.8, 1.6))
            for _ in range(8)
        ]
        c.many(legs, np.stack([colour(rng, "dark")] * 8))


def still(c: Canvas) -> None:
    """Things on a table or floor before a wall, with their shadows."""
    rng = c.rng
    edge = rng.uniform(0.15, 0.75)
    c.fill(c.make(pick(rng, "wall", "pale", "wood", "cloth", "dark", "stone", "pale")))
    if rng.random() < 0.7:
        ground(c, edge, c.make(pick(rng, "wood", "cloth", "pale", "wall", "stone"), None, 1.5))
    c.shade(rng.uniform(0.1, 0.5))
    if rng.random() < 0.4:
        c.blur(rng.uniform(0.004, 0.02))
    for _ in range(int(rng.integers(0, 3))):
        w, h = rng.uniform(0.05, 0.3, 2)
        x, y = rng.uniform(0, 1), rng.uniform(-0.1, edge - 0.1)
        c.body(rectangle(x - w, y - h, x + w, y + h), colour(rng, pick(rng, "wood", "pale", "dark")), 0.1, 0, 0.4)
        c.body(
            rectangle(x - w * 0.85, y - h * 0.85, x + w * 0.85, y + h * 0.85),
            c.make(str(rng.choice(FAMILIES))),
            0.1,
        )
    for y in np.sort(rng.uniform(edge, 1.0, int(rng.integers(2, 9)))):
        r = rng.uniform(0.05, 0.25)
        shape = outline(rng, pick(rng, "disc", "ellipse", "box", "box", "blob", "star", "bar"))
        family = pick(rng, "vivid", "pale", "cloth", "wood", "dark", "skin", "stone", "leafage")
        shine = rng.uniform(0.3, 1.3) if rng.random() < 0.5 else 0.0
        x = rng.uniform(0, 1)
        c.body(
            place(rotated(shape, maybe(rng, 0.6, rng.uniform(0, 6.3))), x, y - r * 0.5, r),
            c.make(family),
            0.9,
            0,
            0.6,
            shine,
        )
        for _ in range(int(rng.integers(0, 4))):
            part = place(
                outline(rng, pick(rng, "box", "disc", "bar", "leaf")),
                x + rng.normal(0, 0.3) * r,
                y - r * rng.uniform(0, 1),
                r * rng.uniform(0.1, 0.5),
            )
            c.body(part, colour(rng, pick(rng, "pale", "dark", "vivid", family)), 0.5, 0, 0.3)


def heap(c: Canvas) -> None:
    """Many objects of one kind, in a heap, a shelf or a flock: fruit, stones, cups, books, a crowd."""
    rng = c.rng
    c.fill(c.make(str(rng.choice(FAMILIES))))
    c.shade(rng.uniform(0, 0.4))
    kind = pick(rng, "disc", "ellipse", "blob", "box", "box", "leaf", "star", "bar")
    family = str(rng.choice(FAMILIES))
    surfaces = [c.make(family) for _ in range(3)] + [c.make(str(rng.choice(FAMILIES)))]
    size, ordered, turn = rng.uniform(0.04, 0.16), rng.random() < 0.4, rng.uniform(0, 1.5) ** 2
    shine, bulge, mark = maybe(rng, 0.4, 0.8), rng.uniform(0.4, 1), rng.random() < 0.4
    seen = 1 / c.zoom
    for k in range(int(min(34, 10 + 0.7 * (seen / size) ** 2))):
        x, y = c.left + seen * rng.random(), c.top + seen * rng.random()
        if ordered:
            across = max(1, int(seen / (size * 1.7)))
            x, y = c.left + (k % across + 0.5) * size * 1.75, c.top + (k // across + 0.5) * size * 1.75
        shape = rotated(outline(rng, kind), rng.normal(0, 1) * turn)
        surface = surfaces[int(rng.integers(4))]
        c.body(place(shape, x, y, size * rng.uniform(0.75, 1.2)), surface, bulge, 0, 0.5, shine)
        if mark:
            part = place(shape, x + 0.1 * size, y - 0.1 * size, size * rng.uniform(0.2, 0.6))
            c.body(part, surfaces[int(rng.integers(4))].scale[:, int(rng.integers(20, 230))], 0.6)


def forest(c: Canvas) -> None:
    """Trunks, foliage and undergrowth in layers from far to near."""
    rng = c.rng
    haze = sky(c, 1.0) if rng.random() < 0.5 else colour(rng, "leafage") * np.float32(0.5)
    if rng.random() < 0.6:
        c.fill(c.make("leafage", "foliage", 0.6))
    ground(c, rng.uniform(0.5, 1.0), c.make(pick(rng, "earth", "grass", "leafage")))
    for layer in range(3):
        for _ in range(int(rng.integers(1, 4))):
            x, w = rng.uniform(0, 1), rng.uniform(0.006, 0.03) * (1 + layer * 1.5)
            lean = rng.normal(0, 0.05)
            trunk = np.array(
                [
                    (x - w + lean, -0.1),
                    (x + w + lean, -0.1),
                    (x + w * 1.3, 0.7 + layer * 0.15),
                    (x - w * 1.3, 0.7 + layer * 0.15),
                ]
            )
            c.body(trunk, c.make("wood", "bark", 0.7), 0.8, 0, 0.3)
        for _ in range(int(rng.integers(1, 5))):
            bush = place(outline(rng, "blob"), *random_point(rng, 0, 1), rng.uniform(0.08, 0.3))
            c.body(bush, c.make("leafage", "foliage"), 0.6, 0, 0.4, 0, rng.uniform(0.6, 1))
        if layer == 0:
            c.image += (haze[:, None, None] - c.image) * np.float32(rng.uniform(0, 0.4))
    litter(c, 50, ("leaf", "leaf", "bar"), ("leafage", "grass", "leafage", "earth"), 0.008)


def closeup(c: Canvas) -> None:
    """Mostly one surface, unevenly lit, perhaps folded or with one thing lying on it."""
    rng = c.rng
    c.fill(c.make(str(rng.choice(FAMILIES)), None, rng.uniform(0.7, 2)))
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            fold = place(
                rotated(outline(rng, "blob"), rng.uniform(0, 6.3)),
                *random_point(rng, 0, 1),
                rng.uniform(0.3, 0.8),
            )
            c.body(fold, c.make(str(rng.choice(FAMILIES))), 0.8, maybe(rng, 0.33, 3.0), 0.6)
    c.shade(rng.uniform(0.1, 0.7))
    for _ in range(int(rng.integers(0, 4))):
        shape = rotated(outline(rng, pick(rng, "disc", "box", "blob", "leaf", "bar", "star")), rng.uniform(0, 6.3))
        c.body(
            place(shape, *random_point(rng, 0, 1), rng.uniform(0.03, 0.3)),
            c.make(str(rng.choice(FAMILIES))),
            0.9,
            0,
            0.6,
            maybe(rng, 0.5, 0.7),
        )


def aloft(c: Canvas) -> None:
    """Mostly sky, or water, with a branch, a bird, wires or a tower against it."""
    rng = c.rng
    sky(c, rng.uniform(0.8, 1.5))
    roll = rng.random()
    if roll < 0.4:
        shapes: list[Points] = []
        for _ in range(int(rng.integers(1, 4))):
            branch(
                c,
                rng.uniform(0, 1),
                1.05,
                rng.normal(-1.6, 0.3),
                rng.uniform(0.15, 0.3),
                rng.uniform(0.006, 0.02),
                4,
                shapes,
            )
        shapes = shapes[:220]
        c.many(shapes, np.stack([colour(rng, pick(rng, "dark", "wood"))] * len(shapes)), 0.5)
        if rng.random() < 0.5:
            litter(c, 60, ("leaf", "leaf", "star"), ("leafage", "grass", "leafage", "pale"), 0.012)
    elif roll < 0.65:
        x, y, r = *rng.uniform(0.3, 0.7, 2), rng.uniform(0.04, 0.2)
        surface = c.make(pick(rng, "dark", "pale", "fur", "vivid", "stone"))
        for side in (-1, 1):
            wing = rotated(outline(rng, "leaf"), rng.normal(0, 0.4))
            c.body(place(wing, x + side * r * 0.8, y - r * 0.1, r * side), surface, 0.6)
        c.body(place(rotated(outline(rng, "leaf"), rng.normal(0, 0.5)), x, y, r * 0.8), surface, 0.8, 0, 0.2)
    else:
        x, w = rng.uniform(0.2, 0.8), rng.uniform(0.04, 0.25)
        top = rng.uniform(0.1, 0.6)
        facade(
            c,
            np.array([(x - w, top), (x + w, top), (x + w * 1.2, 1.1), (x - w * 1.2, 1.1)]),
            c.make(pick(rng, "wall", "stone")),
            int(rng.integers(1, 4)),
            int(rng.integers(2, 8)),
        )
        c.body(place(outline(rng, "polygon"), x, top, w * 1.2), c.make(pick(rng, "stone", "wall")), 0.6)
    if rng.random() < 0.3:
        wires = [
            np.array([(-0.1, y), (1.1, y + s), (1.1, y + s + 0.004), (-0.1, y + 0.004)])
            for y, s in rng.uniform(-0.1, 0.9, (4, 2)) * (1, 0.3)
        ]
        c.many(wires, np.stack([colour(rng, "dark")] * 4), 0.0)


def interior(c: Canvas) -> None:
    """A room: back wall, floor, ceiling and side walls around a vanishing point, with furniture."""
    rng = c.rng
    wall = c.make(pick(rng, "wall", "pale", "wood", "cloth"), pick(rng, "smooth", "smooth", "mottle", "stripes"))
    c.fill(wall)
    x0, x1, y0, y1 = (
        rng.uniform(-0.1, 0.35),
        rng.uniform(0.65, 1.1),
        rng.uniform(-0.2, 0.25),
        rng.uniform(0.55, 0.85),
    )
    ground(
        c,
        y1 - 0.12,
        c.make(
            pick(rng, "wood", "stone", "cloth", "wall"),
            pick(rng, "planks", "tiles", "checks", "smooth", "weave"),
        ),
    )
    c.body(rectangle(x0, y0, x1, y1), wall, 0.3)
    shade = Material(wall.tile, wall.scale * np.float32(rng.uniform(0.6, 0.9)), wall.step, wall.angle, wall.offset)
    c.body(np.array([(-0.3, -0.4), (x0, y0), (x0, y1), (-0.3, 1.2)]), shade, 0.2)
    c.body(np.array([(1.3, -0.4), (x1, y0), (x1, y1), (1.3, 1.2)]), wall, 0.2)
    c.body(np.array([(-0.3, -0.4), (1.3, -0.4), (x1, y0), (x0, y0)]), colour(rng, "pale"), 0.2)
    if rng.random() < 0.5:
        cx = rng.uniform(x0, x1)
        facade(c, rectangle(cx - 0.15, y0 + 0.08, cx + 0.15, y1 - 0.2), c.make("pale", "smooth"), 2, 2)
    for _ in range(int(rng.integers(2, 7))):
        x, y, w, h = rng.uniform(0, 1), rng.uniform(y1, 1.1), rng.uniform(0.05, 0.25), rng.uniform(0.08, 0.4)
        block = c.make(pick(rng, "wood", "cloth", "dark", "pale", "vivid"))
        c.body(rectangle(x - w, y - h, x + w, y), block, 0.4, 0, 0.5)
        for k in range(int(rng.integers(0, 4))):
            c.body(
                rectangle(x - w * 0.85, y - h + h * 0.27 * k + 0.01, x + w * 0.85, y - h + h * 0.27 * k + h * 0.2),
                block.scale[:, int(rng.integers(60, 200))],
                0.2,
                0,
                0.2,
            )
    c.shade(rng.uniform(0.1, 0.5))
    if rng.random() < 0.4:
        figure(c, rng.uniform(0.2, 0.8), 1.05, rng.uniform(0.5, 1.0))


def night(c: Canvas) -> None:
    """Darkness with a lit subject or lights."""
    rng = c.rng
    c.fill(c.make("dark", None, 2.0))
    if rng.random() < 0.5:
        (street if rng.random() < 0.5 else still)(c)
        c.image *= np.float32(rng.uniform(0.15, 0.5))
    else:
        r = rng.uniform(0.1, 0.35)
        c.body(
            place(outline(rng, "blob"), *random_point(rng, 0.3, 0.7), r),
            c.make(str(rng.choice(FAMILIES))),
            1.0,
            0,
            0,
            0.5,
            maybe(rng, 0.5, 0.4),
        )
    disc = outline(rng, "disc")
    lights = [
        place(disc, *random_point(rng, 0, 1), power_radius(rng, 0.004, 0.04)) for _ in range(int(rng.integers(3, 30)))
    ]
    tones = np.stack([colour(rng, pick(rng, "pale", "sand", "vivid", "haze")) for _ in lights])
    glow = c.image.copy()
    c.many(lights, tones, 0.0, rng.uniform(0, 2))
    sharp = c.image.copy()
    c.blur(0.03)
    c.image = np.maximum(sharp, c.image * np.float32(0.8) + glow * np.float32(0.2))


# Probabilities of the scenes, chosen so that mean VGG-16 responses, relu1_2 to relu4_3, are close to those of photos.
_MIX: tuple[tuple[Callable[[Canvas], None], float], ...] = (
    (landscape, 0.17),
    (portrait, 0.14),
    (leaves, 0.11),
    (heap, 0.11),
    (still, 0.09),
    (macro, 0.09),
    (street, 0.07),
    (forest, 0.07),
    (closeup, 0.06),
    (interior, 0.04),
    (aloft, 0.04),
    (night, 0.01),
)


def _choose(rng: Rng) -> Callable[[Canvas], None]:
    mark = rng.random() * sum(weight for _, weight in _MIX)
    for scene, weight in _MIX:
        mark -= weight
        if mark < 0:
            return scene
    return _MIX[0][0]


def _develop(c: Canvas) -> NDArray[np.uint8]:
    """Add the effects of a camera: lens blur, colour cast, exposure, contrast, grain, sometimes greyscale."""
    rng = c.rng
    image = c.image
    if rng.random() < 0.35:
        c.blur(rng.uniform(0.35, 0.9) / c.unit)
        image = c.image
    grey = image.mean(axis=0)
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.35)
    image = grey + (image - grey) * np.float32(saturation)
    warm, green = rng.normal(0.01, 0.06), rng.normal(0, 0.015)
    # Half way to a medium brightness, as a camera's exposure metering does.
    metered = (0.43 / max(0.05, float(grey.mean()))) ** 0.5
    gain = metered * math.exp(rng.normal(0, 0.12)) * np.exp(np.array([warm, green, -warm]) * (saturation > 0))
    image *= gain.astype(np.float32)[:, None, None]
    if rng.random() < 0.35:
        strength = abs(rng.normal(0, 0.02))
        image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(strength)
    # A lookup table in place of a power for each pixel: faster, and the same on every processor.
    level = np.linspace(0, 1, 1024)
    toned = level ** math.exp(rng.normal(0.05, 0.2))
    toned += rng.uniform(-0.1, 0.7) * (3 * toned**2 - 2 * toned**3 - toned)
    black = abs(rng.normal(0, 0.03))
    table = (np.clip(black + (1 - black) * toned, 0, 1) * 255 + 0.5).astype(np.uint8)
    steps = (np.clip(image, 0, 1) * 1023 + 0.5).astype(np.int16)
    pixels = np.ascontiguousarray(np.take(table, steps).transpose(1, 2, 0))
    if rng.random() < 0.6:
        sharper = ImageFilter.UnsharpMask(rng.uniform(0.6, 1.4), int(rng.integers(40, 180)), 1)
        pixels = np.array(Image.fromarray(pixels).filter(sharper))
    return pixels


def compose(rng: Rng, size: int) -> NDArray[np.uint8]:
    """One synthetic photo, uint8 (size, size, 3) sRGB; all its randomness comes from `rng`."""
    scene = _choose(rng)
    canvas = Canvas(rng, size)
    scene(canvas)
    if rng.random() < 0.06:
        railing(canvas)
    if rng.random() < 0.12:
        x, y, width = *rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.6)
        lettering(canvas, x, y, width, width * rng.uniform(0.1, 0.7), rng.normal(0, 0.3))
    return _develop(canvas)


def render(seed: int, index: int, size: int) -> NDArray[np.uint8]:
    """One synthetic photo, uint8 (size, size, 3) sRGB, size at least 16; equal arguments give equal bytes."""
    return compose(np.random.default_rng([seed, index]), size)

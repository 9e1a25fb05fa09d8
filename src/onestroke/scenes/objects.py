"""The objects of synthetic photos: skies, grounds, trees, people, animals, walls, clutter.

All positions and sizes are in the world units of the canvas, 0 to 1 across the whole scene.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onestroke.scenes.canvas import Canvas, maybe, pick, place, random_point, rectangle
from onestroke.scenes.textures import (
    Field,
    Material,
    Points,
    colour,
    outline,
    power_radius,
    read_tile,
    rotated,
)


def sky(c: Canvas, horizon: float) -> Field:
    """Draw a flat or cloudy sky over the whole canvas; return its colour at the horizon, (3,), for haze."""
    rng = c.rng
    high, low = colour(rng, "sky"), colour(rng, "haze")
    if rng.random() < 0.35:
        high = low * np.float32(rng.uniform(0.85, 1.05))
    t = np.clip(c.rows() / max(horizon, 0.3), 0, 1)
    c.image[:] = (high[:, None] * (1 - t[:, 0]) + low[:, None] * t[:, 0])[:, :, None]
    if rng.random() < 0.5:
        step = rng.uniform(0.5, 1.8) * 200 / c.unit
        axis = np.arange(c.size, dtype=np.float32) * np.float32(step)
        u, v = rng.uniform(0, 512, 2).astype(np.float32)
        noise = read_tile("cloud", axis + u, axis[:, None] * np.float32(rng.uniform(1, 3)) + v, step)
        cover = np.clip((noise - rng.uniform(90, 190)) / np.float32(rng.uniform(30, 120)), 0, 1)
        bright = colour(rng, "pale") * np.float32(rng.uniform(0.75, 1.05))
        grey = np.float32(1.12) - cover * np.float32(rng.uniform(0, 0.35))
        c.image += cover * (bright[:, None, None] * grey - c.image) * np.float32(rng.uniform(0.4, 1))
    return low


def ground(c: Canvas, horizon: float, surface: Material, haze: Field | None = None) -> None:
    """A plane that recedes to the horizon, with its texture in perspective."""
    first = max(0, math.ceil((horizon - c.top) * c.unit))
    if first >= c.size:
        return
    below = np.maximum(c.rows()[first:] - np.float32(horizon), 0.5 / c.unit)
    depth = np.float32(0.45) / (below + np.float32(0.02))
    x = np.arange(c.size, dtype=np.float32) / np.float32(c.unit) + np.float32(c.left - 0.5)
    reach = np.float32(surface.step * 110)
    u = x * depth * reach + np.float32(surface.offset[0])
    v = depth * reach + np.float32(surface.offset[1])
    step = depth * reach / np.float32(c.unit) * np.maximum(np.float32(1.0), depth * np.float32(0.5))
    paint = surface.colours(read_tile(surface.tile, u, np.broadcast_to(v, u.shape), step))
    if haze is not None:
        far = np.clip(depth / 22, 0, 0.6)
        paint = paint + far * (haze[:, None, None] - paint)
    c.image[:, first:] = paint


def ridge(c: Canvas, level: float, height: float, rough: float) -> Points:
    """A fractal skyline as an outline (n, 2) that closes below the picture; level is its mean y in world units."""
    heights = np.zeros(129)
    for k in range(6):
        cells = 2 ** (k + 1)
        heights += np.interp(np.linspace(0, cells, 129), np.arange(cells + 1), c.rng.normal(0, 1, cells + 1)) * rough**k
    line = np.stack([np.linspace(-0.05, 1.05, 129), level - height * heights], 1)
    return np.concatenate([line, [(1.05, 1.3), (-0.05, 1.3)]])


def tree(c: Canvas, x: float, foot: float, height: float, foliage: Material, soft: float = 0.0) -> None:
    """A trunk and a few frayed crowns."""
    rng = c.rng
    width = height * rng.uniform(0.02, 0.06)
    lean = rng.normal(0, 0.05) * height
    trunk = np.array(
        [
            (x - width, foot),
            (x + lean - width / 2, foot - height * 0.7),
            (x + lean + width / 2, foot - height * 0.7),
            (x + width, foot),
        ]
    )
    c.body(trunk, c.make("wood", "bark", 0.7), 0.5, soft)
    for k in range(int(rng.integers(2, 5))):
        spread = height * rng.uniform(0.16, 0.34)
        cx, cy = x + lean + rng.normal(0, 0.16) * height, foot - height * rng.uniform(0.5, 0.95)
        crown = place(outline(rng, "blob"), cx, cy, spread, spread * rng.uniform(0.6, 1.2))
        c.body(crown, foliage, 0.75, soft, shadow=0.3 if k else 0.0, rough=rng.uniform(0.6, 1.0))


def branch(
    c: Canvas, x: float, y: float, angle: float, length: float, width: float, depth: int, shapes: list[Points]
) -> None:
    """A forking twig, appended to `shapes` as thin outlines."""
    rng = c.rng
    bend = angle + rng.normal(0, 0.25)
    tip = (x + length * math.cos(bend), y + length * math.sin(bend))
    side = np.array([-math.sin(bend), math.cos(bend)]) * width
    start, end = np.array([x, y]), np.array(tip)
    shapes.append(np.array([start - side, end - side * 0.65, end + side * 0.65, start + side]))
    if depth > 0:
        for turn in rng.normal(0, 0.55, int(rng.integers(1, 4))):
            branch(c, *tip, bend + turn, length * rng.uniform(0.55, 0.95), width * 0.68, depth - 1, shapes)


def figure(c: Canvas, x: float, foot: float, height: float, soft: float = 0.0) -> None:
    """A standing person of a few clothed parts."""
    rng = c.rng
    skin, top, below = colour(rng, "skin"), c.make(pick(rng, "cloth", "vivid", "pale")), c.make("cloth")
    h, w = height, height * rng.uniform(0.1, 0.14)
    for side in (-1, 1):
        hip, toe = x + side * w * 0.4, x + side * w * rng.uniform(0.2, 0.9)
        leg = np.array(
            [
                (hip - w * 0.42, foot - h * 0.5),
                (hip + w * 0.42, foot - h * 0.5),
                (toe + w * 0.3, foot),
                (toe - w * 0.3, foot),
            ]
        )
        c.body(leg, below, 0.5, soft, shadow=0.25)
        hand = x + side * w * rng.uniform(1.2, 2.2)
        arm = np.array(
            [
                (x + side * w * 0.7, foot - h * 0.83),
                (x + side * w * 1.1, foot - h * 0.8),
                (hand + w * 0.15, foot - h * rng.uniform(0.45, 0.6)),
                (hand - w * 0.15, foot - h * 0.47),
            ]
        )
        c.body(arm, skin if rng.random() < 0.5 else top, 0.4, soft)
    c.body(place(outline(rng, "box"), x, foot - h * 0.66, w * 1.3, h * 0.24), top, 0.6, soft)
    c.body(place(outline(rng, "ellipse"), x, foot - h * 0.92, w * 0.62, h * 0.1), colour(rng, "fur"), 0.4, soft)
    c.body(place(outline(rng, "disc"), x + w * 0.06, foot - h * 0.9, w * 0.5, h * 0.07), skin, 0.7, soft)


def beast(c: Canvas, x: float, foot: float, size: float) -> None:
    """A four-legged animal in profile."""
    rng = c.rng
    coat, way = c.make("fur"), 1 if rng.random() < 0.5 else -1
    rough = 0.35 if rng.random() < 0.6 else 0.0
    for leg in (-0.55, -0.35, 0.35, 0.55):
        lean = rng.normal(0, 0.1)
        shape = np.array([(leg - 0.12, -0.6), (leg + 0.12, -0.6), (leg + lean + 0.06, 0.0), (leg + lean - 0.06, 0.0)])
        c.body(place(shape, x, foot, size * way, size), coat, 0.4, shadow=0.35)
    c.body(
        place(outline(rng, "blob"), x, foot - size * 0.75, size * 0.85, size * 0.4),
        coat,
        0.9,
        0.0,
        0.35,
        0.0,
        rough,
    )
    tail = rotated(outline(rng, "bar"), rng.uniform(-0.4, 1.2))
    c.body(place(tail, x - way * size, foot - size * 0.7, size * 0.35 * way, size * 0.6), coat, 0.3)
    hx, hy = x + way * size * 0.95, foot - size * rng.uniform(0.8, 1.25)
    for ear in (-0.12, 0.12):
        c.body(
            place(rotated(outline(rng, "leaf"), -1.3), hx + ear * size, hy - size * 0.25, size * 0.16),
            coat,
            0.6,
        )
    c.body(place(outline(rng, "blob"), hx, hy, size * 0.34, size * 0.3), coat, 0.8, 0.0, 0.3, 0.1, rough)
    c.body(place(outline(rng, "ellipse"), hx + way * size * 0.25, hy + size * 0.08, size * 0.2), coat, 0.7)
    c.body(
        place(outline(rng, "disc"), hx + way * size * 0.1, hy - size * 0.06, size * 0.04),
        colour(rng, "dark"),
        0.0,
        0.0,
        0.0,
        1.5,
    )


def facade(c: Canvas, quad: Points, surface: Material, columns: int, rows: int) -> None:
    """A wall (its four corners, clockwise from the top left) with a grid of framed windows."""
    rng = c.rng
    c.body(quad, surface, rng.uniform(0, 0.25))
    a, b, d, e = quad
    wide, tall = rng.uniform(0.35, 0.75), rng.uniform(0.4, 0.8)
    glass, frame = (
        colour(rng, pick(rng, "dark", "water", "dark", "sky")),
        colour(rng, pick(rng, "pale", "wall", "wood")),
    )
    shapes: list[Points] = []
    tones: list[Field] = []
    for r in range(rows):
        for k in range(columns):
            lit = glass * np.float32(rng.uniform(0.5, 1.5))
            for grow, tone in ((1.22, frame), (1.0, lit), (0.0, lit * np.float32(1.5) + np.float32(0.04))):
                u = (
                    k
                    + 0.5
                    + wide * (np.array([-0.5, 0.5, 0.5, -0.5]) * grow if grow else np.array([-0.4, 0.0, 0.2, -0.4]))
                ) / columns
                v = (r + 0.5 + tall * (np.array([-0.5, -0.5, 0.5, 0.5]) * (grow or 0.85))) / rows
                top, bottom = a + (b - a) * u[:, None], e + (d - e) * u[:, None]
                shapes.append(top + (bottom - top) * v[:, None])
                tones.append(tone)
    c.many(shapes, np.array(tones), 0.15)


def litter(
    c: Canvas,
    count: int,
    kinds: Sequence[str],
    families: Sequence[str],
    low: float,
    soft: float = 0.0,
    top: float = 0.0,
) -> None:
    """Small flat bodies, radii r distributed as r^-3, scattered over the canvas below world y `top`."""
    rng = c.rng
    tones = np.stack([colour(rng, str(f)) for f in rng.choice(families, 6)])
    shapes: list[Points] = []
    for _ in range(count):
        radius = power_radius(rng, low, 0.09)
        y = rng.uniform(max(c.top, top), max(top, c.top + 1 / c.zoom))
        near = 0.35 + (y - top) / max(1e-3, 1 - top) if top else 1.0
        leaf = rotated(outline(rng, str(rng.choice(kinds))), rng.uniform(0, 6.3))
        shapes.append(
            place(leaf, c.left + rng.random() / c.zoom, y, radius * near, radius * near * (0.5 if top else 1))
        )
    chosen = tones[rng.integers(0, 6, count)] * rng.uniform(0.65, 1.3, (count, 1)).astype(np.float32)
    c.many(shapes, chosen, 0.4, soft)


def backdrop(c: Canvas) -> None:
    """The blurred background of a close-up: large leaves, bokeh, a wall or a horizon."""
    rng = c.rng
    kind = rng.random()
    if kind < 0.3:
        c.fill(c.make(pick(rng, "pale", "wall", "dark", "cloth", "haze"), "smooth", 2.0))
    elif kind < 0.5:
        sky(c, 0.6)
        ground(c, rng.uniform(0.3, 0.8), c.make(pick(rng, "grass", "earth", "sand", "water")))
    else:
        c.fill(c.make(pick(rng, "leafage", "grass", "earth", "dark", "wall", "wood"), None, 2.0))
    if kind > 0.25:
        for _ in range(int(rng.integers(3, 9))):
            shape = rotated(outline(rng, pick(rng, "disc", "blob", "bar", "box")), rng.uniform(0, 6.3))
            radius = math.exp(rng.uniform(-3.2, -0.9))
            family = pick(rng, "leafage", "dark", "pale", "wall", "cloth", "grass", "earth", "vivid")
            c.body(place(shape, *random_point(rng, 0, 1), radius), colour(rng, family), 0.3)
    c.shade(rng.uniform(0, 0.4))
    c.blur(math.exp(rng.uniform(math.log(0.006), math.log(0.05))))
    if rng.random() < 0.2:
        disc = outline(rng, "disc")
        lights = [place(disc, *random_point(rng, 0, 1), rng.uniform(0.01, 0.05)) for _ in range(25)]
        tones = np.stack([colour(rng, pick(rng, "haze", "pale", "grass", "vivid")) for _ in lights])
        before = c.image.copy()
        c.many(lights, tones, 0.0, 0.8)
        c.image += (before - c.image) * np.float32(rng.uniform(0.3, 0.8))


def railing(c: Canvas) -> None:
    """A fence, a grid or a shelf of thin bars across the whole view, in one colour."""
    rng = c.rng
    gap, thick = rng.uniform(0.03, 0.15), rng.uniform(0.002, 0.02)
    slant, top, bottom = rng.normal(0, 0.15), rng.uniform(-0.1, 0.6), rng.uniform(0.5, 1.1)
    bars = [rectangle(x, top + slant * x, x + thick, bottom + slant * x) for x in np.arange(-0.1, 1.1, gap)]
    rails = rng.uniform(min(top, bottom), max(top, bottom), int(rng.integers(1, 5)))
    bars += [
        np.array([(-0.2, y), (1.2, y + slant * 1.2), (1.2, y + slant * 1.2 + thick), (-0.2, y + thick)]) for y in rails
    ]
    tone = colour(rng, pick(rng, "dark", "pale", "wood", "stone"))
    c.many([b + thick * 0.6 for b in bars], np.stack([tone * np.float32(0.4)] * len(bars)), 0.0, 0.6)
    c.many(bars, np.stack([tone] * len(bars)), 0.3)


def lettering(c: Canvas, x: float, y: float, width: float, height: float, slant: float) -> None:
    """Rows of small marks, such as writing, buttons or ornament, around a point."""
    rng = c.rng
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(3, 10))
    w, h = width / columns, height / rows
    shapes: list[Points] = []
    for k in range(rows * columns):
        cx, cy = (k % columns + 0.5 - columns / 2) * w, (k // columns + 0.5 - rows / 2) * h
        for _ in range(int(rng.integers(1, 4))):
            mark = outline(rng, pick(rng, "box", "bar", "bar", "disc"))
            mark = rotated(mark * (1, 1.8), maybe(rng, 0.6, rng.choice(np.array([1.57, 0.8, -0.8]))))
            shapes.append(place(rotated(place(mark, cx, cy, w * 0.32, h * 0.36), slant), x, y, 1.0))
    ink = colour(rng, pick(rng, "dark", "pale", "vivid", "dark"))
    c.many(shapes, np.stack([ink] * len(shapes)), 0.1)


def things(c: Canvas, horizon: float) -> None:
    """A person, an animal, a boat or nothing, on the ground below the horizon."""
    rng = c.rng
    roll = rng.random()
    foot = rng.uniform(horizon + 0.08, 1.05)
    if roll < 0.25:
        for _ in range(int(rng.integers(1, 4))):
            figure(c, rng.uniform(0.1, 0.9), foot, 0.15 + (foot - horizon) * rng.uniform(0.7, 1.2))
    elif roll < 0.5:
        beast(c, rng.uniform(0.2, 0.8), foot, 0.06 + (foot - horizon) * rng.uniform(0.25, 0.6))
    elif roll < 0.65:
        vehicle(c, rng.uniform(0.2, 0.8), foot, 0.1 + (foot - horizon) * rng.uniform(0.3, 0.7))


def vehicle(c: Canvas, x: float, foot: float, size: float) -> None:
    """A car: a shiny body with windows and wheels."""
    rng = c.rng
    paint = c.make(pick(rng, "vivid", "pale", "dark", "cloth"), "smooth")
    c.body(place(outline(rng, "ellipse"), x, foot, size * 1.1, size * 0.2), colour(rng, "dark"), 0.0, 1.5)
    c.body(place(outline(rng, "box"), x, foot - size * 0.6, size * 0.75, size * 0.8), paint, 0.6, shine=0.5)
    c.body(
        place(outline(rng, "box"), x, foot - size * 0.66, size * 0.62, size * 0.45),
        colour(rng, "dark"),
        0.9,
        shine=0.8,
    )
    c.body(place(outline(rng, "box"), x, foot - size * 0.33, size * 1.2, size * 0.42), paint, 0.8, shine=0.6)
    disc = outline(rng, "disc")
    for side in (-0.6, 0.6):
        c.body(place(disc, x + side * size, foot - size * 0.12, size * 0.2), colour(rng, "dark"), 0.3)
        c.body(
            place(disc, x + side * size, foot - size * 0.12, size * 0.11),
            colour(rng, "stone"),
            0.9,
            shine=0.8,
        )


def face(c: Canvas, x: float, y: float, r: float, animal: bool) -> None:
    """A head with hair or fur, eyes, nose and mouth; r is about its half width."""
    rng = c.rng
    skin = c.make("fur" if animal else "skin", None if animal else "smooth")
    hair = (
        skin
        if animal
        else c.make(pick(rng, "fur", "dark", "fur", "cloth"), pick(rng, "hair", "hair", "smooth", "weave"))
    )
    rough = rng.uniform(0.2, 0.5) if animal else 0.0
    clothes = c.make(pick(rng, "cloth", "pale", "vivid", "fur", "dark"))
    c.body(
        place(outline(rng, "blob"), x + rng.normal(0, 0.1) * r, y + r * 2.6, r * 2.1, r * 1.7),
        clothes,
        0.7,
        0.6,
        0.3,
    )
    c.body(place(outline(rng, "blob"), x, y - r * 0.25, r * 1.2, r * 1.45), hair, 0.8, 0.0, 0.3, 0.0, 0.3)
    if animal:
        for side in (-1, 1):
            ear = rotated(outline(rng, "leaf"), -1.57 + side * rng.uniform(0.2, 1.2))
            c.body(place(ear, x + side * r * 0.8, y - r * 0.9, r * 0.7), hair, 0.8, 0, 0.3, 0, 0.2)
    else:
        c.body(place(outline(rng, "box"), x, y + r * 1.1, r * 0.6, r * 0.7), skin, 0.6, 0.6)
    c.body(place(outline(rng, "disc"), x, y, r * 0.95, r * 1.2), skin, 0.8, 0.5, 0.35, 0.15, rough)
    _features(c, x, y, r, skin, hair, animal)


def _features(c: Canvas, x: float, y: float, r: float, skin: Material, hair: Material, animal: bool) -> None:
    """Eyes, brows, nose and mouth, turned a little to one side."""
    rng = c.rng
    turn = rng.normal(0, 0.22) * r
    dark, white = colour(rng, "dark"), colour(rng, "pale")
    disc = outline(rng, "disc")
    for side in (-1, 1):
        ex, ey = x + turn + side * r * 0.38, y - r * 0.15
        c.body(place(disc, ex, ey - r * 0.02, r * 0.24, r * 0.17), skin.scale[:, 70], 0.2, 0.8)
        c.body(place(disc, ex, ey, r * 0.17, r * 0.09), white if not animal else dark, 0.3, 0.3)
        c.body(place(disc, ex, ey, r * 0.085), dark, 0.0, 0.0, 0.0, 2.0)
        if not animal:
            c.body(
                place(rotated(outline(rng, "leaf"), side * 0.1), ex, ey - r * 0.24, r * 0.25, r * 0.12),
                hair.scale[:, 90],
                0.0,
                0.5,
            )
    c.body(
        place(outline(rng, "ellipse"), x + turn * 1.4, y + r * 0.2, r * 0.16, r * 0.3),
        dark if animal else skin,
        0.45,
        0.5 if animal else r * 0.05 * c.unit,
        0.15,
        0.3,
    )
    c.body(
        place(outline(rng, "leaf"), x + turn, y + r * 0.65, r * 0.38, r * 0.3),
        skin.scale[:, 40] * np.array([1.1, 0.8, 0.8], np.float32),
        0.3,
        0.5,
    )

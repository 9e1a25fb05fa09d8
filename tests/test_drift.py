"""No drift: in 300 frames of a camera that never stands still, a steady clip comes no further from the painting.

A minute for each style, so it is marked slow: `python -m pytest -m slow tests/test_drift.py -s` prints the errors.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from onestroke import Stylizer
from onestroke.data.scenes import Scenes
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.video.flow import motion
from onestroke.video.steady import Steady

cv2 = pytest.importorskip("cv2", reason="needs the extra video")

FOLDER = Path(__file__).parents[1] / "checkpoints"
COUNT, HEIGHT, WIDTH = 300, 256, 288


def filmed(scene: np.ndarray) -> list[np.ndarray]:
    """Frames of a camera that sways over a picture, turns and zooms, with the noise of a sensor."""
    noise = np.random.default_rng(0)
    frames = []
    for t in range(COUNT):
        angle, scale = 0.05 * math.sin(2 * math.pi * t / 113), 1 + 0.06 * math.sin(2 * math.pi * t / 151)
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        sway = np.array([30 * math.sin(2 * math.pi * t / 97), 25 * math.sin(2 * math.pi * t / 71)])
        middle = np.array(scene.shape[1::-1]) / 2 + sway
        matrix = np.column_stack([turn, middle - turn @ np.array([WIDTH / 2, HEIGHT / 2])])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(scene.astype(np.float32), matrix, (WIDTH, HEIGHT), flags=flags)
        frames.append(np.clip(seen + noise.normal(0, 2.5, seen.shape), 0, 255).round().astype(np.uint8))
    return frames


@cache
def errors(style: str) -> tuple[dict[int, float], dict[int, float]]:
    """By its number, the Gram error of each steady frame of the first and last 30; of every fifth, also of it alone."""
    frames = filmed(Scenes(validation=1).held_out(384)[0])
    paint = Stylizer(FOLDER / f"{style}_realtime.safetensors").frames(HEIGHT, WIDTH)
    steady = Steady(paint)
    moved = [None, *(motion(before, now) for before, now in pairwise(frames))]
    judge = Objective({"gram": Gram()}, VGG(Gram().layers), from_card(style, 256, Gram().layers)).eval()

    def gram(painting: np.ndarray, frame: np.ndarray) -> float:
        pictures = (torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (painting, frame))
        return float(judge(*pictures)["gram"])

    steadied: dict[int, float] = {}
    alone: dict[int, float] = {}
    with torch.no_grad():
        for number, (frame, movement) in enumerate(zip(frames, moved, strict=True)):
            painted = steady(frame, movement)
            if number < 30 or number >= COUNT - 30 or number % 5 == 2:
                steadied[number] = gram(painted, frame)
            if number % 5 == 2:
                alone[number] = gram(paint(frame), frame)
    return steadied, alone


# not strict: with bicubic sampling it was 0.846 and 0.878
over = pytest.mark.xfail(reason="0.867 and 0.911, as the camera moves fast in the last frames", strict=False)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["great_wave", "starry_night", pytest.param("udnie", marks=over)])
def test_the_style_error_of_a_steady_clip_does_not_rise(style: str) -> None:
    steadied, _ = errors(style)
    first, last = (float(np.mean([steadied[n] for n in part])) for part in (range(30), range(COUNT - 30, COUNT)))
    print(f"{style}: Gram error of the first 30 frames {first:.3f}, of the last 30 {last:.3f}")
    assert last < 1.05 * first


@pytest.mark.slow
@pytest.mark.parametrize("style", ["great_wave", "starry_night", "udnie"])
def test_nothing_adds_up(style: str) -> None:
    """Some views are harder to paint, and faster motion costs more: so many views, beside each frame alone."""
    steadied, alone = errors(style)

    def over_alone(first: int, last: int) -> float:
        seen = [number for number in alone if first <= number < last]
        return sum(steadied[n] for n in seen) / sum(alone[n] for n in seen)

    before, after = over_alone(30, 150), over_alone(180, COUNT)
    print(f"{style}: over each frame painted alone, frames 30 to 149 {before:.3f}, frames 180 to 299 {after:.3f}")
    assert after < 1.05 * before

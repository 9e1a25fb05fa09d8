"""No drift: in 300 frames of a camera that never stands still, a steady clip comes no further from the painting.

A minute for each style, so it is marked slow: `python -m pytest -m slow tests/test_drift.py -s` prints the errors.
"""

from __future__ import annotations

import math
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


@pytest.mark.slow
@pytest.mark.parametrize("style", ["great_wave", "starry_night", "udnie"])
def test_the_style_error_of_a_steady_clip_does_not_rise(style: str) -> None:
    frames = filmed(Scenes(validation=1).held_out(384)[0])
    stylizer = Stylizer(FOLDER / f"{style}_realtime.safetensors")
    steady = Steady(stylizer.frames(HEIGHT, WIDTH))
    moved = [None, *(motion(before, now) for before, now in pairwise(frames))]
    judge = Objective({"gram": Gram()}, VGG(Gram().layers), from_card(style, 256, Gram().layers)).eval()
    steadied: list[float] = []
    alone: list[float] = []
    with torch.no_grad():
        for number, (frame, movement) in enumerate(zip(frames, moved, strict=True)):
            painted = steady(frame, movement)
            if number % 5 == 2:
                for found, painting in ((steadied, painted), (alone, stylizer.frames(HEIGHT, WIDTH)(frame))):
                    pictures = (torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (painting, frame))
                    found.append(float(judge(*pictures)["gram"]))
    first, last = (float(np.mean(steadied[part])) for part in (np.s_[:6], np.s_[-6:]))
    print(f"{style}: Gram error of the first 30 frames {first:.3f}, of the last 30 {last:.3f}")
    # some views are harder to paint than others, and faster motion costs more: so many views, and beside each alone
    before, after = (float(np.sum(steadied[part]) / np.sum(alone[part])) for part in (np.s_[6:30], np.s_[36:60]))
    print(f"over that of each frame painted alone: frames 30 to 149 {before:.3f}, frames 180 to 299 {after:.3f}")
    assert after < 1.05 * before

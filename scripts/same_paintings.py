"""Paint a made-up picture with style files at several settings, and print a hash of each painting.

    PYTHONPATH=src python scripts/same_paintings.py checkpoints/*.safetensors

`scripts/same.py` runs it with two versions of the package. Only what users may call is used here, so that earlier
versions can be asked as well.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onestroke import Stylizer, UserError

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"strength": 0.2},
    {"strength": 0.8, "stroke": 0.6},
    {"mix": "great_wave"},
    {"mix": "udnie", "strength": 0.1, "stroke": 1.0},
    {"mix": "starry_night:0.6,great_wave:0.4", "strength": 0.7},
)
"""Of which each file refuses some, as it has one style or no controls."""


def made_up(height: int = 97, width: int = 130) -> Tensor:
    """Slopes, an edge and noise, (1, 3, H, W) in [0, 1]; sides that no network divides evenly."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    channels = np.stack([x, y, (x + y) / 2])
    channels[:, height // 3 : height // 2, width // 4 : width // 2] = [[[0.9]], [[0.2]], [[0.1]]]
    noise = np.random.default_rng(0).normal(0, 0.05, channels.shape)
    return torch.from_numpy((channels + noise).clip(0, 1).astype(np.float32))[None]


def hashes(path: Path, picture: Tensor) -> dict[str, str]:
    """The sha256 of a file's paintings, by the settings that it has, and of one with a map of two styles."""
    found = {}
    for settings in SETTINGS:
        try:
            stylizer = Stylizer(path, device="cpu", **settings)
        except UserError:
            continue
        found[json.dumps(settings)] = sha256(stylizer.paint(picture))
        if "," in settings.get("mix", ""):
            found[json.dumps(settings) + " and a map"] = sha256(stylizer.paint(picture, style_map=picture[:, :1]))
    return found


def sha256(painting: Tensor) -> str:
    """Of the numbers of a painting."""
    return hashlib.sha256(painting.contiguous().numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    picture = made_up()
    print(json.dumps({Path(path).stem: hashes(Path(path), picture) for path in sys.argv[1:]}))

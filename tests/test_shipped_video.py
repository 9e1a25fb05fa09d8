"""The recurrent styles that ship, on motion that is known exactly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from onestroke.data.datamodule import to_image
from onestroke.data.scenes import Scenes
from onestroke.evaluation.exact_motion import clips, warping_error
from onestroke.inference.stylizer import Stylizer
from onestroke.video.flow import motion
from onestroke.video.last_painting import LastPainting

pytest.importorskip("cv2", reason="needs pip install 'onestroke[video]'")

FOLDER = Path(__file__).parents[1] / "checkpoints"


@pytest.mark.slow
@pytest.mark.parametrize("style", ["great_wave", "starry_night", "udnie"])
def test_clips_are_painted_more_steadily_than_frame_by_frame(style: str) -> None:
    scene = to_image(torch.from_numpy(Scenes(validation=1).held_out(256)[0])[None])
    errors: dict[str, list[list[float]]] = {"gallery_realtime": [], "gallery_video": []}
    for clip in clips(scene, names=("pan", "zoom", "rotation")):
        shown = [np.ascontiguousarray((f.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)) for f in clip.frames]
        motions = [None, *(motion(before, now) for before, now in pairwise(shown))]
        for name, found in errors.items():
            paint = LastPainting(Stylizer(FOLDER / f"{name}.safetensors", mix=style).frames(*shown[0].shape[:2]))
            pictures = np.stack([paint(*pair) for pair in zip(shown, motions, strict=True)])
            painted = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
            found.append([warping_error(painted, clip, gap) for gap in (1, 5)])
    before, after = (np.square(found).mean(axis=0) ** 0.5 for found in errors.values())
    assert after[0] < before[0] / 2.5
    assert after[1] < before[1] / 1.6

"""A step of each experiment as it is, but for the size of its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke.style_file import load
from tests.commands import ROOT
from tests.running import CONFIGS, Seen, alike, composed, run

HERE = ("trainer=cpu", "trainer.precision=32-true", "trainer.workers=0")
SMALL = {"steps": 1, "crop": 32, "measure": False, "plateau": None}


def experiment(name: str, folder: Path) -> dict[str, Any]:
    photos = ["data.root=photos"] if name == "full" else []
    config = composed(f"experiment={name}", *HERE, "data.validation=1", *photos)
    if name == "full":
        (folder / "photos" / "train2017").mkdir(parents=True)
        for i in range(7):
            pixels = np.random.default_rng(i).integers(0, 256, (9, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((120, 90)).save(folder / "photos" / "train2017" / f"{i}.jpg")
    if name in ("realtime", "video"):
        (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
        config["out"] = f"{name}.safetensors"
    return {**config, **SMALL, "batch_size": len(config["style"]["cards"])}


# what each does in its one step, and how its network differs
EXPERIMENTS: dict[str, tuple[set[str], type[torch.optim.Optimizer] | None]] = {
    "quick": ({"content", "gram", "checkerboard", "shift_consistency"}, None),
    "standard": ({"content", "gram", "checkerboard", "shift_consistency"}, None),
    "full": ({"content", "gram", "checkerboard", "shift_consistency"}, None),
    "many": ({"content", "gram", "contrast", "checkerboard", "activation_peaks", "shift_consistency"}, None),
    "realtime": ({"teacher_image", "teacher_relu2_2"}, None),
    "video": ({"content", "gram", "checkerboard", "shift_consistency", "temporal"}, None),
    "classic": ({"raw_content", "raw_gram"}, torch.optim.Adam),
}


def test_no_experiment_is_left_out() -> None:
    assert set(EXPERIMENTS) == {path.stem for path in (CONFIGS / "experiment").glob("*.yaml")}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_step_of_each_experiment(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = experiment(name, tmp_path)
    terms, optimizer = EXPERIMENTS[name]
    seen: Seen = run(config, tmp_path / "run")
    assert seen.terms == [terms]
    assert optimizer is None or type(seen.trainer.optimizers[0]) is optimizer
    exported, metadata = load(seen.path)
    assert seen.norms[0] > 0
    assert alike(exported, seen.module.ema, 1e-3)
    assert metadata.training["steps"] == 1
    assert metadata.styles == list(config["style"]["cards"])
    assert {"total", *config["loss"]} - {"shift_consistency", "temporal", "activation_peaks"} <= metadata.metrics.keys()
    assert all(np.isfinite(value) for value in metadata.metrics.values())

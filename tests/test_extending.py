"""A new loss, network and dataset are one Python file and one yaml each, and a line in a list for the network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from tests.commands import ROOT, command, environment, runs, scalars

FILES = {
    "src/onestroke/losses/brightness.py": """
from torch import Tensor
from onestroke.losses.term import Term, Views

class Brightness(Term):
    reads_content = True
    def forward(self, views: Views) -> Tensor:
        return (views.output["image"].mean() - views.content["image"].mean()).square()
""",
    "configs/loss/brightness.yaml": """
brightness:
  _target_: onestroke.losses.brightness.Brightness
  layers: [image]
  weight: 3.0
""",
    "src/onestroke/networks/tint.py": """
import torch
from torch import Tensor, nn

class Tint(nn.Module):
    def __init__(self, kernel: int = 1) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, kernel, padding=kernel // 2)
        nn.init.dirac_(self.mix.weight)
    def forward(self, image: Tensor) -> Tensor:
        return self.mix(image)
""",
    "configs/network/tint.yaml": """
_target_: onestroke.networks.tint.Tint
kernel: 3
""",
    "src/onestroke/data/stripes.py": """
import numpy as np

class Stripes:
    def __init__(self, width: int = 4) -> None:
        self.width = width
    def preflight(self) -> None:
        pass
    def sample(self, n: int, seed: int, crop: int) -> tuple[np.ndarray, list[str]]:
        colours = np.random.default_rng([seed, n]).integers(0, 256, (crop // self.width, 3), dtype=np.uint8)
        row = np.repeat(colours, self.width, axis=0)
        return np.repeat(row[None], crop, axis=0), []
    def held_out(self, size: int) -> list[np.ndarray]:
        return [self.sample(0, 999, size)[0]]
    def describe(self) -> str:
        return f"stripes of {self.width}"
""",
    "configs/data/stripes.yaml": """
_target_: onestroke.data.stripes.Stripes
width: 8
""",
}


LISTED = "src/onestroke/networks/listed.py"
OWN = ("loss=[content,gram,brightness]", "network=tint", "data=stripes")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project, copied, with the six files added."""
    root = tmp_path / "project"
    skip = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(ROOT / "src", root / "src", ignore=skip)
    (root / "src" / "onestroke" / "assets").symlink_to(ROOT / "src" / "onestroke" / "assets")
    shutil.copytree(ROOT / "configs", root / "configs")
    for script in ("train.py", "infer.py"):
        shutil.copy(ROOT / script, root / script)
    for name, text in FILES.items():
        path = root / name
        assert not path.exists()
        path.write_text(text.lstrip())
    return root


def list_tint(tree: Path) -> None:
    """Add the network to the list of those that a style file may name."""
    path = tree / LISTED
    text = path.read_text(encoding="utf-8")
    listed = text.replace(
        '    "RealtimeNetwork": RealtimeNetwork,\n', '    "RealtimeNetwork": RealtimeNetwork,\n    "Tint": Tint,\n'
    )
    assert listed != text
    path.write_text(
        listed.replace("\nNETWORKS", "from onestroke.networks.tint import Tint\n\nNETWORKS"), encoding="utf-8"
    )


def test_one_file_and_one_yaml_each(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the copy and not the installed package, in this test's own commands only
    monkeypatch.setattr("tests.commands.environment", lambda: {**environment_before, "PYTHONPATH": str(tree / "src")})
    work = tmp_path / "work"
    work.mkdir()
    tiny = ("trainer=cpu", "trainer.workers=0", "trainer.precision=32-true", "crop=32", "batch_size=2", "steps=3")
    unlisted = command("train.py", *OWN, *tiny, cwd=work, root=tree)
    assert unlisted.returncode == 2
    assert f"add it to NETWORKS in {LISTED}" in unlisted.stderr
    assert "Traceback" not in unlisted.stderr
    list_tint(tree)
    done = command("train.py", *OWN, *tiny, cwd=work, root=tree)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "stripes of 8" in done.stdout
    (run,) = runs(work)
    assert len(scalars(run)["train/brightness"]) > 0
    ckpt = work / "checkpoints" / "starry_night.safetensors"
    with safe_open(str(ckpt), framework="np") as file:
        document = json.loads(file.metadata()["onestroke"])
        assert file.get_tensor("mix.weight").shape == (3, 3, 3, 3)
    assert document["network"] == {"name": "Tint", "args": {"kernel": 3}}
    assert "brightness" in document["metrics"]

    photo = work / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)).save(photo)
    painted = command("infer.py", f"ckpt={ckpt}", f"input={photo}", cwd=work, root=tree)
    assert painted.returncode == 0, painted.stderr
    assert Image.open(work / "photo.starry_night.png").size == (13, 9)

    # what configs/ keeps is the user's own, and so the run goes on
    again = command("train.py", f"resume={run}", "steps=4", cwd=work, root=tree)
    assert again.returncode == 0, again.stderr
    # what only the resume file names is not built, but told
    (tree / "configs" / "loss" / "brightness.yaml").unlink()
    unknown = command("train.py", f"resume={run}", "steps=5", cwd=work, root=tree)
    assert unknown.returncode == 2
    assert "loss.brightness is onestroke.losses.brightness.Brightness" in unknown.stderr
    assert "repeat what the run was started with, loss=" in unknown.stderr


environment_before = environment()

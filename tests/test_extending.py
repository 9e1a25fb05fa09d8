"""A new loss, network and dataset are one Python file and one yaml each, and a line in a list for the network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from tests.commands import ROOT, environment, runs, scalars

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
    list_tint(root)
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


TRAINING = (
    "trainer=cpu", "trainer.workers=0", "trainer.precision=32-true", "crop=32", "batch_size=2", "steps=2",
    "measure=false",
)  # fmt: skip


@dataclass
class Extended:
    """What came of the copied project's commands, in the order of `STEPS`."""

    work: Path
    done: dict[str, subprocess.CompletedProcess[str]]


# each of them with the package imported once: it is the copy, which this process can't import beside its own
STEPS = """
import json, sys
from pathlib import Path
from onestroke.networks.listed import NETWORKS
from tests.commands import command

root, work, training, own = json.loads(sys.argv[1])
root, work = Path(root), Path(work)
style = work / "checkpoints" / "starry_night.safetensors"
listed = NETWORKS.pop("Tint")  # as if its line in the list were missing
done = {"unlisted": command("train.py", *own, *training, cwd=work, root=root)}
NETWORKS["Tint"] = listed
done["train"] = command("train.py", *own, *training, cwd=work, root=root)
(run,) = (path.parent for path in work.rglob("last.ckpt"))
done["infer"] = command("infer.py", f"ckpt={style}", "input=photo.png", cwd=work, root=root)
done["resume"] = command("train.py", f"resume={run}", "steps=3", cwd=work, root=root)
(root / "configs" / "loss" / "brightness.yaml").unlink()
done["unknown"] = command("train.py", f"resume={run}", "steps=4", cwd=work, root=root)
print(json.dumps({name: [each.returncode, each.stdout, each.stderr] for name, each in done.items()}))
"""


@pytest.fixture
def extended(tree: Path, tmp_path: Path) -> Extended:
    # the copy and not the installed package, in these commands only
    variables = {**environment(), "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(ROOT)])}
    work = tmp_path / "work"
    work.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)).save(work / "photo.png")
    given = json.dumps([str(tree), str(work), TRAINING, OWN])
    done = subprocess.run(
        [sys.executable, "-c", STEPS, given], cwd=work, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    results = {name: subprocess.CompletedProcess([name], *each) for name, each in json.loads(done.stdout).items()}
    return Extended(work, results)


def test_one_file_and_one_yaml_each(extended: Extended) -> None:
    unlisted, done, painted, again, unknown = extended.done.values()
    assert unlisted.returncode == 2
    assert f"add it to NETWORKS in {LISTED}" in unlisted.stderr
    assert "Traceback" not in unlisted.stderr
    assert done.returncode == 0, done.stderr + done.stdout
    assert "stripes of 8" in done.stdout
    (run,) = runs(extended.work)
    assert len(scalars(run)["train/brightness"]) > 0
    ckpt = extended.work / "checkpoints" / "starry_night.safetensors"
    with safe_open(str(ckpt), framework="np") as file:
        document = json.loads(file.metadata()["onestroke"])
        assert file.get_tensor("mix.weight").shape == (3, 3, 3, 3)
    assert document["network"] == {"name": "Tint", "args": {"kernel": 3}}
    assert "brightness" in document["metrics"]

    assert painted.returncode == 0, painted.stderr
    assert Image.open(extended.work / "photo.starry_night.png").size == (13, 9)

    # what configs/ keeps is the user's own, and so the run goes on
    assert again.returncode == 0, again.stderr
    assert document["training"]["steps"] == 3
    # what only the resume file names is not built, but told
    assert unknown.returncode == 2
    assert "loss.brightness is onestroke.losses.brightness.Brightness" in unknown.stderr
    assert "repeat what the run was started with, loss=" in unknown.stderr

"""The scripts that make sheets of pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from onestroke.networks.layers import InstanceNorm
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.style_file import read_document, save
from tests.commands import TINY, command
from tests.processes import Started, as_script
from tests.test_controls import controlled, saved

ARGS = {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "styles": 2}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A style file of two styles that differ."""
    torch.manual_seed(0)
    network = ResidualNetwork(**ARGS)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, InstanceNorm):
            torch.nn.init.normal_(module.weight, 1, 0.5)
    torch.nn.init.normal_(network.paint.convolution.weight, 0, 0.1)
    document = {"name": "two", "styles": [{"name": "a"}, {"name": "b"}]}
    save(tmp_path / "two.safetensors", network, Metadata({"name": "ResidualNetwork", "args": ARGS}, document))
    return tmp_path / "two.safetensors"


def test_the_gallery_shows_each_style_of_a_file_and_all_pairs(two: Path, tmp_path: Path) -> None:
    pair = ["ckpt=two.safetensors"]
    for arguments, size in ((pair, (3, 4)), ([*pair, "paintings=1"], (2, 4)), (["pairs=two.safetensors"], (2, 2))):
        done = command("scripts/gallery.py", "out=sheet.png", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
        side, gap = (256, 6) if "ckpt" in arguments[0] else (128, 6)
        assert sheet.shape == (size[1] * (side + gap) - gap, size[0] * (side + gap) - gap, 3)
        cells = [
            sheet[y * (side + gap) :, x * (side + gap) :][:side, :side] for y in range(size[1]) for x in range(size[0])
        ]
        if "pairs" in arguments[0]:
            # half and half is the same either way round, and neither of the two alone
            assert np.array_equal(cells[1], cells[2])
            assert len({cell.tobytes() for cell in cells}) == 3
        else:
            assert len({cell.tobytes() for cell in cells}) == size[0] * size[1]


def forked(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
    """In place of `subprocess.run` for a script in a process that imports torch anew."""
    assert command[0] == sys.executable and not check
    return Started(as_script, Path(command[1]), *command[2:], cwd=Path.cwd()).done()


@pytest.mark.slow
def test_a_sweep_trains_the_grid_and_shows_it(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    tiny = [option for option in TINY if not option.startswith("crop")]
    arguments = ["style=great_wave", "steps=1", "crop=32", *tiny, "strength=0.3,0.7", "photo=p.png", "out=sheet.png"]
    with mock.patch.object(subprocess, "run", forked):
        done = command("scripts/sweep.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "runs" / "sweep").rglob("*.safetensors"))
    assert [file.name for file in files] == ["strength_0.3_size_256.safetensors", "strength_0.7_size_256.safetensors"]
    assert [read_document(file).style["strength"] for file in files] == [0.3, 0.7]
    assert Image.open(tmp_path / "sheet.png").size == (3 * (256 + 6) - 6, 256 + 28)


def test_a_sweep_of_a_style_file_shows_its_controls(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    saved(tmp_path / "two.safetensors", controlled(styles=2), ["a", "b"])
    arguments = ["ckpt=two.safetensors", "style=b", "strength=0,0.5,1", "stroke=0,1", "photo=p.png", "out=sheet.png"]
    done = command("scripts/sweep.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert picture.shape == (2 * (256 + 28), 4 * (256 + 6) - 6, 3)
    rows = [picture[28:284], picture[312:]]
    cells = [[row[:, x * 262 :][:, :256] for x in range(4)] for row in rows]
    assert len({cell.tobytes() for row in cells for cell in row}) == 5  # the photo, which strength 0 is, and 2 x 2
    assert np.array_equal(cells[1][0], cells[1][1])
    refused = command("scripts/sweep.py", "ckpt=two.safetensors", "steps=3", cwd=tmp_path)
    assert (refused.returncode, len(refused.stderr.strip().splitlines())) == (2, 1)
    assert "nothing is trained, so leave out steps=3" in refused.stderr


def test_a_sweep_tells_mistakes(tmp_path: Path) -> None:
    done = command("scripts/sweep.py", "style=great_wave", "strength=much", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "strength=much: write numbers with commas between" in done.stderr
    assert list(tmp_path.iterdir()) == []


def run_of(folder: Path, batch_size: int, losses: dict[int, float]) -> Path:
    """A run's folder, as TensorBoard's own writer makes it."""
    writer = SummaryWriter(str(folder))
    for step, loss in losses.items():
        writer.add_scalar("held_out/total", loss, step)
    writer.close()
    (folder / "config.json").write_text(json.dumps({"batch_size": batch_size}))
    return folder


def test_curves_say_how_many_images_each_run_needs_to_be_where_the_first_ends(tmp_path: Path) -> None:
    run_of(tmp_path / "a", 2, {10: 8.0, 50: 3.0})
    run_of(tmp_path / "b", 4, {10: 9.0, 50: 5.0, 150: 1.0})  # 3 after 100 of its steps
    run_of(tmp_path / "c", 1, {10: 9.0, 500: 3.5})
    arguments = ["run=a", "run=b", "run=c", "label=mine", "label=b", "label=c", "rate=5", "out=curves.svg"]
    done = command("scripts/curves.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "mine: 3.000 after 100 images (0.3 min)",
        "b: there after 400 images (1.3 min), 4.00 times as many",
        "c: 3.500 at its best, and not there after 500 images (1.7 min), 5.00 times as many",
        "wrote curves.svg",
    ]
    assert ElementTree.parse(tmp_path / "curves.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "run is needed"),
        (["run=nothing"], "nothing is no run's folder"),
        (["run=a", "value=held_out/gram"], "has no held_out/gram; it has held_out/total"),
        (["run=a", "label=x", "label=y"], "2 labels for 1 runs"),
        (["run=a", "out=curves.gif"], "written as .svg, .png, .pdf"),
        (["run=a", "rate=0"], "rate must be a number above 0, not '0'"),
    ],
)
def test_curves_tell_mistakes(arguments: list[str], says: str, tmp_path: Path) -> None:
    run_of(tmp_path / "a", 2, {10: 8.0})
    done = command("scripts/curves.py", *(arguments or ["out=x.svg"]), cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert says in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

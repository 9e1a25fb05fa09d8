"""Learning from what another network paints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from onestroke.data.datamodule import Batch
from onestroke.errors import UserError
from onestroke.networks.assignment import Assignment
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.style_document import Metadata
from onestroke.style_file import load, save
from onestroke.training.distillation import UNTIL, Teacher
from onestroke.training.module import StyleTransfer
from onestroke.training.recipe import Recipe
from onestroke.training.run import train
from onestroke.training.schedule import Schedule
from tests.test_controls import controlled, saved
from tests.test_many_styles import objective, photos
from tests.test_training import CONFIG, fit

NAMES = ["great_wave", "udnie"]
METADATA = Metadata({"name": "ResidualNetwork", "args": {"channels": [4, 6, 8], "blocks": 1, "ends": 3}}, {"name": "x"})


def teacher(path: Path, names: list[str]) -> Teacher:
    chosen = [from_card(name, 256, {"relu1_2"}) for name in names]
    return Teacher(path, chosen, VGG(Teacher.LAYERS)).eval()


def test_a_teacher_paints_each_picture_in_the_pupil_s_style_with_the_controls_that_it_has_too(tmp_path: Path) -> None:
    network = controlled(styles=3, controls=["strength"])
    path = saved(tmp_path / "three.safetensors", network, ["udnie", "starry_night", "great_wave"])
    batch = torch.cat(photos(36))
    strength, stroke = torch.tensor([0.9, 0.3]), torch.tensor([0.0, 1.0])
    painted = teacher(path, NAMES).paint(batch, Assignment(torch.tensor([1, 0]), strength, stroke))
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # udnie, great_wave
    assert torch.allclose(painted, network(batch, mix, strength).clamp(0, 1), atol=1e-6)
    assert torch.allclose(
        teacher(path, NAMES).paint(batch, Assignment(torch.tensor([0, 0]))), network(batch, mix[[1, 1]]).clamp(0, 1)
    )


def test_what_is_to_be_met_is_the_teacher_s_painting(tmp_path: Path) -> None:
    one = teacher(saved(tmp_path / "one.safetensors", controlled(), ["any"]), ["udnie"])
    output, target = photos(36)
    losses = one.objective(output, target)
    assert list(losses) == ["teacher_image", "teacher_relu2_2"]
    assert float(losses["teacher_image"]) == pytest.approx(float((output - target).norm() / target.norm()) ** 2, 1e-4)
    seen, wanted = (VGG(["relu2_2"])(image)["relu2_2"] for image in (output, target))
    assert float(losses["teacher_relu2_2"]) == pytest.approx(float((seen - wanted).norm() / wanted.norm()) ** 2, 1e-4)
    assert sum(map(float, one.objective(target, target).values())) == 0


def test_a_teacher_without_the_style_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "two.safetensors", controlled(styles=2), ["udnie", "great_wave"])
    with pytest.raises(UserError, match="has no the_scream, only udnie, great_wave"):
        teacher(path, ["the_scream"])
    with pytest.raises(UserError, match="no style file"):
        teacher(tmp_path / "none.safetensors", NAMES)


def test_the_pupil_first_learns_from_the_teacher_and_then_from_the_objective(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = ResidualNetwork([4, 6, 8], blocks=1, ends=3)
    torch.nn.init.normal_(network.paint.convolution.weight, 0, 0.1)
    path = tmp_path / "udnie.safetensors"
    save(path, network, METADATA, torch.float32)
    judge = objective(["udnie"])
    module = StyleTransfer(
        RealtimeNetwork([4, 6], 1),
        judge,
        judge,
        Recipe(lr=5e-3),
        schedule=Schedule(20),
        teacher=teacher(path, ["udnie"]),
    )
    seen: list[list[str]] = []
    first = module.training_step

    def step(batch: Batch, batch_idx: int) -> None:
        first(batch, batch_idx)
        seen.append(sorted(module.losses))

    module.training_step = step  # type: ignore[method-assign]
    fit(module, tmp_path)
    taught = int(20 * UNTIL)
    assert seen == [["teacher_image", "teacher_relu2_2"]] * taught + [["content", "gram"]] * (20 - taught)


@pytest.mark.slow
def test_training_with_a_teacher_comes_nearer_to_what_it_paints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    network = ResidualNetwork([4, 6, 8], blocks=1, ends=3)
    with torch.no_grad():
        network.colour.weight.mul_(-1)  # type: ignore[union-attr]
    save(tmp_path / "negative.safetensors", network, METADATA, torch.float32)
    pupil = {"_target_": "onestroke.networks.realtime.RealtimeNetwork", "channels": [4, 6], "blocks": 1}
    distance = {}
    for steps in (1, 40):
        folder = tmp_path / f"run{steps}"
        folder.mkdir()
        monkeypatch.setattr("onestroke.training.distillation.UNTIL", 1.0)
        path = train(
            {**CONFIG, "network": pupil, "teacher": "negative.safetensors", "steps": steps, "lr": 1e-2, "ema": None},
            folder,
        )
        painted, wanted = (torch.cat([one(p) for p in photos(48)]) for one in (load(path)[0], network))
        distance[steps] = float((painted - wanted).square().mean().detach())
    assert distance[40] < 0.5 * distance[1]

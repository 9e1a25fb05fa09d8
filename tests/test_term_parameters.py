"""A loss term with parameters of its own: a discriminator that learns to tell paintings from photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.losses.term import Term, Views
from onestroke.training.run import train
from onestroke.training.term_steps import learners
from tests.running import BLOCKS, alike, run, shallow
from tests.test_resume import Kill, Killed, same
from tests.test_training import objective


class Discriminator(Term):
    """Two convolutions on the pixels; the network is to have them take its paintings for photos."""

    reads_content = True

    def __init__(self, weight: float = 1.0, lr: float = 1e-2) -> None:
        super().__init__(["image"], weight)
        self.lr = lr
        self.scores = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))

    def forward(self, views: Views) -> Tensor:
        return F.softplus(-self.scores(views.output["image"])).mean(dim=(1, 2, 3))

    def own_loss(self, views: Views) -> Tensor:
        assert not views.output["image"].requires_grad
        photos, paintings = self.scores(views.content["image"]), self.scores(views.output["image"])
        return F.softplus(-photos).mean() + F.softplus(paintings).mean()

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def config(**options: Any) -> dict[str, Any]:
    part = {"_target_": f"{__name__}.Discriminator", **options}
    loss = {**shallow("loss=[content]")["loss"], "discriminator": part}
    return shallow("network.controls=[]", steps=6, save_every=2, data=BLOCKS, loss=loss)


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_learns_to_tell_them_apart_and_pulls_the_network(tmp_path: Path) -> None:
    seen = run(config(), tmp_path / "run")
    (made,) = seen.module.terms.values()
    assert isinstance(made, Discriminator)
    torch.manual_seed(0)
    untouched = run(config(lr=0.0), tmp_path / "still").module.terms["discriminator"]
    assert not alike(made, untouched)
    photos = torch.cat(seen.data.held_out)
    paintings = seen.module.network(photos).detach()
    own = [
        float(term.own_loss(Views({"image": paintings}, {"image": photos}, seen.module.validation.style)).detach())
        for term in (made, untouched)
        if isinstance(term, Discriminator)
    ]
    assert own[0] < own[1]
    assert not alike(seen.module.network, run(config(weight=0.0), tmp_path / "none").module.network, 1e-4)


def test_its_loss_is_logged_and_left_out_of_the_held_out_loss(tmp_path: Path) -> None:
    seen = run(config(), tmp_path / "run")
    assert set(seen.module.losses) == {"content", "discriminator", "discriminator_own"}
    assert set(seen.callbacks["HeldOut"].metrics) == {"content", "total"}


def test_killed_and_resumed_equals_unbroken_to_the_bit(tmp_path: Path) -> None:
    whole = run({**config(), "out": "whole.safetensors"}, tmp_path / "whole")
    with pytest.raises(Killed):
        run({**config(), "out": "broken.safetensors"}, tmp_path / "broken", more=[Kill(3)])
    kept = torch.load(tmp_path / "broken" / "last.ckpt", weights_only=True)
    assert len(kept["optimizer_states"]) == 2
    again = run({**config(), "resume": str(tmp_path / "broken" / "last.ckpt"), "out": "again.safetensors"},
                tmp_path / "broken")  # fmt: skip
    assert same(tmp_path / "whole", tmp_path / "broken")
    assert alike(whole.module.terms, again.module.terms)


@pytest.mark.parametrize("damage", ["shape", "number", "fewer"])
def test_a_damaged_optimizer_of_a_term_is_one_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "run" / "last.ckpt"
    with pytest.raises(Killed):
        run(config(), tmp_path / "run", more=[Kill(3)])
    kept = torch.load(path, weights_only=True)
    state = kept["optimizer_states"][1]["state"]
    if damage == "shape":
        state[0]["exp_avg"] = torch.zeros(2)
    elif damage == "number":
        state[0]["exp_avg"] = "text"
    else:
        kept["optimizer_states"].pop()
    torch.save(kept, path)
    with pytest.raises(UserError, match=r"resume: .* does not fit the run"):
        train({**config(), "resume": str(path)}, tmp_path / "run")


def test_a_step_of_its_own_that_is_not_finite_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Discriminator, "own_loss", lambda self, views: next(iter(self.parameters())).sum() * torch.nan)
    seen = run(config(), tmp_path / "run")
    started = run({**config(lr=0.0)}, tmp_path / "still").module.terms
    assert alike(seen.module.terms, started)
    assert "the step of the term 'discriminator' was skipped" in caplog.text


def test_a_term_with_parameters_says_what_they_are_trained_by() -> None:
    class Mute(Term):
        def __init__(self) -> None:
            super().__init__(["image"])
            self.scale = nn.Parameter(torch.ones(()))

    with pytest.raises(NotImplementedError, match="Mute has parameters"):
        Mute().own_loss(Views({}, {}, objective().style))
    assert isinstance(Mute().optimizer(), torch.optim.Adam)


def test_a_term_whose_parameters_are_frozen_is_no_learner_and_counts_in_the_held_out_loss() -> None:
    made = Discriminator().requires_grad_(False)
    both = objective({"discriminator": made})
    photo = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert "discriminator" in both(photo, photo)
    assert "discriminator" not in objective({"discriminator": Discriminator()})(photo, photo)
    assert learners(both) == {}

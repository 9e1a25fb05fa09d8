"""A run ends early where its held-out loss has stopped falling, with the whole schedule, also when it is resumed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from onestroke.data.datamodule import PhotoBatches
from onestroke.losses.objective import Objective
from onestroke.losses.term import Term, Views
from onestroke.losses.tv import TotalVariation
from onestroke.perception.style_card import from_card
from onestroke.training.callbacks.held_out import HeldOut
from onestroke.training.callbacks.plateau import FINISH, Plateau, flat
from onestroke.training.module import StyleTransfer
from onestroke.training.recipe import Recipe
from onestroke.training.schedule import Schedule, learning_rate
from tests.test_training import LAYERS, MACHINE, Noise, objective, tiny


def test_a_loss_is_flat_where_a_fifth_of_the_run_lowers_it_by_less_than_its_share() -> None:
    steady = [(i / 20, 10 * 0.98**i) for i in range(1, 16)]  # 2 % a look, so 8 % in a fifth
    assert not any(flat(steady[:n], 0.01) for n in range(1, len(steady) + 1))
    assert not any(flat(steady[:n], 0.07) for n in range(1, len(steady) + 1))
    assert next(n for n in range(1, len(steady) + 1) if flat(steady[:n], 0.08)) == 5  # the first with a whole window

    stops = [(i / 20, max(5.0, 10.0 - i)) for i in range(1, 16)]  # 5 from the fifth look on
    assert [n for n in range(1, len(stops) + 1) if flat(stops[:n], 0.01)] == list(range(9, 16))


def test_one_bad_look_is_no_plateau_and_one_good_look_long_ago_is() -> None:
    falling = [(i / 20, 10.0 - i) for i in range(1, 10)]
    assert not flat([*falling[:-1], (9 / 20, 9.9)], 0.01)
    assert flat([(0.05, 1.0), (0.1, 2.0), (0.2, 1.6), (0.25, 1.5), (0.3, 1.5)], 0.01)
    assert not flat([(0.05, 1.0), (0.1, 2.0), (0.25, 1.5), (0.3, 1.5)], 0.01)  # two looks are too few


class Slow(HeldOut):
    """A held-out loss that falls until a step, and not after."""

    def __init__(self, until: int) -> None:
        super().__init__()
        self.until, self.steps = until, [0]

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.should_stop:  # at the end of the run it is always judged
            self.steps.append(pl_module.step)
        self.metrics = {"total": 100.0 - min(pl_module.step, self.until)}


class Rates(Plateau):
    """Writes down the learning rate of each step."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        super().on_train_batch_end(trainer, pl_module, *rest)


def plateau(held_out: HeldOut) -> list[Callback]:
    """A look each 4 steps, of a loss that has to fall by a hundredth."""
    return [Plateau(held_out, 0.01, apart=4), held_out]


def smooth() -> Objective:
    """A loss that reads the pixels alone: what is trained for does not matter here, and the VGG takes time."""
    return Objective({"tv": TotalVariation()}, objective().vgg, from_card("starry_night", 256, LAYERS))


def module(steps: int = 80) -> StyleTransfer:
    return StyleTransfer(tiny(), smooth(), smooth(), Recipe(1e-3, "adam"), schedule=Schedule(steps, clock=lambda: 0.0))


def run(one: StyleTransfer, folder: Path, callbacks: list[Any], ckpt: Path | None = None) -> Any:
    trainer = MACHINE.trainer(callbacks, folder)
    data = PhotoBatches(Noise(), batch_size=1, crop=32, seed=5, workers=0)
    trainer.fit(one, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return trainer


def test_the_run_ends_a_tenth_later_with_the_whole_schedule(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, previews = module(), Slow(until=20)
    rates = Rates(previews, 0.01, apart=4)
    with caplog.at_level(logging.INFO, logger="onestroke"):
        run(one, tmp_path, [rates, previews])
    # looks at every twentieth, 4 steps; flat at 20 + a fifth of 80
    assert previews.steps == [0, *range(4, 37, 4)]
    assert one.step == 36 + FINISH * 80 == len(rates.rates)
    expected = [learning_rate(step / 80, step, 1e-3) for step in range(36)]
    expected += [learning_rate(0.45 + 0.55 * (step - 36) / 8, step, 1e-3) for step in range(36, 44)]
    assert rates.rates == pytest.approx(expected)
    assert rates.rates[-1] < 0.1 * rates.rates[35]
    assert "stopped falling (80.000" in caplog.text


def test_a_loss_that_falls_all_the_time_stops_nothing(tmp_path: Path) -> None:
    one = module()
    run(one, tmp_path, plateau(Slow(until=80)))
    assert one.step == 80


@pytest.mark.parametrize("apart, looks", [(7, [7, 14, 21, 28, 35, 42, 49, 56]), (8, [])])
def test_runs_too_short_for_three_looks_in_a_fifth_are_not_looked_at(
    tmp_path: Path, apart: int, looks: list[int]
) -> None:
    one, previews = module(80), Slow(until=80)
    run(one, tmp_path, [Plateau(previews, 0.01, apart=apart), previews])
    assert previews.steps == [0, *looks]
    assert one.step == 80


class Keep(Callback):
    """Writes a resume file after each of some steps."""

    def __init__(self, folder: Path, steps: tuple[int, ...]) -> None:
        super().__init__()
        self.folder, self.steps = folder, steps

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if pl_module.step in self.steps:
            trainer.save_checkpoint(self.folder / f"{pl_module.step}.ckpt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[StyleTransfer, Path]:
    """A run that ended early, and the folder of its resume files.

    They are 30.ckpt, of before the plateau is found, and 40.ckpt, of while the run is ending.
    """
    folder, one = tmp_path_factory.mktemp("whole"), module()
    run(one, folder, [*plateau(Slow(until=20)), Keep(folder, (30, 40))])
    assert one.step == 44
    return one, folder


@pytest.mark.parametrize(("stop", "looks"), [(30, [32, 36]), (40, [])])
def test_resumed_ends_as_if_it_had_never_stopped(
    stop: int, looks: list[int], whole: tuple[StyleTransfer, Path], tmp_path: Path
) -> None:
    unbroken, folder = whole
    again, previews = module(), Slow(until=20)
    run(again, tmp_path, plateau(previews), folder / f"{stop}.ckpt")
    assert again.step == unbroken.step
    assert previews.steps == [0, *looks]
    for a, b in zip(again.ema.parameters(), unbroken.ema.parameters(), strict=True):
        assert torch.equal(a, b)


def test_where_more_steps_are_asked_for_the_end_of_the_run_before_does_not_count(
    whole: tuple[StyleTransfer, Path], tmp_path: Path
) -> None:
    longer = module(steps=100)
    run(longer, tmp_path, plateau(Slow(until=1000)), whole[1] / "40.ckpt")
    assert longer.step == 100


class Still(Term):
    """A loss that nothing changes."""

    def __init__(self) -> None:
        super().__init__(["relu1_2"])

    def forward(self, views: Views) -> torch.Tensor:
        return views.output["relu1_2"].square().mean() * 0 + 1


def test_what_is_left_is_told_by_where_the_run_ends() -> None:
    one = Schedule(80)
    one.step = 40
    assert one.remaining(2.0) == pytest.approx(80)
    one.ending = (0.5, FINISH)
    assert one.remaining(2.0) == pytest.approx(16)
    one.minutes, one.elapsed = 1.0, 30.0
    assert one.remaining(2.0) == pytest.approx(6)


def test_the_real_held_out_loss_is_what_counts(tmp_path: Path) -> None:
    still = Objective({"still": Still()}, objective().vgg, from_card("starry_night", 256, LAYERS))
    one = StyleTransfer(tiny(), objective(), still, Recipe(1e-3), schedule=Schedule(60, clock=lambda: 0.0))
    held_out = HeldOut()
    plateau = Plateau(held_out, 0.01, apart=3)
    run(one, tmp_path, [plateau, held_out])
    assert one.step == 15 + 6  # looks at 3, 6, 9, 12 and 15, the first with a whole window before it
    assert [(step, total) for step, _, total in plateau.evaluations] == [(n, 1.0) for n in (3, 6, 9, 12, 15)]

"""Trainings inside the test's own process, of a few tenths of a second, and a look at what they are made of."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf
from pytorch_lightning import Callback
from torch import Tensor, nn

from onestroke.evaluation.measure import means
from onestroke.training.module import StyleTransfer
from onestroke.training.run import train
from tests.commands import ROOT, TINY

CONFIGS = ROOT / "configs"


def composed(*overrides: str) -> dict[str, Any]:
    """The config that `python train.py` would have with these overrides."""
    return deepcopy(_composed(*overrides))


@functools.cache  # Hydra takes a tenth of a second or more
def _composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def shallow(*overrides: str, **more: Any) -> dict[str, Any]:
    """A config on TINY settings, whose terms read no deep layer of the VGG, and which starts from nothing."""
    config = composed(
        *TINY, "loss=[content,gram,checkerboard,shift_consistency,raw_content,raw_gram,tv]", "init=null", *overrides
    )
    for name, term in config["loss"].items():
        if "layers" in term:
            term["layers"] = ["relu1_2"]
        if name.startswith("raw_"):
            term["weight"] = 1e-3
    return {**config, **more}


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with some of its keys, in dots, changed."""
    result = deepcopy(dict(config))
    for key, value in changes.items():
        *groups, name = key.split(".")
        node = result
        for group in groups:
            node = node[group]
        assert name in node, f"{key} is no key of the config"
        node[name] = value
    return result


class Blocks:
    """A source of blocks of colour that says of each picture how it was asked for; its held-out pictures are small."""

    def __init__(self, val: str | None = None, validation: int = 1) -> None:
        self.validation = validation

    def preflight(self) -> None:
        """Nothing can be missing."""

    def sample(self, n: int, seed: int, crop: int) -> tuple[NDArray[np.uint8], list[str]]:
        colours = np.random.default_rng([seed, n]).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        return np.kron(colours, np.ones((crop // 4, crop // 4, 1), np.uint8)), []

    def held_out(self, size: int) -> list[NDArray[np.uint8]]:
        return [self.sample(n, 999, 32)[0] for n in range(self.validation)]

    def describe(self) -> str:
        return "blocks"


BLOCKS = {"_target_": f"{__name__}.Blocks", "val": None, "validation": 1}


@dataclass
class Seen:
    """A run: what Lightning was given, and what each step was made with."""

    module: StyleTransfer
    data: Any
    callbacks: dict[str, Any]
    trainer: Any
    resumed_from: str | None
    path: Path = Path()
    arguments: dict[str, Any] = field(default_factory=dict)  # of the Trainer
    rates: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)  # of the gradients as they are applied
    terms: list[set[str]] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)  # whether there was a resume file before each step

    def batch(self) -> Tensor:
        """The first pictures that are trained on, uint8 (N, H, W, 3)."""
        photos: Tensor = next(iter(self.data.train_dataloader()))["photos"]
        return photos


class Recorder(Callback):
    """Writes down what each step was made with."""

    def __init__(self, seen: Seen, resume_file: Path) -> None:
        self.seen, self.resume_file = seen, resume_file

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.kept.append(self.resume_file.is_file())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        gradients = [p.grad for p in pl_module.network.parameters() if p.grad is not None]
        self.seen.norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))
        self.seen.terms.append(set(pl_module.losses))


@contextmanager
def watched(run_dir: Path, steps: bool, more: list[Callback]) -> Iterator[list[Seen]]:
    """Has what Lightning is given written down; without `steps`, nothing is trained, on any machine."""
    found: list[Seen] = []
    made: dict[str, Any] = {}
    real = pl.Trainer

    class Watching:
        def __init__(self, **arguments: Any) -> None:
            made.update(arguments)

        def fit(self, model: Any, datamodule: Any = None, ckpt_path: str | None = None, **_: Any) -> None:
            callbacks = {type(callback).__name__: callback for callback in made["callbacks"]}
            seen = Seen(model, datamodule, callbacks, None, ckpt_path, arguments=made)
            found.append(seen)
            if steps:
                own = [*more, *made["callbacks"], Recorder(seen, run_dir / "last.ckpt")]
                seen.trainer = real(**{**made, "callbacks": own})
                seen.trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

        def validate(self, *arguments: Any, **more: Any) -> None:
            if steps:
                found[-1].trainer.validate(*arguments, **more)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with mock.patch.object(pl, "Trainer", Watching):
            yield found
    except BaseException:  # a run that was killed leaves its own
        for number, handler in handlers.items():
            signal.signal(number, handler)
        raise


def run(config: Mapping[str, Any], run_dir: Path, steps: bool = True, more: list[Callback] | None = None) -> Seen:
    """Train in this process, or only up to the first step; the working directory is to be the test's own.

    Args:
        config: as `train` takes it.
        run_dir: made if it isn't there.
        steps: whether anything is trained.
        more: callbacks that come before the run's own.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with watched(run_dir, steps, more or []) as found:
        path = train(config, run_dir)
    (seen,) = found
    seen.path = path
    return seen


def alike(one: nn.Module | Mapping[str, Tensor], other: nn.Module | Mapping[str, Tensor], rounding: float = 0) -> bool:
    """Whether two networks have the same weights, to the bit or up to `rounding`."""
    first, second = (dict(each.state_dict() if isinstance(each, nn.Module) else each) for each in (one, other))
    if first.keys() != second.keys() or any(first[k].shape != second[k].shape for k in first):
        return False
    return all(bool(torch.all((first[k].float() - second[k].float()).abs() <= rounding)) for k in first)


def judged(module: StyleTransfer, photos: Sequence[Tensor]) -> tuple[dict[str, float], list[list[Tensor]]]:
    """The mean of each held-out loss over photos and styles, and the paintings of each photo."""
    found = [module.validation_step(photo) for photo in photos]
    terms = [each for one in found for each in one["terms"]]
    return means(terms, skip_nan=False), [one["paintings"] for one in found]

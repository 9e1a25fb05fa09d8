"""The resume file, `last.ckpt`: read without trust, and checked against the run that it continues.

Lightning writes it, but does not read it: the trainer gets the checkpoint that was read and checked here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from onestroke import documents, torch_files
from onestroke.errors import UserError, printable
from onestroke.training.renames import renamed

NAME = "last.ckpt"
KEY = "onestroke"
_MAX_BYTES = 2 * 2**30
_COUNT = 2**53
_MOST_ENTRIES = 20_000  # in a config; building it takes time for each
_PASSED_ON = (
    "epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops", "callbacks", "optimizer_states",
    "lr_schedulers", "PhotoBatches", KEY,
)  # fmt: skip
# the state of a parameter in each optimizer: Muon for matrices and for others, Adam
_KEPT = ({"momentum"}, {"step", "mean", "square"}, {"step", "exp_avg", "exp_avg_sq"})


@dataclass(frozen=True)
class ResumeFile:
    """The content of a resume file, before the run is built.

    config: of the run. checkpoint: what Lightning loads.
    """

    path: Path
    config: dict[str, Any]
    checkpoint: dict[str, Any]

    @property
    def owner(self) -> str:
        """The run's secret, by which it recognizes its own style file; empty for old runs, which had none."""
        return str(self.checkpoint[KEY].get("owner", ""))


def owned(owner: str) -> str:
    """The hash of a run's `owner` that its style file holds, which anyone may read."""
    return hashlib.sha256(owner.encode()).hexdigest()


def read(path: Path) -> ResumeFile:
    """Read a resume file; nothing in it is built or run.

    Raises:
        UserError: for files that are damaged, of another kind, or incomplete.
    """
    try:
        loaded = torch_files.read(path, _MAX_BYTES)
        if not isinstance(loaded, dict) or not isinstance(loaded.get(KEY), dict):
            raise torch_files.NotPlain("it is another program's")
        own = loaded[KEY]
        config = json.loads(own["config"]) if isinstance(own.get("config"), str) else None
        if not isinstance(config, dict):
            raise torch_files.NotPlain("it has no config")
        documents.check(config, _MOST_ENTRIES)
        config = renamed(config)
    except (torch_files.NotPlain, documents.NoDocument, ValueError, RecursionError) as error:
        raise UserError(f"resume: {path} is not a whole resume file of OneStroke: {printable(error)}") from error
    _check_fields(path, loaded)
    return ResumeFile(path, config, {key: loaded[key] for key in _PASSED_ON if key in loaded})


def check_weights(file: ResumeFile, name: str, network: nn.Module) -> None:
    """Check that the file has the weights of a network, all finite, before memory is allocated for it.

    Args:
        name: `network` or `ema`.
        network: of the run, on any device, the meta device too.

    Raises:
        UserError: if they are missing, of another network, or not finite.
    """
    state = file.checkpoint["state_dict"]
    prefix = f"{name}."
    expected = {prefix + key: tensor for key, tensor in network.state_dict().items()}
    found = {key: tensor for key, tensor in state.items() if key.startswith(prefix)}
    for key in sorted(expected.keys() | found.keys()):
        if key not in expected or key not in found:
            _wrong(file, f"{printable(key)} is {'missing' if key in expected else 'none of its network'}")
        _check_tensor(file, printable(key), found[key], expected[key])


def check(file: ResumeFile, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Check that the file fits the run that was built from its config, so that loading it can't fail later.

    Args:
        module: of the run, not yet trained.
        optimizers: new ones of the run.

    Raises:
        UserError: naming what does not fit.
    """
    expected, found = module.state_dict(), file.checkpoint["state_dict"]
    if expected.keys() != found.keys():
        _wrong(file, f"its weights go by other names, such as {printable(min(expected.keys() ^ found.keys()))}")
    for key, tensor in found.items():
        _check_tensor(file, key, tensor, expected[key])
    stored = file.checkpoint["optimizer_states"]
    if len(stored) != len(optimizers):
        _wrong(file, "it is of another number of optimizers")
    for number, (optimizer, state) in enumerate(zip(optimizers, stored, strict=True)):
        _check_optimizer(file, optimizer, state, ours=number == 0)
    loops = file.checkpoint["loops"]
    quieten()
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    for name in ("fit_loop", "validate_loop", "test_loop", "predict_loop"):
        if name in loops and not _alike(getattr(trainer, name).state_dict(), loops[name]):
            _wrong(file, f"its {name} is not one of the trainer's")


def _check_fields(path: Path, loaded: Mapping[str, Any]) -> None:
    """Check the types of everything beside weights and config."""
    own = loaded[KEY]
    whole, number = documents.is_whole, documents.is_number
    version = loaded.get("pytorch-lightning_version")
    checks: dict[str, Callable[[], bool]] = {
        "step": lambda: whole(own.get("step"), 0, _COUNT),
        "elapsed": lambda: number(own.get("elapsed"), 0),
        "skipped_steps": lambda: whole(own.get("skipped_steps"), 0, _COUNT),
        "rollbacks": lambda: whole(own.get("rollbacks"), 0, _COUNT),
        "lr_factor": lambda: number(own.get("lr_factor"), 1e-9, 1),
        "moving": lambda: number(own.get("moving", 0), 0, 1),
        "owner": lambda: isinstance(own.get("owner", ""), str),
        "epoch": lambda: whole(loaded.get("epoch"), 0, 0),
        "global_step": lambda: whole(loaded.get("global_step"), 0, _COUNT),
        "pytorch-lightning_version": lambda: bool(
            isinstance(version, str) and re.fullmatch(r"\d[\w.+-]{0,40}", version)
        ),
        "state_dict": lambda: _named(loaded.get("state_dict"), Tensor),
        "loops": lambda: _named(loaded.get("loops"), dict),
        "callbacks": lambda: _named(loaded.get("callbacks", {}), dict),
        "optimizer_states": lambda: (
            isinstance(loaded.get("optimizer_states"), list)
            and len(loaded["optimizer_states"]) >= 1
            and all(isinstance(state, dict) for state in loaded["optimizer_states"])
        ),
        "lr_schedulers": lambda: _equal(loaded.get("lr_schedulers"), []),
        "PhotoBatches": lambda: _equal(loaded.get("PhotoBatches"), {"step": own.get("step")}),
    }
    wrong = [name for name, sound in checks.items() if not sound()]
    if wrong:
        raise UserError(f"resume: {path} is not a whole resume file of OneStroke: its {wrong[0]} is missing or wrong")


def _equal(value: Any, expected: Any) -> bool:
    """Whether plain values are the same; `==` alone fails where a tensor is among them."""
    if type(value) is not type(expected):
        return False
    if isinstance(expected, dict):
        return bool(value.keys() == expected.keys()) and all(_equal(value[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(_equal, value, expected))
    return bool(value == expected)


def _named(value: object, kind: type) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, kind) for k, v in value.items())


def _wrong(file: ResumeFile, what: str) -> None:
    raise UserError(f"resume: {file.path} does not fit the run that it says it is of: {what}")


def _check_tensor(file: ResumeFile, name: str, found: object, expected: Tensor) -> None:
    plain = isinstance(found, Tensor) and found.layout == torch.strided and not found.is_meta and not found.is_quantized
    if not plain:
        _wrong(file, f"{name} is no plain tensor")
    assert isinstance(found, Tensor)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        _wrong(
            file,
            f"{name} is {found.dtype} {tuple(found.shape)} and should be {expected.dtype} {tuple(expected.shape)}",
        )
    if not torch.isfinite(found).all():
        _wrong(file, f"{name} is not finite; a style file of the run may be whole: start from it with init=")


def _check_optimizer(file: ResumeFile, optimizer: torch.optim.Optimizer, stored: Mapping[str, Any], ours: bool) -> None:
    """Check the stored state of an optimizer: the network's (`ours`), or one that a loss term uses."""
    new = optimizer.state_dict()
    groups = stored.get("param_groups")
    groups = groups if isinstance(groups, list) else []
    if len(groups) != len(new["param_groups"]) or not isinstance(stored.get("state"), dict):
        _wrong(file, "its optimizer has other parameters, or another kind")
    for mine, theirs in zip(new["param_groups"], groups, strict=True):
        if not isinstance(theirs, dict) or not (_same_group(mine, theirs) if ours else _alike(mine, theirs)):
            _wrong(file, "its optimizer has other parameters, or another kind")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    rules = [group.get("muon") for group in optimizer.param_groups for _ in group["params"]]
    for number, kept in stored["state"].items():
        if not documents.is_whole(number, 0, len(parameters) - 1) or not isinstance(kept, dict):
            _wrong(file, "its optimizer remembers a parameter that there is not")
        names = _KEPT[2] if rules[number] is None else _KEPT[0] if rules[number] else _KEPT[1]
        if ours and kept.keys() != names:
            _wrong(file, "its optimizer remembers something else than this one needs")
        for name, value in kept.items():
            if not ours and not isinstance(value, Tensor):
                if not documents.is_number(value):
                    _wrong(file, "its optimizer remembers what is no number")
                continue
            like = torch.zeros(()) if name == "step" else parameters[number]
            _check_tensor(file, f"the optimizer's {name} of parameter {number}", value, like)


def _same_group(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether a group has the same parameters and options of the same types; torch's Adam fills in newer options."""
    needed = ours.keys() if "muon" in ours else {"params", "lr", "betas", "eps"}
    kinds = all(_alike(ours[key], theirs[key]) for key in ours if key in theirs)
    return needed <= theirs.keys() and kinds and all(_equal(theirs.get(k), ours.get(k)) for k in ("params", "muon"))


def _alike(template: Any, value: Any) -> bool:
    """Whether a value has the types of a template, recursively; numbers must be finite, and counts at least 0."""
    if isinstance(template, dict):
        known = isinstance(value, dict) and value.keys() == template.keys()
        return known and all(_alike(template[key], value[key]) for key in template)
    if isinstance(template, list | tuple):
        same = isinstance(value, list | tuple) and len(value) == len(template)
        return same and all(map(_alike, template, value))
    if isinstance(template, bool) or template is None:
        return isinstance(value, type(template))
    if isinstance(template, int):
        return documents.is_whole(value, 0, _COUNT)
    if isinstance(template, float):
        return documents.is_number(value)
    return isinstance(value, type(template))


def quieten() -> None:
    """Silence what Lightning logs about devices; the run logs it in one line."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


class Checked(TorchCheckpointIO):
    """Checkpoint IO that loads the resume file which was read and checked, and writes new ones as Lightning does."""

    def __init__(self, file: ResumeFile) -> None:
        super().__init__()
        self.file = file

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """See Lightning."""
        return self.file.checkpoint

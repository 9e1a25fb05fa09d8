"""Builds Lightning's Trainer from the `trainer` config group."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Checkpoint, Timer
from pytorch_lightning.loggers import Logger

from onestroke import ranks
from onestroke.devices import cpu_has_bf16
from onestroke.documents import is_whole
from onestroke.errors import UserError, near, printable, quoted
from onestroke.training.resume_file import Checked, ResumeFile, quieten

TRAINER = "pytorch_lightning.Trainer"
_OWN = ("workers", "compile")  # of the group, and no arguments of the Trainer
_READ = ("accelerator", "devices", "strategy", "precision", *_OWN)
_NO_TEST = "a training tests nothing: evaluate.py measures a style file"
REFUSED = {
    "max_epochs": "a run has no epochs: steps= or minutes= says how long it is",
    "min_epochs": "a run has no epochs: steps= or minutes= says how long it is",
    "max_steps": "use steps=, which the schedule of the learning rate follows too",
    "min_steps": "use steps=, and plateau=null where a run should not end before them",
    "limit_train_batches": "use steps=, which the schedule of the learning rate follows too",
    "overfit_batches": "use data=photos data.root=<a folder of few photos>",
    "limit_test_batches": _NO_TEST,
    "limit_predict_batches": _NO_TEST,
    "check_val_every_n_epoch": "a run has no epochs: trainer.val_check_interval= takes steps",
    "gradient_clip_val": "use clip=, the largest norm of the gradient",
    "gradient_clip_algorithm": "use clip=, the largest norm of the gradient",
    "accumulate_grad_batches": "use a larger batch_size=, which gives the same gradient",
    "use_distributed_sampler": "each process already gets its own part of every batch",
    "reload_dataloaders_every_n_epochs": "a run has no epochs, and its loader never ends",
    "logger": "use the group logger=, such as logger=[tensorboard,csv], or logger=[] for none",
    "callbacks": "use the group callbacks=, such as callbacks=[learning_rate_monitor]",
    "enable_checkpointing": "use save_every=, the steps between two copies of last.ckpt",
    "enable_model_summary": "use callbacks=[model_summary]",
    "enable_progress_bar": "the bar is shown on terminals, and a line now and then elsewhere",
    "barebones": "use logger=[] measure=false",
    "default_root_dir": "use hydra.run.dir=, the run's folder",
}
"""Arguments of Lightning's Trainer for which a run has an option of its own, and that option."""
ARGUMENTS = tuple(name for name in inspect.signature(pl.Trainer.__init__).parameters if name not in ("self", *REFUSED))
"""All others."""
_MOST_PROCESSES = max(64, 4 * (os.cpu_count() or 1))
_MOST = 10**6
_LOG_EVERY = 10  # steps; Lightning's 50 would leave short runs without a curve
_PRECISIONS = ("auto", "bf16-mixed", "32-true")


@dataclass(frozen=True)
class Machine:
    """The `trainer` group, checked against the machine.

    accelerator, devices, strategy: as Lightning's Trainer takes them. precision: bf16-mixed or 32-true. workers:
    processes that prepare pictures, None to choose. compiles: whether torch.compile makes code for network and VGG.
    name: the device in words. more: all other arguments of the Trainer, as they were given.
    """

    accelerator: str
    devices: int | str | list[int]
    strategy: Any
    precision: str
    workers: int | None
    compiles: bool
    name: str
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, group: Mapping[str, Any], batch_size: int) -> Machine:
        """Choose what is left to `auto`.

        Raises:
            UserError: for unknown options, an accelerator that isn't there, or a batch that can't be shared evenly.
        """
        _check_names(group)
        get: dict[str, Any] = {"accelerator": "auto", "devices": 1, "strategy": "auto"} | dict.fromkeys(
            ("precision", *_OWN), "auto"
        )
        get |= group
        accelerator, precision, workers = get["accelerator"], get["precision"], get["workers"]
        if precision not in _PRECISIONS:
            raise UserError(f"trainer.precision must be one of {', '.join(_PRECISIONS)}, not {quoted(precision)}")
        if workers != "auto" and not is_whole(workers, 0, _MOST_PROCESSES):
            raise UserError(
                f"trainer.workers must be auto or a whole number of 0 to {_MOST_PROCESSES}, not {quoted(workers)}"
            )
        if get["compile"] not in ("auto", True, False):
            raise UserError(f"trainer.compile must be auto, true or false, not {quoted(get['compile'])}")
        if not isinstance(accelerator, str) or not _is_strategy(get["strategy"]):
            raise UserError("trainer.accelerator and trainer.strategy are names, such as cpu, gpu and ddp")
        if accelerator == "auto":
            accelerator = "gpu" if torch.cuda.is_available() else "cpu"
        if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
            raise UserError("there is no CUDA GPU that torch can use here: take trainer=cpu or trainer=auto")
        processes = _processes(accelerator, get["devices"])
        if processes > _MOST_PROCESSES:
            raise UserError(
                f"trainer.devices={processes}: at most {_MOST_PROCESSES} processes are started on a machine"
            )
        processes *= _whole(get, "num_nodes", 1)
        _whole(get, "log_every_n_steps", _LOG_EVERY)
        _check_shares(batch_size, processes)
        return cls(
            accelerator,
            get["devices"],
            get["strategy"],
            _precision(accelerator) if precision == "auto" else precision,
            None if workers == "auto" else workers,
            _compiles(accelerator) if get["compile"] == "auto" else bool(get["compile"]),
            _name(accelerator, processes),
            {key: value for key, value in group.items() if key not in _READ and key != "_target_"},
        )

    @property
    def log_every(self) -> int:
        """Steps between two points of a curve."""
        return int(self.more.get("log_every_n_steps", _LOG_EVERY))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of matrix products and convolutions."""
        return torch.bfloat16 if self.precision.startswith("bf16") else torch.float32

    @property
    def skips_validation(self) -> bool:
        """Whether held-out photos are never evaluated: `trainer.limit_val_batches=0`."""
        return self.more.get("limit_val_batches") == 0

    @property
    def steers_validation(self) -> bool:
        """Whether the run decides when held-out photos are evaluated: if the Trainer has no interval for that."""
        return self.more.get("val_check_interval") is None

    @property
    def tries(self) -> bool:
        """Whether this is Lightning's fast_dev_run: a few steps to see that all works, which nothing is kept of."""
        return bool(self.more.get("fast_dev_run"))

    def trainer(
        self,
        callbacks: Sequence[pl.Callback],
        run_dir: Path,
        file: ResumeFile | None = None,
        loggers: Sequence[Logger] = (),
    ) -> pl.Trainer:
        """A Lightning Trainer, whose files, progress and stopping are the callbacks'.

        Args:
            callbacks: in their order.
            run_dir: the run's folder.
            file: what it goes on with where it is asked to resume.
            loggers: that scalars go to.

        Raises:
            UserError: for arguments that Lightning can't use here.
        """
        quieten()
        for name in ("profilers", "callbacks"):  # what was asked for may tell its table
            logging.getLogger(f"pytorch_lightning.{name}").setLevel(logging.INFO)
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        try:
            return self._trainer(callbacks, run_dir, file, loggers)
        except Exception as error:  # Lightning has several kinds, for what it or this machine doesn't have
            cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
            raise UserError(f"trainer: {printable(str(cause).splitlines()[0] if str(cause) else cause)}") from error

    def _trainer(
        self, callbacks: Sequence[pl.Callback], run_dir: Path, file: ResumeFile | None, loggers: Sequence[Logger]
    ) -> pl.Trainer:
        more = instantiate({"strategy": self.strategy, **self.more}, _convert_="all")
        plugins = more.pop("plugins", None) or []
        plugins = [*plugins] if isinstance(plugins, list) else [plugins]
        # Lightning's own would come after the callback that writes the resume file, and the last step would be lost
        timer = [Timer(limit)] if (limit := more.pop("max_time", None)) is not None else []
        arguments = {
            "log_every_n_steps": _LOG_EVERY,
            "num_sanity_val_steps": 0,
            **more,
            "plugins": plugins if file is None else [*plugins, Checked(file)],
        }
        return pl.Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            precision=self.precision,  # type: ignore[arg-type]
            logger=list(loggers) or False,
            callbacks=[*timer, *callbacks],
            max_epochs=1,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=str(run_dir),
            **arguments,
        )


def _check_names(group: Mapping[str, Any]) -> None:
    """See that the group names Lightning's Trainer, and arguments of it that can be given here."""
    if group.get("_target_", TRAINER) != TRAINER:
        raise UserError(f"trainer._target_ can only be {TRAINER}, not {quoted(group['_target_'])}")
    for key in group:
        if key in REFUSED:
            raise UserError(f"trainer.{key} can't be used here: {REFUSED[key]}")
        if key not in (*ARGUMENTS, *_OWN, "_target_"):
            raise UserError(f"trainer.{key} is no option: {near(key, [*ARGUMENTS, *_OWN])}")


def _check_shares(batch_size: int, processes: int) -> None:
    if (started := ranks.started()) not in (None, processes):
        raise UserError(
            f"{started} processes were started, and trainer.devices times trainer.num_nodes is {processes}: make them "
            "the same"
        )
    if batch_size % processes:
        raise UserError(f"batch_size={batch_size} can't be shared by {processes} processes: make it a multiple")


def _is_strategy(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, Mapping) and "_target_" in value)


def _whole(group: Mapping[str, Any], key: str, default: int) -> int:
    value = group.get(key, default)
    if not is_whole(value, 1, _MOST):
        raise UserError(f"trainer.{key} must be a whole number of at least 1, not {quoted(value)}")
    return int(value)


def _processes(accelerator: str, devices: object) -> int:
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, int) and not isinstance(devices, bool) and devices > 0:
        return devices
    if devices in ("auto", -1, "-1"):
        return torch.cuda.device_count() if accelerator in ("gpu", "cuda") else 1
    raise UserError(f"trainer.devices must be a number of devices, a list of them, or auto, not {quoted(devices)}")


def _precision(accelerator: str) -> str:
    """bf16 where the hardware multiplies it faster than fp32, else fp32."""
    if accelerator in ("gpu", "cuda"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator == "cpu" and cpu_has_bf16():
        return "bf16-mixed"
    return "32-true"


def _compiles(accelerator: str) -> bool:
    """Only on GPUs: on two cores of a CPU the code was not made within three minutes, see BENCHMARKS.md."""
    return accelerator in ("gpu", "cuda") and importlib.util.find_spec("triton") is not None


def _name(accelerator: str, processes: int) -> str:
    if accelerator in ("gpu", "cuda"):
        return f"{processes} x {torch.cuda.get_device_name()}"
    threads = f"{torch.get_num_threads()} threads" + (f", {processes} processes" if processes > 1 else "")
    return f"{platform.machine()} {accelerator}, {threads}"

"""What the run runs on: accelerator, precision, processes."""

from __future__ import annotations

import importlib.util
import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from onestroke.documents import is_whole
from onestroke.errors import UserError, near, printable, quoted
from onestroke.training.resume_file import Checked, ResumeFile, quieten

_KEYS = ("accelerator", "devices", "strategy", "precision", "workers", "compile")
_MOST_PROCESSES = max(64, 4 * (os.cpu_count() or 1))
_PRECISIONS = ("auto", "bf16-mixed", "32-true")


@dataclass(frozen=True)
class Machine:
    """The `trainer` group, checked against the machine.

    accelerator, devices, strategy: as Lightning's Trainer takes them. precision: bf16-mixed or 32-true. workers:
    processes that prepare pictures, None to choose. compiles: whether torch.compile makes code for network and VGG.
    name: the device in words.
    """

    accelerator: str
    devices: int | str | list[int]
    strategy: str
    precision: str
    workers: int | None
    compiles: bool
    name: str

    @classmethod
    def of(cls, group: Mapping[str, Any], batch_size: int) -> Machine:
        """Choose what is left to `auto`.

        Raises:
            UserError: for unknown options, an accelerator that isn't there, or a batch that can't be shared evenly.
        """
        for key in group:
            if key not in _KEYS:
                raise UserError(f"trainer.{key} is no option: {near(key, _KEYS)}")
        accelerator, precision, workers = group["accelerator"], group["precision"], group["workers"]
        if precision not in _PRECISIONS:
            raise UserError(f"trainer.precision must be one of {', '.join(_PRECISIONS)}, not {quoted(precision)}")
        if workers != "auto" and not is_whole(workers, 0, _MOST_PROCESSES):
            raise UserError(
                f"trainer.workers must be auto or a whole number of 0 to {_MOST_PROCESSES}, not {quoted(workers)}"
            )
        if group["compile"] not in ("auto", True, False):
            raise UserError(f"trainer.compile must be auto, true or false, not {quoted(group['compile'])}")
        if not isinstance(accelerator, str) or not isinstance(group["strategy"], str):
            raise UserError("trainer.accelerator and trainer.strategy are names, such as cpu, gpu and ddp")
        if accelerator == "auto":
            accelerator = "gpu" if torch.cuda.is_available() else "cpu"
        if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
            raise UserError("there is no CUDA GPU that torch can use here: take trainer=cpu or trainer=auto")
        processes = _processes(accelerator, group["devices"])
        if processes > _MOST_PROCESSES:
            raise UserError(
                f"trainer.devices={processes}: at most {_MOST_PROCESSES} processes are started on a machine"
            )
        if batch_size % processes:
            raise UserError(f"batch_size={batch_size} can't be shared by {processes} processes: make it a multiple")
        return cls(
            accelerator,
            group["devices"],
            group["strategy"],
            _precision(accelerator) if precision == "auto" else precision,
            None if workers == "auto" else workers,
            _compiles(accelerator) if group["compile"] == "auto" else bool(group["compile"]),
            _name(accelerator, processes),
        )

    def trainer(self, callbacks: Sequence[pl.Callback], run_dir: Path, file: ResumeFile | None = None) -> pl.Trainer:
        """A Lightning Trainer that leaves files, progress and stopping to the callbacks.

        Args:
            callbacks: in their order.
            run_dir: the run's folder.
            file: what it goes on with where it is asked to resume.

        Raises:
            UserError: for devices and strategies that Lightning can't use here.
        """
        quieten()
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        try:
            return self._trainer(callbacks, run_dir, file)
        except Exception as error:  # Lightning has several kinds, for what it or this machine doesn't have
            raise UserError(f"trainer: {printable(str(error).splitlines()[0] if str(error) else error)}") from error

    def _trainer(self, callbacks: Sequence[pl.Callback], run_dir: Path, file: ResumeFile | None) -> pl.Trainer:
        return pl.Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            strategy=self.strategy,
            precision=self.precision,  # type: ignore[arg-type]
            logger=False,
            callbacks=list(callbacks),
            max_epochs=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=str(run_dir),
            plugins=None if file is None else [Checked(file)],
        )


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
    if accelerator == "cpu" and _cpu_has_bf16():
        return "bf16-mixed"
    return "32-true"


def _compiles(accelerator: str) -> bool:
    """Only on GPUs: on two cores of a CPU the code was not made within three minutes, see BENCHMARKS.md."""
    return accelerator in ("gpu", "cuda") and importlib.util.find_spec("triton") is not None


def _cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 natively; elsewhere torch would emulate it, at a loss."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _name(accelerator: str, processes: int) -> str:
    if accelerator in ("gpu", "cuda"):
        return f"{processes} x {torch.cuda.get_device_name()}"
    threads = f"{torch.get_num_threads()} threads" + (f", {processes} processes" if processes > 1 else "")
    return f"{platform.machine()} {accelerator}, {threads}"

"""The Lightning loggers of a run: a failure is reported once, and the training continues without that logger."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor

from onestroke.errors import printable

log = logging.getLogger(__name__)

_WRITES = ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize")


def in_run_folder(part: Any, run_dir: Path) -> Any:
    """A logger's config, with the run's folder as where it writes, unless the config says another."""
    if not isinstance(part, Mapping) or "save_dir" in part or not isinstance(part.get("_target_"), str):
        return part
    with suppress(Exception):  # what can't be found is told where it is built
        if "save_dir" in inspect.signature(get_class(part["_target_"])).parameters:
            if not part["_target_"].endswith(".MLFlowLogger"):
                return {**part, "save_dir": str(run_dir)}
            # MLflow 3 wants to be told that it may keep its entries in files
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            return {**part, "save_dir": str(run_dir / "mlruns")}
    return part


class RunLoggers:
    """A run's loggers. Scalars reach them through Lightning; pictures and text are sent to TensorBoard by this class.

    A logger that raises is not called again. One warning is logged, and the exception reaches neither the training nor
    Lightning and its callbacks, which call the same loggers.

    Args:
        loggers: the same objects that the Trainer has.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = list(loggers)
        self._failed: set[int] = set()
        self._before = threading.excepthook
        threading.excepthook = self._in_thread
        for logger in self.loggers:
            self._guard_experiment(logger)
            for name in _WRITES:
                setattr(logger, name, self._guarded(logger, getattr(logger, name)))
            if isinstance(logger, TensorBoardLogger):  # whose own would also write an empty file of hyperparameters
                flush = functools.partial(_flush, logger)
                setattr(logger, "save", self._guarded(logger, flush))  # noqa: B010 - mypy lets no method be replaced

    def picture(self, tag: str, image: Tensor, step: int) -> None:
        """Log a picture, (3, H, W) in [0, 1]."""
        self._to_boards(lambda board: board.experiment.add_image(tag, image, step))

    def config(self, config: Mapping[str, Any]) -> None:
        """Log the run's config: as text in TensorBoard, as hyperparameters elsewhere."""
        text = "    " + json.dumps(config, indent=2).replace("\n", "\n    ")
        self._to_boards(lambda board: board.experiment.add_text("config", text))
        for logger in self.loggers:
            if not isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(dict(config))

    def flush(self) -> None:
        """Write everything logged so far to the disk."""
        for logger in self.loggers:
            logger.save()

    def close(self) -> None:
        """Close all loggers."""
        for logger in self.loggers:
            logger.finalize("success")
            self._failed.add(id(logger))
        threading.excepthook = self._before

    def _to_boards(self, job: Callable[[TensorBoardLogger], object]) -> None:
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                self._guarded(logger, functools.partial(job, logger))()

    def _guarded(self, logger: Logger, job: Callable[..., Any]) -> Callable[..., None]:
        def guarded(*arguments: Any, **more: Any) -> None:
            if id(logger) in self._failed:
                return
            try:
                job(*arguments, **more)
            except Exception as error:  # of this call, or of a thread that writes; loggers have kinds of their own
                self._fail(logger, error)

        return guarded

    def _guard_experiment(self, logger: Logger) -> None:
        """Have `logger.experiment`, which Lightning and callbacks ask for, raise nothing; its class stays."""
        usual: Any = type(logger)

        def experiment(this: Logger) -> Any:
            if id(this) not in self._failed:
                try:
                    return usual.experiment.fget(this)
                except Exception as error:
                    self._fail(this, error)
            return DummyLogger().experiment

        if isinstance(getattr(usual, "experiment", None), property):
            logger.__class__ = type(usual.__name__, (usual,), {"experiment": property(experiment)})

    def _fail(self, logger: Logger, error: Exception) -> None:
        if id(logger) in self._failed:
            return
        self._failed.add(id(logger))
        why = (isinstance(error, OSError) and error.strerror) or error
        events = isinstance(logger, TensorBoardLogger)
        what = "TensorBoard's events" if events else f"{type(logger).__name__}'s entries"
        log.warning("%s can't be written (%s); going on without", what, printable(why))

    def _in_thread(self, failure: threading.ExceptHookArgs) -> None:
        """The thread that writes keeps its OSError for the next call; other threads' errors are told as ever."""
        if not (issubclass(failure.exc_type, OSError) and type(failure.thread).__module__.startswith("tensorboard.")):
            self._before(failure)


def _flush(board: TensorBoardLogger) -> None:
    board.experiment.flush()

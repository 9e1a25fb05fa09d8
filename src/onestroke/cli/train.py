"""`onestroke train`, `python train.py`: the command line of training, by Hydra."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import onestroke
from onestroke import ranks
from onestroke.cli import sweeps
from onestroke.cli.home import home_in_override, with_home
from onestroke.cli.pipes import piped
from onestroke.errors import UserError, near
from onestroke.files import home
from onestroke.video.flow import motion

log = logging.getLogger(__name__)


def config_folder() -> Path:
    """The folder configs/: inside the package if it was installed from a wheel, else beside src/."""
    package = Path(onestroke.__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parents[1] / "configs"


def run_folder(resume: str | None, style: str, now: str) -> str:
    """The folder of a run: runs/<style>/<time>, or that of the run that is resumed.

    Only the process with rank 0 uses this folder; the others, whose clocks may differ, get a temporary one.

    The folder is created here, so that two trainings of a style that start in the same second don't share one: the
    second gets <time>_2. Later calls in the same process return the same folder.

    Args:
        resume: the resume file or its folder, or None.
        style: the name of the style.
        now: the time as text.
    """
    if resume:
        path = Path(home(resume))
        folder = path if path.is_dir() else path.parent
        for log_file in folder.glob("*.log"):
            if log_file.is_symlink():
                log_file.unlink(missing_ok=True)  # Hydra would append to its target, which is not a file of this run
        return str(folder)
    usual = Path("runs") / re.sub(r"[^\w.-]+", "_", str(style)) / now
    return str(_made(usual) if ranks.is_first() else _aside())


@functools.cache  # Hydra calls it more than once
def _made(usual: Path) -> Path:
    """Create the folder, or one with the first free suffix _2, _3, ...; if that fails, return `usual`."""
    folder, number = usual, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = usual.with_name(f"{usual.name}_{number}")
        except OSError:
            return usual  # Hydra will fail to create it, and report why


@functools.cache
def _aside() -> str:
    """A temporary run folder for a process with another rank than 0; removed at its exit."""
    folder = tempfile.mkdtemp(prefix="onestroke-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def main() -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return piped(_main)


def _main() -> int:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises exceptions instead of printing them
    resumes = any(re.match(r"resume=(?!null$).", argument) for argument in sys.argv[1:])
    sys.argv[1:] = [added(home_in_override(argument), resumes) for argument in sys.argv[1:]]
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    folder = config_folder()
    mistakes: list[str] = []
    in_job = False

    def job(config: DictConfig) -> float | None:
        nonlocal in_job
        in_job, value = True, None
        try:
            value = _job(config)
        except UserError as error:
            in_job = False
            # caught here, since Hydra would print lines of its own; in a plain sweep, the other trials go on
            if sweeps.is_sweep() and not sweeps.is_plain():
                log.error("%s", error)  # Hydra raises it where the sweep runs, but of several only one
                raise
            mistakes.append(str(error))
        in_job = False
        return value

    try:
        sweeps.check_out(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(folder), config_name="train")(job)()
    except Exception as error:
        message = _message(error, folder, in_job)
        if message is None:
            raise
        mistakes.append(message)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    for mistake in mistakes:
        print(f"onestroke: {mistake}", file=sys.stderr)
    return 2 if mistakes else 0


def added(argument: str, resumes: bool = False) -> str:
    """An override as Hydra takes it: with `++` for trainer, logger and callbacks, which take keys not in their yaml.

    Unknown keys are reported where the object is built. An address in data.urls is quoted, as it may hold braces.

    Args:
        argument: the override.
        resumes: whether a run is resumed: its network, losses and data may have other options than the defaults have,
            and unknown ones are reported by `resuming.resumed`.
    """
    groups = "trainer|logger|callbacks" + ("|network|loss|data" if resumes else "")
    plus = "++" if re.match(rf"({groups})\.[^=]+=", argument) else ""
    if address := re.fullmatch(r"data\.urls=([^'\"\[ ].*)", argument):
        return '{}data.urls="{}"'.format(plus, address[1].replace('"', '\\"'))
    return plus + argument


def _job(config: DictConfig) -> float | None:
    """Run one training; in a sweep, return the objective of the trial, which is minimised."""
    # imported by Lightning; it would log its search for fonts
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    # imported here, since torch and Lightning take seconds, and --help doesn't need them
    from onestroke.training.logs import survive_log_failures
    from onestroke.training.resuming import resumed
    from onestroke.training.run import train

    survive_log_failures()
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if not ranks.is_first():
        logging.getLogger().setLevel(logging.ERROR)
    try:
        resolved = _plain(config)
        if resolved["resume"] is not None:
            resolved, run_dir = resumed(resolved, list(HydraConfig.get().overrides.task), config_folder())
        if not sweeps.is_sweep():
            train(resolved, run_dir, flow=motion)
            return None
        path = train(sweeps.with_place(resolved, run_dir), run_dir, flow=motion)
        return sweeps.objective(path) if ranks.is_first() else None
    except UserError:
        _remove_if_bare(run_dir)
        raise


def _plain(config: DictConfig) -> dict[str, Any]:
    """The resolved config as a plain dict; raises a UserError for a missing value."""
    try:
        # Hydra leaves out groups without a choice
        return with_home({"logger": {}, "callbacks": {}, **_container(config, resolve=True)})
    except MissingMandatoryValue as error:
        key = str(error.full_key or error)
        raise UserError(f"{key} is needed: add {key}=... (data.root=/path/to/photos, for example)") from error


def _container(config: DictConfig, resolve: bool) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _remove_if_bare(run_dir: Path) -> None:
    """Remove the folder of a run that didn't start: one with nothing but empty logs."""
    with suppress(OSError):
        left = list(run_dir.iterdir()) if run_dir.is_dir() else []
        if all(path.suffix == ".log" and path.stat().st_size == 0 for path in left):
            for path in left:
                path.unlink()
            run_dir.rmdir()


def _message(error: Exception, folder: Path, in_job: bool) -> str | None:
    """The message for a user's mistake; None for a bug, which keeps its traceback."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException):
        config = str(error.missing_cfg_file)
        group, _, name = config.rpartition("/")
        hint = near(name, _choices(folder / group) or sweeps.PLUGINS.get(group, ()))
        return sweeps.missing(config) or f"there is no {group or 'config'} '{name}': {hint}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain(error, folder)
    if in_job or isinstance(error, BrokenPipeError):
        return None
    # logging raises a ValueError for a log that can't be opened
    cause = error.__cause__ if isinstance(error, ValueError) else error
    if isinstance(cause, OSError):
        return f"the run's folder can't be used: {cause}; run it where you may write"
    return sweeps.explained(error)


def _explain(error: Exception, folder: Path) -> str:
    """Reduce an error of Hydra, which has several lines, to one sentence."""
    text = " ".join(str(error).split())
    key = re.search(r"Could not override '([^']+)'", text)
    if key:
        return f"there is no option '{key[1]}': {near(key[1], _options(folder))}"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} can't be read as an option: put names with special signs in quotes of their own, "
            "such as 'style.image=\"été (1).jpg\"'"
        )
    return text


def _choices(group: Path) -> list[str]:
    """The choices of a config group."""
    return [path.stem for path in group.glob("*.yaml")]


def _options(folder: Path) -> list[str]:
    """The dotted names of all options in the default config."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(folder), version_base="1.3"):
        config = compose("train")
    names: list[str] = []

    def walk(node: Mapping[Any, Any], prefix: str) -> None:
        for key, value in node.items():
            names.append(f"{prefix}{key}")
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    walk(_container(config, resolve=False), "")
    return [name for name in names if not name.endswith("_target_")]


if __name__ == "__main__":
    sys.exit(main())

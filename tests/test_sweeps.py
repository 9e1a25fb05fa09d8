"""Sweeps: Hydra's launchers, and Optuna's search for the least held-out total."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from onestroke.cli import sweeps, train
from onestroke.errors import UserError
from onestroke.packages import installed
from onestroke.style_document import Metadata
from onestroke.style_file import read_document, write
from tests import commands
from tests.commands import ROOT, TINY
from tests.processes import Started, as_module, environment

PLUGINS = ("optuna", "joblib", "submitit")
pytestmark = pytest.mark.skipif(not installed(*PLUGINS), reason="needs the extra sweep")

SHORT = ("steps=2", "plateau=null", "init=null", "network.controls=[]", "loss=[content,gram]", "logger=[]")


def typed(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """`python train.py` in this process."""
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *arguments])
    return train.main()


def totals(cwd: Path, sweep: str) -> dict[str, float]:
    """What the style file in each trial's folder says of it, by the folder's name."""
    files = (cwd / "runs").glob(f"{sweep}/*/starry_night.safetensors")
    return {file.parent.name: read_document(file).metrics["total"] for file in files}


def best_of(results: Path) -> dict[str, Any]:
    """What a search says is best."""
    plain = OmegaConf.to_container(OmegaConf.load(results))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def test_optuna_finds_the_least_held_out_total(tmp_path: Path) -> None:
    commands.train("hparams_search=optuna", "hydra.sweeper.n_trials=2", *SHORT, cwd=tmp_path)
    found = totals(tmp_path, "optuna/*")
    assert sorted(found) == ["0", "1"]
    (results,) = (tmp_path / "runs").rglob("optimization_results.yaml")
    best = best_of(results)
    assert best["best_value"] == min(found.values())
    name = min(found, key=lambda trial: found[trial])
    config = read_document(results.parent / name / "starry_night.safetensors").training["config"]
    assert best["best_params"] == {name: config[name] for name in ("lr", "ema")}
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    "sampler",
    [("grid",), pytest.param(("random", "hydra.sweeper.sampler.seed=0"), marks=pytest.mark.slow)],
    ids=lambda one: one[0],
)
def test_other_samplers(sampler: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "_job", lambda config: config["lr"])  # in place of a training
    space = ("lr=choice(5e-4,2e-3)", "ema=choice(0.02,0.05)")
    chosen = (f"hydra/sweeper/sampler={sampler[0]}", *sampler[1:], "hydra.sweeper.n_trials=4")
    assert typed("hparams_search=optuna", *space, *chosen, monkeypatch=monkeypatch) == 0
    (results,) = tmp_path.rglob("optimization_results.yaml")
    assert best_of(results)["best_value"] == 5e-4
    assert len([path for path in results.parent.iterdir() if path.is_dir()]) == 4


# two at once are two more processes that import torch
@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_trials_of_joblib_have_a_style_file_each_and_mistakes_stop_no_other(at_once: int, tmp_path: Path) -> None:
    parallel = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_once}")
    done = commands.process("train.py", "-m", *TINY, *SHORT, *parallel, "style.size=1,256,384", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("onestroke: ") == 1 and "Traceback" not in done.stderr
    assert "style.size must be a whole number of at least 32, not 1" in done.stdout
    found = totals(tmp_path, "starry_night")
    assert sorted(name[-2:] for name in found) == ["_1", "_2"]
    assert len(set(found.values())) == 2
    for name in found:
        assert f"runs/starry_night/{name}/starry_night.safetensors" in done.stdout
    assert not (tmp_path / "checkpoints").exists()


SBATCH = """#!/bin/bash
cp "$1" "$QUEUE"
echo "Submitted batch job 7"
"""


def task(queue: Path, number: int) -> Started:
    """What srun would start of a script in the queue: a Python that is told by SLURM's variables which task it is."""
    script = queue.read_text()
    folder = re.findall(r"^srun .* -m submitit\.core\._submit (\S+)$", script, re.MULTILINE)[0]
    told = {
        "ARRAY_JOB_ID": 7, "ARRAY_TASK_ID": number, "JOB_ID": 7 + number, "JOBID": 7 + number, "NTASKS": 1,
        "NTASKS_PER_NODE": 1, "JOB_NUM_NODES": 1, "JOB_NODELIST": "here", "PROCID": 0, "LOCALID": 0, "NODEID": 0,
        "JOB_NAME": "train",
    }  # fmt: skip
    variables = {
        **environment(),
        "SUBMITIT_EXECUTOR": "slurm",
        **{f"SLURM_{name}": str(value) for name, value in told.items()},
    }
    return Started(as_module, "submitit.core._submit", folder.strip("'"), cwd=queue.parent, variables=variables)


def cluster(queue: Path, codes: list[int]) -> None:
    """Wait for a script in the queue, and run the tasks of its array."""
    while not queue.is_file() or "submitit.core._submit" not in queue.read_text():
        time.sleep(0.1)
    (last,) = re.findall(r"^#SBATCH --array=0-(\d+)%", queue.read_text(), re.MULTILINE)
    codes += [each.done().returncode for each in [task(queue, number) for number in range(int(last) + 1)]]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_trial_is_a_job_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", ""), ("sacct", "#!/bin/bash\necho 'JobID|State'\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    codes: list[int] = []
    running = threading.Thread(target=cluster, args=(tmp_path / "queue", codes), daemon=True)
    running.start()
    commands.train("-m", *SHORT, "hydra/launcher=submitit_slurm", "lr=1e-3,4e-3", cwd=tmp_path)
    running.join()
    assert codes == [0, 0]
    assert len(set(totals(tmp_path, "starry_night").values())) == 2
    assert {path.name for path in (tmp_path / "runs" / ".submitit").iterdir()} >= {"7_0", "7_1"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["hparams_search=optuna", "style.size=1"], "style.size must be a whole number of at least 32"),
        (["hparams_search=optuna", "hydra/sweeper/sampler=grid", "lr=interval(1e-4,1e-3)"], "GridSampler"),
        (["-m", "lr=1e-3,2e-3", "out=a.safetensors"], "out=a.safetensors would be written by every trial"),
        (["hparams_search=optuna", "out=a.safetensors"], "checkpoints/${style.name}.safetensors"),
        (["-m", "lr=1e-3", "hydra/launcher=submitit_slurm"], "slurm"),
        (["-m", "lr=1e-3", "hydra/launcher=joblip"], "did you mean 'joblib'"),
        (["--cfg=hydra", "-m", "lr=1e-3"], "Only one of --run, --multirun, --cfg"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed(*arguments, *TINY, *SHORT, monkeypatch=monkeypatch) == 2
    lines = capfd.readouterr().err.splitlines()
    (sentence,) = (line for line in lines if line.startswith("onestroke: "))
    assert word in sentence
    assert not any(line.startswith("Traceback") for line in lines)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_out_of_each_trial_s_own_is_taken() -> None:
    for out in ("out=a.safetensors,b.safetensors", "out=${style.name}.safetensors"):
        sweeps.check_out(["-m", "style=udnie,great_wave", out])
    sweeps.check_out(["style=udnie", "out=a.safetensors", "hparams_search=null"])
    sweeps.check_out(["-m", "style=udnie", "out=a.safetensors"])  # a sweep of one


def test_what_is_not_installed_says_its_extra() -> None:
    for config, extra in (("hydra/launcher/joblib", "sweep"), ("hydra/launcher/ray", "sweep-ray")):
        assert f"pip install 'onestroke[{extra}]'" in str(sweeps.missing(config))
    assert sweeps.missing("hydra/launcher/joblip") is None
    assert sweeps.missing("style/joblib") is None


def test_a_trial_without_a_held_out_total_has_no_value(tmp_path: Path) -> None:
    weights = {"a": torch.zeros(1)}
    write(tmp_path / "a.safetensors", weights, Metadata({"name": "Residual", "args": {}}, metrics={"step": 1.0}))
    with pytest.raises(UserError, match="no held-out total"):
        sweeps.objective(tmp_path / "a.safetensors")

"""Several nodes train as one process does: two torchrun agents on this machine, and the variables of SLURM."""

from __future__ import annotations

import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from onestroke import ranks
from onestroke.errors import UserError
from onestroke.style_file import load
from onestroke.training.machine import Machine
from tests.commands import TINY, runs, train
from tests.processes import ROOT, Started, as_module, as_script, environment
from tests.running import composed

# plain steps of a small size: Adam would turn rounding of tiny gradients into steps of full size
FEW = ("steps=3", "batch_size=4", "save_every=2", "lr=1e-4", "network.controls=[]", "init=null")
PHOTOS, SHARDS = ("data=photos", "data.cache=null", "data.root=photos"), ("data=webdataset", "data.urls=s-{0..1}.tar")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def agent(rank: int, port: int, *arguments: str) -> None:
    """A torchrun agent with one process, as on a node of its own."""
    options = ("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}")
    script = str(ROOT / "train.py")
    as_module("torch.distributed.run", *options, "--rdzv-id=test", "--local-addr=127.0.0.1", script, *arguments)


def task(rank: int, port: int, *arguments: str) -> None:
    """The process that such an agent starts, which torch's variables tell what it is."""
    told = {
        "RANK": rank, "LOCAL_RANK": 0, "GROUP_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    os.environ.update({name: str(value) for name, value in told.items()})
    as_script(ROOT / "train.py", *arguments)


# an agent's process imports torch and Lightning anew
@pytest.mark.parametrize(("node", "data"), [
    (task, PHOTOS), pytest.param(agent, PHOTOS, marks=pytest.mark.slow),
    pytest.param(task, SHARDS, marks=pytest.mark.slow),
])  # fmt: skip
def test_two_nodes_equal_one_process(
    node: Callable[..., None], data: tuple[str, ...], photo_folder: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "photos").symlink_to(photo_folder)
        for i in range(2):
            with tarfile.open(folder / f"s-{i}.tar", "w") as shard:
                for path in sorted(photo_folder.iterdir())[i::2]:
                    shard.add(path, path.name)
    few = (*FEW, *data)
    train(*few, cwd=one)
    options = (free_port(), *TINY, *few, "trainer.num_nodes=2", "trainer.strategy=ddp")
    variables = {**environment(), "GLOO_SOCKET_IFNAME": "lo"}
    nodes = [Started(node, rank, *options, cwd=two, variables=variables) for rank in range(2)]
    done = [each.done(timeout=300) for each in nodes]
    said = [each.stdout + each.stderr for each in done]
    assert [each.returncode for each in done] == [0, 0], "\n".join(said)
    assert len(runs(two)) == 1
    assert len(list((two / "runs").rglob("config.json"))) == len(list((two / "runs").rglob("*.tfevents.*"))) == 1
    name = "starry_night.safetensors"
    assert [path.name for path in (two / "checkpoints").iterdir()] == [name]
    assert sum("style file " in text for text in said) == 1
    single, double = (load(folder / "checkpoints" / name)[0].state_dict() for folder in (one, two))
    for key, tensor in single.items():
        torch.testing.assert_close(double[key], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("nodes", "devices", "processes"), [(1, 2, 2), (2, 1, 2), (2, 2, 4)])
def test_the_batch_is_shared_over_all_nodes(nodes: int, devices: int, processes: int) -> None:
    group = {**composed(*TINY)["trainer"], "num_nodes": nodes, "devices": devices, "strategy": "ddp"}
    assert f"{processes} processes" in Machine.of(group, 2 * processes).name
    with pytest.raises(UserError, match=f"can't be shared by {processes} processes"):
        Machine.of(group, processes + 1)


@pytest.mark.parametrize("task", [0, 1])
def test_tasks_of_srun_are_processes_of_one_run(task: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": str(task), "SLURM_LOCALID": "0",
        "SLURM_NODEID": str(task), "SLURM_NODELIST": "node[1-2]",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    group = {**composed(*TINY)["trainer"], "num_nodes": 2, "strategy": "ddp"}
    trainer = Machine.of(group, 4).trainer([], tmp_path)
    assert (trainer.world_size, trainer.global_rank, trainer.node_rank) == (2, task, task)
    assert ranks.rank() == task
    with pytest.raises(UserError, match=r"2 processes were started, and trainer\.devices times .* is 1"):
        Machine.of({**group, "num_nodes": 1}, 4)


def test_processes_of_torchrun_are_those_that_the_trainer_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    group = {**composed(*TINY)["trainer"], "strategy": "ddp"}
    assert "4 processes" in Machine.of({**group, "devices": 2, "num_nodes": 2}, 4).name
    with pytest.raises(UserError, match="4 processes were started"):
        Machine.of({**group, "devices": 2}, 4)

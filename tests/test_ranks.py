"""Who is the first process, under each way to start several."""

from __future__ import annotations

import pytest

from onestroke import ranks

KNOWN = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NAME")


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        # torchrun: its rank over all nodes, and no NODE_RANK
        ({"RANK": "0", "LOCAL_RANK": "0"}, 0),
        ({"RANK": "3", "LOCAL_RANK": "0"}, 3),
        # srun: one task a process, and no LOCAL_RANK
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}, 0),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_JOB_NAME": "train"}, 2),
        # a shell on a cluster's node is nobody's task
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_JOB_NAME": "bash"}, 0),
        # torchrun inside a SLURM job counts for itself
        ({"RANK": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, 1),
        # processes that Lightning starts on one node, and on the second of two
        ({"LOCAL_RANK": "1"}, 1),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, 1),
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, 0),
    ],
)
def test_one_process_of_all_is_the_first(variables: dict[str, str], rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (ranks.rank() == 0) is ranks.is_first() is (rank == 0)
    assert ranks.rank() == rank

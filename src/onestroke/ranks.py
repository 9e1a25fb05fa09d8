"""The rank of this process in a distributed run, read from the environment so that torch need not be imported.

torchrun sets RANK, SLURM's srun sets SLURM_PROCID, and Lightning sets NODE_RANK and LOCAL_RANK for the processes that
it starts itself.
"""

from __future__ import annotations

import os


def rank() -> int:
    """The global rank of this process over all nodes; 0 for a single process."""
    if "RANK" in os.environ:
        return _number("RANK")
    if _by_srun():
        return _number("SLURM_PROCID")
    # not the exact rank, as Lightning does not set the number of processes per node; but 0 only for the first
    return _number("NODE_RANK") or _number("LOCAL_RANK")


def is_first() -> bool:
    """Whether this process has rank 0; it alone writes files and messages."""
    return rank() == 0


def started() -> int | None:
    """The number of processes that torchrun or srun has started on all nodes; None if neither did."""
    if "RANK" in os.environ:
        return _number("WORLD_SIZE") or None
    return (_number("SLURM_STEP_NUM_TASKS") or None) if _by_srun() else None


def _by_srun() -> bool:
    """Whether srun started this process as a task of a batch job, not in an interactive shell."""
    # the same rule as Lightning's SLURMEnvironment, so that both agree on the rank
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def _number(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else 0

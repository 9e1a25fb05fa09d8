"""Which process of a run this is: the one answer to "am I the first process of all nodes".

It is read from the environment, so that it can be asked before torch is imported: torchrun sets RANK, SLURM's srun sets
SLURM_PROCID, and Lightning sets NODE_RANK and LOCAL_RANK for the processes that it starts itself.
"""

from __future__ import annotations

import os


def rank() -> int:
    """The number of this process among all processes of all nodes; 0 where it is the only one."""
    if "RANK" in os.environ:
        return _number("RANK")
    if _by_srun():
        return _number("SLURM_PROCID")
    # enough to tell the first from the others: Lightning does not say how many processes a node has
    return _number("NODE_RANK") or _number("LOCAL_RANK")


def is_first() -> bool:
    """Whether this process is the one that writes files and messages."""
    return rank() == 0


def started() -> int | None:
    """How many processes torchrun or srun has started for this run, on all nodes; None where neither did."""
    if "RANK" in os.environ:
        return _number("WORLD_SIZE") or None
    return (_number("SLURM_STEP_NUM_TASKS") or None) if _by_srun() else None


def _by_srun() -> bool:
    """Whether srun started this as one task of several, and not a shell in which a user types."""
    # the same rule as in Lightning's SLURMEnvironment, or the two would disagree about who is first
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def _number(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else 0

"""torch.compile for what a step spends its time in, or one line why not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from torch import nn

log = logging.getLogger(__name__)


def compile_parts(parts: Sequence[nn.Module], trial: Callable[[], object]) -> bool:
    """Let Inductor make code for modules, in place; where it can't, they stay as they were and a line says so.

    Args:
        parts: called as modules in each step.
        trial: calls them as a step does, since code is made at the first call.

    Returns:
        Whether they are compiled now.
    """
    log.info("compiling, which takes minutes; trainer.compile=false starts at once")
    for part in parts:
        part.compile()
    try:
        trial()
    except Exception as error:
        # the compiler's own errors have no class in common from version to version, but all come from there
        if not type(error).__module__.startswith("torch._"):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        log.warning("this machine can't compile, so training goes on without: %s", reason)
        for part in parts:
            part._compiled_call_impl = None
        return False
    return True

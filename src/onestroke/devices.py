"""Which device computes."""

from __future__ import annotations

import torch

from onestroke.errors import UserError

NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")
"""Words by which a RuntimeError tells that memory is short; only CUDA has an error of its own for this."""


def choose_device(name: str) -> torch.device:
    """The device of that name, `auto` being the fastest there is.

    Raises:
        UserError: for a name that is none, or a device that isn't there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # back again, which meta, a device without memory, refuses
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UserError(f"device={name} can't be used here; take device=auto or device=cpu") from error
    return device

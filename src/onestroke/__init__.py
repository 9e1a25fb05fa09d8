"""OneStroke: train a painter once, then paint any picture in one stroke."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestroke.errors import UserError as UserError
    from onestroke.inference.stylizer import Stylizer as Stylizer
    from onestroke.version import __version__ as __version__

__all__ = ["Stylizer", "UserError", "__version__"]


def __getattr__(name: str) -> object:
    # imported on first use: torch takes seconds to import, and `python train.py --help` does not need it
    if name == "Stylizer":
        from onestroke.inference.stylizer import Stylizer

        return Stylizer
    if name == "UserError":
        from onestroke.errors import UserError

        return UserError
    if name == "__version__":
        from onestroke.version import __version__

        return __version__
    raise AttributeError(f"module 'onestroke' has no attribute '{name}'")

"""OneStroke: train a painter once, then paint any picture in one stroke."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestroke.errors import UserError as UserError
    from onestroke.inference.stylizer import Stylizer as Stylizer

__version__ = "0.1.0"
__all__ = ["Stylizer", "UserError", "__version__"]


def __getattr__(name: str) -> object:
    # loaded when asked for: torch takes seconds, which `python train.py --help` need not wait for
    if name == "Stylizer":
        from onestroke.inference.stylizer import Stylizer

        return Stylizer
    if name == "UserError":
        from onestroke.errors import UserError

        return UserError
    raise AttributeError(f"module 'onestroke' has no attribute '{name}'")

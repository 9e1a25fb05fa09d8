"""Packages that painting can do without: each is imported where it is used, and missed in one sentence."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from onestroke.errors import UserError


def require(name: str, extra: str) -> Any:
    """Import a package or module of an optional extra.

    ONNX Runtime, from version 1.29 on, sends its makers what it opens and how long that takes, and keeps a number for
    this machine in the user's cache, unless it is told not to before it is imported. So it is told;
    ORT_DISABLE_TELEMETRY=0 in the environment allows it again.

    Raises:
        UserError: it is not installed, or its installation is broken; the sentence says what to install.
    """
    if name.partition(".")[0] == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UserError(f"the package {package} is needed for this: pip install 'onestroke[{extra}]'") from error


def installed(*names: str) -> bool:
    """Whether all of these packages are there; none is imported."""
    return all(importlib.util.find_spec(name) is not None for name in names)

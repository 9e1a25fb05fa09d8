"""Optional packages: each is imported where it is used, and one that is missing gives a UserError."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from onestroke.errors import UserError


def require(name: str, extra: str) -> Any:
    """Import a package or module of an optional extra.

    ONNX Runtime from version 1.29 on sends telemetry to its makers and stores a machine id in the user's cache, unless
    ORT_DISABLE_TELEMETRY=1 is set before it is imported. So this sets it; ORT_DISABLE_TELEMETRY=0 in the environment
    allows telemetry again.

    Args:
        name: of the package or module, such as onnxruntime.quantization.
        extra: the extra of onestroke that installs it, for the message.

    Raises:
        UserError: the package is not installed, or its installation is broken.
    """
    if name.partition(".")[0] == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UserError(f"the package {package} is needed for this: pip install 'onestroke[{extra}]'") from error


def installed(*names: str) -> bool:
    """Whether all of these packages are installed; none is imported."""
    return all(importlib.util.find_spec(name) is not None for name in names)

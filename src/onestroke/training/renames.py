"""Configs of runs that began under earlier names of options, so that such a run can be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onestroke.style_document import current_arguments

_SHIFT = "onestroke.losses.shift_consistency.ShiftConsistency"
_CHECKERBOARD = "onestroke.losses.checkerboard.Checkerboard"
_GRIDS = ("onestroke.losses.grid.Grid", "onestroke.losses.checkerboard.Grid")


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same config under today's names; one that has them already, or is no config at all, comes back as it is."""
    found = dict(config)
    network, loss = found.get("network"), found.get("loss")
    if isinstance(network, dict):
        found["network"] = current_arguments(network)
    if found.get("adapt") == "dials":
        found["adapt"] = "controls"
    if "adapt" in found:
        found.setdefault("vary", "auto")
    if isinstance(loss, dict):
        found["loss"] = {("checkerboard" if key == "grid" else key): _term(term) for key, term in loss.items()}
        edges = found.pop("edges", None)
        if isinstance(edges, int | float) and edges:
            found["loss"]["shift_consistency"] = {"_target_": _SHIFT, "weight": edges}
    return found


def _term(term: Any) -> Any:
    if isinstance(term, dict) and term.get("_target_") in _GRIDS:
        return {**term, "_target_": _CHECKERBOARD}
    return term

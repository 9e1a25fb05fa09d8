"""Traces on disk: a photo is optimised once for each objective, not once for each network that is evaluated."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.files import atomic, make_folder, user_cache
from onestroke.losses.objective import Objective
from onestroke.optimization.descent import Optimizer, Start, optimise
from onestroke.optimization.trace import Trace

VERSION = 1
"""To be incremented when `optimise` changes its results, so that stored traces are not used any more."""
KEY = "onestroke"


def default_folder() -> Path:
    """`references` in the user's cache."""
    return user_cache() / "references"


def cached(
    objective: Objective,
    content: Tensor,
    *,
    iterations: int,
    optimizer: Optimizer = "lbfgs",
    start: Start = "content",
    seed: int = 0,
    until: float | None = None,
    folder: Path | None = None,
    progress: Callable[[int, float], object] | None = None,
) -> Trace:
    """The trace of `optimise`, from the cache if a stored one is long enough.

    A stored trace is long enough if it has at least as many iterations, reached `until` or is exhausted. Any other, and
    a damaged one, is computed again from the start and replaced, since the optimiser's state is not stored. A picture
    from the cache has been rounded to fp16.

    Args:
        objective, content, iterations, optimizer, start, seed, until, progress: as for `optimise`.
        folder: where traces are stored; default: `default_folder()`.

    Warns:
        if the trace can't be stored; it is returned all the same.
    """
    digest = fingerprint(objective, content, optimizer, start, seed)
    path = (default_folder() if folder is None else folder) / f"{digest}.safetensors"
    trace = read(path, digest, content.shape)
    if trace is not None and _is_long_enough(trace, iterations, until):
        return trace
    trace = optimise(
        objective, content, iterations=iterations, optimizer=optimizer, start=start, seed=seed, until=until,
        progress=progress,
    )  # fmt: skip
    try:
        write(path, digest, trace)
    except UserError as error:
        warnings.warn(f"the reference will be computed again the next time: {error}", stacklevel=2)
    return trace


def _is_long_enough(trace: Trace, iterations: int, until: float | None) -> bool:
    return trace.exhausted or trace.iterations >= iterations or (until is not None and trace.loss <= until)


def fingerprint(
    objective: Objective, content: Tensor, optimizer: Optimizer = "lbfgs", start: Start = "content", seed: int = 0
) -> str:
    """sha256 of everything that a trace depends on: photo, style, terms, their weights, strength, VGG, optimiser."""
    vgg = objective.vgg
    terms = [
        {"name": name, "class": type(term).__qualname__, "factor": objective.factors[name], "settings": _settings(term)}
        for name, term in objective.terms.items()
    ]
    document = {
        "version": VERSION,
        "optimizer": optimizer,
        "start": start,
        "seed": seed if start == "noise" else None,
        "terms": terms,
        "vgg": [vgg.arch, str(vgg.compute_dtype)],
    }
    hashed = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    tensors = {"content": content, **_tensors("vgg", vgg), **_tensors("style", objective.style)}
    tensors |= _tensors("terms", objective.terms)
    for name, tensor in sorted(tensors.items()):
        hashed.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        hashed.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def _settings(term: nn.Module) -> dict[str, Any]:
    """A term's settings: its public attributes of plain types, such as weight and layers."""
    plain = (bool, int, float, str, tuple)
    return {k: v for k, v in vars(term).items() if isinstance(v, plain) and not k.startswith("_") and k != "training"}


def _tensors(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in (*module.named_parameters(), *module.named_buffers())}


def write(path: Path, digest: str, trace: Trace) -> None:
    """Write a trace: losses in float64, the picture in fp16.

    Raises:
        UserError: if it can't be written.
    """
    make_folder(path.parent)
    tensors = {"losses": torch.tensor(trace.losses, dtype=torch.float64), "picture": trace.picture.half().contiguous()}
    document = {"fingerprint": digest, "evaluations": trace.evaluations, "exhausted": trace.exhausted}
    with atomic(path) as temporary:
        temporary.write_bytes(serialize(tensors, metadata={KEY: json.dumps(document)}))


def read(path: Path, digest: str, shape: torch.Size) -> Trace | None:
    """Read a stored trace; None if it is missing, damaged, or of another fingerprint or picture shape."""
    try:
        with safe_open(str(path), framework="pt") as file:
            document = json.loads((file.metadata() or {})[KEY])
            losses, picture = file.get_tensor("losses"), file.get_tensor("picture").float()
        evaluations, exhausted = int(document["evaluations"]), bool(document["exhausted"])
        known = document["fingerprint"] == digest
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None
    if not known or losses.ndim != 1 or len(losses) == 0 or picture.shape != shape:
        return None
    return Trace(tuple(losses.double().tolist()), picture, evaluations, exhausted)

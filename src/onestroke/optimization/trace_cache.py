"""Traces on disk, so that a photo is optimised once for each objective, not once for each network that is judged."""

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
"""Raised when `optimise` comes to give other traces, so that older ones are not taken for its own."""
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
    """What `optimise` gives, from the cache where it goes far enough.

    A trace goes far enough that has as many iterations or more, that reached `until`, or that can't get further. Any
    other is made again, longer, and replaced, since the optimiser's memory isn't kept. What is damaged is made again
    too. A picture from the cache has gone through fp16.

    Args:
        folder: where traces are kept; default: `default_folder()`.

    Warns:
        where a trace can't be kept; it is returned all the same.
    """
    digest = fingerprint(objective, content, optimizer, start, seed)
    place = (default_folder() if folder is None else folder) / f"{digest}.safetensors"
    trace = read(place, digest, content.shape)
    if trace is not None and _goes_far_enough(trace, iterations, until):
        return trace
    trace = optimise(
        objective, content, iterations=iterations, optimizer=optimizer, start=start, seed=seed, until=until,
        progress=progress,
    )  # fmt: skip
    try:
        write(place, digest, trace)
    except UserError as error:
        warnings.warn(f"the reference will be computed again the next time: {error}", stacklevel=2)
    return trace


def _goes_far_enough(trace: Trace, iterations: int, until: float | None) -> bool:
    return trace.exhausted or trace.iterations >= iterations or (until is not None and trace.loss <= until)


def fingerprint(
    objective: Objective, content: Tensor, optimizer: Optimizer = "lbfgs", start: Start = "content", seed: int = 0
) -> str:
    """sha256 over all that a trace depends on: photo, style, terms with their weights, the control, VGG, optimiser."""
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
    """What a term's constructor was given, as far as it kept it: weight, layers and whatever plain it adds."""
    plain = (bool, int, float, str, tuple)
    return {k: v for k, v in vars(term).items() if isinstance(v, plain) and not k.startswith("_") and k != "training"}


def _tensors(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in (*module.named_parameters(), *module.named_buffers())}


def write(path: Path, digest: str, trace: Trace) -> None:
    """Keep a trace: losses in float64, the picture in fp16.

    Raises:
        UserError: where it can't be written.
    """
    make_folder(path.parent)
    tensors = {"losses": torch.tensor(trace.losses, dtype=torch.float64), "picture": trace.picture.half().contiguous()}
    document = {"fingerprint": digest, "evaluations": trace.evaluations, "exhausted": trace.exhausted}
    with atomic(path) as temporary:
        temporary.write_bytes(serialize(tensors, metadata={KEY: json.dumps(document)}))


def read(path: Path, digest: str, shape: torch.Size) -> Trace | None:
    """A trace that was kept; None where there is none that is whole and of this fingerprint and shape."""
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

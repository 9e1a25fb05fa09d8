"""Merge style files that share their convolutions, and extract one style; each paints as before, to the bit.

A style that was trained with `adapt=norms` has the same convolutions as the file that it started from, and its own norm
parameters and colour transform (Dumoulin et al., 2017). So one file can hold both:

    python train.py style.image=my.jpg style.name=mine init=checkpoints/gallery.safetensors adapt=norms
    onestroke checkpoints merge path=checkpoints/gallery.safetensors path=mine.safetensors out=eight.safetensors
    onestroke checkpoints extract path=eight.safetensors style=mine out=mine_alone.safetensors
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from onestroke import style_file
from onestroke.errors import UserError, near, printable
from onestroke.files import check_free
from onestroke.networks.tables import table_names
from onestroke.style_document import Metadata


def merge_files(paths: Sequence[Path], out: Path, overwrite: bool = False) -> list[str]:
    """Write one style file with the styles of several.

    Returns:
        The styles' names.

    Raises:
        UserError: for files that can't be read, have different convolutions or styles of the same name, and if `out`
            exists or can't be written.
    """
    check_free(out, overwrite)
    loaded = [style_file.load(path) for path in paths]
    networks, documents = [network for network, _ in loaded], [metadata for _, metadata in loaded]
    tables = table_names(networks[0])
    states = [style_file.weights(path) for path in paths]
    for path, metadata, state in zip(paths[1:], documents[1:], states[1:], strict=True):
        _check_same_network(paths[0], documents[0], states[0], path, metadata, state, tables)
    names = [name for metadata in documents for name in metadata.styles]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f"two of the files have a style {repeated}: train one again under another style.name")
    facts = [one for metadata in documents for one in _facts(metadata)]
    first = documents[0]
    merged = Metadata(
        {**first.network, "args": {**first.network["args"], "styles": len(names)}},
        {**first.style, "name": out.stem, "styles": facts},
        {"joined": [metadata.training for metadata in documents]},
    )
    state = {key: torch.cat([s[key] for s in states]) if key in tables else t for key, t in states[0].items()}
    style_file.write(out, state, merged)
    return names


def extract_style(path: Path, style: str, out: Path, overwrite: bool = False) -> None:
    """Write a style file with one of a file's styles, and all of its controls.

    Raises:
        UserError: for a file that can't be read or has no such style, and if `out` exists or can't be written.
    """
    check_free(out, overwrite)
    network, metadata = style_file.load(path)
    names = metadata.styles
    if style not in names:
        raise UserError(f"{path} has no style {printable(style)}: {near(style, names)}")
    number, tables, state = names.index(style), table_names(network), style_file.weights(path)
    total = metadata.metrics.get(f"total_{style}")
    alone = Metadata(
        {**metadata.network, "args": {**metadata.network["args"], "styles": 1}},
        {**metadata.style, "name": style, "styles": [_facts(metadata)[number]]},
        {**metadata.training, "extracted": style},
        {} if total is None else {"total": total},
    )
    rows = {key: t.chunk(len(names))[number].contiguous() if key in tables else t for key, t in state.items()}
    style_file.write(out, rows, alone)


def _facts(metadata: Metadata) -> list[dict[str, object]]:
    """Facts about each of a file's styles; the name at least."""
    names, listed = metadata.styles, metadata.style.get("styles", [])
    known = listed if len(listed) == len(names) else [{}] * len(names)
    return [{**facts, "name": name} for facts, name in zip(known, names, strict=True)]


def _check_same_network(
    path: Path, metadata: Metadata, state: dict[str, Tensor], other_path: Path, other: Metadata,
    other_state: dict[str, Tensor], tables: set[str],
) -> None:  # fmt: skip
    shared = [key for key in state if key not in tables]
    alike = metadata.network["name"] == other.network["name"] and state.keys() == other_state.keys()
    alike = alike and all(state[key].shape[1:] == other_state[key].shape[1:] for key in state)
    controls = [list(one.network["args"].get("controls", [])) for one in (metadata, other)]
    if not alike or controls[0] != controls[1]:
        raise UserError(f"{other_path} holds another network than {path}: only styles of one network can be merged")
    if not all(torch.equal(state[key], other_state[key]) for key in shared):
        raise UserError(f"{other_path} has other convolutions than {path}: train it again with init={path} adapt=norms")

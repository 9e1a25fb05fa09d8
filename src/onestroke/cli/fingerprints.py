"""What decides how something is painted: a run that was stopped goes on only if all of it is as it was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from onestroke.cli.infer_options import Options
from onestroke.provenance.origin import sha256_of
from onestroke.version import __version__


def of_file(path: Path) -> str:
    """Name, size and time of a file, which a change of its content changes."""
    found = path.stat()
    return f"{path.name} {found.st_size} {found.st_mtime_ns}"


def of_run(options: Options, names: Iterable[str], **more: object) -> dict[str, Any]:
    """The options of these names, the style file's content, the version, and whatever else is given."""
    return {
        **{name: getattr(options, name) for name in names},
        **more,
        "ckpt": sha256_of(Path(options.ckpt)),
        "version": __version__,
    }

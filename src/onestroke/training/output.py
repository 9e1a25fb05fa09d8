"""Where a run may write its style file, checked before it begins."""

from __future__ import annotations

from pathlib import Path

from onestroke import style_file
from onestroke.errors import UserError
from onestroke.files import check_free
from onestroke.training.resume_file import owned

DEFAULT_FOLDER = Path("checkpoints")


def is_ours(path: Path, owner: str) -> bool:
    """Whether a style file is one of the run with this secret."""
    try:
        return bool(owner) and style_file.read_document(path).training.get("owner") == owned(owner)
    except UserError:
        return False


def check_out(out: Path, overwrite: bool, owner: str) -> None:
    """Check that `out=` may be written.

    Args:
        out: the style file.
        overwrite: whether it may replace any file.
        owner: the secret of a resumed run, which may always replace its own style file.

    Raises:
        UserError: for another suffix than .safetensors, and for a file that must not be replaced.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"out={out}: a style file's name ends in .safetensors")
    check_free(out, overwrite or is_ours(out, owner))


def resume_command(run_dir: Path, out: str | None) -> str:
    """The command that goes on with a run; where to write has to be said again, as a resume file is not asked."""
    return f"python train.py resume={run_dir}" + ("" if out is None else f" out={out}")

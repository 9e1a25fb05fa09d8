"""Compare this working tree with another commit: do both paint and train the same, to the bit?

    python scripts/same.py base=main [only=paintings]

Both paint with every style file that ships at several settings, and train twenty steps of several recipes. One line
each says whether the results are equal; the exit code is 1 where one is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safetensors.torch import load_file

from onestroke.cli.options import CommandOptions, command, option
from onestroke.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
SHORT = ("crop=64", "batch_size=2", "steps=20", "measure=false", "plateau=null", "save_every=100", "trainer=cpu")
RECIPES = {
    "default": ("style=starry_night",),
    "bf16": ("style=starry_night", "trainer.precision=bf16-mixed"),
    "controls": ("style=starry_night", "adapt=controls", "init=checkpoints/starry_night.safetensors"),
    "from_nothing": ("style=udnie", "init=null", "loss=[content,gram,checkerboard,shift_consistency,tv]"),
    "several_styles": ("style=[starry_night,great_wave]", "style.name=two", "init=null"),
    "realtime": ("style=starry_night", "experiment=realtime"),
}
"""What each asks of train.py besides SHORT."""


@dataclass
class SameOptions(CommandOptions):
    """The options of this script."""

    base: str = option("the commit to compare with, by any name that git knows", example="main")
    only: str | None = option("compare this alone", None, choices=("paintings", *RECIPES), placeholder="NAME")


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A temporary working tree of a commit.

    Raises:
        UserError: git has no such commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "base"
        made = subprocess.run(
            ["git", "worktree", "add", "--detach", str(tree), commit], cwd=ROOT, capture_output=True, text=True
        )
        if made.returncode:
            raise UserError(f"base={commit}: git has no such commit here: {made.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=False)


def run(tree: Path, *arguments: str) -> str:
    """What Python prints that runs a script with the package of a tree.

    Raises:
        UserError: it did not end well.
    """
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(arguments)} in {tree}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return done.stdout


def paintings(tree: Path) -> dict[str, str]:
    """The hash of each painting of the files that ship here, by the package of a tree."""
    files = sorted(str(path) for path in (ROOT / "checkpoints").glob("*.safetensors"))
    found = json.loads(run(tree, str(ROOT / "scripts" / "same_paintings.py"), *files))
    return {f"{name} {settings}": sha256 for name, own in found.items() for settings, sha256 in own.items()}


def trained(tree: Path, recipe: str) -> dict[str, str]:
    """The hash of each weight that a tree trains within twenty steps.

    Weights are those of the style file, in fp16: a difference anywhere has spread to thousands of them by then.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "style.safetensors"
        run(tree, "train.py", *RECIPES[recipe], *SHORT, f"out={out}", f"hydra.run.dir={folder}/run")
        return {
            name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in load_file(str(out)).items()
        }


def equal(what: str, compute: Callable[[Path], dict[str, str]], base: Path) -> bool:
    """Compute the hashes with both trees, and say in one line whether they are the same."""
    before, now = compute(base), compute(ROOT)
    if not before and not now:
        print(f"{what}: DIFFERENT, there is nothing to compare", flush=True)
        return False
    if before.keys() != now.keys():
        apart = sorted(before.keys() ^ now.keys())
        print(f"{what}: DIFFERENT, only one of the two has {apart[0]}", flush=True)
    elif different := [name for name in before if before[name] != now[name]]:
        print(f"{what}: DIFFERENT, {len(different)} of {len(before)}, first {different[0]}", flush=True)
    else:
        print(f"{what}: equal to the bit, {len(before)} of {len(before)}", flush=True)
    return before == now


def compare(options: SameOptions) -> int:
    """Compare all that is asked for; the exit code."""
    jobs: dict[str, Callable[[Path], dict[str, str]]] = {"paintings": paintings}
    jobs |= {recipe: partial(trained, recipe=recipe) for recipe in RECIPES}
    with checked_out(options.base) as base:
        results = [equal(name, job, base) for name, job in jobs.items() if options.only in (None, name)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(command(SameOptions, "python scripts/same.py base=COMMIT [only=NAME]", compare, sys.argv[1:]))

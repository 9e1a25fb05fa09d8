"""`onestroke`: all commands under one name."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass

from onestroke.cli.pipes import piped
from onestroke.errors import UserError, near
from onestroke.version import __version__


@dataclass(frozen=True)
class Command:
    """A subcommand. Its module is imported only when it is called, since importing torch takes seconds."""

    module: str
    function: str
    help: str


COMMANDS = {
    "train": Command("train", "main", "train a style: style=starry_night, or style.image=my.jpg"),
    "infer": Command("infer", "main", "paint photos with a style file"),
    "evaluate": Command("evaluate", "main", "measure style files, or finished pictures of any other tool"),
    "export": Command("export", "main", "write a style as ONNX or torch.export, for other programs"),
    "live": Command("live", "main", "paint a camera live, for a stage or an exhibition"),
    "fleet": Command("fleet", "main", "paint millions of pictures on a Ray cluster"),
    "optimize": Command("optimize", "main", "paint one photo by direct optimisation, without training"),
    "styles make": Command("styles", "make", "measure a painting for a style card"),
    "checkpoints show": Command("checkpoints", "show", "print what a style file contains"),
    "checkpoints import": Command(
        "checkpoints", "import_", "convert a network that was trained elsewhere to a style file"
    ),
    "checkpoints merge": Command("checkpoints", "merge", "merge the styles of several files into one"),
    "checkpoints extract": Command("checkpoints", "extract", "take one style out of a file of several"),
    "checkpoints prune": Command("checkpoints", "prune", "make a narrower network of a trained one, to be fine-tuned"),
    "provenance show": Command("provenance", "show", "print what the marks of a painting say"),
    "provenance verify": Command("provenance", "verify", "check a painting's signed Content Credentials"),
    "cache build": Command("cache", "build", "decode the photos of a training before it begins"),
    "vgg pack": Command("vgg", "pack", "rebuild the embedded weights of the VGG"),
}
"""Subcommand of one or two words -> the function that it calls."""

_HELP = ("-h", "--help", "help")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: None takes those of the process.

    Returns:
        The subcommand's exit code; 2 for an unknown subcommand, after a message on stderr.
    """
    return piped(lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        print(f"onestroke {__version__}")
        return 0
    if not arguments or arguments[0] in _HELP:
        print(listing(), end="")
        return 0 if arguments else 2
    try:
        name, rest = resolve(arguments)
    except UserError as error:
        print(f"onestroke: {error}", file=sys.stderr)
        return 2
    if name not in COMMANDS:
        print(listing(name), end="")
        return 0 if rest else 2
    called = COMMANDS[name]
    function = getattr(importlib.import_module(f"onestroke.cli.{called.module}"), called.function)
    if name == "train":
        sys.argv[1:] = rest  # Hydra reads its arguments from there
        return int(function())
    return int(function(rest))


def resolve(arguments: list[str]) -> tuple[str, list[str]]:
    """Split arguments into the subcommand and its arguments.

    For a first word such as `checkpoints` without a second, or followed by --help, the name is the first word alone.

    Raises:
        UserError: the subcommand doesn't exist.
    """
    first, *rest = arguments
    words = list(dict.fromkeys(name.split()[0] for name in COMMANDS))
    if first in COMMANDS:
        return first, rest
    if first not in words:
        if "LOCAL_RANK" in os.environ:
            # Lightning starts the other processes of a training with the arguments in sys.argv, without `train`
            return "train", arguments
        raise UserError(f"there is no command '{first}': {near(first, words)}")
    if not rest or rest[0] in _HELP:
        return first, rest
    name = f"{first} {rest[0]}"
    if name not in COMMANDS:
        seconds = [name.split()[1] for name in COMMANDS if name.startswith(f"{first} ")]
        raise UserError(f"there is no command '{name}': {near(rest[0], seconds)}")
    return name, rest[1:]


def listing(first: str = "") -> str:
    """The help text: a line for each subcommand, or for those that begin with the word `first`."""
    shown = {name: one.help for name, one in COMMANDS.items() if not first or name.startswith(f"{first} ")}
    lines = [f"usage: onestroke {first or 'COMMAND'} ...", ""]
    lines += [f"  {name:<21}{help}" for name, help in shown.items()]
    return "\n".join([*lines, "", "onestroke COMMAND --help lists the options of a command.", ""])


if __name__ == "__main__":
    sys.exit(main())

"""`onestroke styles make`: compute the style card of one or several paintings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onestroke.cli.options import CommandOptions, command, option
from onestroke.perception.style import Facts
from onestroke.perception.style_card import make_card

USAGE = 'onestroke styles make image=FILE [image=FILE ...] out=FILE [title="..." artist="..." ...]'


@dataclass
class Options(CommandOptions):
    """The options of `onestroke styles make`."""

    image: list[str] = option(
        "a picture of the style; as often as you like", placeholder="FILE", example="painting.jpg", path=True
    )
    out: str = option("the card", placeholder="FILE", example="painting.safetensors", path=True)
    name: str | None = option("what the style is called; default: as the card's file", None, placeholder="NAME")
    title: str = option("title of the painting", "", placeholder="TEXT")
    artist: str = option("who painted it", "", placeholder="TEXT")
    year: str = option("when it was painted", "", placeholder="TEXT")
    licence: str = option("licence under which the picture may be used", "", placeholder="TEXT")
    source: str = option("where the picture is from", "", placeholder="TEXT")


def run(options: Options) -> None:
    """Write the card."""
    out = Path(options.out)
    facts = Facts(options.title, options.artist, options.year, options.licence, options.source)
    make_card(out.stem if options.name is None else options.name, options.image, out, facts)
    print(f"wrote {out}")


def make(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return command(Options, USAGE, run, arguments)

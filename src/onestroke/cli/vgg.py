"""`onestroke vgg pack`: rebuild the embedded weights of the VGG, from a download or a local file."""

from __future__ import annotations

from dataclasses import dataclass

from onestroke.cli.options import CommandOptions, command, option
from onestroke.perception.vgg_weights import write_embedded

USAGE = "onestroke vgg pack out=FILE [weights=FILE]"


@dataclass
class Options(CommandOptions):
    """The options of `onestroke vgg pack`."""

    out: str = option(
        "the file to write, src/onestroke/assets/vgg16.safetensors in a checkout",
        placeholder="FILE", example="vgg16.safetensors", path=True,
    )  # fmt: skip
    weights: str | None = option(
        "torchvision's vgg16_features weights; default: they are downloaded", None, placeholder="FILE", path=True
    )


def run(options: Options) -> None:
    """Write the file; its values are checked against a known checksum."""
    print(f"wrote {options.out}: sha256 of its numbers {write_embedded(options.out, options.weights)}, as it should be")


def pack(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return command(Options, USAGE, run, arguments)

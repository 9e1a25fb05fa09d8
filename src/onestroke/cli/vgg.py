"""`onestroke vgg pack`: make the embedded weights of the VGG again, from the network or from a local file."""

from __future__ import annotations

from dataclasses import dataclass

from onestroke.cli.options import CommandOptions, command, option
from onestroke.perception.vgg_weights import write_embedded

USAGE = "onestroke vgg pack out=FILE [weights=FILE]"


@dataclass
class Options(CommandOptions):
    """Where the weights go, and where they are from."""

    out: str = option(
        "the file to write, src/onestroke/assets/vgg16.safetensors in a checkout",
        placeholder="FILE", example="vgg16.safetensors", path=True,
    )  # fmt: skip
    weights: str | None = option(
        "torchvision's vgg16_features weights; default: they are downloaded", None, placeholder="FILE", path=True
    )


def run(options: Options) -> None:
    """Write the file, whose numbers are those that OneStroke was built on."""
    print(f"wrote {options.out}: sha256 of its numbers {write_embedded(options.out, options.weights)}, as it should be")


def pack(arguments: list[str] | None = None) -> int:
    """The command line: 2 and one sentence for a user's mistake, else 0."""
    return command(Options, USAGE, run, arguments)

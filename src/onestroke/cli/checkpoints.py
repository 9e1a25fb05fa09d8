"""`onestroke checkpoints show|import|merge|extract|prune`: inspect, import, merge, split and narrow style files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onestroke import style_file
from onestroke.cli.options import CommandOptions, command, option
from onestroke.errors import UserError
from onestroke.files import check_free
from onestroke.interop.adopting import adopt
from onestroke.interop.converting import AUTO, RANGES
from onestroke.networks.pruning import pruned
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.style_merge import extract_style, merge_files


@dataclass
class ShowOptions(CommandOptions):
    """The options of `onestroke checkpoints show`."""

    path: str = option(
        "the style file; its name alone will do",
        placeholder="FILE", example="checkpoints/starry_night.safetensors", path=True, bare=True,
    )  # fmt: skip


@dataclass
class ImportOptions(CommandOptions):
    """The options of `onestroke checkpoints import`."""

    path: str = option(
        "weights of pytorch/examples' fast_neural_style or a fork of it, by torch.save; no code in the file is run",
        placeholder="FILE", example="mosaic.pth", path=True,
    )  # fmt: skip
    out: str = option("the style file to write", placeholder="FILE", example="mosaic.safetensors", path=True)
    name: str | None = option("what the style is called; default: as the file", None, placeholder="NAME")
    range: str = option(
        "the values that the network takes and gives: 255, 1 or imagenet; auto finds out by painting",
        AUTO, choices=(AUTO, *RANGES),
    )  # fmt: skip
    overwrite: bool = option("replace a file that is there already", False)


@dataclass
class MergeOptions(CommandOptions):
    """The options of `onestroke checkpoints merge`."""

    path: list[str] = option(
        "style files that share their convolutions: one, and what was trained from it with adapt=norms",
        placeholder="FILE", example="checkpoints/gallery.safetensors path=mine.safetensors", path=True,
    )  # fmt: skip
    out: str = option(
        "the style file to write, with the styles of all in that order",
        placeholder="FILE", example="all.safetensors", path=True,
    )  # fmt: skip
    overwrite: bool = option("replace a file that is there already", False)


@dataclass
class ExtractOptions(CommandOptions):
    """The options of `onestroke checkpoints extract`."""

    path: str = option(
        "a style file of several styles", placeholder="FILE", example="checkpoints/gallery.safetensors", path=True
    )
    style: str = option("the style", placeholder="NAME", example="udnie")
    out: str = option(
        "the style file to write, with this style alone", placeholder="FILE", example="udnie.safetensors", path=True
    )
    overwrite: bool = option("replace a file that is there already", False)


@dataclass
class PruneOptions(CommandOptions):
    """The options of `onestroke checkpoints prune`."""

    path: str = option(
        "the style file of a default or classic network",
        placeholder="FILE", example="checkpoints/starry_night.safetensors", path=True,
    )  # fmt: skip
    out: str = option("the style file to write", placeholder="FILE", example="small.safetensors", path=True)
    share: float = option("share of each layer's channels that is removed", 0.5, low=0.01, high=0.99)
    overwrite: bool = option("replace a file that is there already", False)


def show(arguments: list[str] | None = None) -> int:
    """Print the document of a style file; returns the exit code, 2 for a user's mistake."""
    usage = "onestroke checkpoints show FILE"
    return command(ShowOptions, usage, lambda options: print(style_file.show(Path(options.path))), arguments)


def import_(arguments: list[str] | None = None) -> int:
    """Convert a network that was trained elsewhere to a style file; returns the exit code, 2 for a user's mistake."""

    def job(options: ImportOptions) -> None:
        adopt(Path(options.path), Path(options.out), options.name, options.range, options.overwrite)

    return command(ImportOptions, "onestroke checkpoints import path=FILE out=FILE [options]", job, arguments)


def merge(arguments: list[str] | None = None) -> int:
    """Merge the styles of several files into one; returns the exit code, 2 for a user's mistake."""

    def job(options: MergeOptions) -> None:
        if len(options.path) < 2:
            raise UserError("path is needed twice or more: path=checkpoints/gallery.safetensors path=mine.safetensors")
        out = Path(options.out)
        names = merge_files([Path(path) for path in options.path], out, options.overwrite)
        print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB): {', '.join(names)}")

    return command(MergeOptions, "onestroke checkpoints merge path=FILE path=FILE [path=...] out=FILE", job, arguments)


def extract(arguments: list[str] | None = None) -> int:
    """Write one of a file's styles into a file of its own; returns the exit code, 2 for a user's mistake."""

    def job(options: ExtractOptions) -> None:
        out = Path(options.out)
        extract_style(Path(options.path), options.style, out, options.overwrite)
        print(f"wrote {out} ({out.stat().st_size / 1e6:.2f} MB)")

    return command(ExtractOptions, "onestroke checkpoints extract path=FILE style=NAME out=FILE", job, arguments)


def prune(arguments: list[str] | None = None) -> int:
    """Write a narrower network, which is to be fine-tuned; returns the exit code, 2 for a user's mistake."""

    def job(options: PruneOptions) -> None:
        out = Path(options.out)
        check_free(out, options.overwrite)
        network, metadata = style_file.load(Path(options.path))
        if not isinstance(network, ResidualNetwork):
            raise UserError(f"{options.path} holds a {type(network).__name__}, and only a ResidualNetwork is pruned")
        smaller, channels = pruned(network, options.share)
        made = {**metadata.network, "args": {**metadata.network["args"], "channels": channels}}
        style_file.save(out, smaller, Metadata(made, metadata.style, {"pruned": metadata.training}))
        widths = ",".join(map(str, channels))
        print(f"wrote {out} ({out.stat().st_size / 1e6:.2f} MB); it has to be fine-tuned:")
        print(f"  python train.py style=... init={out} 'network.channels=[{widths}]' out=...")

    return command(PruneOptions, "onestroke checkpoints prune path=FILE out=FILE [share=0.5]", job, arguments)

"""`onestroke fleet`, `python -m onestroke.fleet`: paint millions of pictures on a Ray cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from onestroke.cli.infer_options import FORMATS
from onestroke.cli.marks import MARK
from onestroke.cli.options import CommandOptions, command, option
from onestroke.cli.style_options import STRENGTH, STROKE, STYLE
from onestroke.errors import UserError, escaped
from onestroke.fleet import job as jobs
from onestroke.fleet.client import PREFIX, paint_from_outside
from onestroke.fleet.inputs import Portion, portions
from onestroke.fleet.job import Job
from onestroke.fleet.manifest import DONE, SKIPPED, Manifest, Row
from onestroke.fleet.names import RESERVED, Places
from onestroke.fleet.progress import Progress
from onestroke.fleet.running import Workers, paint_all, summary
from onestroke.imaging import images
from onestroke.inference import backends
from onestroke.inference.compositing import COLOURS
from onestroke.inference.controls import StyleControls
from onestroke.inference.stylizer import Stylizer
from onestroke.packages import require
from onestroke.provenance.origin import sha256_of
from onestroke.stores import EXTRA, join

USAGE = """\
python -m onestroke.fleet input=PICTURES output=FOLDER ckpt=STYLE.safetensors [options]
onestroke fleet ... is the same, where OneStroke is installed"""
EPILOGUE = "Needs  pip install 'onestroke[fleet]'. Started again, it goes on where it was. docs/fleet.md has the rest."
_REASONS = 20  # that the summary lists; the manifest has all


@dataclass
class Options(CommandOptions):
    """The options of `onestroke fleet`."""

    input: str = option(
        "a folder, s3://bucket/folder or gs://bucket/folder of pictures, films, tables and tars; a table (.parquet), a "
        "tar (.tar, WebDataset), or a list of web addresses (.txt)",
        placeholder="PICTURES", example="s3://bucket/photos", path=True,
    )  # fmt: skip
    output: str = option(
        "a folder, of any of these file systems; it also gets the manifest",
        placeholder="FOLDER", example="s3://bucket/painted", path=True,
    )  # fmt: skip
    ckpt: str = option(
        "the style file, such as checkpoints/starry_night.safetensors; the workers get copies",
        placeholder="FILE", example="checkpoints/starry_night.safetensors", path=True,
    )  # fmt: skip
    style: str | None = option(**STYLE)
    strength: float | None = option(**STRENGTH)
    stroke: float | None = option(**STROKE)
    color: str = option(
        "style; photo, for the photo's colours with the painting's luminance; match, for the photo's palette",
        "style", choices=COLOURS,
    )  # fmt: skip
    format: str = option(f"of the paintings: {', '.join(FORMATS)}", "png", choices=FORMATS)
    quality: int | None = option("1 to 100, of JPEG and WebP; default: 95", None, placeholder="N", low=1, high=100)
    max_side: int | None = option(
        "shrink photos whose longer side has more than N pixels; the painting then has that size",
        None, placeholder="N", low=1,
    )  # fmt: skip
    mark: str = option("how a painting says where it comes from: xmp or none", MARK["default"], choices=("xmp", "none"))
    batch: int = option("paint up to N pictures of one size together, for a GPU", 1, placeholder="N", low=1)
    column: str | None = option(
        "of a table, that holds the pictures; default: the first that can", None, placeholder="NAME"
    )
    address: str | None = option(
        "of a Ray cluster: auto, or ray://head:10001; default: this machine alone", None, placeholder="ADDRESS"
    )
    actors: int | None = option(
        "workers that paint; default: one for each GPU, or for each core where there is none",
        None, placeholder="N", low=1,
    )  # fmt: skip
    gpus: float | None = option("of each worker; 0.5 shares one", None, placeholder="N", low=0, high=16)
    device: str = option("auto, cpu, cuda or mps", "auto")
    backend: str | None = option(
        "torch; onnx or openvino, which are faster on a CPU; auto: onnx on a CPU that has it, else torch",
        None, placeholder="NAME", choices=backends.NAMES,
    )  # fmt: skip

    def check(self) -> None:
        """Raise a UserError for options that can't be combined."""
        kind = images.WRITABLE[f".{self.format}"]
        if self.quality is not None and kind not in images.LOSSY:
            raise UserError(
                f"quality={self.quality} is for JPEG and WebP, not for .{self.format}: leave it out, or add format=jpg"
            )


def run(options: Options) -> int:
    """Paint the pictures of the input that are not painted yet; returns the exit code, 2 if one was skipped."""
    require("pyarrow", EXTRA)
    job = job_of(options)
    again = jobs.begin(job)
    manifest = Manifest(job.output)
    settled = manifest.settled()
    left = list(portions(options.input, settled, job.output, Places(job.style, job.form, settled.values())))
    if again:
        print(f"{len(settled):,} pictures were seen to before, and are left out", file=sys.stderr)
    rows = paint(options, job, left, manifest) if left else []
    manifest.close()
    lines = summary(rows)
    more = [f"  and {len(lines) - 1 - _REASONS} more reasons"] if len(lines) - 1 > _REASONS else []
    for line in [*lines[: _REASONS + 1], *more]:
        print(escaped(line), file=sys.stderr)
    print(join(options.output, f"{RESERVED}/manifest.parquet"))
    return 2 if any(row.status == SKIPPED for row in rows) else 0


def paint(options: Options, job: Job, left: list[Portion], manifest: Manifest) -> list[Row]:
    """Paint portions, and show the progress; returns what became of the pictures."""
    rows: list[Row] = []
    progress = Progress(total_of(left))

    def each(new: list[Row]) -> None:
        rows.extend(new)
        painted = sum(row.status == DONE for row in new)
        progress.add(painted, len(new) - painted)

    content = Path(options.ckpt).read_bytes()
    workers = Workers(options.actors, options.gpus)
    try:
        if options.address is not None and options.address.startswith(PREFIX):
            paint_from_outside(left, job, content, manifest, workers, options.address, options.column, each)
        else:
            paint_all(left, job, content, manifest, workers, options.address, options.column, each)
    finally:
        progress.end()
    return rows


def job_of(options: Options) -> Job:
    """The job, after the style file was opened here with these options, so that a mistake is told at once.

    Raises:
        UserError: as `Stylizer`.
    """
    path, controls = Path(options.ckpt), StyleControls(options.style, options.strength, options.stroke)
    opened = Stylizer(path, "cpu", options.backend, False, *_given(controls))
    return Job(
        options.output, path.name, sha256_of(path), opened.name, controls, options.color, options.format,
        options.quality, options.max_side, options.mark, options.device, options.backend, options.batch,
    )  # fmt: skip


def _given(controls: StyleControls) -> tuple[str | None, float | None, float | None]:
    return controls.mix, controls.strength, controls.stroke


def total_of(left: list[Portion]) -> int | None:
    """The number of pictures, or None where there are tables or tars."""
    return None if any(one.kind in ("table", "tar") for one in left) else sum(len(one.members) for one in left)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return command(Options, USAGE, run, arguments, EPILOGUE)


if __name__ == "__main__":
    sys.exit(main())

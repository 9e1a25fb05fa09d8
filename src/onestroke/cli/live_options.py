"""The options of `onestroke live`."""

from __future__ import annotations

from dataclasses import dataclass

from onestroke.cli.options import CommandOptions, option
from onestroke.cli.style_options import STRENGTH, STROKE, STYLE
from onestroke.errors import UserError
from onestroke.inference import backends

SHOWN = ("page", "window", "virtual", "mjpeg")


@dataclass
class Options(CommandOptions):
    """The options of `onestroke live`."""

    ckpt: str = option(
        "the style file, such as checkpoints/gallery.safetensors, or an ONNX file written with controls=live",
        path=True, placeholder="FILE", example="checkpoints/gallery.safetensors",
    )  # fmt: skip
    camera: str | None = option(
        "the number of the camera, its device, or the address of a stream (rtsp://...); default: 0",
        None, placeholder="0",
    )  # fmt: skip
    input: str | None = option(
        "in place of a camera: a clip, played again and again, or a photo", None, placeholder="CLIP", path=True
    )
    show: str = option(
        "page: in a browser on this machine, with the controls; window; virtual: as a camera for other programs; "
        "mjpeg: as a stream, at an address for other programs",
        "page", choices=SHOWN,
    )  # fmt: skip
    map: str | None = option(
        "signals that move the controls: breathing, dance, conductor, or a JSON file",
        None,
        placeholder="NAME",
        path=True,
    )
    size: int = option("the longer side of the paintings, in pixels", 512, low=32, high=4096)
    mirror: bool = option("exchange left and right, as visitors in front of a screen expect", False)
    style: str | None = option(**STYLE)
    strength: float | None = option(**STRENGTH)
    stroke: float | None = option(**STROKE)
    host: str = option(
        "the address that the page is served at; others than 127.0.0.1 open it to the network", "127.0.0.1"
    )
    port: int | None = option("of the page; default: a free one", None, placeholder="N", low=1, high=65535)
    osc: int | None = option(
        "listen for OSC on this UDP port: /knob 0.5 is the signal remote.knob",
        None,
        placeholder="PORT",
        low=1,
        high=65535,
    )
    device: str = option("auto, cpu, cuda or mps", "auto")
    backend: str | None = option(
        "torch, onnx or openvino; auto: onnx on a CPU that has it, else torch",
        "auto", placeholder="NAME", choices=backends.NAMES,
    )  # fmt: skip

    def check(self) -> None:
        """Raise a UserError for a camera and a clip at once."""
        if self.camera is not None and self.input is not None:
            raise UserError("camera and input are given, and one can be painted: leave one out")

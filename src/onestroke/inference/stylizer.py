"""Load a style once and paint many pictures: the Python interface."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onestroke.errors import UserError, near
from onestroke.inference import backends
from onestroke.inference.compositing import COLOURS, composited
from onestroke.inference.controls import StyleControls
from onestroke.inference.frames import Frames, no_picture
from onestroke.inference.live import LiveStyle
from onestroke.inference.mapped_styles import MappedStyles
from onestroke.inference.memory import check_free, memory_errors_for_users
from onestroke.inference.pictures import Picture, check_batch, paint_picture

_DARK = 0.25  # if a photo has no value above this, an all black painting may be correct


class Stylizer:
    """A style, ready to paint.

        stylizer = Stylizer("checkpoints/starry_night.safetensors")
        stylizer(Image.open("photo.jpg")).save("painted.png")

    Args:
        style: path of a style file, or of an ONNX file that export.py wrote.
        device: auto, cpu, cuda (or cuda:1, ...) or mps.
        backend: torch, onnx, openvino or auto, see `backends.load`; None is onnx for an ONNX file, else torch. All
            backends paint the same within a level of 255.
        compiled: whether to use torch.compile: the first picture of a size takes a minute or more, later ones are
            faster.
        mix: for a file with several styles: one of them, or a mix such as "starry_night:0.6,great_wave:0.4".
        strength: from 0 (the photo) to 1 (the painting, with little of the photo); None is the file's default, mostly
            0.5.
        stroke: from 0 (strokes of the trained size) to 1 (twice that size); None is 0.

    Raises:
        UserError: the style file, the device, the backend, the mix or a control can't be used.
    """

    def __init__(
        self,
        style: str | os.PathLike[str],
        device: str = "auto",
        backend: str | None = None,
        compiled: bool = False,
        mix: str | None = None,
        strength: float | None = None,
        stroke: float | None = None,
    ) -> None:
        self.path = Path(style)
        self.controls = StyleControls(mix, strength, stroke)
        self.backend, self.metadata = backends.load(self.path, device, backend, compiled, self.controls)
        self.device = self.backend.device

    def set(self, mix: str | None = None, strength: float | None = None, stroke: float | None = None) -> None:
        """Change style, strength or stroke before the next picture; None keeps what was set before.

        Raises:
            UserError: as when it is made; everything stays as it was then.
        """
        controls = self.controls.changed(mix, strength, stroke)
        self.backend, self.metadata = self._live.set(controls)
        self.controls = controls
        self.__dict__.pop("mapped", None)

    @cached_property
    def _live(self) -> LiveStyle:
        return LiveStyle(self.path, self.backend)

    @cached_property
    def mapped(self) -> MappedStyles:  # paints by a style map
        return MappedStyles(self.path, self.controls, self.device)

    @property
    def name(self) -> str:
        """The name of the style, safe for use in a file name."""
        name = self.metadata.style.get("name")
        # The style file is untrusted: its name must not move paintings to another folder.
        sound = isinstance(name, str) and name.isprintable() and name.strip(". ")
        return str(name) if sound and not any(c in str(name) for c in '/\\:*?"<>|') else self.path.stem

    def __call__(self, picture: Picture, **finish: Any) -> Picture:
        """Paint a picture, and return it in the same type and size.

        Args:
            picture: a PIL image of any mode (orientation, profile and alpha are applied); an array (H, W), (H, W, 3),
                (H, W, 4) with alpha, or a stack (N, H, W, 3 or 4), uint8 or float in [0, 1]; a float tensor
                (3, H, W) or (N, 3, H, W) in [0, 1].
            finish: style_map, color, mask and feather, see `paint`.

        Returns:
            A PIL image in RGB, or RGBA if the picture had alpha; an array of the same dtype and shape, or (H, W, 3) for
            (H, W), with unchanged alpha; a tensor of the same shape, dtype and device.

        Raises:
            UserError: the type, shape or range of the picture is wrong, or it is too large for the memory.
        """
        return paint_picture(picture, self, finish)

    def paint(
        self,
        image: Tensor,
        style_map: Tensor | None = None,
        color: str = "style",
        mask: Tensor | None = None,
        feather: float = 0.0,
        alpha: Tensor | None = None,
    ) -> Tensor:
        """Paint a batch.

        Args:
            image: float (N, 3, H, W) in [0, 1].
            style_map: grey (N or 1, 1, H, W) in [0, 1]: black paints in the first style of the mix, white in the last.
            color: style, photo or match, see `compositing.recoloured`.
            mask: grey (N or 1, 1, H, W) in [0, 1]: white paints, black keeps the photo.
            feather: standard deviation in pixels of a Gaussian blur of the mask.
            alpha: (N, 1, H, W) in [0, 1], the weights of pixels for color=match. Transparent pixels of `image` must
                already have the colour of visible neighbours, as after `images.read`.

        Returns:
            (N, 3, H, W), fp32, in [0, 1], on the CPU.

        Raises:
            UserError: an argument is out of range, the memory does not suffice, or the painting is not finite or all
                black.
        """
        image = image.detach()
        check_batch(image, {"style_map": style_map, "mask": mask, "alpha": alpha})
        if color not in COLOURS:
            raise UserError(f"color={color}: {near(color, COLOURS)}")
        height, width = image.shape[-2:]
        self.check_memory(len(image), height, width, style_map is not None)
        with memory_errors_for_users(height, width):
            painted = self.backend.paint(image) if style_map is None else self.mapped.paint(image, style_map)
        brightest, photo = painted.amax((1, 2, 3)), image.amax((1, 2, 3)).cpu()
        if not torch.isfinite(painted).all() or ((brightest < 1 / 255) & (photo > _DARK)).any():
            raise no_picture(self.path)
        # A copy made outside of inference_mode is an ordinary tensor, which a caller can use in autograd.
        result: Tensor = painted.clone(memory_format=torch.contiguous_format)
        original = image.cpu().float().clamp(0, 1)
        weights, kept = (None if one is None else one.cpu().float() for one in (alpha, mask))
        return composited(result, original, color, weights, kept, feather)

    def frames(self, height: int, width: int) -> Frames:
        """Paint frame after frame of one size, checked once; see `Frames`."""
        return Frames(self, height, width)

    def check_memory(self, count: int, height: int, width: int, mapped: bool = False) -> None:
        """Check before painting that enough memory is free.

        Args:
            count: number of pictures at once.
            height: of each picture, in pixels.
            width: of each picture, in pixels.
            mapped: whether they are painted with a style_map.

        Raises:
            UserError: painting them takes more memory than is free.
        """

        def needed(height: int, width: int) -> float:
            return (self.mapped if mapped else self.backend).memory(count, height, width)

        check_free(needed, self.device, height, width)

"""Load a style once, paint many pictures."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onestroke.errors import UserError, near
from onestroke.inference import backends
from onestroke.inference.compositing import COLOURS, masked, recoloured
from onestroke.inference.controls import Look
from onestroke.inference.mapped_styles import MappedStyles
from onestroke.inference.memory import check_free, shortage_told
from onestroke.inference.pictures import Picture, check_batch, paint_picture

_DARK = 0.25  # a photo that has no brighter value may rightly be painted all black


class Stylizer:
    """A style, ready to paint.

        stylizer = Stylizer("checkpoints/starry_night.safetensors")
        stylizer(Image.open("photo.jpg")).save("painted.png")

    Args:
        style: path of a style file, or of an ONNX file that export.py made of one.
        device: auto, cpu, cuda (or cuda:1, ...) or mps.
        backend: torch, onnx, openvino or auto, see `backends.load`; None is what fits the file. Within a level of 255
            they paint the same.
        compiled: whether torch.compile makes code for the network: a minute or more at the first picture of a size,
            and faster then.
        mix: of a file with several styles, the one to paint in, or a mix: "starry_night:0.6,great_wave:0.4".
        strength: 0 (the photo) to 1 (the painting, little of the photo); None: as it was trained, mostly 0.5.
        stroke: 0 (strokes of the size trained for) to 1 (twice that); None: 0.

    Raises:
        UserError: for a style file, a device, a backend, a mix or a control that can't be used.
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
        self.look = Look(mix, strength, stroke)
        self.backend, self.metadata = backends.load(self.path, device, backend, compiled, self.look)
        self.device = self.backend.device

    @cached_property
    def _mapped(self) -> MappedStyles:
        return MappedStyles(self.path, self.look, self.device)

    @property
    def name(self) -> str:
        """What the style is called, fit for a file name."""
        name = self.metadata.style.get("name")
        # A style file may come from anyone, and its name must not lead paintings out of their folder.
        sound = isinstance(name, str) and name.isprintable() and name.strip(". ")
        return str(name) if sound and not any(c in str(name) for c in '/\\:*?"<>|') else self.path.stem

    def __call__(self, picture: Picture, **finish: Any) -> Picture:
        """Paint a picture; what comes back is of the same kind and size.

        Args:
            picture: a PIL image of any mode (orientation, profile and alpha are heeded); an array (H, W), (H, W, 3),
                (H, W, 4) with alpha, or a stack (N, H, W, 3 or 4), uint8 or float in [0, 1]; a float tensor
                (3, H, W) or (N, 3, H, W) in [0, 1].
            finish: style_map, color, mask and feather of `paint`.

        Returns:
            A PIL image in RGB, or RGBA where there was an alpha channel; an array of the same dtype and shape, or
            (H, W, 3) for (H, W), its alpha as it was; a tensor of the same shape, dtype and device.

        Raises:
            UserError: for a picture of another shape, kind or range, or too large for the memory.
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
            color: style; photo, for luminance of the painting alone; match, for the photo's palette.
            mask: grey (N or 1, 1, H, W) in [0, 1]: white paints, black keeps the photo.
            feather: softens the mask by so many pixels.
            alpha: (N, 1, H, W) in [0, 1], by which color=match weighs colours; the colours of what can't be seen must
                be those of what is visible beside it already, as `images.read` has them.

        Returns:
            The same shape, fp32, in [0, 1], on the CPU.

        Raises:
            UserError: where values are out of range, the memory does not suffice, or what was painted is no
                picture.
        """
        image = image.detach()
        check_batch(image, {"style_map": style_map, "mask": mask, "alpha": alpha})
        if color not in COLOURS:
            raise UserError(f"color={color}: {near(color, COLOURS)}")
        height, width = image.shape[-2:]
        self.check_memory(len(image), height, width, style_map is not None)
        with shortage_told(height, width):
            painted = self.backend.paint(image) if style_map is None else self._mapped.paint(image, style_map)
        brightest, photo = painted.amax((1, 2, 3)), image.amax((1, 2, 3)).cpu()
        if not torch.isfinite(painted).all() or ((brightest < 1 / 255) & (photo > _DARK)).any():
            raise UserError(
                f"{self.path} paints no picture (numbers that are not finite, or all black); train it again"
            )
        # A copy outside of inference_mode is an ordinary tensor, which a caller may train with.
        result: Tensor = painted.clone(memory_format=torch.contiguous_format)
        original = image.cpu().float().clamp(0, 1)
        result = recoloured(result, original, color, None if alpha is None else alpha.cpu().float())
        return result if mask is None else masked(result, original, mask.cpu().float(), feather)

    def check_memory(self, count: int, height: int, width: int, mapped: bool = False) -> None:
        """Refuse what takes more memory than is free, before anything is taken.

        Args:
            count: how many pictures at once.
            height: of each, in pixels.
            width: of each, in pixels.
            mapped: whether a style_map goes with them.

        Raises:
            UserError: painting them takes more memory than is free.
        """

        def needed(height: int, width: int) -> float:
            return (self._mapped if mapped else self.backend).memory(count, height, width)

        check_free(needed, self.device, height, width)
